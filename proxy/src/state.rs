//! The state folder: one process at a time, and the file that says what is bound.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Serialize;

/// Locked while a proxy has the folder.
const LOCK: &str = "lock";
/// The file that says what is bound.
const ADDRESSES: &str = "addresses.json";

/// The state folder of this process.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    lock: File,
}

#[derive(Serialize)]
struct Bound<'a> {
    pid: u32,
    admin: SocketAddr,
    listeners: &'a BTreeMap<String, SocketAddr>,
}

impl StateFolder {
    /// Takes the folder, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or written, or another proxy has it.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::create_dir_all(path)
            .with_context(|| format!("state: the folder {shown} cannot be made"))?;
        let mut open = File::options();
        let lock = open
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .with_context(|| format!("state: the folder {shown} cannot be written"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "state: another proxy has the folder {shown}: stop it first, or give this one another --state"
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("state: {shown} cannot be locked"));
            }
        }
        let this = Self {
            path: path.to_owned(),
            lock,
        };
        this.forget();
        Ok(this)
    }

    /// Leaves the folder to the proxy that comes next.
    ///
    /// # Errors
    /// When it cannot be unlocked.
    pub fn release(self) -> io::Result<()> {
        self.forget();
        // Closing alone would leave the lock with a process that is just being started.
        self.lock.unlock()
    }

    /// Writes what is bound, so that no reader sees half of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tell(
        &self,
        admin: SocketAddr,
        listeners: &BTreeMap<String, SocketAddr>,
    ) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&Bound {
            pid: std::process::id(),
            admin,
            listeners,
        })?;
        let beside = self.path.join(".addresses.json.new");
        fs::write(&beside, text)?;
        fs::rename(beside, self.path.join(ADDRESSES))
    }

    /// Removes what a process that is gone, or is going, has said.
    fn forget(&self) {
        // If it cannot be removed it cannot be written either, and that is told then.
        let _none = fs::remove_file(self.path.join(ADDRESSES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_for_one_proxy_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let admin = SocketAddr::from(([127, 0, 0, 1], 1));
        let one = StateFolder::take(&path).unwrap();
        one.tell(admin, &BTreeMap::new()).unwrap();
        let error = StateFolder::take(&path).unwrap_err().to_string();
        assert!(error.contains("another proxy has the folder"), "{error}");
        assert!(path.join(ADDRESSES).exists());
        one.release().unwrap();
        assert!(!path.join(ADDRESSES).exists());
        StateFolder::take(&path).unwrap();
    }
}
