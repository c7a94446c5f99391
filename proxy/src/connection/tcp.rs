//! A connection passed on, byte by byte, to an endpoint of a cluster.

use std::{net::SocketAddr, sync::Arc};

use fleetway_api::Relay;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::record::Record;
use crate::{
    cluster::Cluster,
    http::Local,
    proxy_protocol::Addresses,
    relay::{Abrupt, Cut, Early, Limits, Side, relay},
    snapshot::{Slot, Snapshot, Targets},
    telemetry::{ClusterShard, ListenerShard},
    tls::Speak,
    upstream,
};

/// Where a connection goes and how, chosen when it was accepted.
#[derive(Debug)]
pub(super) struct Passage {
    cluster: Option<(Arc<Cluster>, Slot)>,
    relay: Relay,
}

impl Passage {
    /// Chooses one of `targets`.
    pub(super) fn choose(
        snapshot: &Snapshot,
        local: &Local,
        targets: &Targets,
        relay: Relay,
    ) -> Self {
        let slot = targets.choose(|total| local.random_below(total));
        let cluster = slot.and_then(|slot| Some((snapshot.cluster(slot)?.clone(), slot)));
        Self { cluster, relay }
    }
}

/// Passes a connection on to its end. However it ends before both sides have, both are reset: what
/// was cut must not look whole.
pub(super) async fn serve<W: Side>(
    stream: W,
    client: Addresses,
    passage: Passage,
    local: &Local,
    shard: &ListenerShard,
    mut record: Record,
) {
    let peer = client.source;
    let mut downstream = Abrupt::new(stream);
    let Passage {
        cluster,
        relay: settings,
    } = passage;
    let until = settings.max_duration.map(|most| Instant::now() + most);
    let connected = match cluster {
        Some((cluster, slot)) => {
            connect(&cluster, slot, client, local, settings.max_connect_attempts)
                .await
                .map(|(upstream, endpoint)| {
                    record.sent_to(&cluster, endpoint);
                    (upstream, cluster.counters.clone())
                })
        }
        None => None,
    };
    let Some((upstream, counters)) = connected else {
        shard.no_endpoint.increment();
        record.failed("no_endpoint");
        tracing::debug!(%peer, "no endpoint to pass the connection on to");
        return;
    };
    let mut upstream = Abrupt::new(upstream);
    let of_cluster = Active::new(counters.shard(local.worker));
    let limits = Limits {
        idle: settings.idle_timeout,
        until,
    };
    let counted = |to_upstream, to_client| {
        shard.received_bytes.add(to_upstream);
        of_cluster.0.sent_bytes.add(to_upstream);
        shard.sent_bytes.add(to_client);
        of_cluster.0.received_bytes.add(to_client);
        record.moved(to_upstream, to_client);
    };
    let (near, far) = (downstream.stream(), upstream.stream());
    let relayed = relay(near, far, Early::default(), limits, counted).await;
    record.ended(&relayed);
    match relayed {
        Ok(()) => {
            downstream.end_in_order();
            upstream.end_in_order();
        }
        Err(cut) => {
            match cut {
                Cut::Idle | Cut::Expired => shard.timeouts.increment(),
                Cut::Client(_) | Cut::Upstream(_) => shard.broken.increment(),
            }
            tracing::debug!(%peer, %cut, "connection cut");
        }
    }
}

/// Connects to the endpoint whose turn it is; if that fails to the next, each once, at most
/// `attempts` of them.
async fn connect(
    cluster: &Cluster,
    slot: Slot,
    client: Addresses,
    local: &Local,
    attempts: u32,
) -> Option<(upstream::Stream, SocketAddr)> {
    let shard = cluster.counters.shard(local.worker);
    let mut tried: SmallVec<[SocketAddr; 3]> = SmallVec::new();
    for _ in 0..attempts {
        let endpoint = untried(cluster, slot, local, &tried)?;
        match upstream::connect(cluster, local.worker, endpoint, Speak::Bytes, || client).await {
            Ok(stream) => {
                shard.connections.increment();
                return Some((stream, endpoint));
            }
            Err(error) => {
                shard.connect_failures.increment();
                tracing::debug!(cluster = %cluster.name, %error, "cannot pass a connection on");
            }
        }
        tried.push(endpoint);
    }
    None
}

/// The next endpoint in turn that was not tried. Other connections take turns too, so one round is
/// looked through.
fn untried(
    cluster: &Cluster,
    slot: Slot,
    local: &Local,
    tried: &[SocketAddr],
) -> Option<SocketAddr> {
    (0..cluster.schedule.round())
        .filter_map(|_| local.pick(cluster, slot))
        .find(|endpoint| !tried.contains(endpoint))
}

/// Counts a relayed connection as open until dropped.
struct Active<'a>(&'a ClusterShard);

impl<'a> Active<'a> {
    fn new(shard: &'a ClusterShard) -> Self {
        shard.relays_active.increment();
        Self(shard)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.relays_active.decrement();
    }
}
