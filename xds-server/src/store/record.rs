//! What the store writes: protobuf messages of its own, so that fields can be added later.

use fleetway_api::{
    Component, Id, Kind, Name,
    proto::v1,
    rest::{OperationResult, Outcome, TransactionResponse},
};

use prost::Message as _;

use super::{
    Receipt, Record, RevisionHead, StoreError,
    vault::{Sealed, Vault},
};

/// A resource with what is kept beside it. That of a secret is `sealed`; a component's bytes stand in a
/// file of their own.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredRecord {
    #[prost(message, optional, tag = "1")]
    message: Option<v1::Resource>,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(int64, tag = "3")]
    created_ms: i64,
    #[prost(int64, tag = "4")]
    updated_ms: i64,
    #[prost(string, tag = "5")]
    updated_by: String,
    #[prost(message, optional, tag = "6")]
    sealed: Option<Sealed>,
}

/// A change of the log, as `fleetway.v1.Change` has it. That of a secret is `sealed`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredChange {
    #[prost(message, optional, tag = "1")]
    before: Option<v1::Resource>,
    #[prost(message, optional, tag = "2")]
    after: Option<v1::Resource>,
    #[prost(message, optional, tag = "3")]
    sealed: Option<Sealed>,
}

/// What a value is encrypted for: it opens nowhere else.
fn place(tree: &str, key: &[u8], version: u64) -> Vec<u8> {
    [tree.as_bytes(), &[0], &version.to_be_bytes(), key].concat()
}

/// The message as it is stored in a tree: that of a component without its bytes.
fn stored(message: &v1::Resource) -> v1::Resource {
    match &message.kind {
        Some(v1::resource::Kind::Component(component)) => v1::Resource {
            kind: Some(v1::resource::Kind::Component(Component::without_bytes(
                component,
            ))),
        },
        _ => message.clone(),
    }
}

fn is_secret(message: &v1::Resource) -> bool {
    matches!(message.kind, Some(v1::resource::Kind::Secret(_)))
}

impl StoredRecord {
    /// The form of a record that is stored under `key`.
    pub(super) fn new(
        record: &Record,
        key: &str,
        vault: Option<&Vault>,
    ) -> Result<Self, StoreError> {
        let secret = is_secret(&record.message);
        let sealed = secret.then(|| {
            let place = place("resources", key.as_bytes(), record.version);
            keyed(vault)?.seal(record.message.encode_to_vec(), &place)
        });
        Ok(Self {
            message: (!secret).then(|| stored(&record.message)),
            version: record.version,
            created_ms: record.created_ms,
            updated_ms: record.updated_ms,
            updated_by: record.updated_by.clone(),
            sealed: sealed.transpose()?,
        })
    }

    /// The record, found under `key`.
    pub(super) fn open(self, key: &[u8], vault: Option<&Vault>) -> Result<Record, StoreError> {
        let message = match (self.message, &self.sealed) {
            (Some(message), None) if !is_secret(&message) => message,
            (None, Some(sealed)) => {
                let place = place("resources", key, self.version);
                opened(&keyed(vault)?.open(sealed, &place)?)?
            }
            (Some(_), _) => return Err(damaged("a secret that is not encrypted")),
            (None, None) => return Err(damaged("a resource without content")),
        };
        Ok(Record {
            message,
            version: self.version,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            updated_by: self.updated_by,
        })
    }
}

impl StoredChange {
    /// The form of a change that is stored under `key`, made by `revision`.
    pub(super) fn new(
        change: &v1::Change,
        key: &[u8],
        revision: u64,
        vault: Option<&Vault>,
    ) -> Result<Self, StoreError> {
        let v1::Change { before, after } = change;
        if !before.iter().chain(after).any(is_secret) {
            return Ok(Self {
                before: before.as_ref().map(stored),
                after: after.as_ref().map(stored),
                sealed: None,
            });
        }
        let sealed =
            keyed(vault)?.seal(change.encode_to_vec(), &place("changes", key, revision))?;
        Ok(Self {
            sealed: Some(sealed),
            ..Self::default()
        })
    }

    /// The change, found under `key`.
    pub(super) fn open(
        self,
        key: &[u8],
        revision: u64,
        vault: Option<&Vault>,
    ) -> Result<v1::Change, StoreError> {
        match &self.sealed {
            None => Ok(v1::Change {
                before: self.before,
                after: self.after,
            }),
            Some(sealed) => opened(&keyed(vault)?.open(sealed, &place("changes", key, revision))?),
        }
    }
}

/// Who writes a secret has asked whether the store keeps secrets; who reads one has its key.
fn keyed(vault: Option<&Vault>) -> Result<&Vault, StoreError> {
    vault.ok_or_else(|| StoreError::Key("a secret, and no master key was given".to_owned()))
}

fn opened<T: prost::Message + Default>(bytes: &[u8]) -> Result<T, StoreError> {
    T::decode(bytes).map_err(|error| damaged(format_args!("what cannot be decoded ({error})")))
}

/// An entry of the revision log; its changes are kept apart, one by one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredHead {
    #[prost(int64, tag = "1")]
    pub(super) time_ms: i64,
    #[prost(string, tag = "2")]
    pub(super) author: String,
    #[prost(string, tag = "3")]
    pub(super) message: String,
    #[prost(uint64, tag = "4")]
    pub(super) changed: u64,
}

impl From<&v1::Revision> for StoredHead {
    fn from(revision: &v1::Revision) -> Self {
        Self {
            time_ms: revision.time_ms,
            author: revision.author.clone(),
            message: revision.message.clone(),
            changed: revision.changes.len() as u64,
        }
    }
}

impl StoredHead {
    pub(super) fn with_number(self, number: u64) -> RevisionHead {
        RevisionHead {
            number,
            time_ms: self.time_ms,
            author: self.author,
            message: self.message,
            changed: usize::try_from(self.changed).unwrap_or(usize::MAX),
        }
    }
}

/// What is kept of a request with an idempotency key.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredReceipt {
    #[prost(string, tag = "1")]
    fingerprint: String,
    #[prost(int64, tag = "2")]
    time_ms: i64,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(message, repeated, tag = "4")]
    results: Vec<StoredResult>,
}

/// What became of one resource.
#[derive(Clone, PartialEq, prost::Message)]
struct StoredResult {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(enumeration = "StoredOutcome", tag = "3")]
    outcome: i32,
}

/// Numbered for the store: a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum StoredOutcome {
    Unknown = 0,
    Created = 1,
    Updated = 2,
    Unchanged = 3,
    Deleted = 4,
}

impl From<&Receipt> for StoredReceipt {
    fn from(receipt: &Receipt) -> Self {
        let result = |result: &OperationResult| StoredResult {
            kind: result.id.kind.as_str().to_owned(),
            name: result.id.name.to_string(),
            outcome: match result.outcome {
                Outcome::Created => StoredOutcome::Created,
                Outcome::Updated => StoredOutcome::Updated,
                Outcome::Unchanged => StoredOutcome::Unchanged,
                Outcome::Deleted => StoredOutcome::Deleted,
            }
            .into(),
        };
        Self {
            fingerprint: receipt.fingerprint.clone(),
            time_ms: receipt.time_ms,
            revision: receipt.response.revision,
            results: receipt.response.results.iter().map(result).collect(),
        }
    }
}

impl TryFrom<StoredReceipt> for Receipt {
    type Error = StoreError;

    fn try_from(stored: StoredReceipt) -> Result<Self, StoreError> {
        let results = stored.results.into_iter().map(OperationResult::try_from);
        Ok(Self {
            fingerprint: stored.fingerprint,
            time_ms: stored.time_ms,
            response: TransactionResponse {
                revision: stored.revision,
                dry_run: false,
                results: results.collect::<Result<_, _>>()?,
            },
        })
    }
}

impl TryFrom<StoredResult> for OperationResult {
    type Error = StoreError;

    fn try_from(stored: StoredResult) -> Result<Self, StoreError> {
        let outcome = match stored.outcome() {
            StoredOutcome::Created => Outcome::Created,
            StoredOutcome::Updated => Outcome::Updated,
            StoredOutcome::Unchanged => Outcome::Unchanged,
            StoredOutcome::Deleted => Outcome::Deleted,
            StoredOutcome::Unknown => return Err(damaged("a receipt without an outcome")),
        };
        let kind: Kind = stored.kind.parse().map_err(damaged)?;
        let name = Name::new(&stored.name).map_err(damaged)?;
        Ok(Self {
            id: Id::new(kind, name),
            outcome,
        })
    }
}

/// The store holds what no version of it writes.
pub(super) fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Format(format!(
        "the store holds {what}: it is damaged, restore it from a copy"
    ))
}
