//! Both sides together: random messages over random splits, and a proxy made of the two.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::client::tests::send;
use super::outbox::tests::delivering;
use super::*;

mod passing;

/// A message body as it is framed on the wire.
#[derive(Debug, Clone)]
enum Framed {
    None,
    Length(Vec<u8>),
    /// Chunks with their extensions, and trailers.
    Chunked(Vec<(Vec<u8>, String)>, Vec<(String, String)>),
}

impl Framed {
    fn content(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Length(bytes) => bytes.clone(),
            Self::Chunked(chunks, _) => {
                chunks.iter().flat_map(|(chunk, _)| chunk.clone()).collect()
            }
        }
    }

    fn trailers(&self) -> Vec<(String, String)> {
        match self {
            Self::Chunked(_, trailers) => trailers.clone(),
            _ => Vec::new(),
        }
    }

    /// Appends the framing field, the empty line and the body.
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(b"\r\n"),
            Self::Length(bytes) => {
                out.extend_from_slice(
                    format!("Content-Length: {}\r\n\r\n", bytes.len()).as_bytes(),
                );
                out.extend_from_slice(bytes);
            }
            Self::Chunked(chunks, trailers) => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for (chunk, extension) in chunks {
                    out.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
                    out.extend_from_slice(chunk);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

type Fields = Vec<(String, String)>;

fn fields() -> impl Strategy<Value = Fields> {
    vec(("x-[a-z0-9]{1,8}", "([!-~]([ -~]{0,20}[!-~])?)?"), 0..8)
}

fn framed() -> impl Strategy<Value = Framed> {
    let bytes = || vec(any::<u8>(), 1..300);
    let chunk = (bytes(), "(;[a-z]{1,5}(=\"[a-z;, ]{0,9}\")?)?");
    prop_oneof![
        Just(Framed::None),
        vec(any::<u8>(), 0..2000).prop_map(Framed::Length),
        (vec(chunk, 0..6), fields())
            .prop_map(|(chunks, trailers)| Framed::Chunked(chunks, trailers)),
    ]
}

/// Pieces of `bytes` as long as `splits` say, in turn.
fn split<'a>(bytes: &'a [u8], splits: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for length in splits.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn listed(headers: &HeaderMap) -> Fields {
    let mut list: Fields = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    list.sort();
    list
}

fn sorted(mut fields: Fields) -> Fields {
    fields.sort();
    fields
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(delivering(future))
}

/// What was parsed: target, fields, content, trailers.
type Seen = (String, Fields, Vec<u8>, Fields);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn requests_are_the_same_however_they_are_split(
        messages in vec(("/[a-z0-9/]{0,20}", fields(), framed()), 1..4),
        splits in vec(1_usize..60, 1..10),
    ) {
        let mut wire = Vec::new();
        let mut sent: Vec<Seen> = Vec::new();
        for (path, fields, framed) in &messages {
            wire.extend_from_slice(format!("POST {path} HTTP/1.1\r\nHost: a\r\n").as_bytes());
            for (name, value) in fields {
                wire.extend_from_slice(format!("{name}:\t{value} \r\n").as_bytes());
            }
            framed.put(&mut wire);
            sent.push((path.clone(), sorted(fields.clone()), framed.content(), sorted(framed.trailers())));
        }
        let seen = RefCell::new(Vec::<Seen>::new());
        run(async {
            let (mut client, server) = duplex(1 << 16);
            let config = ServerConfig { half_close: true, ..ServerConfig::default() };
            let service = async |request: Request<RequestBody>| {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap();
                let trailers = body.trailers().map(listed).unwrap_or_default();
                seen.borrow_mut().push((
                    parts.uri.to_string(), listed(&parts.headers), body.to_bytes().to_vec(), trailers,
                ));
                Response::new(http_body_util::Empty::<Bytes>::new())
            };
            let script = async {
                for piece in split(&wire, &splits) {
                    client.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                client.shutdown().await.unwrap();
            };
            let drain = Drain::new();
            let (ended, ()) = tokio::join!(serve(server, &config, drain.watch(), service), script);
            ended.unwrap();
        });
        prop_assert_eq!(seen.into_inner(), sent);
    }

    #[test]
    fn responses_are_the_same_however_they_are_split(
        fields in fields(),
        framed in framed(),
        splits in vec(1_usize..60, 1..10),
    ) {
        let mut wire = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (name, value) in &fields {
            wire.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        }
        framed.put(&mut wire);
        let (parts, content, trailers) = run(async {
            let (client, mut upstream) = duplex(1 << 16);
            let script = async {
                for piece in split(&wire, &splits) {
                    upstream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                drop(upstream);
            };
            let exchange = async {
                let request = Request::builder().uri("/").header("host", "a");
                let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
                let connection = Connection::new(client, ClientConfig::default());
                let response = send(connection, request, ()).await.unwrap();
                let (parts, body) = response.into_parts();
                let body = body.collect().await.unwrap();
                let trailers = body.trailers().map(listed).unwrap_or_default();
                (parts, body.to_bytes().to_vec(), trailers)
            };
            tokio::join!(exchange, script).0
        });
        prop_assert_eq!(listed(&parts.headers), sorted(fields));
        prop_assert_eq!(content, framed.content());
        prop_assert_eq!(trailers, sorted(framed.trailers()));
    }

    #[test]
    fn no_bytes_make_the_server_panic_or_hang(noise in vec(any::<u8>(), 0..200), at in 0_usize..80) {
        let mut wire = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec();
        let at = at.min(wire.len());
        wire.splice(at..at, noise);
        run(async {
            let (mut client, server) = duplex(1 << 16);
            client.write_all(&wire).await.unwrap();
            client.shutdown().await.unwrap();
            let service = async |request: Request<RequestBody>| {
                let content = request.into_body().collect().await.map(|body| body.to_bytes());
                Response::new(Full::new(content.unwrap_or_default()))
            };
            let _ = serve(server, &ServerConfig::default(), Drain::new().watch(), service).await;
        });
    }
}

/// A pool of one connection, which relays interim responses.
struct Relay {
    interim: Interim,
    idle: Rc<RefCell<Option<Connection<TcpStream>>>>,
}

impl Hooks<TcpStream> for Relay {
    fn interim(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.interim.send(status, headers).unwrap();
    }

    fn idle(self, connection: Connection<TcpStream>) {
        *self.idle.borrow_mut() = Some(connection);
    }
}

/// Counts the calls that would be system calls.
struct Counting {
    io: TcpStream,
    calls: Rc<Cell<(u32, u32)>>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let (reads, writes) = self.calls.get();
        self.calls
            .set((reads + u32::from(polled.is_ready()), writes));
        polled
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (reads, writes) = self.calls.get();
        self.calls.set((reads, writes + 1));
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Keeps the one connection.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Option<Connection<Counting>>>>);

impl Hooks<Counting> for Kept {
    fn interim(&mut self, _: StatusCode, _: &HeaderMap) {}

    fn idle(self, connection: Connection<Counting>) {
        *self.0.borrow_mut() = Some(connection);
    }
}

#[tokio::test]
async fn an_exchange_costs_one_read_and_one_write_on_each_side() {
    let (near, far) = tcp().await;
    let (client_calls, server_calls) = (Rc::new(Cell::new((0, 0))), Rc::new(Cell::new((0, 0))));
    let client = Counting {
        io: near,
        calls: Rc::clone(&client_calls),
    };
    let server = Counting {
        io: far,
        calls: Rc::clone(&server_calls),
    };
    let service = async |request: Request<RequestBody>| {
        let size = if request.uri() == "/large" {
            10_000
        } else {
            10
        };
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "abc");
        Response::new(Full::new(Bytes::from(vec![b'x'; size])))
    };
    let kept = Kept(Rc::new(RefCell::new(Some(Connection::new(
        client,
        ClientConfig::default(),
    )))));
    let script = async {
        for uri in ["/small", "/large", "/small"] {
            let connection = kept.0.take().unwrap();
            let request = Request::put(uri)
                .header("host", "a")
                .body(Full::new(Bytes::from("abc")));
            let response = send(connection, request.unwrap(), kept.clone())
                .await
                .unwrap();
            response.into_body().collect().await.unwrap();
        }
        assert_eq!(client_calls.get(), (3, 3));
        assert_eq!(server_calls.get(), (3, 3));
        drop(kept.0.take());
    };
    let (config, drain) = (ServerConfig::default(), Drain::new());
    let (served, ()) = tokio::join!(serve(server, &config, drain.watch(), service), script);
    served.unwrap();
}

#[tokio::test]
async fn a_handle_that_is_kept_does_not_keep_the_connection_open() {
    let (mut client, server) = tcp().await;
    let kept = RefCell::new(None);
    let service = async |request: Request<RequestBody>| {
        *kept.borrow_mut() = Some(request.body().interim());
        Response::builder()
            .header("connection", "close")
            .body(Full::new(Bytes::new()))
            .unwrap()
    };
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let config = ServerConfig::default();
    serve(server, &config, Drain::new().watch(), service)
        .await
        .unwrap();
    let late = kept
        .take()
        .unwrap()
        .send(StatusCode::EARLY_HINTS, &HeaderMap::new());
    assert_eq!(late, Err(InterimError::Late));
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    // The socket is closed both ways: writing to it comes back as a reset.
    while client.write_all(b"x").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_futures_are_small() {
    let (near, far) = tcp().await;
    let (config, drain) = (ServerConfig::default(), Drain::new());
    let service =
        |_: Request<RequestBody>| std::future::ready(Response::new(Full::new(Bytes::new())));
    let serving = size_of_val(&serve(far, &config, drain.watch(), service));
    assert!(serving <= 2600, "{serving}");
    let (mut parts, body) = Request::new(Full::new(Bytes::new())).into_parts();
    let sending =
        size_of_val(&Connection::new(near, ClientConfig::default()).send(&mut parts, body, ()));
    assert!(sending <= 1200, "{sending}");
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (near.unwrap(), far.unwrap().0)
}

#[tokio::test]
async fn a_proxy_of_the_two_relays_bodies_interims_and_trailers_over_one_connection() {
    let (mut client, downstream) = tcp().await;
    let (upstream, origin) = tcp().await;
    let idle = Rc::new(RefCell::new(Some(Connection::new(
        upstream,
        ClientConfig::default(),
    ))));
    let proxy = async |request: Request<RequestBody>| {
        let connection = idle.take().unwrap();
        let relay = Relay {
            interim: request.body().interim(),
            idle: Rc::clone(&idle),
        };
        match send(connection, request, relay).await {
            Ok(response) => response.map(Either::Left),
            Err(error) => {
                let text = Full::new(Bytes::from(error.to_string()));
                let body = text.map_err(|never: std::convert::Infallible| match never {});
                Response::new(Either::Right(body))
            }
        }
    };
    let hello = async |request: Request<RequestBody>| {
        let body = request.into_body();
        let mut hints = HeaderMap::new();
        hints.insert("link", "</x>".parse().unwrap());
        body.interim()
            .send(StatusCode::EARLY_HINTS, &hints)
            .unwrap();
        // The request's body is the answer's, as it comes.
        Response::new(body)
    };
    let script = async {
        for n in 0..3 {
            let input = format!(
                "POST /{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: {n}\r\n\r\n"
            );
            client.write_all(input.as_bytes()).await.unwrap();
            let answer = read_until(&mut client, &format!("0\r\nx-t: {n}\r\n\r\n")).await;
            assert!(
                answer.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200"),
                "{answer}"
            );
            assert!(answer.contains("\r\n\r\n3\r\nabc\r\n"), "{answer}");
        }
        drop(client);
    };
    let (config, drain) = (ServerConfig::default(), Drain::new());
    let origin = serve(origin, &config, drain.watch(), hello);
    let proxy = async {
        serve(downstream, &config, drain.watch(), proxy)
            .await
            .unwrap();
        drop(idle.take());
    };
    let (origin, (), ()) = tokio::join!(origin, proxy, script);
    origin.unwrap();
}

async fn read_until(io: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(io.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn large_bodies_come_through_unchanged_in_both_directions_at_once() {
    let content: Vec<u8> = (0_u32..700_000)
        .flat_map(|n| (n * 7).to_le_bytes())
        .collect();
    // Frames large and small, so that some are copied and some are queued as they are.
    let mut frames = Vec::new();
    let mut rest = Bytes::from(content.clone());
    for length in [70_000, 10, 5000, 4096, 1, 20_000].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        frames.push(rest.split_to(rest.len().min(length)));
    }
    for (pipe, declared) in [(100_000, true), (100_000, false), (777, true), (777, false)] {
        let (client, server) = duplex(pipe);
        let service = async |request: Request<RequestBody>| Response::new(request.into_body());
        let (config, drain) = (ServerConfig::default(), Drain::new());
        let exchange = async {
            let list: Vec<Result<_, BodyError>> = frames
                .iter()
                .cloned()
                .map(|bytes| Ok(http_body::Frame::data(bytes)))
                .collect();
            let body = StreamBody::new(tokio_stream::iter(list));
            let mut request = Request::put("/").header("host", "a").body(body).unwrap();
            if declared {
                request
                    .headers_mut()
                    .insert("content-length", content.len().into());
            }
            let connection = Connection::new(client, ClientConfig::default());
            let response = send(connection, request, ()).await.unwrap();
            assert_eq!(response.headers().contains_key("content-length"), declared);
            response.into_body().collect().await.unwrap().to_bytes()
        };
        let (served, echoed) =
            tokio::join!(serve(server, &config, drain.watch(), service), exchange);
        served.unwrap();
        assert!(
            echoed == content,
            "{pipe} {declared}: {} bytes",
            echoed.len()
        );
    }
}
