//! The validated listener.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use fleetway_proto::{Duration as ProtoDuration, v1};

use super::{
    AccessLog, Alpn, ClientCertificates, Common, DAY, HeaderRules, MILLISECOND, PolicyAttachment,
    ProxyProtocol, TcpListener, TlsPassthrough, TlsVersion, header_rules::Direction, label,
    policy_attachment, read_common, read_duration, read_number,
};
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
    /// The header connections begin with, if so.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// TLS on it, if so.
    pub tls: Option<ListenerTls>,
    /// How many connections there may be.
    pub limits: ConnectionLimits,
    /// Where a line for each request or connection goes, if anywhere.
    pub access_log: Option<AccessLog>,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2.
    Http(HttpListener),
    /// Anything over TCP.
    Tcp(TcpListener),
    /// TLS that an upstream terminates.
    TlsPassthrough(TlsPassthrough),
}

impl Protocol {
    fn read(check: &mut Checker, message: Option<v1::listener::Protocol>) -> Option<Self> {
        match message {
            Some(v1::listener::Protocol::Http(http)) => {
                Some(Self::Http(HttpListener::read(check, http)))
            }
            Some(v1::listener::Protocol::Tcp(tcp)) => {
                Some(Self::Tcp(TcpListener::read(check, tcp)))
            }
            Some(v1::listener::Protocol::TlsPassthrough(message)) => {
                Some(Self::TlsPassthrough(TlsPassthrough::read(check, message)))
            }
            None => {
                check.fault(
                    "",
                    "does not say what is spoken on it: give it `http: {}`, `tcp` or `tls_passthrough`",
                );
                None
            }
        }
    }

    /// Every cluster it names, with the path of the field that does.
    pub(super) fn clusters<'r>(&'r self, mut found: impl FnMut(&'r Name, &dyn Fn() -> String)) {
        match self {
            Self::Http(_) => {}
            Self::Tcp(tcp) => {
                for (index, cluster) in tcp.clusters.iter().enumerate() {
                    found(&cluster.name, &|| format!("tcp.clusters[{index}].name"));
                }
            }
            Self::TlsPassthrough(passthrough) => {
                for (field, clusters) in passthrough.cluster_lists() {
                    for (index, cluster) in clusters.iter().enumerate() {
                        found(&cluster.name, &|| format!("{field}[{index}].name"));
                    }
                }
            }
        }
    }
}

/// TLS as the proxy terminates it for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// The secrets with the certificates, at least one; the first is for clients that name none.
    pub certificates: Box<[Name]>,
    /// The lowest version spoken.
    pub min_version: TlsVersion,
    /// The highest version spoken.
    pub max_version: TlsVersion,
    /// What may be spoken over it where that is HTTP, the preferred first; never empty.
    pub alpn: Box<[Alpn]>,
    /// What is asked of clients, if anything.
    pub client_certificates: Option<ClientCertificates>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// HTTP on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpListener {
    /// How long a connection may stay open without a request on it.
    pub idle_timeout: Duration,
    /// How long requests in flight may go on once the listener goes away.
    pub drain_timeout: Duration,
    /// How paths are brought into one form.
    pub path_normalization: PathNormalization,
    /// What becomes of requests with an underscore in a field's name.
    pub underscores: Underscores,
    /// How many proxies before this one are trusted to tell whom a request is from.
    pub trusted_hops: usize,
    /// How much a client may ask.
    pub limits: HttpLimits,
    /// The policies that run for all requests, in their order.
    pub policies: Box<[PolicyAttachment]>,
    /// What is changed in requests on their way upstream.
    pub request_headers: Option<Box<HeaderRules>>,
    /// What is changed in responses.
    pub response_headers: Option<Box<HeaderRules>>,
}

/// How many connections a listener takes; `None` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How many may be open.
    pub connections: Option<u32>,
    /// How many may be open from one source.
    pub per_source: Option<u32>,
}

/// How much a client may ask over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// The head of a request in bytes.
    pub header_bytes: u32,
    /// The fields of a request's head.
    pub headers: u32,
    /// The target of a request in bytes.
    pub uri_bytes: u32,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How many requests a connection may bring; `None` for no limit.
    pub requests_per_connection: Option<u32>,
    /// How many requests may be in flight on a connection over HTTP/2.
    pub concurrent_streams: u32,
}

/// How paths are brought into one form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathNormalization {
    /// What becomes of encoded slashes and backslashes.
    pub escaped_slashes: EscapedSlashes,
    /// Whether repeated slashes stay.
    pub keep_repeated_slashes: bool,
}

/// What becomes of an encoded slash or a backslash in a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// The request is refused.
    #[default]
    Reject,
    /// It stays encoded.
    Keep,
    /// It becomes a slash.
    Unescape,
}

/// What becomes of a request with an underscore in a field's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Underscores {
    /// It is refused.
    #[default]
    Reject,
    /// It goes on without the field.
    Drop,
    /// It goes on as it is.
    Allow,
}

/// The most proxies that can be trusted.
const MAX_HOPS: u32 = 100;

impl Listener {
    pub(super) fn read(message: v1::Listener) -> Result<Self, Vec<FieldError>> {
        let mut check = Checker::new(label(Kind::Listener, &message.name));
        let common = read_common(&mut check, &message.name, &message.fleets, message.labels);
        let address = read_address(&mut check, "address", &message.address);
        let proxy_protocol = message
            .proxy_protocol
            .map(|settings| ProxyProtocol::read(&mut check, &settings));
        let is_http = matches!(
            message.protocol,
            None | Some(v1::listener::Protocol::Http(_))
        );
        let tls = message
            .tls
            .map(|tls| ListenerTls::read(&mut check, tls, is_http));
        let limits = ConnectionLimits::read(&mut check, message.limits.unwrap_or_default());
        let access_log = message
            .access_log
            .and_then(|log| AccessLog::read(&mut check, &log));
        let protocol = Protocol::read(&mut check, message.protocol);
        if tls.is_some() && matches!(protocol, Some(Protocol::TlsPassthrough(_))) {
            check.fault(
                "tls",
                "cannot be with `tls_passthrough`, where an upstream terminates TLS: leave one out",
            );
        }
        match (common, address, protocol) {
            (Some(common), Some(address), Some(protocol)) if check.is_clean() => Ok(Self {
                common,
                address,
                proxy_protocol,
                tls,
                limits,
                access_log,
                protocol,
            }),
            _ => Err(check.finish()),
        }
    }
}

impl ListenerTls {
    fn read(check: &mut Checker, message: v1::ListenerTls, is_http: bool) -> Self {
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
        let min_version = TlsVersion::read(check, "tls.min_version", message.min_version)
            .unwrap_or(TlsVersion::Tls12);
        let max_version = TlsVersion::read(check, "tls.max_version", message.max_version)
            .unwrap_or(TlsVersion::Tls13);
        if max_version < min_version {
            check.fault("tls.max_version", "is below `min_version`");
        }
        if !message.alpn.is_empty() && !is_http {
            check.fault(
                "tls.alpn",
                "is for listeners with `http`: leave it out, what else is spoken both ends know",
            );
        }
        Self {
            certificates: certificates.into(),
            min_version,
            max_version,
            alpn: Alpn::read_all(check, &message.alpn),
            client_certificates: message
                .client_certificates
                .and_then(|clients| ClientCertificates::read(check, clients)),
            handshake_timeout: read_duration(
                check,
                "tls.handshake_timeout",
                message.handshake_timeout,
                Duration::from_secs(10),
                (MILLISECOND, Duration::from_secs(300)),
            ),
        }
    }
}

impl Listener {
    /// Whether requests come in on it, for routes to take.
    #[must_use]
    pub fn takes_routes(&self) -> bool {
        matches!(self.protocol, Protocol::Http(_))
    }

    /// The policies that run for all requests on it, in their order.
    #[must_use]
    pub fn policies(&self) -> &[PolicyAttachment] {
        match &self.protocol {
            Protocol::Http(http) => &http.policies,
            Protocol::Tcp(_) | Protocol::TlsPassthrough(_) => &[],
        }
    }
}

impl HttpListener {
    fn read(check: &mut Checker, message: v1::HttpListener) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        if message.trusted_hops > MAX_HOPS {
            check.fault("http.trusted_hops", format!("must be at most {MAX_HOPS}"));
        }
        let paths = message.path_normalization.unwrap_or_default();
        let underscores = match message.headers_with_underscores() {
            v1::http_listener::HeadersWithUnderscores::Drop => Underscores::Drop,
            v1::http_listener::HeadersWithUnderscores::Allow => Underscores::Allow,
            _ => Underscores::Reject,
        };
        Self {
            idle_timeout: read_duration(
                check,
                "http.idle_timeout",
                message.idle_timeout,
                Duration::from_secs(75),
                (SECOND, DAY),
            ),
            drain_timeout: read_drain_timeout(check, "http.drain_timeout", message.drain_timeout),
            path_normalization: PathNormalization {
                escaped_slashes: match paths.escaped_slashes() {
                    v1::path_normalization::EscapedSlashes::Keep => EscapedSlashes::Keep,
                    v1::path_normalization::EscapedSlashes::Unescape => EscapedSlashes::Unescape,
                    _ => EscapedSlashes::Reject,
                },
                keep_repeated_slashes: paths.keep_repeated_slashes,
            },
            underscores,
            trusted_hops: usize::try_from(message.trusted_hops).unwrap_or_default(),
            limits: HttpLimits::read(check, message.limits.unwrap_or_default()),
            policies: policy_attachment::read_all(check, "http.policies", message.policies, true),
            request_headers: HeaderRules::read(
                check,
                Direction::Request,
                "http.request_headers",
                message.request_headers,
            ),
            response_headers: HeaderRules::read(
                check,
                Direction::Response,
                "http.response_headers",
                message.response_headers,
            ),
        }
    }
}

impl ConnectionLimits {
    fn read(check: &mut Checker, message: v1::ConnectionLimits) -> Self {
        const MOST: u32 = 10_000_000;
        let mut limit = |field: &str, value: Option<u32>, default| {
            let value = read_number(check, field, value, default, (0, MOST));
            (value > 0).then_some(value)
        };
        Self {
            connections: limit("limits.max_connections", message.max_connections, 100_000),
            per_source: limit(
                "limits.max_connections_per_source",
                message.max_connections_per_source,
                10_000,
            ),
        }
    }
}

impl HttpLimits {
    fn read(check: &mut Checker, message: v1::HttpLimits) -> Self {
        let header_timeout = read_duration(
            check,
            "http.limits.header_timeout",
            message.header_timeout,
            Duration::from_secs(10),
            (Duration::from_millis(100), Duration::from_secs(300)),
        );
        let mut number = |field: &str, value: Option<u32>, default, bounds| {
            read_number(
                check,
                &format!("http.limits.{field}"),
                value,
                default,
                bounds,
            )
        };
        let requests = number(
            "max_requests_per_connection",
            message.max_requests_per_connection,
            100_000,
            (0, 1_000_000_000),
        );
        Self {
            header_bytes: number(
                "max_header_bytes",
                message.max_header_bytes,
                65_536,
                (1024, 1_048_576),
            ),
            headers: number("max_headers", message.max_headers, 100, (10, 256)),
            uri_bytes: number(
                "max_uri_bytes",
                message.max_uri_bytes,
                16_384,
                (256, 65_536),
            ),
            header_timeout,
            requests_per_connection: (requests > 0).then_some(requests),
            concurrent_streams: number(
                "max_concurrent_streams",
                message.max_concurrent_streams,
                128,
                (1, 10_000),
            ),
        }
    }
}

/// Reads how long connections may go on once their listener goes away.
pub(super) fn read_drain_timeout(
    check: &mut Checker,
    field: &str,
    value: Option<ProtoDuration>,
) -> Duration {
    const MOST: Duration = Duration::from_secs(3600);
    let bounds = (Duration::ZERO, MOST);
    read_duration(check, field, value, Duration::from_secs(30), bounds)
}

/// Whether one process cannot bind both: they are equal, or one is a wildcard that takes in the
/// other. `[::]` takes in IPv4 too. Port 0 is a free port each time.
pub(super) fn meet(one: SocketAddr, two: SocketAddr) -> bool {
    if one.port() == 0 || one.port() != two.port() {
        return false;
    }
    let (a, b) = (one.ip().to_canonical(), two.ip().to_canonical());
    let takes_in =
        |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    one == two || takes_in(a, b) || takes_in(b, a) || (a == b && a.is_ipv4())
}

/// Reads `IP:PORT`.
pub(super) fn read_address(check: &mut Checker, field: &str, text: &str) -> Option<SocketAddr> {
    if text.is_empty() {
        check.fault(field, "is missing: write IP:PORT, such as 127.0.0.1:8080");
        return None;
    }
    check.take(|| field.to_owned(), parse_address(text))
}

/// Reads `IP:PORT`.
///
/// # Errors
/// What it should be.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "\"{text}\" is not IP:PORT, such as 127.0.0.1:8080 or [::1]:8080 (host names are not resolved)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_meets_what_it_takes_in_on_its_port() {
        for (one, two, want) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("0.0.0.0:80", "[::]:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("0.0.0.0:0", "127.0.0.1:0", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            let (a, b) = (one.parse().unwrap(), two.parse().unwrap());
            assert_eq!(meet(a, b), want, "{one} {two}");
            assert_eq!(meet(b, a), want, "{two} {one}");
        }
    }
}
