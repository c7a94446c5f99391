//! TLS towards the members of a cluster.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fleetway_api::{Alpn, CaBundle, Certificate, TlsVersion, UpstreamProtocol, UpstreamTls};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::ServerName,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    HandshakeError, provider, roots,
    verify::{Believed, ServerVerifier},
    versions,
};

/// The most members and names whose sessions are kept for resumption.
const SESSIONS: usize = 1024;

/// How often a cluster's failed handshakes are told of in the log.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How a cluster's members are spoken to over TLS. Made anew for each change of the settings or of
/// a secret they name, so that neither a connection nor a session outlives what it was trusted by.
#[derive(Debug)]
pub struct Originate {
    /// Tells the connections made under it from all others.
    pub identity: Identity,
    /// For HTTP as the members speak it.
    config: Arc<ClientConfig>,
    /// For HTTP/1.1 alone, and for what is not HTTP: others only where the members may choose.
    http1: Arc<ClientConfig>,
    bytes: Arc<ClientConfig>,
    settings: UpstreamTls,
    protocol: UpstreamProtocol,
    /// What it was made of: the very ones of the secrets. With other revocation lists the
    /// authorities are others too.
    authorities: Option<Arc<RootCertStore>>,
    certified: Option<Arc<CertifiedKey>>,
    started: Instant,
    /// When the log was last told of a failure, in milliseconds after `started`, and one more.
    told: AtomicU64,
}

/// Which settings a connection was made under. No two have the same within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(u64);

/// What is to be spoken on a connection, where its member may choose (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speak {
    /// HTTP, of whichever version.
    Http,
    /// HTTP/1.1 only.
    Http1,
    /// What the client speaks, which nobody here knows.
    Bytes,
}

/// Why TLS cannot be set up: the field and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
pub struct SetupError(pub &'static str, pub String);

impl Originate {
    /// Makes it of a cluster's settings and the secrets they name, to speak
    /// `protocol`; gives `before` if that was made of the same.
    ///
    /// # Errors
    /// When the machine has no authorities, or the library refuses the settings.
    pub fn new(
        settings: &UpstreamTls,
        ca: Option<&CaBundle>,
        certificate: Option<&Certificate>,
        protocol: UpstreamProtocol,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, SetupError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let authorities = ca.map(|ca| ca.roots.clone());
        let certified = certificate.map(|certificate| certificate.certified.clone());
        if let Some(before) = before
            && before.settings == *settings
            && before.protocol == protocol
            && is_same(before.authorities.as_ref(), authorities.as_ref())
            && is_same(before.certified.as_ref(), certified.as_ref())
        {
            return Ok(before.clone());
        }
        let believed = believed(settings, ca)?;
        let builder = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(&versions(settings.min_version, TlsVersion::Tls13))
            .map_err(|error| SetupError("tls", error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(believed)));
        let mut config = match &certified {
            Some(key) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let offering = |offered: &[Alpn]| {
            let mut config = config.clone();
            config.alpn_protocols = offered.iter().map(|one| one.id().to_vec()).collect();
            Arc::new(config)
        };
        let (config, http1, bytes) = match protocol {
            UpstreamProtocol::Http1 => same(offering(&[])),
            // RFC 9113 section 3.2.
            UpstreamProtocol::Http2 => same(offering(&[Alpn::H2])),
            UpstreamProtocol::Auto => (
                offering(&[Alpn::H2, Alpn::Http11]),
                offering(&[Alpn::Http11]),
                offering(&[]),
            ),
        };
        Ok(Arc::new(Self {
            identity: Identity(NEXT.fetch_add(1, Relaxed)),
            config,
            http1,
            bytes,
            settings: settings.clone(),
            protocol,
            authorities,
            certified,
            started: Instant::now(),
            told: AtomicU64::new(0),
        }))
    }

    /// Performs the handshake on a connection to `member`, to speak `speak` on it.
    ///
    /// # Errors
    /// When the other side is not believed, does not believe, or speaks no such TLS.
    pub async fn handshake(
        &self,
        member: SocketAddr,
        stream: TcpStream,
        speak: Speak,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let name = match &self.settings.server_name {
            Some(name) => name.clone(),
            None => ServerName::IpAddress(member.ip().to_canonical().into()),
        };
        let config = match speak {
            Speak::Http => &self.config,
            Speak::Http1 => &self.http1,
            Speak::Bytes => &self.bytes,
        };
        let connector = TlsConnector::from(config.clone());
        Ok(connector.connect(name, stream).await?)
    }

    /// Whether the log may be told of a failed handshake now: not too often.
    #[must_use]
    pub fn may_tell(&self) -> bool {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1);
        let now = millis(self.started.elapsed()) + 1;
        let told = self.told.load(Relaxed);
        let due = told == 0 || now >= told.saturating_add(millis(TELL_EVERY));
        due && self
            .told
            .compare_exchange(told, now, Relaxed, Relaxed)
            .is_ok()
    }
}

fn believed(
    settings: &UpstreamTls,
    authorities: Option<&CaBundle>,
) -> Result<Believed, SetupError> {
    if settings.insecure_skip_verify {
        return Ok(Believed::Any);
    }
    let roots = match authorities {
        Some(authorities) => authorities.roots.clone(),
        None => roots::of_machine().map_err(|error| SetupError("tls.ca", error.to_string()))?,
    };
    let lists = authorities.and_then(|authorities| authorities.revocation.clone());
    Ok(Believed::Of(
        roots,
        lists,
        settings.subject_alt_names.clone(),
    ))
}

/// The same for every use.
fn same(config: Arc<ClientConfig>) -> (Arc<ClientConfig>, Arc<ClientConfig>, Arc<ClientConfig>) {
    (config.clone(), config.clone(), config)
}

/// Whether both are the very same, or neither is.
fn is_same<T>(one: Option<&Arc<T>>, two: Option<&Arc<T>>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => Arc::ptr_eq(one, two),
        (None, None) => true,
        _ => false,
    }
}
