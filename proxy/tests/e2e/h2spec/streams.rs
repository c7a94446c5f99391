//! The states and numbers of streams: RFC 9113 section 5.

use super::{Case, Expect, Step, Subject, after, at_once, get, post};
use crate::support::frames::{
    block, code, data, flag, frame, headers, kind, ping, request, reset, window,
};

const PROTOCOL: &[u32] = &[code::PROTOCOL_ERROR];
const CLOSED: &[u32] = &[code::STREAM_CLOSED];
const EITHER: &[u32] = &[code::STREAM_CLOSED, code::PROTOCOL_ERROR];

fn rest(stream: u32) -> Vec<u8> {
    frame(
        kind::CONTINUATION,
        flag::END_HEADERS,
        stream,
        &block(&[("x-a", "1")]),
    )
}

fn states() -> Vec<Case> {
    vec![
        at_once(
            "5.1",
            "idle: DATA",
            &[data(1, flag::END_STREAM, b"a")],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "5.1",
            "idle: RST_STREAM",
            &[reset(1, code::CANCEL)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "5.1",
            "idle: WINDOW_UPDATE",
            &[window(1, 100)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "5.1",
            "idle: CONTINUATION",
            &[rest(1)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "5.1",
            "half-closed: DATA",
            &[get(1), data(1, flag::END_STREAM, b"a")],
            Expect::Vaguely(CLOSED),
        ),
        at_once(
            "5.1",
            "half-closed: HEADERS",
            &[get(1), get(1)],
            Expect::Vaguely(CLOSED),
        ),
        at_once(
            "5.1",
            "half-closed: CONTINUATION",
            &[get(1), rest(1)],
            Expect::Stream(1, EITHER),
        ),
        at_once(
            "5.1",
            "reset: CONTINUATION",
            &[post(1), reset(1, code::CANCEL), rest(1)],
            Expect::Stream(1, EITHER),
        ),
        after(
            "5.1",
            "closed: DATA",
            data(1, flag::END_STREAM, b"a"),
            Expect::Stream(1, CLOSED),
        ),
        after("5.1", "closed: HEADERS", get(1), Expect::Vaguely(CLOSED)),
        after(
            "5.1",
            "closed: CONTINUATION",
            rest(1),
            Expect::Connection(EITHER),
        ),
        at_once(
            "5.1",
            "reset: DATA",
            &[
                post(1),
                reset(1, code::CANCEL),
                data(1, flag::END_STREAM, b"a"),
            ],
            Expect::Stream(1, CLOSED),
        ),
        at_once(
            "5.1",
            "reset: HEADERS",
            &[post(1), reset(1, code::CANCEL), get(1)],
            Expect::Vaguely(CLOSED),
        ),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        at_once(
            "5.1.1",
            "an even number",
            &[get(2)],
            Expect::Connection(PROTOCOL),
        ),
        at_once(
            "5.1.1",
            "a number below one that was used",
            &[get(5), get(3)],
            Expect::Stream(3, EITHER),
        ),
        Case(
            "5.1.1",
            "a number used before",
            vec![Step::Send(get(3)), Step::Ended(3), Step::Send(get(1))],
            Expect::Stream(1, EITHER),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_streams_state_does_not_allow_is_refused_with_its_error() {
    let subject = Subject::start().await;
    subject
        .hold([states(), numbers()].into_iter().flatten().collect())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_above_the_limit_are_refused_and_the_others_are_served() {
    let subject = Subject::start().await;
    // The listener takes ten at once.
    let open: Vec<_> = (0..11).map(|n| post(2 * n + 1)).collect();
    let refused = &[code::REFUSED_STREAM, code::PROTOCOL_ERROR];
    let end = |stream| data(stream, flag::END_STREAM, b"body");
    subject
        .hold(vec![
            at_once("5.1.2", "one too many", &open, Expect::Stream(21, refused)),
            at_once(
                "5.1.2",
                "those before it",
                &[open.concat(), end(19)],
                Expect::Status(19, 200),
            ),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_error_ends_the_connection_behind_a_goaway() {
    let subject = Subject::start().await;
    let wrong = frame(kind::PING, 0, 0, &[0; 6]);
    let more = [
        get(1),
        wrong,
        ping(b"too late"),
        headers(3, flag::WHOLE, &request("GET", "/")),
    ];
    subject
        .hold(vec![at_once(
            "5.4.1",
            "what comes after is lost",
            &more,
            Expect::Vaguely(&[code::FRAME_SIZE_ERROR]),
        )])
        .await;
}

/// RFC 9113 section 5.3.2 gave up priorities, and with them the rule of RFC 7540 section 5.3.1 that
/// a stream that depends on itself is an error. The library holds on to it, for HEADERS and
/// PRIORITY; so does this, lest it change unnoticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_depends_on_itself_is_refused() {
    let subject = Subject::start().await;
    let itself = [0, 0, 0, 1, 9];
    let head = [&itself[..], &request("GET", "/")].concat();
    subject
        .hold(vec![
            at_once(
                "5.3.1",
                "HEADERS",
                &[headers(1, flag::WHOLE | flag::PRIORITY, &head)],
                Expect::Stream(1, PROTOCOL),
            ),
            at_once(
                "5.3.1",
                "PRIORITY",
                &[post(1), frame(kind::PRIORITY, 0, 1, &itself)],
                Expect::Stream(1, PROTOCOL),
            ),
        ])
        .await;
}
