//! What is counted of access logs by the threads that write them, a batch at a time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The lines of a listener, as far as they were handed on to be written.
#[derive(Debug, Default)]
pub struct AccessLogCounters {
    written: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
}

impl AccessLogCounters {
    /// So many lines were written.
    pub fn written(&self, lines: u64) {
        self.written.fetch_add(lines, Relaxed);
    }

    /// So many lines could not be written before the end.
    pub fn lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Relaxed);
    }

    /// A write failed, and will be tried again.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Lines written, lines lost and failed writes so far.
    #[must_use]
    pub fn get(&self) -> (u64, u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        (of(&self.written), of(&self.lost), of(&self.failures))
    }
}
