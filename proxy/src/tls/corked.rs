//! What TLS writes, in as few segments as its reader needs.
//!
//! rustls hands out each message when it is made. The tickets of a handshake (RFC 8446 section
//! 4.6.1), which nobody waits for, would be a segment of their own, as would the alert that closes a
//! connection behind a small response.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{held::Held, relay::Side};

/// The most that is held: what is longer is written as it comes.
const HELD_MAX: usize = 4096;

/// A client's connection beneath its TLS. Small writes are held until they are flushed, until more
/// comes than is held, or, in the handshake, until the client is waited for.
#[derive(Debug)]
pub struct Corked {
    stream: TcpStream,
    held: Held,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client's answer is waited for as soon as something is read in vain.
    Handshake,
    /// What is held is the handshake's last, and can wait for what is written next.
    Tickets,
    /// A flush is a flush.
    Open,
    /// The last byte was written; the client is told so when this is read on or dropped.
    Shut,
    /// It was told.
    Told,
}

impl Corked {
    /// A connection whose handshake is about to begin.
    pub const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            held: Held::new(),
            state: State::Handshake,
        }
    }

    /// The handshake is over, and the client waits for nothing of it.
    pub fn established(&mut self) {
        self.state = State::Tickets;
        self.held.shrink();
    }

    /// Writes what is held.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn uncork(&mut self) -> io::Result<()> {
        self.state = State::Open;
        poll_fn(|cx| self.poll_held(cx)).await
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.poll_write(&mut self.stream, cx)
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state == State::Shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.state = State::Told;
        }
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_pending() && this.state == State::Handshake {
            // Where it cannot be written now, this is called again once it can.
            if let Poll::Ready(Err(error)) = this.poll_held(cx) {
                return Poll::Ready(Err(error));
            }
        }
        read
    }
}

impl AsyncWrite for Corked {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let fresh: usize = slices.iter().map(|slice| slice.len()).sum();
        if this.state == State::Tickets {
            this.state = State::Open;
        }
        if this.held.len() + fresh <= HELD_MAX {
            this.held.add(slices);
            return Poll::Ready(Ok(fresh));
        }
        this.held.poll_write_and(&mut this.stream, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.state {
            State::Handshake | State::Tickets => Poll::Ready(Ok(())),
            State::Open | State::Shut | State::Told => this.poll_held(cx),
        }
    }

    /// Closing a connection ends it as well: who does not read on needs no call for it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.held.is_empty() {
            let (held, stream) = (&mut this.held, &mut this.stream);
            ready!(held.poll_write_by(|bytes| stream.poll_write_last(cx, bytes)))?;
            this.state = State::Told;
        }
        if this.state != State::Told {
            this.state = State::Shut;
            // Who waits for what it reads already is to read again.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }
}

impl Side for Corked {
    /// Its bytes are not those of the stream: TLS is between.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    fn reset(&mut self) {
        self.held.release();
        self.stream.reset();
    }
}

/// What is still held tells the client why, where its connection ends in an error.
impl Drop for Corked {
    fn drop(&mut self) {
        if self.state != State::Tickets && !self.held.is_empty() {
            // As much as there is room for: it is over either way.
            let _ = self.stream.try_write(self.held.bytes());
        }
    }
}

#[cfg(test)]
mod tests;
