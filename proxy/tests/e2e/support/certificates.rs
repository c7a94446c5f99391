//! An authority and certificates of its own, made anew for each test.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, PKCS_ECDSA_P256_SHA256, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A certificate authority, with its certificate on disk for the clients that read files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub pem: String,
    folder: TempDir,
}

/// A certificate with its key, both in PEM.
pub struct Issued {
    /// The certificate, then the authority's.
    pub chain: String,
    /// The key.
    pub key: String,
    serial: SerialNumber,
}

/// Writes a file that is for its owner alone, as a key is to be.
pub fn write_private(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("written");
}

impl Authority {
    /// One called `name`.
    pub fn new(name: &str) -> Self {
        Self::made(name, |params, key| {
            params.self_signed(key).expect("a certificate")
        })
    }

    /// One called `name` that this one vouches for.
    pub fn subordinate(&self, name: &str) -> Self {
        Self::made(name, |params, key| {
            params.signed_by(key, &self.issuer).expect("a certificate")
        })
    }

    fn made(
        name: &str,
        sign: impl FnOnce(&CertificateParams, &KeyPair) -> rcgen::Certificate,
    ) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = sign(&params, &key).pem();
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), &pem).expect("written");
        Self {
            issuer: Issuer::new(params, key),
            pem,
            folder,
        }
    }

    /// A list, to be renewed at the end of `year`, of what it has revoked, in PEM.
    pub fn crl(&self, revoked: &[&Issued], year: i32) -> String {
        let since = date_time_ymd(2020, 1, 1);
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: since,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: since,
            next_update: date_time_ymd(year, 12, 31),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        list.pem().expect("PEM")
    }

    /// The secret that holds its certificate, with revocation lists.
    pub fn secret_with_crls(&self, name: &str, crls: &[String]) -> Value {
        let mut secret = self.secret(name);
        secret["ca"]["crls"] = json!(crls.concat());
        secret
    }

    /// The file with its certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The settings of a client that believes it.
    pub fn client_config(&self) -> rustls::ClientConfig {
        self.client_config_builder().with_no_client_auth()
    }

    /// The same, of one that speaks HTTP/2 or HTTP/1.1 only.
    pub fn client_config_speaking(&self, version2: bool) -> rustls::ClientConfig {
        let mut config = self.client_config();
        let only: &[u8] = if version2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![only.to_vec()];
        config
    }

    /// The same, of one that shows a certificate.
    pub fn client_config_with(&self, shown: &Issued) -> rustls::ClientConfig {
        let chain = CertificateDer::pem_slice_iter(shown.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("PEM");
        self.client_config_builder()
            .with_client_auth_cert(chain, key)
            .expect("a key of the certificate")
    }

    fn client_config_builder(
        &self,
    ) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM");
        roots.add(certificate).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
    }

    /// The secret that holds its certificate.
    pub fn secret(&self, name: &str) -> Value {
        json!({"kind": "Secret", "name": name, "ca": {"certificates": self.pem}})
    }

    /// A certificate for these names, whose first is also the subject.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// One for a client of the discovery streams: its URI name has this path.
    pub fn issue_identity(&self, path: &str) -> Issued {
        self.issue_with(&["proxy.example.com"], |params| {
            let uri = format!("spiffe://example.com/{path}");
            let uri = SanType::URI(uri.as_str().try_into().expect("a URI"));
            params.subject_alt_names.push(uri);
        })
    }

    /// The same, with something about it changed.
    pub fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let all: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(all).expect("names");
        let subject = names.first().copied().unwrap_or_default();
        params.distinguished_name.push(DnType::CommonName, subject);
        change(&mut params);
        // Half of them all: positive, and not that of another.
        let number = rand::random_range(1..u64::MAX >> 1);
        let serial = SerialNumber::from(number);
        params.serial_number = Some(serial.clone());
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            chain: format!("{}{}", leaf.pem(), self.pem),
            key: key.serialize_pem(),
            serial,
        }
    }
}

impl Issued {
    /// The secret that holds it.
    pub fn secret(&self, name: &str) -> Value {
        json!({
            "kind": "Secret", "name": name,
            "certificate": {"chain": self.chain, "private_key": self.key},
        })
    }
}
