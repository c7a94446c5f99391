//! Responses that wait to be written with others.

use std::io;

use tokio::io::{BufWriter, ReadBuf};

use super::*;

/// Takes down each write.
struct Noting {
    io: DuplexStream,
    notes: Rc<RefCell<Vec<&'static str>>>,
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.notes.borrow_mut().push("written");
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// As connections without TLS are served.
fn in_the_clear() -> ServerConfig {
    ServerConfig {
        close_notify: false,
        half_close: true,
        ..ServerConfig::default()
    }
}

const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn responses_made_in_one_turn_are_written_after_the_last_of_them() {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let (drain, config) = (Drain::new(), in_the_clear());
    let service = |_| {
        notes.borrow_mut().push("answered");
        std::future::ready(Response::new(full("here")))
    };
    let one = async || {
        let (mut client, io) = duplex(1 << 16);
        client.write_all(LAST).await.unwrap();
        let notes = Rc::clone(&notes);
        let served = super::super::serve(Noting { io, notes }, &config, drain.watch(), service);
        served.await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\r\n\r\nhere"), "{answer}");
    };
    delivering(async { tokio::join!(one(), one(), one()) }).await;
    let expected = [["answered"; 3], ["written"; 3]].concat();
    assert_eq!(*notes.borrow(), expected);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_read_has_the_time_of_any_other() {
    for input in [LAST, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let (mut client, server) = duplex(64);
        let (drain, config) = (Drain::new(), in_the_clear());
        let begun = Instant::now();
        client.write_all(input).await.unwrap();
        let served = serve(server, &config, drain.watch(), echo).await;
        assert!(matches!(served, Err(ConnectionError::WriteTimeout)));
        let lasted = begun.elapsed();
        assert!(lasted >= config.write_timeout, "{lasted:?}");
        assert!(lasted < config.write_timeout * 2, "{lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_read_late_comes_whole_and_so_does_the_next() {
    let (mut client, server) = duplex(64);
    let (drain, config) = (Drain::new(), in_the_clear());
    let script = async {
        client
            .write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        tokio::time::sleep(config.write_timeout / 2).await;
        read_until(&mut client, "GET /1 a []").await;
        client.write_all(LAST).await.unwrap();
        tokio::time::sleep(config.write_timeout / 2).await;
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.ends_with("GET / a []"), "{rest}");
    };
    let (served, ()) = tokio::join!(serve(server, &config, drain.watch(), echo), script);
    served.unwrap();
}

#[tokio::test]
async fn one_whose_client_is_gone_ends_its_connection() {
    for input in [LAST, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let (mut client, server) = duplex(1 << 16);
        let (drain, config) = (Drain::new(), in_the_clear());
        client.write_all(input).await.unwrap();
        let client = Cell::new(Some(client));
        let service = |_| {
            drop(client.take());
            std::future::ready(Response::new(full("for nobody")))
        };
        let served = serve(server, &config, drain.watch(), service).await;
        assert!(matches!(served, Err(ConnectionError::ClientGone)));
    }
}

#[tokio::test]
async fn one_before_another_protocol_comes_before_it() {
    let (mut client, server) = duplex(1 << 16);
    let (drain, config) = (Drain::new(), in_the_clear());
    let service = |_| std::future::ready(Response::new(empty()));
    let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nCONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nfirst";
    client.write_all(input).await.unwrap();
    let served = serve(server, &config, drain.watch(), service).await;
    let (switched, _) = served.unwrap().expect("a tunnel");
    assert_eq!(&*switched.read, b"first");
    drop(switched);
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(
        answers.matches("HTTP/1.1 200 OK\r\n").count(),
        2,
        "{answers}"
    );
}

#[tokio::test]
async fn only_the_last_before_the_end_is_written_as_the_last() {
    let kept: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let more = [LAST, b"more"].concat();
    for (input, expected) in [
        (LAST, &["last"][..]),
        (kept, &["written"]),
        // Closing with something unread would be a reset.
        (&more, &["written"]),
        (&[kept, LAST].concat(), &["last"]),
    ] {
        let (mut client, io) = duplex(1 << 16);
        client.write_all(input).await.unwrap();
        client.shutdown().await.unwrap();
        let notes = Rc::new(RefCell::new(Vec::new()));
        let noting = Noting {
            io,
            notes: Rc::clone(&notes),
        };
        let transport = Transport {
            abort: |_: &mut Noting| {},
            write_last: |noting: &mut Noting, cx, bytes| {
                noting.notes.borrow_mut().push("last");
                Pin::new(&mut noting.io).poll_write(cx, bytes)
            },
            is_unregistered: |_: &Noting| false,
            plain: |_: &Noting| None,
        };
        let (drain, config) = (Drain::new(), in_the_clear());
        let service = |_| std::future::ready(Response::new(full("here")));
        let served = serve_with(noting, config.clone(), drain.watch(), transport, service);
        delivering(served).await.unwrap();
        assert_eq!(*notes.borrow(), expected, "{}", input.escape_ascii());
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert!(answers.ends_with("\r\n\r\nhere"), "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_the_transport_keeps_is_flushed_once_it_can_be() {
    let (mut client, io) = duplex(64);
    // As TLS does, it takes whatever is written, and hands it on when it is flushed.
    let keeping = BufWriter::new(io);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let begun = Instant::now();
    let script = async {
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(get).await.unwrap();
        read_until(&mut client, "GET / a []").await;
        // Not only with the end of the connection.
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(client);
    };
    let (served, ()) = tokio::join!(serve(keeping, &config, drain.watch(), echo), script);
    served.unwrap();
}

#[tokio::test]
async fn requests_that_are_answered_at_once_leave_others_their_turn() {
    let (mut client, server) = duplex(1 << 20);
    let many = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    client.write_all(&many).await.unwrap();
    let answered = Cell::new(0);
    let service = |_| {
        answered.set(answered.get() + 1);
        std::future::ready(Response::new(empty()))
    };
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let mut serving = Box::pin(serve(server, &config, drain.watch(), service));
    assert!(futures_util::poll!(serving.as_mut()).is_pending());
    assert!((1..500).contains(&answered.get()), "{}", answered.get());
}
