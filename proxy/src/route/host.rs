//! Host names as requests carry them.

use std::borrow::Cow;

/// Splits an authority or `Host` value into host and port: `[::1]:80` into `[::1]` and `80`.
///
/// The port is what follows the colon, if it is all digits; it may be empty. What is no
/// `HOST:PORT` is taken as a host.
#[must_use]
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    let colon = if authority.starts_with('[') {
        authority.rfind("]:").map(|bracket| bracket + 1)
    } else {
        // An IPv6 address without brackets has colons, and no port.
        authority.bytes().position(|byte| byte == b':')
    };
    let parts = colon
        .and_then(|colon| authority.split_at_checked(colon))
        .and_then(|(host, port)| Some((host, port.strip_prefix(':')?)));
    match parts {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The host of an authority as patterns have it: lower case, without port and trailing dot.
/// Allocates only if there are capitals.
pub(super) fn normalise(authority: &str) -> Cow<'_, str> {
    let (host, _) = split_port(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|c| c.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_from_an_address() {
        for (authority, want) in [
            ("example.com", ("example.com", None)),
            ("example.com:80", ("example.com", Some("80"))),
            ("example.com:", ("example.com", Some(""))),
            ("example.com:x", ("example.com:x", None)),
            ("10.0.0.1:8080", ("10.0.0.1", Some("8080"))),
            ("[::1]", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some("80"))),
            ("[::1", ("[::1", None)),
            ("::1", ("::1", None)),
            ("", ("", None)),
            (":80", ("", Some("80"))),
        ] {
            assert_eq!(split_port(authority), want, "{authority}");
        }
    }

    #[test]
    fn hosts_are_compared_without_case_port_and_trailing_dot() {
        for (authority, want) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.com.:8443", "api.example.com"),
            ("[FE80::1]:80", "[fe80::1]"),
            (".", ""),
        ] {
            assert_eq!(normalise(authority), want, "{authority}");
        }
        assert!(matches!(normalise("api.example.com.:80"), Cow::Borrowed(_)));
    }
}
