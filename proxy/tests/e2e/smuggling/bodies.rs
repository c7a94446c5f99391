//! Bodies that go on, for some, where they end for others.

use super::cases::{Case, SMUGGLED, answered, broken_off, early, hold, passed, post, refused};

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked", body)
}

/// RFC 9112 section 7.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_go_on_in_their_plain_form_or_not_at_all() {
    let hello = "POST a, chunked: hello";
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    let mut cases: Vec<Case> = [
        "5\r\nhello\r\n0\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n000\r\n\r\n",
        // Extensions are of one connection only.
        "5;a=b\r\nhello\r\n0;c\r\n\r\n",
        "5 ; a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
        "5\t;a\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;0\\r\\n\r\nhello\r\n0\r\n\r\n",
    ]
    .iter()
    .map(|body| passed(chunked(body), &[hello]))
    .collect();
    for body in [
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF5\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5h\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "5 a\r\nhello\r\n0\r\n\r\n",
        // Ends of lines that are none.
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;\n5\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5;a\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5;\u{7f}\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\n",
        // Trailers that are none.
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n\n",
        "5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\rZ: z\r\n\r\n",
        "5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        &long,
    ] {
        cases.push(broken_off(400, chunked(&format!("{body}{SMUGGLED}"))));
    }
    hold(cases).await;
}

/// RFC 9110 section 6.5.1: a trailer frames nothing, routes nothing, and poses as nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_go_on_without_what_belongs_in_a_head() {
    let with = |trailers: &str| chunked(&format!("5\r\nhello\r\n0\r\n{trailers}\r\n\r\n"));
    let mut cases = vec![
        passed(with("X-Sum: 1"), &["POST a, chunked: hello\nx-sum: 1"]),
        passed(
            with("X-Sum: 1\r\nx-sum:2"),
            &["POST a, chunked: hello\nx-sum: 1\nx-sum: 2"],
        ),
    ];
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Upgrade",
        "Trailer",
        "TE",
        "Expect",
        "Authorization",
        "Cookie",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Range",
        "Max-Forwards",
        "Cache-Control",
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Client-Cert",
        "X-Request-Id",
        "X_Forwarded_For",
    ] {
        let trailers = format!("X-Sum: 1\r\n{name}: 7");
        cases.push(passed(
            with(&trailers),
            &["POST a, chunked: hello\nx-sum: 1"],
        ));
    }
    hold(cases).await;
}

/// A body stays a body with methods that have none as a rule (RFC 9110 section 9.3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_nobody_expects_is_no_request() {
    let length = SMUGGLED.len();
    let mut cases = Vec::new();
    for method in [
        "GET", "HEAD", "OPTIONS", "DELETE", "POST", "TRACE", "PROPFIND", "X",
    ] {
        let head = format!("{method} /@ HTTP/1.1\r\nHost: a\r\n");
        let sized = format!("{head}Content-Length: {length}\r\n\r\n{SMUGGLED}");
        let seen = format!("{method} a, length {length}: {SMUGGLED}");
        cases.push(passed(sized, &[&seen]));
        let coded = format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
        );
        let seen = format!("{method} a, chunked: {SMUGGLED}");
        cases.push(passed(coded, &[&seen]));
    }
    let expects = "Expect: 100-continue\r\n";
    let held = post(&format!("{expects}Content-Length: {length}"), SMUGGLED);
    let seen = format!("POST a, length {length}, expect: 100-continue: {SMUGGLED}");
    cases.push(passed(held, &[&seen]));
    hold(cases).await;
}

/// A body the upstream does not wait for: it is read as one all the same, and a connection on which
/// it was not sent serves nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_nobody_waits_for_is_no_request_either() {
    let length = SMUGGLED.len();
    let unread = |fields: &str| {
        let fields = format!("X-Early: 1\r\n{fields}Content-Length: {length}");
        post(&fields, SMUGGLED)
    };
    // What is seen is a head; the body may follow it, or be given up.
    let mut cases = vec![
        early(unread("Expect: 100-continue\r\n")),
        early(unread("")),
        early(format!(
            "{}GET /@/next HTTP/1.1\r\nHost: a\r\n\r\n",
            unread("Expect: 100-continue\r\n")
        )),
    ];
    // Refused for its path before its body is looked at.
    let refused_first =
        post(&format!("Content-Length: {length}"), SMUGGLED).replace("/@", "/@/%00");
    cases.push(answered(
        &[400, 200],
        format!("{refused_first}GET /@ HTTP/1.1\r\nHost: a\r\n\r\n"),
        &["GET a, no body"],
    ));
    hold(cases).await;
}

/// RFC 9112 section 9.3.2: answered in order, each for itself; nothing is read behind a fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_a_row_are_read_up_to_the_first_fault() {
    let get = "GET /@ HTTP/1.1\r\nHost: a\r\n\r\n";
    let hello = post("Content-Length: 5", "hello");
    let empty = post("Content-Length: 0", "");
    let mut cases = vec![
        passed([get, get, get].concat(), &["GET a, no body"; 3]),
        passed(
            [&hello, get, &empty, get].concat(),
            &[
                "POST a, length 5: hello",
                "GET a, no body",
                "POST a, length 0",
                "GET a, no body",
            ],
        ),
        // Beyond its length a body is the next request, and no good one.
        answered(
            &[200, 400],
            post("Content-Length: 5", "hello\0GET /smuggled"),
            &["POST a, length 5: hello"],
        ),
        answered(
            &[200, 400],
            format!("{get}Host: a\r\n\r\n{SMUGGLED}"),
            &["GET a, no body"],
        ),
    ];
    for fault in [
        "GET /smuggled HTTP/1.1\r\n\r\n",
        "GET /smuggled\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    ] {
        cases.push(answered(
            &[200, 400],
            [get, fault, SMUGGLED].concat(),
            &["GET a, no body"],
        ));
        cases.push(refused(400, [fault, SMUGGLED].concat()));
    }
    hold(cases).await;
}
