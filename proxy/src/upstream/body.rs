//! The body of a response, over whichever version of HTTP it comes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    BoxError, Notify, Stream,
    http1::Returning,
    http2::{Http2Body, Http2Tunnel},
};
use crate::{
    http1::{Piped, ResponseBody, Switched},
    relay::pipe::Pipe,
};

/// Over HTTP/1. Gives its connection back to the pool once read to the end.
pub(super) type Http1Body<B, N> = ResponseBody<Stream, B, Returning<N>>;

/// A response's body.
#[derive(Debug)]
pub enum UpstreamBody<B, N> {
    /// Over HTTP/1.
    Http1(Http1Body<B, N>),
    /// Over HTTP/2.
    Http2(Http2Body),
    /// None: the stream is another protocol's.
    Tunnel(Box<Http2Tunnel>),
}

impl<B, N> UpstreamBody<B, N>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    N: Notify,
{
    /// The connection as another protocol has it from here on: after a 101 only.
    pub fn into_switched(self) -> Option<Switched<Stream>> {
        match self {
            Self::Http1(body) => body.into_switched(),
            Self::Http2(_) => None,
            Self::Tunnel(tunnel) => Some(Switched {
                io: Stream::Http2(tunnel),
                read: Bytes::new(),
            }),
        }
    }
}

impl<B, N> Body for UpstreamBody<B, N>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    N: Notify,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Http1(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(BoxError::from)))
            }
            Self::Http2(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(BoxError::from)))
            }
            Self::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

impl<B, N> Piped for UpstreamBody<B, N>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    N: Notify,
{
    fn is_piped(&self) -> bool {
        matches!(self, Self::Http1(body) if body.is_piped())
    }

    fn poll_pipe(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BoxError>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_pipe(cx, pipe).map_err(BoxError::from),
            Self::Http2(_) | Self::Tunnel(_) => Poll::Ready(Ok(0)),
        }
    }
}
