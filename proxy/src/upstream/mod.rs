//! Connections to endpoints: opened, used for one request at a time or for many, kept for the next.

mod auto;
mod body;
mod connect;
mod http1;
mod http2;
mod pool;
mod send;
mod stream;

use std::{io, net::SocketAddr, sync::Arc};

pub use body::UpstreamBody;
pub use connect::connect;
pub use pool::Pool;
pub use send::{Notify, To, send};
pub use stream::Stream;
use tokio::time::Instant;

use crate::{cluster::Cluster, telemetry::ClusterShard, tls::HandshakeError};

/// Whatever went wrong with a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an endpoint gave no response.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The endpoint could not be connected to.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, #[source] io::Error),
    /// Connecting took longer than the cluster allows.
    #[error("connecting to {0} took too long")]
    ConnectTimeout(SocketAddr),
    /// TLS with the endpoint failed.
    #[error("{0}: {1}")]
    Tls(SocketAddr, #[source] HandshakeError),
    /// The connection broke, or what came was no response.
    #[error("{0}: {1}")]
    Broken(SocketAddr, String),
    /// The upstream said that it did not process the request, which cannot be sent again.
    #[error("{0}: it did not process the request")]
    Unprocessed(SocketAddr),
    /// An upgrade cannot go over HTTP/2 to this upstream.
    #[error("{0}: it takes no upgrade of this kind over HTTP/2")]
    NoUpgrade(SocketAddr),
    /// The request's own body was malformed or broke off.
    #[error("the request body failed: {0}")]
    RequestBody(String),
}

/// Counts a request as in flight until dropped.
#[derive(Debug)]
pub struct InFlight {
    /// Of one worker, so that no other counts references to it.
    shard: Arc<ClusterShard>,
    /// Until it is known how long it took.
    began: Option<Instant>,
}

impl InFlight {
    /// One more request to `cluster` by this worker, which came when it `began`.
    #[must_use]
    pub fn new(cluster: &Cluster, worker: usize, began: Instant) -> Self {
        let shard = cluster.counters.shard(worker).clone();
        shard.requests_active.increment();
        Self {
            shard,
            began: Some(began),
        }
    }

    /// It was answered to the end, or has become something else than a request. Else it takes as
    /// long as this is there.
    pub fn end(&mut self, at: Instant) {
        if let Some(began) = self.began.take() {
            self.shard.duration.observe(at.duration_since(began));
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.began.is_some() {
            self.end(Instant::now());
        }
        self.shard.requests_active.decrement();
    }
}
