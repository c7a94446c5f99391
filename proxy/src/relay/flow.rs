//! One direction of a relay.
//!
//! It begins by copying. Where bytes come faster than that, a read fills its buffer, and where both
//! sides are plain sockets the kernel then passes them on through a pipe, without a copy; once it
//! passes little at a time, copying goes on. Either way all that was taken is given before more is
//! taken, so a direction holds one buffer or one pipe, and neither while it waits for bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{io::ReadBuf, net::TcpStream};

use super::{
    Side,
    buffers::{self, Buffer},
    pipe::{self, Pipe},
};

/// How many bytes a direction moves before others have their turn.
const TURN: u64 = 1024 * 1024;
/// What the kernel passes on less than at a time is as well copied.
const LITTLE: usize = 16 * 1024;

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
    held: Held,
    way: Way,
    state: State,
    /// Bytes written since last asked.
    moved: u64,
}

/// What was taken and not yet given.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Buffer(Buffer),
    Pipe(Pipe),
}

/// How bytes are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Copy,
    Splice,
    /// The kernel cannot splice here, or has no pipe left.
    CopyOnly,
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
    /// One that begins with what was read before.
    pub(super) fn of(early: Bytes) -> Self {
        Self {
            held: match early.is_empty() {
                true => Held::Nothing,
                false => Held::Buffer(Buffer::of(early.into())),
            },
            ..Self::default()
        }
    }

    /// Moves bytes until none come, none are taken, or others are to have their turn. Ready once
    /// the last byte was passed on, and that it was the last.
    pub(super) fn poll<R: Side, W: Side>(
        &mut self,
        source: &mut R,
        sink: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            ready!(self.poll_give(sink, cx)).map_err(Fault::Sink)?;
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
            let Poll::Ready(taken) = self.poll_take(source, sink, cx) else {
                // What the sink keeps to itself is not to wait for what may never come.
                ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(Fault::Sink)?;
                return Poll::Pending;
            };
            match taken {
                Ok(0) => self.state = State::Ending,
                Ok(_) => {}
                Err(error) => {
                    // What came before is not withheld.
                    let _ = Pin::new(&mut *sink).poll_flush(cx);
                    return Poll::Ready(Err(Fault::Source(error)));
                }
            }
        }
    }

    /// The bytes written since this was last asked.
    pub(super) fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }

    /// Gives all that is held.
    fn poll_give<W: Side>(&mut self, sink: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let some = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Buffer(buffer) if buffer.bytes().is_empty() => {
                    self.held = Held::Nothing;
                    continue;
                }
                Held::Pipe(pipe) if pipe.held() == 0 => {
                    self.held = Held::Nothing;
                    continue;
                }
                Held::Buffer(buffer) => {
                    let some = ready!(Pin::new(&mut *sink).poll_write(cx, buffer.bytes()))?;
                    buffer.advance(some);
                    some
                }
                Held::Pipe(pipe) => match sink.plain().map(|sink| pipe.poll_empty(sink, cx)) {
                    Some(Poll::Pending) => return Poll::Pending,
                    Some(Poll::Ready(Ok(some))) => some,
                    Some(Poll::Ready(Err(error))) if !pipe::is_unsupported(&error) => {
                        return Poll::Ready(Err(error));
                    }
                    _ => {
                        let spilled = pipe.spill()?;
                        self.held = Held::Buffer(Buffer::of(spilled));
                        self.way = Way::CopyOnly;
                        continue;
                    }
                },
            };
            if some == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved += some as u64;
        }
    }

    /// Takes once what there is; 0 at the end. Nothing is held before.
    fn poll_take<R: Side, W: Side>(
        &mut self,
        source: &mut R,
        sink: &W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.way == Way::Splice
            && let (Some(plain), Some(_)) = (source.plain(), sink.plain())
        {
            if let Some(spliced) = self.poll_splice(plain, cx) {
                return spliced;
            }
            self.way = Way::CopyOnly;
        }
        let mut buffer = Buffer::take();
        let mut read = ReadBuf::new(buffer.memory());
        ready!(Pin::new(source).poll_read(cx, &mut read))?;
        let some = read.filled().len();
        if some == 0 {
            return Poll::Ready(Ok(0));
        }
        buffer.filled(some);
        self.held = Held::Buffer(buffer);
        if some == buffers::SIZE && self.way == Way::Copy {
            self.way = Way::Splice;
        }
        Poll::Ready(Ok(some))
    }

    /// The same through a pipe; `None` where that cannot be.
    fn poll_splice(
        &mut self,
        source: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Option<Poll<io::Result<usize>>> {
        let mut pipe = Pipe::take().ok()?;
        let Poll::Ready(filled) = pipe.poll_fill(source, pipe::SIZE, cx) else {
            return Some(Poll::Pending);
        };
        if let Err(error) = &filled
            && pipe::is_unsupported(error)
        {
            return None;
        }
        if matches!(filled, Ok(some) if some < LITTLE) {
            self.way = Way::Copy;
        }
        self.held = Held::Pipe(pipe);
        Some(Poll::Ready(filled))
    }
}
