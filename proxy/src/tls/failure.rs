//! Why a handshake failed, told from what the library says.

use std::io;

use rustls::{CertificateError, Error, OtherError};

use crate::telemetry::TlsFailure;

/// A handshake that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct HandshakeError {
    /// Why, for counting.
    pub reason: TlsFailure,
    text: String,
}

impl HandshakeError {
    /// It did not come to an end in time.
    pub(crate) fn timeout() -> Self {
        Self {
            reason: TlsFailure::Timeout,
            text: "the TLS handshake took too long".to_owned(),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
        let reason = tls.map_or(TlsFailure::Closed, reason);
        Self {
            reason,
            text: format!("TLS handshake: {error}"),
        }
    }
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        Self {
            reason: reason(&error),
            text: format!("TLS handshake: {error}"),
        }
    }
}

/// The certificate has none of the names it is asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the certificate of {subject} has none of the wanted subject alternative names, but {names}"
)]
pub(super) struct NoSuchName {
    pub(super) subject: Box<str>,
    pub(super) names: String,
}

fn reason(error: &Error) -> TlsFailure {
    match error {
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => TlsFailure::NotTls,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsFailure::Incompatible,
        Error::NoCertificatesPresented => TlsFailure::NoCertificate,
        Error::AlertReceived(_) => TlsFailure::Refused,
        Error::InvalidCertificate(error) => bad_certificate(error),
        Error::InvalidCertRevocationList(_) => TlsFailure::RevocationUnknown,
        _ => TlsFailure::Other,
    }
}

fn bad_certificate(error: &CertificateError) -> TlsFailure {
    match error {
        CertificateError::UnknownIssuer => TlsFailure::UnknownAuthority,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsFailure::Expired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFailure::WrongName
        }
        CertificateError::Revoked => TlsFailure::Revoked,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => TlsFailure::RevocationUnknown,
        CertificateError::Other(OtherError(error)) if error.is::<NoSuchName>() => {
            TlsFailure::WrongName
        }
        _ => TlsFailure::BadCertificate,
    }
}
