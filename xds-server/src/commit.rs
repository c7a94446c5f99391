//! How a write becomes a revision: check, store, then publish, in one order for all writers.

mod components;
mod examine;
mod reading;
mod secrets;
mod stage;
mod transaction;
mod trial;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use fleetway_api::{FieldError, Resource, Secret, proto::v1, rest::TransactionResponse};
use tokio::sync::watch;

pub use self::examine::{ConfigFault, Examine, Preamble};
pub use self::transaction::{
    CommitError, Committed, Condition, Operation, Transaction, Unmet, Unread,
};
pub use self::trial::Trial;
use self::{
    examine::{Verdicts, View, refused},
    stage::stage,
};
use crate::{
    snapshot::{Encoded, Entry, Epoch, Snapshot, Stored},
    store::{Commit, Receipt, Record, Store, StoreError},
};

/// The one writer: holds the current state and makes the next.
#[derive(Debug)]
pub struct Committer {
    store: Arc<dyn Store>,
    examiner: Arc<dyn Examine>,
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
            .with_history(loaded.history.and(epoch))
            .with_idle(&loaded.idle, now_ms());
        Ok(Self {
            store,
            examiner: Arc::new(Preamble),
            keep_revisions,
            writing: Mutex::new(()),
            current: watch::Sender::new(Arc::new(snapshot)),
        })
    }

    /// The same, asking components by way of this examiner: [`Preamble`] runs none.
    #[must_use]
    pub fn examined_by(self, examiner: Arc<dyn Examine>) -> Self {
        Self { examiner, ..self }
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
    pub fn commit(&self, mut transaction: Transaction) -> Result<Committed, CommitError> {
        let known = self.snapshot();
        let read = reading::read(&mut transaction, &known, self.examiner.as_ref())?;
        // Asked before the lock, as answers may take long; under it, only what is new by then.
        let mut verdicts = Verdicts::default();
        self.ask(&transaction, &read, &known, &mut verdicts);
        // A writer that panicked published nothing; the state is whole.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot();
        if !transaction.dry_run
            && let Some(done) = self.replayed(&transaction, &current)?
        {
            return Ok(done);
        }
        let staged = stage(
            &current,
            &transaction,
            read,
            now_ms(),
            self.store.keeps_secrets(),
        )?;
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
        let changes = staged.records.iter();
        let changes = changes.filter_map(|(id, _)| Some((id.clone(), &next.get(id)?.resource)));
        let view = View {
            before: &current,
            state: &next,
            changes: changes.collect(),
        };
        refused(view.faults(self.examiner.as_ref(), &mut verdicts))?;
        drop(view);
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
                idle: &next.idle_since(&current),
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

    /// Has components say what they find of the configurations that a transaction would bring to
    /// `current`. What is wrong with them is told later, with what else is.
    fn ask(
        &self,
        transaction: &Transaction,
        read: &reading::Read,
        current: &Snapshot,
        verdicts: &mut Verdicts,
    ) {
        let changes = transaction.operations.iter().zip(read);
        let changes = changes.filter_map(|(operation, read)| {
            let resource = read.as_ref()?.as_ref().ok()?;
            Some((operation.id.clone(), resource))
        });
        let view = View {
            before: current,
            state: current,
            changes: changes.collect(),
        };
        view.faults(self.examiner.as_ref(), verdicts);
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

fn restore(mut record: Record) -> Result<Entry, StoreError> {
    // Stored when what stood beside the blocks of a secret was still kept.
    if let Some(v1::resource::Kind::Secret(secret)) = &mut record.message.kind {
        Secret::drop_unmeant(secret);
    }
    let mut resource = Resource::read(record.message.clone())
        .map_err(|errors| StoreError::Format(unacceptable(&errors)))?;
    let encoded = Encoded::new(&record.message, resource.name().as_str(), record.version)
        .ok_or_else(|| StoreError::Format("a stored resource without a kind".to_owned()))?;
    encoded.lend(&mut resource);
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
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_beside_the_blocks_of_a_secret_is_not_restored() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let certificates = format!("hunter2\n{pem}{}", key.serialize_pem());
        let secret = |certificates| {
            let bundle = v1::CaBundle {
                certificates,
                ..v1::CaBundle::default()
            };
            let kind = v1::resource::Kind::Secret(v1::Secret {
                name: "clients".to_owned(),
                kind: Some(v1::secret::Kind::Ca(bundle)),
                ..v1::Secret::default()
            });
            v1::Resource { kind: Some(kind) }
        };
        let entry = restore(Record {
            message: secret(certificates),
            version: 1,
            created_ms: 0,
            updated_ms: 0,
            updated_by: String::new(),
        })
        .unwrap();
        assert_eq!(entry.data.encoded.decode().unwrap(), secret(pem));
    }
}
