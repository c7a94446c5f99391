//! A transaction worked out against a state.

use std::{collections::HashMap, sync::Arc};

use fleetway_api::{
    Change, FieldError, Id, Kind, Resource,
    proto::v1,
    rest::{OperationResult, Outcome},
};

use super::{CommitError, Condition, Transaction, Unmet, Unread, reading::Read, secrets};
use crate::{
    snapshot::{Encoded, Entry, Snapshot, Stored},
    store::{Record, StoreError},
};

/// A transaction worked out against a state, in the forms its takers need.
pub(super) struct Staged {
    pub(super) changes: Vec<Change<Stored>>,
    pub(super) revision: v1::Revision,
    pub(super) records: Vec<(Id, Option<Record>)>,
    pub(super) results: Vec<OperationResult>,
}

/// Works out what a transaction changes. Of one that cannot be made it says all that is wrong; of
/// one that can, references are not yet checked. `keeps_secrets`: the store can encrypt them.
pub(super) fn stage(
    current: &Snapshot,
    transaction: &Transaction,
    read: Read,
    now: i64,
    keeps_secrets: bool,
) -> Result<Staged, CommitError> {
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
    let mut read = read.into_iter();
    for (index, operation) in transaction.operations.iter().enumerate() {
        let read = read.next().flatten();
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
                match staged.put(id, (message, read), before, stamp) {
                    Ok(_) if id.kind == Kind::Secret && !keeps_secrets => {
                        errors.push(secrets::keyless(id));
                        continue;
                    }
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

impl From<StoreError> for PutError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
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
        (message, read): (&v1::Resource, Option<Result<Resource, Vec<FieldError>>>),
        before: Option<&Arc<Entry>>,
        stamp: Stamp<'_>,
    ) -> Result<Outcome, PutError> {
        let decode = || before.map(|before| decoded(before)).transpose();
        // Of others it is only wanted if they change.
        let kept = secrets::is_kept(id.kind);
        let mut old = if kept { decode()? } else { None };
        let message = secrets::with_kept(id, message, old.as_ref())
            .map_err(|fault| PutError::Faults(vec![fault]))?;
        let mut resource = read
            .unwrap_or_else(|| Resource::read(message.as_ref().clone()))
            .map_err(PutError::Faults)?;
        let encoded = Encoded::new(&message, id.name.as_str(), stamp.version).ok_or_else(|| {
            PutError::Faults(vec![FieldError::new(id, "", "a resource without a kind")])
        })?;
        if before.is_some_and(|before| before.data.encoded.same_message(&encoded)) {
            return Ok(Outcome::Unchanged);
        }
        let unusable = secrets::unusable(&resource, &message, old.as_ref(), stamp.time_ms);
        if !unusable.is_empty() {
            return Err(PutError::Faults(unusable));
        }
        encoded.lend(&mut resource);
        if !kept {
            old = decode()?;
        }
        let created_ms = before.map_or(stamp.time_ms, |before| before.data.created_ms);
        let outcome = if before.is_some() {
            Outcome::Updated
        } else {
            Outcome::Created
        };
        self.revision.changes.push(v1::Change {
            before: old,
            after: Some(message.as_ref().clone()),
        });
        self.records.push((
            id.clone(),
            Some(Record {
                message: message.into_owned(),
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
