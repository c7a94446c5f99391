//! Request heads (RFC 9112 sections 3 and 6).

use bytes::{Buf, Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::http1::buffer::take_map;

use super::{
    Codings, FieldScan, FieldsAt, Framing, HeadError, HeadLimits, MAX_FIELDS, METHOD_ROOM,
    field_slots, locate_fields, offsets,
};

/// A request head.
#[derive(Debug)]
pub(in crate::http1) struct RequestHead {
    pub(in crate::http1) method: Method,
    /// Origin-form or `*`; only CONNECT has an authority.
    pub(in crate::http1) uri: Uri,
    pub(in crate::http1) version: Version,
    pub(in crate::http1) headers: HeaderMap,
    pub(in crate::http1) framing: Framing,
    pub(in crate::http1) keep_alive: bool,
    pub(in crate::http1) expect_continue: bool,
    /// It asks for another protocol.
    pub(in crate::http1) upgrade: bool,
}

/// Takes a request head off the front of `buffer`, or nothing while it is not all there.
///
/// A target in absolute-form becomes
/// origin-form and its authority the host field (RFC 9112 section 3.2.2), so that there is one
/// place to look for the host.
pub(in crate::http1) fn parse_request(
    buffer: &mut BytesMut,
    limits: &HeadLimits,
) -> Result<Option<RequestHead>, HeadError> {
    // RFC 9112 section 2.2: empty lines before the request line are ignored.
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
    match buffer.first() {
        None => return Ok(None),
        Some(b'\n') => return Err(HeadError::Malformed("a line does not end in CRLF")),
        Some(_) => {}
    }
    let mut slots = field_slots();
    let used = limits.max_fields.min(MAX_FIELDS);
    let mut request = httparse::Request::new(&mut []);
    let parsed =
        request.parse_with_uninit_headers(buffer, slots.get_mut(..used).unwrap_or_default());
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => {
            check_partial(buffer, request.path, limits)?;
            return Ok(None);
        }
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Version) => return Err(version_error(buffer)),
        Err(_) => return Err(HeadError::Malformed("not a request head")),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::Malformed("not a request line"));
    };
    if target.len() > limits.max_uri {
        return Err(HeadError::UriTooLong);
    }
    if length > limits.max_bytes {
        return Err(HeadError::TooLarge);
    }
    let mut fields = FieldsAt::new();
    let head = buffer.get(..length).unwrap_or_default();
    locate_fields(head, request.headers, &mut fields)?;
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| HeadError::Malformed("invalid method"))?;
    let target = offsets(buffer, target.as_bytes());
    let version = if minor == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };

    let head = buffer.split_to(length).freeze();
    let mut scan = FieldScan::default();
    let mut headers = take_map();
    scan.read(&head, &fields, &mut headers)?;
    let (uri, authority) = parse_target(&method, head.slice(target.0..target.1))?;
    check_host(&scan, version, authority, &mut headers)?;
    let framing = framing(&scan, &method, version)?;
    Ok(Some(RequestHead {
        keep_alive: !scan.close && (version == Version::HTTP_11 || scan.keep_alive),
        // RFC 9110 section 10.1.1: not from HTTP/1.0, and not without content.
        expect_continue: scan.expect_continue
            && version == Version::HTTP_11
            && !matches!(framing, Framing::None | Framing::Length(0)),
        // RFC 9110 section 7.8: not from HTTP/1.0, and not where `connection` does not say so.
        upgrade: scan.upgrade_field && scan.upgrade_option && version == Version::HTTP_11,
        method,
        uri,
        version,
        headers,
        framing,
    }))
}

/// Refuses a head that is over a limit before it is complete.
fn check_partial(buffer: &[u8], path: Option<&str>, limits: &HeadLimits) -> Result<(), HeadError> {
    let uri_over = match path {
        Some(path) => path.len() > limits.max_uri,
        None => buffer.len() > limits.max_uri + METHOD_ROOM,
    };
    if uri_over {
        return Err(HeadError::UriTooLong);
    }
    if buffer.len() >= limits.max_bytes {
        return Err(HeadError::TooLarge);
    }
    Ok(())
}

/// Tells a version that is not ours from something that is no version.
fn version_error(buffer: &[u8]) -> HeadError {
    let line = buffer
        .split(|byte| *byte == b'\r' || *byte == b'\n')
        .next()
        .unwrap_or_default();
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match last {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit()
                && minor.is_ascii_digit()
                && !matches!((major, minor), (b'1', b'0' | b'1')) =>
        {
            HeadError::Version
        }
        _ => HeadError::Malformed("invalid HTTP version"),
    }
}

/// Parses the request target (RFC 9112 section 3.2); the authority is that of an absolute-form.
fn parse_target(method: &Method, target: Bytes) -> Result<(Uri, Option<HeaderValue>), HeadError> {
    const INVALID: HeadError = HeadError::Malformed("invalid request target");
    // A fragment is no part of a target, and `Uri` would drop it without a word.
    if memchr::memchr(b'#', &target).is_some() {
        return Err(INVALID);
    }
    let first = target.first().copied();
    let asterisk = &*target == b"*";
    if *method == Method::CONNECT {
        let uri = Uri::from_maybe_shared(target).map_err(|_| INVALID)?;
        let authority = uri.authority().filter(|_| uri.path_and_query().is_none());
        let with_port = authority.filter(|authority| authority.port_u16().is_some());
        return match with_port {
            Some(authority) if is_host(authority.as_str().as_bytes()) => Ok((uri, None)),
            _ => Err(HeadError::Malformed("CONNECT needs a host and a port")),
        };
    }
    if first == Some(b'/') || (asterisk && *method == Method::OPTIONS) {
        let uri = Uri::from_maybe_shared(target).map_err(|_| INVALID)?;
        return Ok((uri, None));
    }
    // RFC 9112 section 3.2.4: with an empty path and no query, OPTIONS asks about the server.
    let bare = memchr::memmem::find(&target, b"://")
        .and_then(|at| target.get(at + 3..))
        .is_some_and(|rest| memchr::memchr2(b'/', b'?', rest).is_none());
    let mut parts = Uri::from_maybe_shared(target)
        .map_err(|_| INVALID)?
        .into_parts();
    let http = parts.scheme.take().is_some_and(|scheme| {
        scheme == http::uri::Scheme::HTTP || scheme == http::uri::Scheme::HTTPS
    });
    let authority = parts.authority.take().filter(|_| http).ok_or(INVALID)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| INVALID)?;
    let uri = match parts.path_and_query.take() {
        _ if bare && *method == Method::OPTIONS => Uri::from_static("*"),
        Some(path) if path.as_str().starts_with('/') => Uri::from(path),
        Some(path) => path.to_string().parse().map_err(|_| INVALID)?,
        None => Uri::from_static("/"),
    };
    Ok((uri, Some(host)))
}

/// RFC 9112 section 3.2: exactly one valid host field from HTTP/1.1, at most one from HTTP/1.0.
fn check_host(
    scan: &FieldScan,
    version: Version,
    authority: Option<HeaderValue>,
    headers: &mut HeaderMap,
) -> Result<(), HeadError> {
    match scan.hosts {
        0 if version == Version::HTTP_11 => return Err(HeadError::Malformed("no host field")),
        0 | 1 => {}
        _ => return Err(HeadError::Malformed("more than one host field")),
    }
    if scan.bad_host {
        return Err(HeadError::Malformed("invalid host field"));
    }
    if let Some(authority) = authority {
        if !is_host(authority.as_bytes()) {
            return Err(HeadError::Malformed(
                "invalid authority in the request target",
            ));
        }
        headers.insert(HOST, authority);
    }
    Ok(())
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2), not empty (section 4.2.1).
pub(crate) fn is_host(value: &[u8]) -> bool {
    let (host_valid, rest) = if let Some(literal) = value.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', literal) else {
            return false;
        };
        let (address, rest) = literal.split_at(end);
        (is_ip_literal(address), rest.get(1..).unwrap_or_default())
    } else {
        // Without percent-encoding, which no name in the DNS has and not every part of the way takes.
        let end = value.iter().position(|byte| !is_reg_byte(*byte));
        let (name, rest) = value.split_at(end.unwrap_or(value.len()));
        (!name.is_empty(), rest)
    };
    let port_valid = match rest.split_first() {
        None => true,
        Some((b':', port)) => {
            port.is_empty() || super::parse_length(port).is_some_and(|port| port <= 65_535)
        }
        Some(_) => false,
    };
    host_valid && port_valid
}

fn is_ip_literal(address: &[u8]) -> bool {
    let Ok(address) = std::str::from_utf8(address) else {
        return false;
    };
    if let Some(future) = address.strip_prefix(['v', 'V']) {
        return future.split_once('.').is_some_and(|(version, rest)| {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !rest.is_empty()
                && rest.bytes().all(|byte| byte == b':' || is_reg_byte(byte))
        });
    }
    address.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Whether `REG_BYTES` has a bit for it.
const fn is_reg_byte(byte: u8) -> bool {
    byte < 128 && REG_BYTES >> byte & 1 == 1
}

/// A bit for each of `unreserved / sub-delims` (RFC 3986 section 2).
const REG_BYTES: u128 = {
    let mut bits = 0;
    let mut byte = 0_u8;
    while byte < 128 {
        let is_other = matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        );
        if byte.is_ascii_alphanumeric() || is_other {
            bits |= 1 << byte;
        }
        byte += 1;
    }
    bits
};

/// The framing of a request body (RFC 9112 section 6.3), every doubtful one refused.
fn framing(scan: &FieldScan, method: &Method, version: Version) -> Result<Framing, HeadError> {
    let framing = match (scan.codings, scan.content_length) {
        (Codings::None, None) => Framing::None,
        (Codings::None, Some(length)) => Framing::Length(length),
        (_, Some(_)) => {
            return Err(HeadError::Malformed(
                "both transfer-encoding and content-length",
            ));
        }
        _ if version == Version::HTTP_10 => {
            return Err(HeadError::Malformed("transfer-encoding in HTTP/1.0"));
        }
        (Codings::Chunked, None) => Framing::Chunked,
        (Codings::OthersThenChunked, None) => return Err(HeadError::UnknownCoding),
        (Codings::Others | Codings::Faulty, None) => {
            return Err(HeadError::Malformed(
                "the final transfer coding is not chunked",
            ));
        }
    };
    // RFC 9110 section 9.3.6: CONNECT has no content.
    if *method == Method::CONNECT && !matches!(framing, Framing::None | Framing::Length(0)) {
        return Err(HeadError::Malformed("CONNECT with content"));
    }
    Ok(framing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_host_here_is_an_authority_everywhere() {
        for byte in 0..=u8::MAX {
            for host in [
                &[b'a', byte, b'b'][..],
                &[byte],
                &[b'a', byte],
                b"[v1.a]",
                b"[::1]:80",
            ] {
                let known = http::uri::Authority::try_from(host);
                assert!(!is_host(host) || known.is_ok(), "{}", host.escape_ascii());
            }
        }
    }
}
