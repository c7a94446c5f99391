//! Opening a connection to an endpoint.

use std::{io, net::SocketAddr};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::client::TlsStream;

use super::{Stream, UpstreamError};
use crate::{
    cluster::Cluster,
    proxy_protocol::{Addresses, encode},
    sending,
    telemetry::TlsFailure,
    tls::{HandshakeError, Originate, Speak},
};

/// Connects within the cluster's time, TLS included, to speak `speak`. Where the cluster is to be told, the connection
/// begins with which client it is for.
///
/// # Errors
/// When it takes too long, is refused, or TLS fails.
pub async fn connect(
    cluster: &Cluster,
    worker: usize,
    endpoint: SocketAddr,
    speak: Speak,
    client: impl FnOnce() -> Addresses,
) -> Result<Stream, UpstreamError> {
    let header = cluster
        .proxy_protocol
        .map(|version| encode(version, &client()));
    let until = Instant::now() + cluster.connect_timeout;
    let connecting = async {
        let mut stream = TcpStream::connect(endpoint).await?;
        sending::at_once(&stream, endpoint.ip())?;
        if let Some(header) = header {
            stream.write_all(header.as_bytes()).await?;
        }
        io::Result::Ok(stream)
    };
    let stream = timeout_at(until, connecting)
        .await
        .map_err(|_| UpstreamError::ConnectTimeout(endpoint))?
        .map_err(|error| UpstreamError::Connect(endpoint, error))?;
    match &cluster.tls {
        None => Ok(Stream::Plain(stream)),
        // Boxed, so that connecting in the clear does not hold the room for it.
        Some(tls) => {
            let handshake = tls.handshake(endpoint, stream, speak);
            Box::pin(secure(cluster, tls, worker, endpoint, handshake, until)).await
        }
    }
}

/// Performs the TLS handshake, and counts it.
async fn secure(
    cluster: &Cluster,
    tls: &Originate,
    worker: usize,
    endpoint: SocketAddr,
    handshake: impl Future<Output = Result<TlsStream<TcpStream>, HandshakeError>>,
    until: Instant,
) -> Result<Stream, UpstreamError> {
    let counted = &cluster.counters.shard(worker).tls;
    let handshake = timeout_at(until, handshake).await;
    match handshake.unwrap_or_else(|_| Err(HandshakeError::timeout())) {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            counted.succeeded(session.protocol_version(), resumed);
            Ok(Stream::Tls(Box::new(stream), tls.identity))
        }
        Err(error) => {
            counted.failed(error.reason);
            if tls.may_tell() {
                let reason = error.reason.label();
                tracing::warn!(cluster = %cluster.name, %endpoint, reason, %error, "no TLS with the upstream; told of at most every 10 s");
            }
            Err(match error.reason {
                TlsFailure::Timeout => UpstreamError::ConnectTimeout(endpoint),
                _ => UpstreamError::Tls(endpoint, error),
            })
        }
    }
}
