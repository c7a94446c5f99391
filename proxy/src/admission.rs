//! How many connections there may be on a listener, and from where.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use dashmap::DashMap;
use fleetway_api::ConnectionLimits;

/// The connections open on a listener, of all workers. Lives on when the listener changes.
#[derive(Debug, Default)]
pub struct Admission {
    open: AtomicU32,
    /// How many are open from each source that has any.
    sources: DashMap<IpAddr, u32, foldhash::fast::RandomState>,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The listener has as many as it takes.
    #[error("the listener has as many connections as it takes")]
    Listener,
    /// The proxy is short of memory.
    #[error("the proxy is short of memory")]
    Overload,
    /// The source has as many as one may have.
    #[error("the source has as many connections as one may have")]
    Source,
}

/// A connection that was taken, and counts as open until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    source: Option<IpAddr>,
}

impl Admission {
    /// Takes a connection from `peer`, if `limits` allow one more.
    ///
    /// # Errors
    /// Which limit does not.
    pub fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        limits: ConnectionLimits,
    ) -> Result<Admitted, Refused> {
        let before = self.open.fetch_add(1, Relaxed);
        // Counted from here on; what is dropped on the way out is counted no longer.
        let mut admitted = Admitted {
            admission: self.clone(),
            source: None,
        };
        if limits.connections.is_some_and(|most| before >= most) {
            return Err(Refused::Listener);
        }
        if let Some(most) = limits.per_source {
            admitted.count_source(peer, most)?;
        }
        Ok(admitted)
    }
}

impl Admitted {
    /// Counts it as one of `peer`, which may have `most`: once.
    ///
    /// # Errors
    /// When it has as many.
    pub fn count_source(&mut self, peer: IpAddr, most: u32) -> Result<(), Refused> {
        if self.source.is_some() {
            return Ok(());
        }
        let source = source(peer);
        // Dropped before anything else is done: it holds a lock.
        let mut open = self.admission.sources.entry(source).or_insert(0);
        if *open >= most {
            return Err(Refused::Source);
        }
        *open += 1;
        drop(open);
        self.source = Some(source);
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Relaxed);
        let Some(source) = self.source else { return };
        self.admission.sources.remove_if_mut(&source, |_, open| {
            *open = open.saturating_sub(1);
            *open == 0
        });
    }
}

/// Whom an address stands for: itself, or the IPv6 network that one customer has as a rule.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            Ipv6Addr::from(network).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: u32, per_source: u32) -> ConnectionLimits {
        ConnectionLimits {
            connections: Some(connections),
            per_source: Some(per_source),
        }
    }

    #[test]
    fn a_listener_takes_as_many_as_it_may_and_again_when_one_has_gone() {
        let admission = Arc::new(Admission::default());
        let peer = "10.0.0.1".parse().unwrap();
        let one = admission.admit(peer, limits(2, 9)).unwrap();
        let _two = admission.admit(peer, limits(2, 9)).unwrap();
        let refused = admission.admit(peer, limits(2, 9)).unwrap_err();
        assert_eq!(refused, Refused::Listener);
        drop(one);
        assert!(admission.admit(peer, limits(2, 9)).is_ok());
    }

    #[test]
    fn sources_are_counted_apart_and_forgotten_when_they_have_gone() {
        let admission = Arc::new(Admission::default());
        let admit = |peer: &str| admission.admit(peer.parse().unwrap(), limits(9, 1));
        let open = [
            admit("10.0.0.1").unwrap(),
            admit("10.0.0.2").unwrap(),
            admit("2001:db8::1").unwrap(),
            admit("2001:db8:0:1::1").unwrap(),
        ];
        for peer in ["10.0.0.1", "::ffff:10.0.0.2", "2001:db8::ffff"] {
            assert_eq!(admit(peer).unwrap_err(), Refused::Source, "{peer}");
        }
        drop(open);
        assert!(admission.sources.is_empty());
        assert_eq!(admission.open.load(Relaxed), 0);
    }
}
