//! How a socket sends.

use std::{io, net::IpAddr, os::fd::AsFd};

use rustix::net::sockopt::{set_tcp_congestion, set_tcp_nodelay, tcp_congestion};

/// What is in place of an algorithm that paces, the first there is: Linux has had the second always.
const UNPACED: [&str; 2] = ["cubic", "reno"];

/// Has a socket send at once what it is given: without waiting for more (Nagle's algorithm, RFC 9293
/// section 3.7.4) and, where `address` is of this machine alone, without pacing. What a listening
/// socket accepts has it from there; its own address is the one that counts.
///
/// A congestion control that paces (BBR) spaces out segments by timers of the kernel. Over loopback
/// there is no path to spare: every timer is an interrupt for nothing.
///
/// # Errors
/// When it is no TCP socket. Pacing goes on where the system does not tell of it or lets nobody choose.
pub fn at_once(socket: impl AsFd, address: IpAddr) -> io::Result<()> {
    set_tcp_nodelay(&socket, true)?;
    if address.to_canonical().is_loopback()
        && tcp_congestion(&socket).is_ok_and(|name| paces(&name))
    {
        let chosen = UNPACED
            .iter()
            .find(|name| set_tcp_congestion(&socket, name).is_ok());
        tracing::trace!(?chosen, "no pacing over loopback");
    }
    Ok(())
}

/// Whether an algorithm paces by itself: BBR, in any version.
fn paces(algorithm: &str) -> bool {
    algorithm.starts_with("bbr")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use rustix::net::sockopt::tcp_nodelay;

    use super::*;

    /// A listening socket that paces, if the system lets it.
    fn listening() -> TcpListener {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let _ = set_tcp_congestion(&socket, "bbr");
        socket
    }

    #[test]
    fn nothing_is_paced_over_loopback_and_what_is_accepted_is_not_either() {
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            let socket = listening();
            at_once(&socket, address.parse().unwrap()).unwrap();
            let client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
            let (accepted, _) = socket.accept().unwrap();
            assert!(!paces(&tcp_congestion(&socket).unwrap()), "{address}");
            assert!(!paces(&tcp_congestion(&accepted).unwrap()), "{address}");
            assert!(tcp_nodelay(&accepted).unwrap());
            drop(client);
        }
    }

    #[test]
    fn elsewhere_the_system_decides() {
        for address in ["0.0.0.0", "192.0.2.1", "::", "2001:db8::1"] {
            let socket = listening();
            let before = tcp_congestion(&socket).unwrap();
            at_once(&socket, address.parse().unwrap()).unwrap();
            assert_eq!(tcp_congestion(&socket).unwrap(), before, "{address}");
            assert!(tcp_nodelay(&socket).unwrap());
        }
    }

    #[test]
    fn what_paces_not_is_left_as_it_is() {
        assert!(paces("bbr") && paces("bbr2") && !UNPACED.iter().any(|name| paces(name)));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        set_tcp_congestion(&socket, "reno").unwrap();
        at_once(&socket, Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(tcp_congestion(&socket).unwrap(), "reno");
    }
}
