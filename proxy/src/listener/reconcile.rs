//! From the sockets there are to those a snapshot asks for.

use std::{collections::BTreeMap, net::SocketAddr};

use fleetway_api::{FieldError, Name};

use super::{
    inherited::{Inherited, spread},
    socket::bind,
};
use crate::snapshot::Snapshot;

/// The listening sockets of a proxy: by listener, the address asked for and the one it has.
#[derive(Debug, Clone, Default)]
pub struct Sockets {
    bound: BTreeMap<Name, Bound>,
    /// What was passed on to this process and no listener has asked for yet.
    inherited: Vec<Inherited>,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    asked: SocketAddr,
    actual: SocketAddr,
}

/// What is to be done so that the sockets are those of a snapshot.
#[derive(Debug, Default)]
pub struct Plan {
    /// Sockets to listen on, bound already: for each listener one for each worker, or more.
    pub open: Vec<(Name, Vec<std::net::TcpListener>)>,
    /// Listeners whose sockets are to be closed and whose connections drained.
    pub close: Vec<Name>,
    /// The sockets there will be.
    pub sockets: Sockets,
}

impl Sockets {
    /// None, but for those that were passed on.
    #[must_use]
    pub fn new(inherited: Vec<Inherited>) -> Self {
        Self {
            bound: BTreeMap::new(),
            inherited,
        }
    }

    /// Closes what was passed on and no listener has asked for.
    pub fn forget_inherited(&mut self) {
        self.inherited.clear();
    }

    /// Binds what `snapshot` asks for and is not there. A listener whose address did not change
    /// keeps its sockets and connections.
    ///
    /// # Errors
    /// Every address that cannot be bound. What was bound meanwhile is closed again.
    pub fn plan(&self, snapshot: &Snapshot, workers: usize) -> Result<Plan, Vec<FieldError>> {
        let mut plan = Plan::default();
        let mut errors = Vec::new();
        plan.sockets.inherited.clone_from(&self.inherited);
        for (name, bound) in &self.bound {
            let kept = snapshot
                .listeners
                .get(name)
                .is_some_and(|l| l.address == bound.asked);
            if kept {
                plan.sockets.bound.insert(name.clone(), *bound);
            } else {
                plan.close.push(name.clone());
            }
        }
        for (name, listener) in &snapshot.listeners {
            if plan.sockets.bound.contains_key(name) {
                continue;
            }
            let asked = listener.address;
            match self.open(name, asked, workers) {
                Ok((actual, sockets)) => {
                    let left = &mut plan.sockets.inherited;
                    left.retain(|inherited| !inherited.is_for(name, asked));
                    plan.sockets
                        .bound
                        .insert(name.clone(), Bound { asked, actual });
                    plan.open.push((name.clone(), sockets));
                }
                Err(error) => errors.push(FieldError::new(
                    format_args!("listeners/{name}"),
                    "address",
                    format!("cannot listen on {asked}: {error}"),
                )),
            }
        }
        if errors.is_empty() {
            Ok(plan)
        } else {
            Err(errors)
        }
    }

    fn open(
        &self,
        name: &Name,
        address: SocketAddr,
        workers: usize,
    ) -> std::io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
        let inherited: Vec<Inherited> = self
            .inherited
            .iter()
            .filter(|inherited| inherited.is_for(name, address))
            .cloned()
            .collect();
        if let Some(spread) = spread(&inherited, workers)? {
            return Ok(spread);
        }
        // An address that moves from one listener to another is still in use by this proxy.
        let ours = self.bound.values().any(|bound| bound.actual == address);
        bind(address, workers, ours)
    }

    /// The address each listener has.
    pub fn addresses(&self) -> impl Iterator<Item = (&Name, SocketAddr)> {
        self.bound.iter().map(|(name, bound)| (name, bound.actual))
    }
}
