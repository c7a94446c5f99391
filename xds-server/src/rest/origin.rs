//! Requests that a page in a browser makes: refused, unless the page is the server's own.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use http::{Uri, header};

use super::failure::Failure;

/// The server's end of the connection a request came over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local(pub(super) SocketAddr);

/// Lets through what no browser sent, and what a page of the server's own address did (RFC 6454).
/// Else a page anywhere could change everything that its reader's machine reaches, also under a name
/// that the page has made to point here: the name is not looked at, an address cannot be made so.
///
/// # Errors
/// When the `origin` is another.
pub(super) fn check(request: &Request) -> Result<(), Failure> {
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    let local = request.extensions().get::<Local>();
    let own = |text: &[u8]| local.is_some_and(|local| is_own(text, local.0));
    if origins.all(|origin| own(origin.as_bytes())) {
        Ok(())
    } else {
        Err(Failure::CrossOrigin)
    }
}

fn is_own(origin: &[u8], local: SocketAddr) -> bool {
    let Ok(uri) = Uri::try_from(origin) else {
        return false;
    };
    let default = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = local.ip().to_canonical();
    let same = match host.parse::<IpAddr>() {
        Ok(host) => host.to_canonical() == ip,
        Err(_) => host.eq_ignore_ascii_case("localhost") && ip.is_loopback(),
    };
    same && uri.port_u16().unwrap_or(default) == local.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_address_is_an_own_origin() {
        let local = "127.0.0.1:7080".parse().unwrap();
        for (origin, own) in [
            ("http://127.0.0.1:7080", true),
            ("https://127.0.0.1:7080", true),
            ("http://localhost:7080", true),
            ("http://127.0.0.1", false),
            ("http://127.0.0.1:8080", false),
            ("http://127.0.0.2:7080", false),
            ("http://evil.example:7080", false),
            ("http://evil", false),
            ("ftp://127.0.0.1:7080", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(is_own(origin.as_bytes(), local), own, "{origin}");
        }
        let far = "[2001:db8::1]:80".parse().unwrap();
        assert!(is_own(b"http://[2001:db8::1]", far));
        assert!(!is_own(b"http://localhost", far));
    }
}
