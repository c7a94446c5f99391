//! One request, over whichever version of HTTP its cluster speaks.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use fleetway_api::UpstreamProtocol;
use http::{HeaderMap, Response, StatusCode, request::Parts};
use http_body::Body;

use super::{BoxError, Pool, UpstreamBody, UpstreamError, auto, http1, http2, pool::Key};
use crate::{cluster::Cluster, proxy_protocol::Addresses};

/// Is told of interim responses.
pub trait Notify: Clone {
    /// A 1xx response other than 101 came.
    fn interim(&self, status: StatusCode, headers: &HeaderMap);
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    /// The worker's number, and its connections.
    pub worker: usize,
    /// The connections there are.
    pub pool: &'a Rc<Pool>,
    /// The cluster.
    pub cluster: &'a Arc<Cluster>,
    /// The one of its endpoints whose turn it is.
    pub endpoint: SocketAddr,
}

impl To<'_> {
    /// What tells its connections from those to others and those made under other settings of TLS.
    pub(super) fn key(&self) -> Key {
        (
            self.endpoint,
            self.cluster.tls.as_ref().map(|tls| tls.identity),
        )
    }
}

/// Sends a request, of `client`, over a kept connection or a new one. After a response `head` is of
/// no use: what it has may have gone into what was sent.
///
/// # Errors
/// When there is no connection or no response.
pub async fn send<B, N>(
    to: To<'_>,
    client: impl FnOnce() -> Addresses,
    head: &mut Parts,
    body: B,
    notify: N,
) -> Result<Response<UpstreamBody<B, N>>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
    N: Notify,
{
    match to.cluster.protocol {
        UpstreamProtocol::Http1 => {
            let response = http1::send(to, client, head, body, notify).await?;
            Ok(response.map(UpstreamBody::Http1))
        }
        // Boxed, so that a request over HTTP/1 does not hold the room for them.
        UpstreamProtocol::Http2 => match Box::pin(http2::send(to, head, body, &notify)).await? {
            http2::Sent::Answered(response) => Ok(response),
            // It is not asked.
            http2::Sent::SpeaksHttp1(..) => Err(UpstreamError::Broken(
                to.endpoint,
                "it does not speak HTTP/2".into(),
            )),
        },
        UpstreamProtocol::Auto => Box::pin(auto::send(to, client, head, body, notify)).await,
    }
}
