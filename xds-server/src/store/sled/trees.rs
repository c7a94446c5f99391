//! The trees, what one transaction writes to them, and the forms of keys and numbers in them.

use fleetway_api::{Id, Name};
use prost::Message;
use sled::{
    Batch, IVec, Tree,
    transaction::{
        ConflictableTransactionError, TransactionError, Transactional as _, TransactionalTree,
    },
};

use super::{
    super::{
        Receipt, StoreError,
        record::{StoredReceipt, damaged},
    },
    REVISION_KEY,
};
use crate::snapshot::Epoch;

pub(super) struct Trees {
    pub(super) meta: Tree,
    pub(super) epochs: Tree,
    pub(super) resources: Tree,
    pub(super) revisions: Tree,
    pub(super) changes: Tree,
    pub(super) receipts: Tree,
    pub(super) receipt_times: Tree,
    pub(super) idle: Tree,
}

/// What is written to each tree, in one transaction.
#[derive(Default)]
pub(super) struct Batches {
    pub(super) meta: Batch,
    pub(super) epochs: Batch,
    pub(super) resources: Batch,
    pub(super) revisions: Batch,
    pub(super) changes: Batch,
    pub(super) receipts: Batch,
    pub(super) receipt_times: Batch,
    pub(super) idle: Batch,
    pub(super) bytes: usize,
}

impl Trees {
    pub(super) fn open(database: &sled::Db) -> Result<Self, StoreError> {
        Ok(Self {
            meta: database.open_tree("meta")?,
            epochs: database.open_tree("epochs")?,
            resources: database.open_tree("resources")?,
            revisions: database.open_tree("revisions")?,
            changes: database.open_tree("changes")?,
            receipts: database.open_tree("receipts")?,
            receipt_times: database.open_tree("receipt_times")?,
            idle: database.open_tree("idle")?,
        })
    }

    /// The one transaction.
    pub(super) fn apply(&self, batches: &Batches, expected: Option<u64>) -> Result<(), StoreError> {
        let trees = (
            &self.meta,
            &self.epochs,
            &self.resources,
            &self.revisions,
            &self.changes,
            &self.receipts,
            &self.receipt_times,
            &self.idle,
        );
        let done = trees.transaction(
            |(meta, epochs, resources, revisions, changes, receipts, receipt_times, idle)| {
                if let Some(expected) = expected {
                    check_revision(meta, expected)?;
                }
                meta.apply_batch(&batches.meta)?;
                epochs.apply_batch(&batches.epochs)?;
                resources.apply_batch(&batches.resources)?;
                revisions.apply_batch(&batches.revisions)?;
                changes.apply_batch(&batches.changes)?;
                receipts.apply_batch(&batches.receipts)?;
                receipt_times.apply_batch(&batches.receipt_times)?;
                idle.apply_batch(&batches.idle)?;
                Ok(())
            },
        );
        done.map_err(|error| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => error.into(),
        })
    }
}

impl Batches {
    pub(super) fn keep(&mut self, key: &str, receipt: &Receipt) {
        let value = StoredReceipt::from(receipt).encode_to_vec();
        self.bytes += value.len();
        self.receipts.insert(key.as_bytes(), value);
        let mut time_and_key = order_key(receipt.time_ms).to_vec();
        time_and_key.extend_from_slice(key.as_bytes());
        self.receipt_times.insert(time_and_key, &[]);
    }
}

pub(super) fn check_revision(
    meta: &TransactionalTree,
    expected: u64,
) -> Result<(), ConflictableTransactionError<StoreError>> {
    let found = match meta.get(REVISION_KEY)? {
        None => 0,
        Some(bytes) => {
            read_last(&bytes)
                .map_err(ConflictableTransactionError::Abort)?
                .0
        }
    };
    if found == expected {
        Ok(())
    } else {
        Err(ConflictableTransactionError::Abort(StoreError::Conflict {
            expected,
            found,
        }))
    }
}

pub(super) fn resource_key(id: &Id) -> String {
    id.to_string()
}

pub(super) fn change_key(revision: u64, index: usize) -> [u8; 16] {
    let mut key = [0; 16];
    let (one, two) = key.split_at_mut(8);
    one.copy_from_slice(&revision.to_be_bytes());
    two.copy_from_slice(&(index as u64).to_be_bytes());
    key
}

/// A time as a key; times before 1970 count as 1970.
pub(super) fn order_key(time_ms: i64) -> [u8; 8] {
    time_ms.max(0).to_be_bytes()
}

pub(super) fn write_last(revision: u64, time_ms: i64) -> [u8; 16] {
    (u128::from(revision) << 64 | u128::from(time_ms.max(0).cast_unsigned())).to_be_bytes()
}

pub(super) fn read_last(bytes: &[u8]) -> Result<(u64, i64), StoreError> {
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| damaged("no usable revision number"))?;
    let (revision, time_ms) = bytes.split_at(8);
    match (revision.try_into(), time_ms.try_into()) {
        (Ok(revision), Ok(time_ms)) => {
            Ok((u64::from_be_bytes(revision), i64::from_be_bytes(time_ms)))
        }
        _ => Err(damaged("no usable revision number")),
    }
}

pub(super) fn read_epoch((first, id): &(IVec, IVec)) -> Result<Epoch, StoreError> {
    match (first.as_ref().try_into(), id.as_ref().try_into()) {
        (Ok(first), Ok(id)) => Ok(Epoch {
            first: u64::from_be_bytes(first),
            id: u64::from_be_bytes(id),
        }),
        _ => Err(damaged("no usable epoch")),
    }
}

pub(super) fn read_idle((name, since): &(IVec, IVec)) -> Result<(Name, i64), StoreError> {
    let name = std::str::from_utf8(name).ok();
    let name = name.and_then(|name| Name::new(name).ok());
    let since = since.as_ref().try_into().map(i64::from_be_bytes).ok();
    name.zip(since)
        .ok_or_else(|| damaged("no usable time of a component"))
}

pub(super) fn decode<T: Message + Default>(bytes: &[u8]) -> Result<T, StoreError> {
    T::decode(bytes).map_err(|error| damaged(format_args!("what cannot be decoded ({error})")))
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        Self::Io(format!("the store failed: {error}"))
    }
}
