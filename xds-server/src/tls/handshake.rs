//! The server's side of a handshake, whose failure the client gets to read.

use std::{io, sync::Arc, time::Duration};

use fleetway_api::linger;
use rustls::ServerConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Performs a handshake; nothing if it fails, which `tell` is given the reason of, or does not end
/// within `patience`.
pub(crate) async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    patience: Duration,
    tell: impl FnOnce(&io::Error),
) -> Option<Box<TlsStream<TcpStream>>> {
    let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
    match timeout(patience, accepting).await.ok()? {
        Ok(stream) => Some(Box::new(stream)),
        Err((error, stream)) => {
            tell(&error);
            // Only what is wrong with the TLS in it leaves a connection behind.
            if error.kind() == io::ErrorKind::InvalidData {
                linger(stream).await;
            }
            None
        }
    }
}
