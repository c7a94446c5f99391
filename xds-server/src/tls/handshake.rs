//! The server's side of a handshake, whose failure the client gets to read.

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a client that is refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what it sends meanwhile is read, in bytes.
const MOST_SCRAP: usize = 256 * 1024;

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

/// Ends a connection on which an alert was sent so that the client gets to read it. A client of
/// TLS 1.3 is done with the handshake before its certificate was looked at, and speaks at once:
/// what nobody read of that would make of the end a reset, which can overtake the alert (RFC 1122
/// section 4.2.2.13).
async fn linger(mut stream: TcpStream) {
    let reading = async {
        stream.shutdown().await?;
        let mut scrap = [0; 4096];
        let mut left = MOST_SCRAP;
        while left > 0 {
            match stream.read(&mut scrap).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<(), io::Error>(())
    };
    // It is over either way.
    let _ = timeout(LINGER, reading).await;
}
