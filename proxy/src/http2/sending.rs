//! What is sent on a stream, to either side.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// The sending of a body at the pace of who receives it. Dropped before its end, it resets the stream
/// unless something is received on it still.
#[derive(Debug)]
pub struct Sending<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// Taken from the body, and waiting for room.
    next: Option<Bytes>,
    touched: bool,
    done: bool,
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub enum Broken<E> {
    /// The body itself failed.
    Body(E),
    /// Who was to receive it takes no more.
    Stream,
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// `body` on `stream`; `done` if the stream was ended with its head.
    pub const fn new(stream: SendStream<Bytes>, body: B, done: bool) -> Self {
        Self {
            stream,
            body,
            next: None,
            touched: false,
            done,
        }
    }

    /// Whether all was sent, or nothing more can be.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// The body, if nothing was taken from it.
    pub fn into_untouched(self) -> Option<B> {
        (!self.touched).then_some(self.body)
    }

    /// Sends what can be sent; ready once everything is.
    ///
    /// # Errors
    /// When the body fails, for which the stream is reset with `reason`, and when the stream takes no
    /// more.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reason: Reason,
    ) -> Poll<Result<(), Broken<B::Error>>> {
        while !self.done {
            if self.next.is_some() {
                ready!(self.poll_room(cx))?;
            }
            let sent = match self.next.take() {
                Some(bytes) => {
                    self.done = self.body.is_end_stream();
                    self.stream.send_data(bytes, self.done)
                }
                None => match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => self.take(frame),
                    Some(Err(error)) => {
                        self.done = true;
                        self.stream.send_reset(reason);
                        return Poll::Ready(Err(Broken::Body(error)));
                    }
                    None => {
                        self.done = true;
                        self.stream.send_data(Bytes::new(), true)
                    }
                },
            };
            if sent.is_err() {
                return Poll::Ready(self.broken());
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what the body gave.
    fn take(&mut self, frame: http_body::Frame<Bytes>) -> Result<(), h2::Error> {
        self.touched = true;
        match frame.into_data() {
            Ok(bytes) if bytes.is_empty() => Ok(()),
            Ok(bytes) => {
                // Any room will do: what is in hand is held here or there, and a body that takes its time
                // keeps no room from other streams of the connection.
                self.stream.reserve_capacity(1);
                self.next = Some(bytes);
                Ok(())
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    self.done = true;
                    self.stream.send_trailers(trailers)
                }
                Err(_) => Ok(()),
            },
        }
    }

    /// Waits until something can be sent.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken<B::Error>>> {
        while self.stream.capacity() == 0 {
            if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(self.broken());
            }
        }
        Poll::Ready(Ok(()))
    }

    fn broken(&mut self) -> Result<(), Broken<B::Error>> {
        self.done = true;
        Err(Broken::Stream)
    }

    /// Ready once the other side has reset the stream, or it is gone with its connection.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }
}
