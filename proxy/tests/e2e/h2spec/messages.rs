//! Requests that are malformed: RFC 9113 section 8.

use super::{Case, Expect, Subject, at_once, post};
use crate::support::frames::{block, code, data, flag, headers, request};

const PROTOCOL: &[u32] = &[code::PROTOCOL_ERROR];
const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const HOST: (&str, &str) = (":authority", "x");

/// A request with just these fields.
fn of(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(1, flag::WHOLE, &block(fields))
}

fn malformed(section: &'static str, name: &'static str, fields: &[(&str, &str)]) -> Case {
    at_once(section, name, &[of(fields)], Expect::Stream(1, PROTOCOL))
}

fn fields() -> Vec<Case> {
    let with = |field| [METHOD, SCHEME, PATH, HOST, field];
    vec![
        malformed("8.2.1", "a name in upper case", &with(("X-TEST", "ok"))),
        malformed("8.2.1", "a name with a blank", &with(("x test", "ok"))),
        malformed("8.2.1", "an empty name", &with(("", "ok"))),
        malformed(
            "8.2.1",
            "a value with a line feed",
            &with(("x-a", "a\nb: c")),
        ),
        malformed("8.2.1", "a value with a NUL", &with(("x-a", "a\0b"))),
        malformed("8.2.2", "connection", &with(("connection", "keep-alive"))),
        malformed("8.2.2", "keep-alive", &with(("keep-alive", "timeout=5"))),
        malformed(
            "8.2.2",
            "proxy-connection",
            &with(("proxy-connection", "keep-alive")),
        ),
        malformed(
            "8.2.2",
            "transfer-encoding",
            &with(("transfer-encoding", "chunked")),
        ),
        malformed("8.2.2", "upgrade", &with(("upgrade", "websocket"))),
        malformed(
            "8.2.2",
            "te with more than trailers",
            &with(("te", "trailers, deflate")),
        ),
        at_once(
            "8.2.2",
            "te with trailers",
            &[of(&with(("te", "trailers")))],
            Expect::Status(1, 200),
        ),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    vec![
        malformed(
            "8.3",
            "one nobody knows",
            &[METHOD, SCHEME, PATH, HOST, (":test", "ok")],
        ),
        malformed(
            "8.3",
            "one of responses",
            &[METHOD, SCHEME, PATH, HOST, (":status", "200")],
        ),
        malformed(
            "8.3",
            "one after a field",
            &[METHOD, SCHEME, HOST, ("x-a", "1"), PATH],
        ),
        malformed(
            "8.3.1",
            "an empty :path",
            &[METHOD, SCHEME, (":path", ""), HOST],
        ),
        malformed("8.3.1", "no :method", &[SCHEME, PATH, HOST]),
        malformed("8.3.1", "no :scheme", &[METHOD, PATH, HOST]),
        malformed("8.3.1", "no :path", &[METHOD, SCHEME, HOST]),
        malformed(
            "8.3.1",
            "two :method",
            &[METHOD, METHOD, SCHEME, PATH, HOST],
        ),
        malformed(
            "8.3.1",
            "two :scheme",
            &[METHOD, SCHEME, SCHEME, PATH, HOST],
        ),
        malformed("8.3.1", "two :path", &[METHOD, SCHEME, PATH, PATH, HOST]),
        malformed(
            "8.3.1",
            "two :authority",
            &[METHOD, SCHEME, PATH, HOST, HOST],
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let sized = |length| {
        let head = [request("POST", "/"), block(&[("content-length", length)])].concat();
        headers(1, flag::END_HEADERS, &head)
    };
    let end = flag::END_STREAM;
    vec![
        at_once(
            "8.1.1",
            "a body shorter than its length",
            &[sized("8"), data(1, end, b"test")],
            Expect::Stream(1, PROTOCOL),
        ),
        at_once(
            "8.1.1",
            "a body longer than its length",
            &[sized("1"), data(1, end, b"test")],
            Expect::Stream(1, PROTOCOL),
        ),
        at_once(
            "8.1.1",
            "a body in parts that do not sum to its length",
            &[sized("4"), data(1, 0, b"test"), data(1, end, b"test")],
            Expect::Stream(1, PROTOCOL),
        ),
        at_once(
            "8.1.1",
            "a body as long as it says",
            &[sized("4"), data(1, end, b"test")],
            Expect::Status(1, 200),
        ),
        at_once(
            "8.1",
            "HEADERS in the middle of a body",
            &[
                post(1),
                data(1, 0, b"a"),
                headers(1, flag::END_HEADERS, &block(&[("x-a", "1")])),
            ],
            Expect::Stream(1, PROTOCOL),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_malformed_are_refused_as_stream_errors() {
    let subject = Subject::start().await;
    let all = [fields(), pseudo_fields(), bodies()];
    subject.hold(all.into_iter().flatten().collect()).await;
}

/// RFC 9113 section 8.1 has such a request refused. The library drops the field before anyone sees
/// it, so that it can deceive nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pseudo_field_in_trailers_is_dropped() {
    let subject = Subject::start().await;
    let trailers = headers(1, flag::WHOLE, &block(&[PATH]));
    let parts = [post(1), data(1, 0, b"body"), trailers];
    subject
        .hold(vec![at_once(
            "8.1",
            "trailers",
            &parts,
            Expect::Status(1, 200),
        )])
        .await;
}
