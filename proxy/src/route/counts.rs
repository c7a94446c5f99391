//! A small sorted multiset: which priorities or lengths occur, and how often.

use std::cmp::Reverse;

use smallvec::SmallVec;

/// Distinct values with their counts, the greatest first. One value, the usual case, is held
/// inline.
#[derive(Clone)]
pub(super) struct Counts<T> {
    items: SmallVec<[(T, u32); 1]>,
}

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self {
            items: SmallVec::new(),
        }
    }
}

impl<T: Ord + Copy> Counts<T> {
    pub(super) fn add(&mut self, value: T) {
        match self.find(value) {
            Ok(at) => {
                if let Some((_, count)) = self.items.get_mut(at) {
                    *count += 1;
                }
            }
            Err(at) => self.items.insert(at, (value, 1)),
        }
    }

    pub(super) fn remove(&mut self, value: T) {
        if let Ok(at) = self.find(value)
            && let Some((_, count)) = self.items.get_mut(at)
        {
            *count -= 1;
            if *count == 0 {
                self.items.remove(at);
            }
        }
    }

    pub(super) fn greatest(&self) -> Option<T> {
        self.items.first().map(|(value, _)| *value)
    }

    /// The distinct values, the greatest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        self.items.iter().map(|(value, _)| *value)
    }

    fn find(&self, value: T) -> Result<usize, usize> {
        self.items
            .binary_search_by_key(&Reverse(value), |(other, _)| Reverse(*other))
    }
}
