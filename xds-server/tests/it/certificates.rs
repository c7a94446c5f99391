//! Certificates made anew for each test.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair,
};

/// An authority.
pub(crate) struct Authority {
    /// Its certificate, in PEM.
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both in PEM.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A list, to be renewed at the end of `year`, that revokes nothing.
    pub(crate) fn crl(&self, year: i32) -> String {
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(year, 12, 31),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A certificate for a name, good until the end of `year`.
    pub(crate) fn issue(&self, name: &str, year: i32) -> Issued {
        self.issue_for(&KeyPair::generate().unwrap(), name, year)
    }

    /// The same for a key there is.
    pub(crate) fn issue_for(&self, key: &KeyPair, name: &str, year: i32) -> Issued {
        self.issue_between(key, name, 2020, year)
    }

    /// The same, good from the beginning of `from` on.
    pub(crate) fn issue_between(&self, key: &KeyPair, name: &str, from: i32, year: i32) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// The certificate as a document without kind and name, in JSON.
    pub(crate) fn body(&self) -> String {
        serde_json::json!({"certificate": {"chain": self.chain, "private_key": self.key}})
            .to_string()
    }

    /// What must stand nowhere: pieces of the base64 of the private number. It begins at byte 36
    /// of the key's DER form; what is around it is public.
    pub(crate) fn private_pieces(&self) -> [&str; 3] {
        let lines: Vec<&str> = self.key.lines().collect();
        [&lines[1][48..64], &lines[2][..12], &lines[2][12..24]]
    }

    /// Fails if the text holds anything of the key.
    #[track_caller]
    pub(crate) fn not_in(&self, text: &str) {
        for piece in self.private_pieces() {
            assert!(!text.contains(piece), "{text}");
        }
    }
}
