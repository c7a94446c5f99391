//! The configuration a proxy runs on: made whole from an update, and put in force by one swap.

mod build;
mod live;
mod passthrough;
mod protocol;
mod tls;
mod version;

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use fleetway_api::{
    self as api, ConnectionLimits, FieldError, Id, Kind, Name, Resource, ResourceSet, Route,
};
use imbl::OrdMap;
pub use live::Live;
pub use passthrough::TlsPassthrough;
pub use protocol::{Protocol, Slot, Targets, Tcp};
pub use tls::ListenerTls;
pub use version::{Received, Version};

use crate::{
    access_log::{AccessLog, Logs},
    admission::Admission,
    cluster::Cluster,
    policy::{Attached, Programs},
    route::{RouteTable, Routed},
    telemetry::{Histogram, Latency, ListenerCounters, RouteLatencies},
};

/// The resources of a proxy, valid together, each with what it was read from.
pub type Resources = ResourceSet<Received>;

/// Where a configuration came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the empty beginning.
    #[default]
    Nowhere,
    /// The management server at this address.
    Server(Arc<str>),
    /// The last good snapshot on disk, from before this process started.
    Disk,
    /// A folder of resource files.
    Folder(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("nowhere"),
            Self::Server(server) => f.write_str(server),
            Self::Disk => f.write_str("disk"),
            Self::Folder(folder) => f.write_str(folder),
        }
    }
}

/// A configuration to be put in force, whole or not at all.
#[derive(Debug, Clone)]
pub struct Update {
    /// All resources, with the changes made.
    pub resources: Resources,
    /// The resources that were put or removed since the configuration in force.
    pub changed: Vec<Id>,
    /// The revision: from the barrier, or counted where there is none.
    pub revision: u64,
    /// When it was committed, in milliseconds since 1970; 0 where unknown.
    pub time_ms: i64,
    /// Where it came from.
    pub origin: Origin,
}

/// What puts configurations in force: the workers and their sockets.
pub trait Apply {
    /// Puts `update` in force. On return every worker serves it: new requests see all of it.
    ///
    /// # Errors
    /// Every reason it cannot be, such as a port that cannot be bound, with resource and field.
    /// The configuration in force before stays.
    fn apply(&self, update: Update) -> impl Future<Output = Result<(), Vec<FieldError>>> + Send;
}

/// The configuration in force, immutable. A request takes it once, at its start, and keeps it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The revision.
    pub revision: u64,
    /// When it was committed, in milliseconds since 1970; 0 where unknown.
    pub time_ms: i64,
    /// When this proxy put it in force, in milliseconds since 1970; 0 for the empty beginning.
    pub applied_ms: i64,
    /// Where it came from.
    pub origin: Origin,
    /// The resources it was made from.
    pub resources: Resources,
    /// The listeners, by name.
    pub listeners: OrdMap<Name, Arc<ListenerConfig>>,
    /// The files access logs go to; outlives the snapshot.
    pub logs: Arc<Logs>,
    /// What policies are made of.
    pub policies: Programs,
    /// How long the requests of routes take; outlives the snapshot.
    pub latencies: Arc<RouteLatencies>,
    /// The clusters, by slot. A slot whose cluster is gone is taken again later.
    clusters: Arc<[Option<Arc<Cluster>>]>,
    /// Whether a cluster is told which client a connection is for.
    pub sends_proxy_protocol: bool,
    /// The slot of each cluster.
    slots: imbl::HashMap<Name, Slot>,
    /// The table of the routes that name no listener.
    shared: Arc<RouteTable<BoundRoute>>,
}

impl Snapshot {
    /// The cluster in a slot of this snapshot's own routes.
    #[must_use]
    pub fn cluster(&self, slot: Slot) -> Option<&Arc<Cluster>> {
        self.clusters.get(slot.index())?.as_ref()
    }

    /// Where the cluster of a name is.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    /// The route of a name, if it serves a listener. Made anew: this is not the way of most requests.
    #[must_use]
    pub fn route_on(&self, listener: &ListenerConfig, name: &str) -> Option<Arc<BoundRoute>> {
        let id = Id::new(Kind::Route, Name::new(name).ok()?);
        let entry = self.resources.get(&id)?;
        let Resource::Route(route) = &entry.resource else {
            return None;
        };
        let serves = route.listeners.is_empty() || route.listeners.contains(&listener.name);
        if serves { self.bind(entry) } else { None }
    }

    /// Every cluster.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.iter().flatten()
    }
}

/// A listener in a snapshot.
#[derive(Debug)]
pub struct ListenerConfig {
    /// Its name.
    pub name: Name,
    /// The address it asks for; with port 0, not the one it has.
    pub address: SocketAddr,
    /// How many connections there may be.
    pub limits: ConnectionLimits,
    /// The connections there are; outlives the snapshot.
    pub admission: Arc<Admission>,
    /// The header connections begin with, if so.
    pub proxy_protocol: Option<Arc<api::ProxyProtocol>>,
    /// TLS on it, if so.
    pub tls: Option<Arc<ListenerTls>>,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Its routes.
    pub table: Arc<RouteTable<BoundRoute>>,
    /// What is counted of it; outlives the snapshot.
    pub counters: Arc<ListenerCounters>,
    /// The policies all its requests pass, if there are some.
    pub policies: Option<Arc<Attached>>,
    /// Where a line for each request or connection goes, if anywhere.
    pub access_log: Option<Arc<AccessLog>>,
    /// Whether `table` is its own, for routes that name it.
    has_own_table: bool,
    entry: Arc<api::Entry<Received>>,
}

impl ListenerConfig {
    /// Whether its clients speak before they are spoken to, whatever they speak.
    #[must_use]
    pub const fn clients_begin(&self) -> bool {
        self.tls.is_some() || !matches!(self.protocol, Protocol::Tcp(_))
    }
}

/// A route with its clusters looked up.
#[derive(Debug)]
pub struct BoundRoute {
    entry: Arc<api::Entry<Received>>,
    targets: Targets,
    policies: Option<Arc<Attached>>,
    /// From its first request on.
    latency: OnceLock<Arc<Latency>>,
}

impl BoundRoute {
    /// Where a worker takes down how long its requests take. `of` are those of all routes.
    #[must_use]
    pub fn latency(
        &self,
        of: &RouteLatencies,
        worker: usize,
        workers: usize,
    ) -> Option<Arc<Histogram>> {
        let name = &self.route().common.name;
        self.latency
            .get_or_init(|| of.of(name, workers))
            .shard(worker)
    }

    /// The policies its requests pass, if there are some.
    #[must_use]
    pub fn policies(&self) -> Option<&Arc<Attached>> {
        self.policies.as_ref()
    }

    /// The clusters it sends to.
    #[must_use]
    pub fn targets(&self) -> &Targets {
        &self.targets
    }
}

impl Routed for BoundRoute {
    #[expect(clippy::unreachable, reason = "bound from routes only")]
    fn route(&self) -> &Route {
        match &self.entry.resource {
            Resource::Route(route) => route,
            _ => unreachable!("only routes are bound"),
        }
    }
}
