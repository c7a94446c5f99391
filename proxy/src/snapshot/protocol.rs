//! What is spoken on a listener, with its clusters looked up.

use std::{mem, sync::Arc, time::Duration};

use fleetway_api::{self as api, HttpListener, Name, Relay, WeightedCluster};
use smallvec::SmallVec;

use super::TlsPassthrough;

/// What is spoken on a listener.
#[derive(Debug)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2.
    Http(Arc<HttpListener>),
    /// Anything over TCP.
    Tcp(Tcp),
    /// TLS that an upstream terminates.
    TlsPassthrough(TlsPassthrough),
}

/// Connections passed on to a cluster byte by byte.
#[derive(Debug)]
pub struct Tcp {
    /// The clusters that share them.
    pub targets: Targets,
    /// How they are passed on.
    pub relay: Relay,
}

impl Protocol {
    /// What `resource` says, its clusters found by `targets`.
    pub(super) fn new(
        resource: &api::Protocol,
        targets: impl Fn(&[WeightedCluster]) -> Targets,
    ) -> Self {
        match resource {
            api::Protocol::Http(http) => Self::Http(Arc::new(http.clone())),
            api::Protocol::Tcp(tcp) => Self::Tcp(Tcp {
                targets: targets(&tcp.clusters),
                relay: tcp.relay,
            }),
            api::Protocol::TlsPassthrough(passthrough) => {
                Self::TlsPassthrough(TlsPassthrough::new(passthrough, targets))
            }
        }
    }

    /// How long connections may go on once the listener goes away.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        match self {
            Self::Http(http) => http.drain_timeout,
            Self::Tcp(tcp) => tcp.relay.drain_timeout,
            Self::TlsPassthrough(passthrough) => passthrough.relay.drain_timeout,
        }
    }

    /// What is said of HTTP, where that is spoken.
    #[must_use]
    pub fn http(&self) -> Option<&HttpListener> {
        match self {
            Self::Http(http) => Some(http),
            _ => None,
        }
    }

    /// How many proxies before this one are believed about a request's client.
    #[must_use]
    pub fn trusted_hops(&self) -> usize {
        self.http().map_or(0, |http| http.trusted_hops)
    }

    /// Whether both are the same but for their settings.
    #[must_use]
    pub fn is_kind_of(&self, other: &Self) -> bool {
        mem::discriminant(self) == mem::discriminant(other)
    }
}

/// Where a cluster stands in a snapshot: an index instead of a name to look up for each request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    pub(super) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, dense from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The clusters that share requests or connections by weight.
#[derive(Debug, Default)]
pub struct Targets(SmallVec<[Target; 1]>);

#[derive(Debug, Clone, Copy)]
struct Target {
    slot: Slot,
    /// Its weight and those before it, summed.
    up_to: u32,
}

impl Targets {
    /// Those of a weight above 0 that `slot` finds.
    pub(super) fn new(clusters: &[WeightedCluster], slot: impl Fn(&Name) -> Option<Slot>) -> Self {
        let mut up_to = 0;
        let taken = clusters.iter().filter(|cluster| cluster.weight > 0);
        let targets = taken.filter_map(|cluster| {
            up_to += cluster.weight;
            let slot = slot(&cluster.name)?;
            Some(Target { slot, up_to })
        });
        Self(targets.collect())
    }

    /// One of them, `below` giving a random number below the sum of the weights.
    #[must_use]
    pub fn choose(&self, below: impl FnOnce(u32) -> u32) -> Option<Slot> {
        let point = below(self.0.last()?.up_to);
        let taken = self.0.iter().find(|target| point < target.up_to);
        taken.map(|target| target.slot)
    }
}
