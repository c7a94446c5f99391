//! Heads that say in two ways how long their body is, or that some end elsewhere than others.

use super::cases::{Case, SMUGGLED, hold, passed, post, refused};

/// A body that is one request more to whoever goes by its chunks.
fn chunked_end() -> String {
    format!("0\r\n\r\n{SMUGGLED}")
}

/// RFC 9112 section 6.3: a length beside a transfer coding is an attack, whichever comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_beside_a_transfer_coding_is_refused() {
    let mut cases = Vec::new();
    for fields in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Content-Length: 4\r\nTransfer-Encoding: identity",
        "Content-Length: 4\r\nTransfer-Encoding: xchunked",
        "Content-Length: 4\r\nTransfer-Encoding:\tchunked",
        "Content-Length: 4\r\nTransfer-Encoding:",
        "Content-Length: 4\r\ntransfer-encoding: CHUNKED\r\nConnection: transfer-encoding",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: content-length",
    ] {
        cases.push(refused(400, post(fields, &chunked_end())));
        cases.push(refused(
            400,
            post(fields, &format!("5c\r\n{SMUGGLED}\r\n0\r\n\r\n")),
        ));
    }
    hold(cases).await;
}

/// RFC 9112 section 6.1: only `chunked` is known, once, and it is the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_coding_is_chunked_or_refused_however_it_is_written() {
    let coded = |coding: &str| post(coding, "5\r\nhello\r\n0\r\n\r\n");
    let mut cases = Vec::new();
    for coding in [
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "transfer-encoding:chunked",
        "Transfer-Encoding:   chunked  ",
        "Transfer-Encoding:\tchunked\t",
        "Transfer-Encoding: chunked\r\nConnection: transfer-encoding",
    ] {
        cases.push(passed(coded(coding), &["POST a, chunked: hello"]));
    }
    for coding in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunke",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: cow",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding:\u{c}chunked",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding\u{b}: chunked",
        "Transfer-Encoding\0: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer-Encoding\r\n: chunked",
        "Transfer_Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding\n: chunked",
        "Transfer Encoding: chunked",
        "\"Transfer-Encoding\": chunked",
        ": chunked",
        "Transfer-Encoding chunked",
    ] {
        cases.push(refused(400, coded(coding)));
    }
    for coding in [
        "gzip, chunked",
        "identity, chunked",
        ",chunked",
        "deflate\r\nTransfer-Encoding: chunked",
    ] {
        cases.push(refused(501, coded(&format!("Transfer-Encoding: {coding}"))));
    }
    hold(cases).await;
}

/// RFC 9110 section 8.6 and RFC 9112 section 6.3: digits, once or the same each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_is_a_number_or_refused_and_goes_on_in_its_plain_form() {
    let sized = |length: &str| post(&format!("Content-Length: {length}"), "hello");
    let mut cases: Vec<Case> = [
        "5",
        "05",
        "00000000000000000000005",
        "5  ",
        "\t5",
        "5,5",
        "5 , 05",
        "5\r\nContent-Length: 5",
        "5\r\nCONTENT-LENGTH:005\r\nConnection: Content-Length",
    ]
    .iter()
    .map(|length| passed(sized(length), &["POST a, length 5: hello"]))
    .collect();
    for length in [
        "+5",
        "-5",
        "-1",
        "0x5",
        "5h",
        "5.0",
        "5e0",
        "5;5",
        "5 5",
        "5,6",
        "5, 6",
        "5,",
        ",5",
        "",
        "\"5\"",
        "'5'",
        "\u{665}",
        "five",
        "1_0",
        "5\u{b}",
        "\u{c}5",
        "5\0",
        "NaN",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999999999",
        "5\r\nContent-Length: 6",
        "6\r\nContent-Length: 5",
        "5\r\nContent-Length:",
        "5\r\nContent-Length: 0",
        "0\r\nContent-Length: 5",
        "5\r\n 6",
        "5\n",
        "\r\n5",
    ] {
        cases.push(refused(400, sized(length)));
    }
    for name in [
        "Content-Length ",
        "Content-Length\t",
        " Content-Length",
        "Content_Length",
        "Content-Length\u{b}",
    ] {
        cases.push(refused(400, post(&format!("{name}: 5"), "hello")));
    }
    // A length that is one and more than any route takes.
    cases.push(refused(413, sized("18446744073709551615")));
    hold(cases).await;
}

/// RFC 9112 sections 2.2 and 5.2: lines end in CRLF, go over one line, and have no other control
/// characters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_end_elsewhere_for_others_are_refused() {
    let mut cases = Vec::new();
    for head in [
        // Lines folded, in each place.
        "GET /@ HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost:\r\n a\r\n\r\n",
        "GET /@ HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET /@ HTTP/1.1\r\n\tX: b\r\nHost: a\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX: b\r\n \r\n\r\n",
        "POST /@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "POST /@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n",
        "POST /@ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n 1\r\n\r\nhello world",
        // A bare LF.
        "GET /@ HTTP/1.1\nHost: a\n\n",
        "GET /@ HTTP/1.1\r\nHost: a\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\n\n",
        "GET /@ HTTP/1.1\nHost: a\r\n\r\n",
        "GET /@ HTTP/1.1\r\nX: y\nHost: a\r\n\r\n",
        "\nGET /@ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /@\nX HTTP/1.1\r\nHost: a\r\n\r\n",
        // A bare CR.
        "GET /@ HTTP/1.1\rHost: a\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX\r: y\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n",
        "GET /@ HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "GET\r/@ HTTP/1.1\r\nHost: a\r\n\r\n",
        "\rGET /@ HTTP/1.1\r\nHost: a\r\n\r\n",
        // Other control characters.
        "GET /@ HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
        "GET /@\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "G\0T /@ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX: a\u{1}b\r\n\r\n",
        "GET /@\t HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/@\tHTTP/1.1\r\nHost: a\r\n\r\n",
        // Blanks and characters where there are none.
        "GET  /@ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /@  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /@ HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /@ /x HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET /@ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n",
        "GET /@#part HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T /@ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        cases.push(refused(400, format!("{head}{SMUGGLED}")));
    }
    cases.push(passed(
        "\r\n\r\nGET /@ HTTP/1.1\r\nHost: a\r\n\r\n",
        &["GET a, no body"],
    ));
    hold(cases).await;
}

/// RFC 9112 sections 2.3 and 6.1, RFC 9110 section 2.5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_versions_are_refused_and_http10_has_no_transfer_codings() {
    let mut cases = Vec::new();
    for coding in ["chunked", "identity", "gzip, chunked"] {
        let fields = format!("Host: a\r\nTransfer-Encoding: {coding}\r\nConnection: keep-alive");
        let head = format!("POST /@ HTTP/1.0\r\n{fields}\r\n\r\n");
        cases.push(refused(400, format!("{head}0\r\n\r\n{SMUGGLED}")));
    }
    for (status, line) in [
        (400, "GET /@"),
        (400, "GET /@ "),
        (400, "GET /@ HTTP/1.10"),
        (400, "GET /@ HTTP/1"),
        (400, "GET /@ HTTP/01.1"),
        (400, "GET /@ HTTP/1.1x"),
        (400, "GET /@ HTTP/+1.1"),
        (400, "GET /@ http/1.1"),
        (400, "GET /@ HTTQ/1.1"),
        (505, "GET /@ HTTP/0.9"),
        (505, "GET /@ HTTP/1.2"),
        (505, "GET /@ HTTP/2.0"),
        (505, "GET /@ HTTP/3.1"),
    ] {
        cases.push(refused(
            status,
            format!("{line}\r\nHost: a\r\n\r\n{SMUGGLED}"),
        ));
    }
    let old =
        "POST /@ HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";
    cases.push(passed(old, &["POST a, length 5: hello"]));
    // Without a word of its own the connection ends after the first.
    let closed = format!("GET /@ HTTP/1.0\r\nHost: a\r\n\r\n{SMUGGLED}");
    cases.push(passed(closed, &["GET a, no body"]));
    hold(cases).await;
}
