//! What is refused, byte for byte.

use super::*;

/// Sends raw bytes; returns the statuses answered and the requests the service saw.
async fn statuses(input: &[u8]) -> (Vec<u16>, Vec<String>) {
    let seen = RefCell::new(Vec::new());
    let (answer, _) = talk(&half_closing(), input, |request| {
        seen.borrow_mut()
            .push(format!("{} {}", request.method(), request.uri()));
        echo(request)
    })
    .await;
    let statuses = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| answer[at + 9..at + 12].parse().unwrap())
        .collect();
    (statuses, seen.into_inner())
}

/// Every one of these is answered with the status alone, whatever follows it.
#[rustfmt::skip]
const REFUSED: &[(u16, &str)] = &[
        // Framing.
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer\x00-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3,\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
        ),
        // Lines and fields.
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n"),
        (400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n"),
        (400, "GET / HTTP/1.1\rHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x08\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX(: 1\r\n\r\n"),
        // The request line.
        (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        (400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/11\r\nHost: a\r\n\r\n"),
        (400, "GET /\r\nHost: a\r\n\r\n"),
        (400, "GET /\r\n\r\n"),
        (400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        // The target.
        (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            400,
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        ),
        // The host.
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET http://a/ HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a%41b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n"),
    ];

#[tokio::test]
async fn a_request_that_breaks_a_rule_is_refused_and_the_connection_closed() {
    for (status, input) in REFUSED {
        let smuggled = format!("{input}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let (statuses, seen) = statuses(smuggled.as_bytes()).await;
        assert_eq!(statuses, [*status], "{input:?}");
        assert!(seen.is_empty(), "{input:?} reached the service: {seen:?}");
    }
}

/// These reach the service, which finds their bodies faulty, and nothing after them is served.
#[tokio::test]
async fn a_malformed_chunked_body_ends_the_connection() {
    let table = [
        "g\r\n",
        "\r\n",
        " 3\r\nabc\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "-3\r\nabc\r\n",
        "+3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3;a\nabc\r\n0\r\n\r\n",
        "3;\x00\r\nabc\r\n",
        "3;a\rb\r\nabc\r\n",
        "3 a\r\nabc\r\n",
        "10000000000000003\r\nabc\r\n",
        "00000000000000003\r\nabc\r\n",
        "0\r\nX : 1\r\n\r\n",
        "0\r\nX: 1\n\n",
        "0\r\nX: 1\r\n\n",
        "0\r\n X: 1\r\n\r\n",
        "0\r\n\n",
        "0\n\r\n",
        "0\r\r\n\r\n",
    ];
    for chunks in table {
        let input = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}\
             GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let (statuses, seen) = statuses(input.as_bytes()).await;
        assert_eq!(statuses, [400], "{chunks:?}");
        assert_eq!(seen, ["POST /"], "{chunks:?}");
    }
}

#[tokio::test]
async fn unusual_but_valid_requests_are_served() {
    let table: &[(&str, &str)] = &[
        ("\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x a []"),
        (
            "GET /x?y={z} HTTP/1.1\r\nhOsT:a:80\r\n\r\n",
            "GET /x?y={z} a:80 []",
        ),
        (
            "GET //x HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
            "GET //x [::1]:8080 []",
        ),
        (
            "GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /x?y b:81 []",
        ),
        ("GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET / b []"),
        ("GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?y b []"),
        ("GET http://b/ HTTP/1.0\r\n\r\n", "GET / b []"),
        ("GET / HTTP/1.0\r\n\r\n", "GET / - []"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * a []"),
        (
            "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * b []",
        ),
        (
            "OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS / b []",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "POST / a [abc]",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            "POST / a [abc]",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
            "POST / a [abc]",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabc",
            "POST / a [abc]",
        ),
        (
            "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
            "POST / - [abc]",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "GET / a [abc]",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "POST / a [abc]",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n03 ; a=\"b;c\" \r\nabc\r\n000;x\r\nX: y\r\n\r\n",
            "POST / a [abc]",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n",
            "POST / a [0123456789x]",
        ),
    ];
    for (input, expected) in table {
        let (answer, ended) = talk(&half_closing(), input.as_bytes(), echo).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{input:?}: {answer}"
        );
        assert!(
            answer.ends_with(&format!("\r\n\r\n{expected}")),
            "{input:?}: {answer}"
        );
        ended.unwrap();
    }
}

#[tokio::test]
async fn heads_over_a_limit_are_refused() {
    let limits = HeadLimits {
        max_bytes: 1024,
        max_fields: 5,
        max_uri: 100,
    };
    let config = ServerConfig {
        limits,
        ..half_closing()
    };
    let table = [
        (
            414,
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100)),
        ),
        (414, format!("GET /{}", "x".repeat(1000))),
        (
            431,
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                "x".repeat(1024)
            ),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(4096)),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5)),
        ),
        (
            200,
            format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "x".repeat(99),
                "X: y\r\n".repeat(4)
            ),
        ),
    ];
    for (status, input) in table {
        let (answer, _) = talk(&config, input.as_bytes(), echo).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{input:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn chunk_extensions_and_trailers_are_bounded() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let table = [
        format!("{head}1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(17_000)),
        format!(
            "{head}{}0\r\n\r\n",
            format!("1;{}\r\nx\r\n", "x".repeat(100)).repeat(200)
        ),
        format!("{head}0\r\n{}\r\n", "X: y\r\n".repeat(100)),
        format!("{head}0\r\nX: {}\r\n\r\n", "y".repeat(40_000)),
    ];
    for input in table {
        let (answer, _) = talk(&half_closing(), input.as_bytes(), echo).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
}
