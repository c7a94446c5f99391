//! What is known of a request besides its head.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration, time::SystemTime};

use crate::Outbound;

/// What HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// What the requests of a connection have in common.
#[derive(Debug, Clone)]
pub struct Client {
    /// Who sends them.
    pub address: SocketAddr,
    /// The listener they came in on.
    pub listener: Arc<str>,
    /// The connection, by a number of its own.
    pub connection: u64,
    /// What its TLS handshake told, if it came over TLS.
    pub tls: Option<Tls>,
}

/// What a TLS handshake told.
#[derive(Debug, Clone)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name the client asked for.
    pub server_name: Option<String>,
    /// The certificate it showed, verified.
    pub certificate: Option<Certificate>,
}

/// A client's certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The subject (RFC 4514).
    pub subject: String,
    /// The names that are URIs.
    pub uris: Vec<String>,
    /// The names that are DNS names.
    pub dns_names: Vec<String>,
    /// SHA-256 of its DER form, in lower-case hexadecimal.
    pub sha256: String,
}

/// Brings a path into its normal form, or says why it has none.
pub type PathRule = dyn Fn(&str) -> Result<String, String> + Send + Sync;

/// The largest heads that are carried on.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many fields.
    pub fields: usize,
    /// The bytes of their names and values in all.
    pub bytes: usize,
}

/// What is known of a request besides its head.
#[derive(Clone)]
pub struct Facts {
    /// Its id.
    pub id: String,
    /// When its head had come.
    pub received: SystemTime,
    /// What it came in.
    pub protocol: Protocol,
    /// Whom it is from.
    pub client: Arc<Client>,
    /// What its path has to be like.
    pub paths: Arc<PathRule>,
    /// How large its head may become.
    pub bounds: Bounds,
    /// How many requests of policies of this proxy have led to it, one through the other.
    pub hops: u32,
    /// What sends the requests of policies; none where they cannot be sent.
    pub outbound: Option<Arc<dyn Outbound>>,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("id", &self.id)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// Where a request is about to go.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    /// The route that takes it.
    pub route: String,
    /// The labels of that route.
    pub labels: Vec<(String, String)>,
    /// The cluster it goes to.
    pub cluster: String,
    /// The authority the upstream will see.
    pub authority: String,
    /// Path and query it will see.
    pub path_with_query: String,
    /// The authority a policy wants it to see.
    pub set_authority: Option<http::HeaderValue>,
    /// The time a policy gives the whole exchange.
    pub set_timeout: Option<Duration>,
    /// How often and for what a policy has it sent again.
    pub set_retries: Option<Retries>,
}

/// How often a request is sent again, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often at most: 1 to [`Retries::MAX`].
    pub count: u32,
    /// Where no connection came about or the upstream did not process it.
    pub connect_failure: bool,
    /// Where the connection broke before there was a response.
    pub reset: bool,
    /// Where the response is 502, 503 or 504.
    pub gateway_error: bool,
}

impl Retries {
    /// The most there are.
    pub const MAX: u32 = 10;
}

/// How a response came to be.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// The route that took the request.
    pub route: Option<String>,
    /// The cluster it was sent to.
    pub cluster: Option<String>,
    /// The endpoint that answered.
    pub endpoint: Option<SocketAddr>,
    /// From the request's head to the response's.
    pub duration: Duration,
}
