//! What changed, revision by revision: what a stream has to send is read off here, so that its
//! cost follows the change and not the table.

use std::sync::Arc;

use fleetway_api::Id;
use imbl::Vector;

use super::Entry;

/// How many changes are kept. A stream that is further behind is compared in full instead.
const KEPT: usize = 65_536;

/// One change of one resource.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The revision that made it.
    pub revision: u64,
    /// Which resource.
    pub id: Id,
    /// The resource before, `None` if it was created.
    pub before: Option<Arc<Entry>>,
}

/// The changes of the latest revisions, oldest first. Immutable; shares structure.
#[derive(Debug, Clone, Default)]
pub struct ChangeLog {
    /// Every change after this revision is here.
    after: u64,
    entries: Vector<LogEntry>,
}

impl ChangeLog {
    /// An empty log of everything after `revision`.
    #[must_use]
    pub fn beginning_at(revision: u64) -> Self {
        Self {
            after: revision,
            entries: Vector::new(),
        }
    }

    /// This log with one more revision; the oldest revisions may go.
    #[must_use]
    pub(super) fn with(&self, changes: Vec<LogEntry>) -> Self {
        let mut next = self.clone();
        next.entries.extend(changes);
        while next.entries.len() > KEPT
            && let Some(oldest) = next.entries.pop_front()
        {
            // A revision is kept whole or not at all.
            next.after = next.after.max(oldest.revision);
        }
        next
    }

    /// The changes after `revision`, oldest first; `None` if some of them are no longer kept.
    #[must_use]
    pub fn since(&self, revision: u64) -> Option<impl Iterator<Item = &LogEntry>> {
        if revision < self.after {
            return None;
        }
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self
                .entries
                .get(middle)
                .is_some_and(|entry| entry.revision <= revision)
            {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // Narrowed first: stepping over the older entries one by one would cost their number.
        Some(self.entries.focus().narrow(low..).into_iter())
    }
}

#[cfg(test)]
mod tests {
    use fleetway_api::{Kind, Name};

    use super::*;

    fn change(revision: u64) -> LogEntry {
        LogEntry {
            revision,
            id: Id::new(Kind::Route, Name::new(&format!("r{revision}")).unwrap()),
            before: None,
        }
    }

    #[test]
    fn the_changes_after_a_revision_are_found() {
        let mut log = ChangeLog::beginning_at(10);
        for revision in 11..=20 {
            log = log.with(vec![change(revision), change(revision)]);
        }
        let since = |revision| {
            log.since(revision)
                .map(|changes| changes.map(|c| c.revision).collect::<Vec<_>>())
        };
        assert_eq!(since(20), Some(vec![]));
        assert_eq!(since(18), Some(vec![19, 19, 20, 20]));
        assert_eq!(since(10).map(|all| all.len()), Some(20));
        assert_eq!(since(9), None);
    }

    #[test]
    fn what_is_no_longer_kept_is_not_passed_off_as_complete() {
        let mut log = ChangeLog::beginning_at(0).with((0..KEPT).map(|_| change(1)).collect());
        log = log.with(vec![change(2)]);
        assert!(log.since(0).is_none());
        assert_eq!(log.since(1).map(Iterator::count), Some(1));
    }
}
