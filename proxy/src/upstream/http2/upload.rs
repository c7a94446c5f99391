//! Sends the body of a request, at the upstream's pace.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::task::JoinHandle;

use crate::upstream::BoxError;

/// The sending of one request's body.
#[derive(Debug)]
pub(super) struct Upload<B> {
    sending: SendStream<Bytes>,
    body: B,
    /// Taken from the body and not yet sent.
    left: Bytes,
    touched: bool,
    done: bool,
}

/// A body that is sent on while the response is read, whether that is read or not. Dropped, it
/// stops, and the stream is reset unless its end was sent.
#[derive(Debug)]
pub(super) struct GoingOn(JoinHandle<()>);

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(sending: SendStream<Bytes>, body: B, done: bool) -> Self {
        Self {
            sending,
            body,
            left: Bytes::new(),
            touched: false,
            done,
        }
    }

    /// The body, if nothing was taken from it.
    pub(super) fn into_untouched(self) -> Option<B> {
        (!self.touched).then_some(self.body)
    }

    /// Has what is left sent beside the response.
    pub(super) fn go_on(mut self) -> Option<GoingOn> {
        if self.done {
            return None;
        }
        let rest = async move {
            // A failure resets the stream, of which the response tells.
            let _ = std::future::poll_fn(|cx| self.poll(cx)).await;
        };
        Some(GoingOn(tokio::task::spawn_local(rest)))
    }

    /// Sends what can be sent; ready once everything is, or the upstream takes no more.
    ///
    /// # Errors
    /// When the body fails; the stream is reset then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        while !self.done {
            if !self.left.is_empty() {
                ready!(self.poll_send(cx));
                continue;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.end(|sending| sending.send_data(Bytes::new(), true)),
                Some(Ok(frame)) => {
                    self.touched = true;
                    match frame.into_data() {
                        Ok(bytes) => self.left = bytes,
                        Err(frame) => {
                            if let Ok(trailers) = frame.into_trailers() {
                                self.end(|sending| sending.send_trailers(trailers));
                            }
                        }
                    }
                }
                Some(Err(error)) => {
                    self.done = true;
                    self.sending.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, last: impl FnOnce(&mut SendStream<Bytes>) -> Result<(), h2::Error>) {
        self.done = true;
        // Where the stream is gone the response tells.
        let _ = last(&mut self.sending);
    }

    /// Sends what there is room for of what is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sending.reserve_capacity(self.left.len());
        while self.sending.capacity() == 0 {
            match ready!(self.sending.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.done = true;
                    return Poll::Ready(());
                }
            }
        }
        let some = self.left.len().min(self.sending.capacity());
        let bytes = self.left.split_to(some);
        let last = self.left.is_empty() && self.body.is_end_stream();
        self.done = self.sending.send_data(bytes, last).is_err() || last;
        Poll::Ready(())
    }
}
