//! Writing a header.

use std::{
    io::{Cursor, Write as _},
    net::{IpAddr, SocketAddr},
};

use fleetway_api::ProxyProtocolVersion;

use super::{Addresses, MAX_LENGTH_V1, SIGNATURE_V2};

/// A header as it goes over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    bytes: [u8; MAX_LENGTH_V1],
    length: usize,
}

impl Header {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The header that says a connection is for `addresses`. Of an IPv4 and an IPv6 address both are
/// written as IPv6.
#[must_use]
pub fn encode(version: ProxyProtocolVersion, addresses: &Addresses) -> Header {
    let (source, destination) = alike(addresses);
    let mut out = Cursor::new([0; MAX_LENGTH_V1]);
    // The longest of either version fits.
    let _ = match version {
        ProxyProtocolVersion::V1 => write!(
            out,
            "PROXY {} {} {} {} {}\r\n",
            if source.is_ipv4() { "TCP4" } else { "TCP6" },
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        ),
        ProxyProtocolVersion::V2 => binary(&mut out, source, destination),
    };
    Header {
        length: usize::try_from(out.position()).unwrap_or_default(),
        bytes: out.into_inner(),
    }
}

fn binary(
    out: &mut Cursor<[u8; MAX_LENGTH_V1]>,
    source: SocketAddr,
    destination: SocketAddr,
) -> std::io::Result<()> {
    out.write_all(SIGNATURE_V2)?;
    // Version 2, PROXY; the family with STREAM; the length of what follows.
    out.write_all(if source.is_ipv4() {
        &[0x21, 0x11, 0, 12]
    } else {
        &[0x21, 0x21, 0, 36]
    })?;
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(ip) => out.write_all(&ip.octets())?,
            IpAddr::V6(ip) => out.write_all(&ip.octets())?,
        }
    }
    out.write_all(&source.port().to_be_bytes())?;
    out.write_all(&destination.port().to_be_bytes())
}

/// Both as IPv4 if they are, else both as IPv6.
fn alike(addresses: &Addresses) -> (SocketAddr, SocketAddr) {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (
        canonical(addresses.source),
        canonical(addresses.destination),
    );
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (mapped(source), mapped(destination))
}
