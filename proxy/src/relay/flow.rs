//! One direction of a relay.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::ReadBuf;

use super::{Side, buffers::Buffer};

/// How many bytes a direction moves before others have their turn.
const TURN: u64 = 1024 * 1024;

/// Which end of a direction failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Where bytes come from.
    Source(io::Error),
    /// Where they go.
    Sink(io::Error),
}

/// One direction: what was read and not yet written, and how far it has come.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// What was read and not yet written.
    held: Option<Buffer>,
    state: State,
    /// Bytes written since last asked.
    moved: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Bytes may come.
    #[default]
    Open,
    /// The last byte has come.
    Ending,
    /// The other side was told so.
    Ended,
}

impl Flow {
    /// Moves bytes until none come, none are taken, or others are to have their turn. Ready once
    /// the last byte was passed on, and that it was the last.
    pub(super) fn poll<R: Side, W: Side>(
        &mut self,
        source: &mut R,
        sink: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            ready!(self.poll_write(sink, cx)).map_err(Fault::Sink)?;
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Fault::Sink)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Open => {}
            }
            if self.moved >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Poll::Ready(read) = self.poll_read(source, cx) else {
                // What the sink keeps to itself is not to wait for what may never come.
                ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(Fault::Sink)?;
                return Poll::Pending;
            };
            if read.map_err(Fault::Source)? == 0 {
                self.state = State::Ending;
            }
        }
    }

    /// The bytes written since this was last asked.
    pub(super) fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }

    /// Writes all that is held.
    fn poll_write<W: Side>(&mut self, sink: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(buffer) = &mut self.held {
            if buffer.bytes().is_empty() {
                self.held = None;
                break;
            }
            let some = ready!(Pin::new(&mut *sink).poll_write(cx, buffer.bytes()))?;
            if some == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            buffer.advance(some);
            self.moved += some as u64;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once; 0 at the end. Nothing is held before.
    fn poll_read<R: Side>(
        &mut self,
        source: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = Buffer::take();
        let mut read = ReadBuf::new(buffer.memory());
        ready!(Pin::new(source).poll_read(cx, &mut read))?;
        let some = read.filled().len();
        buffer.filled(some);
        self.held = (some > 0).then_some(buffer);
        Poll::Ready(Ok(some))
    }
}
