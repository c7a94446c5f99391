//! The rarer ends of HTTP/2 upstream, with a peer that writes its own frames.

use super::*;

/// Frame types and error codes of RFC 9113.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const REFUSED_STREAM: u32 = 7;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// Heads in HPACK that say no more than a status.
const OK: u8 = 0x88;
const NO_CONTENT: u8 = 0x89;

/// The upstream's end of one connection.
struct Peer(TcpStream);

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Peer {
    /// Takes a connection, and says these settings.
    async fn accept(socket: &TcpListener, settings: &[(u16, u32)]) -> Self {
        let (mut stream, _) = socket.accept().await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        let mut peer = Self(stream);
        peer.set(settings).await;
        peer
    }

    async fn set(&mut self, settings: &[(u16, u32)]) {
        let one = |(key, value): &(u16, u32)| {
            let (key, value) = (key.to_be_bytes(), value.to_be_bytes());
            [&key[..], &value[..]].concat()
        };
        let payload: Vec<u8> = settings.iter().flat_map(one).collect();
        self.send(SETTINGS, 0, 0, &payload).await;
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        let frame = [&head, payload].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream,
            payload,
        })
    }

    /// The next frame of a kind, those before it answered as they have to be.
    async fn next(&mut self, kind: u8, flags: u8) -> Frame {
        loop {
            let frame = self.frame().await.expect("the connection goes on");
            match (frame.kind, frame.flags & 1) {
                (SETTINGS, 0) => self.send(SETTINGS, 1, 0, &[]).await,
                (PING, 0) => self.send(PING, 1, 0, &frame.payload).await,
                _ => {}
            }
            if frame.kind == kind && frame.flags & flags == flags {
                return frame;
            }
        }
    }

    /// The stream of the next request.
    async fn request(&mut self) -> u32 {
        self.next(HEADERS, 0).await.stream
    }

    /// A whole answer, without a body.
    async fn answer(&mut self, stream: u32, status: u8) {
        self.send(HEADERS, 5, stream, &[status]).await;
    }

    async fn refuse(&mut self, stream: u32) {
        let reason = REFUSED_STREAM.to_be_bytes();
        self.send(RST_STREAM, 0, stream, &reason).await;
    }
}

/// A proxy whose one worker sends everything to an upstream over HTTP/2.
async fn started(pool: &str) -> (Arc<Runtime>, SocketAddr, TcpListener) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = socket.local_addr().unwrap();
    let yaml = format!(
        "{WEB}{{kind: Cluster, name: a, protocol: HTTP2, pool: {{{pool}}}, \
         endpoints: [{{address: '{backend}'}}]}}\n---\n\
         {{kind: Route, name: r, forward: {{clusters: [{{name: a}}]}}}}"
    );
    let runtime = Arc::new(Runtime::start(1).unwrap());
    apply(&runtime, 1, &yaml).await.unwrap();
    let at = address(&runtime, "web");
    (runtime, at, socket)
}

/// A request on a connection of its own, on its way.
fn asking(at: SocketAddr) -> tokio::task::JoinHandle<String> {
    tokio::spawn(async move { get(at, "/").await })
}

fn replays(runtime: &Runtime) -> u64 {
    let snapshot = runtime.snapshot();
    let counters = &snapshot.clusters().next().unwrap().counters;
    counters.shard(0).replays.get()
}

fn is(answer: &str, status: u16) {
    let line = format!("HTTP/1.1 {status} ");
    assert!(answer.starts_with(&line), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_sent_again_once_over_another_connection() {
    let (runtime, at, socket) = started("").await;
    let asked = asking(at);
    let mut one = Peer::accept(&socket, &[]).await;
    let stream = one.request().await;
    one.refuse(stream).await;
    let mut two = Peer::accept(&socket, &[]).await;
    let stream = two.request().await;
    two.answer(stream, NO_CONTENT).await;
    is(&asked.await.unwrap(), 204);
    assert_eq!(replays(&runtime), 1);

    // Refused by both there are, it is the client's to try again.
    let asked = asking(at);
    for peer in [&mut one, &mut two] {
        let stream = peer.request().await;
        peer.refuse(stream).await;
    }
    let answer = asked.await.unwrap();
    is(&answer, 503);
    assert!(answer.ends_with("upstream did not take the request\n"));
    assert_eq!(replays(&runtime), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_whose_body_is_gone_is_not_sent_again() {
    let (runtime, at, socket) = started("").await;
    let asked = tokio::spawn(async move {
        let mut client = TcpStream::connect(at).await.unwrap();
        let post =
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody";
        client.write_all(post.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let mut peer = Peer::accept(&socket, &[]).await;
    let stream = peer.request().await;
    assert_eq!(peer.next(DATA, 0).await.payload, b"body");
    peer.refuse(stream).await;
    let answer = asked.await.unwrap();
    is(&answer, 503);
    assert!(answer.ends_with("upstream did not take the request\n"));
    assert_eq!(replays(&runtime), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_goaway_leaves_out_goes_to_another_connection_and_the_rest_ends_on_this() {
    let (runtime, at, socket) = started("").await;
    let first = asking(at);
    let mut one = Peer::accept(&socket, &[]).await;
    let kept = one.request().await;
    let second = asking(at);
    let left_out = one.request().await;
    assert!(left_out > kept);
    let last = [kept.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    one.send(GOAWAY, 0, 0, &last).await;
    let mut two = Peer::accept(&socket, &[]).await;
    let stream = two.request().await;
    two.answer(stream, NO_CONTENT).await;
    is(&second.await.unwrap(), 204);
    one.answer(kept, OK).await;
    is(&first.await.unwrap(), 200);
    assert_eq!(replays(&runtime), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_streams_that_is_lowered_holds_from_then_on() {
    let (_runtime, at, socket) = started("").await;
    let first = asking(at);
    let mut one = Peer::accept(&socket, &[(MAX_CONCURRENT_STREAMS, 2)]).await;
    let early = one.request().await;
    let second = asking(at);
    let late = one.request().await;
    one.set(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    one.next(SETTINGS, 1).await;
    one.answer(early, OK).await;
    is(&first.await.unwrap(), 200);

    // One is open still, so there is no room for a second here any more.
    let third = asking(at);
    let mut two = Peer::accept(&socket, &[]).await;
    let stream = two.request().await;
    two.answer(stream, NO_CONTENT).await;
    is(&third.await.unwrap(), 204);
    one.answer(late, OK).await;
    is(&second.await.unwrap(), 200);

    // Now there is.
    let fourth = asking(at);
    let stream = one.request().await;
    one.answer(stream, OK).await;
    is(&fourth.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_closed_after_the_clusters_time() {
    let (_runtime, at, socket) = started("idle_timeout: 50ms").await;
    let asked = asking(at);
    let mut peer = Peer::accept(&socket, &[]).await;
    let stream = peer.request().await;
    peer.answer(stream, OK).await;
    is(&asked.await.unwrap(), 200);
    let mut said_so = false;
    while let Some(frame) = peer.frame().await {
        said_so |= frame.kind == GOAWAY;
    }
    assert!(said_so, "it says GOAWAY before it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_without_end_are_no_response() {
    // Literals without indexing of `:status`, which has index 8 (RFC 7541 appendix A).
    for (interims, status) in [
        (64, &b"\x08\x03103"[..]),
        (65, b"\x08\x03103"),
        (1, b"\x08\x03101"),
    ] {
        let (_runtime, at, socket) = started("").await;
        let asked = asking(at);
        let mut peer = Peer::accept(&socket, &[]).await;
        let stream = peer.request().await;
        for _ in 0..interims {
            peer.send(HEADERS, 4, stream, status).await;
        }
        if interims == 64 {
            peer.answer(stream, OK).await;
            assert!(asked.await.unwrap().contains("HTTP/1.1 200 "));
        } else {
            let answer = asked.await.unwrap();
            assert!(answer.contains("HTTP/1.1 502 "), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_nobody_reads_leave_the_connection_to_the_others() {
    let (_runtime, at, socket) = started("").await;
    let asked = asking(at);
    let mut peer = Peer::accept(&socket, &[]).await;
    let mut window = 65_535_u32;
    let stream = loop {
        let frame = peer.frame().await.expect("the connection goes on");
        match (frame.kind, frame.stream) {
            (WINDOW_UPDATE, 0) => {
                window += u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
            }
            (HEADERS, stream) => break stream,
            _ => {}
        }
    };
    // Each response has a window of its own; all of them together have no less than they need.
    assert_eq!(window, (1 << 31) - 1);
    peer.answer(stream, OK).await;
    is(&asked.await.unwrap(), 200);
}
