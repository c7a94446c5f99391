//! How many lines a policy may write.

use std::time::Instant;

/// Lines at once.
const BURST: f64 = 200.0;
/// Lines a second.
const PER_SECOND: f64 = 100.0;

/// A bucket of lines.
#[derive(Debug)]
pub(super) struct Rate {
    left: f64,
    at: Instant,
    left_out: u64,
}

impl Rate {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            at: now,
            left_out: 0,
        }
    }

    /// Takes a line; gives how many could not be taken since the last that could.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * PER_SECOND).min(BURST);
        self.at = now;
        if self.left < 1.0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let taken = (0..1000).filter(|_| rate.take(start).is_some()).count();
        assert_eq!(taken, 200);
        assert_eq!(rate.take(start + Duration::from_millis(20)), Some(800));
        assert_eq!(rate.take(start + Duration::from_millis(20)), Some(0));
        assert_eq!(rate.take(start + Duration::from_millis(20)), None);
    }
}
