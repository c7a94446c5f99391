//! What a connection's bytes come over.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{relay::Side, upstream::Stream};

/// A stream of bytes over a TCP connection, as it is or within TLS.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The connection below.
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for Box<TlsStream<TcpStream>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Side for Box<TlsStream<TcpStream>> {
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

impl Wire for Stream {
    fn tcp(&self) -> &TcpStream {
        self.tcp()
    }
}

impl Side for Stream {
    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(..) => None,
        }
    }
}
