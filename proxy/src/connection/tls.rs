//! TLS as the first thing on a connection.

use std::{io, net::SocketAddr, sync::Arc};

use fleetway_api::{Name, linger};
use rustls::ProtocolVersion;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::detect::Protocol;
use crate::{
    telemetry::TlsShard,
    tls::{Corked, HandshakeError, Terminate, TlsFacts, noting_refused},
};

/// A connection whose handshake is over.
#[derive(Debug)]
pub(super) struct Secured {
    /// Boxed: it is large, and goes through many hands.
    pub(super) stream: Box<TlsStream<Corked>>,
    /// What both agreed to speak on it.
    pub(super) agreed: Option<Protocol>,
    pub(super) facts: Box<TlsFacts>,
}

/// Performs the handshake within its time, and counts it; nothing if it failed.
pub(super) async fn handshake(
    stream: TcpStream,
    peer: SocketAddr,
    listener: &Name,
    terminate: &Terminate,
    counted: &TlsShard,
) -> Option<Secured> {
    let (outcome, subject) = noting_refused(attempt(stream, terminate)).await;
    match outcome {
        Ok(secured) => {
            let version = secured.stream.get_ref().1.protocol_version();
            counted.succeeded(version, secured.facts.resumed);
            Some(secured)
        }
        Err((error, left)) => {
            counted.failed(error.reason);
            // A subject is the client's word: as a value of its own it is written with escapes.
            let subject = subject.as_deref();
            tracing::debug!(%peer, %listener, reason = error.reason.label(), subject, %error, "no TLS with the client");
            if let Some(stream) = left {
                Box::pin(linger(stream)).await;
            }
            None
        }
    }
}

/// A handshake that failed, with the connection where the client may still read on it.
type Failed = (HandshakeError, Option<Corked>);

async fn attempt(stream: TcpStream, terminate: &Terminate) -> Result<Secured, Failed> {
    let acceptor = TlsAcceptor::from(Arc::clone(&terminate.config));
    let accepting = async {
        let accepting = acceptor.accept(Corked::new(stream)).into_fallible();
        let mut stream = accepting.await.map_err(|(error, stream)| {
            // Only what is wrong with the TLS in it leaves a connection behind.
            let open = error.kind() == io::ErrorKind::InvalidData;
            (error.into(), open.then_some(stream))
        })?;
        let (corked, session) = stream.get_mut();
        match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => corked.established(),
            // The server has the last word, and the client waits for it (RFC 5246 section 7.3).
            _ => corked
                .uncork()
                .await
                .map_err(|error| (error.into(), None))?,
        }
        Ok(stream)
    };
    let accepted = timeout(terminate.handshake_timeout, accepting).await;
    let stream = accepted.map_err(|_| (HandshakeError::timeout(), None))??;
    let session = stream.get_ref().1;
    let agreed = match session.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(_) => Some(Protocol::Http1),
        None => None,
    };
    let facts = TlsFacts::of(session).map_err(|error| (error, None))?;
    let facts = Box::new(facts);
    Ok(Secured {
        stream: Box::new(stream),
        agreed,
        facts,
    })
}
