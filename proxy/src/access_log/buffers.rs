//! The lines of a worker, gathered into batches.

use std::{cell::RefCell, mem, sync::Arc, time::Duration};

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::{
    AccessLog, Line,
    line::Now,
    output::{BATCH, Batch},
};

/// How long a line may wait for others, at most.
const WAIT: Duration = Duration::from_millis(50);
/// How long lines may wait for room in the queue when the worker ends.
const LAST: Duration = Duration::from_secs(1);
/// How many rooms for lines are kept, and the most bytes of one.
const ROOMS: usize = 64;
const ROOM: usize = 16 * 1024;

/// The lines of one worker on their way to the threads that write them.
#[derive(Debug)]
pub struct Buffers {
    worker: usize,
    pending: RefCell<SmallVec<[Pending; 1]>>,
    /// Lines have come where none were.
    begun: Notify,
    rooms: RefCell<Vec<Vec<u8>>>,
    now: Now,
}

/// What waits for one log.
#[derive(Debug)]
struct Pending {
    log: Arc<AccessLog>,
    bytes: Vec<u8>,
    lines: u64,
}

impl Buffers {
    /// Those of worker number `worker`.
    #[must_use]
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            pending: RefCell::default(),
            begun: Notify::new(),
            rooms: RefCell::default(),
            now: Now::default(),
        }
    }

    /// A line that begins now.
    #[must_use]
    pub fn line(&self) -> Line {
        Line::begin(self.rooms.borrow_mut().pop().unwrap_or_default(), &self.now)
    }

    /// What `write` writes, for [`Line::fields`].
    #[must_use]
    pub fn fields(&self, write: impl FnOnce(&mut Line)) -> Box<[u8]> {
        let mut line = Line::behind(Vec::new());
        write(&mut line);
        line.into_room().into()
    }

    /// Takes a line, with what `rest` adds to it.
    pub fn put(&self, log: &Arc<AccessLog>, line: Line, rest: impl FnOnce(&mut Line)) {
        let begun = line.into_room();
        self.add(log, &begun, rest);
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() < ROOMS && begun.capacity() <= ROOM {
            rooms.push(begun);
        }
    }

    fn add(&self, log: &Arc<AccessLog>, begun: &[u8], rest: impl FnOnce(&mut Line)) {
        let mut all = self.pending.borrow_mut();
        let known = all.iter().position(|one| Arc::ptr_eq(&one.log, log));
        let place = known.unwrap_or_else(|| {
            all.push(Pending::new(log.clone()));
            all.len() - 1
        });
        let Some(pending) = all.get_mut(place) else {
            return;
        };
        if pending.lines == 0 {
            self.begun.notify_one();
        }
        let mut line = Line::behind(mem::take(&mut pending.bytes));
        line.fields(begun);
        rest(&mut line);
        pending.bytes = line.end();
        pending.lines += 1;
        if pending.bytes.len() >= BATCH && !pending.send() {
            let shard = pending.log.counters.shard(self.worker);
            shard.access_log_dropped.add(pending.lines);
            pending.bytes.clear();
            pending.lines = 0;
        }
    }

    /// Hands on what waits, as long as it is polled.
    pub async fn keep_flushing(&self) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(WAIT).await;
            self.flush();
        }
    }

    fn flush(&self) {
        let mut all = self.pending.borrow_mut();
        all.retain(|pending| pending.lines > 0 && !pending.send());
        if !all.is_empty() {
            self.begun.notify_one();
        }
    }
}

impl Pending {
    fn new(log: Arc<AccessLog>) -> Self {
        let bytes = log.output.room();
        Self {
            log,
            bytes,
            lines: 0,
        }
    }

    fn take(&mut self, room: Vec<u8>) -> Batch {
        Batch {
            bytes: mem::replace(&mut self.bytes, room),
            lines: mem::take(&mut self.lines),
            counters: self.log.counters.clone(),
        }
    }

    /// Hands on what waits. If the queue is full it stays.
    fn send(&mut self) -> bool {
        let room = self.log.output.room();
        let batch = self.take(room);
        match self.log.output.queue(batch) {
            Ok(()) => true,
            Err(batch) => {
                self.bytes = batch.bytes;
                self.lines = batch.lines;
                false
            }
        }
    }
}

/// With the worker, after its last connection.
impl Drop for Buffers {
    fn drop(&mut self) {
        for pending in self.pending.get_mut() {
            let batch = pending.take(Vec::new());
            let lines = batch.lines;
            if lines > 0 && !pending.log.output.queue_last(batch, LAST) {
                let shard = pending.log.counters.shard(self.worker);
                shard.access_log_dropped.add(lines);
            }
        }
    }
}
