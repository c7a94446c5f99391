//! Heads: read the same however they arrive, by the grammar to the letter, and passed on so that
//! the next one reads the same.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a property that does not hold is to be loud"
)]

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode, Version};

use crate::http1::head::{
    Framing, HeadError, HeadLimits, RequestHead, ResponseHead, ResponseRules, parse_request,
    parse_response, put_chunked, put_fields, put_length, put_request_line, put_status_line,
};

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 4096,
    max_fields: 50,
    max_uri: 1024,
};
/// What is looked at of an input: a little more than a head may have.
const LONGEST: usize = 5000;

/// A head that is taken is of lines as RFC 9112 has them, frames its body in one way, and is the
/// same for whoever reads it after us.
///
/// # Panics
/// Where that does not hold.
pub fn request_head(data: &[u8]) {
    let read = |buffer: &mut BytesMut| parse_request(buffer, &LIMITS);
    let Some((head, taken)) = however_it_arrives(data, read, |head| format!("{head:?}")) else {
        return;
    };
    let lines = Lines::of(taken, false);
    let http11 = head.version == Version::HTTP_11;
    let hosts = lines.values("host").count();
    assert!(hosts == 1 || (hosts == 0 && !http11), "{hosts} hosts");
    assert!(head.uri.authority().is_none() || head.method == Method::CONNECT);
    assert!(head.headers.get_all("host").iter().count() <= 1);
    assert!(!head.headers.contains_key("transfer-encoding"));
    let (codings, lengths) = (lines.values("transfer-encoding"), lines.lengths());
    let codings: Vec<_> = codings.collect();
    let framing = match (&codings[..], &lengths[..]) {
        ([], []) => Framing::None,
        ([], [length, others @ ..]) => {
            assert!(others.iter().all(|other| other == length), "{lengths:?}");
            Framing::Length(*length)
        }
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") && http11 => Framing::Chunked,
        other => panic!("taken with {other:?}"),
    };
    assert_eq!(head.framing, framing);
    assert!(!head.upgrade || http11);

    let mut passed_on = Vec::new();
    put_request_line(&mut passed_on, &head.method, &head.uri, &head.headers);
    put_fields(&mut passed_on, &head.headers, true);
    let empty_host = passed_on.windows(10).any(|part| part == b"\r\nhost: \r\n");
    put_framing(&mut passed_on, head.framing);
    let again = parse_request(&mut BytesMut::from(&passed_on[..]), &HeadLimits::default());
    match again {
        Ok(Some(again)) => same_request(&head, &again),
        // HTTP/1.0 has requests without a host.
        again => assert!(
            empty_host && !http11,
            "{again:?}: {}",
            passed_on.escape_ascii()
        ),
    }
}

fn same_request(head: &RequestHead, again: &RequestHead) {
    assert_eq!(again.method, head.method);
    assert_eq!(again.uri, head.uri);
    assert_eq!(again.framing, head.framing);
    let told = |head: &RequestHead| told(&head.headers, &["host"]);
    assert_eq!(told(again), told(head));
}

/// As for requests; the first byte says whether the request was HEAD.
///
/// # Panics
/// Where that does not hold.
pub fn response_head(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let rules = ResponseRules {
        head: first % 2 == 1,
    };
    let read = |buffer: &mut BytesMut| parse_response(buffer, &LIMITS, rules);
    let Some((head, taken)) = however_it_arrives(data, read, |head| format!("{head:?}")) else {
        return;
    };
    let lines = Lines::of(taken, true);
    let codings: Vec<_> = lines.values("transfer-encoding").collect();
    let lengths = lines.lengths();
    assert!(
        lengths.windows(2).all(|pair| pair[0] == pair[1]),
        "{lengths:?}"
    );
    let bodyless = rules.head
        || head.status.is_informational()
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    let framing = match (&codings[..], &lengths[..]) {
        _ if bodyless => Framing::None,
        ([coding], _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        ([], [length, ..]) => Framing::Length(*length),
        ([], []) => Framing::UntilClose,
        other => panic!("taken with {other:?}"),
    };
    assert_eq!(head.framing, framing);
    let doubtful = !codings.is_empty() && !lengths.is_empty();
    assert!(!head.keep_alive || (!doubtful && framing != Framing::UntilClose));
    assert!(!head.headers.contains_key("transfer-encoding"));
    assert!(!doubtful || !head.headers.contains_key("content-length"));

    let mut passed_on = Vec::new();
    put_status_line(&mut passed_on, head.status);
    put_fields(&mut passed_on, &head.headers, false);
    put_framing(&mut passed_on, head.framing);
    let again = parse_response(
        &mut BytesMut::from(&passed_on[..]),
        &HeadLimits::default(),
        rules,
    );
    let Ok(Some(again)) = again else {
        panic!("{again:?}: {}", passed_on.escape_ascii());
    };
    assert_eq!(again.status, head.status);
    assert_eq!(again.framing, head.framing);
    let told = |head: &ResponseHead| told(&head.headers, &[]);
    assert_eq!(told(&again), told(&head));
}

fn put_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => put_length(out, length),
        Framing::Chunked => put_chunked(out),
        Framing::None | Framing::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// The fields that say something of a message itself, in order for each name.
fn told(headers: &HeaderMap, more: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut told: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .filter(|(name, _)| {
            let codecs = ["connection", "content-length", "transfer-encoding"];
            !codecs.contains(&&**name) && !more.contains(&&**name)
        })
        .collect();
    // Stable: the values of one name stay in their order.
    told.sort_by(|one, other| one.0.cmp(&other.0));
    told
}

/// What `read` takes off the front of `data`, and the bytes it took, if it takes something. The
/// verdict must be the same whether the bytes arrive at once or in pieces.
fn however_it_arrives<T>(
    data: &[u8],
    read: impl Fn(&mut BytesMut) -> Result<Option<T>, HeadError>,
    print: impl Fn(&T) -> String,
) -> Option<(T, &[u8])> {
    let data = data.get(..LONGEST).unwrap_or(data);
    let mut buffer = BytesMut::from(data);
    let whole = read(&mut buffer);
    let taken = data.len() - buffer.len();
    for step in [1, 13, 1000] {
        if step == 1 && data.len() > 600 {
            continue;
        }
        let mut buffer = BytesMut::new();
        let mut arrived = Ok(None);
        for piece in data.chunks(step) {
            buffer.extend_from_slice(piece);
            arrived = read(&mut buffer);
            if !matches!(arrived, Ok(None)) {
                break;
            }
        }
        match (&whole, &arrived) {
            // Which of several faults is told depends on what was there when it was looked at.
            (Err(_), Err(_)) | (Ok(None), Ok(None)) => {}
            (Ok(Some(whole)), Ok(Some(arrived))) => assert_eq!(print(whole), print(arrived)),
            (whole, arrived) => {
                let print = |read: &Result<Option<T>, HeadError>| match read {
                    Ok(read) => read.as_ref().map_or("no head yet".to_owned(), &print),
                    Err(error) => error.to_string(),
                };
                let (whole, arrived) = (print(whole), print(arrived));
                panic!("in steps of {step}: {whole} became {arrived}");
            }
        }
    }
    let head = whole.ok()??;
    // Empty lines before it do not count.
    let mut taken = data.get(..taken)?;
    while let Some(rest) = taken.strip_prefix(b"\r\n") {
        taken = rest;
    }
    assert!(taken.len() <= LIMITS.max_bytes);
    Some((head, taken))
}

/// A head read by a second reader that knows the grammar and nothing else.
struct Lines<'d>(Vec<(String, &'d str)>);

impl<'d> Lines<'d> {
    fn of(head: &'d [u8], blanks_before_colon: bool) -> Self {
        let head = head.strip_suffix(b"\r\n\r\n").expect("an empty line");
        // Values need not be text.
        let faulty = |byte: &u8| matches!(byte, b'\0' | 0x0b | 0x0c | 0x7f);
        assert!(!head.iter().any(faulty), "a control character");
        let mut lines = split_lines(head).skip(1);
        let fields = lines.by_ref().map(|line| {
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = line.split_at(colon.expect("a colon"));
            let name = if blanks_before_colon {
                name.trim_ascii_end()
            } else {
                name
            };
            assert!(!name.is_empty() && name.iter().copied().all(is_tchar));
            let value = value.get(1..).unwrap_or_default();
            // Framing fields that are no text are not taken at all.
            let value = str::from_utf8(value)
                .unwrap_or("?")
                .trim_matches([' ', '\t']);
            let name = str::from_utf8(name).expect("a token").to_ascii_lowercase();
            (name, value)
        });
        Self(fields.collect())
    }

    fn values<'l>(&'l self, name: &'l str) -> impl Iterator<Item = &'d str> + 'l {
        let named = self.0.iter().filter(move |(other, _)| other == name);
        named.map(|(_, value)| *value)
    }

    /// All lengths, member by member.
    fn lengths(&self) -> Vec<u64> {
        let members = self
            .values("content-length")
            .flat_map(|value| value.split(','));
        members
            .map(|member| {
                let member = member.trim_matches([' ', '\t']);
                assert!(member.bytes().all(|byte| byte.is_ascii_digit()), "{member}");
                member.parse().expect("a number")
            })
            .collect()
    }
}

/// The lines of a head, each of which ends in CRLF, with no CR or LF within.
fn split_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.windows(2).position(|pair| pair == b"\r\n");
        let (line, after) = match end {
            Some(end) => (text.get(..end)?, text.get(end + 2..)),
            None => (text, None),
        };
        rest = after;
        assert!(
            !line.iter().any(|byte| matches!(byte, b'\r' | b'\n')),
            "a bare CR or LF"
        );
        Some(line)
    })
}

/// RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
