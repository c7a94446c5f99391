//! One request over one connection of HTTP/1.1, and once more where a kept connection turned out
//! closed.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, request::Parts};
use http_body::Body;
use tokio::net::TcpStream;

use super::{
    BoxError, Notify, Pool, Stream, To, UpstreamError, body::Http1Body, connect::connect,
    pool::Keep,
};
use crate::{
    http1::{ClientConfig, Connection, Hooks, SendError, SendErrorKind},
    proxy_protocol::Addresses,
    relay::Side as _,
    tls::Speak,
};

/// Passes interim responses on and takes the connection back.
#[derive(Debug)]
pub struct Returning<N> {
    notify: N,
    pool: Rc<Pool>,
    keep: Keep,
}

impl<N> Returning<N> {
    fn new(to: To<'_>, notify: N) -> Self {
        Self {
            notify,
            pool: to.pool.clone(),
            keep: Keep {
                endpoint: to.endpoint,
                idle_timeout: to.cluster.idle_timeout,
                max_idle: to.cluster.max_idle,
            },
        }
    }
}

impl<N: Notify> Hooks<Stream> for Returning<N> {
    fn interim(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.notify.interim(status, headers);
    }

    fn idle(self, connection: Connection<Stream>) {
        self.pool.put(self.keep, connection);
    }

    fn plain(stream: &Stream) -> Option<&TcpStream> {
        stream.plain()
    }
}

/// What became of a request that kept connections were tried for.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(super) enum Kept<B, N> {
    /// It was answered.
    Answered(Response<Http1Body<B, N>>),
    /// There is none, or it was just being closed: a new one is needed. This is the body.
    Left(B),
}

/// Sends a request, of `client`, over a kept connection or a new one.
///
/// # Errors
/// When there is no connection or no response.
pub(super) async fn send<B, N>(
    to: To<'_>,
    client: impl FnOnce() -> Addresses,
    head: &mut Parts,
    body: B,
    notify: N,
) -> Result<Response<Http1Body<B, N>>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    N: Notify,
{
    let body = match over_kept(to, head, body, &notify).await? {
        Kept::Answered(response) => return Ok(response),
        Kept::Left(body) => body,
    };
    // Boxed: most requests go over a kept one, and need no room for this.
    Box::pin(async {
        let stream = connect(to.cluster, to.worker, to.endpoint, Speak::Http1, client).await?;
        over(to, stream, head, body, notify).await
    })
    .await
}

/// Sends a request over the connection that was used last, if one is kept.
///
/// It can be closed by the other side just as the request is written. Where nothing was answered
/// then and nothing of the request's body was taken, and the method is idempotent (RFC 9110 section
/// 9.2.2), its body is given back and its head is as it was.
///
/// # Errors
/// When there is no response, and the request cannot be sent again.
pub(super) async fn over_kept<B, N>(
    to: To<'_>,
    head: &mut Parts,
    body: B,
    notify: &N,
) -> Result<Kept<B, N>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    N: Notify,
{
    let Some(connection) = to.pool.take(to.key()) else {
        return Ok(Kept::Left(body));
    };
    let shard = to.cluster.counters.shard(to.worker);
    shard.reused.increment();
    let idempotent = head.method.is_idempotent();
    let hooks = Returning::new(to, notify.clone());
    match connection.send(head, body, hooks).await {
        Ok(response) => Ok(Kept::Answered(response)),
        Err(error) if idempotent && error.is_stale() => {
            let failed = failed(to, &error);
            let body = error.into_body().ok_or(failed)?;
            shard.replays.increment();
            Ok(Kept::Left(body))
        }
        Err(error) => Err(failed(to, &error)),
    }
}

/// Sends a request over `stream`, a new connection.
///
/// # Errors
/// When there is no response.
pub(super) async fn over<B, N>(
    to: To<'_>,
    stream: Stream,
    head: &mut Parts,
    body: B,
    notify: N,
) -> Result<Response<Http1Body<B, N>>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    N: Notify,
{
    let shard = to.cluster.counters.shard(to.worker);
    shard.connections.increment();
    let connection = Connection::new(stream, ClientConfig::default());
    let sent = connection
        .send(head, body, Returning::new(to, notify))
        .await;
    sent.map_err(|error| failed(to, &error))
}

/// Whose fault it is that there is no response.
fn failed<B>(to: To<'_>, error: &SendError<B>) -> UpstreamError {
    match error.kind() {
        SendErrorKind::RequestBody(cause) => UpstreamError::RequestBody(cause.to_string()),
        kind => UpstreamError::Broken(to.endpoint, kind.to_string()),
    }
}
