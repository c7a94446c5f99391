//! The side of the clients: serves the requests of one connection, one after the other.
//!
//! An exchange is: wait for a head, call the service, write its response, dispose of what the
//! service left unread of the request. A small request and its response cost one read and one
//! write.
//!
//! A client that ends its side of the connection is taken to be gone, and what was being done for
//! it is dropped at once; a half-closed client cannot be told from one that left. Set
//! [`ServerConfig::half_close`] to answer such clients all the same.

mod close;
mod passing;
mod response;
mod shared;
mod switch;
mod waiting;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

pub use shared::{Interim, InterimError, RequestBody};

use super::Switched;
use super::body::{Decoded, Decoder, Encoder};
use super::buffer::recycle_map;
use super::drain::DrainWatch;
use super::head::{HeadError, HeadLimits, RequestHead};
use super::piped::Piped;
use super::unwatched::Moment;
use shared::{Background, ExchangeStart, Shared};
use waiting::Waiting;

/// The type of an error a body ends with.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How client connections are served.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How large a request head may be.
    pub limits: HeadLimits,
    /// How long a head may take from its first byte to its last; then 408.
    pub head_timeout: Duration,
    /// How long a connection may wait for a next request, or for its first; then it is closed
    /// without a word.
    pub idle_timeout: Duration,
    /// How long the service, or its response, may wait for the next bytes of the request body;
    /// then 408, or the response is broken off.
    pub body_timeout: Duration,
    /// How long the client may leave a response unread; then the connection is dropped.
    pub write_timeout: Duration,
    /// How long what the client still sends is read after the last response, so that the response
    /// is not lost to a reset (RFC 9112 section 9.6).
    pub linger_timeout: Duration,
    /// How long an idle connection is still read once the drain has begun: the next request may be
    /// on its way.
    pub drain_grace: Duration,
    /// How many requests a connection may bring; the last is answered with `connection: close`.
    /// `None` for no limit.
    pub max_requests: Option<u32>,
    /// How many bytes of a request body the service left unread are read so as to keep the
    /// connection.
    pub max_unread_body: u64,
    /// Whether a client that ended its side behind its request still gets the response. If not,
    /// it is taken to be gone, as nginx does.
    pub half_close: bool,
    /// Whether the end of the connection is told by more than closing it, as over TLS. If not, a
    /// connection that is not read on is not shut down before it is closed.
    pub close_notify: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            limits: HeadLimits::default(),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(5),
            drain_grace: Duration::from_millis(250),
            max_requests: None,
            max_unread_body: 64 * 1024,
            half_close: false,
            close_notify: true,
        }
    }
}

/// Why a connection ended other than by the rules.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The connection failed between two requests.
    #[error("the client connection failed: {0}")]
    Io(#[from] io::Error),
    /// The client left in the middle of a request or its response.
    #[error("the client left in the middle of an exchange")]
    ClientGone,
    /// A head was refused and answered with [`HeadError::status`].
    #[error("the request was refused: {0}")]
    Refused(HeadError),
    /// A head was not complete in time and was answered with 408.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// A request body stalled; answered with 408 if no response had begun.
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    /// The client did not read its response in time.
    #[error("the client did not read the response in time")]
    WriteTimeout,
    /// The response's body failed, or had not the length its head declared; the response was
    /// broken off.
    #[error("the response was broken off: {0}")]
    Response(#[source] BoxError),
    /// The service answered with a 1xx status, other than an upgrade with 101; the client got a
    /// 502.
    #[error("the service tried to switch protocols")]
    Switch,
}

impl ConnectionError {
    /// The status the client is told, if no response had begun.
    fn answer(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(error) => Some(error.status()),
            Self::HeadTimeout | Self::BodyTimeout => Some(StatusCode::REQUEST_TIMEOUT),
            Self::Switch => Some(StatusCode::BAD_GATEWAY),
            Self::Io(_) | Self::ClientGone | Self::WriteTimeout | Self::Response(_) => None,
        }
    }
}

/// Serves one client connection until it closes.
///
/// Requests reach `service` in order, one at a time. Their target is in origin-form (or `*`, or an
/// authority with CONNECT) and their host in the `host` field alone; `transfer-encoding` has been
/// taken off. The service's future and its response's body are dropped as soon as the client is
/// gone. `transfer-encoding` and the `close` and `keep-alive` options of `connection` in responses
/// are set by the codec; a `connection: close` of the service is honoured.
///
/// Where the service answers an upgrade with 101, or CONNECT with a 2xx, that is sent and serving
/// ends: the connection is returned, with the response's body, which stands for the other side.
///
/// # Errors
/// See [`ConnectionError`]. Whatever could be answered has been answered.
pub async fn serve<I, S, Fut, B>(
    io: I,
    config: &ServerConfig,
    drain: DrainWatch,
    service: S,
) -> Result<Option<(Switched<I>, B)>, ConnectionError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Fn(Request<RequestBody>) -> Fut,
    Fut: Future<Output = Response<B>>,
    B: Piped,
    B::Error: Into<BoxError>,
{
    let transport = Transport {
        abort: |_: &mut I| {},
        write_last: |io: &mut I, cx: &mut Context<'_>, bytes: &[u8]| {
            Pin::new(io).poll_write(cx, bytes)
        },
        is_unregistered: |_: &I| false,
        plain: |_: &I| None,
    };
    serve_with(io, config.clone(), drain, transport, service).await
}

/// Writes to a transport, as [`AsyncWrite::poll_write`] does.
type Write<I> = fn(&mut I, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>;

/// What is particular to a transport, besides reading and writing.
#[derive(Debug)]
pub struct Transport<I, F> {
    /// Called before it is dropped in the middle of a response that only the end of the connection
    /// ends (to HTTP/1.0 clients), be it by an error or because serving is. It should make the
    /// connection end in a reset, such as by a zero `SO_LINGER`: otherwise the client takes what it
    /// got for the whole.
    pub abort: F,
    /// Writes the last bytes before it is dropped without more ado. It may end its writing with them.
    pub write_last: Write<I>,
    /// Whether it would have to be registered with the runtime to be waited for. If so, the client of a
    /// last request is not watched for a moment: see [`unwatched`](super::unwatched).
    pub is_unregistered: fn(&I) -> bool,
    /// The connection, where its bytes are those of the stream: the kernel can pass them on.
    pub plain: fn(&I) -> Option<&TcpStream>,
}

/// As [`serve`], with what is particular to the transport.
///
/// # Errors
/// As [`serve`].
pub fn serve_with<I, S, Fut, B>(
    io: I,
    config: ServerConfig,
    drain: DrainWatch,
    transport: Transport<I, impl FnOnce(&mut I)>,
    service: S,
) -> impl Future<Output = Result<Option<(Switched<I>, B)>, ConnectionError>>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Fn(Request<RequestBody>) -> Fut,
    Fut: Future<Output = Response<B>>,
    B: Piped,
    B::Error: Into<BoxError>,
{
    // No `async fn`, which would hold the connection beside what is made of it.
    let shared = Rc::new(Shared::new(io, transport.write_last));
    let aborted = Abort {
        shared: shared.clone(),
        abort: Some(transport.abort),
    };
    let (is_unregistered, plain) = (transport.is_unregistered, transport.plain);
    async move {
        let timer = pin!(sleep_until(Instant::now() + config.idle_timeout));
        let mut server = Server {
            shared,
            config: &config,
            drain,
            timer,
            head: false,
            goes_on: false,
            is_unregistered,
            plain,
            moment: Moment::default(),
        };
        let served = server.run(service).await;
        server.shared.end();
        let Some(body) = served? else {
            return Ok(None);
        };
        // The last two that hold it: what was given out beside them is void.
        drop(aborted);
        Ok(switch::take(server.shared).map(|switched| (switched, body)))
    }
}

/// Calls `abort` when it is dropped, with the connection or before its end, while a response is
/// being written that only the end of the connection ends.
struct Abort<I, F: FnOnce(&mut I)> {
    shared: Rc<Shared<I>>,
    abort: Option<F>,
}

impl<I, F: FnOnce(&mut I)> Drop for Abort<I, F> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.state.try_borrow_mut()
            && state.close_delimited
            && let Some(abort) = self.abort.take()
        {
            abort(&mut state.io);
        }
    }
}

/// One client connection.
struct Server<'a, I> {
    shared: Rc<Shared<I>>,
    config: &'a ServerConfig,
    drain: DrainWatch,
    /// Armed for the earliest deadline it was needed for, and moved on only when it fires.
    timer: Pin<&'a mut Sleep>,
    /// The request at hand is HEAD.
    head: bool,
    /// The client takes the connection to go on, and may be sending more while it still reads what
    /// it was answered.
    goes_on: bool,
    /// See [`Transport::is_unregistered`].
    is_unregistered: fn(&I) -> bool,
    /// See [`Transport::plain`].
    plain: fn(&I) -> Option<&TcpStream>,
    /// For which the client of the request at hand is not watched, if so.
    moment: Moment,
}

/// What of a request is needed to write its response.
#[derive(Debug, Clone, Copy)]
struct Asked {
    head: bool,
    connect: bool,
    http10: bool,
    keep_alive: bool,
    upgrade: bool,
}

/// A request that its service is about to answer. Boxed, so that a connection without a request does
/// not hold the room for one.
struct Begun<Fut> {
    asked: Asked,
    service: Pin<Box<Fut>>,
}

/// A response whose head is queued.
enum Responding<B> {
    Body {
        body: B,
        encoder: Encoder,
        /// The connection may be kept after it.
        keep: bool,
    },
    /// The end of HTTP.
    Switched(B),
}

/// What comes after an exchange.
enum After<B> {
    /// The next one.
    Next,
    /// The end of the connection.
    Close,
    /// The same, once the client was told why.
    Refused(ConnectionError),
    /// Another protocol, with whatever this response's body stands for.
    Switched(B),
}

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Server<'_, I> {
    async fn run<S, Fut, B>(&mut self, service: S) -> Result<Option<B>, ConnectionError>
    where
        S: Fn(Request<RequestBody>) -> Fut,
        Fut: Future<Output = Response<B>>,
        B: Piped,
        B::Error: Into<BoxError>,
    {
        let mut left = self.config.max_requests;
        let (refused, answered) = loop {
            let begun = match self.next(&service, &mut left).await {
                Ok(Some(begun)) => begun,
                Ok(None) => break (None, false),
                Err(error) => break (Some(error), false),
            };
            match self.exchange(begun).await? {
                After::Next => self.head = false,
                After::Close => break (None, true),
                After::Refused(error) => break (Some(error), true),
                After::Switched(body) => return Ok(Some(body)),
            }
        };
        match refused {
            Some(error) => Err(self.refuse(error).await),
            None => self.close(answered).await.map(|()| None),
        }
    }

    /// Waits for the next request, and has the service begin it; there is none when the connection
    /// closes in between. `left` is how many more there may be.
    async fn next<S, Fut>(
        &mut self,
        service: &S,
        left: &mut Option<u32>,
    ) -> Result<Option<Begun<Fut>>, ConnectionError>
    where
        S: Fn(Request<RequestBody>) -> Fut,
    {
        let mut waiting = Waiting::default();
        // What is read is made a request of at once: held by a future it would be moved several times.
        poll_fn(|cx| {
            let head = ready!(self.poll_head(cx, &mut waiting))?;
            let begun = head.map(|head| {
                let (asked, request) = self.request(head, left);
                let service = Box::pin(service(request));
                Begun { asked, service }
            });
            Poll::Ready(Ok(begun))
        })
        .await
    }

    fn request(
        &mut self,
        head: RequestHead,
        left: &mut Option<u32>,
    ) -> (Asked, Request<RequestBody>) {
        self.goes_on = head.keep_alive;
        let mut asked = Asked {
            head: head.method == Method::HEAD,
            connect: head.method == Method::CONNECT,
            http10: head.version == Version::HTTP_10,
            keep_alive: head.keep_alive,
            upgrade: head.upgrade,
        };
        if let Some(left) = left {
            *left = left.saturating_sub(1);
            asked.keep_alive &= *left > 0;
        }
        self.head = asked.head;
        self.moment = Moment::default();
        let decoder = Decoder::new(head.framing);
        let remaining = decoder.remaining();
        let start = ExchangeStart {
            expects: head.expect_continue,
            http10: asked.http10,
        };
        let exchange = self.shared.begin(decoder, start);
        let mut request = Request::new(RequestBody::new(&self.shared, exchange, remaining));
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        (asked, request)
    }

    /// Has one request served.
    async fn exchange<Fut, B>(&mut self, begun: Begun<Fut>) -> Result<After<B>, ConnectionError>
    where
        Fut: Future<Output = Response<B>>,
        B: Piped,
        B::Error: Into<BoxError>,
    {
        match self.answer(begun).await {
            Ok(Responding::Body {
                body,
                encoder,
                keep,
            }) => {
                self.write_body(body, encoder, !keep).await?;
                self.shared.end();
                Ok(if keep && self.skip_unread_body().await? {
                    After::Next
                } else {
                    After::Close
                })
            }
            Ok(Responding::Switched(body)) => {
                self.flush().await?;
                Ok(After::Switched(body))
            }
            Err(error) => Ok(After::Refused(error)),
        }
    }

    /// Drives the service to its response, and the connection beside it, and queues the response's head.
    async fn answer<Fut, B>(&mut self, begun: Begun<Fut>) -> Result<Responding<B>, ConnectionError>
    where
        Fut: Future<Output = Response<B>>,
        B: Piped,
    {
        let Begun { asked, mut service } = begun;
        let mut stalled = None;
        poll_fn(|cx| {
            self.shared.set_task(cx);
            loop {
                if let Poll::Ready(response) = service.as_mut().poll(cx) {
                    return Poll::Ready(self.respond(response, asked));
                }
                match self.poll_background(cx) {
                    Poll::Ready(Background::Progress) => {}
                    Poll::Ready(Background::Gone) => {
                        return Poll::Ready(Err(ConnectionError::ClientGone));
                    }
                    Poll::Pending => {
                        return self
                            .poll_body_timeout(cx, &mut stalled)
                            .map(|()| Err(ConnectionError::BodyTimeout));
                    }
                }
            }
        })
        .await
    }

    /// Queues the head of a response.
    fn respond<B: Piped>(
        &self,
        response: Response<B>,
        asked: Asked,
    ) -> Result<Responding<B>, ConnectionError> {
        let (parts, body) = response.into_parts();
        if asked.is_switched_by(parts.status) {
            self.put_switch(&parts)?;
            return Ok(Responding::Switched(body));
        }
        if parts.status.is_informational() {
            return Err(ConnectionError::Switch);
        }
        let (encoder, keep) = self.put_head(&parts, &body, asked);
        recycle_map(parts.headers);
        Ok(Responding::Body {
            body,
            encoder,
            keep,
        })
    }

    /// See [`Shared::poll_background`].
    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Background> {
        // The other side of a connection that goes on is soon to be waited for anyway.
        let unwatched = !self.goes_on && {
            let state = self.shared.state.borrow();
            (self.is_unregistered)(&state.io) && state.only_watches()
        };
        if unwatched && self.moment.lasts(cx) {
            return Poll::Pending;
        }
        self.shared.poll_background(cx, self.config.half_close)
    }

    /// Ready when the request body has been waited for too long. `stalled` is the deadline of the
    /// wait at hand, and what had been read when it began.
    fn poll_body_timeout(
        &mut self,
        cx: &mut Context<'_>,
        stalled: &mut Option<(Instant, u64)>,
    ) -> Poll<()> {
        let (waiting, read) = {
            let state = self.shared.state.borrow();
            (state.waiting, state.read.total)
        };
        if !waiting {
            *stalled = None;
            return Poll::Pending;
        }
        let deadline = match stalled {
            Some((deadline, known)) if *known == read => *deadline,
            _ => {
                let deadline = Instant::now() + self.config.body_timeout;
                *stalled = Some((deadline, read));
                deadline
            }
        };
        poll_deadline(self.timer.as_mut(), cx, deadline)
    }

    /// Reads what the service left of the request body, up to the bound. Returns whether the
    /// connection is at the start of a next request.
    async fn skip_unread_body(&mut self) -> Result<bool, ConnectionError> {
        let mut left = self.config.max_unread_body;
        let (mut deadline, mut write_deadline) = (None, None);
        poll_fn(|cx| {
            if self.shared.is_unwritten() {
                ready!(self.poll_flush(cx, &mut write_deadline))?;
            }
            let state = &mut *self.shared.state.borrow_mut();
            loop {
                if state.decoder.is_done() {
                    return Poll::Ready(Ok(!state.eof));
                }
                match state.decoder.decode(&mut state.read.bytes) {
                    Ok(Decoded::Data(bytes)) => match left.checked_sub(bytes.len() as u64) {
                        Some(rest) => left = rest,
                        None => return Poll::Ready(Ok(false)),
                    },
                    Ok(Decoded::Trailers(_) | Decoded::End) => {}
                    Ok(Decoded::More) => match state.read.poll_read(&mut state.io, cx) {
                        Poll::Ready(Ok(0)) => {
                            state.eof = true;
                            return Poll::Ready(Ok(false));
                        }
                        Poll::Ready(Ok(_)) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                        Poll::Pending => {
                            let deadline = *deadline
                                .get_or_insert_with(|| Instant::now() + self.config.linger_timeout);
                            return poll_deadline(self.timer.as_mut(), cx, deadline)
                                .map(|()| Ok(false));
                        }
                    },
                    Err(_) => return Poll::Ready(Ok(false)),
                }
            }
        })
        .await
    }
}

/// Ready once `deadline` has passed. The timer is moved only to an earlier deadline, or when it
/// fires too early for this one: arming it for a request costs nothing.
fn poll_deadline(mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}

#[cfg(test)]
mod tests;
