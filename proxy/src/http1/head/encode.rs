//! Writes heads and trailers.

use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, HeaderName, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::{members, parse_length, tokens};

/// Appends a status line. The version is always 1.1, which is ours (RFC 9112 section 2.3).
pub(in crate::http1) fn put_status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a request line and the host field, which goes first (RFC 9110 section 7.2).
pub(in crate::http1) fn put_request_line(
    out: &mut Vec<u8>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if *method == Method::CONNECT {
        out.extend_from_slice(authority.as_bytes());
    } else {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        if !target.starts_with('/') && target != "*" {
            out.push(b'/');
        }
        out.extend_from_slice(target.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    let host = headers
        .get(HOST)
        .map_or(authority.as_bytes(), HeaderValue::as_bytes);
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
}

/// Which of the fields that the codec has a say in a head has: what is known to be absent is not
/// looked for again.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::http1) struct Present {
    pub(in crate::http1) connection: bool,
    pub(in crate::http1) content_length: bool,
    pub(in crate::http1) date: bool,
    pub(in crate::http1) expect: bool,
}

impl Present {
    /// Whether `headers`, of which this tells, ask for the connection to be closed.
    pub(in crate::http1) fn asks_to_close(self, headers: &HeaderMap) -> bool {
        self.connection
            && members(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"close"))
    }

    /// Whether they ask for a 100 before the body (RFC 9110 section 10.1.1).
    pub(in crate::http1) fn expects_continue(self, headers: &HeaderMap) -> bool {
        self.expect
            && headers
                .get(EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }

    /// Their one valid `content-length`.
    pub(in crate::http1) fn declared_length(self, headers: &HeaderMap) -> Option<u64> {
        self.content_length
            .then(|| declared_length(headers))
            .flatten()
    }
}

/// Appends all fields but those the codec writes itself, and tells which it has seen. `host` is
/// left out of a request, whose request line brought it.
pub(in crate::http1) fn put_fields(
    out: &mut Vec<u8>,
    headers: &HeaderMap,
    request: bool,
) -> Present {
    let mut present = Present::default();
    for (name, value) in headers {
        let text = name.as_str();
        match text.len() {
            4 if *name == DATE => present.date = true,
            4 if request && *name == HOST => continue,
            6 if *name == EXPECT => present.expect = true,
            10 if *name == CONNECTION => {
                present.connection = true;
                continue;
            }
            14 if *name == CONTENT_LENGTH => {
                present.content_length = true;
                continue;
            }
            17 if *name == TRANSFER_ENCODING => continue,
            _ => {}
        }
        put_field(out, text, value);
    }
    present
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim response (RFC 9110 section 15.2). It has neither body nor framing fields.
pub(in crate::http1) fn put_interim(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    put_status_line(out, status);
    put_fields(out, headers, false);
    out.extend_from_slice(b"\r\n");
}

/// Appends a `content-length` field.
pub(in crate::http1) fn put_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    put_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Appends the `content-length` a response without a body was given, if it is valid: what a HEAD
/// or 304 would have had (RFC 9110 section 8.6).
pub(in crate::http1) fn put_bodyless_length(out: &mut Vec<u8>, headers: &HeaderMap) {
    if let Some(length) = declared_length(headers) {
        put_length(out, length);
    }
}

/// Appends `transfer-encoding: chunked`.
pub(in crate::http1) fn put_chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// The one valid `content-length` in `headers`.
pub(in crate::http1) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)
        .and_then(|value| parse_length(value.as_bytes()))
}

/// Appends a `connection` field with `own` (if any) and the options in `headers`, of which
/// `present` tells, except `close` and `keep-alive`, which the codec decides.
pub(in crate::http1) fn connection_tokens(
    out: &mut Vec<u8>,
    headers: &HeaderMap,
    present: Present,
    own: Option<&'static str>,
) {
    if !present.connection && own.is_none() {
        return;
    }
    let mut begun = false;
    let mut put = |token: &[u8]| {
        out.extend_from_slice(if begun { b", " } else { b"connection: " });
        out.extend_from_slice(token);
        begun = true;
    };
    if let Some(own) = own {
        put(own.as_bytes());
    }
    for value in headers.get_all(CONNECTION) {
        for token in tokens(value.as_bytes()) {
            let decided =
                token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive");
            if !decided {
                put(token);
            }
        }
    }
    if begun {
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends trailer fields, those with no place there left out (RFC 9110 section 6.5.1).
pub(in crate::http1) fn put_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers {
        if !is_forbidden_in_trailers(name) {
            put_field(out, name.as_str(), value);
        }
    }
}

/// Fields that frame or route a message, which mean nothing in a trailer.
pub(super) fn is_forbidden_in_trailers(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH
        || *name == TRANSFER_ENCODING
        || *name == HOST
        || *name == CONNECTION
        || *name == TRAILER
        || *name == http::header::TE
        || *name == http::header::UPGRADE
        || *name == http::header::EXPECT
        || *name == http::header::AUTHORIZATION
        || *name == http::header::CONTENT_ENCODING
        || *name == http::header::CONTENT_TYPE
        || *name == http::header::CONTENT_RANGE
}

/// Appends a number in decimal.
pub(in crate::http1) fn put_decimal(out: &mut Vec<u8>, number: u64) {
    put_number(out, number, 10);
}

/// Appends a number in hexadecimal.
pub(in crate::http1) fn put_hex(out: &mut Vec<u8>, number: u64) {
    put_number(out, number, 16);
}

fn put_number(out: &mut Vec<u8>, mut number: u64, base: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        #[allow(clippy::cast_possible_truncation, reason = "a digit is below 16")]
        let value = (number % base) as u8;
        *digit = if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        };
        number /= base;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}
