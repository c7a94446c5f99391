//! The snapshot in force, and how workers come by it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

use super::Snapshot;

/// The snapshot in force. One pointer: a request sees all of a snapshot or nothing of it.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Snapshot>,
    /// Grows with each swap, so that a worker learns by one load whether what it holds is current.
    generation: AtomicU64,
}

impl Live {
    /// Begins with `snapshot` in force.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            current: ArcSwap::from_pointee(snapshot),
            generation: AtomicU64::new(0),
        }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Which swap it is from.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts `snapshot` in force.
    pub fn swap(&self, snapshot: Arc<Snapshot>) {
        self.current.store(snapshot);
        // After the pointer: who sees the new generation sees the new snapshot.
        self.generation.fetch_add(1, Ordering::Release);
    }
}
