//! A client and an upstream that speak another protocol than HTTP: bytes both ways until both have
//! ended.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, watchdog::Watchdog};
use crate::{
    http1::{ReadBuffer, Switched},
    upstream::{InFlight, Stream},
};

/// The upstream's side of a tunnel, before its client's is there.
#[derive(Debug)]
pub struct Tunnel {
    upstream: Switched<Stream>,
    idle_timeout: Option<Duration>,
    /// Counted as in flight until it ends.
    _in_flight: InFlight,
}

impl Tunnel {
    pub(super) fn new(
        upstream: Switched<Stream>,
        idle_timeout: Option<Duration>,
        in_flight: InFlight,
    ) -> Self {
        Self {
            upstream,
            idle_timeout,
            _in_flight: in_flight,
        }
    }

    /// Relays between `client` and the upstream until both have ended, one of them fails, or no
    /// byte has moved for the time of the route. To end it before, drop the future.
    pub async fn run<I>(self, connection: &Connection, client: Switched<I>)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let view = connection.entrance.view(&connection.local);
        let counters = view.listener.counters.clone();
        drop(view);
        let counted = Counted::begin(counters.shard(connection.local.worker));
        let ended = relay(client, self.upstream, self.idle_timeout).await;
        if let Err(error) = ended {
            tracing::debug!(peer = %connection.peer, %error, "a tunnel ended in an error");
        }
        drop(counted);
    }
}

/// Counts a tunnel as open until dropped.
struct Counted<'s>(&'s crate::telemetry::ListenerShard);

impl<'s> Counted<'s> {
    fn begin(shard: &'s crate::telemetry::ListenerShard) -> Self {
        shard.tunnels.increment();
        shard.tunnels_active.increment();
        Self(shard)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.tunnels_active.decrement();
    }
}

/// Passes bytes both ways until both sides have ended. An end is passed on too, so either side may
/// go on sending after the other has ended.
///
/// # Errors
/// When a side fails, or no byte has moved in either direction for `idle_timeout`.
async fn relay<A, B>(
    a: Switched<A>,
    b: Switched<B>,
    idle_timeout: Option<Duration>,
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut a_io, mut b_io) = (a.io, b.io);
    let mut watchdog = Watchdog::new(None, idle_timeout);
    let (mut to_b, mut to_a) = (Direction::of(a.read), Direction::of(b.read));
    std::future::poll_fn(|cx| {
        let moved = to_b.moved + to_a.moved;
        let there = to_b.poll_pass(&mut a_io, &mut b_io, cx)?;
        let back = to_a.poll_pass(&mut b_io, &mut a_io, cx)?;
        if there.is_ready() && back.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if to_b.moved + to_a.moved != moved {
            watchdog.activity().touch();
        }
        watchdog
            .poll_expired(cx)
            .map(|_| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// One direction of a tunnel. What one side does not read waits here, up to one read's worth, and
/// the other side is not read meanwhile. Where nothing waits no memory is held.
#[derive(Debug)]
struct Direction {
    buffer: ReadBuffer,
    /// How many bytes were written.
    moved: u64,
    unflushed: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There may be more to read.
    Reading,
    /// The side that is read has ended.
    Ended,
    /// The side that is written knows that.
    Shut,
}

impl Direction {
    fn of(read: bytes::Bytes) -> Self {
        let mut buffer = ReadBuffer::new();
        buffer.bytes = BytesMut::from(read);
        Self {
            buffer,
            moved: 0,
            unflushed: false,
            state: State::Reading,
        }
    }

    /// Ready once `from` has ended and `to` has everything, and knows.
    fn poll_pass<F, T>(
        &mut self,
        from: &mut F,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            while !self.buffer.bytes.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer.bytes))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.buffer.bytes.advance(written);
                self.moved += written as u64;
                self.unflushed = true;
            }
            match self.state {
                State::Reading => {}
                State::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Shut;
                    continue;
                }
                State::Shut => return Poll::Ready(Ok(())),
            }
            match self.buffer.poll_read(from, cx) {
                Poll::Ready(Ok(0)) => self.state = State::Ended,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.buffer.release();
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
