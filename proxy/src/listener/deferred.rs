//! Accepting connections no sooner than there is something to do for them.

use std::os::fd::AsFd;

use nix::{
    libc, setsockopt_impl,
    sys::socket::{SetSockOpt as _, sockopt::SetStruct},
};

/// For how many seconds the kernel keeps a connection to itself whose client says nothing: one time of
/// asking it again.
const WAIT: u32 = 1;

/// `TCP_DEFER_ACCEPT` of tcp(7), in seconds.
#[derive(Debug, Clone, Copy)]
struct DeferAccept;

setsockopt_impl!(
    DeferAccept,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32,
    SetStruct<u32>
);

/// Has the kernel give a connection out with the first bytes of its client, or once it was silent for
/// [`WAIT`]; if not `deferred`, as soon as it is there, as whoever has to speak first needs it.
///
/// So a connection wakes its worker once and not twice before its first request is read. Where the system
/// knows no such thing connections are given out as soon as they are there.
pub fn defer(socket: &impl AsFd, deferred: bool) {
    let wait = if deferred { WAIT } else { 0 };
    if let Err(error) = DeferAccept.set(socket, &wait) {
        tracing::debug!(%error, "connections are accepted before their clients speak");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Write as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_connection_is_given_out_with_its_first_bytes_or_at_once() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        defer(&socket, true);
        let mut client = TcpStream::connect(address).unwrap();
        assert_eq!(socket.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        client.write_all(b"word").unwrap();
        let (accepted, _) = socket.accept().unwrap();
        assert_eq!(accepted.peek(&mut [0; 8]).unwrap(), 4);

        defer(&socket, false);
        let _silent = TcpStream::connect(address).unwrap();
        socket.accept().unwrap();
    }
}
