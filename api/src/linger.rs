//! The end of a connection whose peer is to read what was sent last.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// How long the peer may take to read it.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what it sends meanwhile is read, in bytes.
const MOST_SCRAP: usize = 256 * 1024;

/// Ends a connection on which an alert of TLS was sent so that the client gets to read it, within a
/// second and 256 KiB.
///
/// A client of TLS 1.3 is done with the handshake before its certificate was looked at, and speaks
/// at once: what nobody read of that would make of the end a reset, which can overtake the alert
/// (RFC 1122 section 4.2.2.13).
pub async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
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
