//! JSON strings (RFC 8259 section 7) of bytes as they came.

/// Adds `text` as a string, quotes and all. What is no UTF-8 becomes U+FFFD.
pub(super) fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    // Without a branch, so that many bytes are looked at at once. Few texts need more than this.
    if text.iter().fold(false, |odd, byte| odd | is_odd(*byte)) {
        put_escaped(out, text);
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'"');
}

/// Whether a byte may not stand in a string as it is, or only with others.
const fn is_odd(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte >= 0x80)
}

fn put_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 => {
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        0..10 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, text);
        out
    }

    #[test]
    fn what_may_not_stand_in_a_string_is_escaped() {
        assert_eq!(string(b"/a?b=%22"), b"\"/a?b=%22\"");
        assert_eq!(
            string(b"\"\\\r\n\t\x00\x1f\x7f"),
            b"\"\\\"\\\\\\r\\n\\t\\u0000\\u001f\x7f\""
        );
        assert_eq!(string(b"a\xffb\xc3"), "\"a\u{fffd}b\u{fffd}\"".as_bytes());
        assert_eq!(string("ä".as_bytes()), "\"ä\"".as_bytes());
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_the_string_reads_as_they_do(bytes: Vec<u8>) {
            let read: String = serde_json::from_slice(&string(&bytes)).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }
    }
}
