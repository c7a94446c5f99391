//! Relays between sockets on loopback, and between streams in memory.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    net::TcpListener,
    task::JoinHandle,
    time::Instant,
};

use super::*;

impl Side for DuplexStream {
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    fn reset(&mut self) {}
}

/// Two ends of a connection.
pub(super) async fn pair() -> (TcpStream, TcpStream) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), socket.accept());
    (near.unwrap(), far.unwrap().0)
}

/// A relay with what it has moved so far, told at its end.
type Relaying = JoinHandle<(Result<(), Cut>, (u64, u64))>;

fn relaying<C: Side + Send + 'static, U: Side + Send + 'static>(
    mut client: C,
    mut upstream: U,
    limits: Limits,
) -> Relaying {
    tokio::spawn(async move {
        let mut total = (0, 0);
        let moved = |up, down| {
            total.0 += up;
            total.1 += down;
        };
        let result = relay(&mut client, &mut upstream, Early::default(), limits, moved).await;
        (result, total)
    })
}

/// Client, upstream, and the relay between them.
async fn relayed(limits: Limits) -> (TcpStream, TcpStream, Relaying) {
    let ((client, one), (two, upstream)) = tokio::join!(pair(), pair());
    (client, upstream, relaying(one, two, limits))
}

/// Bytes that tell where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| place.wrapping_mul(31).to_le_bytes()[1] ^ place.to_le_bytes()[0])
        .collect()
}

async fn both_ways<C, U>(client: C, upstream: U, relaying: Relaying)
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (up, down) = (pattern(3_000_001), pattern(5_000_003));
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let send_up = async {
        to_client.write_all(&up).await.unwrap();
        to_client.shutdown().await.unwrap();
    };
    let send_down = async {
        to_upstream.write_all(&down).await.unwrap();
        to_upstream.shutdown().await.unwrap();
    };
    let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
    let receive_up = from_upstream.read_to_end(&mut got_up);
    let receive_down = from_client.read_to_end(&mut got_down);
    let (_, _, one, two) = tokio::join!(send_up, send_down, receive_up, receive_down);
    one.unwrap();
    two.unwrap();
    assert!(got_up == up && got_down == down, "byte by byte");
    let (result, moved) = relaying.await.unwrap();
    result.unwrap();
    assert_eq!(moved, (up.len() as u64, down.len() as u64));
}

#[tokio::test]
async fn sockets_are_relayed_both_ways_to_the_byte() {
    let (client, upstream, relaying) = relayed(Limits::default()).await;
    both_ways(client, upstream, relaying).await;
}

/// A gibibyte, half of it each way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_arrives_as_it_was_sent() {
    const CHUNKS: u64 = 512;
    const MEBIBYTE: usize = 1 << 20;
    async fn send<W: AsyncWrite + Unpin>(mut to: W) -> Vec<u8> {
        let mut hash = Context::new(&SHA256);
        let mut chunk = pattern(MEBIBYTE);
        for number in 0..CHUNKS {
            chunk[..8].copy_from_slice(&number.to_le_bytes());
            hash.update(&chunk);
            to.write_all(&chunk).await.unwrap();
        }
        to.shutdown().await.unwrap();
        hash.finish().as_ref().to_vec()
    }
    async fn receive<R: AsyncRead + Unpin>(mut from: R) -> (u64, Vec<u8>) {
        let mut hash = Context::new(&SHA256);
        let (mut buffer, mut total) = (vec![0; MEBIBYTE], 0);
        loop {
            match from.read(&mut buffer).await.unwrap() {
                0 => return (total, hash.finish().as_ref().to_vec()),
                some => {
                    total += some as u64;
                    hash.update(&buffer[..some]);
                }
            }
        }
    }
    let (client, upstream, relaying) = relayed(Limits::default()).await;
    let (from_client, to_client) = client.into_split();
    let (from_upstream, to_upstream) = upstream.into_split();
    let (sent_up, sent_down) = (
        tokio::spawn(send(to_client)),
        tokio::spawn(send(to_upstream)),
    );
    let got_up = tokio::spawn(receive(from_upstream));
    let (total, got_down) = receive(from_client).await;
    assert_eq!(got_down, sent_down.await.unwrap());
    assert_eq!(total, CHUNKS * MEBIBYTE as u64);
    assert_eq!(got_up.await.unwrap(), (total, sent_up.await.unwrap()));
    let (result, moved) = relaying.await.unwrap();
    result.unwrap();
    assert_eq!(moved, (total, total));
}

#[tokio::test]
async fn other_streams_are_relayed_as_well() {
    let ((client, one), (two, upstream)) = (duplex(1000), duplex(100_000));
    let relaying = relaying(one, two, Limits::default());
    both_ways(client, upstream, relaying).await;
}

#[tokio::test]
async fn a_side_that_has_sent_its_last_byte_goes_on_receiving() {
    for client_first in [true, false] {
        let (client, upstream, relaying) = relayed(Limits::default()).await;
        let (mut first, mut second) = if client_first {
            (client, upstream)
        } else {
            (upstream, client)
        };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        let mut asked = String::new();
        second.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "question");
        for piece in ["an ", "answer"] {
            second.write_all(piece.as_bytes()).await.unwrap();
            let mut read = vec![0; piece.len()];
            first.read_exact(&mut read).await.unwrap();
            assert_eq!(read, piece.as_bytes());
        }
        drop(second);
        assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
        relaying.await.unwrap().0.unwrap();
    }
}

#[tokio::test]
async fn a_side_that_does_not_read_holds_the_other_up() {
    let (client, upstream, relaying) = relayed(Limits::default()).await;
    // As much as both kernels' buffers take, and no more.
    let mut sent = 0;
    let chunk = pattern(1 << 16);
    let silence = Duration::from_millis(200);
    while let Ok(ready) = tokio::time::timeout(silence, client.writable()).await {
        ready.unwrap();
        match client.try_write(&chunk) {
            Ok(some) => sent += some,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(sent < 64 << 20, "{sent} bytes are held somewhere");
    }
    let mut client = client;
    client.shutdown().await.unwrap();
    let mut upstream = upstream;
    let mut read = Vec::new();
    upstream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len(), sent);
    drop(upstream);
    relaying.await.unwrap().0.unwrap();
}

#[tokio::test]
async fn a_side_that_breaks_off_ends_the_relay() {
    let (client, upstream, relaying) = relayed(Limits::default()).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let (result, _) = relaying.await.unwrap();
    assert!(matches!(result, Err(Cut::Client(_))), "{result:?}");
    drop(upstream);

    // With as many bytes on their way to it as there is room for.
    let (client, upstream, relaying) = relayed(Limits::default()).await;
    let chunk = pattern(1 << 16);
    let silence = Duration::from_millis(100);
    while let Ok(ready) = tokio::time::timeout(silence, client.writable()).await {
        ready.unwrap();
        let _ = client.try_write(&chunk);
    }
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    let (result, _) = relaying.await.unwrap();
    assert!(matches!(result, Err(Cut::Upstream(_))), "{result:?}");

    // With some bytes on their way to it.
    let (mut client, mut upstream, relaying) = relayed(Limits::default()).await;
    client.write_all(&pattern(1 << 16)).await.unwrap();
    upstream.read_exact(&mut [0; 1000]).await.unwrap();
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    let (result, _) = relaying.await.unwrap();
    assert!(matches!(result, Err(Cut::Upstream(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_relay_ends_when_it_was_idle_or_open_for_too_long() {
    const SECOND: Duration = Duration::from_secs(1);
    let start = Instant::now();
    let limits = Limits {
        idle: Some(10 * SECOND),
        until: None,
    };
    let ((mut client, one), (two, mut upstream)) = (duplex(100), duplex(100));
    let relaying_idle = relaying(one, two, limits);
    for _ in 0..3 {
        tokio::time::sleep(7 * SECOND).await;
        client.write_all(b"x").await.unwrap();
        upstream.read_exact(&mut [0]).await.unwrap();
    }
    let (result, _) = relaying_idle.await.unwrap();
    assert!(matches!(result, Err(Cut::Idle)), "{result:?}");
    assert_eq!(start.elapsed().as_secs(), 31);

    let start = Instant::now();
    let limits = Limits {
        idle: Some(10 * SECOND),
        until: Some(start + 8 * SECOND),
    };
    let ((_client, one), (two, _upstream)) = (duplex(100), duplex(100));
    let (result, _) = relaying(one, two, limits).await.unwrap();
    assert!(matches!(result, Err(Cut::Expired)), "{result:?}");
    assert_eq!(start.elapsed().as_secs(), 8);
}

#[tokio::test]
async fn the_last_bytes_and_the_end_arrive_though_something_is_unread() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"never read").await.unwrap();
    server.readable().await.unwrap();
    let written = poll_fn(|cx| server.poll_write_last(cx, b"the last")).await;
    assert_eq!(written.unwrap(), 8);
    // A reset, as something is unread.
    drop(server);
    let mut read = [0; 8];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"the last");
}

#[tokio::test]
async fn the_end_comes_with_the_last_bytes() {
    let (mut client, mut server) = pair().await;
    let written = poll_fn(|cx| server.poll_write_last(cx, b"the last")).await;
    assert_eq!(written.unwrap(), 8);
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"the last");
    // It goes on receiving.
    client.write_all(b"more").await.unwrap();
    let mut more = [0; 4];
    server.read_exact(&mut more).await.unwrap();
    assert_eq!(&more, b"more");
}
