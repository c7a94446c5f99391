//! A stream that carries another protocol: what an upgrade is over HTTP/2, an extended CONNECT (RFC
//! 8441).

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::ext::Protocol;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Http2Body, failure, fate, head, poll_interim, session::Stream};
use crate::{
    http1::websocket,
    http2::Duplex,
    relay::Side as _,
    upstream::{BoxError, Notify, To, UpstreamBody, UpstreamError},
};

/// What a request's `Upgrade` comes to: one protocol, the first where there are several.
#[derive(Debug)]
pub(super) struct Upgrade(HeaderValue);

impl Upgrade {
    /// The protocol `parts` ask for, if they do.
    pub(super) fn asked(parts: &Parts) -> Option<Self> {
        let asked = parts.headers.get(header::UPGRADE)?.as_bytes();
        let first = asked.split(|byte| *byte == b',').next()?;
        HeaderValue::from_bytes(first.trim_ascii()).ok().map(Self)
    }

    /// What stands in place of the upstream's fields in a 101 (RFC 8441 section 5).
    fn answer(&self, request: &HeaderMap, fields: &mut HeaderMap) {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, self.0.clone());
        let is_websocket = self.0.as_bytes();
        let is_websocket = is_websocket.eq_ignore_ascii_case(websocket::NAME.as_bytes());
        if is_websocket && let Some(key) = request.get(header::SEC_WEBSOCKET_KEY) {
            let proof = websocket::accept(key.as_bytes().trim_ascii());
            if let Ok(proof) = HeaderValue::from_str(&proof) {
                fields.insert(header::SEC_WEBSOCKET_ACCEPT, proof);
            }
        }
    }
}

/// Asks for a tunnel on `stream`. A 2xx becomes the 101 that it is over HTTP/1.1.
///
/// # Errors
/// When the upstream takes none, the request cannot ask for one, or there is no response.
pub(super) async fn open<B, N>(
    to: To<'_>,
    mut stream: Stream,
    upgrade: Upgrade,
    parts: &Parts,
    body: B,
    notify: &N,
) -> Result<Response<UpstreamBody<B, N>>, UpstreamError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    N: Notify,
{
    // CONNECT has no method beside it, and no body: both would be lost.
    let is_plain = parts.method == Method::GET && body.is_end_stream();
    if !is_plain || !stream.send.is_extended_connect_protocol_enabled() {
        return Err(UpstreamError::NoUpgrade(to.endpoint));
    }
    let broken = |error: h2::Error| failure(to, fate(&error), &error);
    let request = request(&upgrade, parts, to.cluster.tls.is_some());
    let request = request.ok_or(UpstreamError::NoUpgrade(to.endpoint))?;
    let (mut response, mut sending) = stream.send.send_request(request, false).map_err(broken)?;
    let mut interims = 0;
    let answered = poll_fn(|cx| {
        if let Err(error) = poll_interim(&mut response, cx, &mut interims, notify) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut response).poll(cx)
    });
    let (mut head, receiving) = answered.await.map_err(broken)?.into_parts();
    if !head.status.is_success() {
        // Left open, what sends would reset the stream under its answer.
        let _ = sending.send_data(Bytes::new(), true);
        let body = Http2Body::new(receiving, stream, None);
        return Ok(Response::from_parts(head, UpstreamBody::Http2(body)));
    }
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    upgrade.answer(&parts.headers, &mut head.headers);
    let tunnel = Http2Tunnel {
        io: Duplex::new(sending, receiving),
        _stream: stream,
    };
    let tunnel = UpstreamBody::Tunnel(Box::new(tunnel));
    Ok(Response::from_parts(head, tunnel))
}

/// The extended CONNECT that stands for an upgrade.
fn request(upgrade: &Upgrade, parts: &Parts, https: bool) -> Option<Request<()>> {
    let mut request = head(parts, https);
    *request.method_mut() = Method::CONNECT;
    // What proves that an upgrade was understood is not needed here (RFC 8441 section 5).
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    let protocol = Protocol::from(upgrade.0.to_str().ok()?);
    request.extensions_mut().insert(protocol);
    Some(request)
}

/// Both directions of the other protocol.
#[derive(Debug)]
pub struct Http2Tunnel {
    io: Duplex,
    /// Counted as open until this is dropped.
    _stream: Stream,
}

impl Http2Tunnel {
    /// Ready once it is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.io.poll_gone(cx)
    }

    /// Ends it as a broken connection does.
    pub fn reset(&mut self) {
        self.io.reset();
    }
}

impl AsyncRead for Http2Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Http2Tunnel {
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
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
