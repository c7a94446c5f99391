//! TLS as a listener terminates it.

use std::{sync::Arc, time::Duration};

use fleetway_api::{Certificate, ListenerTls};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{self, Ticketer},
    server::ProducesTickets,
};

use super::certificates::Certificates;

/// How a listener terminates TLS: its certificates, and what is agreed on.
#[derive(Debug)]
pub struct Terminate {
    /// What rustls needs for a handshake.
    pub config: Arc<ServerConfig>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// What a client may speak over TLS, the preferred first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

impl Terminate {
    /// Makes it of a listener's settings and `certificates`, in their order. What is spoken within
    /// is agreed on where it is HTTP, and else left to both ends. Sessions of `before` can be
    /// resumed.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new<'c>(
        _settings: &ListenerTls,
        http: bool,
        certificates: impl IntoIterator<Item = &'c Certificate>,
        before: Option<&Self>,
    ) -> Result<Self, rustls::Error> {
        let ticketer: Arc<dyn ProducesTickets> = match before {
            Some(before) => before.config.ticketer.clone(),
            None => Ticketer::new()?,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Certificates::new(certificates)));
        if http {
            config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        }
        config.ticketer = ticketer;
        Ok(Self {
            config: Arc::new(config),
            handshake_timeout: HANDSHAKE_TIMEOUT,
        })
    }
}
