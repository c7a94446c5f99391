//! The body of a response over HTTP/2.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};

use super::{session::Stream, upload::GoingOn};

/// The body of a response. Room for more of it is given as it is read. Dropped before its end, it
/// resets its stream.
#[derive(Debug)]
pub struct Http2Body {
    receiving: RecvStream,
    state: State,
    /// What is left of the request; ends with the response.
    upload: Option<GoingOn>,
    /// Counted as open until it has ended.
    stream: Option<Stream>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
}

impl Http2Body {
    pub(super) fn new(receiving: RecvStream, stream: Stream, upload: Option<GoingOn>) -> Self {
        let ended = receiving.is_end_stream();
        let mut body = Self {
            receiving,
            state: State::Data,
            upload,
            stream: Some(stream),
        };
        if ended {
            body.end();
        }
        body
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.upload = None;
        self.stream = None;
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
        while this.state == State::Data {
            match ready!(this.receiving.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    // Fails only where the stream is gone, which the next poll tells.
                    let _ = this.receiving.flow_control().release_capacity(bytes.len());
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                None => this.state = State::Trailers,
                // RFC 9113 section 8.1: the whole answer came, and the rest of the request is not
                // wanted.
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => this.end(),
                Some(Err(error)) => {
                    this.end();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        if this.state == State::Ended {
            return Poll::Ready(None);
        }
        let trailers = ready!(this.receiving.poll_trailers(cx));
        this.end();
        Poll::Ready(
            trailers
                .transpose()
                .map(|trailers| trailers.map(Frame::trailers)),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended
    }

    fn size_hint(&self) -> SizeHint {
        if self.state == State::Ended {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}
