//! How the calls of a policy went, counted by each thread for itself.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use crate::{Failure, Stage};

/// After so many failures without a call that succeeded a policy counts as one that keeps failing.
pub const KEEPS_FAILING: u64 = 5;
/// The most threads that count apart; of more, some share a place.
const SHARDS: usize = 64;
/// The upper bounds of how long calls take, in nanoseconds.
const BOUNDS: [u64; 15] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// How the calls of a policy went.
#[derive(Debug)]
pub struct Counts {
    shards: [OnceLock<Box<Shard>>; SHARDS],
    /// Failures since the last call that succeeded.
    in_a_row: AtomicU64,
    /// When the first of those was, and what the last was.
    last: Mutex<Option<(SystemTime, Failure)>>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            shards: [const { OnceLock::new() }; SHARDS],
            in_a_row: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }
}

/// What one thread counts. A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    stages: [OfStage; Stage::ALL.len()],
    failures: [AtomicU64; Failure::CAUSES.len()],
    answers: AtomicU64,
}

#[derive(Debug, Default)]
struct OfStage {
    /// One more than there are bounds: those above all.
    calls: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// How long the calls at a stage took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    /// Each upper bound, and how many calls were within it.
    pub buckets: Vec<(Duration, u64)>,
    /// How many calls there were.
    pub count: u64,
    /// How long all of them took together.
    pub sum: Duration,
}

/// How a policy fails that keeps failing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// How often it has failed since it last succeeded: [`KEEPS_FAILING`] or more.
    pub in_a_row: u64,
    /// When the first of those failures was.
    pub since: SystemTime,
    /// The last of them.
    pub last: Failure,
}

impl Counts {
    /// A call came to its end, and how long it took, its instance made.
    pub fn called(&self, stage: Stage, answered: bool, took: Duration) {
        let shard = self.shard();
        shard.call(stage, took);
        if answered {
            shard.answers.fetch_add(1, Relaxed);
        }
    }

    /// The policy did all it had to do for a request, the body included if that passes through it.
    pub fn succeeded(&self) {
        // Mostly a read: what all workers write would be passed from core to core.
        if self.in_a_row.load(Relaxed) != 0 {
            self.in_a_row.store(0, Relaxed);
        }
    }

    /// A call failed, and after how long.
    pub fn failed(&self, stage: Stage, failure: &Failure, took: Duration) {
        self.shard().call(stage, took);
        self.broke(failure);
    }

    /// The policy failed outside of a call: as a body passed, or before it could be called.
    pub fn broke(&self, failure: &Failure) {
        if let Some(failures) = self.shard().failures.get(failure.index()) {
            failures.fetch_add(1, Relaxed);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.in_a_row.fetch_add(1, Relaxed);
        let since = last.take().filter(|_| before > 0);
        let since = since.map_or_else(SystemTime::now, |(since, _)| since);
        *last = Some((since, failure.clone()));
    }

    /// How many calls there were at a stage, those that failed among them.
    #[must_use]
    pub fn calls(&self, stage: Stage) -> u64 {
        self.durations(stage).count
    }

    /// How long the calls at a stage took.
    #[must_use]
    pub fn durations(&self, stage: Stage) -> Durations {
        let of = |shard: &'_ Shard, place: usize| -> u64 {
            let calls = shard.stages.get(stage.index());
            let calls = calls.and_then(|of| of.calls.get(place));
            calls.map_or(0, |calls| calls.load(Relaxed))
        };
        let nanos = |shard: &Shard| {
            let of = shard.stages.get(stage.index());
            of.map_or(0, |of| of.nanos.load(Relaxed))
        };
        let mut count = 0;
        let buckets = BOUNDS.iter().enumerate().map(|(place, bound)| {
            count += self.sum(|shard| of(shard, place));
            (Duration::from_nanos(*bound), count)
        });
        let buckets = buckets.collect();
        Durations {
            buckets,
            count: count + self.sum(|shard| of(shard, BOUNDS.len())),
            sum: Duration::from_nanos(self.sum(nanos)),
        }
    }

    /// How many failed, by [`Failure::CAUSES`].
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |shard: &Shard, place: usize| {
            let count = shard.failures.get(place);
            count.map_or(0, |count| count.load(Relaxed))
        };
        let causes = Failure::CAUSES.into_iter().enumerate();
        causes.map(move |(place, cause)| (cause, self.sum(|shard| count(shard, place))))
    }

    /// How many gave an answer.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.sum(|shard| shard.answers.load(Relaxed))
    }

    /// How often it has failed since it last succeeded.
    #[must_use]
    pub fn in_a_row(&self) -> u64 {
        self.in_a_row.load(Relaxed)
    }

    /// How it fails, if it keeps failing.
    #[must_use]
    pub fn failing(&self) -> Option<Failing> {
        let in_a_row = Some(self.in_a_row()).filter(|count| *count >= KEEPS_FAILING)?;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, last) = last.clone()?;
        Some(Failing {
            in_a_row,
            since,
            last,
        })
    }

    fn sum(&self, of: impl Fn(&Shard) -> u64) -> u64 {
        let shards = self.shards.iter().filter_map(OnceLock::get);
        shards.map(|shard| of(shard)).fold(0_u64, u64::wrapping_add)
    }

    /// That of this thread.
    #[expect(clippy::indexing_slicing, reason = "the place is below the length")]
    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PLACE: usize = NEXT.fetch_add(1, Relaxed) % SHARDS;
        }
        self.shards[PLACE.with(|place| *place)].get_or_init(Box::default)
    }
}

impl Shard {
    fn call(&self, stage: Stage, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < nanos);
        if let Some(of) = self.stages.get(stage.index()) {
            if let Some(calls) = of.calls.get(place) {
                calls.fetch_add(1, Relaxed);
            }
            of.nanos.fetch_add(nanos, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_is_summed() {
        let counts = Counts::default();
        let count = || {
            counts.called(Stage::PreRoute, true, Duration::from_micros(10));
            counts.called(Stage::PreRoute, false, Duration::from_secs(60));
            counts.failed(Stage::PostResponse, &Failure::Fuel, Duration::ZERO);
        };
        count();
        std::thread::scope(|scope| drop(scope.spawn(count)));
        let stages = Stage::ALL.map(|stage| counts.calls(stage));
        assert_eq!((stages, counts.answers()), ([4, 0, 2], 2));
        let failures: Vec<_> = counts.failures().filter(|(_, count)| *count > 0).collect();
        assert_eq!(failures, [("fuel", 2)]);
        let durations = counts.durations(Stage::PreRoute);
        let first = (Duration::from_micros(10), 2);
        assert_eq!(durations.buckets.first(), Some(&first));
        assert_eq!(durations.buckets.last().map(|(_, count)| *count), Some(2));
        assert_eq!(durations.count, 4);
        assert_eq!(durations.sum, Duration::from_micros(120_000_020));
    }

    #[test]
    fn a_policy_keeps_failing_until_it_succeeds() {
        let counts = Counts::default();
        for _ in 1..KEEPS_FAILING {
            counts.broke(&Failure::Timeout);
            assert_eq!(counts.failing(), None);
        }
        counts.failed(Stage::PreRoute, &Failure::Memory, Duration::ZERO);
        let failing = counts.failing().unwrap();
        assert_eq!(failing.in_a_row, KEEPS_FAILING);
        assert_eq!(failing.last, Failure::Memory);
        counts.broke(&Failure::Busy);
        assert_eq!(counts.failing().unwrap().since, failing.since);
        // That its head was looked at is no success where its body is to pass.
        counts.called(Stage::PostResponse, false, Duration::ZERO);
        assert!(counts.failing().is_some());
        counts.succeeded();
        assert_eq!((counts.failing(), counts.in_a_row()), (None, 0));
    }
}
