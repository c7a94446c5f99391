//! Clusters as requests meet them: endpoints in the order they are to be taken.

mod round_robin;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fleetway_api as api;
pub use round_robin::{Rotation, Schedule};

use crate::{telemetry::ClusterCounters, tls::Originate};

/// A cluster in a snapshot.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: api::Name,
    /// The order in which its endpoints are taken.
    pub schedule: Schedule,
    /// TLS with its members, if so.
    pub tls: Option<Arc<Originate>>,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Duration,
    /// How long a connection is kept without use.
    pub idle_timeout: Duration,
    /// How many idle connections are kept for each endpoint and worker.
    pub max_idle: usize,
    /// What connections begin with, to say which client they are for.
    pub proxy_protocol: Option<api::ProxyProtocolVersion>,
    /// What its endpoints speak.
    pub protocol: api::UpstreamProtocol,
    /// What is counted of it; outlives the snapshot.
    pub counters: Arc<ClusterCounters>,
}

impl Cluster {
    /// The cluster as `resource` says, with the members of `endpoints` if it lists none itself.
    #[must_use]
    pub fn new(
        resource: &api::Cluster,
        endpoints: Option<&api::Endpoints>,
        tls: Option<Arc<Originate>>,
        counters: Arc<ClusterCounters>,
    ) -> Self {
        let members = match endpoints {
            Some(endpoints) if resource.endpoints.is_empty() => &endpoints.endpoints,
            _ => &resource.endpoints,
        };
        Self {
            name: resource.common.name.clone(),
            schedule: Schedule::new(members),
            tls,
            connect_timeout: resource.connect_timeout,
            idle_timeout: resource.idle_timeout,
            max_idle: resource.max_idle,
            proxy_protocol: resource.proxy_protocol,
            protocol: resource.protocol,
            counters,
        }
    }

    /// The endpoint whose turn it is; `None` if there is none to take.
    #[must_use]
    pub fn pick(&self, rotation: &Rotation) -> Option<SocketAddr> {
        self.schedule.pick(rotation)
    }
}
