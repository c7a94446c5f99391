//! A connection passed on, byte by byte, to an endpoint of a cluster.

use std::{net::SocketAddr, sync::Arc};

use fleetway_api::Relay;
use smallvec::SmallVec;
use tokio::time::Instant;

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
) {
    let peer = client.source;
    let mut downstream = Abrupt::new(stream);
    let Passage { cluster, relay } = passage;
    let until = relay.max_duration.map(|most| Instant::now() + most);
    let connected = match cluster {
        Some((cluster, slot)) => connect(&cluster, slot, client, local, relay.max_connect_attempts)
            .await
            .map(|upstream| (upstream, cluster.counters.clone())),
        None => None,
    };
    let Some((upstream, counters)) = connected else {
        shard.no_endpoint.increment();
        tracing::debug!(%peer, "no endpoint to pass the connection on to");
        return;
    };
    let mut upstream = Abrupt::new(upstream);
    let of_cluster = Active::new(counters.shard(local.worker));
    let limits = Limits {
        idle: relay.idle_timeout,
        until,
    };
    let relayed = relay_counted(&mut downstream, &mut upstream, limits, of_cluster.0, shard).await;
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

async fn relay_counted<C: Side, U: Side>(
    client: &mut Abrupt<C>,
    upstream: &mut Abrupt<U>,
    limits: Limits,
    of_cluster: &ClusterShard,
    shard: &ListenerShard,
) -> Result<(), Cut> {
    let moved = |to_upstream, to_client| {
        shard.received_bytes.add(to_upstream);
        of_cluster.sent_bytes.add(to_upstream);
        shard.sent_bytes.add(to_client);
        of_cluster.received_bytes.add(to_client);
    };
    let (client, upstream) = (client.stream(), upstream.stream());
    relay(client, upstream, Early::default(), limits, moved).await
}

/// Connects to the endpoint whose turn it is; if that fails to the next, each once, at most
/// `attempts` of them.
async fn connect(
    cluster: &Cluster,
    slot: Slot,
    client: Addresses,
    local: &Local,
    attempts: u32,
) -> Option<upstream::Stream> {
    let shard = cluster.counters.shard(local.worker);
    let mut tried: SmallVec<[SocketAddr; 3]> = SmallVec::new();
    for _ in 0..attempts {
        let endpoint = untried(cluster, slot, local, &tried)?;
        match upstream::connect(cluster, local.worker, endpoint, Speak::Bytes, || client).await {
            Ok(stream) => {
                shard.connections.increment();
                return Some(stream);
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
