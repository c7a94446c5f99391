//! The default store: sled, embedded, in a folder of its own.
//!
//! A commit is one sled transaction over all trees, which recovers whole or not at all, and is
//! synced before it returns. So a process killed at any moment loses nothing it acknowledged and
//! leaves nothing half-written.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `meta` | `format`, `revision`, `key` | a decimal number; number and time of the last revision; the key of the secrets, under the master key |
//! | `resources` | `routes/users` | [`StoredRecord`] |
//! | `epochs` | number of its first revision | the epoch's id, big-endian |
//! | `revisions` | number | [`StoredHead`] |
//! | `changes` | number, index | [`StoredChange`] |
//! | `receipts` | idempotency key | [`StoredReceipt`] |
//! | `receipt_times` | time, idempotency key | nothing; to find what has expired |
//! | `idle` | name of a component | since when no policy names it |
//!
//! The bytes of components stand beside the trees ([`Components`]): they are on the disk before the
//! commit that makes the component, and removed after the one that deletes it.
//!
//! Numbers in keys are big-endian, so that their order is the keys'.

mod components;
mod keys;
mod opening;
mod trees;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use fleetway_api::{Kind, proto::v1};
use prost::Message as _;

pub use self::keys::Rotated;
use self::{
    opening::{check_format, refuse_foreign},
    trees::{
        Batches, Trees, change_key, decode, order_key, read_epoch, read_idle, read_last,
        resource_key, write_last,
    },
};
use super::{
    Commit, Loaded, Receipt, RevisionHead, Store, StoreError,
    components::Components,
    files::{Lock, Mark, sync_changed, sync_folder, wait_for_inherited_lock},
    record::{StoredChange, StoredHead, StoredReceipt, StoredRecord, damaged},
    vault::{MasterKey, Vault},
};

/// The newest format this program reads, and that of a store which held components or policies.
const FORMAT: u64 = 3;
/// The format of a store that held secrets, and neither components nor policies.
const SECRETS_FORMAT: u64 = 2;
/// The format of a store that never held any.
const FIRST_FORMAT: u64 = 1;
const FORMAT_KEY: &[u8] = b"format";
/// Where the data key stands, once the store has held a secret.
const KEY_KEY: &[u8] = b"key";
const REVISION_KEY: &[u8] = b"revision";
/// The folder of sled's files within the data directory.
const FOLDER: &str = "store";
/// The state is read once, at the start; the cache only serves the log.
const CACHE_BYTES: u64 = 64 << 20;
const RECEIPT_LIFE_MS: i64 = 24 * 3600 * 1000;
/// How many expired receipts and old revisions a commit removes at most: more than it adds, and no
/// more than it has time for.
const PRUNED_AT_ONCE: usize = 16;
/// sled may keep values above this size in files of their own, which it does not sync.
const LARGE: usize = 32 << 10;

/// A store in a directory of the local disk, for one process at a time.
pub struct SledStore {
    trees: Trees,
    components: Components,
    folder: PathBuf,
    database: fs::File,
    mark: Mark,
    /// How far the mark says it had come when it was opened.
    marked: u64,
    /// What secrets are encrypted with: the key, and its form for the store.
    vault: Option<(Vault, Vec<u8>)>,
    /// Set when a write failed half-way: what the disk holds is then not known until it is read
    /// again. Held while writing.
    failed: Mutex<Option<String>>,
    /// Locked until the store is dropped; the last field, so that sled closes first.
    _lock: Lock,
}

/// In short: sled's own form prints all it has in memory.
impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore")
            .field("folder", &self.folder)
            .field("vault", &self.vault.as_ref().map(|(vault, _)| vault))
            .finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the store in `dir`, or makes one where there is nothing. Without a master key it takes
    /// no secrets.
    ///
    /// # Errors
    /// [`StoreError::Key`] when it holds secrets under another master key; it is then as it was.
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Format`] when the
    /// directory holds something else or was written by a newer program, [`StoreError::Io`] when it
    /// cannot be read or written.
    pub fn open(dir: &Path, master: Option<&MasterKey>) -> Result<Self, StoreError> {
        let mut store = Self::open_closed(dir)?;
        store.vault = store.unlock(master, dir)?;
        store.begin(dir)?;
        Ok(store)
    }

    /// Opens the store without its secrets.
    fn open_closed(dir: &Path) -> Result<Self, StoreError> {
        let io = |what: &str, error: std::io::Error| {
            StoreError::Io(format!("cannot {what} {}: {error}", dir.display()))
        };
        fs::create_dir_all(dir).map_err(|error| io("create the data directory", error))?;
        refuse_foreign(dir).map_err(|error| io("read the data directory", error))??;
        let lock = Lock::take(dir).map_err(|error| io("lock the data directory", error))??;
        let folder = dir.join(FOLDER);
        wait_for_inherited_lock(&folder.join("db"))
            .map_err(|error| io("open the store's file in", error))?;
        let database = sled::Config::new()
            .path(&folder)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(|error| match error {
                sled::Error::Corruption { .. } => StoreError::Format(format!(
                    "the store in {} is damaged: restore it from a copy ({error})",
                    folder.display()
                )),
                error => StoreError::Io(format!("cannot open {}: {error}", folder.display())),
            })?;
        check_format(&database, dir)?;
        let file = fs::File::open(folder.join("db"))
            .map_err(|error| io("open the store's file in", error))?;
        let (mark, marked) = Mark::open(dir).map_err(|error| io("read the mark in", error))?;
        Ok(Self {
            trees: Trees::open(&database)?,
            components: Components::of(dir),
            folder,
            database: file,
            mark,
            marked,
            vault: None,
            failed: Mutex::new(None),
            _lock: lock,
        })
    }

    /// Writes what a new store begins with; checks that of an old one nothing is missing.
    fn begin(&self, dir: &Path) -> Result<(), StoreError> {
        let Self { trees, marked, .. } = self;
        if trees.meta.get(FORMAT_KEY)?.is_none() {
            let format = FIRST_FORMAT.to_string();
            trees.meta.insert(FORMAT_KEY, format.as_bytes())?;
            trees.meta.flush()?;
            sync_folder(dir).map_err(|error| {
                StoreError::Io(format!(
                    "cannot sync the data directory {}: {error}",
                    dir.display()
                ))
            })?;
        }
        let (found, _) = self.last()?;
        if found < *marked {
            return Err(StoreError::Format(format!(
                "the store in {} ends at revision {found}, but revision {marked} was committed: it is damaged. Restore the directory from a copy, or remove the file \"{}\" in it to go on with what is left",
                dir.display(),
                Mark::NAME
            )));
        }
        Ok(())
    }

    /// Number and time of the last revision; 0 for an empty store.
    fn last(&self) -> Result<(u64, i64), StoreError> {
        match self.trees.meta.get(REVISION_KEY)? {
            None => Ok((0, 0)),
            Some(bytes) => read_last(&bytes),
        }
    }

    /// Writes batches in one transaction and syncs them. `expected`: the revision the store must be
    /// at.
    fn write(&self, batches: &Batches, expected: Option<u64>) -> Result<(), StoreError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed.as_ref() {
            return Err(StoreError::Io(format!(
                "an earlier write failed ({error}) and what the disk holds is not known: restart the server"
            )));
        }
        let started = SystemTime::now();
        let written = self.trees.apply(batches, expected);
        let result = match written {
            Err(error @ StoreError::Conflict { .. }) => return Err(error),
            Err(error) => Err(error),
            Ok(()) => self.sync(batches.bytes > LARGE, started),
        };
        if let Err(error) = &result {
            *failed = Some(error.to_string());
        }
        result
    }

    /// Returns once everything written is on the disk. sled's own flush hands over the data but
    /// neither the file's new length nor the files of large values.
    fn sync(&self, large: bool, since: SystemTime) -> Result<(), StoreError> {
        self.trees.meta.flush()?;
        let mut synced = self.database.sync_data();
        if large {
            synced = synced.and_then(|()| sync_changed(&self.folder.join("blobs"), since));
        }
        synced.map_err(|error| {
            StoreError::Io(format!("cannot sync {}: {error}", self.folder.display()))
        })
    }

    /// Adds the removal of the log's oldest revisions, below `oldest_kept`, for a commit of `added`
    /// changes. A revision goes with its head; of its changes some may go with later commits.
    fn prune_log(
        &self,
        oldest_kept: u64,
        added: usize,
        batches: &mut Batches,
    ) -> Result<(), StoreError> {
        let mut first_left = sled::IVec::from(&oldest_kept.to_be_bytes());
        let old = self.trees.revisions.range(..first_left.clone()).keys();
        for (index, key) in old.take(PRUNED_AT_ONCE + 1).enumerate() {
            let key = key?;
            if index == PRUNED_AT_ONCE {
                first_left = key;
            } else {
                batches.revisions.remove(key);
            }
        }
        let old = self.trees.changes.range(..first_left).keys();
        for key in old.take(PRUNED_AT_ONCE + 2 * added) {
            batches.changes.remove(key?);
        }
        Ok(())
    }

    /// Adds the removal of receipts that have expired.
    fn prune_receipts(&self, now_ms: i64, batches: &mut Batches) -> Result<(), StoreError> {
        let oldest = now_ms.saturating_sub(RECEIPT_LIFE_MS);
        for entry in self
            .trees
            .receipt_times
            .range(..order_key(oldest).as_slice())
            .take(PRUNED_AT_ONCE)
        {
            let (time_and_key, _) = entry?;
            if let Some((_, key)) = time_and_key.split_at_checked(size_of::<i64>()) {
                batches.receipts.remove(key);
            }
            batches.receipt_times.remove(time_and_key);
        }
        Ok(())
    }
}

impl Store for SledStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        let (revision, time_ms) = self.last()?;
        let mut records = Vec::with_capacity(self.trees.resources.len());
        for entry in &self.trees.resources {
            let (key, value) = entry?;
            records.push(decode::<StoredRecord>(&value)?.open(&key, self.vault())?);
        }
        self.load_components(&mut records)?;
        let idle = self.trees.idle.iter().map(|entry| read_idle(&entry?));
        let epochs = self.trees.epochs.iter().map(|entry| read_epoch(&entry?));
        Ok(Loaded {
            revision,
            time_ms,
            history: epochs.collect::<Result<_, _>>()?,
            records,
            idle: idle.collect::<Result<_, _>>()?,
        })
    }

    fn keeps_secrets(&self) -> bool {
        self.vault.is_some()
    }

    fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let revision = commit.revision;
        let mut batches = Batches::default();
        self.keep_key(commit, &mut batches)?;
        self.keep_format(commit, &mut batches)?;
        batches.meta.insert(
            REVISION_KEY,
            write_last(revision.number, revision.time_ms).as_slice(),
        );
        if let Some(epoch) = commit.epoch {
            let (first, id) = (epoch.first.to_be_bytes(), epoch.id.to_be_bytes());
            batches.epochs.insert(first.as_slice(), id.as_slice());
        }
        let head = StoredHead::from(revision).encode_to_vec();
        batches
            .revisions
            .insert(revision.number.to_be_bytes().as_slice(), head);
        for (index, change) in revision.changes.iter().enumerate() {
            let key = change_key(revision.number, index);
            let change = StoredChange::new(change, &key, revision.number, self.vault())?;
            let value = change.encode_to_vec();
            batches.bytes += value.len();
            batches.changes.insert(key.as_slice(), value);
        }
        for (id, record) in commit.records {
            let key = resource_key(id);
            match record {
                None => batches.resources.remove(key.as_bytes()),
                Some(record) => {
                    let value = StoredRecord::new(record, &key, self.vault())?.encode_to_vec();
                    batches.resources.insert(key.as_bytes(), value);
                }
            }
        }
        for (name, since) in commit.idle {
            match since {
                Some(since) => batches
                    .idle
                    .insert(name.as_str().as_bytes(), order_key(*since).as_slice()),
                None => batches.idle.remove(name.as_str().as_bytes()),
            }
        }
        self.keep_components(commit)?;
        self.prune_log(commit.oldest_kept, revision.changes.len(), &mut batches)?;
        self.prune_receipts(revision.time_ms, &mut batches)?;
        if let Some((key, receipt)) = commit.receipt {
            batches.keep(key, receipt);
        }
        self.write(&batches, Some(revision.number.saturating_sub(1)))?;
        for (id, record) in commit.records {
            if id.kind == Kind::Component && record.is_none() {
                self.components.remove(&id.name);
            }
        }
        if let Err(error) = self.mark.write(revision.number) {
            // The commit stands; damage to the store may go unnoticed.
            tracing::warn!(%error, "cannot note the revision beside the store");
        }
        Ok(())
    }

    fn keep(&self, key: &str, receipt: &Receipt) -> Result<(), StoreError> {
        let mut batches = Batches::default();
        self.prune_receipts(receipt.time_ms, &mut batches)?;
        batches.keep(key, receipt);
        self.write(&batches, None)
    }

    fn revision(&self, number: u64) -> Result<Option<v1::Revision>, StoreError> {
        let key = number.to_be_bytes();
        let Some(head) = self.trees.revisions.get(key)? else {
            return Ok(None);
        };
        let head: StoredHead = decode(&head)?;
        let mut changes = Vec::new();
        for entry in self.trees.changes.scan_prefix(key) {
            let (key, value) = entry?;
            let change: StoredChange = decode(&value)?;
            changes.push(change.open(&key, number, self.vault())?);
        }
        if changes.len() as u64 != head.changed {
            // A commit took it out of the log between the two reads, or someone else did worse.
            return match self.trees.revisions.get(key)? {
                None => Ok(None),
                Some(_) => Err(damaged(format_args!(
                    "not every change of revision {number}"
                ))),
            };
        }
        Ok(Some(v1::Revision {
            number,
            time_ms: head.time_ms,
            author: head.author,
            message: head.message,
            changes,
        }))
    }

    fn revisions(&self, before: u64, limit: usize) -> Result<Vec<RevisionHead>, StoreError> {
        let mut heads = Vec::with_capacity(limit.min(1000));
        let below = self
            .trees
            .revisions
            .range(..before.to_be_bytes().as_slice());
        for entry in below.rev().take(limit) {
            let (key, value) = entry?;
            let number = key
                .as_ref()
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| damaged("a revision without a number"))?;
            heads.push(decode::<StoredHead>(&value)?.with_number(number));
        }
        Ok(heads)
    }

    fn receipt(&self, key: &str) -> Result<Option<Receipt>, StoreError> {
        self.trees
            .receipts
            .get(key.as_bytes())?
            .map(|value| decode::<StoredReceipt>(&value)?.try_into())
            .transpose()
    }
}

#[cfg(test)]
mod tests;
