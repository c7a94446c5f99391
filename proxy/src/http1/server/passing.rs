//! Passes a body on from connection to connection, where the kernel can.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BoxError, ConnectionError, Server};
use crate::http1::body::Encoder;
use crate::http1::piped::{LEAST, Piped};
use crate::relay::pipe::{self, Pipe};

/// What of a body is passed on, and how far.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// With what was taken and not yet given, if there is any.
    pipe: Option<Pipe>,
    /// It was passed on before: so is the rest, however little that is.
    begun: bool,
    /// It cannot be.
    copies: bool,
}

impl Passing {
    /// How many bytes were taken and not yet given.
    pub(super) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Server<'_, I> {
    /// Whether what comes next of the body is passed on, once all that is queued was written.
    pub(super) fn passes<B: Piped>(
        &self,
        body: Pin<&B>,
        encoder: &Encoder,
        passing: &Passing,
    ) -> bool {
        let enough = match encoder {
            Encoder::Length(left) => passing.begun || *left >= LEAST,
            _ => false,
        };
        let source = enough && !passing.copies && body.is_piped();
        let sink = || (self.plain)(&self.shared.state.borrow().io).is_some();
        passing.pipe.is_some() || source && sink()
    }

    /// Takes what has come of the body and gives it to the client. Nothing else is queued. Pending with
    /// nothing held where the body is waited for, and the client otherwise.
    pub(super) fn poll_pass<B>(
        &self,
        cx: &mut Context<'_>,
        body: Pin<&mut B>,
        encoder: &mut Encoder,
        passing: &mut Passing,
    ) -> Poll<Result<(), ConnectionError>>
    where
        B: Piped,
        B::Error: Into<BoxError>,
    {
        if passing.pipe.is_none() {
            let Ok(mut pipe) = Pipe::take() else {
                passing.copies = true;
                return Poll::Ready(Ok(()));
            };
            let some = match ready!(body.poll_pipe(cx, &mut pipe)) {
                Ok(0) => {
                    passing.copies = true;
                    return Poll::Ready(Ok(()));
                }
                Ok(some) => some,
                Err(error) => return Poll::Ready(Err(ConnectionError::Response(error.into()))),
            };
            encoder
                .pass(some as u64)
                .map_err(|error| ConnectionError::Response(error.into()))?;
            passing.begun = true;
            passing.pipe = Some(pipe);
        }
        match ready!(self.poll_give(cx, passing)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(ConnectionError::ClientGone)),
        }
    }

    /// Gives the client some of what is held.
    fn poll_give(&self, cx: &mut Context<'_>, passing: &mut Passing) -> Poll<io::Result<()>> {
        let state = &mut *self.shared.state.borrow_mut();
        let Some(pipe) = &mut passing.pipe else {
            return Poll::Ready(Ok(()));
        };
        match (self.plain)(&state.io).map(|sink| pipe.poll_empty(sink, cx)) {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(Ok(0))) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Some(Poll::Ready(Ok(_))) => {}
            Some(Poll::Ready(Err(error))) if !pipe::is_unsupported(&error) => {
                return Poll::Ready(Err(error));
            }
            _ => {
                state.write.push(Bytes::from(pipe.spill()?));
                passing.copies = true;
            }
        }
        if pipe.held() == 0 {
            passing.pipe = None;
        }
        Poll::Ready(Ok(()))
    }
}
