//! What a certificate says of itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, time::ASN1Time,
};

/// What a certificate says (RFC 5280).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is: `CN=api.example.com`.
    pub subject: Box<str>,
    /// Who issued it.
    pub issuer: Box<str>,
    /// The host names it is for, lower case, `*.example.com` included.
    pub dns_names: Box<[Box<str>]>,
    /// The other names it is for, as `URI:spiffe://…`, `IP:10.0.0.1`, `email:…`.
    pub other_names: Box<[Box<str>]>,
    /// From when it counts.
    pub not_before: SystemTime,
    /// Until when it counts.
    pub not_after: SystemTime,
}

impl CertificateFacts {
    /// Reads them off its DER form.
    ///
    /// # Errors
    /// What about it is no certificate.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("something follows it".to_owned());
        }
        let mut dns_names = Vec::new();
        let mut other_names = Vec::new();
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| format!("its alternative names: {error}"))?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns_names.push(name.to_ascii_lowercase().into()),
                GeneralName::URI(uri) => other_names.push(format!("URI:{uri}").into()),
                GeneralName::RFC822Name(name) => other_names.push(format!("email:{name}").into()),
                GeneralName::IPAddress(bytes) => {
                    if let Some(address) = address(bytes) {
                        other_names.push(format!("IP:{address}").into());
                    }
                }
                _ => {}
            }
        }
        Ok(Self {
            subject: certificate.subject().to_string().into(),
            issuer: certificate.issuer().to_string().into(),
            dns_names: dns_names.into(),
            other_names: other_names.into(),
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
        })
    }

    /// The URIs among the names it is for.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.other_names
            .iter()
            .filter_map(|name| name.strip_prefix("URI:"))
    }

    /// Those of every certificate in a PEM text that can be read.
    #[must_use]
    pub fn read_all(pem: &str) -> Vec<Self> {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .filter_map(|certificate| Self::read(&certificate.ok()?).ok())
            .collect()
    }

    /// Until when it counts, as RFC 3339 has it.
    #[must_use]
    pub fn not_after_text(&self) -> String {
        text_of(self.not_after)
    }

    /// What to say of it if it is past its time.
    #[must_use]
    pub fn expired(&self, now: SystemTime) -> Option<String> {
        (self.not_after < now).then(|| {
            format!(
                "the certificate of {} expired at {}: put a newer one in its place",
                self.subject,
                self.not_after_text()
            )
        })
    }

    /// What to say of it if its time has not come. Where it is shown now, whoever is shown it
    /// refuses it.
    #[must_use]
    pub fn not_yet_valid(&self, now: SystemTime) -> Option<String> {
        (self.not_before > now).then(|| {
            format!(
                "the certificate of {} counts from {} only: give one that counts today, or set the clock right",
                self.subject,
                text_of(self.not_before)
            )
        })
    }
}

/// A time as RFC 3339 has it.
pub(super) fn text_of(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(
        |_| "a time out of range".to_owned(),
        |time| time.to_string(),
    )
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}

pub(super) fn time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let known = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    known.unwrap_or(UNIX_EPOCH)
}
