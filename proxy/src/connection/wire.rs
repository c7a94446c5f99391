//! A client's connection that is registered with the runtime only once it has to be waited for.
//!
//! A client of HTTP has sent its request by the time it is accepted. If it asks for no more than one,
//! everything can be done before there is anything to wait for, and coming to epoll and going is spared.

use std::{
    io::{self, IoSlice, Write as _},
    mem,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::relay::{Side, send_last};

/// A client's connection.
#[derive(Debug)]
pub(super) struct Wire(State);

#[derive(Debug)]
enum State {
    /// Nothing of it was waited for yet. It does not block.
    Fresh {
        stream: std::net::TcpStream,
        /// Its first bytes were read.
        read: bool,
    },
    Registered(TcpStream),
    /// It could not be registered.
    Lost,
}

impl Wire {
    /// A connection that was just accepted, and does not block.
    pub(super) const fn new(stream: std::net::TcpStream) -> Self {
        Self(State::Fresh {
            stream,
            read: false,
        })
    }

    /// The connection as the runtime knows it.
    ///
    /// # Errors
    /// When it cannot be registered.
    pub(super) fn registered(&mut self) -> io::Result<&mut TcpStream> {
        if let State::Fresh { .. } = self.0
            && let State::Fresh { stream, .. } = mem::replace(&mut self.0, State::Lost)
        {
            self.0 = State::Registered(TcpStream::from_std(stream)?);
        }
        match &mut self.0 {
            State::Registered(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The same, for good.
    ///
    /// # Errors
    /// When it cannot be registered.
    pub(super) fn into_registered(mut self) -> io::Result<TcpStream> {
        self.registered()?;
        match self.0 {
            State::Registered(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The address the client connected to.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            State::Fresh { stream, .. } => stream.local_addr(),
            State::Registered(stream) => stream.local_addr(),
            State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes at once what there is room for, if nothing was waited for yet: `None` where it has to be.
    fn write_fresh(
        &mut self,
        write: impl FnOnce(&mut std::net::TcpStream) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let State::Fresh { stream, .. } = &mut self.0 else {
            return None;
        };
        match write(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            written => Some(written),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let State::Fresh {
            stream,
            read: read @ false,
        } = &mut this.0
        {
            match recv(&*stream, buffer.initialize_unfilled(), RecvFlags::DONTWAIT) {
                Ok((_, some)) => {
                    *read = true;
                    buffer.advance(some);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Pin::new(this.registered()?).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.write_fresh(|stream| stream.write(bytes)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(this.registered()?).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.write_fresh(|stream| stream.write_vectored(slices)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(this.registered()?).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            State::Fresh { stream, .. } => Poll::Ready(stream.shutdown(Shutdown::Write)),
            State::Registered(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Lost => Poll::Ready(Ok(())),
        }
    }
}

impl Side for Wire {
    fn plain(&self) -> Option<&TcpStream> {
        match &self.0 {
            State::Registered(stream) => Some(stream),
            State::Fresh { .. } | State::Lost => None,
        }
    }

    fn is_unregistered(&self) -> bool {
        matches!(self.0, State::Fresh { .. })
    }

    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.write_fresh(|stream| send_last(stream, bytes)) {
            Some(written) => Poll::Ready(written),
            None => self.registered()?.poll_write_last(cx, bytes),
        }
    }

    fn reset(&mut self) {
        // Where it cannot be set the connection is gone already.
        let _ = match &self.0 {
            State::Fresh { stream, .. } => {
                SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO))
            }
            State::Registered(stream) => stream.set_zero_linger(),
            State::Lost => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use futures_util::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A client, and the connection as it was accepted.
    fn pair() -> (std::net::TcpStream, Wire) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        (client, Wire::new(accepted))
    }

    fn told(client: &mut std::net::TcpStream) -> String {
        let mut told = String::new();
        io::Read::read_to_string(client, &mut told).unwrap();
        told
    }

    #[tokio::test]
    async fn a_request_that_is_there_is_answered_before_the_runtime_knows_of_it() {
        for last in [false, true] {
            let (mut client, mut wire) = pair();
            client.write_all(b"request").unwrap();
            let mut request = [0; 16];
            assert_eq!(wire.read(&mut request).await.unwrap(), 7);
            assert_eq!(&request[..7], b"request");
            if last {
                let written = std::future::poll_fn(|cx| wire.poll_write_last(cx, b"answer"));
                assert_eq!(written.await.unwrap(), 6);
            } else {
                wire.write_all(b"ans").await.unwrap();
                let slices = [IoSlice::new(b"w"), IoSlice::new(b"er")];
                assert_eq!(wire.write_vectored(&slices).await.unwrap(), 3);
                wire.shutdown().await.unwrap();
            }
            assert!(wire.is_unregistered() && wire.plain().is_none());
            assert_eq!(told(&mut client), "answer");
        }
    }

    #[tokio::test]
    async fn what_is_waited_for_is_registered() {
        let (mut client, mut wire) = pair();
        let mut read = [0; 4];
        {
            let mut reading = std::pin::pin!(wire.read(&mut read));
            assert!(poll!(reading.as_mut()).is_pending());
            client.write_all(b"late").unwrap();
            assert_eq!(reading.await.unwrap(), 4);
        }
        assert!(!wire.is_unregistered() && wire.plain().is_some());

        // A second read is one that waits.
        let (mut client, mut wire) = pair();
        client.write_all(b"four more").unwrap();
        wire.read_exact(&mut read).await.unwrap();
        assert!(wire.is_unregistered());
        let mut rest = [0; 5];
        wire.read_exact(&mut rest).await.unwrap();
        assert_eq!((&read, &rest), (b"four", b" more"));
        assert!(!wire.is_unregistered());
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_registered_and_nothing_is_lost() {
        const ALL: usize = 16 << 20;
        let (mut client, mut wire) = pair();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            io::Read::read_to_end(&mut client, &mut all).unwrap();
            all
        });
        let bytes: Vec<u8> = (0..=250).cycle().take(ALL).collect();
        wire.write_all(&bytes).await.unwrap();
        assert!(!wire.is_unregistered());
        drop(wire);
        assert!(reader.join().unwrap() == bytes);
    }

    #[tokio::test]
    async fn a_reset_is_one_before_it_is_registered_and_after() {
        for registered in [false, true] {
            let (mut client, mut wire) = pair();
            if registered {
                wire.registered().unwrap();
            }
            wire.reset();
            drop(wire);
            let error = io::Read::read(&mut client, &mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
