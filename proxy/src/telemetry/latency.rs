//! How long requests take: histograms with a shard for each worker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use fleetway_api::Name;

use super::{Counter, Rendered};

/// The upper bounds of the buckets, in nanoseconds, with each as `le` has it, in seconds.
const BOUNDS: [(u64, &str); 16] = [
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (30_000_000_000, "30"),
    (60_000_000_000, "60"),
];

/// The times one worker took down. Only that one adds to it; any may read it.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len()],
    /// Those longer than any bound.
    longer: Counter,
    nanos: Counter,
}

impl Histogram {
    /// Takes down a time.
    pub fn observe(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // The short ones come first, and are most.
        let mut buckets = self.buckets.iter().zip(BOUNDS);
        let bucket = buckets.find(|(_, (bound, _))| nanos <= *bound);
        bucket
            .map_or(&self.longer, |(bucket, _)| bucket)
            .increment();
        self.nanos.add(nanos);
    }
}

/// Writes the sum of `shards` under `name`, which ends in `_seconds`; nothing where there is none.
pub(super) fn render<'h>(
    name: &'static str,
    labels: &str,
    shards: impl Iterator<Item = &'h Histogram> + Clone,
    out: &mut Rendered,
) {
    let sum = |of: &dyn Fn(&Histogram) -> u64| shards.clone().map(of).fold(0, u64::wrapping_add);
    let mut total = 0;
    let buckets = BOUNDS.iter().enumerate().map(|(place, (_, le))| {
        total += sum(&|shard| shard.buckets.get(place).map_or(0, Counter::get));
        (*le, total)
    });
    let buckets: Vec<_> = buckets.collect();
    total += sum(&|shard| shard.longer.get());
    let time = Duration::from_nanos(sum(&|shard| shard.nanos.get()));
    out.histogram(name, labels, &buckets, time, total);
}

/// How long the requests of a route took. A worker's shard is there from its first request on.
#[derive(Debug)]
pub struct Latency(Box<[OnceLock<Arc<Histogram>>]>);

impl Latency {
    fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// The shard of a worker. What it is held by is of that worker alone, too.
    #[must_use]
    pub fn shard(&self, worker: usize) -> Option<Arc<Histogram>> {
        Some(self.0.get(worker)?.get_or_init(Arc::default).clone())
    }
}

/// How long requests took, by route: those that had one. Outlives snapshots.
#[derive(Debug, Default)]
pub struct RouteLatencies(Mutex<HashMap<Name, Arc<Latency>>>);

impl RouteLatencies {
    /// Those of the route `name`.
    #[must_use]
    pub fn of(&self, name: &Name, workers: usize) -> Arc<Latency> {
        let mut known = self.known();
        let latency = known.entry(name.clone());
        let new = || Arc::new(Latency::new(workers));
        latency.or_insert_with(new).clone()
    }

    /// Forgets a route.
    pub fn forget(&self, name: &Name) {
        self.known().remove(name);
    }

    /// Writes those of the routes that are `there` in Prometheus' text form, and forgets all others.
    pub fn render(&self, there: impl Fn(&Name) -> bool, out: &mut Rendered) {
        let mut known = self.known();
        known.retain(|name, _| there(name));
        let mut all: Vec<_> = known
            .iter()
            .map(|(name, of)| (name.clone(), of.clone()))
            .collect();
        // A worker that has a first request does not wait until all is written.
        drop(known);
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, latency) in all {
            let label = format!("route=\"{name}\"");
            let shards = latency.0.iter().filter_map(|shard| Some(&**shard.get()?));
            render(
                "fleetway_route_request_duration_seconds",
                &label,
                shards,
                out,
            );
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Name, Arc<Latency>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(latencies: &RouteLatencies, there: &[&str]) -> String {
        let mut out = Rendered::default();
        latencies.render(|name| there.contains(&name.as_str()), &mut out);
        out.into_text()
    }

    #[test]
    fn times_are_counted_up_to_each_bound_over_all_workers() {
        let latencies = RouteLatencies::default();
        let latency = latencies.of(&Name::new("users").unwrap(), 2);
        for (worker, micros) in [(0, 500), (0, 501), (1, 2_000), (1, 61_000_000)] {
            let shard = latency.shard(worker).unwrap();
            shard.observe(Duration::from_micros(micros));
        }
        let text = rendered(&latencies, &["users"]);
        let name = "fleetway_route_request_duration_seconds";
        for line in [
            format!("# TYPE {name} histogram"),
            format!("{name}_bucket{{route=\"users\",le=\"0.0005\"}} 1"),
            format!("{name}_bucket{{route=\"users\",le=\"0.001\"}} 2"),
            format!("{name}_bucket{{route=\"users\",le=\"0.0025\"}} 3"),
            format!("{name}_bucket{{route=\"users\",le=\"60\"}} 3"),
            format!("{name}_bucket{{route=\"users\",le=\"+Inf\"}} 4"),
            format!("{name}_sum{{route=\"users\"}} 61.003001"),
            format!("{name}_count{{route=\"users\"}} 4"),
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_route_that_is_gone_is_forgotten() {
        let latencies = RouteLatencies::default();
        let name = Name::new("users").unwrap();
        latencies
            .of(&name, 1)
            .shard(0)
            .unwrap()
            .observe(Duration::ZERO);
        assert_eq!(rendered(&latencies, &[]), "");
        assert_eq!(rendered(&latencies, &["users"]), "");
        let again = latencies.of(&name, 1);
        assert!(Arc::ptr_eq(&again, &latencies.of(&name, 1)));
        latencies.forget(&name);
        assert!(!Arc::ptr_eq(&again, &latencies.of(&name, 1)));
    }

    #[test]
    fn the_bounds_are_what_their_labels_say() {
        for (nanos, le) in BOUNDS {
            let seconds: f64 = le.parse().unwrap();
            assert_eq!(Duration::from_nanos(nanos).as_secs_f64(), seconds);
        }
        assert!(BOUNDS.is_sorted());
    }
}
