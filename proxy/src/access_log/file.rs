//! The file of a log.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
    time::{Duration, Instant},
};

use fleetway_api::AccessLog;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};

/// How often it is looked whether a file was moved away.
const LOOK: Duration = Duration::from_secs(1);

/// A file lines are added to, or standard output.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    /// Of a file, that is.
    path: Option<Box<Path>>,
    looked: Instant,
}

impl LogFile {
    /// Opens it for writing, and makes it if it is not there.
    pub(super) fn open(target: &AccessLog) -> io::Result<Self> {
        let (file, path) = match target {
            AccessLog::Stdout => (io::stdout().as_fd().try_clone_to_owned()?.into(), None),
            AccessLog::File(path) => (open(path)?, Some(path.clone())),
        };
        Ok(Self {
            file,
            path,
            looked: Instant::now(),
        })
    }

    /// What it is called.
    pub(super) fn name(&self) -> std::path::Display<'_> {
        self.path.as_deref().unwrap_or(Path::new("-")).display()
    }

    /// Opens it again under its path. If that fails it stays as it is.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = open(path)?;
        }
        self.looked = Instant::now();
        Ok(())
    }

    /// Whether another file stands under its path, or none. Looked at once a second.
    pub(super) fn was_moved(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        let now = Instant::now();
        if now.duration_since(self.looked) < LOOK {
            return false;
        }
        self.looked = now;
        match (std::fs::metadata(path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => identity(&there) != identity(&ours),
            (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
            (_, Err(_)) => false,
        }
    }

    /// One write(2). What it takes is not nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            written => written,
        }
    }

    /// Waits until it takes bytes, at most `within`: a pipe that is full takes none. Whether it does.
    pub(super) fn wait(&self, within: Duration) -> bool {
        let within = Timespec::try_from(within).ok();
        let mut file = [PollFd::new(&self.file, PollFlags::OUT)];
        poll(&mut file, within.as_ref()).is_ok_and(|ready| ready > 0)
    }
}

/// Without waiting, now and when it is written to: there may be a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
