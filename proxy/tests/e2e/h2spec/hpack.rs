//! Header compression: RFC 7541.

use super::{Case, Expect, Subject, at_once};
use crate::support::frames::{code, flag, headers, request};

const COMPRESSION: &[u32] = &[code::COMPRESSION_ERROR];

/// A request whose block has `before` and `after` around it.
fn around(before: &[u8], after: &[u8]) -> Vec<u8> {
    let block = [before, &request("GET", "/"), after].concat();
    headers(1, flag::WHOLE, &block)
}

fn taken() -> Vec<Case> {
    // "user-agent" is 58 in the static table; "ok" in the Huffman code is 3f 5f.
    let fine = |section, name, field: &[u8]| {
        at_once(section, name, &[around(&[], field)], Expect::Status(1, 200))
    };
    let indexed = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
    vec![
        at_once(
            "6.1",
            "indexed fields",
            &[headers(1, flag::WHOLE, &indexed)],
            Expect::Status(1, 200),
        ),
        fine(
            "6.2.1",
            "indexed, with an indexed name",
            &[0x7a, 2, b'o', b'k'],
        ),
        fine(
            "6.2.1",
            "indexed, with an indexed name, Huffman",
            &[0x7a, 0x82, 0x3f, 0x5f],
        ),
        fine("6.2.1", "indexed, with a new name", b"\x40\x03x-a\x02ok"),
        fine(
            "6.2.1",
            "indexed, with a new name, Huffman",
            b"\x40\x82\x3f\x5f\x82\x3f\x5f",
        ),
        fine(
            "6.2.2",
            "not indexed, with an indexed name",
            &[0x0f, 43, 2, b'o', b'k'],
        ),
        fine(
            "6.2.2",
            "not indexed, with an indexed name, Huffman",
            &[0x0f, 43, 0x82, 0x3f, 0x5f],
        ),
        fine(
            "6.2.2",
            "not indexed, with a new name",
            b"\x00\x03x-a\x02ok",
        ),
        fine(
            "6.2.2",
            "not indexed, with a new name, Huffman",
            b"\x00\x82\x3f\x5f\x82\x3f\x5f",
        ),
        fine(
            "6.2.3",
            "never indexed, with an indexed name",
            &[0x1f, 43, 2, b'o', b'k'],
        ),
        fine(
            "6.2.3",
            "never indexed, with an indexed name, Huffman",
            &[0x1f, 43, 0x82, 0x3f, 0x5f],
        ),
        fine(
            "6.2.3",
            "never indexed, with a new name",
            b"\x10\x03x-a\x02ok",
        ),
        fine(
            "6.2.3",
            "never indexed, with a new name, Huffman",
            b"\x10\x82\x3f\x5f\x82\x3f\x5f",
        ),
        // An entry of the dynamic table, used in the same block.
        fine(
            "2.3.3",
            "a field of the dynamic table",
            b"\x40\x03x-a\x02ok\xbe",
        ),
        at_once(
            "6.3",
            "a smaller table",
            &[around(&[0x3f, 0xe1, 0x01], &[])],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.3",
            "no table, then a smaller one",
            &[around(&[0x20, 0x3f, 0xe1, 0x01], &[])],
            Expect::Status(1, 200),
        ),
    ]
}

fn refused() -> Vec<Case> {
    let wrong = |section, name, field: &[u8]| {
        let bytes = around(&[], field);
        at_once(section, name, &[bytes], Expect::Vaguely(COMPRESSION))
    };
    vec![
        wrong("2.3.3", "an index above both tables", &[0xff, 0x00]),
        wrong(
            "2.3.3",
            "a name's index above both tables",
            b"\x7f\x00\x02ok",
        ),
        // 31 + 0x7f82 and so on: more than the 4096 bytes that are allowed.
        at_once(
            "6.3",
            "a table larger than was allowed",
            &[around(&[0x3f, 0xe2, 0x1f], &[])],
            Expect::Vaguely(COMPRESSION),
        ),
        wrong(
            "4.2",
            "a change of the table's size behind a field",
            &[0x3f, 0xe1, 0x01],
        ),
        wrong(
            "5.1",
            "an integer beyond all bounds",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ),
        wrong(
            "5.2",
            "Huffman with more than seven bits of padding",
            b"\x00\x03x-a\x83\x3f\x5f\xff",
        ),
        wrong("5.2", "Huffman padded by zeros", b"\x00\x03x-a\x82\x3f\x50"),
        wrong(
            "5.2",
            "Huffman with the symbol for the end",
            b"\x00\x03x-a\x84\xff\xff\xff\xff",
        ),
        wrong("6.1", "index 0", &[0x80]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_blocks_are_read_in_every_form_and_refused_when_they_cannot_be() {
    let subject = Subject::start().await;
    subject
        .hold([taken(), refused()].into_iter().flatten().collect())
        .await;
}
