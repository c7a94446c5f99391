//! Reading a header, strictly: what is not as the specification has it is refused.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::{self, FromStr},
};

use super::{Addresses, MAX_LENGTH_V1, SIGNATURE_V1, SIGNATURE_V2};

/// The longest header that is taken, extensions included.
pub const MAX_LENGTH: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A header of so many bytes. Without addresses the connection stands for itself.
    Header {
        /// Its length; what follows is the connection's own.
        length: usize,
        /// Which connection it is for.
        addresses: Option<Addresses>,
    },
    /// All of it may be of a header that is not whole.
    Incomplete,
    /// Something else.
    Absent,
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line that does not end where it must.
    #[error("its line is longer than 107 bytes or ends in other than CR LF")]
    Line,
    /// A line with other fields than it must have.
    #[error("its line is not \"PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT\"")]
    Fields,
    /// Neither LOCAL nor PROXY, of another version, or of an unknown family or transport.
    #[error("its version, command, family or transport is unknown")]
    Unknown,
    /// Longer than anyone needs.
    #[error("it is longer than 4096 bytes")]
    TooLong,
    /// Shorter than its addresses, or an extension longer than what is left.
    #[error("its length does not fit what it holds")]
    Length,
    /// The checksum it has is another than it should have.
    #[error("its checksum is wrong")]
    Checksum,
}

/// Tells what `bytes`, the first of a connection, are.
///
/// # Errors
/// When they begin as a header does and are none.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if bytes.starts_with(SIGNATURE_V1) {
        line(bytes)
    } else if bytes.starts_with(SIGNATURE_V2) {
        binary(bytes)
    } else if SIGNATURE_V1.starts_with(bytes) || SIGNATURE_V2.starts_with(bytes) {
        Ok(Parsed::Incomplete)
    } else {
        Ok(Parsed::Absent)
    }
}

/// Version 1.
fn line(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let most = bytes.get(..MAX_LENGTH_V1).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', most) else {
        let full = most.len() == MAX_LENGTH_V1;
        return if full {
            Err(Malformed::Line)
        } else {
            Ok(Parsed::Incomplete)
        };
    };
    let line = most
        .get(SIGNATURE_V1.len()..end)
        .and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(Malformed::Line)?;
    let line = str::from_utf8(line).map_err(|_| Malformed::Fields)?;
    Ok(Parsed::Header {
        length: end + 1,
        addresses: fields(line).ok_or(Malformed::Fields)?,
    })
}

/// What follows `PROXY ` in its line. Without addresses for an unknown connection, of which anything
/// may be said.
fn fields(line: &str) -> Option<Option<Addresses>> {
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    let addresses = match family {
        "UNKNOWN" => return Some(None),
        "TCP4" => pair::<Ipv4Addr>(rest)?,
        "TCP6" => pair::<Ipv6Addr>(rest)?,
        _ => return None,
    };
    Some(Some(addresses))
}

/// `SOURCE DESTINATION PORT PORT`.
fn pair<A: FromStr + Into<IpAddr>>(text: &str) -> Option<Addresses> {
    let mut parts = text.split(' ');
    let mut address = || parts.next()?.parse::<A>().ok().map(Into::into);
    let (source, destination) = (address()?, address()?);
    let mut port = || port(parts.next()?);
    let (from, to) = (port()?, port()?);
    parts.next().is_none().then_some(Addresses {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

/// Digits only, without zeros before them.
fn port(text: &str) -> Option<u16> {
    let canonical = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    canonical.then(|| text.parse().ok())?
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Parsed, Malformed> {
    const FIXED: usize = 16;
    let Some([command, kind, high, low]) = bytes.get(SIGNATURE_V2.len()..FIXED) else {
        return Ok(Parsed::Incomplete);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([*high, *low]));
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed::Unknown),
    };
    if kind >> 4 > 3 || kind & 0xf > 2 {
        return Err(Malformed::Unknown);
    }
    if length > MAX_LENGTH {
        return Err(Malformed::TooLong);
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(Parsed::Incomplete);
    };
    let body = header.get(FIXED..).unwrap_or_default();
    let addresses = match (local, kind) {
        // The proxy speaks for itself; what else it says is to be passed over.
        (true, _) => None,
        (false, kind) => {
            let size = match kind >> 4 {
                1 => 12,
                2 => 36,
                3 => 216,
                _ => 0,
            };
            let (block, extensions) = body.split_at_checked(size).ok_or(Malformed::Length)?;
            check_extensions(header, extensions)?;
            match kind {
                0x11 => v4(block),
                0x21 => v6(block),
                // Of another kind than this connection: nothing to know it by.
                _ => None,
            }
        }
    };
    Ok(Parsed::Header { length, addresses })
}

fn v4(block: &[u8]) -> Option<Addresses> {
    let (source, rest) = block.split_first_chunk::<4>()?;
    let (destination, ports) = rest.split_first_chunk::<4>()?;
    ported(
        Ipv4Addr::from(*source).into(),
        Ipv4Addr::from(*destination).into(),
        ports,
    )
}

fn v6(block: &[u8]) -> Option<Addresses> {
    let (source, rest) = block.split_first_chunk::<16>()?;
    let (destination, ports) = rest.split_first_chunk::<16>()?;
    ported(
        Ipv6Addr::from(*source).into(),
        Ipv6Addr::from(*destination).into(),
        ports,
    )
}

fn ported(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Option<Addresses> {
    let (from, ports) = ports.split_first_chunk::<2>()?;
    let (to, _) = ports.split_first_chunk::<2>()?;
    Some(Addresses {
        source: SocketAddr::new(source, u16::from_be_bytes(*from)),
        destination: SocketAddr::new(destination, u16::from_be_bytes(*to)),
    })
}

/// Passes over the extensions at the end of `header`; checks the checksum, if it is one of them.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), Malformed> {
    const CHECKSUM: u8 = 0x03;
    while let Some((kind, rest)) = extensions.split_first() {
        let (size, rest) = rest.split_first_chunk::<2>().ok_or(Malformed::Length)?;
        let size = usize::from(u16::from_be_bytes(*size));
        let (value, rest) = rest.split_at_checked(size).ok_or(Malformed::Length)?;
        if *kind == CHECKSUM {
            let value: [u8; 4] = value.try_into().map_err(|_| Malformed::Checksum)?;
            if checksum(header, rest.len()) != Some(u32::from_be_bytes(value)) {
                return Err(Malformed::Checksum);
            }
        }
        extensions = rest;
    }
    Ok(())
}

/// CRC32c of `header` with zeros in place of the four bytes before its last `after`.
fn checksum(header: &[u8], after: usize) -> Option<u32> {
    let (before, after) = header.split_at_checked(header.len().checked_sub(after)?)?;
    let (before, _) = before.split_last_chunk::<4>()?;
    let sum = crc32c::crc32c(before);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    Some(crc32c::crc32c_append(sum, after))
}
