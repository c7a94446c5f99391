use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const BOUNDS: Bounds = Bounds {
    header_bytes: 65_536,
    header_timeout: Duration::from_secs(10),
};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn tally() -> Tally {
    let mut tally = Tally::new(BOUNDS.header_bytes, Instant::now());
    tally.received(PREFACE, Instant::now).unwrap();
    tally
}

/// How many times `bytes` may come, up to `most`, and what is said of one more.
fn taken(tally: &mut Tally, bytes: &[u8], most: usize) -> (usize, Option<Flood>) {
    for n in 0..most {
        if let Err(flood) = tally.received(bytes, Instant::now) {
            return (n, Some(flood));
        }
    }
    (most, None)
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_frame_has_its_bound() {
    for (bytes, most, flood) in [
        (frame(kind::PING, 0, 0, &[0; 8]), 10_000, Flood::Pings),
        (frame(kind::SETTINGS, 0, 0, &[]), 300, Flood::Settings),
        (frame(kind::SETTINGS, 0, 0, &[0; 6000]), 4, Flood::Settings),
        (frame(kind::SETTINGS, ACK, 0, &[]), 300, Flood::Settings),
        (
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            10_000,
            Flood::WindowUpdates,
        ),
        (frame(2, 0, 3, &[0; 5]), 10_000, Flood::Idle),
        (frame(0x42, 0, 0, b"unknown"), 10_000, Flood::Idle),
        (frame(kind::RST_STREAM, 0, 1, &[0; 4]), 1000, Flood::Resets),
        (
            frame(kind::CONTINUATION, 0, 1, &[]),
            0,
            Flood::Continuations,
        ),
    ] {
        let mut tally = tally();
        assert_eq!(
            taken(&mut tally, &bytes, 20_000),
            (most, Some(flood)),
            "{flood:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn time_pays_for_so_many_frames_a_second() {
    let mut tally = tally();
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    assert_eq!(taken(&mut tally, &ping, 10_000), (10_000, None));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(taken(&mut tally, &ping, 20_000).0, 200);
}

#[test]
fn a_header_block_has_as_many_frames_as_its_length_needs_and_some_more() {
    for (header_bytes, most) in [(1000, 5), (65_536, 5), (1 << 20, 80)] {
        let mut tally = Tally::new(header_bytes, Instant::now());
        tally.received(PREFACE, Instant::now).unwrap();
        let part = frame(kind::CONTINUATION, 0, 1, b"part");
        // Each block anew.
        for _ in 0..3 {
            let first = frame(kind::HEADERS, 0, 1, b"part");
            tally.received(&first, Instant::now).unwrap();
            assert_eq!(taken(&mut tally, &part, most), (most, None));
            let last = frame(kind::CONTINUATION, END_HEADERS, 1, &[]);
            tally.received(&last, Instant::now).unwrap();
        }
        let first = frame(kind::HEADERS, 0, 1, b"part");
        tally.received(&first, Instant::now).unwrap();
        let taken = taken(&mut tally, &part, 1000);
        assert_eq!(taken, (most, Some(Flood::Continuations)));
    }
}

#[test]
fn requests_and_bodies_are_bounded_elsewhere() {
    let mut tally = tally();
    let mut both = frame(kind::HEADERS, END_HEADERS, 1, &[0x82]);
    both.extend(frame(kind::DATA, 0, 1, b"a"));
    assert_eq!(taken(&mut tally, &both, 100_000), (100_000, None));
}

#[test]
fn what_a_download_of_the_smallest_messages_is_answered_with_is_no_flood() {
    let mut tally = tally();
    let mut answer = frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]);
    answer.extend(frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4]));
    answer.extend(frame(kind::PING, 0, 0, &[0; 8]));
    for _ in 0..100_000 {
        // A DATA frame with one byte, and the answer to the PING before.
        tally.sent(10 + 17);
        tally.received(&answer, Instant::now).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_may_give_up_streams_as_it_is_answered_on_others() {
    let mut tally = tally();
    let reset = frame(kind::RST_STREAM, 0, 1, &[0; 4]);
    for _ in 0..10_000 {
        // The smallest response there is: a head of a few fields.
        tally.sent(64);
        tally.received(&reset, Instant::now).unwrap();
    }
    assert_eq!(taken(&mut tally, &reset, 2000), (999, Some(Flood::Resets)));
}

#[tokio::test(start_paused = true)]
async fn answers_to_a_flood_do_not_pay_for_it() {
    let mut tally = tally();
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    for _ in 0..10_000 {
        tally.received(&ping, Instant::now).unwrap();
        tally.sent(17);
    }
    let ended = tally.received(&ping, Instant::now);
    assert_eq!(ended, Err(Flood::Pings));
}

async fn error(metered: &mut Metered<DuplexStream>) -> String {
    let read = metered.read_to_end(&mut Vec::new()).await;
    read.unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_floods_is_told_to_go_away_after_whole_frames() {
    let (mut client, server) = duplex(1 << 20);
    let (mut metered, verdict) = Metered::new(server, &BOUNDS);
    metered.write_all(b"whole frames").await.unwrap();
    client.write_all(PREFACE).await.unwrap();
    let request = frame(kind::HEADERS, END_HEADERS, 7, &[0x82]);
    client.write_all(&request).await.unwrap();
    let pings = frame(kind::PING, 0, 0, &[0; 8]).repeat(10_001);
    client.write_all(&pings).await.unwrap();
    assert_eq!(error(&mut metered).await, "too many PING frames");
    assert_eq!(verdict.get(), Some(Flood::Pings));
    drop(metered);
    let mut told = Vec::new();
    client.read_to_end(&mut told).await.unwrap();
    let goaway = frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11]);
    assert_eq!(told, [&b"whole frames"[..], &goaway].concat());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_in_the_middle_of_a_frame() {
    let (mut client, server) = duplex(64);
    let (mut metered, _) = Metered::new(server, &BOUNDS);
    assert_eq!(metered.write(&[1; 100]).await.unwrap(), 64);
    let flood = async {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(kind::SETTINGS, 0, 0, &[]).repeat(400));
        let _ = client.write_all(&bytes).await;
    };
    let (error, ()) = tokio::join!(error(&mut metered), async {
        // The client's bytes are taken as they are read; it stops once nobody does.
        let _ = tokio::time::timeout(Duration::from_secs(1), flood).await;
    });
    assert_eq!(error, "too many SETTINGS frames");
    drop(metered);
    let mut told = Vec::new();
    client.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, [1; 64]);
}

#[tokio::test(start_paused = true)]
async fn a_header_block_has_its_time_from_its_first_byte_on() {
    let (mut client, server) = duplex(1024);
    let (mut metered, verdict) = Metered::new(server, &BOUNDS);
    let second = Duration::from_secs(1);
    let start = Instant::now();
    let client = async {
        client.write_all(PREFACE).await.unwrap();
        // Nothing has begun: this may take as long as it does.
        tokio::time::sleep(60 * second).await;
        let whole = frame(kind::HEADERS, END_HEADERS, 1, b"some");
        for bytes in [&whole[..10], &whole[10..], &whole[..10]] {
            client.write_all(bytes).await.unwrap();
            tokio::time::sleep(6 * second).await;
        }
        // A block in frames, a byte now and then.
        client.write_all(&whole[10..]).await.unwrap();
        client
            .write_all(&frame(kind::HEADERS, 0, 3, b"a"))
            .await
            .unwrap();
        loop {
            tokio::time::sleep(3 * second).await;
            let more = frame(kind::CONTINUATION, 0, 3, b"a");
            if client.write_all(&more).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        let error = error(&mut metered).await;
        (error, start.elapsed())
    };
    let (error, passed) = tokio::select! {
        () = client => panic!("the connection is held"),
        read = read => read,
    };
    assert_eq!(error, "a request's head took too long");
    assert_eq!(verdict.get(), Some(Flood::SlowHead));
    assert_eq!(passed, (60 + 18 + 10) * second);
}
