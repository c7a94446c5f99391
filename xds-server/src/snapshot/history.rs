//! Which sequence of revisions a number belongs to.
//!
//! Numbers alone do not tell: a store that was put back from a copy, or begun anew, counts the
//! same numbers a second time, for something else. So every run of the server that commits begins
//! an *epoch*, and a revision is known by its number and its epoch. A client that comes back with
//! the two holds what this store holds, or held before, only if they go together here.

use std::{fmt, str::FromStr, sync::Arc};

/// A run of the server that committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// The first revision it committed.
    pub first: u64,
    /// Random, so that no other run has the same.
    pub id: u64,
}

/// The epochs of a store, in their order.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<[Epoch]>);

impl History {
    /// The history with an epoch that begins at `epoch.first`, after all others.
    #[must_use]
    pub fn and(&self, epoch: Epoch) -> Self {
        // One in which nothing was committed is as if it had not been.
        let before = self.0.iter().filter(|known| known.first < epoch.first);
        Self(before.copied().chain([epoch]).collect())
    }

    /// The epoch that began last.
    #[must_use]
    pub fn newest(&self) -> Option<Epoch> {
        self.0.last().copied()
    }

    /// The position of a revision that was committed.
    #[must_use]
    pub fn position(&self, number: u64) -> Position {
        let begun = self.0.partition_point(|epoch| epoch.first <= number);
        let epoch = begun.checked_sub(1).and_then(|last| self.0.get(last));
        Position {
            number,
            // What is before the first epoch is the empty beginning, which all stores share.
            epoch: epoch.map_or(0, |epoch| epoch.id),
        }
    }
}

impl FromIterator<Epoch> for History {
    fn from_iter<I: IntoIterator<Item = Epoch>>(epochs: I) -> Self {
        Self(epochs.into_iter().collect())
    }
}

/// A revision, told from those of the same number in other histories. As text, `41@9f3c5a0e77d1b208`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its number.
    pub number: u64,
    /// The epoch it was committed in.
    pub epoch: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:016x}", self.number, self.epoch)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, epoch) = text.split_once('@').ok_or(())?;
        Ok(Self {
            number: number.parse().map_err(|_| ())?,
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_of_the_epoch_that_committed_it() {
        let epoch = |first, id| Epoch { first, id };
        let history: History = [epoch(1, 7), epoch(10, 8)].into_iter().collect();
        let epochs = |history: &History| [0, 1, 9, 10, 99].map(|n| history.position(n).epoch);
        assert_eq!(epochs(&history), [0, 7, 7, 8, 8]);
        // The run that committed nothing gives way to the next.
        assert_eq!(epochs(&history.and(epoch(10, 9))), [0, 7, 7, 9, 9]);
        assert_eq!(epochs(&History::default()), [0; 5]);
    }

    #[test]
    fn a_position_survives_its_text() {
        let position = Position {
            number: 41,
            epoch: 0xab,
        };
        assert_eq!(position.to_string(), "41@00000000000000ab");
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "41", "@", "x@1", "1@x", "41@-1"] {
            assert_eq!(text.parse::<Position>(), Err(()), "{text}");
        }
    }
}
