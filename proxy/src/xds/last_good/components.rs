//! The bytes of components beside the last good configuration, each in a file of its own that is
//! written once.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use fleetway_api::{Name, component_digest};

/// The folder of the files within the state folder.
const FOLDER: &str = "components";
const ENDING: &str = ".wasm";

/// The files, each named by the digest of what it holds.
pub(super) struct Components {
    folder: PathBuf,
}

impl Components {
    /// Those of a state folder.
    pub(super) fn of(state: &Path) -> Self {
        Self {
            folder: state.join(FOLDER),
        }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(format!("{name}{ENDING}"))
    }

    /// The bytes, which are those of the digest. A file that holds others is removed, so that the
    /// right ones can take its place.
    pub(super) fn read(&self, name: &Name) -> io::Result<Bytes> {
        let path = self.path(name);
        let bytes = fs::read(&path)?;
        if component_digest(&bytes) != name.as_str() {
            fs::remove_file(&path)?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file held other bytes than those of its name",
            ));
        }
        Ok(bytes.into())
    }

    /// Writes the bytes, unless they are there.
    pub(super) fn keep(&self, name: &Name, wasm: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        if fs::metadata(&path).is_ok_and(|about| about.len() == wasm.len() as u64) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let temporary = self.folder.join(format!("{name}.tmp"));
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(wasm)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)?;
        // The rename itself is durable once the folder is.
        File::open(&self.folder)?.sync_all()
    }

    /// Removes every other file. What cannot be removed is tried again with the next configuration.
    pub(super) fn keep_only(&self, names: &BTreeSet<&str>) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(ENDING));
            if name.is_some_and(|name| names.contains(name)) {
                continue;
            }
            if let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(file = %entry.path().display(), %error, "a component that is no longer held cannot be removed");
            }
        }
    }
}
