//! The validated secret: certificates that fit their keys, authorities that can be believed.

use std::{sync::Arc, time::SystemTime};

use fleetway_proto::v1;
use rustls::{RootCertStore, crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject as _},
};
use zeroize::Zeroizing;

use self::redaction::is_redacted;
use self::revocation::Lists;
pub use self::{
    facts::CertificateFacts,
    redaction::{Unkept, redacted},
    revocation::{CrlFacts, Revocation},
};
use super::{Common, label, read_common};
use crate::{FieldError, Id, Kind, error::Checker};

mod facts;
mod pem;
mod redaction;
mod revocation;

/// What is not for everyone's eyes.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Name, fleets, labels.
    pub common: Common,
    /// What it is.
    pub kind: SecretKind,
}

/// What a secret is.
#[derive(Debug, Clone)]
pub enum SecretKind {
    /// A certificate with its key.
    Certificate(Certificate),
    /// Certificate authorities.
    Ca(CaBundle),
}

/// A certificate chain whose first certificate has the key beside it.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Chain, key and OCSP response, ready to be shown to the other side.
    pub certified: Arc<CertifiedKey>,
    /// What the certificates say, in the chain's order; at least one.
    pub facts: Box<[CertificateFacts]>,
}

/// Certificate authorities.
#[derive(Debug, Clone)]
pub struct CaBundle {
    /// The authorities, ready to be believed.
    pub roots: Arc<RootCertStore>,
    /// What their certificates say; at least one.
    pub facts: Box<[CertificateFacts]>,
    /// Which of the certificates they issued count no more, if that is looked at.
    pub revocation: Option<Arc<Revocation>>,
}

/// The most certificates a chain may have.
const MAX_CHAIN: usize = 16;
/// The most authorities a bundle may have.
const MAX_AUTHORITIES: usize = 1024;
/// The longest OCSP response, in bytes.
const MAX_OCSP: usize = 64 * 1024;

const CHAIN: &str = "certificate.chain";
const KEY: &str = "certificate.private_key";
const OCSP: &str = "certificate.ocsp_response";
const AUTHORITIES: &str = "ca.certificates";

impl Secret {
    pub(super) fn read(message: v1::Secret) -> Result<Self, Vec<FieldError>> {
        let mut check = Checker::new(label(Kind::Secret, &message.name));
        let common = read_common(&mut check, &message.name, &message.fleets, message.labels);
        let kind = match message.kind {
            Some(v1::secret::Kind::Certificate(message)) => {
                Certificate::read(&mut check, message).map(SecretKind::Certificate)
            }
            Some(v1::secret::Kind::Ca(message)) => {
                CaBundle::read(&mut check, message).map(SecretKind::Ca)
            }
            None => {
                check.fault("", "says not what it is: give `certificate` or `ca`");
                None
            }
        };
        match (common, kind) {
            (Some(common), Some(kind)) if check.is_clean() => Ok(Self { common, kind }),
            _ => Err(check.finish()),
        }
    }

    /// What the certificates in it say.
    #[must_use]
    pub fn facts(&self) -> &[CertificateFacts] {
        match &self.kind {
            SecretKind::Certificate(certificate) => &certificate.facts,
            SecretKind::Ca(bundle) => &bundle.facts,
        }
    }

    /// What the revocation lists in it say.
    #[must_use]
    pub fn crls(&self) -> &[CrlFacts] {
        match &self.kind {
            SecretKind::Ca(bundle) => bundle.revocation.as_ref().map_or(&[], |lists| &lists.facts),
            SecretKind::Certificate(_) => &[],
        }
    }

    /// Until when all of the certificates count.
    #[must_use]
    pub fn first_expiry(&self) -> Option<SystemTime> {
        self.facts().iter().map(|facts| facts.not_after).min()
    }

    /// Until when all of the revocation lists are current; none if there are none.
    #[must_use]
    pub fn first_crl_expiry(&self) -> Option<SystemTime> {
        self.crls().iter().map(|facts| facts.next_update).min()
    }

    /// What of it is of no use at `now`, as faults: certificates and revocation lists past their
    /// time, and lists that leave out an authority. Asked where a secret is written; one that
    /// expires later stays what it is, and where it is in use it goes on being shown.
    #[must_use]
    pub fn unusable(&self, now: SystemTime) -> Vec<FieldError> {
        let field = match &self.kind {
            SecretKind::Certificate(_) => CHAIN,
            SecretKind::Ca(_) => AUTHORITIES,
        };
        let id = Id::new(Kind::Secret, self.common.name.clone());
        let certificates = self.facts().iter().filter_map(|facts| facts.expired(now));
        let lists = self.crls().iter().filter_map(|facts| facts.expired(now));
        let gaps = match &self.kind {
            SecretKind::Ca(bundle) => bundle.revocation.as_ref().map_or(&[][..], |r| &r.gaps),
            SecretKind::Certificate(_) => &[],
        };
        let lists = lists.chain(gaps.iter().map(ToString::to_string));
        certificates
            .map(|message| FieldError::new(&id, field, message))
            .chain(lists.map(|message| FieldError::new(&id, revocation::CRLS, message)))
            .collect()
    }
}

impl Certificate {
    fn read(check: &mut Checker, message: v1::Certificate) -> Option<Self> {
        let key = Zeroizing::new(message.private_key);
        let chain = read_certificates(check, CHAIN, &message.chain, MAX_CHAIN);
        let private = read_key(check, &key);
        let ocsp = read_ocsp(check, message.ocsp_response);
        let (chain, facts) = chain?;
        for (index, pair) in facts.windows(2).enumerate() {
            if let [one, next] = pair
                && one.issuer != next.subject
            {
                check.fault(
                    CHAIN,
                    format!(
                        "certificate {} ({}) did not issue the one before it, which names {}: put each after the one it issued",
                        index + 2,
                        next.subject,
                        one.issuer
                    ),
                );
            }
        }
        let provider = aws_lc_rs::default_provider();
        match CertifiedKey::from_der(chain, private?, &provider) {
            Ok(mut certified) => {
                certified.ocsp = ocsp;
                Some(Self {
                    certified: Arc::new(certified),
                    facts,
                })
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                let subject = facts.first().map_or("", |facts| &facts.subject);
                check.fault(
                    KEY,
                    format!("is not the key of the first certificate of the chain ({subject})"),
                );
                None
            }
            Err(_) => {
                check.fault(KEY, "is of a kind that is not supported: use RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519");
                None
            }
        }
    }

    /// What the certificate itself says.
    #[must_use]
    pub fn leaf(&self) -> Option<&CertificateFacts> {
        self.facts.first()
    }
}

impl CaBundle {
    fn read(check: &mut Checker, message: v1::CaBundle) -> Option<Self> {
        let field = AUTHORITIES;
        let lists = Lists::read(check, &message);
        let (certificates, facts) =
            read_certificates(check, field, &message.certificates, MAX_AUTHORITIES)?;
        if message.certificates.contains(revocation::BEGIN) {
            check.fault(
                field,
                "holds a revocation list, which would not be looked at: put it into `ca.crls`",
            );
        }
        let revocation = lists.map(|lists| lists.of(&certificates));
        let mut roots = RootCertStore::empty();
        for (certificate, facts) in certificates.into_iter().zip(&facts) {
            if let Err(error) = roots.add(certificate) {
                check.fault(
                    field,
                    format!("{} cannot be believed: {error}", facts.subject),
                );
            }
        }
        Some(Self {
            roots: Arc::new(roots),
            facts,
            revocation: revocation.map(Arc::new),
        })
    }
}

type Certificates = (Vec<CertificateDer<'static>>, Box<[CertificateFacts]>);

/// Reads a PEM text of certificates and what each says.
fn read_certificates(
    check: &mut Checker,
    field: &str,
    pem: &str,
    most: usize,
) -> Option<Certificates> {
    if pem.trim().is_empty() {
        check.fault(field, "is missing: give certificates in PEM");
        return None;
    }
    let mut certificates = Vec::new();
    let mut facts = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let place = index + 1;
        if index == most {
            check.fault(field, format!("holds more than {most} certificates"));
            return None;
        }
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(error) => {
                let error = pem_fault(&error);
                check.fault(field, format!("certificate {place} is no PEM: {error}"));
                return None;
            }
        };
        match CertificateFacts::read(&certificate) {
            Ok(read) => facts.push(read),
            Err(error) => {
                check.fault(
                    field,
                    format!("certificate {place} is no X.509 certificate: {error}"),
                );
                return None;
            }
        }
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        check.fault(
            field,
            "holds no certificate: it has to begin with -----BEGIN CERTIFICATE-----",
        );
        return None;
    }
    Some((certificates, facts.into()))
}

/// What is wrong with a PEM text (RFC 7468), in words: the library shows its bytes as numbers.
fn pem_fault(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { end_marker } => format!(
            "the block is not closed: `-----END {}-----` is missing, on a line of its own",
            String::from_utf8_lossy(end_marker)
        ),
        PemError::IllegalSectionStart { .. } => {
            "a line that begins with `-----BEGIN` does not end with `-----`".to_owned()
        }
        PemError::Base64Decode(reason) => format!("what it holds is not base64: {reason}"),
        other => other.to_string(),
    }
}

/// Never says anything of the text itself.
fn read_key(check: &mut Checker, pem: &str) -> Option<PrivateKeyDer<'static>> {
    if pem.trim().is_empty() {
        check.fault(
            KEY,
            "is missing: give the private key of the first certificate in PEM",
        );
        return None;
    }
    if is_redacted(pem) {
        check.fault(
            KEY,
            "is only the sign that a key was left out: give the key",
        );
        return None;
    }
    if pem.contains("ENCRYPTED") {
        check.fault(
            KEY,
            "has a passphrase: take it off, as with `openssl pkey -in key.pem`",
        );
        return None;
    }
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(key) => Some(key),
        Err(_) => {
            check.fault(KEY, "holds no private key in PEM: it has to begin with -----BEGIN PRIVATE KEY----- or the like");
            None
        }
    }
}

fn read_ocsp(check: &mut Checker, text: Option<impl AsRef<str>>) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text = text?;
    let joined: String = text.as_ref().split_ascii_whitespace().collect();
    match base64::engine::general_purpose::STANDARD.decode(joined) {
        Ok(response) if (1..=MAX_OCSP).contains(&response.len()) => Some(response),
        Ok(_) => {
            check.fault(OCSP, format!("must be 1 to {MAX_OCSP} bytes long"));
            None
        }
        Err(error) => {
            check.fault(OCSP, format!("is not base64: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests;
