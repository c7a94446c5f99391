//! Sorted multisets: which lengths and priorities occur, and how often.

use std::cmp::Reverse;

use imbl::OrdMap;
use smallvec::SmallVec;

/// The lengths that occur. There are few, and lookups go through all of them.
#[derive(Clone, Default)]
pub(super) struct Lengths {
    /// The greatest first. One, the usual case, is held inline.
    items: SmallVec<[(u16, u32); 1]>,
}

impl Lengths {
    pub(super) fn add(&mut self, value: u16) {
        match self.find(value) {
            Ok(at) => {
                if let Some((_, count)) = self.items.get_mut(at) {
                    *count += 1;
                }
            }
            Err(at) => self.items.insert(at, (value, 1)),
        }
    }

    pub(super) fn remove(&mut self, value: u16) {
        if let Ok(at) = self.find(value)
            && let Some((_, count)) = self.items.get_mut(at)
        {
            *count -= 1;
            if *count == 0 {
                self.items.remove(at);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The distinct values, the greatest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        self.items.iter().map(|(value, _)| *value)
    }

    fn find(&self, value: u16) -> Result<usize, usize> {
        self.items
            .binary_search_by_key(&Reverse(value), |(other, _)| Reverse(*other))
    }
}

/// The priorities that occur. There may be as many as routes.
#[derive(Clone, Default)]
pub(super) enum Priorities {
    #[default]
    None,
    /// All the same, as they mostly are, and how many.
    Uniform(i32, usize),
    Mixed(OrdMap<i32, usize>),
}

impl Priorities {
    pub(super) fn add(&mut self, value: i32) {
        match self {
            Self::None => *self = Self::Uniform(value, 1),
            Self::Uniform(one, count) if *one == value => *count += 1,
            Self::Uniform(one, count) => {
                *self = Self::Mixed(OrdMap::from_iter([(*one, *count), (value, 1)]));
            }
            Self::Mixed(counts) => *counts.entry(value).or_insert(0) += 1,
        }
    }

    /// Takes out one that was added.
    pub(super) fn remove(&mut self, value: i32) {
        match self {
            Self::None => {}
            Self::Uniform(_, 1) => *self = Self::None,
            Self::Uniform(_, count) => *count -= 1,
            Self::Mixed(counts) => {
                if let Some(count) = counts.get_mut(&value) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&value);
                    }
                }
                if counts.len() == 1
                    && let Some((one, count)) = counts.get_min()
                {
                    *self = Self::Uniform(*one, *count);
                }
            }
        }
    }

    pub(super) fn greatest(&self) -> Option<i32> {
        match self {
            Self::None => None,
            Self::Uniform(one, _) => Some(*one),
            Self::Mixed(counts) => counts.get_max().map(|(greatest, _)| *greatest),
        }
    }
}
