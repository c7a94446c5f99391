//! Plays the upstream in raw bytes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http::Request;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::http1::BodyError;
use crate::http1::outbox::tests::delivering;

mod switch;

type TestBody = BoxBody<Bytes, BoxError>;

/// Sends a request whose head is not needed afterwards.
pub(in crate::http1) async fn send<I, B, H>(
    connection: Connection<I>,
    request: Request<B>,
    hooks: H,
) -> Result<Response<ResponseBody<I, B, H>>, SendError<B>>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    H: Hooks<I>,
{
    let (mut parts, body) = request.into_parts();
    connection.send(&mut parts, body, hooks).await
}

fn full(text: impl Into<Bytes>) -> TestBody {
    Full::new(text.into())
        .map_err(|never: Infallible| match never {})
        .boxed()
}

fn empty() -> TestBody {
    Empty::new()
        .map_err(|never: Infallible| match never {})
        .boxed()
}

fn frames(list: Vec<Result<http_body::Frame<Bytes>, &'static str>>) -> TestBody {
    let list = list.into_iter().map(|frame| frame.map_err(BoxError::from));
    BodyExt::boxed(StreamBody::new(tokio_stream::iter(list)))
}

fn data(text: &'static str) -> Result<http_body::Frame<Bytes>, &'static str> {
    Ok(http_body::Frame::data(Bytes::from_static(text.as_bytes())))
}

/// Keeps what comes back.
#[derive(Clone, Default)]
struct Pool {
    interims: Rc<RefCell<Vec<u16>>>,
    idle: Rc<RefCell<Option<Connection<DuplexStream>>>>,
}

impl Hooks<DuplexStream> for Pool {
    fn interim(&mut self, status: StatusCode, _: &HeaderMap) {
        self.interims.borrow_mut().push(status.as_u16());
    }

    fn idle(self, connection: Connection<DuplexStream>) {
        *self.idle.borrow_mut() = Some(connection);
    }
}

fn connect(size: usize) -> (Connection<DuplexStream>, DuplexStream) {
    let (client, upstream) = duplex(size);
    (Connection::new(client, ClientConfig::default()), upstream)
}

fn request(
    method: &str,
    fields: &[(&'static str, &'static str)],
    body: TestBody,
) -> Request<TestBody> {
    let mut builder = Request::builder()
        .method(method)
        .uri("/x?y")
        .header("host", "a");
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(body).unwrap()
}

async fn read_until(io: &mut DuplexStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        match io.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => panic!("ended after {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8(text).unwrap()
}

/// What one answer, followed by the end of the connection or not, comes to.
struct Outcome {
    result: Result<(u16, String), String>,
    pooled: bool,
    interims: Vec<u16>,
}

async fn outcome(method: &str, answer: &str, closes: bool) -> Outcome {
    let (connection, mut upstream) = connect(1 << 20);
    let pool = Pool::default();
    upstream.write_all(answer.as_bytes()).await.unwrap();
    if closes {
        upstream.shutdown().await.unwrap();
    }
    let result = match send(connection, request(method, &[], empty()), pool.clone()).await {
        Ok(response) => {
            let status = response.status().as_u16();
            match response.into_body().collect().await {
                Ok(body) => Ok((status, String::from_utf8(body.to_bytes().to_vec()).unwrap())),
                Err(error) => Err(error.to_string()),
            }
        }
        Err(error) => Err(error.to_string()),
    };
    let pooled = pool.idle.borrow().is_some();
    Outcome {
        result,
        pooled,
        interims: pool.interims.take(),
    }
}

/// Method, answer, whether the upstream then closes; status and body; whether it is used again.
type Answered = (&'static str, &'static str, bool, u16, &'static str, bool);

#[rustfmt::skip]
const ANSWERED: &[Answered] = &[
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, 200, "abc", true),
    ("GET", "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", false, 200, "abc", true),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", false, 200, "abc", true),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, "", true),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", false, 200, "abc", true),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", false, 200, "abc", true),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\nabc", false, 200, "abc", false),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", false, 200, "abc", false),
    ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, 200, "abc", false),
    ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc", false, 200, "abc", true),
    ("GET", "HTTP/1.0 200 OK\r\n\r\nabc", true, 200, "abc", false),
    ("GET", "HTTP/1.1 200 OK\r\n\r\nabc", true, 200, "abc", false),
    ("GET", "HTTP/1.1 200 OK\r\n\r\n", true, 200, "", false),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n", false, 200, "abc", true),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: 1\r\n\r\n", false, 200, "abc", true),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false, 200, "abc", false),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, 200, "", true),
    ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, 200, "", true),
    ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", false, 200, "", true),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, 200, "", false),
    ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", false, 204, "", true),
    ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, 304, "", true),
];

#[tokio::test]
async fn every_framing_of_a_response_is_read_to_its_end() {
    for (method, answer, closes, status, body, pooled) in ANSWERED {
        let outcome = outcome(method, answer, *closes).await;
        assert_eq!(
            outcome.result,
            Ok((*status, (*body).to_owned())),
            "{answer:?}"
        );
        assert_eq!(outcome.pooled, *pooled, "{answer:?}");
    }
}

#[rustfmt::skip]
const FAULTY: &[&str] = &[
    "",
    "HTTP/1.1 200 OK\r\nConte",
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
    "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 99 No\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "220 mail.example.com ESMTP\r\n",
];

#[tokio::test]
async fn a_faulty_or_incomplete_response_is_an_error_and_ends_the_connection() {
    for answer in FAULTY {
        let outcome = outcome("GET", answer, true).await;
        assert!(outcome.result.is_err(), "{answer:?}: {:?}", outcome.result);
        assert!(!outcome.pooled, "{answer:?}");
    }
}

#[tokio::test]
async fn interim_responses_are_passed_on_up_to_a_bound() {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let interims = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let relayed = outcome("GET", &format!("{interims}{last}"), false).await;
    assert_eq!(relayed.interims, [100, 103]);
    assert!(relayed.result.is_ok() && relayed.pooled);
    let flood = outcome("GET", &"HTTP/1.1 102 Processing\r\n\r\n".repeat(65), false).await;
    assert!(flood.result.unwrap_err().contains("too many"));
}

#[tokio::test]
async fn a_request_is_framed_as_its_method_and_body_ask() {
    let old = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let head = |method: &str, rest: &str| format!("{method} /x?y HTTP/1.1\r\nhost: a\r\n{rest}");
    let cases = [
        (request("GET", &[], empty()), head("GET", "\r\n")),
        (request("DELETE", &[], empty()), head("DELETE", "\r\n")),
        (
            request("GET", &[("content-length", "0")], empty()),
            head("GET", "content-length: 0\r\n\r\n"),
        ),
        (
            request("POST", &[], empty()),
            head("POST", "content-length: 0\r\n\r\n"),
        ),
        (
            request("PUT", &[], full("abc")),
            head("PUT", "content-length: 3\r\n\r\nabc"),
        ),
        (
            request(
                "PUT",
                &[("content-length", "9"), ("transfer-encoding", "gzip")],
                full("abc"),
            ),
            head("PUT", "content-length: 3\r\n\r\nabc"),
        ),
        (
            request(
                "PUT",
                &[("content-length", "3")],
                frames(vec![data("ab"), data("c")]),
            ),
            head("PUT", "content-length: 3\r\n\r\nabc"),
        ),
        (
            request("GET", &[], frames(vec![data("ab"), data(""), data("c")])),
            head(
                "GET",
                "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            ),
        ),
        (
            request(
                "GET",
                &[("connection", "te, keep-alive"), ("te", "trailers")],
                empty(),
            ),
            head("GET", "te: trailers\r\nconnection: te\r\n\r\n"),
        ),
    ];
    for (request, expected) in cases {
        let (connection, mut upstream) = connect(1 << 16);
        upstream.write_all(old.as_bytes()).await.unwrap();
        let response = send(connection, request, Pool::default()).await.unwrap();
        drop(response);
        let mut sent = String::new();
        upstream.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, expected);
    }
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let (connection, mut upstream) = connect(1 << 16);
    let mut trailers = HeaderMap::new();
    trailers.insert("a", "1".parse().unwrap());
    trailers.insert("content-length", "1".parse().unwrap());
    let body = frames(vec![data("x"), Ok(http_body::Frame::trailers(trailers))]);
    let script = async {
        let sent = read_until(&mut upstream, "0\r\na: 1\r\n\r\n").await;
        assert!(
            sent.ends_with("\r\n\r\n1\r\nx\r\n0\r\na: 1\r\n\r\n"),
            "{sent}"
        );
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nB: 2\r\nHost: x\r\n\r\n";
        upstream.write_all(answer.as_bytes()).await.unwrap();
    };
    let pool = Pool::default();
    let (response, ()) = tokio::join!(
        send(connection, request("GET", &[], body), pool.clone()),
        script
    );
    let body = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap().len(), 1);
    assert_eq!(body.trailers().unwrap()["b"], "2");
    assert!(pool.idle.borrow().is_some());
}

#[tokio::test]
async fn a_connection_is_used_again_and_again() {
    let (connection, mut upstream) = connect(1 << 16);
    let pool = Pool::default();
    *pool.idle.borrow_mut() = Some(connection);
    for n in 0..5 {
        let mut connection = pool.idle.take().unwrap();
        assert!(connection.is_open());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}");
        let script = async {
            read_until(&mut upstream, "\r\n\r\nabc").await;
            upstream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (response, ()) = tokio::join!(
            send(connection, request("PUT", &[], full("abc")), pool.clone()),
            script
        );
        let mut body = response.unwrap().into_body();
        assert!(pool.idle.borrow().is_none(), "still in use");
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), n.to_string());
        assert!(
            pool.idle.borrow().is_some(),
            "back with the last of the body"
        );
        assert!(body.is_end_stream());
    }
    let mut connection = pool.idle.take().unwrap();
    assert!(connection.is_open());
    upstream
        .write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .await
        .unwrap();
    assert!(!connection.is_open());
    let error = send(connection, request("GET", &[], empty()), pool)
        .await
        .unwrap_err();
    assert!(error.is_stale() && error.into_body().is_some());
}

#[tokio::test]
async fn a_closed_connection_is_noticed() {
    let (mut connection, upstream) = connect(1 << 16);
    assert!(connection.is_open());
    drop(upstream);
    assert!(!connection.is_open());
}

#[tokio::test]
async fn a_body_dropped_early_closes_the_connection() {
    let (connection, mut upstream) = connect(1 << 16);
    let pool = Pool::default();
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        .await
        .unwrap();
    let response = send(connection, request("GET", &[], empty()), pool.clone())
        .await
        .unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert!(pool.idle.borrow().is_none());
    read_until(&mut upstream, "\r\n\r\n").await;
    assert_eq!(upstream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stale_connection_gives_the_request_back_while_its_body_is_untouched() {
    let (connection, upstream) = connect(1 << 16);
    drop(upstream);
    let (mut parts, body) = request("GET", &[("x", "y")], empty()).into_parts();
    parts.extensions.insert(7_u8);
    let sent = connection.send(&mut parts, body, Pool::default()).await;
    let error = sent.unwrap_err();
    assert!(error.is_stale() && error.into_body().is_some());
    assert_eq!(
        (parts.uri.path(), &parts.headers["x"]),
        ("/x", &"y".parse().unwrap())
    );
    assert_eq!(parts.extensions.get(), Some(&7_u8));

    // A body that has given nothing yet is still whole.
    let pending = BodyExt::boxed(StreamBody::new(tokio_stream::pending()));
    for (body, returned) in [(pending, true), (full("abc"), false)] {
        let (connection, mut upstream) = connect(1 << 16);
        let sent = request("PUT", &[], body);
        let script = async move { read_until(&mut upstream, "\r\n\r\n").await };
        let (result, _) = tokio::join!(send(connection, sent, Pool::default()), script);
        let error = result.unwrap_err();
        assert!(error.is_stale(), "{error:?}");
        assert_eq!(error.into_body().is_some(), returned);
    }

    let (connection, mut upstream) = connect(1 << 16);
    upstream.write_all(b"H").await.unwrap();
    drop(upstream);
    let error = send(connection, request("GET", &[], empty()), Pool::default())
        .await
        .unwrap_err();
    assert!(!error.is_stale() && error.into_body().is_none());
}

#[tokio::test]
async fn an_early_answer_is_passed_on_and_the_upload_goes_on_beside_it() {
    let (connection, mut upstream) = connect(1000);
    let pool = Pool::default();
    let upload = request("PUT", &[], full(vec![b'x'; 100_000]));
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let response = send(connection, upload, pool.clone()).await.unwrap();
    let script = async {
        read_until(&mut upstream, "\r\n\r\n").await;
        let mut content = vec![0; 100_000];
        upstream.read_exact(&mut content).await.unwrap();
        upstream.write_all(b"4\r\ndone\r\n0\r\n\r\n").await.unwrap();
    };
    let (body, ()) = tokio::join!(response.into_body().collect(), script);
    assert_eq!(body.unwrap().to_bytes(), "done");
    assert!(pool.idle.borrow().is_some());
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_closes_the_connection() {
    let (connection, mut upstream) = connect(1000);
    let pool = Pool::default();
    let upload = request("PUT", &[], full(vec![b'x'; 100_000]));
    upstream
        .write_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        .await
        .unwrap();
    let response = send(connection, upload, pool.clone()).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "no"
    );
    assert!(pool.idle.borrow().is_none());
}

#[tokio::test]
async fn an_answer_is_read_though_writing_fails() {
    let (connection, mut upstream) = connect(1 << 10);
    upstream
        .write_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        .await
        .unwrap();
    drop(upstream);
    let upload = request("PUT", &[], full(vec![b'x'; 100_000]));
    let response = send(connection, upload, Pool::default()).await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn a_failing_request_body_fails_the_exchange() {
    for body in [
        frames(vec![data("abc"), Err("broken")]),
        frames(vec![data("abc")]),
    ] {
        let (connection, mut upstream) = connect(1 << 16);
        let sent = request("PUT", &[("content-length", "4")], body);
        let error = send(connection, sent, Pool::default()).await.unwrap_err();
        assert!(
            matches!(error.kind(), SendErrorKind::RequestBody(_)),
            "{error:?}"
        );
        assert!(!error.is_stale());
        let mut sent = Vec::new();
        upstream.read_to_end(&mut sent).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_held_back_for_the_100_but_not_for_ever() {
    let expecting = || request("PUT", &[("expect", "100-continue")], full("abc"));
    // The 100 releases it.
    let (connection, mut upstream) = connect(1 << 16);
    let begun = Instant::now();
    let script = async {
        read_until(&mut upstream, "\r\n\r\n").await;
        upstream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut upstream, "abc").await;
        assert!(begun.elapsed() < Duration::from_millis(900));
        upstream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
    };
    let pool = Pool::default();
    let (response, ()) = tokio::join!(send(connection, expecting(), pool.clone()), script);
    response.unwrap();
    assert!(pool.idle.borrow().is_some());
    // So does time.
    let (connection, mut upstream) = connect(1 << 16);
    let begun = Instant::now();
    let script = async {
        read_until(&mut upstream, "abc").await;
        assert!(begun.elapsed() >= Duration::from_secs(1));
        upstream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
    };
    let (response, ()) = tokio::join!(send(connection, expecting(), Pool::default()), script);
    response.unwrap();
    // A final answer makes it moot.
    let (connection, mut upstream) = connect(1 << 16);
    let pool = Pool::default();
    upstream
        .write_all(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    send(connection, expecting(), pool.clone()).await.unwrap();
    assert!(pool.idle.borrow().is_none());
    let mut sent = String::new();
    upstream.read_to_string(&mut sent).await.unwrap();
    assert!(sent.ends_with("\r\n\r\n"), "{sent}");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error_of_its_body() {
    let (connection, mut upstream) = connect(1 << 16);
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        .await
        .unwrap();
    drop(upstream);
    let response = send(connection, request("GET", &[], empty()), Pool::default())
        .await
        .unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(10));
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "abc"
    );
    assert!(matches!(
        body.frame().await,
        Some(Err(BodyError::Incomplete))
    ));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_request_given_up_before_it_is_written_is_never_sent() {
    let (connection, mut upstream) = connect(1 << 16);
    delivering(async {
        let (mut parts, body) = request("GET", &[], empty()).into_parts();
        let mut sending = Box::pin(connection.send(&mut parts, body, ()));
        assert!(futures_util::poll!(sending.as_mut()).is_pending());
        drop(sending);
        let mut sent = String::new();
        upstream.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "");
    })
    .await;
}

#[tokio::test]
async fn requests_of_one_turn_are_written_after_the_last_of_them_was_made() {
    let (first, mut first_upstream) = connect(1 << 16);
    let (second, _second_upstream) = connect(1 << 16);
    delivering(async {
        let (mut parts, body) = request("GET", &[], empty()).into_parts();
        let mut sending = Box::pin(first.send(&mut parts, body, ()));
        assert!(futures_util::poll!(sending.as_mut()).is_pending());
        let (mut parts, body) = request("GET", &[], empty()).into_parts();
        let mut other = Box::pin(second.send(&mut parts, body, ()));
        assert!(futures_util::poll!(other.as_mut()).is_pending());
        let mut byte = [0];
        let mut read = Box::pin(first_upstream.read(&mut byte));
        assert!(futures_util::poll!(read.as_mut()).is_pending());
        assert_eq!(read.await.unwrap(), 1);
    })
    .await;
}
