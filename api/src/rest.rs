//! The bodies of the REST interface that are not resources: what server and client agree on.
//!
//! Resources themselves travel as documents ([`crate::document`]). Times are RFC 3339 in UTC.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{FieldError, Id, Kind, Name};

/// The media type of errors, RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The media type of JSON merge patches, RFC 7396.
pub const MERGE_PATCH_JSON: &str = "application/merge-patch+json";
/// The media type of YAML, RFC 9512.
pub const YAML: &str = "application/yaml";
/// The request header that makes a transaction safe to send again.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The request header that names the author of a change.
pub const AUTHOR: &str = "x-fleetway-author";

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries of this page.
    pub items: Vec<T>,
    /// What to give as `page_token` for the next page. Absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// The revision the page was read at.
    pub revision: u64,
}

/// `POST /v1/transactions`: changes that are made together, or not at all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionRequest {
    /// Why, for the revision log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The changes, in any order; at most one for each resource.
    pub operations: Vec<Operation>,
}

/// One change of a transaction: exactly one of `put` and `delete`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// The document to create or put in place of what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<Value>,
    /// The resource to delete; it must exist.
    #[serde(
        default,
        deserialize_with = "strict_id",
        skip_serializing_if = "Option::is_none"
    )]
    pub delete: Option<Id>,
    /// The version the resource must have, as a decimal string; `"0"`: it must not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<String>,
}

impl Operation {
    /// Reads one operation of a transaction.
    ///
    /// # Errors
    /// When it is not of this shape: the field's path and the reason.
    pub fn read(value: Value) -> Result<Self, (String, String)> {
        crate::document::read_strictly(&value)
    }
}

/// An [`Id`] with nothing beside it. The type itself cannot refuse that, as others hold it flat.
fn strict_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        kind: Kind,
        name: Name,
    }
    let id = Option::<Strict>::deserialize(deserializer)?;
    Ok(id.map(|Strict { kind, name }| Id { kind, name }))
}

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionResponse {
    /// The revision that holds the change: a new one, or the current one if nothing changed.
    pub revision: u64,
    /// Whether this was only tried: nothing was stored.
    #[serde(default)]
    pub dry_run: bool,
    /// What became of each resource, in the order of the operations.
    pub results: Vec<OperationResult>,
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationResult {
    /// Which.
    #[serde(flatten)]
    pub id: Id,
    /// What was done.
    pub outcome: Outcome,
}

/// What a write did to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was not there before.
    Created,
    /// It was there and differs now.
    Updated,
    /// It was there just so.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// An error, as RFC 9457 has it, with a stable `code`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI for the kind of problem: `about:blank`.
    #[serde(rename = "type", default = "about_blank")]
    pub type_uri: String,
    /// The kind of problem in words, the same each time.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time, and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The kind of problem for programs; never changes its meaning.
    pub code: Code,
    /// Every fault found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The resources that still refer to one that was to be deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub referrers: Vec<Id>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.title)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the request is not well-formed: a bad query parameter, text that is no JSON or YAML.
    BadRequest,
    /// 422: the resources are not valid, by themselves or together; `errors` names every fault.
    Invalid,
    /// 409: the resource is still referred to; `referrers` names by whom.
    StillReferenced,
    /// 409: the resource exists and was to be created.
    AlreadyExists,
    /// 404: there is no such resource, revision or node.
    NotFound,
    /// 404: there is no such path.
    NoSuchPath,
    /// 405: the path does not take this method.
    MethodNotAllowed,
    /// 403: the request has an `origin` that is not the server's own address: a page in a browser asks.
    CrossOrigin,
    /// 412: the resource is not at the version the write was meant for.
    StaleVersion,
    /// 413: the body is too large.
    TooLarge,
    /// 415: the body is neither JSON nor YAML by its content type.
    UnsupportedMediaType,
    /// 422: the idempotency key was used for another transaction.
    IdempotencyKeyReused,
    /// 503: the store did not take the write or cannot be read. Nothing was published; if a write
    /// failed half-way, only a restart of the server tells whether the store has it.
    StoreUnavailable,
    /// 503: the server stops before what was waited for came about.
    ShuttingDown,
    /// 500: a fault of the server.
    Internal,
}

/// An entry of the revision log, without what it changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevisionSummary {
    /// Its number.
    pub revision: u64,
    /// When it was committed.
    pub time: String,
    /// Who committed it.
    pub author: String,
    /// Why.
    pub message: String,
    /// How many resources it changed.
    pub changed: usize,
}

/// `GET /v1/revisions/{n}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevisionDetail {
    /// Number, time, author, message.
    #[serde(flatten)]
    pub summary: RevisionSummary,
    /// Every change.
    pub changes: Vec<RevisionChange>,
}

/// What a revision did to one resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevisionChange {
    /// Which.
    #[serde(flatten)]
    pub id: Id,
    /// What was done: created, updated or deleted.
    pub outcome: Outcome,
    /// The document before; absent if it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The document after; absent if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// A connected proxy, or one that was connected not long ago.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Its `--node-id`.
    pub id: String,
    /// Its `--fleet`.
    pub fleet: String,
    /// Where its stream comes from.
    pub address: String,
    /// Its program and version.
    pub build: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// Since when it is, or how long it has been gone.
    pub since: String,
    /// Where it stands.
    pub state: NodeState,
    /// The revision it has live: what it acknowledged last. Absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_revision: Option<u64>,
    /// How many revisions it is behind the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// The revision sent to it and not yet answered, with when it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// What it refused last and has not accepted a later revision of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<NodeError>,
    /// Its policies that keep failing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing_policies: Vec<FailingPolicy>,
    /// What it subscribes to, by type.
    #[serde(default)]
    pub types: Vec<NodeType>,
    /// Protocol faults of its stream so far: stale nonces, unknown types and the like.
    #[serde(default)]
    pub protocol_errors: u64,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeState {
    /// It has the newest revision that concerns it live.
    Live,
    /// A revision is on its way to it.
    Pending,
    /// It refused a revision and serves an older one.
    Rejected,
    /// Its stream is closed.
    Disconnected,
}

/// A push without an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pending {
    /// The revision.
    pub revision: u64,
    /// When it was sent.
    pub since: String,
}

/// A refusal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeError {
    /// The revision refused.
    pub revision: u64,
    /// When.
    pub time: String,
    /// The node's words.
    pub message: String,
}

/// A policy that keeps failing on a node: 5 times or more since it last succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingPolicy {
    /// Its name.
    pub policy: String,
    /// When the first of these failures was.
    pub since: String,
    /// Why, in a word: `timeout`, `fuel`, `memory`, `misuse`, `trap`, `busy`, `answer` or `body`.
    pub cause: String,
    /// Why.
    pub message: String,
}

impl FailingPolicy {
    /// The key of `node.metadata` on discovery streams under which a proxy tells of them: a list of
    /// these as JSON.
    pub const METADATA: &str = "fleetway.v1.failing_policies";
    /// The most that are told of one node.
    pub const MOST: usize = 100;
    /// The most bytes of a message.
    pub const MESSAGE: usize = 256;
}

/// A subscription of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeType {
    /// The type URL.
    pub type_url: String,
    /// The revision up to which the node acknowledged this type.
    pub acknowledged: Option<u64>,
    /// How many names it subscribes to; absent for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<usize>,
}

/// `GET /v1/revisions/{n}/status`: how far a revision has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevisionStatus {
    /// The revision asked for.
    pub revision: u64,
    /// Whether the wanted share of the connected nodes has it, or a later one, live.
    pub live: bool,
    /// How many nodes are connected.
    pub nodes: usize,
    /// How many of them have it live.
    pub nodes_live: usize,
    /// Who has not, and why.
    pub waiting: Vec<WaitingNode>,
    /// Whether all of those refused it, or a later one: only a new revision mends that.
    #[serde(default)]
    pub refused: bool,
}

/// Which share of the connected nodes must have a revision live: `all`, or such as `95%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(usize);

impl Default for Share {
    fn default() -> Self {
        Self(100)
    }
}

impl Share {
    /// Whether so many have it. Of no connected nodes any share is met.
    #[must_use]
    pub const fn is_met(self, status: &RevisionStatus) -> bool {
        status.nodes_live.saturating_mul(100) >= status.nodes.saturating_mul(self.0)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::default());
        }
        text.strip_suffix('%')
            .and_then(|number| number.parse().ok())
            .filter(|share| (1..=100).contains(share))
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is no share: write \"all\" or 1% to 100%"))
    }
}

/// A node that does not have a revision live.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitingNode {
    /// Its id.
    pub id: String,
    /// Its fleet.
    pub fleet: String,
    /// Where it stands.
    pub state: NodeState,
    /// The revision it has live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_revision: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerVersion {
    /// The server's version.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_connected_nodes_is_rounded_up() {
        let met = |share: &str, nodes, nodes_live| {
            share.parse::<Share>().unwrap().is_met(&RevisionStatus {
                revision: 1,
                live: false,
                nodes,
                nodes_live,
                waiting: Vec::new(),
                refused: false,
            })
        };
        assert!(met("all", 3, 3) && !met("all", 3, 2));
        assert!(met("95%", 20, 19) && !met("95%", 20, 18));
        assert!(met("50%", 3, 2) && !met("50%", 3, 1));
        assert!(met("all", 0, 0));
        for bad in ["0%", "101%", "95", "%", "most", "-1%", ""] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }
}
