//! Floods of frames over HTTP/2 that ask for nothing, or for what is taken back at once.

use super::Subject;
use crate::support::{
    eventually,
    frames::{
        self, Frame, Raw, code, flag, frame, headers, kind, ping, request, reset, settings, window,
    },
};

/// How much more memory a flood may cost at its peak: buffers, and what the allocator keeps.
const MOST: u64 = 24 << 20;

/// How a flood ended, by the frames that came back.
fn calmed(heard: &[Frame]) -> bool {
    let last = heard.last();
    last.is_some_and(|frame| frame.kind == kind::GOAWAY)
        && last.and_then(Frame::code) == Some(code::ENHANCE_YOUR_CALM)
}

fn answers(heard: &[Frame], of: u8) -> usize {
    let answer = |frame: &&Frame| frame.kind == of && frame.flags == flag::ACK;
    heard.iter().filter(answer).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_control_frames_end_their_connection_and_no_other() {
    let subject = Subject::by_default().await;
    // Each is sent 300,000 times and ends long before.
    let many = [
        ("pings", ping(b"a flood!")),
        ("settings", settings(&[])),
        ("window_updates", window(0, 1)),
        ("idle_frames", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 9])),
    ];
    for (reason, one) in many {
        let raw = Raw::connect(subject.web).await;
        let started = std::time::Instant::now();
        let heard = subject
            .during(reason, MOST, raw.flood(&one.repeat(300_000)))
            .await;
        // Answers to PING may stand in the way that were not read as fast as they came.
        let unread = reason == "pings" && heard.last().is_some_and(|last| last.kind == kind::PING);
        assert!(calmed(&heard) || unread, "{reason}: {:?}", heard.last());
        subject.ended(reason, 1).await;
        // Ten thousand at once and a hundred a second; of SETTINGS three hundred, and three.
        let seconds = usize::try_from(started.elapsed().as_secs()).expect("a number") + 1;
        assert!(
            answers(&heard, kind::PING) <= 10_000 + 100 * seconds,
            "{reason}"
        );
        assert!(
            answers(&heard, kind::SETTINGS) <= 300 + 3 * seconds,
            "{reason}"
        );
    }
    // Of a type nobody knows, large ones.
    let raw = Raw::connect(subject.web).await;
    let large = frame(0x42, 0, 0, &[0; 1000]).repeat(30_000);
    let heard = subject
        .during("large unknown frames", MOST, raw.flood(&large))
        .await;
    assert!(calmed(&heard), "{:?}", heard.last());
    subject.ended("idle_frames", 2).await;
}

/// Each answer waits for room to be sent; while there is none, nothing more is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_whose_answers_nobody_reads_is_not_read_either() {
    let subject = Subject::by_default().await;
    let mut floods = Vec::new();
    for _ in 0..20 {
        floods.push(Raw::connect(subject.web).await);
    }
    let pings = ping(b"a flood!").repeat(300_000);
    subject
        .during("pings nobody reads", MOST, async {
            for flood in &mut floods {
                flood.stuff(&pings).await;
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_opened_and_reset_at_once_end_the_connection() {
    let subject = Subject::by_default().await;
    let raw = Raw::connect(subject.web).await;
    // CVE-2023-44487.
    let mut bytes = Vec::new();
    for stream in (1..200_000_u32).step_by(2) {
        bytes.extend(headers(stream, flag::WHOLE, &request("GET", "/")));
        bytes.extend(reset(stream, code::CANCEL));
    }
    let heard = subject.during("rapid reset", MOST, raw.flood(&bytes)).await;
    assert!(calmed(&heard), "{:?}", heard.last());
    let (found, counted) = (
        subject.floods("requests").await,
        subject.floods("resets").await,
    );
    assert_eq!(found + counted, 1);
    subject.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_reset_once_they_are_served_end_the_connection_too() {
    let subject = Subject::by_default().await;
    let mut raw = Raw::connect(subject.web).await;
    let (mut stream, mut opened) = (1, 0);
    let harm = async {
        loop {
            let mut bytes = Vec::new();
            // The answer to the PING tells that they were taken up.
            let streams: Vec<u32> = (0..10).map(|n| stream + 2 * n).collect();
            for stream in &streams {
                bytes.extend(headers(*stream, flag::END_HEADERS, &request("POST", "/")));
            }
            bytes.extend(ping(b"taken up"));
            raw.send(&bytes).await;
            let answer = |frame: &Frame| matches!(frame.kind, kind::PING | kind::GOAWAY);
            match raw.until(answer).await {
                Some(frame) if frame.kind == kind::PING => {}
                ended => return ended,
            }
            let resets: Vec<u8> = streams
                .iter()
                .flat_map(|id| reset(*id, code::CANCEL))
                .collect();
            raw.send(&resets).await;
            stream += 20;
            opened += 10;
        }
    };
    let started = std::time::Instant::now();
    let ended = subject.during("resets of served streams", MOST, harm).await;
    assert_eq!(
        ended.and_then(|frame| frame.code()),
        Some(code::ENHANCE_YOUR_CALM)
    );
    subject.ended("resets", 1).await;
    let seconds = started.elapsed().as_secs() + 1;
    assert!(
        opened <= 1000 + 100 * seconds + 20,
        "{opened} streams in {seconds} s"
    );
    subject.nothing_is_left().await;
}

/// CVE-2025-8671: the client makes the proxy reset its streams, so that none counts as open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_the_proxy_is_made_to_reset_end_the_connection() {
    type Provoke = fn(u32) -> Vec<u8>;
    let subject = Subject::by_default().await;
    let ways: [(&str, Provoke); 2] = [
        ("a window too large", |stream| window(stream, u32::MAX >> 1)),
        ("a body longer than its length", |stream| {
            frames::data(stream, 0, b"12")
        }),
    ];
    for (n, (way, provoke)) in (1..).zip(ways) {
        let raw = Raw::connect(subject.web).await;
        let head = [
            request("POST", "/"),
            frames::block(&[("content-length", "1")]),
        ]
        .concat();
        let mut bytes = Vec::new();
        for stream in (1..200_000_u32).step_by(2) {
            bytes.extend(headers(stream, flag::END_HEADERS, &head));
            bytes.extend(provoke(stream));
        }
        let heard = subject.during(way, MOST, raw.flood(&bytes)).await;
        assert!(calmed(&heard), "{way}: {:?}", heard.last());
        let resets = heard
            .iter()
            .filter(|frame| frame.kind == kind::RST_STREAM)
            .count();
        assert!(resets <= 1024, "{way}: {resets} resets");
        subject.ended("requests", n).await;
        subject.nothing_is_left().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_blocks_and_bodies_in_endless_parts_end_the_connection() {
    let subject = Subject::by_default().await;
    let continuations = |payload: &[u8]| {
        let first = headers(1, flag::END_STREAM, &request("GET", "/"));
        [
            first,
            frame(kind::CONTINUATION, 0, 1, payload).repeat(100_000),
        ]
        .concat()
    };
    let small = frames::block(&[("x-a", "1")]);
    for (n, (what, payload)) in (1..).zip([("empty", &[][..]), ("small", &small)]) {
        let what = format!("{what} CONTINUATION");
        let raw = Raw::connect(subject.web).await;
        let bytes = continuations(payload);
        let heard = subject.during(&what, MOST, raw.flood(&bytes)).await;
        assert!(calmed(&heard), "{what}: {:?}", heard.last());
        subject.ended("continuations", n).await;
    }
    let raw = Raw::connect(subject.web).await;
    let first = headers(1, flag::END_HEADERS, &request("POST", "/"));
    let empty = [first, frames::data(1, 0, b"").repeat(300_000)].concat();
    let heard = subject.during("empty DATA", MOST, raw.flood(&empty)).await;
    assert!(calmed(&heard), "{:?}", heard.last());
    subject.ended("requests", 1).await;
    subject.nothing_is_left().await;
}

impl Subject {
    /// Waits until no request of the floods is in flight: those of the bystanders are few.
    async fn nothing_is_left(&self) {
        eventually("no request is left", async || {
            let active = self.counted("fleetway_cluster_requests_active{cluster=\"echo\"}");
            (active.await <= 3).then_some(())
        })
        .await;
    }
}
