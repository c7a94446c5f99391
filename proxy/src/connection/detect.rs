//! Telling HTTP/2 with prior knowledge from HTTP/1 by the first bytes.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::relay::Side;

/// What a client that speaks HTTP/2 sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read at once: most first requests as a whole.
const READ: usize = 2048;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until the protocol is clear. Gives the stream with what was read put back; `None` for a
/// connection that was closed before its first byte.
pub(super) async fn detect<I: AsyncRead + Unpin>(
    mut io: I,
) -> io::Result<Option<(Protocol, Rewound<I>)>> {
    let mut read = BytesMut::new();
    let protocol = loop {
        let some = read_some(&mut io, &mut read).await?;
        if some == 0 && read.is_empty() {
            return Ok(None);
        }
        let compared = read.len().min(PREFACE.len());
        if some == 0 || read.get(..compared) != PREFACE.get(..compared) {
            break Protocol::Http1;
        }
        if compared == PREFACE.len() {
            break Protocol::Http2;
        }
    };
    Ok(Some((
        protocol,
        Rewound {
            before: read.freeze(),
            io,
        },
    )))
}

/// Reads what there is. While nothing has come no room is taken for it.
async fn read_some<I: AsyncRead + Unpin>(io: &mut I, read: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut room = [MaybeUninit::uninit(); READ];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut room))?;
        read.extend_from_slice(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    })
    .await
}

/// A stream whose first bytes were read before.
#[derive(Debug)]
pub(super) struct Rewound<I> {
    before: Bytes,
    io: I,
}

impl<I> Rewound<I> {
    /// A stream of which nothing was read yet.
    pub(super) const fn fresh(io: I) -> Self {
        Self {
            before: Bytes::new(),
            io,
        }
    }
}

impl<I: Side> Side for Rewound<I> {
    fn plain(&self) -> Option<&TcpStream> {
        self.io.plain().filter(|_| self.before.is_empty())
    }

    fn is_unregistered(&self) -> bool {
        self.io.is_unregistered()
    }

    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io.poll_write_last(cx, bytes)
    }

    fn reset(&mut self) {
        self.io.reset();
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewound<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let some = self.before.len().min(buffer.remaining());
        buffer.put_slice(self.before.get(..some).unwrap_or_default());
        self.before.advance(some);
        if self.before.is_empty() {
            // Not kept for as long as the connection lasts.
            self.before = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Rewound<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn detected(pieces: &[&[u8]]) -> Option<(Protocol, Vec<u8>)> {
        let (mut client, server) = tokio::io::duplex(64);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        tokio::spawn(async move {
            for piece in pieces {
                client.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (protocol, mut stream) = detect(server).await.unwrap()?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        Some((protocol, all))
    }

    #[tokio::test]
    async fn the_preface_means_http2_however_it_arrives() {
        assert_eq!(detected(&[PREFACE, b"x"]).await.unwrap().0, Protocol::Http2);
        let (protocol, all) = detected(&[&PREFACE[..3], &PREFACE[3..], b"rest"])
            .await
            .unwrap();
        assert_eq!(protocol, Protocol::Http2);
        assert_eq!(all, [PREFACE, b"rest"].concat());
    }

    #[tokio::test]
    async fn anything_else_is_http1_and_nothing_of_it_is_lost() {
        for text in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/1.1\r\n\r\n",
            b"P",
        ] {
            assert_eq!(
                detected(&[text]).await,
                Some((Protocol::Http1, text.to_vec()))
            );
        }
        assert_eq!(detected(&[]).await, None);
    }
}
