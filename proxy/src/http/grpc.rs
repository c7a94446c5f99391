//! gRPC's words for what the proxy itself has to say about a call, and the time a call may take
//! ("gRPC over HTTP2", in gRPC's own documentation).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use super::{Failure, ResponseBody, target::Head};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The statuses a proxy has reason to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Unknown = 2,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// Whether a request is a gRPC call.
pub(super) fn is_call<'r>(head: impl Into<Head<'r>>) -> bool {
    let head = head.into();
    if head.version != Version::HTTP_2 {
        return false;
    }
    let kind = head.headers.get(header::CONTENT_TYPE);
    let rest = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// How long an exchange may take: what its route allows, and of a call what its client does.
pub(super) fn timeout(head: Head<'_>, route: Option<Duration>) -> Option<Duration> {
    match is_call(head) {
        true => shorter(head.headers, route),
        false => route,
    }
}

/// How long a call may take: the shorter of what its client says and what its route allows.
pub(super) fn shorter(fields: &HeaderMap, route: Option<Duration>) -> Option<Duration> {
    let said = fields.get(GRPC_TIMEOUT).and_then(read);
    match (said, route) {
        (Some(said), Some(route)) => Some(said.min(route)),
        (said, route) => said.or(route),
    }
}

/// Up to eight digits and a unit. What is no such text says nothing.
fn read(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The answer to a call that failed here: headers only, with a status as gRPC maps HTTP's.
pub(super) fn response(failure: &Failure) -> Response<ResponseBody> {
    let status = match failure {
        Failure::Timeout(_) => Status::DeadlineExceeded,
        Failure::BodyTooLarge | Failure::HeadTooLarge => Status::ResourceExhausted,
        other => match other.status() {
            StatusCode::BAD_REQUEST => Status::Internal,
            StatusCode::NOT_FOUND => Status::Unimplemented,
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Status::Unavailable,
            _ => Status::Unknown,
        },
    };
    let mut response = Response::new(ResponseBody::Full(None));
    let fields = response.headers_mut();
    let kind = HeaderValue::from_static("application/grpc");
    fields.insert(header::CONTENT_TYPE, kind);
    fields.insert(GRPC_STATUS, HeaderValue::from(status as u16));
    if let Ok(message) = HeaderValue::from_str(&encoded(&failure.text())) {
        fields.insert(GRPC_MESSAGE, message);
    }
    response
}

/// As `grpc-message` has it: percent-encoded, but for printable ASCII without `%`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn calls_are_told_by_version_and_content_type() {
        for (version, kind, expected) in [
            (Version::HTTP_2, "application/grpc", true),
            (Version::HTTP_2, "application/grpc+proto", true),
            (Version::HTTP_2, "application/grpc;charset=x", true),
            (Version::HTTP_2, "application/grpc-web", false),
            (Version::HTTP_2, "application/json", false),
            (Version::HTTP_11, "application/grpc", false),
        ] {
            let request = Request::get("/").version(version);
            let request = request.header("content-type", kind).body(()).unwrap();
            assert_eq!(is_call(&request), expected, "{version:?} {kind}");
        }
    }

    #[test]
    fn the_shorter_time_counts() {
        let fields = |text: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(GRPC_TIMEOUT, HeaderValue::from_str(text).unwrap());
            fields
        };
        let second = Some(Duration::from_secs(1));
        for (text, expected) in [
            ("200m", Some(Duration::from_millis(200))),
            ("2S", second),
            ("1H", second),
            ("500000u", Some(Duration::from_millis(500))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", second),
            ("5", second),
            ("-1S", second),
            ("123456789m", second),
            ("1x", second),
        ] {
            assert_eq!(shorter(&fields(text), second), expected, "{text}");
        }
        assert_eq!(shorter(&fields("3M"), None), Some(Duration::from_secs(180)));
        assert_eq!(shorter(&HeaderMap::new(), None), None);
    }

    #[test]
    fn failures_have_the_status_grpc_maps_them_to() {
        for (failure, status) in [
            (Failure::NoRoute, "12"),
            (Failure::NoEndpoint, "14"),
            (Failure::Overloaded, "14"),
            (Failure::BodyTooLarge, "8"),
            (Failure::BadRequest("no"), "13"),
            (Failure::UriTooLong, "2"),
        ] {
            let response = response(&failure);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[GRPC_STATUS], status, "{failure}");
        }
        assert_eq!(encoded("50% of ä\n"), "50%25 of %C3%A4%0A");
    }
}
