//! A stream that carries another protocol.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::relay::Side;

/// Both directions of a stream as bytes, which is what one is after CONNECT (RFC 9113 section 8.5,
/// RFC 8441). Dropped before both have ended, it resets the stream.
#[derive(Debug)]
pub struct Duplex {
    sending: SendStream<Bytes>,
    receiving: RecvStream,
    /// Received and not yet read.
    read: Bytes,
    /// The last byte was sent.
    ended: bool,
}

impl Duplex {
    /// The two directions together.
    #[must_use]
    pub const fn new(sending: SendStream<Bytes>, receiving: RecvStream) -> Self {
        Self {
            sending,
            receiving,
            read: Bytes::new(),
            ended: false,
        }
    }
}

impl Side for Duplex {
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.sending.poll_reset(cx).map(|gone| match gone {
            Ok(reason) => io::Error::new(io::ErrorKind::ConnectionReset, reason.description()),
            Err(error) => io_error(error),
        })
    }

    /// Ends it as a broken connection does (RFC 8441 section 5).
    fn reset(&mut self) {
        self.sending.send_reset(Reason::CANCEL);
    }
}

fn io_error(error: h2::Error) -> io::Error {
    if error.is_reset() {
        return io::Error::new(io::ErrorKind::ConnectionReset, error);
    }
    io::Error::other(error)
}

impl AsyncRead for Duplex {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read.is_empty() {
            match ready!(this.receiving.poll_data(cx)) {
                Some(Ok(bytes)) => this.read = bytes,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let some = this.read.len().min(buffer.remaining());
        buffer.put_slice(this.read.get(..some).unwrap_or_default());
        this.read.advance(some);
        // Fails only where the stream is gone, which the next poll tells.
        let _ = this.receiving.flow_control().release_capacity(some);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.sending.reserve_capacity(bytes.len());
        while this.sending.capacity() == 0 {
            match ready!(this.sending.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let some = bytes.len().min(this.sending.capacity());
        let some = Bytes::copy_from_slice(bytes.get(..some).unwrap_or_default());
        let length = some.len();
        this.sending.send_data(some, false).map_err(io_error)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task sends.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ended {
            this.ended = true;
            let sent = this.sending.send_data(Bytes::new(), true);
            sent.map_err(io_error)?;
        }
        Poll::Ready(Ok(()))
    }
}
