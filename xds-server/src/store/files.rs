//! Files of the data directory: the lock, writing whole, syncing.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use super::StoreError;

/// Locked while a process has the directory open.
pub(super) const LOCK: &str = "lock";

/// The lock on a data directory.
#[derive(Debug)]
pub(super) struct Lock(fs::File);

impl Lock {
    /// Takes the lock of `dir`, if no other process has it.
    pub(super) fn take(dir: &Path) -> std::io::Result<Result<Self, StoreError>> {
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Ok(Self(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(Err(StoreError::Locked(format!(
                "another fleetway-xds has the data directory {} open: stop it first, or give this one another --data",
                dir.display()
            )))),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    /// Closing alone would leave the lock with a process that is just being started: it has our
    /// files open until it executes its program.
    fn drop(&mut self) {
        // What cannot be unlocked is so when the last process closes it.
        let _left = self.0.unlock();
    }
}

/// sled closes its file without unlocking it. Waits, not for long, until no process that was just
/// being started has it open; ours is the only store here, as the directory's lock is taken.
pub(super) fn wait_for_inherited_lock(path: &Path) -> std::io::Result<()> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        match file.try_lock() {
            Ok(()) => return file.unlock(),
            Err(fs::TryLockError::WouldBlock) => std::thread::yield_now(),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    // sled says who cannot have it.
    Ok(())
}

/// A file beside the store that says how far the store had come. sled takes a damaged log for one
/// that ends earlier, and a missing one for a new one: this is how that is noticed.
#[derive(Debug)]
pub(super) struct Mark(fs::File);

impl Mark {
    /// Its name in the data directory.
    pub(super) const NAME: &str = "revision";

    /// Opens the mark in `dir`, and reads the revision it says: 0 where there is none.
    pub(super) fn open(dir: &Path) -> std::io::Result<(Self, u64)> {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(dir.join(Self::NAME))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok((Self(file), text.trim().parse().unwrap_or_default()))
    }

    /// Notes that the store holds `revision`, durably. The number only grows, so it is written
    /// over the one before. Not synced: after a power failure an older one may stand here.
    pub(super) fn write(&self, revision: u64) -> std::io::Result<()> {
        self.0.write_all_at(format!("{revision}\n").as_bytes(), 0)
    }
}

/// Syncs a folder's entries, so that a new file is found after a power failure.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Syncs every file of a folder that changed at or after `since`.
pub(super) fn sync_changed(folder: &Path, since: SystemTime) -> std::io::Result<()> {
    // File times are coarser than the clock.
    let since = since.checked_sub(Duration::from_secs(2)).unwrap_or(since);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file that is gone by now holds nothing that counts.
        let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else {
            continue;
        };
        if modified >= since
            && let Ok(file) = fs::File::open(entry.path())
        {
            file.sync_all()?;
        }
    }
    sync_folder(folder)
}

/// Replaces a file whole: what reads it sees the old content or the new.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let temporary = folder.join(name);
    let mut file = fs::File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(folder)
}
