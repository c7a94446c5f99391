//! Sends the body of a request while its response is awaited and read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

use crate::http1::body::Encoder;
use crate::http1::buffer::WriteBuffer;
use crate::http1::outbox;
use crate::http1::server::BoxError;

use super::{Posted, Wire};

/// With this much waiting to be written no more is taken from the body.
const HIGH_WATER: usize = 64 * 1024;

/// The sending of one request, whose head is already queued.
#[derive(Debug)]
pub(super) struct Upload<B> {
    body: B,
    encoder: Encoder,
    state: State,
    /// Something was taken from the body.
    touched: bool,
    /// Until when the body is held back for a 100.
    hold: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is more of the body.
    Sending,
    /// The end of the body is queued.
    Flushing,
    /// All of it waits to be written with what others write.
    Posted,
    /// Everything is written.
    Done,
    /// It failed; nothing more is sent.
    Failed,
}

/// Why a request could not be sent.
#[derive(Debug)]
pub(super) enum UploadError {
    Io(io::Error),
    Body(BoxError),
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B, encoder: Encoder, hold: Option<Duration>) -> Self {
        let state = if encoder == Encoder::None {
            State::Flushing
        } else {
            State::Sending
        };
        let hold = hold.map(|limit| Box::pin(tokio::time::sleep(limit)));
        Self {
            body,
            encoder,
            state,
            touched: false,
            hold,
        }
    }

    /// Whether the request has been sent to its end.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The 100 came: the body is not held back any longer.
    pub(super) fn proceed(&mut self) {
        self.hold = None;
    }

    /// The final response came: a body still held back is not sent any more.
    pub(super) fn give_up_held(&mut self) {
        if self.hold.is_some() {
            self.state = State::Failed;
        }
    }

    /// The body, if nothing was taken from it.
    pub(super) fn into_untouched(self) -> Option<B> {
        (!self.touched).then_some(self.body)
    }

    /// Sends what can be sent. Ready when everything is; an error is reported once, and after
    /// it the upload is ready and not done.
    pub(super) fn poll<I: AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<I>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        if matches!(self.state, State::Done | State::Failed) {
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(self.poll_send(wire, cx));
        self.state = if sent.is_ok() {
            State::Done
        } else {
            State::Failed
        };
        Poll::Ready(sent)
    }

    fn poll_send<I: AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<I>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            let mut waits = false;
            if let Some(hold) = &mut self.hold {
                if hold.as_mut().poll(cx).is_ready() {
                    self.hold = None;
                } else {
                    waits = true;
                }
            }
            while self.state == State::Sending && !waits && wire.write.len() < HIGH_WATER {
                waits = self.take_frame(&mut wire.write, cx)?;
            }
            if self.state == State::Flushing && outbox::takes(wire.write.len()) {
                wire.posted = Posted::Wanted;
                self.state = State::Posted;
            }
            if wire.posted != Posted::No {
                return Poll::Pending;
            }
            ready!(wire.write.poll_flush(&mut wire.io, cx)).map_err(UploadError::Io)?;
            if matches!(self.state, State::Flushing | State::Posted) {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Queues a frame of the body, or its end; returns whether there is none yet.
    fn take_frame(
        &mut self,
        write: &mut WriteBuffer,
        cx: &mut Context<'_>,
    ) -> Result<bool, UploadError> {
        if self.body.is_end_stream() {
            self.finish(None, write)?;
            return Ok(false);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return Ok(true),
            Poll::Ready(None) => self.finish(None, write)?,
            Poll::Ready(Some(Err(error))) => return Err(UploadError::Body(error.into())),
            Poll::Ready(Some(Ok(frame))) => {
                self.touched = true;
                match frame.into_data() {
                    Ok(bytes) => self
                        .encoder
                        .data(bytes, write)
                        .map_err(|error| UploadError::Body(error.into()))?,
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.finish(Some(&trailers), write)?;
                        }
                    }
                }
            }
        }
        Ok(false)
    }

    fn finish(
        &mut self,
        trailers: Option<&HeaderMap>,
        write: &mut WriteBuffer,
    ) -> Result<(), UploadError> {
        self.encoder
            .finish(trailers, write)
            .map_err(|error| UploadError::Body(error.into()))?;
        self.state = State::Flushing;
        Ok(())
    }
}
