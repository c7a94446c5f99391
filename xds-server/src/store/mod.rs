//! Where the state is kept: a trait with one atomic, ordered, durable commit.

mod components;
mod files;
mod record;
mod sled;
mod vault;

pub(crate) use self::files::write_atomically;
pub use self::{
    sled::{Rotated, SledStore},
    vault::{MasterKey, NoMasterKey},
};

use std::collections::BTreeMap;

use fleetway_api::{Id, Name, proto::v1};

use crate::snapshot::{Epoch, History};

/// A resource as a store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The resource.
    pub message: v1::Resource,
    /// The revision that last changed it.
    pub version: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last changed.
    pub updated_ms: i64,
    /// Who last changed it.
    pub updated_by: String,
}

/// Everything a store holds but its log.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The last revision; 0 for an empty store.
    pub revision: u64,
    /// When it was committed; 0 for an empty store.
    pub time_ms: i64,
    /// The runs of the server that committed.
    pub history: History,
    /// Every resource.
    pub records: Vec<Record>,
    /// Since when no policy names a component, in milliseconds since 1970.
    pub idle: BTreeMap<Name, i64>,
}

/// One commit: a revision, all of it or nothing.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The revision with its changes, before and after; its number is the store's last plus one.
    pub revision: &'a v1::Revision,
    /// What to store (`Some`) and remove (`None`).
    pub records: &'a [(Id, Option<Record>)],
    /// Set with the first revision of an epoch.
    pub epoch: Option<Epoch>,
    /// The idempotency key of the request with the answer to give when it comes again.
    pub receipt: Option<(&'a str, &'a Receipt)>,
    /// Since when no policy names a component (`Some`, in milliseconds since 1970), or that this is no
    /// longer so.
    pub idle: &'a [(Name, Option<i64>)],
    /// The oldest revision the log is to keep; older ones go, a few with each commit.
    pub oldest_kept: u64,
}

/// What is kept of a request that carried an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// A hash of the request, to tell it from another one under the same key.
    pub fingerprint: String,
    /// When it was made, in milliseconds since 1970. Receipts are kept for at least a day.
    pub time_ms: i64,
    /// The answer that was given.
    pub response: fleetway_api::rest::TransactionResponse,
}

/// An entry of the revision log, without what it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionHead {
    /// Its number.
    pub number: u64,
    /// When it was committed, in milliseconds since 1970.
    pub time_ms: i64,
    /// Who committed it.
    pub author: String,
    /// Why.
    pub message: String,
    /// How many resources it changed.
    pub changed: usize,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data was written by a newer program, or is none of ours.
    #[error("{0}")]
    Format(String),
    /// The master key is missing, or is not the one the secrets are under.
    #[error("{0}")]
    Key(String),
    /// Another process has the data open.
    #[error("{0}")]
    Locked(String),
    /// The store could not read or write.
    #[error("{0}")]
    Io(String),
    /// Another writer committed first: the state must be read again.
    #[error("the store is at revision {found}, not {expected}: another writer was first")]
    Conflict {
        /// The revision the commit was made for.
        expected: u64,
        /// The revision the store is at.
        found: u64,
    },
}

/// A place to keep the state. Calls block; callers keep them off the event loop.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Reads everything but the log.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// Whether it takes secrets: it has a key to encrypt them with.
    fn keeps_secrets(&self) -> bool;

    /// Stores a revision, all of it or nothing, and returns once it is durable.
    ///
    /// # Errors
    /// When it was not stored; the store is then as it was.
    fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError>;

    /// Keeps the receipt of a request that changed nothing, and returns once it is durable.
    ///
    /// # Errors
    /// When it was not stored.
    fn keep(&self, key: &str, receipt: &Receipt) -> Result<(), StoreError>;

    /// One revision of the log with its changes, components without their bytes; `None` if the log does not have it, or no longer.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn revision(&self, number: u64) -> Result<Option<v1::Revision>, StoreError>;

    /// Up to `limit` revisions of the log below `before`, newest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn revisions(&self, before: u64, limit: usize) -> Result<Vec<RevisionHead>, StoreError>;

    /// What is kept of the request with this idempotency key.
    ///
    /// # Errors
    /// When it cannot be read.
    fn receipt(&self, key: &str) -> Result<Option<Receipt>, StoreError>;
}
