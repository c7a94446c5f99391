//! Sends the body of a request, at the upstream's pace.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::task::JoinHandle;

use crate::{
    http2::{Broken, Sending},
    upstream::BoxError,
};

/// The sending of one request's body.
#[derive(Debug)]
pub(super) struct Upload<B>(Sending<B>);

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
    pub(super) const fn new(stream: SendStream<Bytes>, body: B, done: bool) -> Self {
        Self(Sending::new(stream, body, done))
    }

    /// The body, if nothing was taken from it.
    pub(super) fn into_untouched(self) -> Option<B> {
        self.0.into_untouched()
    }

    /// Has what is left sent beside the response.
    pub(super) fn go_on(mut self) -> Option<GoingOn> {
        if self.0.is_done() {
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
        self.0.poll(cx, Reason::CANCEL).map(|sent| match sent {
            Err(Broken::Body(error)) => Err(error.into()),
            // Where the stream is gone the response tells.
            Err(Broken::Stream) | Ok(()) => Ok(()),
        })
    }
}
