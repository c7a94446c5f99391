//! Listening sockets that another process opened and passed on to this one: a proxy it takes over
//! from, or a service manager.

use std::{io, net::SocketAddr, sync::Arc};

use fleetway_api::Name;

use crate::sending;

/// A listening socket that was passed on.
#[derive(Debug, Clone)]
pub struct Inherited {
    /// What it was called by who passed it on: of another proxy's, the listener's name.
    name: Arc<str>,
    address: SocketAddr,
    socket: Arc<std::net::TcpListener>,
}

impl Inherited {
    /// A socket passed on under `name`.
    ///
    /// # Errors
    /// When it has no address.
    pub fn new(name: &str, socket: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self {
            name: name.into(),
            address: socket.local_addr()?,
            socket: Arc::new(socket),
        })
    }

    /// Whether it is what a listener that asks for an address would bind: that very address, or
    /// its own where it lets the system choose.
    pub(super) fn is_for(&self, listener: &Name, asked: SocketAddr) -> bool {
        if asked.port() == 0 {
            *self.name == *listener.as_str() && self.address.ip() == asked.ip()
        } else {
            self.address == asked
        }
    }
}

/// A socket for each of `workers` at least, of those passed on: each serves some, and none is left
/// without one that serves it. All share one address.
pub(super) fn spread(
    inherited: &[Inherited],
    workers: usize,
) -> io::Result<Option<(SocketAddr, Vec<std::net::TcpListener>)>> {
    let Some(first) = inherited.first() else {
        return Ok(None);
    };
    let all = inherited.iter().cycle().take(workers.max(inherited.len()));
    let sockets = all.map(|inherited| {
        inherited.socket.set_nonblocking(true)?;
        sending::at_once(&inherited.socket, first.address.ip())?;
        inherited.socket.try_clone()
    });
    Ok(Some((first.address, sockets.collect::<io::Result<_>>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(name: &str) -> Inherited {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Inherited::new(name, socket).unwrap()
    }

    #[test]
    fn a_socket_is_for_the_listener_of_its_address_or_of_its_name_where_any_would_do() {
        let one = inherited("web");
        let (web, other) = (Name::new("web").unwrap(), Name::new("other").unwrap());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        assert!(one.is_for(&web, any) && !one.is_for(&other, any));
        assert!(one.is_for(&other, one.address));
        assert!(!one.is_for(&web, SocketAddr::from(([127, 0, 0, 1], 1))));
        assert!(!one.is_for(&web, SocketAddr::from(([0, 0, 0, 0], 0))));
    }

    #[test]
    fn every_worker_gets_one_and_every_one_a_worker() {
        let three: Vec<_> = (0..3).map(|_| inherited("web")).collect();
        for (workers, expected) in [(1, 3), (3, 3), (5, 5)] {
            let (_, sockets) = spread(&three, workers).unwrap().unwrap();
            assert_eq!(sockets.len(), expected);
            let at_once = |socket| rustix::net::sockopt::tcp_nodelay(socket).unwrap();
            assert!(sockets.iter().all(at_once));
        }
        assert!(spread(&[], 2).unwrap().is_none());
    }
}
