//! The bytes of components, each in a file of its own: written once, and neither read nor copied when
//! something else is stored.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use fleetway_api::Name;

use super::{
    StoreError,
    files::{sync_folder, write_atomically},
    record::damaged,
};

/// The folder of the files within the data directory.
const FOLDER: &str = "components";
const ENDING: &str = ".wasm";

/// The folder of the bytes. Each file is named by the digest of what it holds, so one that is there is
/// the right one.
#[derive(Debug)]
pub(super) struct Components {
    dir: PathBuf,
}

impl Components {
    /// Those of the data directory `dir`.
    pub(super) fn of(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.dir.join(FOLDER).join(format!("{name}{ENDING}"))
    }

    /// Writes the bytes, durably, if they are not there.
    pub(super) fn keep(&self, name: &Name, wasm: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let written = self.make_folder().and_then(|()| match path.metadata() {
            Ok(metadata) if metadata.len() == wasm.len() as u64 => Ok(()),
            _ => write_atomically(&path, wasm),
        });
        written.map_err(|error| StoreError::Io(format!("cannot write {}: {error}", path.display())))
    }

    fn make_folder(&self) -> io::Result<()> {
        match fs::create_dir(self.dir.join(FOLDER)) {
            Ok(()) => sync_folder(&self.dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads the bytes.
    pub(super) fn read(&self, name: &Name) -> Result<Bytes, StoreError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(damaged(format_args!(
                "components/{name}, but the file {} is missing",
                path.display()
            ))),
            Err(error) => Err(StoreError::Io(format!(
                "cannot read {}: {error}",
                path.display()
            ))),
        }
    }

    /// Removes the bytes. What cannot be removed is for the next start.
    pub(super) fn remove(&self, name: &Name) {
        remove(&self.path(name));
    }

    /// Removes what a process left that ended between writing the bytes and the commit, or between the
    /// commit and the removal.
    pub(super) fn keep_only(&self, names: &BTreeSet<Name>) {
        let Ok(entries) = fs::read_dir(self.dir.join(FOLDER)) else {
            return;
        };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(ENDING));
            if !name.is_some_and(|name| names.contains(name)) {
                remove(&entry.path());
            }
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "cannot remove a component that is gone");
        }
        _ => {}
    }
}
