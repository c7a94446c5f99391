//! Paths in one form, so that routing, policies and the upstream see the same.
//!
//! What two programs on a request's way read differently is a way around the rules of the first.
//! So a path is brought into the normal form of RFC 3986 section 6.2.2 before anything looks at
//! it, and what can be read in two ways even then is refused.

use std::borrow::Cow;

use crate::{EscapedSlashes, PathNormalization};

/// Why a path has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// `%` without two hexadecimal digits.
    #[error("the path has an incomplete percent-encoding")]
    Escape,
    /// `%00`.
    #[error("the path has a null byte")]
    Null,
    /// `%2F`, `%5C` or a backslash where the listener takes none.
    #[error("the path has an encoded slash or a backslash")]
    Slash,
    /// More `..` than there are segments before.
    #[error("the path leads above its root")]
    AboveRoot,
    /// A segment some take for `.` or `..`, such as `..;x`.
    #[error("the path has an ambiguous segment")]
    Ambiguous,
}

/// The normal form of a path, without its query. The path begins with `/`.
///
/// Percent-encodings of unreserved characters are decoded and the digits of others are upper case;
/// what cannot stand in a path is encoded; dot segments are gone, and repeated slashes are one.
/// Applied to its own result it changes nothing.
///
/// # Errors
/// When the path can be read in more than one way.
#[inline]
pub fn normalize<'p>(path: &'p str, rules: &PathNormalization) -> Result<Cow<'p, str>, PathFault> {
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path.as_bytes(), rules.escaped_slashes)?;
    let normal = remove_dots(&decoded, rules)?;
    if normal == path {
        return Ok(Cow::Borrowed(path));
    }
    Ok(Cow::Owned(normal))
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What may stand in a segment besides (RFC 3986 section 3.3).
const fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
    )
}

/// Whether a path is in its normal form at first sight, as nearly all are: no percent-encodings,
/// no empty segments, none that begins with a dot.
#[inline]
fn is_plain(path: &[u8]) -> bool {
    let mut after_slash = false;
    for &byte in path {
        if byte == b'/' {
            if after_slash {
                return false;
            }
            after_slash = true;
        } else {
            if !(is_unreserved(byte) || is_delimiter(byte)) || (after_slash && byte == b'.') {
                return false;
            }
            after_slash = false;
        }
    }
    true
}

/// The path with its percent-encodings in their normal form.
fn decode(path: &[u8], slashes: EscapedSlashes) -> Result<String, PathFault> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let (value, escaped) = match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else {
                    return Err(PathFault::Escape);
                };
                let digit = |c: u8| char::from(c).to_digit(16);
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                    return Err(PathFault::Escape);
                };
                rest = after;
                (u8::try_from(high * 16 + low).unwrap_or_default(), true)
            }
            byte => (byte, false),
        };
        match value {
            0 => return Err(PathFault::Null),
            b'/' if !escaped => out.push('/'),
            b'/' | b'\\' => match slashes {
                EscapedSlashes::Reject => return Err(PathFault::Slash),
                EscapedSlashes::Keep => push_escaped(&mut out, value),
                EscapedSlashes::Unescape => out.push('/'),
            },
            _ if is_unreserved(value) || (!escaped && is_delimiter(value)) => {
                out.push(char::from(value));
            }
            _ => push_escaped(&mut out, value),
        }
    }
    Ok(out)
}

fn push_escaped(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    for digit in [byte >> 4, byte & 15] {
        let digit = DIGITS.get(usize::from(digit)).copied();
        out.push(char::from(digit.unwrap_or(b'0')));
    }
}

/// The path without `.` and `..` (RFC 3986 section 5.2.4), and without empty segments if they are
/// to go.
fn remove_dots(path: &str, rules: &PathNormalization) -> Result<String, PathFault> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if is_ambiguous(segment) {
            return Err(PathFault::Ambiguous);
        }
        match segment {
            "." if last => out.push('/'),
            "." => {}
            ".." => {
                let before = out.rfind('/').ok_or(PathFault::AboveRoot)?;
                out.truncate(before);
                if last {
                    out.push('/');
                }
            }
            "" if !last && !rules.keep_repeated_slashes => {}
            segment => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    // What was taken away at the end leaves a slash before it, which may be the second there.
    if !rules.keep_repeated_slashes && out.ends_with("//") {
        out.pop();
    }
    if out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Whether some programs take a segment for a dot segment that is none: with parameters behind the
/// dots, or with encoded slashes beside them.
fn is_ambiguous(segment: &str) -> bool {
    if !segment.contains(';') && !segment.contains('%') {
        return false;
    }
    let mut parts = segment.split("%2F").flat_map(|part| part.split("%5C"));
    parts.any(|part| {
        let name = part.split_once(';').map_or(part, |(name, _)| name);
        name == "." || name == ".."
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(escaped_slashes: EscapedSlashes) -> PathNormalization {
        PathNormalization {
            escaped_slashes,
            keep_repeated_slashes: false,
        }
    }

    fn normal(path: &str) -> Result<String, PathFault> {
        normalize(path, &rules(EscapedSlashes::Reject)).map(Cow::into_owned)
    }

    #[test]
    fn paths_are_brought_into_one_form() {
        for (given, expected) in [
            ("/", "/"),
            ("/users/7", "/users/7"),
            ("/users/", "/users/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.", "/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/b"),
            ("/%61%2d%7E", "/a-~"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/%c3%a4", "/%C3%A4"),
            ("/ä", "/%C3%A4"),
            ("/a|b{c}", "/a%7Cb%7Bc%7D"),
            ("/a%3bb%3F", "/a%3Bb%3F"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/%252e%252e/", "/%252e%252e/"),
        ] {
            assert_eq!(normal(given), Ok(expected.to_owned()), "{given}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (given, fault) in [
            ("/%", PathFault::Escape),
            ("/%4", PathFault::Escape),
            ("/%zz", PathFault::Escape),
            ("/%+1", PathFault::Escape),
            ("/a%00", PathFault::Null),
            ("/a%2fb", PathFault::Slash),
            ("/a%5cb", PathFault::Slash),
            ("/a\\b", PathFault::Slash),
            ("/..", PathFault::AboveRoot),
            ("/%2e%2E/a", PathFault::AboveRoot),
            ("/a/../..", PathFault::AboveRoot),
            ("/a/../../b", PathFault::AboveRoot),
            ("/a/..;/b", PathFault::Ambiguous),
            ("/a/.;x=1/b", PathFault::Ambiguous),
            ("/a/%2e%2e;/b", PathFault::Ambiguous),
        ] {
            assert_eq!(normal(given), Err(fault), "{given}");
        }
    }

    #[test]
    fn encoded_slashes_are_kept_or_decoded_where_that_is_asked_for() {
        let keep = |path| normalize(path, &rules(EscapedSlashes::Keep)).map(Cow::into_owned);
        assert_eq!(keep("/group%2fproject"), Ok("/group%2Fproject".into()));
        assert_eq!(keep("/a\\b"), Ok("/a%5Cb".into()));
        assert_eq!(keep("/a/..%2fb"), Err(PathFault::Ambiguous));
        assert_eq!(keep("/a/b%2f%2e%2e%5Cc"), Err(PathFault::Ambiguous));
        let unescape =
            |path| normalize(path, &rules(EscapedSlashes::Unescape)).map(Cow::into_owned);
        assert_eq!(unescape("/a%2f..%5cb"), Ok("/b".into()));
        assert_eq!(unescape("/a%2F%2Fb\\"), Ok("/a/b/".into()));
    }

    #[test]
    fn repeated_slashes_can_be_kept() {
        let rules = PathNormalization {
            escaped_slashes: EscapedSlashes::Reject,
            keep_repeated_slashes: true,
        };
        let keep = |path| normalize(path, &rules).unwrap();
        assert_eq!(keep("//a//b//"), "//a//b//");
        assert_eq!(keep("/a//../b"), "/a/b");
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_normal_form(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("/".to_owned()), Just("..".to_owned()), Just(".".to_owned()),
                    Just("%2e".to_owned()), Just("%2f".to_owned()), Just("%5c".to_owned()),
                    Just("%41".to_owned()), Just(";".to_owned()), Just("\\".to_owned()),
                    "[a-z]{1,3}", any::<char>().prop_map(String::from), "%[0-9a-fA-F]{2}",
                ],
                0..12,
            ),
            slashes in prop_oneof![
                Just(EscapedSlashes::Reject), Just(EscapedSlashes::Keep), Just(EscapedSlashes::Unescape)
            ],
            keep_repeated_slashes in any::<bool>(),
        ) {
            let path = format!("/{}", parts.concat());
            let rules = PathNormalization { escaped_slashes: slashes, keep_repeated_slashes };
            if let Ok(normal) = normalize(&path, &rules) {
                prop_assert!(normal.starts_with('/'), "{path} {normal}");
                let again = normalize(&normal, &rules);
                prop_assert_eq!(again.as_deref(), Ok(&*normal), "{}", path);
                let segments: Vec<&str> = normal.split('/').collect();
                prop_assert!(!segments.contains(&"..") && !segments.contains(&"."));
                prop_assert!(keep_repeated_slashes || !normal.contains("//"));
                prop_assert!(normal.bytes().all(|b| b.is_ascii_graphic() && b != b'\\'));
            }
        }
    }
}
