//! The end of an HTTP/2 connection: what it was answered last is not lost to a reset.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long, and how much of it in bytes, what the client still sends is read.
const LINGER: Duration = Duration::from_secs(5);
const MOST_SCRAP: usize = 8 * 1024 * 1024;

/// A connection that is shut down only once the client has ended it too, or has had its time.
///
/// A client that reads slowly goes on telling so (WINDOW_UPDATE, PING) while what it is to read is
/// still on its way. On a connection that is closed each of these is answered by a reset, which
/// takes along what was not read yet (RFC 9112 section 9.6 has the same of HTTP/1).
#[derive(Debug)]
pub(super) struct Lingering<I> {
    io: I,
    /// Its end was told.
    told: Option<Pin<Box<Sleep>>>,
    /// How much of what it sends is still read then.
    left: usize,
}

impl<I> Lingering<I> {
    pub(super) const fn new(io: I) -> Self {
        Self {
            io,
            told: None,
            left: MOST_SCRAP,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Lingering<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.told.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let over = this.told.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        // Before it reads: a client that never pauses is not waited for.
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut scrap = [0; 4096];
        while this.left > 0 {
            let mut scrap = ReadBuf::new(&mut scrap);
            // It is over either way.
            let read = ready!(Pin::new(&mut this.io).poll_read(cx, &mut scrap));
            match scrap.filled().len() {
                some @ 1.. if read.is_ok() => this.left = this.left.saturating_sub(some),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
