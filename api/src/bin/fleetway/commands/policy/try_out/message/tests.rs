//! Messages in files.

use super::*;

fn wrong(text: &str) -> String {
    request(text.as_bytes()).unwrap_err()
}

#[test]
fn a_request_is_read_with_either_line_end() {
    for text in [
        "POST /a/../b?c=d HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\n\r\nbody\r\n",
        "POST /a/../b?c=d HTTP/1.1\nHost: x\nX-A: 1\nx-a: 2\n\nbody\r\n",
    ] {
        let read = request(text.as_bytes()).unwrap();
        assert_eq!(read.head.uri, "/b?c=d");
        assert_eq!(read.body, "body\r\n");
        assert_eq!(read.head.headers[header::CONTENT_LENGTH], "6");
        assert_eq!(
            request_text(&read.head, &read.body),
            "POST /b?c=d HTTP/1.1\ncontent-length: 6\nhost: x\nx-a: 1\nx-a: 2\n\nbody\r\n"
        );
    }
    let bare = request(b"GET http://x/ HTTP/1.0").unwrap();
    assert_eq!(request_text(&bare.head, b""), "GET / HTTP/1.0\nhost: x\n\n");
}

#[test]
fn a_length_that_is_given_has_to_be_right() {
    let with =
        |length: &str| format!("POST / HTTP/1.1\nhost: x\ncontent-length: {length}\n\nabcd\n");
    assert_eq!(request(with("4").as_bytes()).unwrap().body, "abcd");
    assert_eq!(request(with("5").as_bytes()).unwrap().body, "abcd\n");
    assert!(wrong(&with("6")).contains("the body is 5 bytes long"));
    assert!(wrong(&with("3")).contains("more is behind the body"));
    assert!(wrong(&with("x")).contains("is no number"));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, said) in [
        ("", "line 1: is empty"),
        ("GET /", "line 1: must be METHOD TARGET HTTP/1.1"),
        ("GET / HTTP/2\nhost: x\n\n", "line 1: \"HTTP/2\" is not"),
        ("GET a HTTP/1.1\nhost: x\n\n", "line 1: \"a\" is no target"),
        (
            "GET /.. HTTP/1.1\nhost: x\n\n",
            "line 1: the path leads above its root",
        ),
        (
            "CONNECT a:1 HTTP/1.1\nhost: x\n\n",
            "line 1: CONNECT is no method",
        ),
        ("GET / HTTP/1.1\n\n", "has no host"),
        (
            "GET / HTTP/1.1\nhost: x\nbody\n",
            "line 3: must be NAME: VALUE",
        ),
        (
            "GET / HTTP/1.1\nhost: x\ntransfer-encoding: chunked\n\n",
            "line 3: takes no transfer-encoding",
        ),
    ] {
        let error = wrong(text);
        assert!(error.starts_with(said), "{text:?}: {error}");
    }
}

#[test]
fn a_response_is_read_and_has_to_be_a_last_one() {
    let read = response(b"HTTP/1.1 404 Not Found\nx-a: 1\n\ngone").unwrap();
    assert_eq!(read.head.status, 404);
    assert_eq!(
        response_text(&read.head, &[0xff]).lines().last().unwrap(),
        "(1 bytes, SHA-256 a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89)"
    );
    for text in [
        "HTTP/1.1 100 Continue\n\n",
        "HTTP/1.1\n\n",
        "HTTP/1.1 204\n\nbody",
        "200 OK\n\n",
    ] {
        assert!(response(text.as_bytes()).is_err(), "{text:?}");
    }
}
