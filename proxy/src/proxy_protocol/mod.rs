//! The PROXY protocol, versions 1 and 2: a header before everything else on a connection, that says
//! which client it is for (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

mod encode;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod parse;

use std::net::SocketAddr;

pub use encode::{Header, encode};
pub use parse::{MAX_LENGTH, Malformed, Parsed, parse};

/// Which connection another one stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Who opened it.
    pub source: SocketAddr,
    /// What it was opened to.
    pub destination: SocketAddr,
}

/// What version 1 begins with.
const SIGNATURE_V1: &[u8] = b"PROXY ";
/// What version 2 begins with.
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, with its end of line.
const MAX_LENGTH_V1: usize = 107;

#[cfg(test)]
mod tests;
