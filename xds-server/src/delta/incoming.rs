//! Connections of clients: one that says nothing at all is not kept.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _, future::ready};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpIncoming};

use super::{claims::Claims, repeats::Repeats, session::Exposure};
use crate::tls::{Tls, handshake};

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: Option<SocketAddr>,
    /// Who could have what is sent to it, if it is not on this machine.
    pub(super) beyond_loopback: Exposure,
    /// What its certificate allows it to be; none where certificates are not asked for that.
    pub(super) claims: Option<Arc<Claims>>,
}

impl Peer {
    /// Who could have what is sent to it.
    pub(super) fn exposure(&self) -> Exposure {
        let local = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        if self.address.is_some_and(local) {
            Exposure::None
        } else {
            self.beyond_loopback
        }
    }
}

/// How many handshakes there are at once; more wait for one to end.
const HANDSHAKES: usize = 256;

/// The connections that come in on a socket, each of which has to say something within
/// `first_bytes`, and with `tls` to end its handshake by then.
pub(super) fn incoming(
    listener: TcpListener,
    first_bytes: Duration,
    tls: Option<Arc<Tls>>,
) -> impl Stream<Item = io::Result<Connection>> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let failures = Arc::new(Repeats::default());
    let greeted = move |stream: io::Result<TcpStream>| {
        let (tls, failures) = (tls.clone(), failures.clone());
        async move { greet(stream?, tls, first_bytes, &failures).await }
    };
    incoming
        .map(greeted)
        .buffer_unordered(HANDSHAKES)
        .filter_map(|connection| ready(connection.transpose()))
}

/// The connection, once its handshake is over if it is to have one. One that fails is no fault of
/// the socket.
async fn greet(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    first_bytes: Duration,
    failures: &Repeats,
) -> io::Result<Option<Connection>> {
    let exposure = tls.as_ref().map(|tls| tls.files().exposure());
    let mut peer = Peer {
        address: stream.peer_addr().ok(),
        beyond_loopback: exposure.unwrap_or(Exposure::Cleartext),
        claims: None,
    };
    let stream = match tls {
        None => Either::Left(stream),
        Some(tls) => {
            let ip = peer.address.map(|address| address.ip());
            let tell = |error: &io::Error| {
                let error = error.to_string();
                if let Some(untold) = failures.tell(ip, &error, Instant::now()) {
                    let address = peer.address.map(|address| address.to_string());
                    tracing::warn!(address, error, untold, "a handshake failed");
                }
            };
            let Some(stream) = handshake(stream, tls.xds(), first_bytes, tell).await else {
                return Ok(None);
            };
            if tls.identifies_clients() {
                peer.claims = Some(Arc::new(claims(&stream)));
            }
            Either::Right(stream)
        }
    };
    Ok(Some(Connection {
        stream,
        peer,
        silence: Some(Box::pin(sleep(first_bytes))),
    }))
}

/// What the certificate the client showed allows; nothing if there is none that can be read.
fn claims(stream: &TlsStream<TcpStream>) -> Claims {
    let shown = stream.get_ref().1.peer_certificates();
    let leaf = shown.and_then(<[_]>::first);
    leaf.and_then(|leaf| Claims::of(leaf)).unwrap_or_default()
}

/// A connection. Reading fails if its first bytes do not come in time; what follows is watched
/// over by HTTP/2's pings.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    peer: Peer,
    /// Gone once something came.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
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
    fn what_stays_on_the_machine_is_exposed_to_nobody() {
        use Exposure::{Cleartext, Unidentified};
        for (address, local) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("10.0.0.1:1", false),
            ("[::ffff:10.0.0.1]:1", false),
        ] {
            for beyond_loopback in [Exposure::None, Unidentified, Cleartext] {
                let peer = Peer {
                    address: Some(address.parse().unwrap()),
                    beyond_loopback,
                    claims: None,
                };
                let expected = if local {
                    Exposure::None
                } else {
                    beyond_loopback
                };
                assert_eq!(peer.exposure(), expected, "{address:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Box::pin(incoming(listener, Duration::from_millis(20), None));
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
