//! Bounds what a client may send over HTTP/2 that asks for nothing but work: frames are counted
//! on their way to the library, which bounds the memory they take and not how many there are.
//!
//! Only the heads of frames are looked at, once each; a payload is passed over. The clock is read
//! only when a bound is reached.

mod budget;
mod frames;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    future::Future as _,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use budget::Budget;
use frames::{ACK, END_HEADERS, Frames, Head, kind};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::{detect::PREFACE, lingering::Ending};
use crate::telemetry::Flood;

/// What a frame costs that asks for nothing: as much as so many bytes sent to the client earn.
/// A DATA frame with one byte of payload, the smallest there is, so pays for a PING and a
/// WINDOW_UPDATE for each of connection and stream, which is what libraries answer it with.
const FRAME: u64 = 3;
/// What a SETTINGS frame costs more: each can change every stream.
const SETTINGS: u64 = 97;
/// The answers to PING and SETTINGS, which earn nothing.
const PONG: u64 = 17;
const SETTINGS_ACK: u64 = 9;
/// What such frames may cost at once, 10,000 of them, and by the second, 100.
const IDLE_BURST: u64 = 10_000 * FRAME;
const IDLE_PER_SECOND: u64 = 100 * FRAME;
/// How many streams may be reset at once, and by the second.
const RESETS_BURST: u64 = 1000 * RESET;
const RESETS_PER_SECOND: u64 = 100 * RESET;
/// What a reset costs: a client that was answered before may give up what it does not need.
const RESET: u64 = 64;
/// The CONTINUATION frames of a header block that is no longer than a frame.
const CONTINUATIONS: u32 = 5;
/// The largest frame that is taken (RFC 9113 section 4.2).
const FRAME_SIZE: u32 = 16_384;

/// The head of a GOAWAY (RFC 9113 section 6.8): eight bytes follow, the last stream and a reason.
const GOAWAY: [u8; 9] = [0, 0, 8, kind::GOAWAY, 0, 0, 0, 0, 0];
/// That reason.
const ENHANCE_YOUR_CALM: [u8; 4] = 11_u32.to_be_bytes();

/// What a client is held to.
#[derive(Debug)]
pub(super) struct Bounds {
    /// The longest header list, in bytes.
    pub header_bytes: u32,
    /// How long a header block may take from its first byte to its last.
    pub header_timeout: Duration,
}

/// Where it stands why a connection was ended, if it was.
pub(super) type Verdict = Rc<Cell<Option<Flood>>>;

/// An HTTP/2 connection's stream of bytes that ends in an error when the client floods it.
#[derive(Debug)]
pub(super) struct Metered<I> {
    io: I,
    tally: Tally,
    verdict: Verdict,
    header_timeout: Duration,
    /// Runs while a header block has begun and not ended.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the last write took less than it was given, which is whole frames: one may have
    /// been cut in two.
    cut: bool,
    /// What it sends once it was told of the end.
    ending: Ending,
}

impl<I> Metered<I> {
    /// Meters a connection from its first byte on, the preface.
    pub fn new(io: I, bounds: &Bounds) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let this = Self {
            io,
            tally: Tally::new(bounds.header_bytes, Instant::now()),
            verdict: verdict.clone(),
            header_timeout: bounds.header_timeout,
            deadline: None,
            cut: false,
            ending: Ending::default(),
        };
        (this, verdict)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Metered<I> {
    /// Tells the client to go away (RFC 9113 section 10.5), if it can be told at once.
    fn end(&mut self, cx: &mut Context<'_>, flood: Flood) -> Poll<io::Result<()>> {
        self.verdict.set(Some(flood));
        if !self.cut {
            let last_stream = self.tally.last_stream.to_be_bytes();
            let goaway = [&GOAWAY[..], &last_stream, &ENHANCE_YOUR_CALM].concat();
            let mut io = Pin::new(&mut self.io);
            // One that does not read need not be told.
            if let Poll::Ready(Ok(_)) = io.as_mut().poll_write(cx, &goaway) {
                let _ = io.poll_flush(cx);
            }
        }
        Poll::Ready(Err(io::Error::other(flood)))
    }

    fn wrote(&mut self, given: usize, taken: &Poll<io::Result<usize>>) {
        match taken {
            Poll::Ready(Ok(some)) => {
                self.cut = *some < given;
                self.tally.sent(*some);
            }
            // What was cut stays cut.
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                let fresh = buffer.filled().get(before..).unwrap_or_default();
                let heads = this.tally.heads;
                if let Err(flood) = this.tally.received(fresh, Instant::now) {
                    // With an error comes nothing that was read.
                    buffer.set_filled(before);
                    return this.end(cx, flood);
                }
                if this.deadline.is_some() && (heads != this.tally.heads || !this.tally.in_head()) {
                    this.deadline = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if this.tally.in_head() => {
                let within = this.header_timeout;
                let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(within)));
                ready!(deadline.as_mut().poll(cx));
                this.end(cx, Flood::SlowHead)
            }
            other => other,
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.wrote(bytes.len(), &taken);
        taken
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.ending.poll(&mut this.io, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.wrote(slices.iter().map(|slice| slice.len()).sum(), &taken);
        taken
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// What a client has sent, counted against what it may.
#[derive(Debug)]
struct Tally {
    frames: Frames,
    idle: Budget,
    resets: Budget,
    /// Bytes yet to be written that are answers to control frames, and earn nothing.
    answers: u64,
    /// Whether a header block has begun that no frame so far has ended.
    open_block: bool,
    /// Whether the frame at hand is part of a header block.
    in_block: bool,
    /// How many more CONTINUATION frames the block may have, and how many each may have.
    continuations: u32,
    most_continuations: u32,
    /// How many header blocks have begun.
    heads: u64,
    /// The highest stream with a header block.
    last_stream: u32,
}

impl Tally {
    fn new(header_bytes: u32, now: Instant) -> Self {
        // A quarter more than it takes, as frames need not be full.
        let needed = (header_bytes / FRAME_SIZE).max(1);
        let most_continuations = needed.saturating_add(needed / 4).max(CONTINUATIONS);
        Self {
            frames: Frames::after(PREFACE.len()),
            idle: Budget::new(IDLE_BURST, IDLE_PER_SECOND, now),
            resets: Budget::new(RESETS_BURST, RESETS_PER_SECOND, now),
            answers: 0,
            open_block: false,
            in_block: false,
            continuations: 0,
            most_continuations,
            heads: 0,
            last_stream: 0,
        }
    }

    /// Whether part of a header block has passed, and not all.
    const fn in_head(&self) -> bool {
        self.open_block || (self.in_block && !self.frames.is_whole())
    }

    fn received(&mut self, mut bytes: &[u8], now: fn() -> Instant) -> Result<(), Flood> {
        while let Some((head, rest)) = self.frames.next(bytes) {
            self.frame(head, now)?;
            bytes = rest;
        }
        Ok(())
    }

    fn frame(&mut self, head: Head, now: fn() -> Instant) -> Result<(), Flood> {
        self.in_block = matches!(head.kind, kind::HEADERS | kind::CONTINUATION);
        let acknowledges = head.flags & ACK != 0;
        let (cost, flood) = match head.kind {
            kind::DATA => return Ok(()),
            kind::HEADERS => {
                self.heads = self.heads.wrapping_add(1);
                self.last_stream = self.last_stream.max(head.stream);
                self.continuations = self.most_continuations;
                self.open_block = head.flags & END_HEADERS == 0;
                return Ok(());
            }
            kind::CONTINUATION => {
                self.open_block = head.flags & END_HEADERS == 0;
                if self.open_block {
                    let left = self.continuations.checked_sub(1);
                    self.continuations = left.ok_or(Flood::Continuations)?;
                }
                return Ok(());
            }
            kind::RST_STREAM => {
                let paid = self.resets.spend(RESET, now);
                return paid.then_some(()).ok_or(Flood::Resets);
            }
            kind::SETTINGS => {
                if !acknowledges {
                    self.answers += SETTINGS_ACK;
                }
                (FRAME + SETTINGS + u64::from(head.length), Flood::Settings)
            }
            kind::PING => {
                if !acknowledges {
                    self.answers += PONG;
                }
                (FRAME, Flood::Pings)
            }
            kind::WINDOW_UPDATE => (FRAME, Flood::WindowUpdates),
            _ => (FRAME, Flood::Idle),
        };
        let paid = self.idle.spend(cost, now);
        paid.then_some(()).ok_or(flood)
    }

    /// So many bytes were sent to the client.
    fn sent(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let answers = bytes.min(self.answers);
        self.answers -= answers;
        self.idle.earn(bytes - answers);
        self.resets.earn(bytes - answers);
    }
}
