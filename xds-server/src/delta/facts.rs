//! What a session knows of its client, for whoever looks at the fleet.

use std::sync::Arc;

use fleetway_api::rest::{FailingPolicy, NodeType};

/// Who the client says it is, in its first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`: its fleet.
    pub fleet: String,
    /// Its program and version.
    pub build: String,
}

/// How the client is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It announced the revision barrier and has not subscribed to it: nothing is sent.
    #[default]
    Waiting,
    /// Whole revisions, each closed by the barrier.
    Barrier,
    /// Type by type, make before break.
    Plain,
}

/// A push without its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// The revision it leads to.
    pub revision: u64,
    /// When it began, in milliseconds since 1970.
    pub since_ms: i64,
    /// The client has not taken all of it.
    pub unread: bool,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The revision refused.
    pub revision: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The client's words.
    pub message: String,
}

/// Where a client stands.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// How it is served.
    pub mode: Mode,
    /// The revision it has live.
    pub live_revision: Option<u64>,
    /// What is on its way to it.
    pub in_flight: Option<InFlight>,
    /// What it refused last, until it accepts a later push.
    pub refusal: Option<Refusal>,
    /// Its policies that keep failing, in its words.
    pub failing: Arc<[FailingPolicy]>,
    /// What it subscribes to.
    pub types: Vec<NodeType>,
    /// What happened on its stream so far.
    pub tally: Tally,
}

impl Facts {
    /// Whether the two differ in nothing but counts and in how far single types are.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.live_revision == other.live_revision
            && self.in_flight == other.in_flight
            && self.refusal == other.refusal
            && self.failing == other.failing
            && self.types.len() == other.types.len()
    }
}

/// Counts of what happened on one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pushes begun.
    pub pushes: u64,
    /// Pushes not made since they carry secrets over a connection that others can read.
    pub withheld: u64,
    /// Responses accepted.
    pub acks: u64,
    /// Responses refused.
    pub nacks: u64,
    /// Faults of the client: stale nonces, unknown types and the like.
    pub protocol_errors: u64,
}
