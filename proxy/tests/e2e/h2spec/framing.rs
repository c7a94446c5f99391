//! Beginning, frames and their sizes: RFC 9113 sections 3.4, 4 and 6.

use super::{Case, Expect, Subject, after, at_once, get, post};
use crate::support::frames::{
    PREFACE, block, code, data, flag, frame, headers, kind, request, setting, settings, window,
};

const PROTOCOL: &[u32] = &[code::PROTOCOL_ERROR];
const SIZE: &[u32] = &[code::FRAME_SIZE_ERROR];
const FLOW: &[u32] = &[code::FLOW_CONTROL_ERROR];

/// The largest payload there may be (section 4.2), and one more.
const LARGEST: usize = 16_384;

fn sizes() -> Vec<Case> {
    let long = block(&[("x-long", &"a".repeat(LARGEST))]);
    let head = [request("GET", "/"), long].concat();
    vec![
        at_once(
            "4.2",
            "DATA of the largest size",
            &[post(1), data(1, flag::END_STREAM, &vec![b'a'; LARGEST])],
            Expect::Status(1, 200),
        ),
        at_once(
            "4.2",
            "DATA larger than that",
            &[post(1), data(1, flag::END_STREAM, &vec![b'a'; LARGEST + 1])],
            Expect::Stream(1, SIZE),
        ),
        at_once(
            "4.2",
            "HEADERS larger than that",
            &[headers(1, flag::WHOLE, &head)],
            Expect::Connection(SIZE),
        ),
        at_once(
            "4.3",
            "a header block that cannot be read",
            // A literal whose name ends before it is as long as it says.
            &[headers(1, flag::WHOLE, &[0x00, 0x08, b'a'])],
            Expect::Vaguely(&[code::COMPRESSION_ERROR]),
        ),
    ]
}

fn blocks() -> Vec<Case> {
    let open = || headers(1, flag::END_STREAM, &request("GET", "/"));
    let rest = |stream, flags| frame(kind::CONTINUATION, flags, stream, &block(&[("x-a", "1")]));
    let priority = || frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]);
    let end = flag::END_HEADERS;
    vec![
        at_once(
            "4.3",
            "PRIORITY within a header block",
            &[open(), priority(), rest(1, end)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "4.3",
            "HEADERS of another stream within a header block",
            &[open(), get(3)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.2",
            "HEADERS of the same stream within a header block",
            &[open(), get(1)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.2",
            "DATA within a header block",
            &[open(), data(1, 0, b"a")],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "5.5",
            "a type nobody knows within a header block",
            &[open(), frame(0x42, 0, 1, b"")],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.10",
            "anything else between CONTINUATION",
            &[open(), rest(1, 0), data(1, 0, b"a")],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.10",
            "CONTINUATION of no stream",
            &[open(), rest(0, end)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.10",
            "CONTINUATION of another stream",
            &[open(), rest(3, end)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.10",
            "CONTINUATION after HEADERS with END_HEADERS",
            &[get(1), rest(1, end)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.10",
            "CONTINUATION after one with END_HEADERS",
            &[open(), rest(1, end), rest(1, end)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.10",
            "CONTINUATION after DATA",
            &[post(1), data(1, 0, b"a"), rest(1, end)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.10",
            "CONTINUATION without anything",
            &[rest(1, end)],
            Expect::Connection(PROTOCOL),
        ),
    ]
}

fn on_the_wrong_stream() -> Vec<Case> {
    let whole = request("GET", "/");
    vec![
        at_once(
            "6.1",
            "DATA of no stream",
            &[data(0, flag::END_STREAM, b"a")],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.2",
            "HEADERS of no stream",
            &[headers(0, flag::WHOLE, &whole)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.3",
            "PRIORITY of no stream",
            &[frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 3, 9])],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.4",
            "RST_STREAM of no stream",
            &[frame(kind::RST_STREAM, 0, 0, &[0; 4])],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.5",
            "SETTINGS of a stream",
            &[frame(kind::SETTINGS, 0, 1, &[])],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.7",
            "PING of a stream",
            &[frame(kind::PING, 0, 1, &[0; 8])],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.8",
            "GOAWAY of a stream",
            &[frame(kind::GOAWAY, 0, 1, &[0; 8])],
            Expect::Connection(PROTOCOL),
        ),
    ]
}

fn of_the_wrong_size() -> Vec<Case> {
    vec![
        at_once(
            "6.1",
            "DATA with more padding than payload",
            &[post(1), data(1, flag::PADDED, &[9, b'a'])],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.2",
            "HEADERS with more padding than payload",
            &[headers(
                1,
                flag::WHOLE | flag::PADDED,
                &[&[255][..], &request("GET", "/")].concat(),
            )],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.3",
            "PRIORITY of four bytes",
            &[frame(kind::PRIORITY, 0, 1, &[0; 4])],
            Expect::Vaguely(SIZE),
        ),
        at_once(
            "6.4",
            "RST_STREAM of three bytes",
            &[post(1), frame(kind::RST_STREAM, 0, 1, &[0; 3])],
            Expect::Vaguely(SIZE),
        ),
        at_once(
            "6.5",
            "SETTINGS of three bytes",
            &[frame(kind::SETTINGS, 0, 0, &[0; 3])],
            Expect::Vaguely(SIZE),
        ),
        at_once(
            "6.5",
            "an acknowledgement of SETTINGS with a payload",
            &[frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])],
            Expect::Vaguely(SIZE),
        ),
        at_once(
            "6.7",
            "PING of six bytes",
            &[frame(kind::PING, 0, 0, &[0; 6])],
            Expect::Vaguely(SIZE),
        ),
        at_once(
            "6.9",
            "WINDOW_UPDATE of three bytes",
            &[frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])],
            Expect::Vaguely(SIZE),
        ),
    ]
}

fn values() -> Vec<Case> {
    vec![
        at_once(
            "6.5.2",
            "ENABLE_PUSH of 2",
            &[settings(&[(setting::ENABLE_PUSH, 2)])],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.5.2",
            "INITIAL_WINDOW_SIZE of 2^31",
            &[settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)])],
            Expect::Vaguely(FLOW),
        ),
        at_once(
            "6.5.2",
            "MAX_FRAME_SIZE below 2^14",
            &[settings(&[(setting::MAX_FRAME_SIZE, 16_383)])],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.5.2",
            "MAX_FRAME_SIZE of 2^24",
            &[settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)])],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.9",
            "WINDOW_UPDATE of nothing",
            &[window(0, 0)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "6.9",
            "WINDOW_UPDATE of nothing on a stream",
            &[post(1), window(1, 0)],
            Expect::Stream(1, PROTOCOL),
        ),
        at_once(
            "6.9.1",
            "a window above 2^31-1",
            &[window(0, (1 << 31) - 1), window(0, (1 << 31) - 1)],
            Expect::Connection(FLOW),
        ),
        at_once(
            "6.9.1",
            "a stream's window above 2^31-1",
            &[post(1), window(1, (1 << 31) - 1), window(1, (1 << 31) - 1)],
            Expect::Stream(1, FLOW),
        ),
        at_once(
            "8.4",
            "PUSH_PROMISE of a client",
            &[
                post(1),
                frame(
                    kind::PUSH_PROMISE,
                    flag::END_HEADERS,
                    1,
                    &[0, 0, 0, 2, 0x82],
                ),
            ],
            Expect::Connection(PROTOCOL),
        ),
        after(
            "8.4",
            "PUSH_PROMISE on a closed stream",
            frame(
                kind::PUSH_PROMISE,
                flag::END_HEADERS,
                1,
                &[0, 0, 0, 2, 0x82],
            ),
            Expect::Connection(PROTOCOL),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_wrong_in_size_place_or_value_are_refused_with_their_error() {
    let subject = Subject::start().await;
    let all = [
        sizes(),
        blocks(),
        on_the_wrong_stream(),
        of_the_wrong_size(),
        values(),
    ];
    subject.hold(all.into_iter().flatten().collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_that_the_proxy_sends_are_settings_and_only_to_those_who_speak_http2() {
    let subject = Subject::start().await;
    let mut raw = subject.silent().await;
    raw.send(PREFACE).await;
    let first = raw.next().await.expect("a frame");
    assert_eq!(
        (first.kind, first.flags, first.stream),
        (kind::SETTINGS, 0, 0)
    );

    let mut wrong = subject.silent().await;
    wrong.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r").await;
    // It is HTTP/1 then, and refused as that.
    assert!(
        wrong
            .next()
            .await
            .is_none_or(|frame| frame.kind != kind::SETTINGS)
    );
}
