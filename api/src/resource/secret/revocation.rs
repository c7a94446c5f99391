//! Revocation lists: which certificates count no more.

use std::time::SystemTime;

use fleetway_proto::v1;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm,
    pem::PemObject as _,
};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _, revocation_list::CertificateRevocationList,
};

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
    /// Which authorities the lists leave out, and which lists are not by the authority they name.
    pub(super) gaps: Box<[Box<str>]>,
}

/// The lists of a bundle, before they are held against its authorities.
#[derive(Debug)]
pub(super) struct Lists {
    revocation: Revocation,
    ders: Vec<CertificateRevocationListDer<'static>>,
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

impl Lists {
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
        let mut ders = Vec::new();
        for (index, der) in CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).enumerate()
        {
            if index == MAX_LISTS {
                check.fault(CRLS, format!("holds more than {MAX_LISTS} lists"));
                return None;
            }
            let read = der
                .map_err(|error| format!("is no PEM: {}", pem_fault(&error)))
                .and_then(|der| Ok((CrlFacts::read(&der)?, parse(&der)?, der)));
            match read {
                Ok((about, list, der)) => {
                    facts.push(about);
                    lists.push(list);
                    ders.push(der);
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
            revocation: Revocation {
                lists: lists.into(),
                facts: facts.into(),
                only_leaf: message.only_verify_leaf_crl,
                gaps: Box::default(),
            },
            ders,
        })
    }

    /// The lists, held against the authorities they are given with. A list of none of these is
    /// that of an authority between them and the certificates, for all that can be told.
    pub(super) fn of(self, authorities: &[CertificateDer<'_>]) -> Revocation {
        let Self { revocation, ders } = self;
        let lists: Vec<_> = ders.iter().filter_map(|der| List::read(der)).collect();
        let authorities: Vec<_> = authorities
            .iter()
            .filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1))
            .collect();
        let mut gaps = Vec::new();
        for list in &lists {
            let mut named = authorities
                .iter()
                .filter(|authority| authority.subject().as_raw() == list.issuer())
                .peekable();
            if named.peek().is_some() && !named.any(|authority| list.is_signed_by(authority)) {
                gaps.push(format!(
                    "the list of {} is not signed with the key of the authority of that name: give the list that authority issued",
                    list.read.issuer()
                ));
            }
        }
        // Of a chain down from an authority, its own list covers the certificate below it.
        for authority in authorities.iter().filter(|_| !revocation.only_leaf) {
            let subject = authority.subject();
            if !lists.iter().any(|list| list.issuer() == subject.as_raw()) {
                gaps.push(format!(
                    "holds no list of {subject}: every certificate it issued would be refused. Add its list, or take the authority out"
                ));
            }
        }
        let gaps = gaps.into_iter().map(Into::into).collect();
        Revocation { gaps, ..revocation }
    }
}

/// A list, read for who issued it.
struct List<'a> {
    read: CertificateRevocationList<'a>,
}

impl<'a> List<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let (_, read) = CertificateRevocationList::from_der(der).ok()?;
        Some(Self { read })
    }

    fn issuer(&self) -> &[u8] {
        self.read.issuer().as_raw()
    }

    /// Whether its signature is by the key of this authority, whatever the algorithm: one that is
    /// not the list's own takes no signature of it.
    fn is_signed_by(&self, authority: &X509Certificate<'_>) -> bool {
        let key = &authority.public_key().subject_public_key.data;
        let (message, signature) = (
            self.read.tbs_cert_list.as_ref(),
            &self.read.signature_value.data,
        );
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        let signed = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            algorithm.verify_signature(key, message, signature).is_ok()
        };
        known.all.iter().any(signed)
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
