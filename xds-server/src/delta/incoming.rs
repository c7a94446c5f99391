//! Connections of clients: one that says nothing at all is not kept.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tonic::transport::server::{Connected, TcpIncoming};

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: Option<SocketAddr>,
}

impl Peer {
    /// Whether nobody else can read what is sent to it.
    pub(super) fn confidential(self) -> bool {
        let local = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        self.address.is_some_and(local)
    }
}

/// The connections that come in on a socket, each of which has to say something within
/// `first_bytes`.
pub(super) fn incoming(
    listener: TcpListener,
    first_bytes: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    incoming.map(move |stream| {
        Ok(Connection {
            stream: stream?,
            silence: Some(Box::pin(sleep(first_bytes))),
        })
    })
}

/// A connection. Reading fails if its first bytes do not come in time; what follows is watched
/// over by HTTP/2's pings.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Gone once something came.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            address: self.stream.peer_addr().ok(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.silence = None;
        } else if let Some(silence) = &mut self.silence
            && silence.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn nobody_else_reads_what_stays_on_the_machine() {
        for (address, confidential) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("10.0.0.1:1", false),
            ("[::ffff:10.0.0.1]:1", false),
        ] {
            let address = Some(address.parse().unwrap());
            assert_eq!(Peer { address }.confidential(), confidential, "{address:?}");
        }
        assert!(!Peer { address: None }.confidential());
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Box::pin(incoming(listener, Duration::from_millis(20)));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let mut talking = TcpStream::connect(address).await.unwrap();
        talking.write_all(b"a").await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'a');
        let more = tokio::time::timeout(Duration::from_millis(60), connection.read_u8());
        assert!(more.await.is_err(), "silence later on is no fault");
    }
}
