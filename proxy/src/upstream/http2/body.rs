//! The body of a response over HTTP/2.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use super::{session::Stream, upload::GoingOn};
use crate::http2::Receiving;

/// The body of a response. Dropped before its end, it resets its stream.
#[derive(Debug)]
pub struct Http2Body {
    receiving: Receiving,
    /// What is left of the request; ends with the response.
    upload: Option<GoingOn>,
    /// Counted as open until it has ended.
    stream: Option<Stream>,
}

impl Http2Body {
    pub(super) fn new(receiving: RecvStream, stream: Stream, upload: Option<GoingOn>) -> Self {
        let mut body = Self {
            receiving: Receiving::new(receiving),
            upload,
            stream: Some(stream),
        };
        body.settle();
        body
    }

    /// Lets go of what goes on until the end, if that was read.
    fn settle(&mut self) {
        if self.receiving.has_ended() {
            self.upload = None;
            self.stream = None;
        }
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        let frame = ready!(this.receiving.poll_frame(cx));
        this.settle();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.receiving.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match self.receiving.has_ended() {
            true => SizeHint::with_exact(0),
            false => SizeHint::default(),
        }
    }
}
