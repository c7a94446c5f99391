//! Looking at the first bytes of a connection and leaving them there for what comes next.

use std::io;

use rustix::net::RecvFlags;
use tokio::{io::Interest, net::TcpStream};

/// Looks at what has come, again whenever more has, until `look` finds something in it. `None` if
/// it finds nothing before the other side's end, or before `buffer` is full.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn peek<T>(
    stream: &TcpStream,
    buffer: &mut [u8],
    mut look: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let looked = stream.try_io(Interest::READABLE, || {
            let (_, seen) = rustix::net::recv(stream, &mut *buffer, RecvFlags::PEEK)?;
            let bytes = buffer.get(..seen).unwrap_or_default();
            let no_more = bytes.is_empty() || seen == buffer.len() || ready.is_read_closed();
            match look(bytes) {
                None if no_more => Ok(None),
                // Ready again once more has come.
                None => Err(io::ErrorKind::WouldBlock.into()),
                found => Ok(found),
            }
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            looked => return looked,
        }
    }
}
