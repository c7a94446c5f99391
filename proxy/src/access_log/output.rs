//! Where lines go: for each file a queue and the thread behind it.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use fleetway_api as api;

use super::{file::LogFile, writer::Writer};
use crate::telemetry::ListenerCounters;

/// From so many bytes on a batch is handed on at once.
pub(super) const BATCH: usize = 64 * 1024;
/// The most bytes that wait to be written, in all batches of a file.
const QUEUE: usize = 4 * 1024 * 1024;
/// The most batches, of whatever size.
const BATCHES: usize = 1024;
/// How much room is kept for batches to come.
const ROOMS: usize = 8;

/// Whole lines of one listener.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
    pub(super) counters: Arc<ListenerCounters>,
}

/// What the thread of a file is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    /// Open the file again, under its path.
    Reopen,
    /// Write what has come, and end.
    Finish,
}

/// One file, or standard output. Its thread ends, with all written, once the last that has it is
/// gone.
#[derive(Debug)]
pub struct Output {
    target: api::AccessLog,
    queue: Sender<Batch>,
    queued: Arc<AtomicUsize>,
    rooms: Receiver<Vec<u8>>,
    control: Sender<Control>,
}

impl Output {
    fn start(target: &api::AccessLog) -> io::Result<(Arc<Self>, Receiver<()>)> {
        let file = LogFile::open(target)?;
        let (queue, batches) = bounded(BATCHES);
        let (spare, rooms) = bounded(ROOMS);
        let (control, commands) = bounded(1);
        let (ends, ended) = bounded(1);
        let queued = Arc::<AtomicUsize>::default();
        let writer = Writer {
            file,
            batches,
            queued: queued.clone(),
            rooms: spare,
            commands,
            finishing: false,
            given_up: false,
            failing: false,
        };
        thread::Builder::new()
            .name("access-log".into())
            .spawn(move || {
                writer.run();
                drop(ends);
            })?;
        let output = Self {
            target: target.clone(),
            queue,
            queued,
            rooms,
            control,
        };
        Ok((Arc::new(output), ended))
    }

    pub(super) const fn target(&self) -> &api::AccessLog {
        &self.target
    }

    /// Room for a batch.
    pub(super) fn room(&self) -> Vec<u8> {
        self.rooms
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BATCH + 4096))
    }

    /// Hands on a batch, or gives it back where there is no room for it.
    pub(super) fn queue(&self, batch: Batch) -> Result<(), Batch> {
        let size = batch.bytes.len();
        let before = self.queued.fetch_add(size, Relaxed);
        let sent = if before > 0 && before + size > QUEUE {
            Err(batch)
        } else {
            self.queue
                .try_send(batch)
                .map_err(|error| error.into_inner())
        };
        sent.inspect_err(|_| {
            self.queued.fetch_sub(size, Relaxed);
        })
    }

    /// Hands on a worker's last batch, waiting for room. Whether there was any in time.
    pub(super) fn queue_last(&self, batch: Batch, within: Duration) -> bool {
        let size = batch.bytes.len();
        self.queued.fetch_add(size, Relaxed);
        let sent = self.queue.send_timeout(batch, within).is_ok();
        if !sent {
            self.queued.fetch_sub(size, Relaxed);
        }
        sent
    }
}

/// All access logs of a proxy.
#[derive(Debug, Default)]
pub struct Logs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    outputs: HashMap<api::AccessLog, Weak<Output>>,
    /// Those there were: of each, what tells its thread and what tells of its end.
    threads: Vec<(Sender<Control>, Receiver<()>)>,
}

impl Logs {
    /// The output to `target`, opened if it is not.
    ///
    /// # Errors
    /// When it cannot be opened for writing.
    pub(super) fn open(&self, target: &api::AccessLog) -> io::Result<Arc<Output>> {
        let mut known = self.known();
        if let Some(output) = known.outputs.get(target).and_then(Weak::upgrade) {
            return Ok(output);
        }
        let (output, ended) = Output::start(target)?;
        known.outputs.retain(|_, output| output.strong_count() > 0);
        known
            .outputs
            .insert(target.clone(), Arc::downgrade(&output));
        known.threads.retain(|(_, ended)| !is_over(ended));
        // The sender of a thread's own: without it the thread would see the end of all others.
        known.threads.push((output.control.clone(), ended));
        Ok(output)
    }

    /// Has every file opened again, under its path.
    pub fn reopen(&self) {
        for (control, _) in &self.known().threads {
            // One that waits is as good.
            let _ = control.try_send(Control::Reopen);
        }
    }

    /// Has what was handed on written, and ends the threads. Whether they had ended within this time.
    pub fn finish(&self, within: Duration) -> bool {
        let threads = std::mem::take(&mut self.known().threads);
        let until = Instant::now() + within;
        for (control, _) in &threads {
            let _ = control.send_deadline(Control::Finish, until);
        }
        let mut all = true;
        for (_, ended) in &threads {
            all &= ended.recv_deadline(until)
                == Err(crossbeam_channel::RecvTimeoutError::Disconnected);
        }
        all
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(ended: &Receiver<()>) -> bool {
    ended.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected)
}
