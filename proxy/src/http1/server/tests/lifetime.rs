//! When connections end: timeouts, drains, and clients that leave.

use std::future::pending;

use tokio::io::ReadBuf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Tells when it is dropped.
struct Guard<'a>(&'a Notify);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_in_time_and_in_silence() {
    let (mut client, server) = duplex(1 << 16);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let begun = Instant::now();
    let script = async {
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(50)).await;
            client.write_all(GET).await.unwrap();
            read_until(&mut client, "GET / a []").await;
        }
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    };
    let (ended, ()) = tokio::join!(serve(server, &config, drain.watch(), echo), script);
    ended.unwrap();
    let lasted = begun.elapsed().as_secs();
    assert!((225..=226).contains(&lasted), "{lasted}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_takes_too_long_is_answered_with_408() {
    let (mut client, server) = duplex(1 << 16);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let begun = Instant::now();
    let script = async move {
        client.write_all(GET).await.unwrap();
        read_until(&mut client, "GET / a []").await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
        assert!(rest.contains("\r\nconnection: close\r\n"), "{rest}");
        begun.elapsed()
    };
    let (ended, lasted) = tokio::join!(serve(server, &config, drain.watch(), echo), script);
    assert!(matches!(ended, Err(ConnectionError::HeadTimeout)));
    assert!((10..=11).contains(&lasted.as_secs()), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_answered_with_408() {
    let framings = [
        "Content-Length: 9\r\n\r\na",
        "Transfer-Encoding: chunked\r\n\r\n9\r\na",
    ];
    for framing in framings {
        let (mut client, server) = duplex(1 << 16);
        let (drain, config) = (Drain::new(), ServerConfig::default());
        let begun = Instant::now();
        let script = async move {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}");
            client.write_all(head.as_bytes()).await.unwrap();
            // Every byte is progress.
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                client.write_all(b"b").await.unwrap();
            }
            read_until(&mut client, "HTTP/1.1 408 ").await;
            begun.elapsed().as_secs()
        };
        let (ended, lasted) = tokio::join!(serve(server, &config, drain.watch(), echo), script);
        assert!(matches!(ended, Err(ConnectionError::BodyTimeout)));
        assert!((210..=211).contains(&lasted), "{lasted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_beside_its_response_breaks_that_off() {
    let (mut client, server) = duplex(1 << 16);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na";
    client.write_all(head).await.unwrap();
    let service = async |request: Request<RequestBody>| Response::new(request.into_body());
    let ended = serve(server, &config, drain.watch(), service).await;
    assert!(matches!(ended, Err(ConnectionError::BodyTimeout)));
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\na"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_dropped() {
    let (mut client, server) = duplex(1000);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    client.write_all(GET).await.unwrap();
    let service = async |_| Response::new(full(vec![b'x'; 5000]));
    let ended = serve(server, &config, drain.watch(), service).await;
    assert!(matches!(ended, Err(ConnectionError::WriteTimeout)));
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_lets_busy_ones_finish() {
    let drain = Drain::new();
    let config = ServerConfig::default();
    let (mut idle, idle_server) = duplex(1 << 16);
    let (mut busy, busy_server) = duplex(1 << 16);
    let (started, finish) = (Notify::new(), Notify::new());
    let slow = async |_| {
        started.notify_one();
        finish.notified().await;
        Response::new(full("done"))
    };
    let script = async {
        idle.write_all(GET).await.unwrap();
        read_until(&mut idle, "GET / a []").await;
        busy.write_all(GET).await.unwrap();
        started.notified().await;
        drain.start();
        let mut rest = String::new();
        idle.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "");
        finish.notify_one();
        busy.read_to_string(&mut rest).await.unwrap();
        assert!(rest.contains("\r\nconnection: close\r\n"), "{rest}");
        assert!(rest.ends_with("\r\n\r\ndone"), "{rest}");
    };
    let (first, second, ()) = tokio::join!(
        serve(idle_server, &config, drain.watch(), echo),
        serve(busy_server, &config, drain.watch(), slow),
        script,
    );
    first.unwrap();
    second.unwrap();
}

#[tokio::test]
async fn a_request_that_crosses_the_beginning_of_a_drain_is_answered() {
    let (mut client, server) = duplex(1 << 16);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let script = async {
        client.write_all(GET).await.unwrap();
        read_until(&mut client, "GET / a []").await;
        drain.start();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        client.write_all(GET).await.unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.contains("\r\nconnection: close\r\n"), "{rest}");
        assert!(rest.ends_with("GET / a []"), "{rest}");
    };
    let (ended, ()) = tokio::join!(serve(server, &config, drain.watch(), echo), script);
    ended.unwrap();
}

/// A pair of connected TCP sockets.
async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (client.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn a_client_that_leaves_has_its_service_dropped() {
    let heads: [&[u8]; 3] = [
        GET,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    ];
    for head in heads {
        for reset in [false, true] {
            for reads in [false, true] {
                let (mut client, server) = tcp().await;
                // A reset is an end even where half-closed clients are answered.
                let config = ServerConfig {
                    half_close: reset,
                    ..ServerConfig::default()
                };
                let drain = Drain::new();
                let (started, dropped) = (Notify::new(), Notify::new());
                let service = async |request: Request<RequestBody>| -> Response<TestBody> {
                    let _guard = Guard(&dropped);
                    started.notify_one();
                    let mut body = request.into_body();
                    if reads {
                        let _ = body.frame().await;
                    }
                    pending().await
                };
                let script = async {
                    client.write_all(head).await.unwrap();
                    started.notified().await;
                    if reset {
                        client.set_zero_linger().unwrap();
                    }
                    drop(client);
                    dropped.notified().await;
                };
                let (ended, ()) =
                    tokio::join!(serve(server, &config, drain.watch(), service), script);
                assert!(
                    matches!(ended, Err(ConnectionError::ClientGone)),
                    "{ended:?}"
                );
            }
        }
    }
}

/// How long it takes until a client that leaves right behind its request is missed, if its connection would
/// have to be registered to see that.
async fn missed_after(request: &[u8]) -> Duration {
    let (mut client, server) = duplex(1 << 16);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let transport = Transport {
        abort: |_: &mut DuplexStream| {},
        write_last: |io: &mut DuplexStream, cx, bytes| Pin::new(io).poll_write(cx, bytes),
        is_unregistered: |_: &DuplexStream| true,
        plain: |_: &DuplexStream| None,
    };
    client.write_all(request).await.unwrap();
    drop(client);
    let left = Instant::now();
    let service = |_| pending::<Response<TestBody>>();
    let ended = serve_with(server, config.clone(), drain.watch(), transport, service).await;
    assert!(matches!(ended, Err(ConnectionError::ClientGone)));
    left.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_behind_its_last_request_is_missed_a_moment_later() {
    assert_eq!(missed_after(LAST).await, Duration::ZERO);
    let served = async {
        assert_eq!(missed_after(GET).await, Duration::ZERO);
        let (one, other) = tokio::join!(missed_after(LAST), missed_after(LAST));
        let moment = Duration::from_millis(10)..Duration::from_millis(25);
        assert!(moment.contains(&one) && moment.contains(&other));
    };
    tokio::select! {
        biased;
        () = crate::http1::keep_ending_moments() => {}
        () = served => {}
    }
}

#[tokio::test]
async fn a_client_that_leaves_has_its_response_dropped() {
    let (mut client, server) = tcp().await;
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let service = async |_| {
        let first = tokio_stream::once(Ok::<_, BoxError>(http_body::Frame::data(Bytes::from(
            "abc",
        ))));
        let rest = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
        Response::new(StreamBody::new(rest))
    };
    let script = async {
        client.write_all(GET).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"abc\r\n") {
            seen.push(client.read_u8().await.unwrap());
        }
        drop(client);
    };
    let (ended, ()) = tokio::join!(serve(server, &config, drain.watch(), service), script);
    let ended = ended.map(|_| ());
    assert!(
        matches!(ended, Err(ConnectionError::ClientGone)),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_half_closed_client_is_answered_only_if_so_configured() {
    let requests: [&[u8]; 3] = [
        GET,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabc",
    ];
    for (half_close, request) in [false, true]
        .into_iter()
        .flat_map(|half| requests.map(|r| (half, r)))
    {
        let (mut client, server) = duplex(1 << 16);
        let drain = Drain::new();
        let config = ServerConfig {
            half_close,
            ..ServerConfig::default()
        };
        client.write_all(request).await.unwrap();
        client.shutdown().await.unwrap();
        let service = async |request: Request<RequestBody>| {
            tokio::task::yield_now().await;
            match request.into_body().collect().await {
                Ok(_) => Response::new(full("answer")),
                Err(error) => Response::new(full(format!("no answer: {error}"))),
            }
        };
        let ended = serve(server, &config, drain.watch(), service).await;
        assert_eq!(ended.is_ok(), half_close, "{ended:?}");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.contains("answer"), half_close);
        let incomplete = half_close && request.ends_with(b"4\r\n\r\nabc");
        assert_eq!(answer.contains("no answer"), incomplete, "{answer}");
    }
}

#[tokio::test]
async fn a_refused_client_that_still_sends_can_read_the_answer() {
    let (mut client, server) = tcp().await;
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let script = async {
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
            .await
            .unwrap();
        for _ in 0..100 {
            client.write_all(&[b'x'; 10_000]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    };
    let (ended, ()) = tokio::join!(serve(server, &config, drain.watch(), echo), script);
    assert!(matches!(ended, Err(ConnectionError::Refused(_))));
}

#[tokio::test]
async fn a_body_read_in_another_task_gets_its_bytes() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let (mut client, server) = duplex(64);
            let (drain, config) = (Drain::new(), ServerConfig::default());
            let service = async |request: Request<RequestBody>| {
                let reader = tokio::task::spawn_local(request.into_body().collect());
                Response::new(full(reader.await.unwrap().unwrap().to_bytes()))
            };
            let script = async {
                let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 300\r\n\r\n";
                client.write_all(head).await.unwrap();
                read_until(&mut client, "100 Continue\r\n\r\n").await;
                for _ in 0..3 {
                    client.write_all(&[b'x'; 100]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                read_until(&mut client, &"x".repeat(300)).await;
                client.shutdown().await.unwrap();
            };
            let (ended, ()) = tokio::join!(serve(server, &config, drain.watch(), service), script);
            ended.unwrap();
        })
        .await;
}

#[tokio::test]
async fn what_outlives_its_exchange_is_void() {
    let kept = RefCell::new(Vec::new());
    let input = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                 POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let (answer, _) = talk(
        &half_closing(),
        input.as_bytes(),
        async |request: Request<RequestBody>| {
            let earlier = kept.borrow_mut().pop();
            if let Some(mut earlier) = earlier {
                let earlier: &mut RequestBody = &mut earlier;
                let late = earlier
                    .interim()
                    .send(StatusCode::EARLY_HINTS, &http::HeaderMap::new());
                assert_eq!(late, Err(InterimError::Late));
                let gone = earlier.frame().await.unwrap();
                assert!(matches!(gone, Err(crate::http1::BodyError::Gone)));
            }
            kept.borrow_mut().push(request.into_body());
            Response::new(full("answer"))
        },
    )
    .await;
    assert_eq!(answer.matches("answer").count(), 2);
}

/// A client that sends on and on, always faster than it is read, and takes whatever it is sent.
struct Endless {
    first: &'static [u8],
    reads: Rc<Cell<u32>>,
}

impl Endless {
    /// So many reads are without end.
    const MOST: u32 = 5_000_000;
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.set(self.reads.get() + 1);
        if !self.first.is_empty() {
            buffer.put_slice(std::mem::take(&mut self.first));
        } else if self.reads.get() < Self::MOST {
            buffer.put_slice(b"more");
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_client_that_sends_without_a_pause_is_read_on_for_the_time_to_linger_only() {
    let reads = Rc::<Cell<u32>>::default();
    let client = Endless {
        first: b"no request\r\n\r\n",
        reads: reads.clone(),
    };
    let config = ServerConfig {
        linger_timeout: Duration::from_millis(10),
        ..ServerConfig::default()
    };
    let served = serve(client, &config, Drain::new().watch(), echo).await;
    assert!(served.is_err());
    assert!(reads.get() > 1 && reads.get() < Endless::MOST);
}

/// A client that sends this, waits, and notes whether its connection was flushed, and shut down
/// before its end, if it can be.
struct Waiting {
    first: &'static [u8],
    flushed: Rc<Cell<bool>>,
    shut: Rc<Cell<bool>>,
    ends: bool,
}

impl AsyncRead for Waiting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() && !self.shut.get() {
            return Poll::Pending;
        }
        // Once it is told of the end, it ends its side too.
        buffer.put_slice(std::mem::take(&mut self.first));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Waiting {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed.set(true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ends {
            return Poll::Pending;
        }
        self.shut.set(true);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_connection_is_shut_down_where_that_says_more_than_closing_it() {
    for (first, close_notify, expected) in [
        (LAST, true, true),
        (LAST, false, false),
        // What it still sends is read, so that the answer is not lost.
        (b"no request\r\n\r\n", false, true),
    ] {
        let shut = Rc::<Cell<bool>>::default();
        let client = Waiting {
            first,
            flushed: Rc::default(),
            shut: shut.clone(),
            ends: true,
        };
        let config = ServerConfig {
            close_notify,
            ..ServerConfig::default()
        };
        let served = serve(client, &config, Drain::new().watch(), echo).await;
        assert_eq!(served.is_ok(), first == LAST);
        assert_eq!(shut.get(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_connection_takes_a_small_response_along_and_is_waited_for_as_long() {
    const OLD: &[u8] = b"GET / HTTP/1.0\r\nhost: a\r\n\r\n";
    let config = ServerConfig::default();
    for (first, size, along) in [
        (LAST, 1000, true),
        (LAST, 100_000, false),
        (OLD, 1000, false),
    ] {
        let flushed = Rc::<Cell<bool>>::default();
        let client = Waiting {
            first,
            flushed: flushed.clone(),
            shut: Rc::default(),
            ends: false,
        };
        let service = |_: Request<RequestBody>| async move {
            let bytes = Bytes::from(vec![b'x'; size]);
            let body: TestBody = match first {
                // Without a length the end of the connection is that of the response.
                OLD => {
                    let chunk = Ok(http_body::Frame::data(bytes));
                    BodyExt::boxed(StreamBody::new(tokio_stream::iter([chunk])))
                }
                _ => full(bytes),
            };
            Response::new(body)
        };
        let begun = Instant::now();
        let served = serve(client, &config, Drain::new().watch(), service).await;
        assert_eq!(flushed.get(), !along);
        let (within, lost) = match along {
            true => (config.write_timeout, true),
            false => (config.linger_timeout, false),
        };
        assert_eq!(begun.elapsed(), within);
        let is_lost = matches!(served, Err(ConnectionError::WriteTimeout));
        assert_eq!(is_lost, lost, "{size}");
    }
}
