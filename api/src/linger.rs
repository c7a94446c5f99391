//! The end of a connection whose peer is to read what was sent last.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
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
        let mut left = MOST_SCRAP;
        poll_fn(|cx| poll_discard(&mut stream, cx, &mut left)).await;
        Ok::<(), io::Error>(())
    };
    // It is over either way.
    let _ = timeout(LINGER, reading).await;
}

/// Reads and throws away what comes until the end of the connection, or until `left` bytes have: so
/// many less are left each time. An error is an end too.
pub fn poll_discard(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    left: &mut usize,
) -> Poll<()> {
    let mut scrap = [0; 4096];
    while *left > 0 {
        let mut scrap = ReadBuf::new(&mut scrap);
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut scrap));
        match (read, scrap.filled().len()) {
            (Ok(()), some @ 1..) => *left = left.saturating_sub(some),
            _ => break,
        }
    }
    Poll::Ready(())
}
