//! Clients that take their time: each has the time it is given, and then no place any more.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::Subject;
use crate::support::{
    Authority, PATIENCE, Proxy, Server, documents,
    frames::{self, Frame, PREFACE, Raw, code, flag, headers, kind, request, setting, settings},
};

/// How many at once.
const MANY: usize = 200;
/// What each may cost, and all of them beside that.
const EACH: u64 = 128 << 10;
const MOST: u64 = (16 << 20) + MANY as u64 * EACH;

/// A byte now and then.
const DRIP: Duration = Duration::from_millis(100);

fn quick() -> Value {
    json!({"idle_timeout": "2s", "limits": {"header_timeout": "1s"}})
}

/// Sends `first`, then a byte of `drip` now and then until the proxy has had enough of it; what it
/// says.
async fn dripping(subject: &Subject, first: &str, drip: u8) -> String {
    let mut stream = TcpStream::connect(subject.web).await.expect("a connection");
    stream.write_all(first.as_bytes()).await.expect("sent");
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let send = async {
        let mut ticks = tokio::time::interval(DRIP);
        loop {
            ticks.tick().await;
            let _ = write.write_all(&[drip]).await;
        }
    };
    let hear = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer));
    tokio::select! {
        heard = hear => { let _ = heard.expect("it is ended in time"); }
        () = send => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_over_http1_have_the_time_of_the_listener() {
    let subject = Subject::start(quick(), &json!({})).await;
    let first = "GET / HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let all = join_all((0..MANY).map(|_| dripping(&subject, first, b'a')));
    let answers = subject.during("slow heads over HTTP/1", MOST, all).await;
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_over_http2_have_it_too() {
    let subject = Subject::start(quick(), &json!({})).await;
    let whole = headers(1, flag::WHOLE, &request("GET", "/"));
    let open = headers(1, flag::END_STREAM, &request("GET", "/"));
    let parts = [&whole[..12], &open];
    let one = async |bytes: &[u8]| {
        let mut raw = Raw::connect(subject.web).await;
        raw.send(bytes).await;
        raw.goaway().await
    };
    let all = join_all((0..MANY).map(|n| one(parts[n % 2])));
    let said = subject.during("slow heads over HTTP/2", MOST, all).await;
    assert_eq!(said, vec![Some(code::ENHANCE_YOUR_CALM); MANY]);
    subject.ended("slow_head", MANY as u64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_have_the_times_of_their_route() {
    // Bytes that come now and then reset the one clock, and not the other.
    let clocks = json!({"timeout": "2s", "idle_timeout": "1s"});
    let subject = Subject::start(quick(), &clocks).await;
    let first = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n";
    let all = join_all((0..MANY).map(|_| dripping(&subject, first, b'a')));
    let answers = subject.during("slow bodies over HTTP/1", MOST, all).await;
    for answer in answers {
        assert!(
            answer.starts_with("HTTP/1.1 504 ") || answer.starts_with("HTTP/1.1 408 "),
            "{answer}"
        );
    }
    let stalled = async || {
        let mut raw = Raw::connect(subject.web).await;
        let mut bytes = Vec::new();
        for stream in [1, 3, 5] {
            bytes.extend(headers(stream, flag::END_HEADERS, &request("POST", "/")));
            bytes.extend(frames::data(stream, 0, b"some"));
        }
        raw.send(&bytes).await;
        let mut statuses = Vec::new();
        while statuses.len() < 3 {
            let status = raw.until(|frame| frame.status().is_some()).await;
            statuses.push(status.and_then(|frame| frame.status()));
        }
        statuses
    };
    let all = join_all((0..MANY).map(|_| stalled()));
    let answers = subject.during("slow bodies over HTTP/2", MOST, all).await;
    for answer in answers {
        assert!(
            answer
                .iter()
                .all(|status| matches!(status, Some(504 | 408))),
            "{answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_nobody_reads_have_the_times_of_their_route() {
    let clocks = json!({"timeout": "2s", "idle_timeout": "1s"});
    let subject = Subject::start(quick(), &clocks).await;
    // No window, so that nothing of a body can be sent: all that is asked for waits.
    let unread = async |path: &str| {
        let mut raw = Raw::connect(subject.web).await;
        raw.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]))
            .await;
        let mut bytes = Vec::new();
        for n in 0..100 {
            bytes.extend(headers(2 * n + 1, flag::WHOLE, &request("GET", path)));
        }
        raw.send(&bytes).await;
        let mut reset = 0;
        while let Some(frame) = raw.next().await {
            reset += u32::from(frame.kind == kind::RST_STREAM);
        }
        reset
    };
    for (what, path) in [("forwarded", "/"), ("fixed", "/fixed")] {
        let what = format!("{what} responses nobody reads");
        let all = join_all((0..20).map(|_| unread(path)));
        let most = MOST + 20 * 100 * (64 << 10);
        let resets = subject.during(&what, most, all).await;
        println!("{what}: {resets:?}");
        assert!(
            resets.iter().all(|number| *number > 0),
            "{what}: {resets:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_on_which_http2_never_begins_or_rests_are_closed() {
    let ca = Authority::new("Test CA");
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut listener = documents::listener("web");
    listener["http"] = json!({"idle_timeout": "1s"});
    listener["tls"] = json!({"certificates": ["api"]});
    let secret = ca.issue(&["api.example.com"]).secret("api");
    let hello = documents::respond("hello", "/", "hello");
    server
        .client()
        .commit_live(&[secret, listener, hello], 1)
        .await;
    let web = proxy.listener("web").await;
    // Agreed on in the handshake, so that nothing has to be read to know.
    let config = ca.client_config_speaking(true);
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let none = settings(&[]);
    for sent in [&[][..], PREFACE, &[PREFACE, &none].concat()] {
        let stream = TcpStream::connect(web).await.expect("a connection");
        let name = "api.example.com".try_into().expect("a name");
        let stream = connector.connect(name, stream).await.expect("a handshake");
        let mut raw = Raw::over(stream);
        raw.send(sent).await;
        let ended = raw.until(|_| false).await;
        assert!(ended.is_none(), "{ended:?}");
    }
}

/// A connection with nothing but requests that have their answer is told to end, and has the time
/// to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_told_to_end_and_does_not_is_ended() {
    let subject = Subject::start(quick(), &json!({})).await;
    let mut raw = Raw::connect(subject.web).await;
    assert_eq!(raw.get(1, "/fixed").await, Some(200));
    let told = raw.until(|frame: &Frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(told.and_then(|frame| frame.code()), Some(0));
    // It answers no PING, which the proxy waits for before it closes.
    assert!(raw.until(|_| false).await.is_none());
}
