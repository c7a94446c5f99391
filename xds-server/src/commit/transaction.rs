//! What is asked for, and why it may not be made.

use std::sync::Arc;

use fleetway_api::{FieldError, Id, Invalid, Rejection, proto::v1, rest::TransactionResponse};

use tokio_util::sync::CancellationToken;

use crate::{snapshot::Snapshot, store::StoreError};

/// Changes to be made together.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// Who makes them.
    pub author: String,
    /// Why.
    pub message: String,
    /// The changes; at most one for each resource.
    pub operations: Vec<Operation>,
    /// What of it could not be read. With any it is refused, with every other fault it has.
    pub unread: Unread,
    /// Check all of it and store nothing.
    pub dry_run: bool,
    /// Makes the transaction safe to send again: the key, and a hash of the whole request.
    pub idempotency: Option<(String, String)>,
    /// Cancelled when nobody waits for the answer any more: what is not yet read is then not read.
    pub gone: CancellationToken,
}

/// What of a transaction could not be read.
#[derive(Debug, Clone, Default)]
pub struct Unread {
    /// Why.
    pub faults: Vec<FieldError>,
    /// What it was to put.
    pub resources: Invalid,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Which resource.
    pub id: Id,
    /// What it is to be; `None` to delete it.
    pub put: Option<v1::Resource>,
    /// What must hold before.
    pub condition: Condition,
}

/// What must hold of a resource for a write to go ahead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// It exists, at any version.
    Exists,
    /// It does not exist; the write is a creation.
    Absent,
    /// It is at this version.
    Version(u64),
}

/// What a transaction did.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The answer to the client.
    pub response: TransactionResponse,
    /// The state it led to (for a dry run: would lead to).
    pub snapshot: Arc<Snapshot>,
    /// Whether it made a revision: there was something to change, and it was not made before.
    pub new: bool,
}

/// Why a transaction was not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The resources are not valid, by themselves or together.
    #[error("{0}")]
    Invalid(Rejection),
    /// What was to hold before does not; at least one. Nothing else is wrong.
    #[error("{}", listed(.0))]
    Unmet(Vec<Unmet>),
    /// The idempotency key stands for another request.
    #[error("the idempotency key was used for another transaction: take a new key")]
    KeyReused,
    /// Nobody waits for it any more.
    #[error("the client went away before the changes were checked: nothing was changed")]
    Abandoned,
    /// The store did not take it.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What was to hold of a resource before a write, and does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// It is not at the version the write was meant for.
    #[error("{id} {}", self.reason())]
    Stale {
        /// Which.
        id: Id,
        /// The version it is at; `None` if it does not exist.
        found: Option<u64>,
    },
    /// It was to be created and exists.
    #[error("{0} exists already")]
    Exists(Id),
    /// It was to be deleted and does not exist.
    #[error("there is no {0}")]
    NotFound(Id),
}

impl Unmet {
    /// It as one fault of several.
    #[must_use]
    pub fn fault(&self) -> FieldError {
        let (Self::Stale { id, .. } | Self::Exists(id) | Self::NotFound(id)) = self;
        FieldError::new(id, "", self.reason())
    }

    fn reason(&self) -> String {
        match self {
            Self::Stale {
                found: Some(version),
                ..
            } => format!("is at version {version} by now: read it again and redo the change"),
            Self::Stale { found: None, .. } | Self::NotFound(_) => "does not exist".to_owned(),
            Self::Exists(_) => "exists already".to_owned(),
        }
    }
}

fn listed(unmet: &[Unmet]) -> String {
    let all: Vec<String> = unmet.iter().map(ToString::to_string).collect();
    all.join("; ")
}
