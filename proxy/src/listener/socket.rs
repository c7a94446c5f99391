//! Binding a listening socket for each worker.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::sending;

/// Connections the kernel keeps for a worker that is busy.
const BACKLOG: i32 = 4096;

/// Binds `address` once for each of `workers`. With port 0 all get the port the first was given.
///
/// The kernel spreads connections over sockets that share an address (`SO_REUSEPORT`), and would
/// as gladly share it with another program of the same user. So, unless this proxy has the address
/// itself (`ours`), it is first bound alone: if someone has it, that fails.
///
/// # Errors
/// When the address cannot be bound.
pub(super) fn bind(
    address: SocketAddr,
    workers: usize,
    ours: bool,
) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let mut actual = address;
    if address.port() != 0 && !ours {
        drop(open(address, false)?);
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers.max(1) {
        let socket: std::net::TcpListener = open(actual, true)?.into();
        actual = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok((actual, sockets))
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, as it does elsewhere.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // What is accepted has it from here.
    sending::at_once(&socket, address.ip())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port() {
        let (address, sockets) = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 3, false).unwrap();
        assert_ne!(address.port(), 0);
        assert!(
            sockets
                .iter()
                .all(|socket| socket.local_addr().unwrap() == address)
        );
    }

    #[test]
    fn what_is_accepted_sends_at_once() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, sockets) = bind(any, 1, false).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        sockets[0].set_nonblocking(false).unwrap();
        let (accepted, _) = sockets[0].accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn an_address_that_is_in_use_is_refused_even_if_its_owner_would_share() {
        let (address, _owner) = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1, false).unwrap();
        assert_eq!(
            bind(address, 1, false).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
