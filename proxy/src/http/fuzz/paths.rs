//! Paths: one form for all ways to write the same, in which nothing can be read in another way.

use fleetway_api::{EscapedSlashes, PathNormalization};

use crate::http::normalize;

/// The normal form is its own, has only what a path may have, leads where the path as given leads,
/// and is the same for any other way to write the path. The first byte says by which rules.
///
/// # Panics
/// Where that does not hold.
pub fn path(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let rules = PathNormalization {
        escaped_slashes: match first % 3 {
            0 => EscapedSlashes::Reject,
            1 => EscapedSlashes::Keep,
            _ => EscapedSlashes::Unescape,
        },
        keep_repeated_slashes: first & 4 != 0,
    };
    let path = format!("/{}", String::from_utf8_lossy(data));
    let Ok(normal) = normalize(&path, &rules) else {
        return;
    };
    assert_eq!(normalize(&normal, &rules).as_deref(), Ok(&*normal));
    well_formed(&normal, &rules);
    if !rules.keep_repeated_slashes {
        assert_eq!(Some(place(&normal)), resolved(&path, &rules), "{normal}");
    }
    // Any character may be written encoded, but one that means something in a path.
    let mut encoded = String::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                encoded.push('%');
                encoded.extend(
                    bytes
                        .by_ref()
                        .take(2)
                        .map(|digit| char::from(digit.to_ascii_lowercase())),
                );
            }
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                encoded += &format!("%{byte:02x}");
            }
            byte if byte.is_ascii() => encoded.push(char::from(byte)),
            byte => encoded += &format!("%{byte:02X}"),
        }
    }
    assert_eq!(
        normalize(&encoded, &rules).as_deref(),
        Ok(&*normal),
        "{encoded}"
    );
}

/// Only what a path may have, encoded where it need be and not where it need not.
fn well_formed(normal: &str, rules: &PathNormalization) {
    assert!(normal.starts_with('/'), "{normal}");
    assert!(
        !normal
            .split('/')
            .any(|segment| [".", ".."].contains(&segment)),
        "{normal}"
    );
    assert!(
        rules.keep_repeated_slashes || !normal.contains("//"),
        "{normal}"
    );
    let mut bytes = normal.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            let may_stand = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
            assert!(may_stand, "{normal}");
            continue;
        }
        let digits: Vec<u8> = bytes.by_ref().take(2).collect();
        let digits = str::from_utf8(&digits).expect("digits");
        let byte = u8::from_str_radix(digits, 16).expect("two digits");
        assert_eq!(digits, format!("{byte:02X}"), "{normal}");
        assert!(
            byte != 0 && !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte),
            "{normal}"
        );
        let slash = byte == b'/' || byte == b'\\';
        assert!(
            !slash || rules.escaped_slashes == EscapedSlashes::Keep,
            "{normal}"
        );
    }
}

/// Where a path leads: its segments, decoded, and whether it is the folder.
type Place = (Vec<Vec<u8>>, bool);

fn place(normal: &str) -> Place {
    let segments = normal.split('/').filter(|segment| !segment.is_empty());
    (segments.map(decoded).collect(), normal.ends_with('/'))
}

/// RFC 3986 section 5.2.4, on segments. `None` where it leads above the root.
fn resolved(path: &str, rules: &PathNormalization) -> Option<Place> {
    let mut path = path.to_owned();
    if rules.escaped_slashes == EscapedSlashes::Unescape {
        for slash in ["\\", "%2f", "%2F", "%5c", "%5C"] {
            path = path.replace(slash, "/");
        }
    }
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut folder = true;
    for segment in path.split('/').skip(1) {
        let segment = decoded(segment);
        folder = [&b""[..], b".", b".."].contains(&&*segment);
        match &*segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()?),
            _ => segments.push(segment),
        }
    }
    Some((segments, folder))
}

fn decoded(segment: &str) -> Vec<u8> {
    let mut rest = segment.as_bytes();
    let mut out = Vec::new();
    while let [byte, after @ ..] = rest {
        rest = after;
        let escape = (*byte == b'%')
            .then(|| after.split_at_checked(2))
            .flatten()
            .and_then(|(digits, after)| {
                let digits = str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 16).ok()?, after))
            });
        match escape {
            Some((value, after)) => {
                out.push(value);
                rest = after;
            }
            None => out.push(*byte),
        }
    }
    out
}
