//! Relays between pairs of pipes.

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::Instant,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The far ends, and the near ones as a tunnel has them.
fn pipes(
    size: usize,
    read: [&'static str; 2],
) -> (
    [DuplexStream; 2],
    Switched<DuplexStream>,
    Switched<DuplexStream>,
) {
    let ((client, near), (far, upstream)) = (duplex(size), duplex(size));
    let switched = |io, read| Switched {
        io,
        read: Bytes::from_static(read),
    };
    let [first, second] = read.map(str::as_bytes);
    (
        [client, upstream],
        switched(near, first),
        switched(far, second),
    )
}

#[tokio::test]
async fn what_was_read_before_goes_first_and_an_end_ends_one_direction_only() {
    let ([mut client, mut upstream], a, b) = pipes(64, ["early ", "greeting "]);
    let script = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        upstream.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "early question");
        // The other direction lives on.
        upstream.write_all(b"answer").await.unwrap();
        drop(upstream);
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.unwrap();
        assert_eq!(answered, "greeting answer");
    };
    let (ended, ()) = tokio::join!(relay(a, b, None), script);
    ended.unwrap();
}

#[tokio::test]
async fn much_goes_both_ways_at_once_through_little_room() {
    let ([client, upstream], a, b) = pipes(1000, ["", ""]);
    let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let exchange = async |mut io: DuplexStream| {
        let (mut read, mut write) = tokio::io::split(&mut io);
        let mut got = Vec::new();
        let send = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(read.read_to_end(&mut got), send);
        read.unwrap();
        got
    };
    let (ended, one, other) = tokio::join!(relay(a, b, None), exchange(client), exchange(upstream));
    ended.unwrap();
    assert!(one == sent && other == sent);
}

#[tokio::test]
async fn a_side_that_does_not_read_holds_back_the_other() {
    let ([mut client, upstream], a, b) = pipes(1000, ["", ""]);
    let flood = async {
        let mut written = 0;
        while let Ok(some) = tokio::time::timeout(SECOND / 20, client.write(&[0; 1000])).await {
            written += some.unwrap();
        }
        written
    };
    let written = tokio::select! {
        _ = relay(a, b, None) => panic!("it goes on"),
        written = flood => written,
    };
    assert!(written <= 70_000, "{written} bytes are on the way");
    drop(upstream);
}

#[tokio::test(start_paused = true)]
async fn it_ends_once_no_byte_has_moved_for_the_time() {
    let ([mut client, mut upstream], a, b) = pipes(64, ["", ""]);
    let start = Instant::now();
    let script = async {
        for _ in 0..3 {
            tokio::time::sleep(3 * SECOND).await;
            client.write_all(b"x").await.unwrap();
            upstream.read_u8().await.unwrap();
        }
        (client, upstream)
    };
    let (ended, _open) = tokio::join!(relay(a, b, Some(4 * SECOND)), script);
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(start.elapsed(), 13 * SECOND);
}
