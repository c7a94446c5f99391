//! The end of a connection: what is said last, that it is written, and that it is read.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{ConnectionError, Server, poll_deadline};
use crate::date::put_date;
use crate::http1::head::{put_length, put_status_line};

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Server<'_, I> {
    /// Answers an error on the codec's own account, if it can be answered, and closes. Returns the
    /// error.
    pub(super) async fn refuse(&mut self, error: ConnectionError) -> ConnectionError {
        let Some(status) = error.answer() else {
            return error;
        };
        self.shared.end();
        let reason = error.to_string();
        {
            let mut state = self.shared.state.borrow_mut();
            let out = state.write.flat();
            put_status_line(out, status);
            out.extend_from_slice(b"content-type: text/plain\r\nconnection: close\r\ndate: ");
            put_date(out);
            out.extend_from_slice(b"\r\n");
            put_length(out, reason.len() as u64 + 1);
            out.extend_from_slice(b"\r\n");
            if !self.head {
                out.extend_from_slice(reason.as_bytes());
                out.push(b'\n');
            }
            // Whatever follows cannot be told apart from the faulty request.
            state.failed = true;
        }
        if self.flush().await.is_ok() {
            // The error to be reported is the first one.
            let _ = self.close(true).await;
        }
        error
    }

    /// Waits until what waits to be written with what others write is.
    async fn written(&mut self) -> Result<(), ConnectionError> {
        let mut deadline = None;
        poll_fn(|cx| {
            if self.shared.awaits_writing() {
                return Poll::Pending;
            }
            // What the transport keeps can go with the end of the connection.
            if self.shared.state.borrow().write.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.poll_flush(cx, &mut deadline)
        })
        .await
    }

    /// Writes what is queued, within the time there is for it.
    pub(super) async fn flush(&mut self) -> Result<(), ConnectionError> {
        let mut deadline = None;
        poll_fn(|cx| self.poll_flush(cx, &mut deadline)).await
    }

    /// The same; `deadline` is when that time ends, once it has begun.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        deadline: &mut Option<Instant>,
    ) -> Poll<Result<(), ConnectionError>> {
        match self.shared.poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(ConnectionError::ClientGone)),
            Poll::Pending => {
                let deadline =
                    *deadline.get_or_insert_with(|| Instant::now() + self.config.write_timeout);
                poll_deadline(self.timer.as_mut(), cx, deadline)
                    .map(|()| Err(ConnectionError::WriteTimeout))
            }
        }
    }

    /// Ends our side, and where the client may still be reading a response (it takes the connection
    /// to go on, or something is unread after one that was `answered`) reads on until the client
    /// ends its side too: closing with bytes unread would reset the connection and might take the
    /// response with it (RFC 9112 section 9.6).
    pub(super) async fn close(&mut self, answered: bool) -> Result<(), ConnectionError> {
        self.written().await?;
        let lingers = {
            let state = self.shared.state.borrow();
            !state.eof && (self.goes_on || answered && state.is_unread())
        };
        if !lingers && !self.config.close_notify {
            return Ok(());
        }
        // The end of a response can be on its way with this: then it is that which is waited for.
        let last = self.shared.state.borrow().write.is_unflushed();
        let mut deadline = Instant::now()
            + match last {
                true => self.config.write_timeout,
                false => self.config.linger_timeout,
            };
        let lost = |error| if last { Err(error) } else { Ok(()) };
        let mut shut = false;
        poll_fn(|cx| {
            let state = &mut *self.shared.state.borrow_mut();
            if !shut {
                match Pin::new(&mut state.io).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => {
                        shut = true;
                        deadline = Instant::now() + self.config.linger_timeout;
                    }
                    Poll::Ready(Err(_)) => {
                        return Poll::Ready(lost(ConnectionError::ClientGone));
                    }
                    Poll::Pending => {
                        return poll_deadline(self.timer.as_mut(), cx, deadline)
                            .map(|()| lost(ConnectionError::WriteTimeout));
                    }
                }
                if !lingers {
                    return Poll::Ready(Ok(()));
                }
            }
            loop {
                state.read.bytes.clear();
                match state.read.poll_read(&mut state.io, cx) {
                    // A client that never pauses is not waited for, so the timer tells nothing.
                    Poll::Ready(Ok(1..)) if Instant::now() < deadline => {}
                    Poll::Ready(_) => return Poll::Ready(Ok(())),
                    Poll::Pending => {
                        return poll_deadline(self.timer.as_mut(), cx, deadline).map(Ok);
                    }
                }
            }
        })
        .await
    }
}
