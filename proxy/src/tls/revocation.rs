//! Whether a certificate that is believed has been revoked since.

use std::sync::Arc;

use fleetway_api::Revocation;
use rustls::{
    CertRevocationListError, CertificateError, Error, OtherError, RootCertStore,
    pki_types::{CertificateDer, UnixTime},
};
use webpki::{
    EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};

use super::provider;

/// Looks a chain up in the lists. It is to have been verified already: here only its revocation is
/// told of.
///
/// # Errors
/// When one of the certificates is revoked, or no current list says that it is not.
pub(super) fn check(
    revocation: &Revocation,
    roots: &RootCertStore,
    (end_entity, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), Error> {
    let lists: Vec<_> = revocation.lists.iter().collect();
    let depth = if revocation.only_leaf {
        RevocationCheckDepth::EndEntity
    } else {
        RevocationCheckDepth::Chain
    };
    let options = RevocationOptionsBuilder::new(&lists)
        .map_err(|_| CertificateError::UnknownRevocationStatus)?
        .with_depth(depth)
        .with_status_policy(UnknownStatusPolicy::Deny)
        .with_expiration_policy(ExpirationPolicy::Enforce)
        .build();
    let algorithms = provider().signature_verification_algorithms.all;
    let certificate = EndEntityCert::try_from(end_entity).map_err(told)?;
    let verified = certificate.verify_for_usage(
        algorithms,
        &roots.roots,
        intermediates,
        now,
        usage,
        Some(options),
        None,
    );
    verified.map(|_| ()).map_err(told)
}

fn told(error: webpki::Error) -> Error {
    match error {
        webpki::Error::CertRevoked => CertificateError::Revoked.into(),
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
        webpki::Error::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }.into()
        }
        webpki::Error::InvalidCrlSignatureForPublicKey => {
            CertRevocationListError::BadSignature.into()
        }
        webpki::Error::IssuerNotCrlSigner => CertRevocationListError::IssuerInvalidForCrl.into(),
        error => CertificateError::Other(OtherError(Arc::new(error))).into(),
    }
}
