//! What changed, revision by revision: what a stream has to send is read off here, so that its
//! cost follows the change and not the table.

use std::collections::BTreeSet;

use fleetway_api::{Fleets, Id, ResourceSet};
use imbl::Vector;

/// How many entries are kept. A stream that is further behind is compared in full instead.
const KEPT: usize = 65_536;

/// A resource that some proxy may see otherwise since a revision. It has the name alone: with what
/// was there before, the log would keep every resource as often as it was changed.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The revision.
    pub revision: u64,
    /// Which resource.
    pub id: Id,
}

/// The entries for a change of `id` at `revision`, from the one state to the other: itself, and what
/// comes or goes with it, as of some kinds proxies get those that something they get refers to.
pub(super) fn entries<T>(
    revision: u64,
    id: Id,
    (before, after): (&ResourceSet<T>, &ResourceSet<T>),
) -> impl Iterator<Item = LogEntry> {
    let ((from, old), (to, new)) = (needs(before, &id), needs(after, &id));
    let changed: Vec<Id> = if from == to {
        old.symmetric_difference(&new).cloned().collect()
    } else {
        old.union(&new).cloned().collect()
    };
    let mut ids = BTreeSet::new();
    for needed in changed {
        // What it needs itself comes and goes with it. Needs go one way through the kinds, two deep.
        for state in [before, after] {
            ids.extend(needs(state, &needed).1);
        }
        ids.insert(needed);
    }
    [id].into_iter()
        .chain(ids)
        .map(move |id| LogEntry { revision, id })
}

/// The fleets of a resource, if it is there, and what it needs: what goes only to proxies that need
/// it, and that it refers to.
fn needs<'s, T>(state: &'s ResourceSet<T>, id: &Id) -> (Option<&'s Fleets>, BTreeSet<Id>) {
    let mut ids = BTreeSet::new();
    let Some(entry) = state.get(id) else {
        return (None, ids);
    };
    entry.resource.references(|role, name, _| {
        if role.kind().on_demand() {
            ids.insert(Id::new(role.kind(), name.clone()));
        }
    });
    (Some(&entry.resource.common().fleets), ids)
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
    use std::sync::Arc;

    use fleetway_api::{Kind, Name};

    use super::*;
    use crate::delta::testing::{delete, naming, next, put};

    fn change(revision: u64) -> LogEntry {
        LogEntry {
            revision,
            id: Id::new(Kind::Route, Name::new(&format!("r{revision}")).unwrap()),
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

    #[test]
    fn secrets_are_logged_where_they_come_or_go_with_a_change_of_something_else() {
        let secrets = ["one", "two", "three"].map(|name| put(Kind::Secret, name, &[]));
        let changes = [
            (naming("web", &["a"], &["one", "two"]), vec!["one", "two"]),
            // Still named, for the same fleets.
            (naming("web", &["a"], &["one", "two"]), vec![]),
            (
                naming("web", &["a"], &["two", "three"]),
                vec!["one", "three"],
            ),
            (
                naming("web", &["a", "b"], &["two", "three"]),
                vec!["three", "two"],
            ),
            (delete(Kind::Listener, "web"), vec!["three", "two"]),
        ];
        let mut state = next(&Arc::default(), &secrets);
        for (change, with_it) in changes {
            let before = state.revision();
            state = next(&state, std::slice::from_ref(&change));
            let logged = state.log().since(before).unwrap();
            let mut ids = vec![change.id()];
            ids.extend(with_it.iter().map(|name| {
                let name = Name::new(name).unwrap();
                Id::new(Kind::Secret, name)
            }));
            let logged: Vec<Id> = logged.map(|entry| entry.id.clone()).collect();
            assert_eq!(logged, ids, "{change:?}");
        }
    }

    #[test]
    fn what_a_change_took_the_place_of_is_not_kept() {
        let first = next(&Arc::default(), &[put(Kind::Route, "web", &[])]);
        let route = Id::new(Kind::Route, Name::new("web").unwrap());
        let before = Arc::downgrade(first.get(&route).unwrap());
        let second = next(&first, &[put(Kind::Route, "web", &[])]);
        drop(first);
        assert!(before.upgrade().is_none());
        assert!(second.log().since(1).is_some());
    }
}
