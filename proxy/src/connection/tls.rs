//! TLS as the first thing on a connection.

use std::{io, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{detect::Protocol, http::BoxError};
use crate::tls::Terminate;

/// Performs the handshake within its time. Gives the stream and what both agreed to speak on it.
pub(super) async fn handshake(
    stream: TcpStream,
    terminate: &Terminate,
) -> Result<(TlsStream<TcpStream>, Option<Protocol>), BoxError> {
    let acceptor = TlsAcceptor::from(Arc::clone(&terminate.config));
    let accepting = acceptor.accept(stream);
    let stream = tokio::time::timeout(terminate.handshake_timeout, accepting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))?
        .map_err(|error| format!("TLS handshake: {error}"))?;
    let agreed = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(_) => Some(Protocol::Http1),
        None => None,
    };
    Ok((stream, agreed))
}
