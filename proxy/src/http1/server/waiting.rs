//! Waits for the head of a next request.

use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{ConnectionError, Server, poll_deadline};
use crate::clock;
use crate::http1::head::{RequestHead, parse_request};

/// How far the waiting is.
pub(super) struct Waiting {
    idle_since: Option<Instant>,
    head_deadline: Option<Instant>,
    /// When it ends, once the connection is to.
    drained: Option<Instant>,
    /// Until when the client has to read what it was answered.
    write_deadline: Option<Instant>,
    /// What was read since the last look can have completed a line.
    look: bool,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            idle_since: None,
            head_deadline: None,
            drained: None,
            write_deadline: None,
            look: true,
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Server<'_, I> {
    /// The next head; there is none when the connection closes in between.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &mut Waiting,
    ) -> Poll<Result<Option<RequestHead>, ConnectionError>> {
        if self.shared.is_unwritten() {
            ready!(self.poll_flush(cx, &mut waiting.write_deadline))?;
        }
        let state = &mut *self.shared.state.borrow_mut();
        loop {
            if waiting.look && !state.read.bytes.is_empty() {
                match parse_request(&mut state.read.bytes, &self.config.limits) {
                    Ok(Some(head)) => return Poll::Ready(Ok(Some(head))),
                    Ok(None) => waiting.look = false,
                    Err(error) => return Poll::Ready(Err(ConnectionError::Refused(error))),
                }
            }
            let known = state.read.bytes.len();
            match state.read.poll_read(&mut state.io, cx) {
                Poll::Ready(Ok(0)) => {
                    state.eof = true;
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Ok(_)) => {
                    let fresh = state.read.bytes.get(known..).unwrap_or_default();
                    waiting.look = memchr::memchr(b'\n', fresh).is_some()
                        || self.config.limits.crossed(known, state.read.bytes.len());
                    continue;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {}
            }
            if !state.read.bytes.is_empty() {
                let within = self.config.head_timeout;
                let deadline = *waiting
                    .head_deadline
                    .get_or_insert_with(|| Instant::now() + within);
                return poll_deadline(self.timer.as_mut(), cx, deadline)
                    .map(|()| Err(ConnectionError::HeadTimeout));
            }
            state.read.release();
            state.write.release();
            if self.drain.poll_draining(cx) {
                let grace = self.config.drain_grace;
                waiting
                    .drained
                    .get_or_insert_with(|| Instant::now() + grace);
            }
            let since = *waiting.idle_since.get_or_insert_with(clock::now);
            let idle = since + self.config.idle_timeout;
            let deadline = waiting.drained.map_or(idle, |drained| idle.min(drained));
            ready!(poll_deadline(self.timer.as_mut(), cx, deadline));
            // Whoever was answered that long ago has read it.
            self.goes_on &= Instant::now() < since + self.config.linger_timeout;
            return Poll::Ready(Ok(None));
        }
    }
}
