//! Bytes passed on between two streams, both ways at once, until both have ended.
//!
//! What one side sends is read only once the other has taken what came before: at most a buffer of
//! it is held for each direction, and nothing while it is quiet. A side that has sent its last byte
//! goes on receiving.

mod abrupt;
mod buffers;
mod clock;
mod flow;
pub mod pipe;

use std::{
    future::poll_fn,
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

pub use abrupt::Abrupt;
use bytes::Bytes;
use clock::Clock;
pub use clock::Limits;
use flow::{Fault, Flow};
use rustix::net::{SendFlags, Shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// One side of a relay.
pub trait Side: AsyncRead + AsyncWrite + Unpin {
    /// The connection, where its bytes are those of the stream: the kernel can pass them on.
    fn plain(&self) -> Option<&TcpStream>;

    /// Whether the runtime does not know of the connection yet: it would have to be registered to be waited for.
    fn is_unregistered(&self) -> bool {
        false
    }

    /// Writes, as `poll_write` does, the last bytes there are. Where it can, it ends this side's writing
    /// with the last of them, so that one packet tells both.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    /// Ready once it is gone, where that can be told without reading from it or writing to it.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }

    /// Has it end, when it is dropped, so that the other side cannot take what was cut for whole.
    fn reset(&mut self);
}

impl Side for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            match self.try_io(Interest::WRITABLE, || send_last(&*self, bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn reset(&mut self) {
        // Where it cannot be set the connection is gone already.
        let _ = self.set_zero_linger();
    }
}

/// Sends the last bytes there are of a connection that does not block, and its end if all of them are sent.
///
/// # Errors
/// When the connection is broken, or takes nothing now.
pub fn send_last(stream: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let sent = rustix::net::send(&stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?;
    if sent == bytes.len() {
        // What was sent is held for this, and is not lost if something is unread when the connection is
        // closed.
        rustix::net::shutdown(&stream, Shutdown::Write)?;
    }
    Ok(sent)
}

/// Why a relay ended before both sides had.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The client's connection broke.
    #[error("the client's connection broke: {0}")]
    Client(#[source] io::Error),
    /// The upstream's connection broke.
    #[error("the upstream's connection broke: {0}")]
    Upstream(#[source] io::Error),
    /// No byte in either direction for the time allowed.
    #[error("idle for too long")]
    Idle,
    /// It has lasted as long as it may.
    #[error("open for too long")]
    Expired,
}

impl<S: Side> Side for Box<TlsStream<S>> {
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    fn reset(&mut self) {
        self.get_mut().0.reset();
    }
}

/// What was read of the two sides before their relay begins.
#[derive(Debug, Default)]
pub struct Early {
    /// Of the client.
    pub client: Bytes,
    /// Of the upstream.
    pub upstream: Bytes,
}

/// Passes bytes on until both sides have ended, `early` before all others. `moved` is told of the
/// bytes given to the upstream and to the client, as they are.
///
/// # Errors
/// When it ends otherwise. Both connections are then to be reset, or what was cut looks whole.
pub async fn relay<C: Side, U: Side>(
    client: &mut C,
    upstream: &mut U,
    early: Early,
    limits: Limits,
    mut moved: impl FnMut(u64, u64),
) -> Result<(), Cut> {
    let (mut up, mut down) = (Flow::of(early.client), Flow::of(early.upstream));
    let mut clock = Clock::new(limits);
    poll_fn(|cx| {
        let to_upstream = up.poll(client, upstream, cx).map_err(|fault| match fault {
            Fault::Source(error) => Cut::Client(error),
            Fault::Sink(error) => Cut::Upstream(error),
        });
        let to_client = down
            .poll(upstream, client, cx)
            .map_err(|fault| match fault {
                Fault::Source(error) => Cut::Upstream(error),
                Fault::Sink(error) => Cut::Client(error),
            });
        let progress = (up.take_moved(), down.take_moved());
        if progress != (0, 0) {
            moved(progress.0, progress.1);
            clock.touch();
        }
        match (to_upstream?, to_client?) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => {
                // What is neither read from nor written to now is looked after all the same.
                if let Poll::Ready(gone) = client.poll_gone(cx) {
                    return Poll::Ready(Err(Cut::Client(gone)));
                }
                if let Poll::Ready(gone) = upstream.poll_gone(cx) {
                    return Poll::Ready(Err(Cut::Upstream(gone)));
                }
                clock.poll(cx).map(Err)
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests;
