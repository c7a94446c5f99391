//! Bodies that go from connection to connection without coming by (splice(2)).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;

use crate::relay::pipe::Pipe;

/// With less left of a body than this, copying is as well. A message of up to this size is read as a whole.
pub(super) const LEAST: u64 = 128 * 1024;

/// A body whose bytes the kernel may be able to pass on.
///
/// Whoever takes it can have them moved into a pipe while [`is_piped`](Self::is_piped) says so, and takes
/// frames otherwise.
pub trait Piped: Body<Data = Bytes> {
    /// Whether what comes next can go into a pipe.
    fn is_piped(&self) -> bool {
        false
    }

    /// Moves what is there of it into `pipe`, which is empty. Ready with how many bytes that is: none if it
    /// turned out that they cannot go there, and are to be taken as frames.
    ///
    /// # Errors
    /// As of [`Body::poll_frame`]: the body has ended early.
    fn poll_pipe(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _pipe: &mut Pipe,
    ) -> Poll<Result<usize, Self::Error>> {
        Poll::Ready(Ok(0))
    }
}

/// Those of tests come by.
#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::{
        Either, Empty, Full, StreamBody,
        combinators::{BoxBody, MapErr},
    };

    use super::*;
    use crate::http1::RequestBody;

    impl Piped for RequestBody {}
    impl Piped for Empty<Bytes> {}
    impl Piped for Full<Bytes> {}
    impl<B: Piped, E, F: FnMut(B::Error) -> E> Piped for MapErr<B, F> {}
    impl<E> Piped for BoxBody<Bytes, E> {}
    impl<S, E> Piped for StreamBody<S> where S: futures_util::Stream<Item = Result<Frame<Bytes>, E>> {}
    impl<L, R> Piped for Either<L, R>
    where
        L: Piped,
        R: Piped,
        L::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
    }
}
