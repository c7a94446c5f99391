//! A proxy between two connections whose large bodies the kernel passes on.

use std::time::Duration;

use http_body::Body;
use rustix::event::{EventfdFlags, eventfd};

use super::*;
use crate::http1::client::ResponseBody;
use crate::relay::pipe::Pipe;

/// A connection that says that it is another.
struct Wire {
    io: TcpStream,
    /// What the kernel is to take for it.
    plain: Option<TcpStream>,
}

impl Wire {
    const fn new(io: TcpStream) -> Self {
        Self { io, plain: None }
    }

    /// One that is always ready, and that the kernel cannot splice.
    fn unspliced(io: TcpStream) -> Self {
        let odd = eventfd(1, EventfdFlags::NONBLOCK).unwrap();
        Self {
            io,
            plain: Some(TcpStream::from_std(odd.into()).unwrap()),
        }
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self.plain.as_ref().unwrap_or(&self.io))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Keeps the one connection to the upstream.
#[derive(Clone)]
struct Kept(Rc<RefCell<Option<Connection<Wire>>>>);

impl Hooks<Wire> for Kept {
    fn interim(&mut self, _: StatusCode, _: &HeaderMap) {}

    fn idle(self, connection: Connection<Wire>) {
        *self.0.borrow_mut() = Some(connection);
    }

    fn plain(wire: &Wire) -> Option<&TcpStream> {
        wire.plain()
    }
}

/// A response's body that counts what of it goes through pipes.
struct Counted {
    body: ResponseBody<Wire, RequestBody, Kept>,
    piped: Rc<Cell<usize>>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Piped for Counted {
    fn is_piped(&self) -> bool {
        self.body.is_piped()
    }

    fn poll_pipe(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyError>> {
        let moved = Pin::new(&mut self.body).poll_pipe(cx, pipe);
        if let Poll::Ready(Ok(some)) = &moved {
            self.piped.set(self.piped.get() + some);
        }
        moved
    }
}

/// Serves `downstream` from `upstream`: how that ended, and how many bytes went through pipes.
async fn forward(
    downstream: Wire,
    upstream: Wire,
    config: ServerConfig,
) -> (Result<(), ConnectionError>, usize) {
    let connection = Connection::new(upstream, ClientConfig::default());
    let kept = Kept(Rc::new(RefCell::new(Some(connection))));
    let piped = Rc::new(Cell::new(0));
    let service = async |request: Request<RequestBody>| {
        let connection = kept.0.take().unwrap();
        let response = send(connection, request, kept.clone()).await.unwrap();
        let piped = piped.clone();
        response.map(|body| Counted { body, piped })
    };
    let transport = Transport {
        abort: |_: &mut Wire| {},
        write_last: |io: &mut Wire, cx, bytes| Pin::new(io).poll_write(cx, bytes),
        is_unregistered: |_: &Wire| false,
        plain: Wire::plain,
    };
    let drain = Drain::new();
    let serving = serve_with(
        downstream,
        config.clone(),
        drain.watch(),
        transport,
        service,
    );
    let served = delivering(serving).await;
    (
        served.map(|switched| assert!(switched.is_none())),
        piped.get(),
    )
}

/// Bytes that tell where they belong.
fn pattern(length: usize) -> Vec<u8> {
    let places = 0..u32::try_from(length.div_ceil(4)).unwrap();
    let mut bytes: Vec<u8> = places.flat_map(|n| (n * 7).to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

/// Answers each request with the next of `answers`, and ends.
async fn origin(mut io: TcpStream, answers: &[Vec<u8>]) {
    for answer in answers {
        read_head(&mut io).await;
        // Not everyone takes all of it.
        let _ = io.write_all(answer).await;
    }
}

async fn read_head(io: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A response that says to have `length` bytes.
fn answer(length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

async fn ask(client: &mut TcpStream, method: &str) {
    let request = format!("{method} /x HTTP/1.1\r\nhost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
}

/// Asks for the same thing as often as there are answers to it, over one connection. What comes behind each
/// head is to be `body`. How much of it went through pipes.
async fn fetch(method: &str, answers: &[Vec<u8>], body: &[u8]) -> usize {
    let ((mut client, downstream), (upstream, far)) = tokio::join!(tcp(), tcp());
    let script = async {
        for _ in answers {
            ask(&mut client, method).await;
            read_head(&mut client).await;
            let mut read = vec![0; body.len()];
            client.read_exact(&mut read).await.unwrap();
            assert!(read == body);
        }
        drop(client);
    };
    let (downstream, upstream) = (Wire::new(downstream), Wire::new(upstream));
    let served = forward(downstream, upstream, ServerConfig::default());
    let ((served, piped), (), ()) = tokio::join!(served, script, origin(far, answers));
    served.unwrap();
    piped
}

const LARGE: usize = 3_000_000;

#[tokio::test]
async fn a_large_body_of_known_length_goes_through_a_pipe() {
    let content = pattern(LARGE);
    let answers = vec![answer(LARGE, &content); 3];
    let piped = fetch("GET", &answers, &content).await;
    assert!(piped > 3 * (LARGE - 128 * 1024), "{piped} bytes");
}

#[tokio::test]
async fn other_bodies_come_by() {
    let small = pattern(100_000);
    let answers = vec![answer(small.len(), &small); 3];
    assert_eq!(fetch("GET", &answers, &small).await, 0);
    assert_eq!(
        fetch("HEAD", &[answer(LARGE, b""), answer(LARGE, b"")], b"").await,
        0
    );

    // Of unknown length.
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let size = format!("{LARGE:x}\r\n");
    let end = b"\r\n0\r\n\r\n";
    let answers = [[head, size.as_bytes(), &pattern(LARGE), end].concat()];
    let ((mut client, downstream), (upstream, far)) = tokio::join!(tcp(), tcp());
    let script = async {
        ask(&mut client, "GET").await;
        let mut read = Vec::new();
        while !read.ends_with(end) {
            client.read_buf(&mut read).await.unwrap();
        }
        assert!(read.len() > LARGE);
        drop(client);
    };
    let (downstream, upstream) = (Wire::new(downstream), Wire::new(upstream));
    let served = forward(downstream, upstream, ServerConfig::default());
    let ((served, piped), (), ()) = tokio::join!(served, script, origin(far, &answers));
    served.unwrap();
    assert_eq!(piped, 0);
}

#[tokio::test]
async fn where_the_kernel_cannot_they_come_by_too() {
    let content = pattern(LARGE);
    for of_upstream in [false, true] {
        let ((mut client, downstream), (upstream, far)) = tokio::join!(tcp(), tcp());
        let script = async {
            ask(&mut client, "GET").await;
            read_head(&mut client).await;
            let mut read = vec![0; LARGE];
            client.read_exact(&mut read).await.unwrap();
            assert!(read == content);
            drop(client);
        };
        let (downstream, upstream) = match of_upstream {
            false => (Wire::unspliced(downstream), Wire::new(upstream)),
            true => (Wire::new(downstream), Wire::unspliced(upstream)),
        };
        let served = forward(downstream, upstream, ServerConfig::default());
        let answers = [answer(LARGE, &content)];
        let ((served, piped), (), ()) = tokio::join!(served, script, origin(far, &answers));
        served.unwrap();
        // What was in the pipe when it turned out is read from it again.
        assert!(
            piped < LARGE / 2 && (piped == 0) == of_upstream,
            "{piped} bytes"
        );
    }
}

#[tokio::test]
async fn what_came_before_an_upstream_breaks_off_is_passed_on_and_ends_the_connection() {
    let content = pattern(LARGE);
    let ((mut client, downstream), (upstream, far)) = tokio::join!(tcp(), tcp());
    let script = async {
        ask(&mut client, "GET").await;
        read_head(&mut client).await;
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read == content[..LARGE / 2]);
    };
    let answers = [answer(LARGE, &content[..LARGE / 2])];
    let served = forward(
        Wire::new(downstream),
        Wire::new(upstream),
        ServerConfig::default(),
    );
    let ((served, piped), (), ()) = tokio::join!(served, script, origin(far, &answers));
    assert!(
        matches!(served, Err(ConnectionError::Response(_))),
        "{served:?}"
    );
    assert!(piped > LARGE / 4, "{piped} bytes");
}

#[tokio::test]
async fn a_client_that_leaves_or_does_not_read_ends_it() {
    let endless = answer(64 * LARGE, &pattern(64 * LARGE));
    let answers = [endless];
    for leaves in [true, false] {
        let ((mut client, downstream), (upstream, far)) = tokio::join!(tcp(), tcp());
        let config = ServerConfig {
            write_timeout: Duration::from_millis(100),
            ..ServerConfig::default()
        };
        let script = async {
            ask(&mut client, "GET").await;
            read_head(&mut client).await;
            let mut read = vec![0; LARGE];
            client.read_exact(&mut read).await.unwrap();
            (!leaves).then_some(client)
        };
        let served = forward(Wire::new(downstream), Wire::new(upstream), config);
        let ((served, piped), _client, ()) = tokio::join!(served, script, origin(far, &answers));
        match leaves {
            true => assert!(
                matches!(served, Err(ConnectionError::ClientGone)),
                "{served:?}"
            ),
            false => assert!(
                matches!(served, Err(ConnectionError::WriteTimeout)),
                "{served:?}"
            ),
        }
        assert!(piped > LARGE / 2, "{piped} bytes");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_rest_is_waited_for_is_missed() {
    let ((mut client, downstream), (upstream, mut far)) = tokio::join!(tcp(), tcp());
    let content = pattern(LARGE);
    let script = async {
        ask(&mut client, "GET").await;
        read_head(&mut far).await;
        far.write_all(&answer(LARGE, &content[..LARGE / 2]))
            .await
            .unwrap();
        read_head(&mut client).await;
        let mut read = vec![0; LARGE / 2];
        client.read_exact(&mut read).await.unwrap();
        drop(client);
        // The upstream is told.
        assert_eq!(far.read(&mut [0]).await.unwrap_or(0), 0);
    };
    let served = async {
        let forwarding = forward(
            Wire::new(downstream),
            Wire::new(upstream),
            ServerConfig::default(),
        );
        let (served, piped) = forwarding.await;
        assert!(
            matches!(served, Err(ConnectionError::ClientGone)),
            "{served:?}"
        );
        assert!(piped > LARGE / 4, "{piped} bytes");
    };
    tokio::join!(served, script);
}
