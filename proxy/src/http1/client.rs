//! The side of the upstreams: one connection, one exchange at a time.
//!
//! [`Connection::send`] consumes the connection. It comes back through [`Hooks::idle`] when the
//! response has been read to its end and the connection can take another request; in every other
//! case it is closed. So a response that is dropped early closes its connection, and the pool
//! cannot get one back that is still in use.

mod body;
mod switch;
mod upload;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub use body::ResponseBody;

use super::buffer::{ReadBuffer, WriteBuffer, recycle_map};
use super::head::{
    HeadError, HeadLimits, ResponseHead, ResponseRules, connection_tokens, parse_response,
    put_chunked, put_fields, put_length, put_request_line,
};
use super::outbox;
use super::server::BoxError;
use crate::http1::body::Encoder;
use upload::{Upload, UploadError};

/// The most interim responses to one request.
pub(crate) const MAX_INTERIM: u32 = 64;

/// How upstream connections are used.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// How large a response head may be.
    pub limits: HeadLimits,
    /// How long the body of a request with `expect: 100-continue` is held back for an answer
    /// (RFC 9110 section 10.1.1 forbids to wait for ever).
    pub continue_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            limits: HeadLimits::default(),
            continue_timeout: Duration::from_secs(1),
        }
    }
}

/// What the caller of [`Connection::send`] is told in the course of the exchange.
pub trait Hooks<I> {
    /// An interim (1xx) response other than 101 came.
    fn interim(&mut self, status: StatusCode, headers: &HeaderMap);

    /// The exchange is over and the connection can take another request. Called at most once,
    /// from within the poll that found the end of the response: before [`Connection::send`]
    /// returns if the response has no body.
    fn idle(self, connection: Connection<I>)
    where
        Self: Sized;

    /// The connection, where its bytes are those of the stream: the kernel can pass them on.
    #[must_use]
    fn plain(_: &I) -> Option<&TcpStream>
    where
        Self: Sized,
    {
        None
    }
}

/// Ignores interim responses and closes the connection.
impl<I> Hooks<I> for () {
    fn interim(&mut self, _: StatusCode, _: &HeaderMap) {}
    fn idle(self, _: Connection<I>) {}
}

/// A connection to an upstream, idle.
#[derive(Debug)]
pub struct Connection<I> {
    wire: Rc<RefCell<Wire<I>>>,
}

/// The transport and its buffers.
#[derive(Debug)]
struct Wire<I> {
    io: I,
    read: ReadBuffer,
    write: WriteBuffer,
    posted: Posted,
    config: ClientConfig,
}

/// Whether a write waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Posted {
    No,
    /// It is to.
    Wanted,
    /// It does.
    Waiting,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendErrorKind {
    /// The upstream closed the connection.
    #[error("the upstream closed the connection before it answered")]
    Closed,
    /// The connection failed.
    #[error("the upstream connection failed: {0}")]
    Io(#[source] io::Error),
    /// The upstream's answer is not a response.
    #[error("the upstream's response is malformed: {0}")]
    Response(#[source] HeadError),
    /// The upstream switched protocols unasked, to one not asked for, or before it had the request.
    #[error("the upstream switched protocols unasked")]
    Switch,
    /// The upstream opened a WebSocket without the `Sec-WebSocket-Accept` of the request's key.
    #[error("the upstream's Sec-WebSocket-Accept is missing or wrong")]
    WebSocketAccept,
    /// The upstream sent interim responses without end.
    #[error("the upstream sent too many interim responses")]
    TooManyInterim,
    /// The request's body failed, or had not the declared length.
    #[error("the request body failed: {0}")]
    RequestBody(#[source] BoxError),
}

/// A request that got no response, and its body if it can be sent again.
pub struct SendError<B> {
    kind: SendErrorKind,
    answered: bool,
    body: Option<B>,
}

impl<B> SendError<B> {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &SendErrorKind {
        &self.kind
    }

    /// Whether the connection ended before anything at all was answered: most likely it had been
    /// closed while it idled, and the request can be tried on another one, if it is idempotent or
    /// is known not to have been sent, and [`into_body`](Self::into_body) gives its body back.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.answered && matches!(self.kind, SendErrorKind::Closed | SendErrorKind::Io(_))
    }

    /// The request's body, if the exchange is [stale](Self::is_stale) and nothing had been taken
    /// from it.
    #[must_use]
    pub fn into_body(self) -> Option<B> {
        self.body
    }
}

impl<B> fmt::Debug for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("kind", &self.kind)
            .field("answered", &self.answered)
            .field("returns_body", &self.body.is_some())
            .finish()
    }
}

impl<B> fmt::Display for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<B> std::error::Error for SendError<B> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Connection<I> {
    /// A connection over a transport that is connected and on which nothing was sent.
    pub fn new(io: I, config: ClientConfig) -> Self {
        let (read, write) = (ReadBuffer::new(), WriteBuffer::new());
        Self {
            wire: Rc::new(RefCell::new(Wire {
                io,
                read,
                write,
                posted: Posted::No,
                config,
            })),
        }
    }

    /// Asks the transport something.
    pub fn ask<T>(&self, question: impl FnOnce(&I) -> T) -> T {
        question(&self.wire.borrow().io)
    }

    /// Whether the idle connection can still be used, as far as the runtime has noticed: false
    /// when the upstream closed it or sent something unasked. Costs no system call if nothing
    /// happened on the connection.
    #[must_use]
    pub fn is_open(&mut self) -> bool {
        self.poll_unusable(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }

    /// Ready when the idle connection can no longer be used, so that a pool can let go of it.
    pub fn poll_unusable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wire = &mut *self.wire.borrow_mut();
        if wire.read.bytes.is_empty() {
            // Whatever comes, an end, a fault or a byte, is not what an idle connection is to have.
            let mut byte = [0];
            let mut byte = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut wire.io).poll_read(cx, &mut byte)).ok();
            wire.read.bytes.extend_from_slice(byte.filled());
        }
        Poll::Ready(())
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// The request's fields are sent as given, except that the codec sets `content-length`,
    /// `transfer-encoding` and `connection` (whose options other than `close` and `keep-alive`
    /// are passed on). The target is sent in origin-form, and its authority as `host` if there is
    /// no such field. The request's body is sent while the response is awaited, and on while its
    /// body is read, driven by the one who reads it. With `expect: 100-continue` it is held back
    /// until a 100 arrives or [`ClientConfig::continue_timeout`] has passed.
    ///
    /// A request may ask for other protocols with `upgrade` and the option of that name in
    /// `connection`. On a 101 the response's body gives the connection by
    /// [`ResponseBody::into_switched`].
    ///
    /// To give up, drop the future: the connection is closed. What `parts` has is as it was after
    /// an error, and of no use after a response.
    ///
    /// # Errors
    /// When no response arrived; the connection is closed then.
    pub async fn send<B, H>(
        self,
        parts: &mut Parts,
        body: B,
        mut hooks: H,
    ) -> Result<Response<ResponseBody<I, B, H>>, SendError<B>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
        H: Hooks<I>,
    {
        if !self.wire.borrow().read.bytes.is_empty() {
            // What came unasked must not be taken for the response to this request.
            return Err(SendError {
                kind: SendErrorKind::Closed,
                answered: false,
                body: Some(body),
            });
        }
        let (told, hold) = {
            let wire = &mut *self.wire.borrow_mut();
            let told = put_head(wire.write.flat(), parts, &body);
            let hold = told.expects_continue && told.encoder != Encoder::None;
            (told, hold.then_some(wire.config.continue_timeout))
        };
        let mut upload = Upload::new(body, told.encoder, hold);
        let mut wait = Wait {
            rules: ResponseRules::of(&parts.method),
            answered: false,
            interims: 0,
            look: true,
            write_error: None,
        };
        let head = poll_fn(|cx| {
            let mut wire = self.wire.borrow_mut();
            let polled = wire.poll_head(cx, &mut upload, &mut wait, &mut hooks);
            drop(wire);
            if polled.is_pending() {
                self.post(cx);
            }
            polled
        })
        .await;
        let head = head.and_then(|head| {
            let unasked = match head.status {
                // RFC 9110 section 7.8: it has to have read the request before it switches.
                StatusCode::SWITCHING_PROTOCOLS => {
                    !upload.is_done() || !switch::was_asked(&parts.headers, &head)
                }
                status => parts.method == Method::CONNECT && status.is_success(),
            };
            if unasked {
                Err(SendErrorKind::Switch)
            } else if head.status == StatusCode::SWITCHING_PROTOCOLS
                && !switch::is_proven(&parts.headers, &head)
            {
                Err(SendErrorKind::WebSocketAccept)
            } else {
                Ok(head)
            }
        });
        match head {
            Ok(mut head) => {
                head.keep_alive &= !told.closes;
                recycle_map(std::mem::take(&mut parts.headers));
                Ok(self.respond(head, upload, hooks))
            }
            Err(kind) => {
                let mut error = SendError {
                    kind,
                    answered: wait.answered,
                    body: None,
                };
                if error.is_stale() {
                    error.body = upload.into_untouched();
                }
                Err(error)
            }
        }
    }

    fn respond<B, H>(
        self,
        head: ResponseHead,
        upload: Upload<B>,
        hooks: H,
    ) -> Response<ResponseBody<I, B, H>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
        H: Hooks<I>,
    {
        let body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            ResponseBody::switched(self, upload, hooks)
        } else {
            ResponseBody::new(self, head.framing, head.keep_alive, upload, hooks)
        };
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        response
    }

    /// Lets what is to be written with others wait for them.
    fn post(&self, cx: &Context<'_>) {
        {
            let mut wire = self.wire.borrow_mut();
            if wire.posted != Posted::Wanted {
                return;
            }
            wire.posted = Posted::Waiting;
        }
        outbox::post(self.wire.clone(), cx.waker());
    }

    /// Makes the connection ready to idle, if nothing is left on it.
    fn into_idle(self) -> Option<Self> {
        {
            let wire = &mut *self.wire.borrow_mut();
            if !wire.read.bytes.is_empty() || !wire.write.is_empty() {
                return None;
            }
            wire.read.release();
            wire.write.release();
        }
        Some(self)
    }
}

/// How far the wait for a response is.
struct Wait {
    rules: ResponseRules,
    /// Something was read.
    answered: bool,
    interims: u32,
    /// What was read since the last look can have completed a line.
    look: bool,
    /// Writing failed; there may be an answer all the same.
    write_error: Option<io::Error>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> outbox::Sender for RefCell<Wire<I>> {
    fn write(self: Rc<Self>, cx: &mut Context<'_>) -> bool {
        // Given up meanwhile: nobody waits for an answer.
        if Rc::strong_count(&self) == 1 {
            return false;
        }
        let wire = &mut *self.borrow_mut();
        wire.posted = Posted::No;
        let written = wire.write.poll_flush(&mut wire.io, cx);
        // The task that sends finds out and sees to it.
        !matches!(written, Poll::Ready(Ok(())))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Wire<I> {
    /// Sends the request and reads up to the end of the final response's head.
    fn poll_head<B, H>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<B>,
        wait: &mut Wait,
        hooks: &mut H,
    ) -> Poll<Result<ResponseHead, SendErrorKind>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
        H: Hooks<I>,
    {
        loop {
            match upload.poll(self, cx) {
                Poll::Ready(Ok(())) | Poll::Pending => {}
                // RFC 9112 section 9.5: the upstream may have answered before it closed.
                Poll::Ready(Err(UploadError::Io(error))) => wait.write_error = Some(error),
                Poll::Ready(Err(UploadError::Body(error))) => {
                    return Poll::Ready(Err(SendErrorKind::RequestBody(error)));
                }
            }
            let head = match ready!(self.poll_next_head(cx, wait)) {
                Ok(head) => head,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Ok(head));
            }
            wait.interims += 1;
            if wait.interims > MAX_INTERIM {
                return Poll::Ready(Err(SendErrorKind::TooManyInterim));
            }
            if head.status == StatusCode::CONTINUE {
                upload.proceed();
            }
            hooks.interim(head.status, &head.headers);
            recycle_map(head.headers);
        }
    }

    fn poll_next_head(
        &mut self,
        cx: &mut Context<'_>,
        wait: &mut Wait,
    ) -> Poll<Result<ResponseHead, SendErrorKind>> {
        loop {
            if wait.look && !self.read.bytes.is_empty() {
                let bytes = &mut self.read.bytes;
                match parse_response(bytes, &self.config.limits, wait.rules) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => wait.look = false,
                    Err(error) => return Poll::Ready(Err(SendErrorKind::Response(error))),
                }
            }
            let known = self.read.bytes.len();
            match ready!(self.read.poll_read(&mut self.io, cx)) {
                Ok(0) => {
                    let error = wait.write_error.take();
                    return Poll::Ready(
                        Err(error.map_or(SendErrorKind::Closed, SendErrorKind::Io)),
                    );
                }
                Ok(_) => {
                    wait.answered = true;
                    let fresh = self.read.bytes.get(known..).unwrap_or_default();
                    wait.look = memchr::memchr(b'\n', fresh).is_some()
                        || self.config.limits.crossed(known, self.read.bytes.len());
                }
                Err(error) => {
                    let error = wait.write_error.take().unwrap_or(error);
                    return Poll::Ready(Err(SendErrorKind::Io(error)));
                }
            }
        }
    }
}

/// What the head of a request tells the upstream.
struct Told {
    /// How the body is framed (RFC 9112 section 6.3).
    encoder: Encoder,
    /// That the body waits for a 100.
    expects_continue: bool,
    /// That the connection is not to be kept.
    closes: bool,
}

/// Appends a request's head.
fn put_head<B: Body>(out: &mut Vec<u8>, parts: &Parts, body: &B) -> Told {
    let exact = if body.is_end_stream() {
        Some(0)
    } else {
        body.size_hint().exact()
    };
    put_request_line(out, &parts.method, &parts.uri, &parts.headers);
    let present = put_fields(out, &parts.headers, true);
    let declared = present.declared_length(&parts.headers);
    let encoder = match exact {
        Some(0) => Encoder::None,
        Some(length) => Encoder::Length(length),
        None => declared.map_or(Encoder::Chunked, Encoder::Length),
    };
    let closes = present.asks_to_close(&parts.headers);
    let own = closes.then_some("close");
    connection_tokens(out, &parts.headers, present, own);
    match encoder {
        Encoder::Length(length) => put_length(out, length),
        Encoder::Chunked => put_chunked(out),
        // RFC 9110 section 8.6: said where a method is expected to have content.
        Encoder::None | Encoder::UntilClose => {
            let expected = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
            if expected || declared == Some(0) {
                put_length(out, 0);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    Told {
        encoder,
        expects_continue: present.expects_continue(&parts.headers),
        closes,
    }
}

#[cfg(test)]
pub(super) mod tests;
