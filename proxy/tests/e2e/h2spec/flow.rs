//! Settings that change what the proxy may send: RFC 9113 sections 6.5.3 and 6.9.

use super::{Subject, get};
use crate::support::frames::{
    Frame, Raw, flag, frame, headers, kind, ping, request, setting, settings, window,
};

/// Reads until the proxy acknowledges settings; the DATA it sent before.
async fn acknowledged(raw: &mut Raw) -> Vec<Frame> {
    let mut before = Vec::new();
    let found = raw
        .until(|frame| {
            if frame.kind == kind::DATA {
                before.push(frame.clone());
            }
            (frame.kind, frame.flags) == (kind::SETTINGS, flag::ACK)
        })
        .await;
    found.expect("an acknowledgement");
    before
}

/// The next DATA, by its length.
async fn length(raw: &mut Raw) -> usize {
    let found = raw.until(|frame| frame.kind == kind::DATA).await;
    found.expect("some of the body").payload.len()
}

/// Whether nothing of a body comes before the answer to a PING.
async fn is_held(raw: &mut Raw) -> bool {
    raw.send(&ping(b"heldback")).await;
    let found = raw
        .until(|frame| matches!(frame.kind, kind::DATA | kind::PING))
        .await;
    found.expect("an answer").kind == kind::PING
}

fn initial(size: u32) -> Vec<u8> {
    settings(&[(setting::INITIAL_WINDOW_SIZE, size)])
}

fn fixed(stream: u32) -> Vec<u8> {
    headers(stream, flag::WHOLE, &request("GET", "/fixed"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_acknowledged_and_taken_in_their_order() {
    let subject = Subject::start().await;
    let mut raw = Raw::connect(subject.web).await;
    let (name, first, last) = (setting::INITIAL_WINDOW_SIZE, 100, 1);
    raw.send(&settings(&[(name, first), (name, last)])).await;
    acknowledged(&mut raw).await;
    raw.send(&fixed(1)).await;
    assert_eq!(length(&mut raw).await, 1);
    assert!(is_held(&mut raw).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_sent_than_the_windows_allow() {
    let subject = Subject::start().await;
    let mut raw = Raw::connect(subject.web).await;
    raw.send(&initial(1)).await;
    acknowledged(&mut raw).await;
    raw.send(&fixed(1)).await;
    assert_eq!(length(&mut raw).await, 1);
    assert!(is_held(&mut raw).await);
    raw.send(&window(1, 2)).await;
    assert_eq!(length(&mut raw).await, 2);
    assert!(is_held(&mut raw).await);
    raw.send(&window(1, 100)).await;
    let last = raw.until(Frame::ends_stream).await.expect("the rest");
    assert_eq!(
        (last.kind, last.payload.as_slice()),
        (kind::DATA, &b"ed"[..])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_window_counts_for_streams_that_are_open() {
    let subject = Subject::start().await;
    let mut raw = Raw::connect(subject.web).await;
    raw.send(&initial(0)).await;
    acknowledged(&mut raw).await;
    raw.send(&fixed(1)).await;
    assert!(is_held(&mut raw).await);
    raw.send(&initial(1)).await;
    let mut sizes: Vec<_> = acknowledged(&mut raw).await;
    if sizes.is_empty() {
        sizes.extend(raw.until(|frame| frame.kind == kind::DATA).await);
    }
    assert_eq!(
        sizes
            .iter()
            .map(|frame| frame.payload.len())
            .collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_may_become_negative() {
    let subject = Subject::start().await;
    let mut raw = Raw::connect(subject.web).await;
    raw.send(&initial(3)).await;
    acknowledged(&mut raw).await;
    raw.send(&fixed(1)).await;
    assert_eq!(length(&mut raw).await, 3);
    // Three are sent, two are allowed: one has to be given before any more comes.
    raw.send(&initial(2)).await;
    acknowledged(&mut raw).await;
    raw.send(&window(1, 1)).await;
    assert!(is_held(&mut raw).await);
    raw.send(&window(1, 1)).await;
    assert_eq!(length(&mut raw).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connections_window_holds_all_its_streams() {
    let subject = Subject::start().await;
    let mut raw = Raw::connect(subject.web).await;
    // 65,535 bytes at first (section 6.9.2), whatever the streams have.
    raw.send(&initial(1 << 20)).await;
    acknowledged(&mut raw).await;
    let body = vec![b'a'; 16_384];
    let mut upload = headers(1, flag::END_HEADERS, &request("POST", "/"));
    for n in 0..6 {
        let last = if n == 5 { flag::END_STREAM } else { 0 };
        upload.extend(frame(kind::DATA, last, 1, &body));
    }
    raw.send(&upload).await;
    let mut got = 0;
    while got < 65_535 {
        got += length(&mut raw).await;
    }
    assert_eq!(got, 65_535);
    raw.send(&get(3)).await;
    assert!(is_held(&mut raw).await);
    raw.send(&window(0, 1 << 20)).await;
    let ended = raw
        .until(|frame| frame.stream == 1 && frame.ends_stream())
        .await;
    assert!(ended.is_some());
}
