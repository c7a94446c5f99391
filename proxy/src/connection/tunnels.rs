//! Tunnels over a stream of HTTP/2: CONNECT, and the extended CONNECT that stands for an upgrade
//! there (RFC 8441).

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    ext::Protocol,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::streams::Open;
use crate::{
    http::{Connection, ResponseBody, ToTunnel},
    http1::Switched,
    relay::Side,
};

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// A stream that is to become a tunnel, if its request is answered so.
pub(super) struct Asked {
    stream: OnUpgrade,
    /// It was an extended CONNECT.
    extended: bool,
}

/// What a request with CONNECT asks for; nothing of any other. An extended one is made the upgrade
/// it stands for, so that routes take it as they do over HTTP/1.1.
pub(super) fn asked(
    request: &mut Request<Incoming>,
    connection: &Connection,
) -> Option<Box<Asked>> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let stream = hyper::upgrade::on(&mut *request);
    let protocol = request.extensions_mut().remove::<Protocol>();
    request.extensions_mut().insert(ToTunnel);
    let extended = protocol.is_some();
    if let Some(protocol) = protocol {
        *request.method_mut() = Method::GET;
        // RFC 8441 section 5: HTTP/1.1 has a key where HTTP/2 has none.
        let key = connection.local.random_id().to_be_bytes();
        let fields = request.headers_mut();
        // One that is not a value is none that a route allows.
        if let Ok(protocol) = HeaderValue::from_str(protocol.as_str()) {
            fields.insert(header::CONNECTION, UPGRADE);
            fields.insert(header::UPGRADE, protocol);
        }
        if let Ok(key) = HeaderValue::from_str(&STANDARD.encode(key)) {
            fields.insert(header::SEC_WEBSOCKET_KEY, key);
        }
    }
    Some(Box::new(Asked { stream, extended }))
}

impl Asked {
    /// Makes of the answer the one the client gets, and has the tunnel run if there is to be one;
    /// `open` says that the stream is.
    pub(super) fn settle(
        self,
        response: Response<ResponseBody>,
        connection: Rc<Connection>,
        open: Open,
        line: Line,
    ) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        let ResponseBody::Tunnel(mut tunnel) = body else {
            return Response::from_parts(parts, body);
        };
        if self.extended {
            parts.status = StatusCode::OK;
            tunnel.answered(parts.status);
            for name in [
                header::CONNECTION,
                header::UPGRADE,
                header::SEC_WEBSOCKET_ACCEPT,
                HeaderName::from_static("keep-alive"),
            ] {
                parts.headers.remove(name);
            }
        }
        tokio::task::spawn_local(async move {
            if let Ok(stream) = self.stream.await {
                let client = Switched {
                    io: Stream::new(stream, line),
                    read: Bytes::new(),
                };
                tunnel.run(&connection, client).await;
            }
            drop(open);
        });
        Response::from_parts(parts, ResponseBody::Full(None))
    }
}

/// What hyper sends with on a stream that is a tunnel: a task of its own, which takes the end of
/// its bytes for an orderly end, whatever the reason.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    cut: CancellationToken,
    over: Rc<Cell<bool>>,
}

impl Line {
    /// Runs the task until it has ended or is cut.
    pub(super) async fn run<F: Future>(self, task: F) {
        tokio::select! {
            biased;
            () = self.cut.cancelled() => {}
            _ = task => {}
        }
        self.over.set(true);
    }
}

/// The client's side of a tunnel.
struct Stream {
    io: TokioIo<Upgraded>,
    line: Line,
    /// The last byte to the client was given.
    shut: bool,
    /// The end was seen, and is to be looked at once more.
    ended: bool,
}

impl Stream {
    fn new(io: Upgraded, line: Line) -> Self {
        Self {
            io: TokioIo::new(io),
            line,
            shut: false,
            ended: false,
        }
    }
}

impl Side for Stream {
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    /// With nothing left that sends or receives, the stream is reset.
    fn reset(&mut self) {
        self.line.cut.cancel();
    }
}

impl AsyncRead for Stream {
    /// hyper reads a stream that was cancelled as one that has ended (RFC 8441 section 5 makes a
    /// difference), but what sends on it stops only then, unless it was told to.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        if buffer.filled().len() > before || buffer.remaining() == 0 || this.shut {
            return Poll::Ready(Ok(()));
        }
        if this.line.over.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !this.ended {
            // Both are woken by the same frame: the other is to have its turn.
            this.ended = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.shut = true;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
