//! How a write becomes a revision: check, store, then publish, in one order for all writers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use fleetway_api::{
    Change, FieldError, Id, Invalid, Rejection, Resource,
    proto::v1,
    rest::{OperationResult, Outcome, TransactionResponse},
};
use tokio::sync::watch;

use crate::{
    snapshot::{Encoded, Entry, Epoch, Snapshot, Stored},
    store::{Commit, Receipt, Record, Store, StoreError},
};

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

/// The one writer: holds the current state and makes the next.
#[derive(Debug)]
pub struct Committer {
    store: Arc<dyn Store>,
    /// How many revisions the log keeps; 0: all.
    keep_revisions: u64,
    /// Held from the check to the publication, so that revisions come in one order.
    writing: Mutex<()>,
    current: watch::Sender<Arc<Snapshot>>,
}

impl Committer {
    /// Opens the state a store holds. The log keeps the newest `keep_revisions`; 0: all.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this program does not accept.
    pub fn open(store: Arc<dyn Store>, keep_revisions: u64) -> Result<Self, StoreError> {
        let loaded = store.load()?;
        let mut entries = Vec::with_capacity(loaded.records.len());
        for record in loaded.records {
            entries.push(Arc::new(restore(record)?));
        }
        let epoch = Epoch {
            first: loaded.revision + 1,
            id: rand::random(),
        };
        let snapshot = Snapshot::restored(loaded.revision, loaded.time_ms, entries)
            .map_err(|rejection| StoreError::Format(unacceptable(&rejection.errors)))?
            .with_history(loaded.history.and(epoch));
        Ok(Self {
            store,
            keep_revisions,
            writing: Mutex::new(()),
            current: watch::Sender::new(Arc::new(snapshot)),
        })
    }

    /// The current state.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// Tells of every new state; a slow receiver sees the latest only.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.subscribe()
    }

    /// The store, for its log.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The oldest revision the log is to keep once `newest` is committed.
    fn oldest_kept(&self, newest: u64) -> u64 {
        match self.keep_revisions {
            0 => 1,
            keep => newest.saturating_sub(keep - 1),
        }
    }

    /// Makes a transaction: all of it, durable and published on return, or nothing. Blocks on the
    /// store.
    ///
    /// # Errors
    /// When any part of it cannot be made.
    pub fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        // A writer that panicked published nothing; the state is whole.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot();
        if !transaction.dry_run
            && let Some(done) = self.replayed(&transaction, &current)?
        {
            return Ok(done);
        }
        let staged = stage(&current, &transaction, now_ms())?;
        let receipt = |response: &TransactionResponse| {
            let (key, fingerprint) = transaction.idempotency.as_ref()?;
            let receipt = Receipt {
                fingerprint: fingerprint.clone(),
                time_ms: staged.revision.time_ms,
                response: response.clone(),
            };
            Some((key.as_str(), receipt))
        };
        if staged.changes.is_empty() {
            let response = TransactionResponse {
                revision: current.revision(),
                dry_run: transaction.dry_run,
                results: staged.results,
            };
            // Sent again, it must not change what others changed in between.
            if !transaction.dry_run
                && let Some((key, receipt)) = receipt(&response)
            {
                self.store.keep(key, &receipt)?;
            }
            return Ok(Committed {
                response,
                snapshot: current,
                new: false,
            });
        }
        let number = staged.revision.number;
        let next = current
            .next(number, staged.revision.time_ms, staged.changes)
            .map(Arc::new)
            .map_err(CommitError::Invalid)?;
        let response = TransactionResponse {
            revision: number,
            dry_run: transaction.dry_run,
            results: staged.results,
        };
        if !transaction.dry_run {
            let receipt = receipt(&response);
            self.store.commit(&Commit {
                revision: &staged.revision,
                records: &staged.records,
                epoch: next
                    .history()
                    .newest()
                    .filter(|epoch| epoch.first == number),
                receipt: receipt.as_ref().map(|(key, receipt)| (*key, receipt)),
                oldest_kept: self.oldest_kept(number),
            })?;
            self.current.send_replace(next.clone());
            let Transaction {
                author, message, ..
            } = &transaction;
            let changed = staged.revision.changes.len();
            tracing::info!(revision = number, author, message, changed, "committed");
        }
        Ok(Committed {
            response,
            snapshot: next,
            new: !transaction.dry_run,
        })
    }

    /// The answer given before, if the transaction was made before under the same key.
    fn replayed(
        &self,
        transaction: &Transaction,
        current: &Arc<Snapshot>,
    ) -> Result<Option<Committed>, CommitError> {
        let Some((key, fingerprint)) = &transaction.idempotency else {
            return Ok(None);
        };
        match self.store.receipt(key)? {
            None => Ok(None),
            Some(receipt) if receipt.fingerprint == *fingerprint => Ok(Some(Committed {
                response: receipt.response,
                snapshot: current.clone(),
                new: false,
            })),
            Some(_) => Err(CommitError::KeyReused),
        }
    }
}

/// A transaction worked out against a state, in the forms its takers need.
struct Staged {
    changes: Vec<Change<Stored>>,
    revision: v1::Revision,
    records: Vec<(Id, Option<Record>)>,
    results: Vec<OperationResult>,
}

/// Works out what a transaction changes. Of one that cannot be made it says all that is wrong; of
/// one that can, references are not yet checked.
fn stage(current: &Snapshot, transaction: &Transaction, now: i64) -> Result<Staged, CommitError> {
    let number = current.revision() + 1;
    // The clock may step back; the log's times do not.
    let time_ms = now.max(current.time_ms());
    let mut staged = Staged {
        changes: Vec::with_capacity(transaction.operations.len()),
        revision: v1::Revision {
            number,
            time_ms,
            author: transaction.author.clone(),
            message: transaction.message.clone(),
            changes: Vec::new(),
        },
        records: Vec::new(),
        results: Vec::with_capacity(transaction.operations.len()),
    };
    let author: Arc<str> = transaction.author.as_str().into();
    let mut seen: HashMap<&Id, usize> = HashMap::with_capacity(transaction.operations.len());
    let Unread { faults, resources } = &transaction.unread;
    let (mut errors, mut invalid) = (faults.clone(), resources.clone());
    let mut unmet = Vec::new();
    for (index, operation) in transaction.operations.iter().enumerate() {
        let id = &operation.id;
        if let Some(first) = seen.insert(id, index) {
            errors.push(FieldError::new(
                id,
                format!("operations[{index}]"),
                format!("changes what operations[{first}] changes already: keep one of them"),
            ));
            continue;
        }
        let before = current.get(id);
        let version = before.map(|entry| entry.data.version);
        let held = check_condition(id, operation.condition, version);
        let outcome = match (&operation.put, before) {
            (None, None) => {
                unmet.push(held.err().unwrap_or_else(|| Unmet::NotFound(id.clone())));
                continue;
            }
            (None, Some(before)) => {
                unmet.extend(held.err());
                staged.delete(id, before)?;
                Outcome::Deleted
            }
            (Some(message), before) => {
                unmet.extend(held.err());
                let stamp = Stamp {
                    version: number,
                    time_ms,
                    author: &author,
                };
                match staged.put(id, message, before, stamp) {
                    Ok(outcome) => outcome,
                    Err(PutError::Faults(faults)) => {
                        errors.extend(faults);
                        invalid.note(Some(id.clone()));
                        continue;
                    }
                    Err(PutError::Store(error)) => return Err(error.into()),
                }
            }
        };
        staged.results.push(OperationResult {
            id: id.clone(),
            outcome,
        });
    }
    if errors.is_empty() && unmet.is_empty() {
        return Ok(staged);
    }
    errors.extend(current.resources().faults(staged.changes, &invalid));
    if errors.is_empty() {
        return Err(CommitError::Unmet(unmet));
    }
    errors.extend(unmet.iter().map(Unmet::fault));
    Err(CommitError::Invalid(errors.into()))
}

/// What a changed resource is marked with.
#[derive(Clone, Copy)]
struct Stamp<'a> {
    version: u64,
    time_ms: i64,
    author: &'a Arc<str>,
}

enum PutError {
    Faults(Vec<FieldError>),
    Store(StoreError),
}

impl Staged {
    fn delete(&mut self, id: &Id, before: &Entry) -> Result<(), StoreError> {
        self.revision.changes.push(v1::Change {
            before: Some(decoded(before)?),
            after: None,
        });
        self.records.push((id.clone(), None));
        self.changes.push(Change::Delete(id.clone()));
        Ok(())
    }

    fn put(
        &mut self,
        id: &Id,
        message: &v1::Resource,
        before: Option<&Arc<Entry>>,
        stamp: Stamp<'_>,
    ) -> Result<Outcome, PutError> {
        let resource = Resource::read(message.clone()).map_err(PutError::Faults)?;
        let encoded = Encoded::new(message, id.name.as_str(), stamp.version).ok_or_else(|| {
            PutError::Faults(vec![FieldError::new(id, "", "a resource without a kind")])
        })?;
        if before.is_some_and(|before| before.data.encoded.same_message(&encoded)) {
            return Ok(Outcome::Unchanged);
        }
        let created_ms = before.map_or(stamp.time_ms, |before| before.data.created_ms);
        let outcome = if before.is_some() {
            Outcome::Updated
        } else {
            Outcome::Created
        };
        self.revision.changes.push(v1::Change {
            before: before
                .map(|before| decoded(before))
                .transpose()
                .map_err(PutError::Store)?,
            after: Some(message.clone()),
        });
        self.records.push((
            id.clone(),
            Some(Record {
                message: message.clone(),
                version: stamp.version,
                created_ms,
                updated_ms: stamp.time_ms,
                updated_by: stamp.author.to_string(),
            }),
        ));
        let data = Stored {
            version: stamp.version,
            created_ms,
            updated_ms: stamp.time_ms,
            updated_by: stamp.author.clone(),
            encoded,
        };
        self.changes
            .push(Change::Put(Arc::new(Entry { resource, data })));
        Ok(outcome)
    }
}

fn check_condition(id: &Id, condition: Condition, found: Option<u64>) -> Result<(), Unmet> {
    match (condition, found) {
        (Condition::Absent, Some(_)) => Err(Unmet::Exists(id.clone())),
        (Condition::Exists, None) => Err(Unmet::Stale {
            id: id.clone(),
            found,
        }),
        (Condition::Version(wanted), found) if found != Some(wanted) => Err(Unmet::Stale {
            id: id.clone(),
            found,
        }),
        _ => Ok(()),
    }
}

fn decoded(entry: &Entry) -> Result<v1::Resource, StoreError> {
    entry
        .data
        .encoded
        .decode()
        .map_err(|error| StoreError::Format(format!("{}: {error}", entry.resource.id())))
}

fn restore(record: Record) -> Result<Entry, StoreError> {
    let resource = Resource::read(record.message.clone())
        .map_err(|errors| StoreError::Format(unacceptable(&errors)))?;
    let encoded = Encoded::new(&record.message, resource.name().as_str(), record.version)
        .ok_or_else(|| StoreError::Format("a stored resource without a kind".to_owned()))?;
    let data = Stored {
        version: record.version,
        created_ms: record.created_ms,
        updated_ms: record.updated_ms,
        updated_by: record.updated_by.into(),
        encoded,
    };
    Ok(Entry { resource, data })
}

fn unacceptable(errors: &[FieldError]) -> String {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    format!(
        "the store holds what this version does not accept; start the version that wrote it and mend it there:\n  {}",
        errors.join("\n  ")
    )
}

/// Now, in milliseconds since 1970; 0 for a clock before that.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
