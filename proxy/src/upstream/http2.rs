//! HTTP/2 with prior knowledge: many requests at once over one connection.
//!
//! A request whose stream the upstream certainly did not process (RFC 9113 sections 6.8 and 8.7) is
//! sent again over another connection, whatever its method, as long as nothing of its body is gone.

mod body;
mod session;
mod sessions;
mod tunnel;
mod upload;

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{Reason, client::ResponseFuture};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header, request::Parts, uri};
use http_body::Body;

pub use body::Http2Body;
pub(super) use sessions::{Sessions, adopt};
pub use tunnel::Http2Tunnel;

use self::{session::Stream, sessions::Room, tunnel::Upgrade, upload::Upload};
use super::{BoxError, Notify, To, UpstreamBody, UpstreamError};
use crate::http1::MAX_INTERIM;

/// How often a request is tried, over as many connections.
const ATTEMPTS: usize = 5;

/// What became of a request.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(super) enum Sent<B, N> {
    /// It was answered.
    Answered(Response<UpstreamBody<B, N>>),
    /// The endpoint, being asked, chose HTTP/1.1: on this connection, unless another request has it.
    /// This is the request's body.
    SpeaksHttp1(B, Option<super::Stream>),
}

/// Sends a request over a connection with room for it, or a new one.
///
/// # Errors
/// When there is no connection or no response.
pub(super) async fn send<B, N>(
    to: To<'_>,
    parts: &Parts,
    mut body: B,
    notify: &N,
) -> Result<Sent<B, N>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
    N: Notify,
{
    let upgrade = Upgrade::asked(parts);
    let https = to.cluster.tls.is_some();
    let idempotent = parts.method.is_idempotent();
    let mut refused_by = None;
    for attempt in 1..=ATTEMPTS {
        let stream = match sessions::stream(to, refused_by.as_ref()).await? {
            Room::Stream(stream) => stream,
            Room::Http1(opened) => return Ok(Sent::SpeaksHttp1(body, opened)),
        };
        if let Some(upgrade) = upgrade {
            let tunnel = tunnel::open(to, stream, upgrade, parts, body, notify);
            return Ok(Sent::Answered(tunnel.await?));
        }
        let session = stream.session();
        let failed = match exchange(stream, head(parts, https), body, notify).await {
            Ok(response) => return Ok(Sent::Answered(response.map(UpstreamBody::Http2))),
            Err(failed) => failed,
        };
        let (error, untouched) = match failed {
            Failed::Body(error) => return Err(UpstreamError::RequestBody(error.to_string())),
            Failed::Upstream(error, untouched) => (error, untouched),
        };
        let fate = fate(&error);
        let again = attempt < ATTEMPTS
            && match fate {
                // Once: who refuses here and there has too much to do.
                Fate::Refused => refused_by.replace(session).is_none(),
                Fate::Gone => true,
                Fate::Unknown => idempotent && error.is_io(),
            };
        match untouched {
            Some(untouched) if again => body = untouched,
            _ => return Err(failure(to, fate, &error)),
        }
        to.cluster.counters.shard(to.worker).replays.increment();
    }
    Err(UpstreamError::Unprocessed(to.endpoint))
}

/// What is known of a request whose stream has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was refused unread (RFC 9113 section 8.7).
    Refused,
    /// The connection was to take no more, and did not take it (RFC 9113 section 6.8).
    Gone,
    /// It may have been processed.
    Unknown,
}

fn fate(error: &h2::Error) -> Fate {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    match error.is_remote() {
        true if refused => Fate::Refused,
        // Streams up to the last one that a GOAWAY names do not end by it.
        true if error.is_go_away() => Fate::Gone,
        _ => Fate::Unknown,
    }
}

fn failure(to: To<'_>, fate: Fate, error: &h2::Error) -> UpstreamError {
    match fate {
        Fate::Refused | Fate::Gone => UpstreamError::Unprocessed(to.endpoint),
        Fate::Unknown => UpstreamError::Broken(to.endpoint, error.to_string()),
    }
}

/// The head of the request as HTTP/2 has it: the host in `:authority`, and nothing of a connection.
fn head(parts: &Parts, https: bool) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    let mut fields = parts.headers.clone();
    for name in [header::CONNECTION, header::UPGRADE] {
        fields.remove(name);
    }
    let host = fields.remove(header::HOST);
    let mut target = uri::Parts::default();
    target.scheme = Some(if https {
        uri::Scheme::HTTPS
    } else {
        uri::Scheme::HTTP
    });
    target.authority = host
        .as_ref()
        .map(HeaderValue::as_bytes)
        .and_then(|host| uri::Authority::try_from(host).ok());
    target.path_and_query = parts.uri.path_and_query().cloned();
    if target.authority.is_none() {
        // HTTP/1.0 needs none; HTTP/2 neither.
        target.scheme = None;
    }
    *request.uri_mut() = Uri::from_parts(target).unwrap_or_else(|_| parts.uri.clone());
    *request.headers_mut() = fields;
    request
}

/// Why there is no response.
enum Failed<B> {
    /// The request's own body.
    Body(BoxError),
    /// The upstream; with the body if nothing was taken from it.
    Upstream(h2::Error, Option<B>),
}

async fn exchange<B, N>(
    mut stream: Stream,
    head: Request<()>,
    body: B,
    notify: &N,
) -> Result<Response<Http2Body>, Failed<B>>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
    N: Notify,
{
    let ended = body.is_end_stream();
    let (mut response, sending) = match stream.send.send_request(head, ended) {
        Ok(begun) => begun,
        Err(error) => return Err(Failed::Upstream(error, Some(body))),
    };
    let mut upload = Upload::new(sending, body, ended);
    let mut interims = 0;
    let answered = poll_fn(|cx| {
        if let Poll::Ready(Err(error)) = upload.poll(cx) {
            return Poll::Ready(Err(Failed::Body(error)));
        }
        if let Err(error) = poll_interim(&mut response, cx, &mut interims, notify) {
            return Poll::Ready(Err(Failed::Upstream(error, None)));
        }
        Pin::new(&mut response)
            .poll(cx)
            .map_err(|error| Failed::Upstream(error, None))
    })
    .await;
    match answered {
        Ok(response) => {
            let upload = upload.go_on();
            Ok(response.map(|receiving| Http2Body::new(receiving, stream, upload)))
        }
        Err(Failed::Upstream(error, _)) => Err(Failed::Upstream(error, upload.into_untouched())),
        Err(failed) => Err(failed),
    }
}

/// Passes interim responses on, as many as over HTTP/1.
fn poll_interim<N: Notify>(
    response: &mut ResponseFuture,
    cx: &mut Context<'_>,
    before: &mut u32,
    notify: &N,
) -> Result<(), h2::Error> {
    while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
        *before += 1;
        if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
            // There is none in HTTP/2 (RFC 9113 section 8.6).
            return Err(h2::Reason::PROTOCOL_ERROR.into());
        }
        if *before > MAX_INTERIM {
            return Err(h2::Reason::ENHANCE_YOUR_CALM.into());
        }
        notify.interim(interim.status(), interim.headers());
    }
    Ok(())
}
