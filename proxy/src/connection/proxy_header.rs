//! The header of the PROXY protocol, as the first thing on a connection.

use std::{io, net::SocketAddr};

use fleetway_api::ProxyProtocol;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::peek::peek;
use crate::proxy_protocol::{Addresses, MAX_LENGTH, Malformed, Parsed, parse};

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the PROXY header is malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("it does not begin with a PROXY header")]
    Absent,
    #[error("it comes from an address that is not trusted to say for whom it is")]
    Untrusted,
    #[error("the PROXY header took too long")]
    TooLong,
    #[error("it ended within its PROXY header")]
    Ended,
    #[error("it broke: {0}")]
    Broken(#[from] io::Error),
}

/// Takes the header off the connection. Gives the addresses it is for, if it says so: else the
/// connection stands for itself.
pub(super) async fn accept(
    stream: &mut TcpStream,
    peer: SocketAddr,
    settings: &ProxyProtocol,
) -> Result<Option<Addresses>, Refused> {
    if !settings.trusts(peer.ip()) {
        return if settings.required {
            Err(Refused::Untrusted)
        } else {
            Ok(None)
        };
    }
    match tokio::time::timeout(settings.timeout, read(stream, settings.required)).await {
        Ok(read) => read,
        Err(_) if settings.required || any_came(stream) => Err(Refused::TooLong),
        // Who says nothing at first may be one that waits to be spoken to.
        Err(_) => Ok(None),
    }
}

async fn read(stream: &mut TcpStream, required: bool) -> Result<Option<Addresses>, Refused> {
    let mut buffer = vec![0; MAX_LENGTH];
    let look = |bytes: &[u8]| match parse(bytes) {
        Ok(Parsed::Incomplete) => None,
        parsed => Some(parsed),
    };
    match peek(stream, &mut buffer, look).await? {
        Some(Err(malformed)) => Err(malformed.into()),
        Some(Ok(Parsed::Header { length, addresses })) => {
            // It is there as a whole: this does not wait.
            stream
                .read_exact(buffer.get_mut(..length).unwrap_or_default())
                .await?;
            Ok(addresses)
        }
        Some(Ok(Parsed::Absent)) if required => Err(Refused::Absent),
        Some(Ok(_)) => Ok(None),
        None if required => Err(Refused::Ended),
        // What came before the end is no header, and is for whom comes next.
        None => Ok(None),
    }
}

/// Whether the other side has said anything.
fn any_came(stream: &TcpStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    recv(stream, &mut [0; 1][..], RecvFlags::PEEK).is_ok_and(|(_, some)| some > 0)
}
