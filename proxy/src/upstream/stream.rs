//! What upstream connections come over.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use fleetway_api::Alpn;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::http2::Http2Tunnel;
use crate::{relay::Side, tls::Identity};

/// A connection to an endpoint, as it is or within TLS. One in the clear holds no room for TLS.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Within TLS, with the settings it was made under.
    Tls(Box<TlsStream<TcpStream>>, Identity),
    /// A stream of a connection that others share: a tunnel within HTTP/2.
    Http2(Box<Http2Tunnel>),
}

impl Stream {
    /// Whether both sides agreed on HTTP/2 in the TLS handshake.
    pub(super) fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Tls(stream, _) => stream.get_ref().1.alpn_protocol() == Some(Alpn::H2.id()),
            Self::Plain(_) | Self::Http2(_) => false,
        }
    }

    /// The TLS settings it was made under, if so.
    pub(super) const fn identity(&self) -> Option<Identity> {
        match self {
            Self::Plain(_) | Self::Http2(_) => None,
            Self::Tls(_, identity) => Some(*identity),
        }
    }
}

impl Side for Stream {
    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(..) | Self::Http2(_) => None,
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match self {
            Self::Http2(stream) => stream.poll_gone(cx),
            Self::Plain(_) | Self::Tls(..) => Poll::Pending,
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Plain(stream) => stream.reset(),
            Self::Tls(stream, _) => stream.get_mut().0.reset(),
            Self::Http2(stream) => stream.reset(),
        }
    }
}

/// The same on whichever it is.
macro_rules! on_either {
    ($this:expr, $stream:ident => $call:expr) => {
        match $this.get_mut() {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream, _) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
            Stream::Http2(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_either!(self, stream => stream.poll_write(cx, bytes))
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, stream => stream.poll_flush(cx))
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, stream => stream.poll_shutdown(cx))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_either!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream, _) => stream.is_write_vectored(),
            Self::Http2(_) => false,
        }
    }
}
