//! What each node has: the table an operator looks at first.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use dashmap::DashMap;
use fleetway_api::rest::{self, NodeError, NodeState, Pending, RevisionStatus, WaitingNode};
use tokio::sync::watch;

use crate::{
    delta::{Facts, Identity, Mode, Tally},
    snapshot::Snapshot,
};

/// The most nodes kept, connected or not.
const MAX_NODES: usize = 10_000;
/// The most streams of one node id.
const MAX_STREAMS: usize = 8;
/// How long a node is kept after its last stream closed, in milliseconds.
const KEPT_MS: i64 = 3_600_000;

/// The nodes that are connected, and those that were not long ago.
#[derive(Debug, Default)]
pub struct Fleet {
    nodes: DashMap<String, Vec<Record>>,
    streams: AtomicU64,
    changed: watch::Sender<u64>,
    counters: Counters,
    snapshots: OnceLock<watch::Receiver<Arc<Snapshot>>>,
}

/// Counts since the start of the process, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Streams open now.
    pub streams_open: AtomicU64,
    /// Pushes begun.
    pub pushes: AtomicU64,
    /// Pushes not made since they carry secrets over a connection that others can read.
    pub withheld: AtomicU64,
    /// Streams closed since the client's certificate does not allow what it claims to be.
    pub denied: AtomicU64,
    /// Responses acknowledged.
    pub acks: AtomicU64,
    /// Responses refused.
    pub nacks: AtomicU64,
    /// Faults of clients: stale nonces, unknown types and the like.
    pub protocol_errors: AtomicU64,
}

/// One stream of a node, or the last one it had.
#[derive(Debug)]
struct Record {
    stream: u64,
    identity: Identity,
    address: String,
    connected: bool,
    since_ms: i64,
    facts: Facts,
}

/// Why a stream is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// There are too many nodes.
    #[error("this server serves at most {MAX_NODES} nodes")]
    Nodes,
    /// There are too many of this one.
    #[error("more than {MAX_STREAMS} streams are open for this node.id: give each node its own")]
    Streams,
}

impl Fleet {
    /// Every node, by id; one with several streams open is there once for each.
    #[must_use]
    pub fn nodes(&self) -> Vec<rest::Node> {
        self.forget(now_ms());
        let newest = self.newest();
        let mut nodes: Vec<rest::Node> = self
            .nodes
            .iter()
            .flat_map(|records| {
                let shown = records.iter().rev().map(|record| record.show(newest));
                shown.collect::<Vec<_>>()
            })
            .collect();
        // Stable: of one id the newest stream stays first.
        nodes.sort_by(|one, two| one.id.cmp(&two.id));
        nodes
    }

    /// The node of this id; if it has several streams open, by the newest.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<rest::Node> {
        self.forget(now_ms());
        let newest = self.newest();
        Some(self.nodes.get(id)?.last()?.show(newest))
    }

    /// Tells, by a number that grows, that some node changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How far `revision` has come among the connected nodes: live means on all of them.
    #[must_use]
    pub fn status(&self, revision: u64) -> RevisionStatus {
        let mut status = RevisionStatus {
            revision,
            live: false,
            nodes: 0,
            nodes_live: 0,
            waiting: Vec::new(),
            refused: false,
        };
        let newest = self.newest();
        // A node is sent what comes after the revision it refused, and that it may accept.
        let last = newest.unwrap_or_default().max(revision);
        let mut refused = 0;
        for records in &self.nodes {
            for record in records.iter().filter(|record| record.connected) {
                status.nodes += 1;
                let live_revision = record.facts.live_revision;
                if live_revision.is_some_and(|live| live >= revision) {
                    status.nodes_live += 1;
                } else {
                    refused += usize::from(record.refused(last));
                    status.waiting.push(WaitingNode {
                        id: record.identity.id.clone(),
                        fleet: record.identity.fleet.clone(),
                        state: record.state(newest),
                        live_revision,
                        reason: record.reason(),
                    });
                }
            }
        }
        status.waiting.sort_by(|one, two| one.id.cmp(&two.id));
        status.live = status.nodes_live == status.nodes;
        status.refused = refused > 0 && refused == status.waiting.len();
        status
    }

    /// Counts for metrics.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Learns from where to know the newest revision.
    pub(crate) fn follow(&self, snapshots: &watch::Receiver<Arc<Snapshot>>) {
        // The first one stays: there is one state in a process.
        self.snapshots.get_or_init(|| snapshots.clone());
    }

    fn newest(&self) -> Option<u64> {
        Some(self.snapshots.get()?.borrow().revision())
    }

    /// A number no other stream has; it grows over restarts of the process, too.
    pub(crate) fn next_stream(&self) -> u64 {
        let started = u64::try_from(now_ms()).unwrap_or_default();
        self.streams
            .compare_exchange(0, started, Ordering::Relaxed, Ordering::Relaxed)
            .ok();
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Lists a stream whose client said who it is.
    pub(crate) fn open(
        self: &Arc<Self>,
        stream: u64,
        identity: Identity,
        address: String,
    ) -> Result<Listed, Full> {
        let now = now_ms();
        if !self.nodes.contains_key(&identity.id) && self.nodes.len() >= MAX_NODES {
            self.forget(now);
            self.make_room()?;
        }
        let id = identity.id.clone();
        let mut records = self.nodes.entry(id.clone()).or_default();
        records.retain(|record| record.connected);
        if records.len() >= MAX_STREAMS {
            return Err(Full::Streams);
        }
        records.push(Record {
            stream,
            identity,
            address,
            connected: true,
            since_ms: now,
            facts: Facts::default(),
        });
        drop(records);
        tracing::info!(node = id, stream, "node connected");
        self.counters.streams_open.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Ok(Listed {
            fleet: self.clone(),
            id,
            stream,
            counted: Tally::default(),
        })
    }

    fn touch(&self) {
        self.changed.send_modify(|number| *number += 1);
    }

    /// Drops the nodes that are gone for long.
    fn forget(&self, now_ms: i64) {
        self.nodes.retain(|_, records| {
            records
                .iter()
                .any(|r| r.connected || r.since_ms + KEPT_MS > now_ms)
        });
    }

    /// Drops the node that is gone for longest.
    fn make_room(&self) -> Result<(), Full> {
        if self.nodes.len() < MAX_NODES {
            return Ok(());
        }
        let gone = self
            .nodes
            .iter()
            .filter(|records| !records.iter().any(|record| record.connected))
            .min_by_key(|records| records.iter().map(|record| record.since_ms).max())
            .map(|records| records.key().clone());
        let gone = gone.ok_or(Full::Nodes)?;
        self.nodes
            .remove_if(&gone, |_, records| !records.iter().any(|r| r.connected));
        Ok(())
    }
}

impl Record {
    fn state(&self, newest: Option<u64>) -> NodeState {
        let facts = &self.facts;
        if !self.connected {
            NodeState::Disconnected
        } else if facts.in_flight.is_some() {
            NodeState::Pending
        } else if facts.refusal.is_some() {
            NodeState::Rejected
        } else if facts.live_revision.is_some() && facts.live_revision >= newest {
            NodeState::Live
        } else {
            NodeState::Pending
        }
    }

    /// Whether it refused `revision` or a later one, and nothing is on its way to it.
    fn refused(&self, revision: u64) -> bool {
        let refusal = self.facts.refusal.as_ref();
        self.facts.in_flight.is_none() && refusal.is_some_and(|of| of.revision >= revision)
    }

    fn show(&self, newest: Option<u64>) -> rest::Node {
        let facts = &self.facts;
        rest::Node {
            id: self.identity.id.clone(),
            fleet: self.identity.fleet.clone(),
            address: self.address.clone(),
            build: self.identity.build.clone(),
            connected: self.connected,
            since: time(self.since_ms),
            state: self.state(newest),
            live_revision: facts.live_revision,
            lag: newest
                .zip(facts.live_revision)
                .map(|(newest, live)| newest.saturating_sub(live)),
            pending: facts.in_flight.map(|push| Pending {
                revision: push.revision,
                since: time(push.since_ms),
            }),
            last_error: facts.refusal.as_ref().map(|refusal| NodeError {
                revision: refusal.revision,
                time: time(refusal.time_ms),
                message: refusal.message.clone(),
            }),
            failing_policies: facts.failing.to_vec(),
            types: facts.types.clone(),
            protocol_errors: facts.tally.protocol_errors,
        }
    }

    /// Why it does not have the newest revision live.
    fn reason(&self) -> String {
        let facts = &self.facts;
        let types: Vec<&str> = facts
            .types
            .iter()
            .map(|of| of.type_url.rsplit('.').next().unwrap_or(&of.type_url))
            .collect();
        let types = types.join(", ");
        if let Some(push) = facts.in_flight {
            let lacks = if push.unread {
                "read all of"
            } else {
                "answered"
            };
            format!(
                "has not {lacks} revision {}, sent since {}",
                push.revision,
                time(push.since_ms)
            )
        } else if let Some(refusal) = &facts.refusal {
            format!("refused revision {}: {}", refusal.revision, refusal.message)
        } else if types.is_empty() {
            "has not subscribed to anything".to_owned()
        } else if facts.mode == Mode::Waiting {
            format!(
                "announced the revision barrier and has subscribed to {types} only: nothing is sent until it subscribes to Revision"
            )
        } else {
            format!("is about to be sent it; subscribed to {types}")
        }
    }
}

/// A stream's place in the table; dropping it marks the node as disconnected.
#[derive(Debug)]
pub(crate) struct Listed {
    fleet: Arc<Fleet>,
    id: String,
    stream: u64,
    /// What of the stream's tally is in the counters.
    counted: Tally,
}

impl Listed {
    /// Shows where the client stands now.
    pub(crate) fn update(&mut self, facts: Facts) {
        let counters = &self.fleet.counters;
        let (now, counted) = (facts.tally, self.counted);
        for (counter, now, counted) in [
            (&counters.pushes, now.pushes, counted.pushes),
            (&counters.withheld, now.withheld, counted.withheld),
            (&counters.acks, now.acks, counted.acks),
            (&counters.nacks, now.nacks, counted.nacks),
            (
                &counters.protocol_errors,
                now.protocol_errors,
                counted.protocol_errors,
            ),
        ] {
            counter.fetch_add(now.saturating_sub(counted), Ordering::Relaxed);
        }
        self.counted = now;
        let mut news = false;
        if let Some(mut records) = self.fleet.nodes.get_mut(&self.id) {
            let several = records.len() > 1;
            if let Some(record) = records.iter_mut().find(|r| r.stream == self.stream) {
                // Counts alone wake nobody.
                news = !record.facts.says_the_same(&facts);
                if let Some(refusal) = &facts.refusal
                    && record.facts.refusal.as_ref() != Some(refusal)
                {
                    tracing::warn!(
                        node = self.id,
                        revision = refusal.revision,
                        reason = refusal.message,
                        "node refused a revision"
                    );
                }
                record.facts = facts;
                // Two nodes of one id: each is shown with a fault.
                record.facts.tally.protocol_errors += u64::from(several);
            }
        }
        if news {
            self.fleet.touch();
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(mut records) = self.fleet.nodes.get_mut(&self.id) {
            if records.len() > 1 {
                records.retain(|record| record.stream != self.stream);
            } else if let Some(record) = records.iter_mut().find(|r| r.stream == self.stream) {
                record.connected = false;
                record.since_ms = now_ms();
                record.facts.in_flight = None;
            }
        }
        tracing::info!(node = self.id, stream = self.stream, "node disconnected");
        let open = &self.fleet.counters.streams_open;
        open.fetch_sub(1, Ordering::Relaxed);
        self.fleet.touch();
    }
}

/// Now, in milliseconds since 1970; 0 for a clock before that.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time as RFC 3339 has it.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests;
