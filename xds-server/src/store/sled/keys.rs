//! The key of the store's secrets: found at the start, stored with the first secret, put under
//! another master key.

use std::path::Path;

use fleetway_api::Kind;

use super::{
    super::{
        Commit, StoreError,
        vault::{self, MasterKey, Vault},
    },
    Batches, FOLDER, KEY_KEY, SledStore,
};

/// What became of a store whose key was to be put under another master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// It is.
    Done,
    /// It was already.
    Already,
    /// It never held a secret, so there is no key.
    Nothing,
}

impl SledStore {
    pub(super) fn vault(&self) -> Option<&Vault> {
        self.vault.as_ref().map(|(vault, _)| vault)
    }

    /// The key there is, or a new one to be stored with the first secret.
    pub(super) fn unlock(
        &self,
        master: Option<&MasterKey>,
        dir: &Path,
    ) -> Result<Option<(Vault, Vec<u8>)>, StoreError> {
        let stored = self.trees.meta.get(KEY_KEY)?;
        let vault = match (stored, master) {
            (Some(wrapped), master) => {
                let vault = Vault::unwrap(&wrapped, master, dir)?;
                return Ok(Some((vault, wrapped.to_vec())));
            }
            (None, None) => return Ok(None),
            (None, Some(_)) => Vault::generate()?,
        };
        let wrapped = master.map(|master| vault.wrap(master)).transpose()?;
        Ok(wrapped.map(|wrapped| (vault, wrapped)))
    }

    /// Adds the key to a commit that brings the store its first secret.
    pub(super) fn keep_key(
        &self,
        commit: &Commit<'_>,
        batches: &mut Batches,
    ) -> Result<(), StoreError> {
        let Some((_, wrapped)) = &self.vault else {
            return Ok(());
        };
        let secret = commit.records.iter().any(|(id, _)| id.kind == Kind::Secret);
        if secret && !self.trees.meta.contains_key(KEY_KEY)? {
            batches.meta.insert(KEY_KEY, wrapped.as_slice());
        }
        Ok(())
    }

    /// Puts the key of the store in `dir` under `new`, in one step: whatever happens, it is under
    /// the one or the other.
    ///
    /// # Errors
    /// When there is no store, a process has it open, or its key is under neither.
    pub fn rotate(dir: &Path, old: &MasterKey, new: &MasterKey) -> Result<Rotated, StoreError> {
        if !dir.join(FOLDER).join("db").is_file() {
            return Err(StoreError::Format(format!(
                "the directory {} holds no data of fleetway-xds: give --data the one of the server",
                dir.display()
            )));
        }
        let store = Self::open_closed(dir)?;
        let Some(wrapped) = store.trees.meta.get(KEY_KEY)? else {
            return Ok(Rotated::Nothing);
        };
        if vault::master_of(&wrapped)? == new.id() {
            Vault::unwrap(&wrapped, Some(new), dir)?;
            return Ok(Rotated::Already);
        }
        let vault = Vault::unwrap(&wrapped, Some(old), dir)?;
        let mut batches = Batches::default();
        batches.meta.insert(KEY_KEY, vault.wrap(new)?);
        store.write(&batches, None)?;
        Ok(Rotated::Done)
    }
}
