//! What a server has to take (h2spec's "generic" cases).

use super::{Case, Expect, Subject, after, at_once, get, post};
use crate::support::frames::{
    block, code, data, flag, frame, headers, kind, ping, request, reset, settings, window,
};

fn priority(on: u32, exclusive: bool, weight: u8) -> Vec<u8> {
    let on = on | u32::from(exclusive) << 31;
    [&on.to_be_bytes()[..], &[weight]].concat()
}

fn padded(payload: &[u8], padding: u8) -> Vec<u8> {
    let zeros = vec![0; usize::from(padding)];
    [&[padding], payload, &zeros].concat()
}

fn framed() -> Vec<Case> {
    let whole = request("GET", "/");
    let (first, rest) = whole.split_at(5);
    let (second, third) = rest.split_at(5);
    let prioritised = [&priority(0, false, 255)[..], &whole].concat();
    vec![
        at_once(
            "6.1",
            "DATA",
            &[post(1), data(1, flag::END_STREAM, b"body")],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.1",
            "several DATA",
            &[
                post(1),
                data(1, 0, b"one"),
                data(1, flag::END_STREAM, b"two"),
            ],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.1",
            "DATA with padding",
            &[
                post(1),
                data(1, flag::END_STREAM | flag::PADDED, &padded(b"body", 9)),
            ],
            Expect::Status(1, 200),
        ),
        at_once("6.2", "HEADERS", &[get(1)], Expect::Status(1, 200)),
        at_once(
            "6.2",
            "HEADERS with padding",
            &[headers(1, flag::WHOLE | flag::PADDED, &padded(&whole, 9))],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.2",
            "HEADERS with a priority",
            &[headers(1, flag::WHOLE | flag::PRIORITY, &prioritised)],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.10",
            "CONTINUATION",
            &[
                headers(1, flag::END_STREAM, first),
                frame(kind::CONTINUATION, flag::END_HEADERS, 1, rest),
            ],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.10",
            "several CONTINUATION",
            &[
                headers(1, flag::END_STREAM, first),
                frame(kind::CONTINUATION, 0, 1, second),
                frame(kind::CONTINUATION, flag::END_HEADERS, 1, third),
            ],
            Expect::Status(1, 200),
        ),
    ]
}

fn priorities() -> Vec<Case> {
    let priority = |stream, on, exclusive, weight| {
        frame(kind::PRIORITY, 0, stream, &priority(on, exclusive, weight))
    };
    vec![
        at_once(
            "6.3",
            "PRIORITY with weight 1",
            &[priority(1, 0, false, 0), get(1)],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.3",
            "PRIORITY with weight 256",
            &[priority(1, 0, false, 255), get(1)],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.3",
            "PRIORITY that depends on another stream",
            &[
                priority(1, 0, false, 255),
                priority(3, 1, false, 255),
                get(1),
            ],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.3",
            "PRIORITY that is exclusive",
            &[priority(1, 0, true, 255), get(1)],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.3",
            "PRIORITY for a stream above the one that is opened",
            &[priority(5, 0, false, 255), get(3)],
            Expect::Status(3, 200),
        ),
        at_once(
            "5.1",
            "PRIORITY on an idle stream",
            &[priority(1, 0, false, 9)],
            Expect::Serving,
        ),
        at_once(
            "5.1",
            "PRIORITY on a half-closed stream",
            &[get(1), priority(1, 0, false, 9)],
            Expect::Status(1, 200),
        ),
        after(
            "5.1",
            "PRIORITY on a closed stream",
            priority(1, 0, false, 9),
            Expect::Serving,
        ),
    ]
}

fn control() -> Vec<Case> {
    let goaway = frame(kind::GOAWAY, 0, 0, &[0; 8]);
    vec![
        at_once(
            "5.1",
            "WINDOW_UPDATE on a half-closed stream",
            &[get(1), window(1, 9)],
            Expect::Status(1, 200),
        ),
        after(
            "5.1",
            "WINDOW_UPDATE on a closed stream",
            window(1, 9),
            Expect::Serving,
        ),
        after(
            "5.1",
            "RST_STREAM on a closed stream",
            reset(1, code::CANCEL),
            Expect::Serving,
        ),
        at_once(
            "5.1",
            "RST_STREAM on a half-closed stream",
            &[get(1), reset(1, code::CANCEL)],
            Expect::Serving,
        ),
        at_once(
            "6.4",
            "RST_STREAM on an open stream",
            &[post(1), reset(1, code::CANCEL)],
            Expect::Serving,
        ),
        at_once("6.5", "SETTINGS", &[settings(&[(3, 100)])], Expect::Serving),
        at_once(
            "6.5.2",
            "a setting nobody knows",
            &[settings(&[(0xfa, 1)])],
            Expect::Serving,
        ),
        at_once("6.7", "PING", &[ping(b"anything")], Expect::Serving),
        at_once(
            "6.7",
            "an answer to a PING nobody sent",
            &[frame(kind::PING, flag::ACK, 0, &[7; 8])],
            Expect::Serving,
        ),
        at_once(
            "6.8",
            "GOAWAY, which lets what is in flight end",
            &[get(1), goaway],
            Expect::Status(1, 200),
        ),
        at_once(
            "6.9",
            "WINDOW_UPDATE of the connection",
            &[window(0, 9)],
            Expect::Serving,
        ),
        at_once(
            "7",
            "an error code nobody knows in RST_STREAM",
            &[post(1), reset(1, 0xff)],
            Expect::Serving,
        ),
        at_once(
            "4.1",
            "a type nobody knows",
            &[frame(0x42, 0xff, 0, b"anything")],
            Expect::Serving,
        ),
        at_once(
            "5.5",
            "a type nobody knows on a stream",
            &[post(1), frame(0x42, 0, 1, b""), data(1, 1, b"b")],
            Expect::Status(1, 200),
        ),
        at_once(
            "4.1",
            "flags nobody knows",
            &[frame(kind::PING, 0x16, 0, &[1; 8])],
            Expect::Serving,
        ),
        at_once(
            "4.1",
            "the reserved bit",
            &[frame(kind::PING, 0, 1 << 31, &[1; 8])],
            Expect::Serving,
        ),
    ]
}

fn exchanges() -> Vec<Case> {
    let trailers = block(&[("x-checksum", "1")]);
    vec![
        at_once("8.1", "GET", &[get(1)], Expect::Status(1, 200)),
        at_once(
            "8.1",
            "HEAD",
            &[headers(1, flag::WHOLE, &request("HEAD", "/"))],
            Expect::Status(1, 200),
        ),
        at_once(
            "8.1",
            "POST",
            &[post(1), data(1, flag::END_STREAM, b"body")],
            Expect::Status(1, 200),
        ),
        at_once(
            "8.1",
            "POST with trailers",
            &[
                post(1),
                data(1, 0, b"body"),
                headers(1, flag::WHOLE, &trailers),
            ],
            Expect::Status(1, 200),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_may_send_is_taken() {
    let subject = Subject::start().await;
    let all = [framed(), priorities(), control(), exchanges()];
    subject.hold(all.into_iter().flatten().collect()).await;
}
