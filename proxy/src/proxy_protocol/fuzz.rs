//! What holds of the PROXY protocol's header, whatever comes.
#![allow(clippy::panic, reason = "a property that does not hold is to be loud")]

use std::net::SocketAddr;

use fleetway_api::ProxyProtocolVersion::{V1, V2};

use super::{Addresses, MAX_LENGTH, Malformed, Parsed, encode, parse};

/// A header is told from its bytes alone: no part of it is taken for the whole, what follows
/// changes nothing, and what is written for its addresses is read as them.
///
/// # Panics
/// Where that does not hold.
pub fn proxy_protocol(data: &[u8]) {
    let whole = parse(data);
    let decided = |end: usize| data.get(..end).map(parse);
    match whole {
        Ok(Parsed::Header { length, addresses }) => {
            assert!(length <= MAX_LENGTH && length <= data.len());
            assert_eq!(decided(length), Some(whole));
            for end in 0..length {
                assert_eq!(decided(end), Some(Ok(Parsed::Incomplete)), "{end}");
            }
            addresses.iter().for_each(written);
        }
        Ok(Parsed::Incomplete) => {
            assert!(data.len() < MAX_LENGTH);
            for end in 0..data.len() {
                assert_eq!(decided(end), Some(Ok(Parsed::Incomplete)), "{end}");
            }
        }
        Ok(Parsed::Absent) | Err(_) => {
            // Once decided it stays so.
            let mut before: Result<Parsed, Malformed> = Ok(Parsed::Incomplete);
            for end in 0..=data.len().min(MAX_LENGTH + 1) {
                let now = decided(end).unwrap_or(whole);
                assert!(!matches!(now, Ok(Parsed::Header { .. })), "{end}");
                assert!(now == before || before == Ok(Parsed::Incomplete), "{end}");
                before = now;
            }
            assert_eq!(before, whole);
        }
    }
}

fn written(addresses: &Addresses) {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    for version in [V1, V2] {
        let header = encode(version, addresses);
        let Ok(Parsed::Header {
            length,
            addresses: Some(read),
        }) = parse(header.as_bytes())
        else {
            panic!("{addresses:?}: {}", header.as_bytes().escape_ascii());
        };
        assert_eq!(length, header.as_bytes().len());
        assert_eq!(canonical(read.source), canonical(addresses.source));
        assert_eq!(
            canonical(read.destination),
            canonical(addresses.destination)
        );
        assert_eq!(encode(version, &read).as_bytes(), header.as_bytes());
    }
}
