//! What each node has: a stand-in until streams report here.

use fleetway_api::rest::{Node, RevisionStatus};
use tokio::sync::watch;

/// The nodes the server knows of.
#[derive(Debug, Default)]
pub struct Fleet {
    changes: watch::Sender<u64>,
}

impl Fleet {
    /// Every node, by id.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        Vec::new()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, _id: &str) -> Option<Node> {
        None
    }

    /// Tells of every change of a node.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How far a revision has come; live when every connected node has it.
    #[must_use]
    pub fn status(&self, revision: u64) -> RevisionStatus {
        RevisionStatus {
            revision,
            live: true,
            nodes: 0,
            nodes_live: 0,
            waiting: Vec::new(),
        }
    }
}
