//! What all calls of a policy share on a proxy. It outlives what is swapped in and out.

mod counts;
mod figures;
mod rate;
mod values;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Semaphore;

pub use self::{
    counts::{Counts, Durations, Failing, KEEPS_FAILING},
    figures::{Series, SeriesKind},
};
use self::{figures::Figures, rate::Rate, values::Values};

/// What all calls of a policy share.
#[derive(Debug)]
pub struct Shared {
    policy: Arc<str>,
    /// How its calls went.
    pub counts: Counts,
    values: Mutex<Values>,
    figures: Mutex<Figures>,
    lines: Mutex<Rate>,
    /// One for each call there may be.
    pub(crate) places: Arc<Semaphore>,
}

/// The most calls of one policy at once: half of what there is for all, so that one that waits for
/// others does not take the room of all the rest.
const CALLS: usize = 500;

impl Shared {
    /// Of a policy that has not been called yet.
    #[must_use]
    pub fn new(policy: &str) -> Self {
        Self {
            policy: policy.into(),
            counts: Counts::default(),
            values: Mutex::default(),
            figures: Mutex::default(),
            lines: Mutex::new(Rate::new(Instant::now())),
            places: Arc::new(Semaphore::new(CALLS)),
        }
    }

    /// The policy's name.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The policy's own figures, and how many values were left out for want of room.
    #[must_use]
    pub fn figures(&self) -> (Vec<Series>, u64) {
        lock(&self.figures).all()
    }

    pub(crate) fn values(&self) -> MutexGuard<'_, Values> {
        lock(&self.values)
    }

    pub(crate) fn series(
        &self,
        kind: SeriesKind,
        name: String,
        labels: Vec<(String, String)>,
        value: f64,
    ) {
        lock(&self.figures).put(kind, name, labels, value);
    }

    /// Whether a line of it, or about it, may be written now. Says how many could not.
    #[must_use]
    pub fn may_log(&self, now: Instant) -> bool {
        let Some(left_out) = lock(&self.lines).take(now) else {
            return false;
        };
        if left_out > 0 {
            tracing::warn!(
                target: "fleetway::policy",
                policy = %self.policy,
                "{left_out} lines of the policy were left out: it writes more than 100 a second"
            );
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
