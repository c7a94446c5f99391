//! The validated listener.

use std::{net::SocketAddr, time::Duration};

use fleetway_proto::v1;

use super::{Common, DAY, label, read_common, read_duration};
use crate::{FieldError, Kind, Name, error::Checker};

/// The most certificates of a listener.
const MAX_CERTIFICATES: usize = 1000;

/// A socket a proxy accepts connections on.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Name, fleets, labels.
    pub common: Common,
    /// Where to listen; port 0 lets the operating system choose.
    pub address: SocketAddr,
    /// TLS on it, if so.
    pub tls: Option<ListenerTls>,
    /// What is spoken on it.
    pub http: HttpListener,
}

/// TLS as the proxy terminates it for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// The secrets with the certificates, at least one; the first is for clients that name none.
    pub certificates: Box<[Name]>,
}

/// HTTP on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpListener {
    /// How long a connection may stay open without a request on it.
    pub idle_timeout: Duration,
    /// How long requests in flight may go on once the listener goes away.
    pub drain_timeout: Duration,
}

impl Listener {
    pub(super) fn read(message: v1::Listener) -> Result<Self, Vec<FieldError>> {
        let mut check = Checker::new(label(Kind::Listener, &message.name));
        let common = read_common(&mut check, &message.name, &message.fleets, message.labels);
        let address = read_address(&mut check, "address", &message.address);
        let tls = message.tls.map(|tls| ListenerTls::read(&mut check, &tls));
        let http = match message.protocol {
            Some(v1::listener::Protocol::Http(http)) => Some(HttpListener::read(&mut check, http)),
            None => {
                check.fault(
                    "http",
                    "is missing: say what is spoken on it, such as `http: {}`",
                );
                None
            }
        };
        match (common, address, http) {
            (Some(common), Some(address), Some(http)) if check.is_clean() => Ok(Self {
                common,
                address,
                tls,
                http,
            }),
            _ => Err(check.finish()),
        }
    }
}

impl ListenerTls {
    fn read(check: &mut Checker, message: &v1::ListenerTls) -> Self {
        const FIELD: &str = "tls.certificates";
        let mut certificates: Vec<Name> = Vec::with_capacity(message.certificates.len());
        if message.certificates.is_empty() {
            check.fault(FIELD, "is empty: name the secret with the certificate");
        }
        if message.certificates.len() > MAX_CERTIFICATES {
            check.fault(FIELD, format!("must be at most {MAX_CERTIFICATES}"));
        }
        let known = message.certificates.iter().take(MAX_CERTIFICATES);
        for (index, name) in known.enumerate() {
            let field = || format!("{FIELD}[{index}]");
            match check.take(field, Name::new(name)) {
                Some(name) if certificates.contains(&name) => {
                    check.fault(field(), format!("names {name} a second time"));
                }
                Some(name) => certificates.push(name),
                None => {}
            }
        }
        Self {
            certificates: certificates.into(),
        }
    }
}

impl HttpListener {
    fn read(check: &mut Checker, message: v1::HttpListener) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        Self {
            idle_timeout: read_duration(
                check,
                "http.idle_timeout",
                message.idle_timeout,
                Duration::from_secs(75),
                (SECOND, DAY),
            ),
            drain_timeout: read_duration(
                check,
                "http.drain_timeout",
                message.drain_timeout,
                Duration::from_secs(30),
                (Duration::ZERO, Duration::from_secs(3600)),
            ),
        }
    }
}

/// Reads `IP:PORT`.
pub(super) fn read_address(check: &mut Checker, field: &str, text: &str) -> Option<SocketAddr> {
    if text.is_empty() {
        check.fault(field, "is missing: write IP:PORT, such as 127.0.0.1:8080");
        return None;
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    check.fault(
        field,
        format!("\"{text}\" is not IP:PORT, such as 127.0.0.1:8080 or [::1]:8080 (host names are not resolved)"),
    );
    None
}
