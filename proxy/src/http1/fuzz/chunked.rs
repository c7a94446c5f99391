//! The chunked coding: the same content, trailers and end however it arrives, and by the grammar.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::http1::body::{Decoded, Decoder, Encoder};
use crate::http1::buffer::WriteBuffer;
use crate::http1::head::{Framing, parse_trailers};

/// What was made of a body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// How many bytes follow its last one; `None` where it has none: it is faulty, or cut off. Which
    /// of the two may be found out only when more has come.
    left: Option<usize>,
}

/// A body's content and end are the same however it arrives, for a second reader that knows the
/// grammar and nothing else, and after it was written anew. The first byte says in which pieces it
/// arrives.
///
/// # Panics
/// Where that does not hold.
pub fn chunked(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let whole = decode(data, data.len().max(1));
    for piece in [1, 2, 3, 7, usize::from(*first).max(1)] {
        let pieces = decode(data, piece);
        assert_eq!(pieces, whole, "in pieces of {piece}");
    }
    // Bounds on what no one sends are the decoder's own.
    if data.len() < 4096 {
        assert_eq!(plainly(data), whole);
    }
    if let Read {
        content,
        trailers,
        left: Some(_),
    } = whole
    {
        let wire = encode(&content, usize::from(*first) + 1, trailers.as_ref());
        let again = decode(&wire, wire.len());
        assert_eq!(again.left, Some(0));
        assert_eq!(again.content, content);
        assert_eq!(
            again.trailers.unwrap_or_default(),
            trailers.unwrap_or_default()
        );
    }
}

fn decode(data: &[u8], piece: usize) -> Read {
    let mut decoder = Decoder::new(Framing::Chunked);
    let mut buffer = BytesMut::new();
    let mut read = Read::default();
    let mut rest = data;
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Decoded::Data(bytes)) => {
                assert!(!bytes.is_empty());
                read.content.extend_from_slice(&bytes);
                if !decoder.is_done() {
                    continue;
                }
            }
            Ok(Decoded::Trailers(trailers)) => read.trailers = Some(trailers),
            Ok(Decoded::End) => {}
            Ok(Decoded::More) if rest.is_empty() => {
                assert!(decoder.end_of_stream().is_err());
                return read;
            }
            Ok(Decoded::More) => {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                buffer.extend_from_slice(now);
                rest = later;
                continue;
            }
            Err(_) => return read,
        }
        assert!(decoder.is_done());
        read.left = Some(buffer.len() + rest.len());
        return read;
    }
}

/// RFC 9112 section 7.1, line by line.
fn plainly(data: &[u8]) -> Read {
    let mut read = Read::default();
    let mut rest = data;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let (line, after) = rest.split_at(end);
        let Some(size) = size(line) else {
            break;
        };
        rest = after.get(2..).unwrap_or_default();
        if size == 0 {
            return trailers(read, rest);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        read.content.extend_from_slice(chunk);
        match after.strip_prefix(b"\r\n") {
            Some(after) => rest = after,
            None => break,
        }
    }
    read
}

/// The size in a line without its end.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, extension) = line.split_at(digits);
    if !(1..=16).contains(&digits.len()) {
        return None;
    }
    let no_text = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    let begins = extension.trim_ascii_start().starts_with(b";");
    if !(extension.is_empty() || begins) || extension.iter().any(no_text) {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn trailers(mut read: Read, rest: &[u8]) -> Read {
    if let Some(after) = rest.strip_prefix(b"\r\n") {
        read.left = Some(after.len());
        return read;
    }
    // The grammar of fields is looked at where heads are. As the bytes come, so that what follows
    // the section plays no part.
    for end in 0..=rest.len() {
        let part = rest.get(..end).unwrap_or_default();
        if part.last().is_none_or(|byte| *byte != b'\n') {
            continue;
        }
        match parse_trailers(part, 64) {
            Ok(None) => {}
            Ok(Some((length, trailers))) => {
                read.left = Some(rest.len() - length);
                read.trailers = Some(trailers);
                return read;
            }
            Err(_) => break,
        }
    }
    read
}

/// The content in chunks of `size`.
fn encode(content: &[u8], size: usize, trailers: Option<&HeaderMap>) -> Vec<u8> {
    let mut out = WriteBuffer::new();
    let mut encoder = Encoder::Chunked;
    for chunk in content.chunks(size) {
        let taken = encoder.data(Bytes::copy_from_slice(chunk), &mut out);
        assert!(taken.is_ok());
    }
    assert!(encoder.finish(trailers, &mut out).is_ok());
    let mut wire = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    let flushed = out.poll_flush(Pin::new(&mut wire).get_mut(), &mut cx);
    assert!(matches!(flushed, Poll::Ready(Ok(()))));
    wire
}
