//! What comes on a stream, from either side.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
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

    /// The next frame; `None` at the end. What was sent whole is read to its end though a reset follows it
    /// (RFC 9113 section 8.1).
    ///
    /// # Errors
    /// When the stream or its connection broke off before, for whatever reason.
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
                Some(Err(error)) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        if self.state == State::Ended {
            return Poll::Ready(None);
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.state = State::Ended;
        Poll::Ready(
            trailers
                .map(|trailers| trailers.map(Frame::trailers))
                .transpose(),
        )
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
