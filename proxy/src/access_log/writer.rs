//! The thread that writes a log.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, select};

use super::{
    file::LogFile,
    output::{BATCH, Batch, Control},
};

/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a full pipe is waited for before commands are looked at.
const FULL: Duration = Duration::from_millis(100);

/// Writes what comes, batch by batch. What cannot be written is kept and tried again.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) file: LogFile,
    pub(super) batches: Receiver<Batch>,
    pub(super) queued: Arc<AtomicUsize>,
    pub(super) rooms: Sender<Vec<u8>>,
    pub(super) commands: Receiver<Control>,
    /// Nothing more comes, and what cannot be written now is left out.
    pub(super) finishing: bool,
    /// What could not be written is left out, and all that comes after it.
    pub(super) given_up: bool,
    /// The last write failed: that was said.
    pub(super) failing: bool,
}

impl Writer {
    /// Until nobody is left who could send, or it is to finish.
    pub(super) fn run(mut self) {
        while !self.finishing {
            select! {
                recv(self.batches) -> batch => match batch {
                    Ok(batch) => self.take(batch),
                    Err(_) => return,
                },
                recv(self.commands) -> command => match command {
                    Ok(command) => drop(self.heed(command)),
                    Err(_) => self.finishing = true,
                },
            }
        }
        while let Ok(batch) = self.batches.try_recv() {
            self.take(batch);
        }
    }

    fn take(&mut self, batch: Batch) {
        if self.file.was_moved() {
            self.reopen();
        }
        let size = batch.bytes.len();
        self.write(&batch);
        self.queued.fetch_sub(size, Relaxed);
        let mut room = batch.bytes;
        if room.capacity() <= 2 * BATCH {
            room.clear();
            // Enough are kept.
            let _ = self.rooms.try_send(room);
        }
    }

    fn write(&mut self, batch: &Batch) {
        let mut left = &*batch.bytes;
        while !left.is_empty() && !self.given_up {
            match self.file.write(left) {
                Ok(some) => {
                    left = left.get(some..).unwrap_or_default();
                    self.failing = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // From its beginning, where the file is another one now: no line is cut in two.
                Err(error) => match self.wait(&error, batch) {
                    Wait::Again => {}
                    Wait::Anew => left = from_line(&batch.bytes, left.len()),
                    Wait::GiveUp => self.given_up = true,
                },
            }
        }
        let lost = left.iter().filter(|byte| **byte == b'\n').count() as u64;
        batch
            .counters
            .access_log
            .written(batch.lines - lost.min(batch.lines));
        batch.counters.access_log.lost(lost);
    }

    /// Waits after a write that failed, while commands may come.
    fn wait(&mut self, error: &io::Error, batch: &Batch) -> Wait {
        let full = error.kind() == io::ErrorKind::WouldBlock;
        let command = if full {
            let takes = self.file.wait(FULL);
            if self.finishing && !takes {
                return Wait::GiveUp;
            }
            self.commands.try_recv().ok()
        } else {
            batch.counters.access_log.failed();
            if !self.failing {
                self.failing = true;
                let path = self.file.name();
                tracing::error!(%path, %error, "cannot write the access log, trying again");
            }
            if self.finishing {
                return Wait::GiveUp;
            }
            self.commands.recv_timeout(RETRY).ok()
        };
        match command {
            Some(command) if self.heed(command) => Wait::Anew,
            // Whoever made room by taking it away is to get it.
            _ if !full && self.file.was_moved() && self.reopen() => Wait::Anew,
            _ => Wait::Again,
        }
    }

    /// Does what it is told; whether the file is another one now.
    fn heed(&mut self, command: Control) -> bool {
        match command {
            Control::Reopen => self.reopen(),
            Control::Finish => {
                self.finishing = true;
                false
            }
        }
    }

    fn reopen(&mut self) -> bool {
        let reopened = self.file.reopen();
        if let Err(error) = &reopened {
            let path = self.file.name();
            tracing::error!(%path, %error, "cannot open the access log again, going on with the file it was");
        }
        reopened.is_ok()
    }
}

enum Wait {
    Again,
    Anew,
    GiveUp,
}

/// The rest of `bytes` from the beginning of the line that the last `left` bytes are in.
fn from_line(bytes: &[u8], left: usize) -> &[u8] {
    let written = bytes
        .get(..bytes.len().saturating_sub(left))
        .unwrap_or_default();
    let lines = written.iter().rposition(|byte| *byte == b'\n');
    bytes
        .get(lines.map_or(0, |end| end + 1)..)
        .unwrap_or_default()
}
