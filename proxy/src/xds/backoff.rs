//! How long to wait before the next attempt to reach a server.

use std::time::Duration;

use rand::Rng;

/// The bound of the first waits.
const FIRST: Duration = Duration::from_millis(100);
/// The bound of the longest waits.
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential backoff with full jitter: each wait is random between zero and a bound that doubles
/// with every round of failures, so that a fleet that lost its server does not come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    /// How many servers take turns: each is tried before the bound grows.
    servers: u32,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(servers: usize) -> Self {
        Self {
            servers: u32::try_from(servers).unwrap_or(u32::MAX).max(1),
            failures: 0,
        }
    }

    /// A stream did some good: the next failure is the first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure.
    pub(super) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        rng.random_range(Duration::ZERO..=bound)
    }

    fn bound(&self) -> Duration {
        let rounds = (self.failures / self.servers).min(16);
        FIRST.saturating_mul(1 << rounds).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn the_bound_doubles_with_every_round_up_to_half_a_minute() {
        let mut backoff = Backoff::new(2);
        let mut rng = StdRng::seed_from_u64(1);
        let mut bounds = Vec::new();
        for _ in 0..24 {
            bounds.push(backoff.bound().as_millis());
            let bound = backoff.bound();
            assert!(backoff.next(&mut rng) <= bound);
        }
        assert_eq!(bounds[..8], [100, 100, 200, 200, 400, 400, 800, 800]);
        assert_eq!(bounds[23], 30_000);
        backoff.reset();
        assert_eq!(backoff.bound(), FIRST);
    }

    #[test]
    fn waits_are_spread_over_all_of_the_bound() {
        let mut rng = StdRng::seed_from_u64(2);
        let waits: Vec<_> = (0..1000)
            .map(|_| Backoff::new(1).next(&mut rng).as_millis())
            .collect();
        assert!(waits.iter().any(|wait| *wait < 10));
        assert!(waits.iter().any(|wait| *wait > 90));
    }
}
