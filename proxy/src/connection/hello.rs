//! The name a TLS client asks for, read from its first message and left there.

use std::{io, time::Duration};

use rustls::server::Acceptor;
use tokio::net::TcpStream;

use super::{http::BoxError, peek::peek};

/// The most bytes a client's first message may have, with its framing.
pub(super) const MAX_HELLO: usize = 16 * 1024;

/// Waits for the client's first message, at most `within`. Gives the name it asks for, if any.
pub(super) async fn server_name(
    stream: &TcpStream,
    within: Duration,
) -> Result<Option<String>, BoxError> {
    let mut hello = Hello::default();
    let mut buffer = vec![0; MAX_HELLO];
    let peeking = peek(stream, &mut buffer, |bytes| hello.look(bytes));
    match tokio::time::timeout(within, peeking).await {
        Ok(Ok(Some(Ok(name)))) => Ok(name),
        Ok(Ok(Some(Err(error)))) => Err(format!("no TLS client: {error}").into()),
        Ok(Ok(None)) => Err("the TLS client's first message is not whole or too long".into()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            let late = "the TLS client's first message took too long";
            Err(io::Error::new(io::ErrorKind::TimedOut, late).into())
        }
    }
}

/// A client's first message, as far as it has come.
#[derive(Default)]
pub(super) struct Hello {
    acceptor: Acceptor,
    /// How many bytes the acceptor has.
    read: usize,
}

impl Hello {
    /// Looks at `bytes`, all from the first on. `None` until the message is whole.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Option<Result<Option<String>, rustls::Error>> {
        let mut fresh = bytes.get(self.read..).unwrap_or_default();
        while !fresh.is_empty() {
            match self.acceptor.read_tls(&mut fresh) {
                Ok(0) => return None,
                Ok(some) => self.read += some,
                Err(error) => return Some(Err(rustls::Error::General(error.to_string()))),
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_owned);
                    return Some(Ok(name));
                }
                Err((error, _)) => return Some(Err(error)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a client that wants `name` sends first.
    fn hello(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        sent
    }

    /// The same message in records of at most `size` bytes.
    fn split(hello: &[u8], size: usize) -> Vec<u8> {
        let pieces = hello[5..].chunks(size).map(|piece| {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&hello[..3], &length, piece].concat()
        });
        pieces.collect::<Vec<_>>().concat()
    }

    fn name(bytes: &[u8]) -> Option<Result<Option<String>, rustls::Error>> {
        Hello::default().look(bytes)
    }

    #[test]
    fn the_name_is_found_however_the_message_is_cut() {
        let want = Some(Ok(Some("api.example.com".to_owned())));
        let whole = hello("api.example.com");
        for bytes in [
            whole.clone(),
            split(&whole, 100),
            [&whole[..], b"more"].concat(),
        ] {
            assert_eq!(name(&bytes), want);
            let mut hello = Hello::default();
            let found = (0..=bytes.len()).find_map(|some| hello.look(&bytes[..some]));
            assert_eq!(found, want);
        }
        assert_eq!(name(&whole[..whole.len() - 1]), None);
        assert_eq!(name(&hello("127.0.0.1")), Some(Ok(None)));
    }

    #[test]
    fn what_is_no_hello_is_told() {
        assert!(matches!(name(b"GET / HTTP/1.1\r\n\r\n"), Some(Err(_))));
        let mut other = hello("a");
        other[5] = 2;
        assert!(matches!(name(&other), Some(Err(_))));
    }
}
