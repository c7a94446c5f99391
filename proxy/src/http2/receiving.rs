//! What comes on a stream, from either side.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::Frame;

/// The data that comes on a stream, and the trailers. Room for more data is given as it is read.
/// Dropped before its end, it resets the stream unless something is sent on it still.
#[derive(Debug)]
pub struct Receiving {
    stream: RecvStream,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
}

impl Receiving {
    /// All that is to come.
    #[must_use]
    pub fn new(stream: RecvStream) -> Self {
        let state = match stream.is_end_stream() {
            true => State::Ended,
            false => State::Data,
        };
        Self { stream, state }
    }

    /// The next frame; `None` at the end. An end by a reset without an error is one (RFC 9113 section
    /// 8.1: what was sent whole was sent, and the rest of what was asked is not wanted).
    ///
    /// # Errors
    /// When the stream or its connection broke off.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        while self.state == State::Data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    // Fails only where the stream is gone, which the next poll tells.
                    let _ = self.stream.flow_control().release_capacity(bytes.len());
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                None => self.state = State::Trailers,
                Some(Err(error)) => return Poll::Ready(self.failed(error).map(Err)),
            }
        }
        if self.state == State::Ended {
            return Poll::Ready(None);
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.state = State::Ended;
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => self.failed(error).map(Err),
        })
    }

    fn failed(&mut self, error: h2::Error) -> Option<h2::Error> {
        self.state = State::Ended;
        (error.reason() != Some(Reason::NO_ERROR)).then_some(error)
    }

    /// Whether the end was read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether nothing more comes, read to its end or not.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.has_ended() || self.stream.is_end_stream()
    }
}
