//! Why a call has no answer, in words that say what to do next.

use std::{error::Error as _, time::Duration};

use http::StatusCode;

use crate::rest::{Code, Problem};

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The address is none a client can be made for.
    #[error("\"{address}\" is not the address of a server: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
    /// The name of the author cannot be sent.
    #[error("\"{0}\" cannot be the name of an author: leave control characters out")]
    Author(String),
    /// The text with authorities has none.
    #[error("there are no authorities to believe: give certificates in PEM")]
    Authorities,
    /// The server refused the request.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// There was no answer.
    #[error("cannot reach the server at {server}: {reason}. {}", .remedy.map_or_else(|| next_step(*.sent, *.write), str::to_owned))]
    Unreachable {
        /// The server's address.
        server: String,
        /// What happened.
        reason: String,
        /// Whether the request may have arrived.
        sent: bool,
        /// Whether it was one that changes something.
        write: bool,
        /// What to do, where the reason tells.
        remedy: Option<&'static str>,
    },
    /// There was no answer in time.
    #[error(
        "the server at {server} did not answer within {after:?}: see whether it is overloaded, or allow it more time (`--timeout`){}",
        if *.write { format!(". {MAY_BE_MADE}") } else { String::new() }
    )]
    TimedOut {
        /// The server's address.
        server: String,
        /// How long it was waited for.
        after: Duration,
        /// Whether the request was one that changes something.
        write: bool,
    },
    /// There was an answer, but not one of a management server.
    #[error(
        "{server} does not answer like a Fleetway management server ({reason}). {REST_ADDRESS}. Is the server of this version?"
    )]
    Unexpected {
        /// The server's address.
        server: String,
        /// What is odd about the answer.
        reason: String,
    },
}

const MAY_BE_MADE: &str =
    "The write may have been made: look at the newest revisions before sending it again";
const REST_ADDRESS: &str =
    "Is this its REST address? Another one is given with --server or FLEETWAY_SERVER";

fn next_step(sent: bool, write: bool) -> String {
    match (sent, write) {
        (false, _) => format!("Is it running? {REST_ADDRESS}"),
        (true, false) => REST_ADDRESS.to_owned(),
        (true, true) => format!("{MAY_BE_MADE}. {REST_ADDRESS}"),
    }
}

impl ClientError {
    /// The kind of problem, where the server told one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            _ => None,
        }
    }
}

/// The innermost cause: the layers around it only say that a request failed.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.source().is_none() {
        return error.to_string();
    }
    cause.to_string()
}

/// What to do about an error that is of the two ends not speaking the same, or not believing each
/// other. The request has then not arrived.
pub(super) fn remedy(error: &reqwest::Error, secure: bool) -> Option<&'static str> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(hyper) = this.downcast_ref::<hyper::Error>()
            && hyper.is_parse()
            && !secure
        {
            return Some("Does it speak TLS? Then write https://HOST:PORT");
        }
        if let Some(tls) = tls_error(this) {
            return of_tls(tls);
        }
        cause = this.source();
    }
    None
}

/// The fault of TLS that this is, or carries: an I/O error does not tell what is in it as its cause.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    let io = error.downcast_ref::<std::io::Error>()?;
    tls_error(io.get_ref()?)
}

const fn of_tls(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{CertificateError as Fault, Error};
    match error {
        Error::InvalidCertificate(Fault::UnknownIssuer | Fault::BadSignature) => Some(
            "No authority that is believed issued the server's certificate: give the one that did with --ca FILE or FLEETWAY_CA",
        ),
        Error::InvalidCertificate(
            Fault::NotValidForName | Fault::NotValidForNameContext { .. },
        ) => Some("Write the address with a name that the server's certificate is for"),
        Error::InvalidCertificate(
            Fault::Expired
            | Fault::ExpiredContext { .. }
            | Fault::NotValidYet
            | Fault::NotValidYetContext { .. },
        ) => Some(
            "The server's certificate does not count today: it has to be renewed, or a clock is wrong",
        ),
        Error::InvalidMessage(_) => Some("Does it speak TLS? If not, write http://HOST:PORT"),
        _ => None,
    }
}

/// The status and the beginning of a body that is no problem document.
pub(super) fn describe(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    if line.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}: {line}")
    }
}
