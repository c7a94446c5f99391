//! From the sockets there are to those a snapshot asks for.

use std::{collections::BTreeMap, net::SocketAddr};

use fleetway_api::{FieldError, Name};

use super::socket::bind;
use crate::snapshot::Snapshot;

/// The listening sockets of a proxy: by listener, the address asked for and the one it has.
#[derive(Debug, Clone, Default)]
pub struct Sockets(BTreeMap<Name, Bound>);

#[derive(Debug, Clone, Copy)]
struct Bound {
    asked: SocketAddr,
    actual: SocketAddr,
}

/// What is to be done so that the sockets are those of a snapshot.
#[derive(Debug, Default)]
pub struct Plan {
    /// Sockets to listen on, bound already: for each listener one for each worker.
    pub open: Vec<(Name, Vec<std::net::TcpListener>)>,
    /// Listeners whose sockets are to be closed and whose connections drained.
    pub close: Vec<Name>,
    /// The sockets there will be.
    pub sockets: Sockets,
}

impl Sockets {
    /// Binds what `snapshot` asks for and is not there. A listener whose address did not change
    /// keeps its sockets and connections.
    ///
    /// # Errors
    /// Every address that cannot be bound. What was bound meanwhile is closed again.
    pub fn plan(&self, snapshot: &Snapshot, workers: usize) -> Result<Plan, Vec<FieldError>> {
        let mut plan = Plan::default();
        let mut errors = Vec::new();
        for (name, bound) in &self.0 {
            let kept = snapshot
                .listeners
                .get(name)
                .is_some_and(|l| l.address == bound.asked);
            if kept {
                plan.sockets.0.insert(name.clone(), *bound);
            } else {
                plan.close.push(name.clone());
            }
        }
        for (name, listener) in &snapshot.listeners {
            if plan.sockets.0.contains_key(name) {
                continue;
            }
            let asked = listener.address;
            match self.bind(asked, workers) {
                Ok((actual, sockets)) => {
                    plan.sockets.0.insert(name.clone(), Bound { asked, actual });
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

    fn bind(
        &self,
        address: SocketAddr,
        workers: usize,
    ) -> std::io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
        // An address that moves from one listener to another is still in use by this proxy.
        let ours = self.0.values().any(|bound| bound.actual == address);
        bind(address, workers, ours)
    }

    /// The address each listener has.
    pub fn addresses(&self) -> impl Iterator<Item = (&Name, SocketAddr)> {
        self.0.iter().map(|(name, bound)| (name, bound.actual))
    }
}
