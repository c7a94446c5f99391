//! One request over one connection, and once more where a kept connection turned out closed.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;

use super::{
    BoxError, Pool, Stream, UpstreamBody, UpstreamError, body::Http1Body, connect::connect, http2,
    pool::Keep,
};
use crate::{
    cluster::Cluster,
    http1::{ClientConfig, Connection, Hooks, SendError, SendErrorKind},
    proxy_protocol::Addresses,
};

/// Is told of interim responses.
pub trait Notify: Clone {
    /// A 1xx response other than 101 came.
    fn interim(&self, status: StatusCode, headers: &HeaderMap);
}

/// Passes interim responses on and takes the connection back.
#[derive(Debug)]
pub struct Returning<N> {
    notify: N,
    pool: Rc<Pool>,
    keep: Keep,
}

impl<N: Notify> Hooks<Stream> for Returning<N> {
    fn interim(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.notify.interim(status, headers);
    }

    fn idle(self, connection: Connection<Stream>) {
        self.pool.put(self.keep, connection);
    }
}

/// Sends `request`, of `client`, to `endpoint` over a kept connection or a new one.
///
/// A kept connection can be closed by the other side just as the request is written. Where nothing
/// was answered then and nothing of the request's body was taken, and the method is idempotent
/// (RFC 9110 section 9.2.2), it is sent again over a new connection.
///
/// # Errors
/// When there is no connection or no response.
pub async fn send<B, N>(
    pool: &Rc<Pool>,
    worker: usize,
    cluster: &Arc<Cluster>,
    endpoint: SocketAddr,
    client: impl FnOnce() -> Addresses,
    request: Request<B>,
    notify: N,
) -> Result<Response<UpstreamBody<B, N>>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
    N: Notify,
{
    if cluster.http2 {
        // Boxed, so that a request over HTTP/1 does not hold the room for it.
        let sent = http2::send(pool, worker, cluster, endpoint, request, notify);
        let response = Box::pin(sent).await?;
        return Ok(response.map(UpstreamBody::Http2));
    }
    let response = http1(pool, worker, cluster, endpoint, client, request, notify).await?;
    Ok(response.map(UpstreamBody::Http1))
}

async fn http1<B, N>(
    pool: &Rc<Pool>,
    worker: usize,
    cluster: &Cluster,
    endpoint: SocketAddr,
    client: impl FnOnce() -> Addresses,
    mut request: Request<B>,
    notify: N,
) -> Result<Response<Http1Body<B, N>>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    N: Notify,
{
    let keep = Keep {
        endpoint,
        idle_timeout: cluster.idle_timeout,
        max_idle: cluster.max_idle,
    };
    let returning = || Returning {
        notify: notify.clone(),
        pool: pool.clone(),
        keep,
    };
    let tls = cluster.tls.as_ref().map(|tls| tls.identity);
    let shard = cluster.counters.shard(worker);
    // Kept connections do not say which client they are for.
    if cluster.proxy_protocol.is_none()
        && let Some(connection) = pool.take(endpoint, tls)
    {
        shard.reused.increment();
        let idempotent = request.method().is_idempotent();
        match connection.send(request, returning()).await {
            Ok(response) => return Ok(response),
            Err(error) if idempotent && error.is_stale() => {
                let failed = failed(endpoint, &error);
                let Some(again) = error.into_request() else {
                    return Err(failed);
                };
                shard.replays.increment();
                request = again;
            }
            Err(error) => return Err(failed(endpoint, &error)),
        }
    }
    let stream = connect(cluster, worker, endpoint, client).await?;
    shard.connections.increment();
    let connection = Connection::new(stream, ClientConfig::default());
    let sent = connection.send(request, returning()).await;
    sent.map_err(|error| failed(endpoint, &error))
}

/// Whose fault it is that there is no response.
fn failed<B>(endpoint: SocketAddr, error: &SendError<B>) -> UpstreamError {
    match error.kind() {
        SendErrorKind::RequestBody(cause) => UpstreamError::RequestBody(cause.to_string()),
        kind => UpstreamError::Broken(endpoint, kind.to_string()),
    }
}
