//! A client and an upstream that speak another protocol than HTTP: bytes both ways until both have
//! ended.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::{Connection, Record, cause_of};
use crate::{
    http1::Switched,
    relay::{Abrupt, Early, Limits, Side, relay},
    upstream::{InFlight, Stream},
};

/// Beside a request over HTTP/2 that asks for a tunnel: to its client, any success would be one.
#[derive(Debug, Clone, Copy)]
pub struct ToTunnel;

/// The upstream's side of a tunnel, before its client's is there.
#[derive(Debug)]
pub struct Tunnel {
    upstream: Switched<Stream>,
    idle_timeout: Option<Duration>,
    /// Counted as in flight until it ends.
    _in_flight: InFlight,
    pub(super) record: Option<Record>,
}

impl Tunnel {
    pub(super) fn new(
        upstream: Switched<Stream>,
        idle_timeout: Option<Duration>,
        in_flight: InFlight,
    ) -> Self {
        Self {
            upstream,
            idle_timeout,
            _in_flight: in_flight,
            record: None,
        }
    }

    /// The client is told another status than that of the response.
    pub fn answered(&mut self, status: StatusCode) {
        if let Some(record) = &mut self.record {
            record.status(status);
        }
    }

    /// Relays between `client` and the upstream until both have ended, one of them fails, or no
    /// byte has moved for the time of the route. To end it before, drop the future. However it ends
    /// before both sides have, both are reset: what was cut must not look whole.
    pub async fn run<I>(mut self, connection: &Connection, client: Switched<I>)
    where
        I: Side,
    {
        let view = connection.entrance.view(&connection.local);
        let counters = view.listener.counters.clone();
        drop(view);
        let counted = Counted::begin(counters.shard(connection.local.worker));
        let early = Early {
            client: client.read,
            upstream: self.upstream.read,
        };
        let limits = Limits {
            idle: self.idle_timeout,
            until: None,
        };
        let mut downstream = Abrupt::new(client.io);
        let mut upstream = Abrupt::new(self.upstream.io);
        let (near, far) = (downstream.stream(), upstream.stream());
        let moved = |to_upstream, to_client| {
            if let Some(record) = &mut self.record {
                record.moved(to_upstream, to_client);
            }
        };
        let relayed = relay(near, far, early, limits, moved).await;
        if let Some(record) = &mut self.record {
            if let Err(cut) = &relayed {
                record.cut(cause_of(cut));
            }
            record.end(Instant::now(), relayed.is_ok());
        }
        match relayed {
            Ok(()) => {
                downstream.end_in_order();
                upstream.end_in_order();
            }
            Err(cut) => tracing::debug!(peer = %connection.peer, %cut, "a tunnel was cut"),
        }
        drop(counted);
    }
}

/// Counts a tunnel as open until dropped.
struct Counted<'s>(&'s crate::telemetry::ListenerShard);

impl<'s> Counted<'s> {
    fn begin(shard: &'s crate::telemetry::ListenerShard) -> Self {
        shard.tunnels.increment();
        shard.tunnels_active.increment();
        Self(shard)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.tunnels_active.decrement();
    }
}
