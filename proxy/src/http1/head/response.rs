//! Response heads (RFC 9112 sections 4 and 6).

use bytes::BytesMut;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode, Version};

use crate::http1::buffer::take_map;

use super::{
    Codings, FieldScan, FieldsAt, Framing, HeadError, HeadLimits, MAX_FIELDS, field_slots,
    locate_fields,
};

/// A response head.
#[derive(Debug)]
pub(in crate::http1) struct ResponseHead {
    pub(in crate::http1) status: StatusCode,
    pub(in crate::http1) version: Version,
    pub(in crate::http1) headers: HeaderMap,
    pub(in crate::http1) framing: Framing,
    pub(in crate::http1) keep_alive: bool,
}

/// What of the request bears on the response's framing.
#[derive(Debug, Clone, Copy)]
pub(in crate::http1) struct ResponseRules {
    /// The request was HEAD: whatever the fields say, there is no body.
    pub(in crate::http1) head: bool,
}

impl ResponseRules {
    pub(in crate::http1) fn of(method: &Method) -> Self {
        Self {
            head: *method == Method::HEAD,
        }
    }
}

/// Takes a response head off the front of `buffer`, or nothing while it is not all there.
pub(in crate::http1) fn parse_response(
    buffer: &mut BytesMut,
    limits: &HeadLimits,
    rules: ResponseRules,
) -> Result<Option<ResponseHead>, HeadError> {
    match buffer.first() {
        None => return Ok(None),
        Some(b'H') => {}
        Some(_) => return Err(HeadError::Malformed("not a status line")),
    }
    let mut slots = field_slots();
    let used = limits.max_fields.min(MAX_FIELDS);
    let mut config = httparse::ParserConfig::default();
    // RFC 9112 section 5.1: a proxy removes such blanks from a response.
    config.allow_spaces_after_header_name_in_responses(true);
    let mut response = httparse::Response::new(&mut []);
    let parsed = config.parse_response_with_uninit_headers(
        &mut response,
        buffer,
        slots.get_mut(..used).unwrap_or_default(),
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() >= limits.max_bytes => {
            return Err(HeadError::TooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::Malformed("not a response head")),
    };
    if length > limits.max_bytes {
        return Err(HeadError::TooLarge);
    }
    let (Some(code), Some(minor)) = (response.code, response.version) else {
        return Err(HeadError::Malformed("not a status line"));
    };
    let status =
        StatusCode::from_u16(code).map_err(|_| HeadError::Malformed("invalid status code"))?;
    let mut fields = FieldsAt::new();
    let head = buffer.get(..length).unwrap_or_default();
    locate_fields(head, response.headers, &mut fields)?;
    let version = if minor == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };

    let head = buffer.split_to(length).freeze();
    let mut scan = FieldScan::default();
    let mut headers = take_map();
    scan.read(&head, &fields, &mut headers)?;
    let framing = framing(&scan, version, status, rules)?;
    let mut keep_alive = !scan.close && (version == Version::HTTP_11 || scan.keep_alive);
    if scan.codings != Codings::None && scan.content_length.is_some() {
        // RFC 9112 section 6.3: the transfer coding wins, the length is not passed on, and the
        // connection is not trusted any further.
        headers.remove(CONTENT_LENGTH);
        keep_alive = false;
    }
    keep_alive &= framing != Framing::UntilClose;
    Ok(Some(ResponseHead {
        status,
        version,
        headers,
        framing,
        keep_alive,
    }))
}

/// The framing of a response body (RFC 9112 section 6.3).
fn framing(
    scan: &FieldScan,
    version: Version,
    status: StatusCode,
    rules: ResponseRules,
) -> Result<Framing, HeadError> {
    if version == Version::HTTP_10 && scan.codings != Codings::None {
        // RFC 9112 section 6.1: such framing is faulty.
        return Err(HeadError::Malformed("transfer-encoding in HTTP/1.0"));
    }
    let bodyless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if rules.head || bodyless {
        return Ok(Framing::None);
    }
    match scan.codings {
        Codings::None => Ok(scan
            .content_length
            .map_or(Framing::UntilClose, Framing::Length)),
        Codings::Chunked => Ok(Framing::Chunked),
        // The coding could not be passed on, so its content would be taken for plain.
        Codings::Others | Codings::OthersThenChunked => Err(HeadError::UnknownCoding),
        Codings::Faulty => Err(HeadError::Malformed(
            "chunked is not the final transfer coding",
        )),
    }
}
