//! Revocation lists: which certificates count no more.

use std::time::SystemTime;

use fleetway_proto::v1;
use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject as _};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use super::{
    facts::{text_of, time},
    pem_fault,
};
use crate::error::Checker;

pub(super) const CRLS: &str = "ca.crls";
/// What a list begins with.
pub(super) const BEGIN: &str = "-----BEGIN X509 CRL-----";
/// The most lists of a bundle.
const MAX_LISTS: usize = 1024;

/// Revocation lists (RFC 5280 section 5), with what is asked of them.
#[derive(Debug)]
pub struct Revocation {
    /// The lists, ready to be looked at; at least one.
    pub lists: Box<[CertRevocationList<'static>]>,
    /// What they say of themselves, in the same order.
    pub facts: Box<[CrlFacts]>,
    /// Whether only the certificate that is shown has to be covered, not those that issued it.
    pub only_leaf: bool,
}

/// What a revocation list says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlFacts {
    /// Who signed it: `CN=An authority`.
    pub issuer: Box<str>,
    /// How many certificates it revokes.
    pub revoked: usize,
    /// By when there is to be a newer one.
    pub next_update: SystemTime,
}

impl Revocation {
    pub(super) fn read(check: &mut Checker, message: &v1::CaBundle) -> Option<Self> {
        let Some(pem) = &message.crls else {
            if message.only_verify_leaf_crl {
                let fault = "has no effect without `crls`: give them, or take it away";
                check.fault("ca.only_verify_leaf_crl", fault);
            }
            return None;
        };
        let mut lists = Vec::new();
        let mut facts = Vec::new();
        for (index, der) in CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).enumerate()
        {
            if index == MAX_LISTS {
                check.fault(CRLS, format!("holds more than {MAX_LISTS} lists"));
                return None;
            }
            let read = der
                .map_err(|error| format!("is no PEM: {}", pem_fault(&error)))
                .and_then(|der| Ok((CrlFacts::read(&der)?, parse(&der)?)));
            match read {
                Ok((about, list)) => {
                    facts.push(about);
                    lists.push(list);
                }
                Err(error) => {
                    check.fault(CRLS, format!("list {} {error}", index + 1));
                    return None;
                }
            }
        }
        if lists.is_empty() {
            let fault = format!("holds no revocation list: it has to begin with {BEGIN}");
            check.fault(CRLS, fault);
            return None;
        }
        Some(Self {
            lists: lists.into(),
            facts: facts.into(),
            only_leaf: message.only_verify_leaf_crl,
        })
    }
}

fn parse(der: &[u8]) -> Result<CertRevocationList<'static>, String> {
    use webpki::Error::{
        UnsupportedCriticalExtension, UnsupportedCrlVersion, UnsupportedDeltaCrl,
        UnsupportedIndirectCrl,
    };
    let list = OwnedCertRevocationList::from_der(der).map_err(|error| match error {
        UnsupportedDeltaCrl => "is a delta list: give the complete one".to_owned(),
        UnsupportedIndirectCrl => {
            "is an indirect list: give those of the issuers themselves".to_owned()
        }
        UnsupportedCrlVersion => "is not of version 2 (RFC 5280 section 5.1.2.1)".to_owned(),
        UnsupportedCriticalExtension => "has a critical extension that is not supported".to_owned(),
        error => format!("cannot be used: {error}"),
    })?;
    Ok(list.into())
}

impl CrlFacts {
    /// Reads them off its DER form.
    fn read(der: &[u8]) -> Result<Self, String> {
        let (rest, list) = CertificateRevocationList::from_der(der)
            .map_err(|error| format!("is no revocation list: {error}"))?;
        if !rest.is_empty() {
            return Err("is no revocation list: something follows it".to_owned());
        }
        let next_update = list
            .next_update()
            .ok_or("does not say when the next one comes (nextUpdate, RFC 5280 section 5.1.2.5)")?;
        Ok(Self {
            issuer: list.issuer().to_string().into(),
            revoked: list.iter_revoked_certificates().count(),
            next_update: time(next_update),
        })
    }

    /// Those of every list in a PEM text that can be read.
    #[must_use]
    pub fn read_all(pem: &str) -> Vec<Self> {
        CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())
            .filter_map(|list| Self::read(&list.ok()?).ok())
            .collect()
    }

    /// By when there is to be a newer one, as RFC 3339 has it.
    #[must_use]
    pub fn next_update_text(&self) -> String {
        text_of(self.next_update)
    }

    /// What to say of it if it is past its time.
    pub(super) fn expired(&self, now: SystemTime) -> Option<String> {
        (self.next_update < now).then(|| {
            format!(
                "the list of {} was to be renewed by {}: put a newer one in its place",
                self.issuer,
                self.next_update_text()
            )
        })
    }
}
