//! Requests over HTTP/2, where lengths are in frames, that would mean something else as HTTP/1.1
//! (RFC 9113 section 10.3). They are written byte by byte: no library sends them.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{cases::sorted, proxy, recorder::Recorder};
use crate::support::PATIENCE;

/// Fields in the order they are sent, pseudo ones first.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// The fields as literals without names or values known before (RFC 7541 section 6.2.2).
fn block(fields: &Fields) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &[u8]| {
        let length = u8::try_from(text.len()).expect("short");
        assert!(length < 127);
        out.push(length);
        out.extend_from_slice(text);
    };
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

/// What a request of these fields and this body is answered with: its status if that is 200 or
/// 400, or `refused` for the end of the stream or of the connection.
async fn ask(web: SocketAddr, fields: &Fields, body: Option<&str>, trailers: &Fields) -> String {
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    let end = |last: bool| if last { END_STREAM } else { 0 };
    let (no_body, no_trailers) = (body.is_none(), trailers.is_empty());
    let flags = END_HEADERS | end(no_body && no_trailers);
    bytes.extend(frame(HEADERS, flags, 1, &block(fields)));
    if let Some(body) = body {
        bytes.extend(frame(DATA, end(no_trailers), 1, body.as_bytes()));
    }
    if !no_trailers {
        let flags = END_HEADERS | END_STREAM;
        bytes.extend(frame(HEADERS, flags, 1, &block(trailers)));
    }
    stream.write_all(&bytes).await.expect("sent");
    let mut status = String::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return "refused".to_owned();
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("short")];
        stream.read_exact(&mut payload).await.expect("a frame");
        match head[3] {
            // RST_STREAM after an answer says that its request need not go on.
            3 | 7 if status.is_empty() => return "refused".to_owned(),
            HEADERS if status.is_empty() => {
                let indexed = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                status = match indexed {
                    Some(0x88) => "200".to_owned(),
                    Some(0x8c) => "400".to_owned(),
                    other => format!("status {other:02x?}"),
                };
            }
            _ => {}
        }
        let ends = matches!(head[3], HEADERS | DATA) && head[4] & END_STREAM != 0;
        if ends || (head[3] == 3 && !status.is_empty()) {
            return status;
        }
    }
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

/// A POST with these fields in place of its own, or added to them.
fn post(path: &str, changes: &[(&str, &str)]) -> Fields {
    let own = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ];
    let mut list: Vec<(&str, &str)> = own.to_vec();
    for (name, value) in changes {
        match list
            .iter_mut()
            .find(|(own, _)| own == name && name.starts_with(':'))
        {
            Some(own) => own.1 = value,
            None => list.push((name, value)),
        }
    }
    fields(&list)
}

/// What is changed of a request with the body `hello`, and what reaches the upstream of it.
type Case = (Vec<(&'static str, &'static str)>, Option<&'static str>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_http2_can_say_and_http1_cannot_goes_no_further() {
    let mut cases: Vec<Case> = vec![
        (vec![], Some("POST a, chunked: hello")),
        (
            vec![("content-length", "5")],
            Some("POST a, length 5: hello"),
        ),
        (vec![("host", "b")], Some("POST a, chunked: hello")),
        // Gone before anything looks at them: neither goes on.
        (vec![(":path", "/@#x")], Some("POST a, chunked: hello")),
        (vec![(":scheme", "")], Some("POST a, chunked: hello")),
        (vec![("x-a", "b")], Some("POST a, chunked, x-a: b: hello")),
        (
            vec![("te", "trailers")],
            Some("POST a, chunked, te: trailers, connection: te: hello"),
        ),
    ];
    for change in [
        // Lines of their own in names, values and the request line.
        ("x-a", "b\r\ntransfer-encoding: chunked"),
        ("x-a", "b\nc: d"),
        ("x-a", "b\rc"),
        ("x-a", "b\0c"),
        ("x-a", "b\u{1}"),
        ("x-a", " b"),
        ("x-a", "b\t"),
        ("x-a: b\r\nx-c", "d"),
        ("x-a\n", "b"),
        ("x-a ", "b"),
        ("x-a:", "b"),
        ("x-a\0", "b"),
        ("", "b"),
        ("X-A", "b"),
        ("x_a", "b"),
        (":method", "POST /smuggled HTTP/1.1\r\nx:"),
        (":method", "PO ST"),
        (":method", "POST\0"),
        (":method", ""),
        (":path", "/smuggled HTTP/1.1\r\nx: y\r\n\r\n"),
        (":path", "/smuggled x"),
        (":path", "/smuggled\ty"),
        (":path", "/smuggled\0"),
        (":path", "/smuggled/%00"),
        (":path", "/smuggled\\x"),
        (":path", "smuggled"),
        (":path", ""),
        (":path", "*"),
        (":path", "http://b/smuggled"),
        (":scheme", "http://b/smuggled?"),
        (":scheme", "ht tp"),
        (":authority", "a\r\nx: y"),
        (":authority", "a/smuggled"),
        (":authority", "a b"),
        (":authority", "u@a"),
        (":authority", "a:x"),
        (":authority", ""),
        (":unknown", "x"),
        (":status", "200"),
        // Of HTTP/1.1 alone (RFC 9113 section 8.2.2).
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "close"),
        ("connection", "transfer-encoding"),
        ("upgrade", "websocket"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        // Another length than the frames have (RFC 9113 section 8.1.1).
        ("content-length", "4"),
        ("content-length", "6"),
        ("content-length", "0"),
        ("content-length", "+5"),
        ("content-length", "5,5"),
        ("content-length", "0x5"),
        ("content-length", ""),
        ("content-length", "18446744073709551621"),
    ] {
        cases.push((vec![change], None));
    }
    for pair in [
        [("content-length", "5"), ("content-length", "6")],
        [("content-length", "6"), ("content-length", "5")],
        [("host", "a"), ("host", "b")],
        [("x-a", "b"), (":path", "/smuggled")],
    ] {
        // The last comes behind the path the request has.
        cases.push((pair.to_vec(), None));
    }

    let recorder = Recorder::start().await;
    let (mut proxy, web, _folder) = proxy(recorder.address).await;
    let mut wrong = Vec::new();
    let none = Fields::new();
    for (index, (changes, reaches)) in cases.iter().enumerate() {
        let path = format!("/{index}");
        let asked = match &changes[..] {
            [first, late @ (":path", _)] => [post(&path, &[*first]), fields(&[*late])].concat(),
            [(":path", "/@#x")] => post(&format!("{path}#x"), &[]),
            changes => post(&path, changes),
        };
        let asking = ask(web, &asked, Some("hello"), &none);
        let told = tokio::time::timeout(PATIENCE, asking).await;
        let told = told.unwrap_or_else(|_| "nothing".to_owned());
        let right = match reaches {
            Some(_) => told == "200",
            None => ["400", "refused"].contains(&&*told),
        };
        if !right {
            wrong.push(format!("{changes:?} is answered {told}"));
        }
    }
    // Trailers frame nothing, and pose as nothing.
    let trailers = fields(&[
        (":path", "/smuggled"),
        ("x-sum", "1"),
        ("content-length", "9"),
        ("host", "b"),
        ("x-forwarded-for", "1"),
    ]);
    let told = ask(web, &post("/trailers", &[]), Some("hello"), &trailers).await;
    assert_eq!(told, "200");
    for trailer in [("transfer-encoding", "chunked"), ("x-a", "b\r\nc: d")] {
        let trailers = fields(&[trailer]);
        let told = ask(web, &post("/faulty", &[]), Some("hello"), &trailers).await;
        if told == "200" {
            wrong.push(format!("{trailer:?} is taken as a trailer"));
        }
    }

    proxy.terminate();
    assert_eq!(proxy.ended(Duration::from_secs(20)).await, Some(0));
    let (mut whole, begun) = sorted(&recorder.all().await, &mut wrong);
    for (index, (changes, reaches)) in cases.iter().enumerate() {
        let seen = whole.remove(&format!("/{index}")).unwrap_or_default();
        if seen.iter().map(|seen| &**seen).ne(*reaches) {
            wrong.push(format!("{changes:?} reaches as {seen:?}"));
        }
    }
    assert_eq!(
        whole.remove("/trailers"),
        Some(vec!["POST a, chunked: hello\nx-sum: 1".to_owned()])
    );
    wrong.extend(
        whole
            .into_iter()
            .map(|other| format!("{other:?} came of nothing")),
    );
    for path in begun.keys() {
        let index = path.trim_start_matches('/').parse().unwrap_or(cases.len());
        let expected = path == "/faulty" || cases.get(index).is_some_and(|case| case.1.is_none());
        if !expected {
            wrong.push(format!("{path} is begun only"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
