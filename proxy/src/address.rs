//! Addresses as text, written where they are needed without the machinery of formatting: each
//! connection and each line of an access log has some.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

/// Adds an address.
pub(crate) fn put_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(v6) => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{v6}");
        }
    }
}

/// Adds an address with its port.
pub(crate) fn put_socket(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            put_ip(out, IpAddr::V4(*v4.ip()));
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(v4.port()).as_bytes());
        }
        // With a scope, where it has one.
        SocketAddr::V6(_) => {
            let _ = write!(out, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_text_that_formatting_gives(ip: IpAddr, port: u16) {
            let (mut out, socket) = (Vec::new(), SocketAddr::new(ip, port));
            put_ip(&mut out, ip);
            out.push(b' ');
            put_socket(&mut out, socket);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{ip} {socket}"));
        }
    }
}
