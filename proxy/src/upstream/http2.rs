//! HTTP/2 with prior knowledge: many requests at once over one connection.
//!
//! A request whose stream the upstream certainly did not process (RFC 9113 sections 6.8 and 8.7) is
//! sent again over another connection, whatever its method, as long as nothing of its body is gone.

mod body;
mod sessions;
mod upload;

use std::{
    future::{Future as _, poll_fn},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use h2::{Reason, client::ResponseFuture};
use http::{HeaderValue, Request, Response, Uri, header, request::Parts, uri};
use http_body::Body;

pub use body::Http2Body;
pub(super) use sessions::Sessions;

use self::{sessions::Stream, upload::Upload};
use super::{BoxError, Notify, Pool, UpstreamError};
use crate::cluster::Cluster;

/// How often a request is tried, over as many connections.
const ATTEMPTS: usize = 5;

/// Sends `request` to `endpoint` over a connection with room for it, or a new one.
///
/// # Errors
/// When there is no connection or no response.
pub(super) async fn send<B, N>(
    pool: &Rc<Pool>,
    worker: usize,
    cluster: &Arc<Cluster>,
    endpoint: SocketAddr,
    request: Request<B>,
    notify: N,
) -> Result<Response<Http2Body>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
    N: Notify,
{
    let (parts, mut body) = request.into_parts();
    let idempotent = parts.method.is_idempotent();
    let shard = cluster.counters.shard(worker);
    let mut attempt = 1;
    loop {
        let stream = sessions::stream(pool, worker, cluster, endpoint).await?;
        let failed =
            match exchange(stream, head(&parts, cluster.tls.is_some()), body, &notify).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
        let (error, untouched) = match failed {
            Failed::Body(error) => return Err(UpstreamError::RequestBody(error.to_string())),
            Failed::Upstream(error, untouched) => (error, untouched),
        };
        let again =
            attempt < ATTEMPTS && (was_not_processed(&error) || (idempotent && error.is_io()));
        match untouched {
            Some(untouched) if again => body = untouched,
            _ => return Err(UpstreamError::Broken(endpoint, error.to_string())),
        }
        shard.replays.increment();
        attempt += 1;
    }
}

/// Whether the upstream said so, or the stream was never begun.
fn was_not_processed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // Streams up to the last one that a GOAWAY names do not end by it.
    let gone = error.is_go_away();
    error.is_remote() && (refused || gone)
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
    let answered = poll_fn(|cx| {
        if let Poll::Ready(Err(error)) = upload.poll(cx) {
            return Poll::Ready(Err(Failed::Body(error)));
        }
        poll_interim(&mut response, cx, notify);
        std::pin::Pin::new(&mut response)
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

fn poll_interim<N: Notify>(
    response: &mut ResponseFuture,
    cx: &mut std::task::Context<'_>,
    notify: &N,
) {
    while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
        notify.interim(interim.status(), interim.headers());
    }
}
