//! Heads that are more than they seem, or without end.

use std::net::SocketAddr;

use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::Subject;
use crate::support::{
    PATIENCE,
    frames::{Frame, Raw, code, flag, frame, headers, kind, request, string},
};

const MOST: u64 = 24 << 20;

/// Whether a request was refused for its head: by its answer, or with the connection.
fn is_refused(heard: &[Frame]) -> bool {
    heard
        .iter()
        .all(|frame| frame.status().is_none_or(|status| status == 431))
        && heard.iter().any(|frame| {
            frame.status() == Some(431) || frame.code() == Some(code::ENHANCE_YOUR_CALM)
        })
}

/// Sends requests with this block on one connection until it is closed, or all are answered.
async fn requests(web: SocketAddr, first: &[u8], block: &[u8], number: u32) -> Vec<Frame> {
    let mut raw = Raw::connect(web).await;
    let mut heard = Vec::new();
    for n in 0..number {
        let stream = 2 * n + 1;
        let block = if n == 0 { first } else { block };
        let mut parts = block.chunks(16_384).peekable();
        let mut bytes = Vec::new();
        let mut flags = flag::END_STREAM;
        let mut kind = kind::HEADERS;
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                flags |= flag::END_HEADERS;
            }
            bytes.extend(frame(kind, flags, stream, part));
            (kind, flags) = (kind::CONTINUATION, 0);
        }
        raw.send(&bytes).await;
        let ended = raw.until(|frame| {
            heard.push(frame.clone());
            (frame.stream == stream && frame.ends_stream()) || frame.code().is_some()
        });
        if ended.await.is_none_or(|frame| frame.kind == kind::GOAWAY) {
            break;
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_head_that_grows_without_bound_is_refused_before_it_has() {
    let subject = Subject::by_default().await;
    // An entry of almost the table's size, then nothing but references to it: 16 KB become 64 MB.
    let mut enter = request("GET", "/");
    enter.extend(b"\x40\x01a");
    string(&mut enter, &[b'a'; 4000]);
    let mut bomb = request("GET", "/");
    bomb.extend([0xbe; 16_000]);
    let first = [enter.as_slice(), &[0xbe; 8]].concat();
    let heard = subject
        .during("HPACK bomb", MOST, requests(subject.web, &first, &bomb, 50))
        .await;
    // The first is within the bounds; all that come after it are not.
    assert_eq!(heard.iter().find_map(Frame::status), Some(200));
    let after: Vec<_> = heard
        .into_iter()
        .skip_while(|frame| frame.stream != 3 && frame.code().is_none())
        .collect();
    assert!(is_refused(&after), "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_many_small_or_large_fields_are_refused_over_http2() {
    let subject = Subject::by_default().await;
    // "accept-encoding: gzip, deflate" has one byte: 16,000 fields in a frame.
    let indexed = [request("GET", "/"), vec![0x90; 16_000]].concat();
    // More fields than a listener takes, in fewer bytes than it takes.
    let mut some = request("GET", "/");
    for n in 0..150 {
        some.extend([0, 4]);
        some.extend(format!("a{n:03}").bytes());
        some.extend([1, b'1']);
    }
    let mut large = request("GET", "/");
    large.extend(b"\x00\x01a");
    string(&mut large, &vec![b'a'; 70_000]);
    for (what, block) in [
        ("fields of one byte", indexed),
        ("150 fields", some),
        ("a large field", large),
    ] {
        let all = requests(subject.web, &block, &block, 50);
        let heard = subject.during(what, MOST, all).await;
        assert!(is_refused(&heard), "{what}: {heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_without_end_are_refused_over_http1() {
    let subject = Subject::start(json!({"limits": {"max_header_bytes": 65_536}}), &json!({})).await;
    for (what, first, endless) in [
        ("an endless value", "x: ", b"a".repeat(10_000)),
        ("endless fields", "", b"a: 1\r\n".repeat(2000)),
        ("an endless name", "", b"n".repeat(10_000)),
    ] {
        let one = async || {
            let stream = TcpStream::connect(subject.web).await.expect("a connection");
            let (mut read, mut write) = stream.into_split();
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{first}");
            let send = async {
                let mut sent = write.write_all(head.as_bytes()).await;
                while sent.is_ok() {
                    sent = write.write_all(&endless).await;
                }
            };
            let mut answer = Vec::new();
            let both = async { tokio::join!(send, read.read_to_end(&mut answer)) };
            // It is read on for a while, lest the answer be lost to a reset.
            let ((), _) = tokio::time::timeout(PATIENCE, both)
                .await
                .expect("it is cut off");
            String::from_utf8_lossy(&answer).into_owned()
        };
        let answers = join_all((0..4).map(|_| one()));
        for answer in subject.during(what, MOST, answers).await {
            assert!(answer.starts_with("HTTP/1.1 431 "), "{what}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_headers_is_no_larger_than_was_allowed() {
    let subject = Subject::by_default().await;
    // Entries without end into the table, in requests that are fine each.
    let harm = async {
        let mut raw = Raw::connect(subject.web).await;
        let mut answered = 0;
        for n in 0..500_u32 {
            let mut block = request("GET", "/fixed");
            for field in 0..10 {
                block.extend(b"\x40\x04");
                block.extend(format!("a{field:03}").bytes());
                string(&mut block, format!("{n}").repeat(300).as_bytes());
            }
            raw.send(&headers(2 * n + 1, flag::WHOLE, &block)).await;
            let ended = raw.until(|frame| frame.stream == 2 * n + 1 && frame.ends_stream());
            answered += u32::from(ended.await.is_some());
        }
        answered
    };
    assert_eq!(
        subject.during("entries in the table", MOST, harm).await,
        500
    );
}
