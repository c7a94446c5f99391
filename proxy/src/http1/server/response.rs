//! Writes a response: its head together with the first of its body, then the rest as it comes.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::passing::Passing;
use super::shared::Background;
use super::{Asked, BoxError, ConnectionError, Server, poll_deadline};
use crate::date::put_date;
use crate::http1::body::Encoder;
use crate::http1::head::{
    connection_tokens, declared_length, put_bodyless_length, put_chunked, put_fields, put_length,
    put_status_line,
};
use crate::http1::piped::Piped;

/// With this much waiting to be written no more is taken from the body.
const HIGH_WATER: usize = 64 * 1024;

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Server<'_, I> {
    /// Queues the head. Returns how the body is to be framed, and whether the connection may be
    /// kept after it.
    pub(super) fn put_head<B: Body>(
        &self,
        parts: &Parts,
        body: &B,
        asked: Asked,
    ) -> (Encoder, bool) {
        let encoder = frame(parts, body, asked);
        let keep = asked.keep_alive
            && encoder != Encoder::UntilClose
            && !self.drain.is_draining()
            && self.can_skip_unread_body();

        self.shared.begin_final();
        let mut state = self.shared.state.borrow_mut();
        let out = state.write.flat();
        put_status_line(out, parts.status);
        let present = put_fields(out, &parts.headers, false);
        let keep = keep && !present.asks_to_close(&parts.headers);
        if !present.date {
            out.extend_from_slice(b"date: ");
            put_date(out);
            out.extend_from_slice(b"\r\n");
        }
        let own = match (keep, asked.http10) {
            (false, _) => Some("close"),
            (true, true) => Some("keep-alive"),
            (true, false) => None,
        };
        connection_tokens(out, &parts.headers, present, own);
        match encoder {
            Encoder::Length(length) => put_length(out, length),
            Encoder::Chunked => put_chunked(out),
            // RFC 9110 section 8.6: a 204 has no content-length at all.
            Encoder::None if parts.status != StatusCode::NO_CONTENT => {
                put_bodyless_length(out, &parts.headers);
            }
            Encoder::None | Encoder::UntilClose => {}
        }
        out.extend_from_slice(b"\r\n");
        (encoder, keep)
    }

    /// Whether what is unread of the request body may turn out short enough to be skipped.
    fn can_skip_unread_body(&self) -> bool {
        let state = self.shared.state.borrow();
        let within = state
            .decoder
            .remaining()
            .is_none_or(|left| left <= self.config.max_unread_body);
        // A client that never got its 100 may send its body or not: there is no telling.
        !state.failed && !state.expects && (within || !state.dropped)
    }

    /// Writes the body to its end; `last` if the connection ends with it.
    pub(super) async fn write_body<B>(
        &mut self,
        body: B,
        mut encoder: Encoder,
        last: bool,
    ) -> Result<(), ConnectionError>
    where
        B: Piped,
        B::Error: Into<BoxError>,
    {
        self.shared.state.borrow_mut().close_delimited = encoder == Encoder::UntilClose;
        let mut progress = Progress {
            ended: encoder == Encoder::None,
            closes: last && self.config.close_notify,
            last: last && !self.goes_on,
            stalled: None,
            upload: None,
            passing: Passing::default(),
        };
        let mut body = pin!(body);
        poll_fn(|cx| {
            self.shared.set_task(cx);
            self.poll_write_body(cx, body.as_mut(), &mut encoder, &mut progress)
        })
        .await?;
        self.shared.state.borrow_mut().close_delimited = false;
        Ok(())
    }

    fn poll_write_body<B>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut B>,
        encoder: &mut Encoder,
        progress: &mut Progress,
    ) -> Poll<Result<(), ConnectionError>>
    where
        B: Piped,
        B::Error: Into<BoxError>,
    {
        loop {
            let (mut full, mut passes) = (false, false);
            while !progress.ended && !full {
                passes = self.passes(body.as_ref(), encoder, &progress.passing);
                if passes {
                    break;
                }
                if body.is_end_stream() {
                    self.put_end(encoder, None)?;
                    progress.ended = true;
                    break;
                }
                match body.as_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        full = self.put_frame(encoder, frame, progress)?;
                    }
                    Poll::Ready(None) => {
                        self.put_end(encoder, None)?;
                        progress.ended = true;
                    }
                    Poll::Ready(Some(Err(error))) => {
                        // What came before the failure is not withheld.
                        let _ = self.shared.poll_flush(cx);
                        return Poll::Ready(Err(ConnectionError::Response(error.into())));
                    }
                    Poll::Pending => break,
                }
            }
            // What ends the connection can go with the end of a small last response.
            let flushed = match (progress.ended, progress.closes) {
                (true, true) => self.shared.poll_write_unflushed(cx),
                (true, false) => self.shared.poll_write_end(cx, progress.last),
                (false, _) => self.shared.poll_flush(cx),
            };
            match flushed {
                Poll::Ready(Ok(())) if progress.passing.held() == 0 => progress.stalled = None,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ConnectionError::ClientGone)),
                Poll::Pending => return self.poll_write_timeout(cx, progress),
            }
            if progress.ended {
                return Poll::Ready(Ok(()));
            }
            if full {
                continue;
            }
            if passes {
                match self.poll_pass(cx, body.as_mut(), encoder, &mut progress.passing) {
                    Poll::Ready(passed) => {
                        passed?;
                        progress.stalled = None;
                        continue;
                    }
                    Poll::Pending if progress.passing.held() > 0 => {
                        return self.poll_write_timeout(cx, progress);
                    }
                    Poll::Pending => {}
                }
            }
            match self.poll_background(cx) {
                Poll::Ready(Background::Progress) => {}
                Poll::Ready(Background::Gone) => {
                    return Poll::Ready(Err(ConnectionError::ClientGone));
                }
                Poll::Pending => {
                    return self
                        .poll_body_timeout(cx, &mut progress.upload)
                        .map(|()| Err(ConnectionError::BodyTimeout));
                }
            }
        }
    }

    /// Queues a frame; returns whether that is enough for now.
    fn put_frame(
        &self,
        encoder: &mut Encoder,
        frame: http_body::Frame<Bytes>,
        progress: &mut Progress,
    ) -> Result<bool, ConnectionError> {
        match frame.into_data() {
            Ok(bytes) => {
                let out = &mut self.shared.state.borrow_mut().write;
                encoder
                    .data(bytes, out)
                    .map_err(|error| ConnectionError::Response(error.into()))?;
                Ok(out.len() >= HIGH_WATER)
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.put_end(encoder, Some(&trailers))?;
                    progress.ended = true;
                }
                Ok(false)
            }
        }
    }

    fn put_end(
        &self,
        encoder: &mut Encoder,
        trailers: Option<&http::HeaderMap>,
    ) -> Result<(), ConnectionError> {
        let out = &mut self.shared.state.borrow_mut().write;
        encoder
            .finish(trailers, out)
            .map_err(|error| ConnectionError::Response(error.into()))
    }

    /// Ready with an error when the client has read nothing for too long.
    fn poll_write_timeout(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut Progress,
    ) -> Poll<Result<(), ConnectionError>> {
        let queued = self.shared.state.borrow().write.len() + progress.passing.held();
        let deadline = match progress.stalled {
            Some((deadline, known)) if known == queued => deadline,
            _ => {
                let deadline = Instant::now() + self.config.write_timeout;
                progress.stalled = Some((deadline, queued));
                deadline
            }
        };
        poll_deadline(self.timer.as_mut(), cx, deadline)
            .map(|()| Err(ConnectionError::WriteTimeout))
    }
}

/// How far the writing of a body is.
struct Progress {
    /// The body's end is queued.
    ended: bool,
    /// The connection's own end can go with it.
    closes: bool,
    /// The connection is closed next, unless something is unread.
    last: bool,
    /// Since when (as a deadline) nothing of so many queued bytes could be written.
    stalled: Option<(Instant, usize)>,
    /// The same for the request body that is still read: the deadline, and what had been read.
    upload: Option<(Instant, u64)>,
    /// What goes past the buffers.
    passing: Passing,
}

/// How a response's body is framed (RFC 9112 section 6.1 and 6.2).
fn frame<B: Body>(parts: &Parts, body: &B, asked: Asked) -> Encoder {
    let bodyless = asked.head
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED;
    if bodyless {
        return Encoder::None;
    }
    let exact = if body.is_end_stream() {
        Some(0)
    } else {
        body.size_hint().exact()
    };
    match exact.or_else(|| declared_length(&parts.headers)) {
        Some(length) => Encoder::Length(length),
        None if asked.http10 => Encoder::UntilClose,
        None => Encoder::Chunked,
    }
}
