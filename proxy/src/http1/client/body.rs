//! The body of a response, read from its connection as it is polled.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::upload::Upload;
use super::{Connection, Hooks};
use crate::http1::Switched;
use crate::http1::body::{BodyError, Decoded, Decoder};
use crate::http1::head::Framing;
use crate::http1::piped::Piped;
use crate::http1::server::BoxError;
use crate::relay::pipe::{self, Pipe};

/// The body of a response. Polling it also sends what is left of the request.
///
/// At its end the connection goes to [`Hooks::idle`] if it can be used again: if neither side
/// asked to close it, the request was sent to its end and nothing else came. Dropped before, it
/// closes the connection.
pub struct ResponseBody<I, B, H> {
    /// Gone once the end has been read; kept after a 101, which has none to read.
    active: Option<Active<I, B, H>>,
    /// Bytes left, if the length is known.
    remaining: Option<u64>,
}

struct Active<I, B, H> {
    connection: Connection<I>,
    upload: Upload<B>,
    hooks: H,
    decoder: Decoder,
    keep_alive: bool,
    /// The kernel cannot pass it on.
    unpiped: bool,
}

/// Nothing in it is pinned: the request's body is `Unpin` wherever it is polled.
impl<I, B, H> Unpin for ResponseBody<I, B, H> {}

impl<I, B, H> fmt::Debug for ResponseBody<I, B, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("ended", &self.active.is_none())
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

impl<I, B, H> ResponseBody<I, B, H>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    H: Hooks<I>,
{
    pub(super) fn new(
        connection: Connection<I>,
        framing: Framing,
        keep_alive: bool,
        mut upload: Upload<B>,
        hooks: H,
    ) -> Self {
        upload.give_up_held();
        let decoder = Decoder::new(framing);
        let remaining = decoder.remaining();
        let active = Active {
            connection,
            upload,
            hooks,
            decoder,
            keep_alive,
            unpiped: false,
        };
        let mut body = Self {
            active: None,
            remaining,
        };
        if active.decoder.is_done() {
            active.release();
        } else {
            body.active = Some(active);
        }
        body
    }

    /// What stands in place of a body after a 101.
    pub(super) fn switched(connection: Connection<I>, upload: Upload<B>, hooks: H) -> Self {
        Self {
            active: Some(Active {
                connection,
                upload,
                hooks,
                decoder: Decoder::Done,
                keep_alive: false,
                unpiped: true,
            }),
            remaining: Some(0),
        }
    }

    /// So many bytes of it were taken. Lets the connection go with the last.
    fn took(&mut self, bytes: usize) {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(bytes as u64);
        }
        if let Some(active) = self.active.take_if(|active| active.decoder.is_done()) {
            active.release();
        }
    }

    /// The connection as another protocol has it from here on: after a 101 only.
    #[must_use]
    pub fn into_switched(self) -> Option<Switched<I>> {
        // Everywhere else one that is done has been let go.
        let active = self.active.filter(|active| active.decoder.is_done())?;
        let mut wire = Rc::into_inner(active.connection.wire)?.into_inner();
        let read = wire.read.bytes.split().freeze();
        Some(Switched { io: wire.io, read })
    }
}

impl<I, B, H> Active<I, B, H>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    H: Hooks<I>,
{
    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, BodyError>> {
        let wire = &mut *self.connection.wire.borrow_mut();
        // A failure here spoils the connection, not the response.
        let _ = self.upload.poll(wire, cx);
        loop {
            match self.decoder.decode(&mut wire.read.bytes) {
                Ok(Decoded::More) => {}
                decoded => return Poll::Ready(decoded),
            }
            if let Some(left) = self.decoder.remaining() {
                wire.read.expect(left);
            }
            match ready!(wire.read.poll_read(&mut wire.io, cx)) {
                Ok(0) => {
                    return Poll::Ready(self.decoder.end_of_stream().map(|()| Decoded::End));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Whether nothing that was read stands before what comes, and nothing is left to be sent.
    fn is_piped(&self) -> bool {
        let wire = self.connection.wire.borrow();
        matches!(self.decoder, Decoder::Length(_))
            && !self.unpiped
            && wire.read.bytes.is_empty()
            && self.upload.is_done()
            && H::plain(&wire.io).is_some()
    }

    /// See [`Piped::poll_pipe`].
    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyError>> {
        let wire = &mut *self.connection.wire.borrow_mut();
        let (Decoder::Length(left), Some(plain)) = (&self.decoder, H::plain(&wire.io)) else {
            return Poll::Ready(Ok(0));
        };
        let most = usize::try_from(*left).unwrap_or(pipe::SIZE).min(pipe::SIZE);
        match ready!(pipe.poll_fill(plain, most, cx)) {
            Ok(0) => Poll::Ready(Err(BodyError::Incomplete)),
            Ok(some) => {
                wire.read.pass(some);
                self.decoder.pass(some as u64);
                Poll::Ready(Ok(some))
            }
            Err(error) if pipe::is_unsupported(&error) => {
                self.unpiped = true;
                Poll::Ready(Ok(0))
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Hands the connection back if it can be used again, and closes it otherwise.
    fn release(self) {
        if self.keep_alive
            && self.upload.is_done()
            && let Some(connection) = self.connection.into_idle()
        {
            self.hooks.idle(connection);
        }
    }
}

impl<I, B, H> Body for ResponseBody<I, B, H>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    H: Hooks<I>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(active) = &mut self.active else {
            return Poll::Ready(None);
        };
        let decoded = active.poll_decoded(cx);
        active.connection.post(cx);
        let decoded = match ready!(decoded) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.active = None;
                return Poll::Ready(Some(Err(error)));
            }
        };
        Poll::Ready(match decoded {
            Decoded::Data(bytes) => {
                self.took(bytes.len());
                Some(Ok(Frame::data(bytes)))
            }
            Decoded::Trailers(trailers) => {
                self.took(0);
                Some(Ok(Frame::trailers(trailers)))
            }
            Decoded::End | Decoded::More => {
                self.took(0);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.active.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.active, self.remaining) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(remaining)) => SizeHint::with_exact(remaining),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

impl<I, B, H> Piped for ResponseBody<I, B, H>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    H: Hooks<I>,
{
    fn is_piped(&self) -> bool {
        self.active.as_ref().is_some_and(Active::is_piped)
    }

    fn poll_pipe(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyError>> {
        let Some(active) = &mut self.active else {
            return Poll::Ready(Ok(0));
        };
        let moved = ready!(active.poll_pipe(cx, pipe));
        match &moved {
            Ok(some) => self.took(*some),
            Err(_) => self.active = None,
        }
        Poll::Ready(moved)
    }
}
