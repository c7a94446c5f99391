//! TLS as the first thing on a connection.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::detect::Protocol;
use crate::{
    telemetry::TlsShard,
    tls::{HandshakeError, Terminate, TlsFacts},
};

/// A connection whose handshake is over.
#[derive(Debug)]
pub(super) struct Secured {
    /// Boxed: it is large, and goes through many hands.
    pub(super) stream: Box<TlsStream<TcpStream>>,
    /// What both agreed to speak on it.
    pub(super) agreed: Option<Protocol>,
    pub(super) facts: Box<TlsFacts>,
}

/// Performs the handshake within its time, and counts it; nothing if it failed.
pub(super) async fn handshake(
    stream: TcpStream,
    peer: SocketAddr,
    terminate: &Terminate,
    counted: &TlsShard,
) -> Option<Secured> {
    match attempt(stream, terminate).await {
        Ok(secured) => {
            let version = secured.stream.get_ref().1.protocol_version();
            counted.succeeded(version, secured.facts.resumed);
            Some(secured)
        }
        Err(error) => {
            counted.failed(error.reason);
            tracing::debug!(%peer, reason = error.reason.label(), %error, "no TLS with the client");
            None
        }
    }
}

async fn attempt(stream: TcpStream, terminate: &Terminate) -> Result<Secured, HandshakeError> {
    let accepting = TlsAcceptor::from(Arc::clone(&terminate.config)).accept(stream);
    let stream = timeout(terminate.handshake_timeout, accepting)
        .await
        .map_err(|_| HandshakeError::timeout())??;
    let session = stream.get_ref().1;
    let agreed = match session.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(_) => Some(Protocol::Http1),
        None => None,
    };
    let facts = Box::new(TlsFacts::of(session)?);
    Ok(Secured {
        stream: Box::new(stream),
        agreed,
        facts,
    })
}
