//! What a connection shares with the request body and the interim handle it gave out.
//!
//! The body reads from the connection itself when it is polled in the connection's own task, so a
//! body that streams costs no hand-over; polled in another task it asks the connection to read.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http1::body::{BodyError, Decoded, Decoder};
use crate::http1::buffer::{ReadBuffer, WriteBuffer};
use crate::http1::head::put_interim;
use crate::http1::outbox;

use super::Write;

/// The most of a response that its connection's end may take along.
const LAST_MAX: usize = 2048;

/// How far the connection reads ahead of a body that nobody polls, so as to see a client leave.
const READ_AHEAD: usize = 32 * 1024;
/// The most bytes of interim responses that may wait to be written.
const MAX_INTERIM: usize = 64 * 1024;

/// The state of a connection, shared within one thread.
#[derive(Debug)]
pub(super) struct Shared<I> {
    pub(super) state: RefCell<State<I>>,
}

#[derive(Debug)]
pub(super) struct State<I> {
    pub(super) io: I,
    pub(super) read: ReadBuffer,
    pub(super) write: WriteBuffer,
    /// The number of the exchange at hand; handles of earlier ones are void.
    exchange: u64,
    /// What is left of the request body.
    pub(super) decoder: Decoder,
    /// Reading the request body failed; the connection cannot be used again.
    pub(super) failed: bool,
    /// The client ended its side.
    pub(super) eof: bool,
    /// The connection failed.
    broken: bool,
    /// The client waits for a 100 that was not sent.
    pub(super) expects: bool,
    /// A 100 was sent.
    continued: bool,
    /// The client is of HTTP/1.0 and knows no interim responses.
    http10: bool,
    /// The final response has begun.
    final_begun: bool,
    /// A response is being written that only the end of the connection ends.
    pub(super) close_delimited: bool,
    /// Writes the last there is.
    write_last: Write<I>,
    /// What is queued is the last: the connection is closed next.
    last: bool,
    /// What is queued waits to be written with what others write.
    pub(super) posted: bool,
    /// The connection's task waits for that.
    pub(super) awaited: bool,
    /// Nobody will read the request body any more.
    pub(super) dropped: bool,
    /// The body was polled and waits for bytes.
    pub(super) waiting: bool,
    /// The task that waits for the body, if it is not the connection's.
    body_task: Option<Waker>,
    /// The connection's task.
    task: Option<Waker>,
}

/// The request's part in an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExchangeStart {
    pub(super) expects: bool,
    pub(super) http10: bool,
}

/// What happened beside the service.
#[derive(Debug)]
pub(super) enum Background {
    /// Bytes arrived for a waiting body.
    Progress,
    /// The client is gone.
    Gone,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Shared<I> {
    pub(super) fn new(io: I, write_last: Write<I>) -> Self {
        Self {
            state: RefCell::new(State {
                io,
                read: ReadBuffer::new(),
                write: WriteBuffer::new(),
                exchange: 0,
                decoder: Decoder::Done,
                failed: false,
                eof: false,
                broken: false,
                expects: false,
                continued: false,
                http10: false,
                final_begun: false,
                close_delimited: false,
                write_last,
                last: false,
                posted: false,
                awaited: false,
                dropped: false,
                waiting: false,
                body_task: None,
                task: None,
            }),
        }
    }

    /// Starts an exchange and returns its number.
    pub(super) fn begin(&self, decoder: Decoder, start: ExchangeStart) -> u64 {
        let mut state = self.state.borrow_mut();
        state.exchange += 1;
        state.decoder = decoder;
        state.expects = start.expects;
        state.http10 = start.http10;
        state.continued = false;
        state.final_begun = false;
        state.dropped = false;
        state.waiting = false;
        state.exchange
    }

    /// Ends the exchange: its handles are void from now on.
    pub(super) fn end(&self) {
        let waiter = {
            let mut state = self.state.borrow_mut();
            state.exchange += 1;
            state.waiting = false;
            state.body_task.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Notes the task that drives the connection.
    pub(super) fn set_task(&self, cx: &Context<'_>) {
        let mut state = self.state.borrow_mut();
        let old = if state.is_own_task(cx) {
            None
        } else {
            state.task.replace(cx.waker().clone())
        };
        drop(state);
        drop(old);
    }

    /// The final response begins: no interim responses from now on.
    pub(super) fn begin_final(&self) {
        self.state.borrow_mut().final_begun = true;
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.state.borrow_mut();
        state.write.poll_flush(&mut state.io, cx)
    }

    /// Whether something is queued, or still with the transport, that does not wait for what others
    /// write.
    pub(super) fn is_unwritten(&self) -> bool {
        let state = self.state.borrow();
        !state.posted && (!state.write.is_empty() || state.write.is_unflushed())
    }

    /// Whether what is queued waits for what others write. If so, the connection's task is woken
    /// once it was written.
    pub(super) fn awaits_writing(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.awaited = state.posted;
        state.posted
    }

    /// Writes the end of a response, or lets it wait for what others write. `last` if the connection
    /// can be closed then.
    pub(super) fn poll_write_end(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        last: bool,
    ) -> Poll<io::Result<()>>
    where
        I: 'static,
    {
        let posted = {
            let state = &mut *self.state.borrow_mut();
            let write = &mut state.write;
            // What only the end of the connection ends must not meet that end unwritten, and a client
            // that reads slowly is waited for.
            if state.close_delimited || write.is_unflushed() || !outbox::takes(write.len()) {
                return write.poll_flush(&mut state.io, cx);
            }
            // As a write does, so that requests without end that are answered at once leave the others
            // their turn.
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
            state.last = last && !state.is_unread();
            std::mem::replace(&mut state.posted, true)
        };
        if !posted {
            outbox::post(self.clone(), cx.waker());
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is queued and, where that is little, leaves it to the end of the connection to
    /// flush it. Not where only that end ends the response: it must not come too early.
    pub(super) fn poll_write_unflushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.state.borrow_mut();
        let write = &mut state.write;
        match state.close_delimited || write.is_unflushed() || write.len() > LAST_MAX {
            true => write.poll_flush(&mut state.io, cx),
            false => write.poll_write(&mut state.io, cx),
        }
    }

    /// What goes on beside the service and the response: writes what is queued, reads ahead for
    /// the request body, and notices when the client leaves. `half_close` tells whether a client
    /// that ended its side is still there.
    ///
    /// While bytes of a next request are waiting the connection is not read, so a client that
    /// leaves then is noticed by writing only.
    pub(super) fn poll_background(
        &self,
        cx: &mut Context<'_>,
        half_close: bool,
    ) -> Poll<Background> {
        let waiter = {
            let state = &mut *self.state.borrow_mut();
            match ready!(state.poll_background(cx, half_close)) {
                Background::Gone => return Poll::Ready(Background::Gone),
                Background::Progress => state.body_task.take(),
            }
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        Poll::Ready(Background::Progress)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> outbox::Sender for Shared<I> {
    fn write(self: Rc<Self>, cx: &mut Context<'_>) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.posted = false;
        if state.last {
            // What it does not write is written below, or by the connection's task.
            let write = |bytes: &[u8]| (state.write_last)(&mut state.io, cx, bytes);
            let _ = state.write.poll_write_flat(write);
        }
        match state.write.poll_flush(&mut state.io, cx) {
            Poll::Ready(Ok(())) => {
                state.write.release();
                std::mem::take(&mut state.awaited)
            }
            // The connection's task finds out, and sees to it within the time for it.
            Poll::Ready(Err(_)) | Poll::Pending => true,
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> State<I> {
    /// Whether something the client sent, or is about to, is unread.
    pub(super) fn is_unread(&self) -> bool {
        self.failed || !self.decoder.is_done() || !self.read.bytes.is_empty()
    }

    /// Whether there is nothing to do for the client but to see whether it leaves.
    pub(super) fn only_watches(&self) -> bool {
        !self.eof && !self.is_unread() && self.write.is_empty() && !self.write.is_unflushed()
    }

    fn is_own_task(&self, cx: &Context<'_>) -> bool {
        self.task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
    }

    fn poll_background(&mut self, cx: &mut Context<'_>, half_close: bool) -> Poll<Background> {
        if let Poll::Ready(Err(_)) = self.write.poll_flush(&mut self.io, cx) {
            return Poll::Ready(Background::Gone);
        }
        loop {
            if self.eof {
                if self.broken || !half_close {
                    return Poll::Ready(Background::Gone);
                }
                // The rest of the request may be here already; who reads it finds out.
                return if std::mem::take(&mut self.waiting) {
                    Poll::Ready(Background::Progress)
                } else {
                    Poll::Pending
                };
            }
            if self.failed {
                // Nothing more of it means anything; it is read to see the client leave.
                self.read.bytes.clear();
            }
            let bound = if self.decoder.is_done() {
                1
            } else {
                READ_AHEAD
            };
            if self.read.bytes.len() >= bound {
                return Poll::Pending;
            }
            match ready!(self.read.poll_read(&mut self.io, cx)) {
                Ok(0) => self.eof = true,
                Ok(_) if self.waiting => {
                    self.waiting = false;
                    return Poll::Ready(Background::Progress);
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(Background::Gone),
            }
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, BodyError>> {
        self.waiting = false;
        loop {
            match self.decoder.decode(&mut self.read.bytes) {
                Ok(Decoded::More) => {}
                decoded => {
                    self.expects = false;
                    return Poll::Ready(decoded);
                }
            }
            if self.eof {
                return Poll::Ready(Err(BodyError::Incomplete));
            }
            let own_task = self.is_own_task(cx);
            // RFC 9110 section 10.1.1: once content has begun to arrive there is no need for it.
            if self.expects && !self.final_begun && self.read.bytes.is_empty() {
                self.write
                    .flat()
                    .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.continued = true;
                self.expects = false;
            }
            if own_task {
                match self.read.poll_read(&mut self.io, cx) {
                    Poll::Ready(Ok(0)) => self.eof = true,
                    Poll::Ready(Ok(_)) => self.expects = false,
                    Poll::Ready(Err(error)) => {
                        self.eof = true;
                        self.broken = true;
                        return Poll::Ready(Err(error.into()));
                    }
                    Poll::Pending => {
                        self.waiting = true;
                        return Poll::Pending;
                    }
                }
            } else {
                self.waiting = true;
                self.body_task = Some(cx.waker().clone());
                if let Some(task) = &self.task {
                    task.wake_by_ref();
                }
                return Poll::Pending;
            }
        }
    }
}

/// The connection as its handles see it, whatever its transport.
trait Source {
    fn poll_body(
        &self,
        exchange: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Decoded, bool), BodyError>>;
    fn interim(
        &self,
        exchange: u64,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), InterimError>;
    fn body_dropped(&self, exchange: u64);
}

impl<I: AsyncRead + AsyncWrite + Unpin> Source for Shared<I> {
    fn poll_body(
        &self,
        exchange: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Decoded, bool), BodyError>> {
        let mut state = self.state.borrow_mut();
        if state.exchange != exchange {
            return Poll::Ready(Err(BodyError::Gone));
        }
        let decoded = ready!(state.poll_body(cx));
        state.failed |= decoded.is_err();
        Poll::Ready(decoded.map(|decoded| (decoded, state.decoder.is_done())))
    }

    fn interim(
        &self,
        exchange: u64,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), InterimError> {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(InterimError::NotInterim);
        }
        let mut state = self.state.borrow_mut();
        if state.exchange != exchange || state.final_begun {
            return Err(InterimError::Late);
        }
        let repeated = status == StatusCode::CONTINUE && state.continued;
        if state.http10 || repeated {
            return Ok(());
        }
        if state.write.len() > MAX_INTERIM {
            return Err(InterimError::Full);
        }
        if status == StatusCode::CONTINUE {
            state.continued = true;
            state.expects = false;
        }
        put_interim(state.write.flat(), status, headers);
        // Sent from within the service, it is written when the service has been polled.
        if let Some(task) = &state.task {
            task.wake_by_ref();
        }
        Ok(())
    }

    fn body_dropped(&self, exchange: u64) {
        if let Ok(mut state) = self.state.try_borrow_mut()
            && state.exchange == exchange
        {
            state.dropped = true;
            state.waiting = false;
        }
    }
}

/// Why an interim response was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InterimError {
    /// The status is not of the 1xx class, or is 101, which ends the exchange.
    #[error("not an interim status")]
    NotInterim,
    /// The final response has begun.
    #[error("the final response has begun")]
    Late,
    /// The client does not read those already sent.
    #[error("too many interim responses are waiting")]
    Full,
}

/// Sends interim responses for one request (RFC 9110 section 15.2).
#[derive(Clone)]
pub struct Interim {
    /// Weak, so that a handle that is kept does not keep the transport open.
    source: Weak<dyn Source>,
    exchange: u64,
}

impl std::fmt::Debug for Interim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interim")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

impl Interim {
    /// Queues an interim response. To a client of HTTP/1.0, and for a second 100, nothing is sent
    /// and that is no error.
    ///
    /// # Errors
    /// When `status` is not 1xx or is 101, when the final response has begun, and when the client
    /// does not read what was sent.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), InterimError> {
        let source = self.source.upgrade().ok_or(InterimError::Late)?;
        source.interim(self.exchange, status, headers)
    }
}

/// The body of a request, read from the connection as it is polled.
///
/// Its first poll sends the 100 (Continue) a client waits for. Once the response is over, what is
/// left of it cannot be read any more ([`BodyError::Gone`]).
pub struct RequestBody {
    /// Weak, so that a handle that is kept does not keep the transport open.
    source: Weak<dyn Source>,
    exchange: u64,
    /// Bytes left, if the length was declared.
    remaining: Option<u64>,
    ended: bool,
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody")
            .field("remaining", &self.remaining)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl RequestBody {
    pub(super) fn new<I: AsyncRead + AsyncWrite + Unpin + 'static>(
        shared: &Rc<Shared<I>>,
        exchange: u64,
        remaining: Option<u64>,
    ) -> Self {
        let source: Weak<Shared<I>> = Rc::downgrade(shared);
        Self {
            source,
            exchange,
            remaining,
            ended: remaining == Some(0),
        }
    }

    /// A handle to send interim responses with. It outlives the body.
    #[must_use]
    pub fn interim(&self) -> Interim {
        Interim {
            source: Weak::clone(&self.source),
            exchange: self.exchange,
        }
    }

    fn frame(&mut self, decoded: Decoded, done: bool) -> Option<Frame<Bytes>> {
        self.ended = done;
        match decoded {
            Decoded::Data(bytes) => {
                if let Some(remaining) = &mut self.remaining {
                    *remaining = remaining.saturating_sub(bytes.len() as u64);
                }
                Some(Frame::data(bytes))
            }
            Decoded::Trailers(trailers) => Some(Frame::trailers(trailers)),
            Decoded::End | Decoded::More => {
                self.ended = true;
                None
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = match self.source.upgrade() {
            Some(source) => ready!(source.poll_body(self.exchange, cx)),
            None => Err(BodyError::Gone),
        };
        match polled {
            Ok((decoded, done)) => Poll::Ready(self.frame(decoded, done).map(Ok)),
            Err(error) => {
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match (self.ended, self.remaining) {
            (true, _) => SizeHint::with_exact(0),
            (false, Some(remaining)) => SizeHint::with_exact(remaining),
            (false, None) => SizeHint::default(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended
            && let Some(source) = self.source.upgrade()
        {
            source.body_dropped(self.exchange);
        }
    }
}
