//! Whom a request is for, and what of it is for the proxy alone.

use super::cases::{SMUGGLED, answered, hold, passed, post, refused};

/// RFC 9112 section 3.2: one host, and that of the target before any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_for_one_host() {
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{fields}\r\n\r\n");
    let mut cases = vec![
        passed(get("http://b/@", "Host: a"), &["GET b, no body"]),
        passed(get("http://b:81/@", "Host: b"), &["GET b:81, no body"]),
        passed(get("HTTP://B/@", "Host: a"), &["GET B, no body"]),
        passed(
            get("/@", "Host: a\r\nConnection: host"),
            &["GET a, no body"],
        ),
        passed(get("/@", "Host: [::1]:80"), &["GET [::1]:80, no body"]),
        passed(get("//@", "Host: a"), &["GET a, no body"]),
        passed(
            get("/@", "Host: a\r\nX-Host: b\r\nX-Forwarded-Host: c"),
            &["GET a, no body, x-host: b"],
        ),
    ];
    for fields in [
        "X: y",
        "Host:",
        "Host: a\r\nHost: a",
        "Host: a\r\nHost: b",
        "Host: a\r\nhost:",
        "Host: u@a",
        "Host: a@b",
        "Host: a/b",
        "Host: a?b",
        "Host: a#b",
        "Host: a\\b",
        "Host: a b",
        "Host: http://a",
        "Host: a:80:81",
        "Host: a:99999",
        "Host: a:x",
        "Host: a:-1",
        "Host: :80",
        "Host: [::1",
        "Host: [::g]",
        "Host: ::1",
        "Host: \u{e4}",
        "Host : a",
        "Host_: a",
    ] {
        cases.push(refused(400, format!("{}{SMUGGLED}", get("/@", fields))));
    }
    for target in [
        "http://u@b/@",
        "http://u:p@b/@",
        "http:///@",
        "http://b:x/@",
        "http:/@",
        "ftp://b/@",
        "b/@",
        "@",
        "*",
        "?x",
        "http://b\\c/@",
    ] {
        cases.push(refused(
            400,
            format!("{}{SMUGGLED}", get(target, "Host: a")),
        ));
    }
    // Where these end is clear: what follows is a request of its own.
    for target in ["/smuggled\\x", "/smuggled%00"] {
        let sent = get(target, "Host: a") + &get("/@", "Host: a");
        cases.push(answered(&[400, 200], sent, &["GET a, no body"]));
    }
    hold(cases).await;
}

/// RFC 9110 section 7.6.1: what belongs to the connection goes, and the framing does not with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_names_away_what_is_its_own_only() {
    let hello = |fields: &str| post(&format!("Content-Length: 5\r\n{fields}"), "hello");
    let plain = "POST a, length 5: hello";
    hold(vec![
        passed(hello("Connection: content-length"), &[plain]),
        passed(
            hello("Connection: Content-Length, Host, keep-alive"),
            &[plain],
        ),
        passed(
            hello("Connection: x-forwarded-for, x-forwarded-host, x-request-id"),
            &[plain],
        ),
        passed(
            hello("Connection: x-own\r\nX-Own: 1\r\nX-Other: 2"),
            &["POST a, length 5, x-other: 2: hello"],
        ),
        passed(
            hello("Connection: , ,x-own\r\nX-Own: 1\r\nx-own: 2"),
            &[plain],
        ),
        passed(
            hello("Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: gzip"),
            &[plain],
        ),
        passed(
            hello("TE: trailers\r\nConnection: te"),
            &["POST a, length 5, te: trailers, connection: te: hello"],
        ),
        answered(&[200], hello("Connection: close"), &[plain]),
        // After `close` nothing more is read.
        answered(&[200], hello("Connection: close") + SMUGGLED, &[plain]),
    ])
    .await;
}
