//! What may be spent, and what makes up for it: time, and what is earned.

use std::time::Duration;

use tokio::time::Instant;

/// An account that starts full, is filled up as time goes by and by what is earned, and holds no
/// more than it started with. The clock is read only when it is empty.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
    most: u64,
    per_second: u64,
    filled: Instant,
}

impl Budget {
    /// A full account.
    pub fn new(most: u64, per_second: u64, now: Instant) -> Self {
        Self {
            left: most,
            most,
            per_second,
            filled: now,
        }
    }

    /// Takes `cost` out; false if there is not as much in it.
    pub fn spend(&mut self, cost: u64, now: impl FnOnce() -> Instant) -> bool {
        if self.left < cost {
            self.fill(now());
        }
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Puts `amount` in.
    pub fn earn(&mut self, amount: u64) {
        self.left = self.left.saturating_add(amount).min(self.most);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        let due = passed.as_millis() * u128::from(self.per_second) / 1000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        if due > 0 {
            self.earn(due);
            // What is left of a unit counts on.
            let paid = due.saturating_mul(1000).checked_div(self.per_second);
            self.filled += Duration::from_millis(paid.unwrap_or(0)).min(passed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back_with_time_and_earnings_and_no_further() {
        let start = Instant::now();
        let after = |ms| move || start + Duration::from_millis(ms);
        let never = || -> Instant { panic!("the clock is not read while there is enough") };
        let mut budget = Budget::new(10, 2, start);
        assert!(budget.spend(10, never));
        assert!(!budget.spend(1, after(499)));
        assert!(budget.spend(1, after(999)));
        assert!(budget.spend(1, after(1000)));
        assert!(!budget.spend(1, after(1499)));
        budget.earn(100);
        assert!(budget.spend(10, never));
        // Two hours are worth no more than it holds.
        assert!(!budget.spend(11, after(7_200_000)));
        assert!(budget.spend(10, never));
    }
}
