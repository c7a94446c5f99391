//! Message heads: what requests and responses have in common (RFC 9112 sections 2 to 6).
//!
//! `httparse` finds the tokens; everything it lets pass and HTTP does not is refused here, since
//! two parsers that disagree about where a message ends are what request smuggling is made of.

mod encode;
mod names;
mod request;
mod response;

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

pub(super) use encode::{
    connection_tokens, declared_length, put_bodyless_length, put_chunked, put_fields, put_hex,
    put_interim, put_length, put_request_line, put_status_line, put_trailers,
};
pub(crate) use request::is_host;
pub(super) use request::{RequestHead, parse_request};
pub(super) use response::{ResponseHead, ResponseRules, parse_response};

/// The most fields a head may have, whatever the configuration says.
pub const MAX_FIELDS: usize = 256;

/// How large a message head may be.
#[derive(Debug, Clone)]
pub struct HeadLimits {
    /// The whole head in bytes, start line and empty line included; beyond it a request is
    /// answered with 431.
    pub max_bytes: usize,
    /// The number of field lines, at most [`MAX_FIELDS`]; beyond it a request is answered
    /// with 431.
    pub max_fields: usize,
    /// The request target in bytes; beyond it a request is answered with 414.
    pub max_uri: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024,
            max_fields: 100,
            max_uri: 16 * 1024,
        }
    }
}

/// Room for a method and the blanks around a target, on top of the target's limit.
const METHOD_ROOM: usize = 64;

impl HeadLimits {
    /// Whether a head that grew from `before` to `now` bytes may have come to be over a limit.
    pub(super) fn crossed(&self, before: usize, now: usize) -> bool {
        let line = self.max_uri + METHOD_ROOM;
        (before <= line && now > line) || now >= self.max_bytes
    }
}

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It breaks the grammar or a rule of HTTP: 400.
    #[error("malformed message head: {0}")]
    Malformed(&'static str),
    /// The request target is longer than the limit: 414.
    #[error("the request target is too long")]
    UriTooLong,
    /// The head is longer, or has more fields, than the limit: 431.
    #[error("the message head is too large")]
    TooLarge,
    /// The transfer coding is not known: 501.
    #[error("unknown transfer coding")]
    UnknownCoding,
    /// The version is neither HTTP/1.0 nor HTTP/1.1: 505.
    #[error("the HTTP version is not supported")]
    Version,
}

impl HeadError {
    /// The status a request with this fault is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}

/// How the end of a message body is found (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    None,
    /// That many bytes.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Everything up to the end of the connection; responses only.
    UntilClose,
}

/// Where a field stands in the head, as offsets, so that its value can share the buffer.
#[derive(Debug, Clone, Copy)]
struct FieldAt {
    name: (usize, usize),
    value: (usize, usize),
}

type FieldsAt = SmallVec<[FieldAt; 40]>;

/// Room for the fields of one head, uninitialised.
fn field_slots<'a>() -> [MaybeUninit<httparse::Header<'a>>; MAX_FIELDS] {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// The offsets of `part` within `whole`, of which it is a slice.
fn offsets(whole: &[u8], part: &[u8]) -> (usize, usize) {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    (start, start + part.len())
}

/// Notes where the fields stand and that each line before them, and the head itself, ends in
/// CRLF: `httparse` takes a bare LF too. They are put into `located`, which is empty: it is large to be
/// handed over.
fn locate_fields(
    head: &[u8],
    fields: &[httparse::Header<'_>],
    located: &mut FieldsAt,
) -> Result<(), HeadError> {
    const BARE_LF: HeadError = HeadError::Malformed("a line does not end in CRLF");
    located.reserve(fields.len());
    for field in fields {
        let name = offsets(head, field.name.as_bytes());
        let line_end = name
            .0
            .checked_sub(2)
            .and_then(|from| head.get(from..name.0));
        // A trailer section has no line before its first field.
        if name.0 != 0 && line_end != Some(b"\r\n") {
            return Err(BARE_LF);
        }
        located.push(FieldAt {
            name,
            value: offsets(head, field.value),
        });
    }
    let end: &[u8] = if fields.is_empty() && head.len() == 2 {
        b"\r\n"
    } else {
        b"\r\n\r\n"
    };
    if !head.ends_with(end) {
        return Err(BARE_LF);
    }
    Ok(())
}

/// What the framing fields of a head say, gathered field by field.
#[derive(Debug, Default)]
struct FieldScan {
    content_length: Option<u64>,
    /// The given content-length is not already one plain number.
    rewrite_length: bool,
    codings: Codings,
    hosts: u8,
    /// One of them is none.
    bad_host: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    /// The connection option `upgrade`.
    upgrade_option: bool,
    /// The field `upgrade`.
    upgrade_field: bool,
}

/// The transfer codings, as far as they matter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Codings {
    /// No transfer-encoding field.
    #[default]
    None,
    /// Exactly `chunked`.
    Chunked,
    /// Others, and `chunked` at the end.
    OthersThenChunked,
    /// Others only.
    Others,
    /// Something follows `chunked`.
    Faulty,
}

impl FieldScan {
    /// Appends the fields of `head` to `headers` and notes what the framing fields among them say.
    fn read(
        &mut self,
        head: &Bytes,
        fields: &FieldsAt,
        headers: &mut HeaderMap,
    ) -> Result<(), HeadError> {
        for field in fields {
            let name = head.get(field.name.0..field.name.1).unwrap_or_default();
            let name = names::read(name).ok_or(HeadError::Malformed("invalid field name"))?;
            let value = HeaderValue::from_maybe_shared(head.slice(field.value.0..field.value.1))
                .map_err(|_| HeadError::Malformed("invalid field value"))?;
            // The framing fields are told apart by their lengths first.
            match field.name.1 - field.name.0 {
                4 if name == HOST => {
                    self.hosts = self.hosts.saturating_add(1);
                    self.bad_host |= !is_host(value.as_bytes());
                }
                6 if name == http::header::EXPECT => {
                    self.expect_continue |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
                }
                7 if name == http::header::UPGRADE => self.upgrade_field = true,
                10 if name == CONNECTION => self.read_connection(&value),
                14 if name == CONTENT_LENGTH => self.read_length(&value)?,
                17 if name == TRANSFER_ENCODING => {
                    self.read_codings(&value);
                    continue;
                }
                _ => {}
            }
            headers.append(name, value);
        }
        if let Some(length) = self.content_length
            && self.rewrite_length
        {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(())
    }

    fn read_connection(&mut self, value: &HeaderValue) {
        for token in tokens(value.as_bytes()) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade_option |= token.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// RFC 9110 section 8.6: the same number several times is taken as that number, anything
    /// else as an error.
    fn read_length(&mut self, value: &HeaderValue) -> Result<(), HeadError> {
        for member in value.as_bytes().split(|byte| *byte == b',') {
            let length = parse_length(member.trim_ascii())
                .ok_or(HeadError::Malformed("invalid content-length"))?;
            if self.content_length.is_some_and(|known| known != length) {
                return Err(HeadError::Malformed("differing content-length values"));
            }
            self.rewrite_length |= self.content_length.is_some();
            self.content_length = Some(length);
        }
        self.rewrite_length |= value.as_bytes().first() == Some(&b'0');
        Ok(())
    }

    fn read_codings(&mut self, value: &HeaderValue) {
        for coding in value.as_bytes().split(|byte| *byte == b',') {
            let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
            self.codings = match (self.codings, chunked) {
                (Codings::None, true) => Codings::Chunked,
                (Codings::None | Codings::Others, false) => Codings::Others,
                (Codings::Others, true) => Codings::OthersThenChunked,
                _ => Codings::Faulty,
            };
        }
    }
}

/// The members of a comma-separated list of tokens, empty ones left out.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// The members of the lists in all the fields of that name.
pub(super) fn members<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| tokens(value.as_bytes()))
}

/// `1*DIGIT` that fits into 64 bits.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |length, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        length.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Parses a trailer section (RFC 9112 section 7.1.2), up to and with its empty line. Fields that
/// frame or route a message have no effect in a trailer and are left out (RFC 9110 section 6.5.1).
///
/// Returns its length and fields, or nothing while it is not all there.
pub(super) fn parse_trailers(
    buffer: &[u8],
    max_fields: usize,
) -> Result<Option<(usize, HeaderMap)>, HeadError> {
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let used = slots.len().min(max_fields);
    let slots = slots.get_mut(..used).unwrap_or_default();
    let (length, fields) = match httparse::parse_headers(buffer, slots) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(_) => return Err(HeadError::Malformed("invalid trailer field")),
    };
    let mut located = FieldsAt::new();
    let head = buffer.get(..length).unwrap_or_default();
    locate_fields(head, fields, &mut located)?;
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| HeadError::Malformed("invalid trailer field name"))?;
        let value = HeaderValue::from_bytes(field.value)
            .map_err(|_| HeadError::Malformed("invalid trailer field value"))?;
        if !encode::is_forbidden_in_trailers(&name) {
            trailers.append(name, value);
        }
    }
    Ok(Some((length, trailers)))
}
