//! What to look at when a server gives no configuration. Libraries say what they saw; what it may
//! come from is known here.

use std::{error::Error, io};

use rustls::AlertDescription;

const IN_THE_CLEAR: &str = "is what answers there a discovery server, and without TLS? \
    Its address is --xds of fleetway-xds (7081); where it has a certificate, write https://";
const WRITE_HTTP: &str = "what answers there speaks no TLS: write http:// if that is meant; \
    the discovery server's address is --xds of fleetway-xds (7081)";
pub(super) const NO_DISCOVERY: &str = "is what answers there a discovery server? \
    Its address is --xds of fleetway-xds (7081)";
const ANOTHER_CERTIFICATE: &str =
    "closed during the handshake: does the server want another --xds-cert? Its log says why";
const ANOTHER_AUTHORITY: &str =
    "none of the authorities of --xds-ca issued the server's certificate";

/// How far a stream came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The server has not taken it.
    Asked,
    /// It has, and sent nothing on it.
    Opened,
    /// It has sent something.
    Answered,
}

/// What to look at after `error`, of a stream `over_tls` or in the clear that came so far; nothing
/// where the error says it.
pub(super) fn on(
    error: &(dyn Error + 'static),
    over_tls: bool,
    stage: Stage,
) -> Option<&'static str> {
    if stage == Stage::Answered {
        return None;
    }
    let mut status = None;
    let mut at = Some(error);
    while let Some(cause) = at {
        if let Some(tls) = tls_error(cause) {
            return on_tls(tls);
        }
        if over_tls && was_cut(cause) {
            return Some(ANOTHER_CERTIFICATE);
        }
        status = status.or_else(|| cause.downcast_ref::<tonic::Status>());
        at = cause.source();
    }
    let status = status?;
    // So the library says that an HTTP answer is none of gRPC.
    if status.message().contains("grpc-status") {
        return Some(NO_DISCOVERY);
    }
    // One that the server sent has no cause on this side.
    if stage == Stage::Opened || status.source().is_none() {
        return None;
    }
    Some(if over_tls {
        ANOTHER_CERTIFICATE
    } else {
        IN_THE_CLEAR
    })
}

fn on_tls(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Some(NO_DISCOVERY),
        rustls::Error::AlertReceived(_) => Some(ANOTHER_CERTIFICATE),
        rustls::Error::InvalidMessage(_) => Some(WRITE_HTTP),
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            Some(ANOTHER_AUTHORITY)
        }
        _ => None,
    }
}

/// What TLS has to say, which input and output carry as theirs.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let inner = match error.downcast_ref::<h2::Error>() {
        Some(error) => error.get_io(),
        None => error.downcast_ref::<io::Error>(),
    };
    match inner {
        Some(inner) => inner.get_ref()?.downcast_ref(),
        None => error.downcast_ref(),
    }
}

fn was_cut(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
        )
    })
}
