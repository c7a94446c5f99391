//! Since when no policy names a component: what is not needed for long is deleted one day.

use std::collections::BTreeMap;

use fleetway_api::{Id, Kind, Name, ResourceSet};
use imbl::{OrdMap, ordmap::DiffItem};

use super::LogEntry;

/// What is known after the changes made at `time_ms`, at the cost of the changes.
pub(super) fn next<T>(
    idle: &OrdMap<Name, i64>,
    resources: &ResourceSet<T>,
    changes: &[LogEntry],
    time_ms: i64,
) -> OrdMap<Name, i64> {
    let mut next = idle.clone();
    let mut look = |name: &Name| {
        if is_idle(resources, name) {
            next.entry(name.clone()).or_insert(time_ms);
        } else {
            next.remove(name);
        }
    };
    // Those that a policy began or ceased to name are among them.
    for change in changes
        .iter()
        .filter(|change| change.id.kind == Kind::Component)
    {
        look(&change.id.name);
    }
    next
}

/// What a store knows, as far as it is so; of what it does not know it begins `now`.
pub(super) fn restored<T>(
    resources: &ResourceSet<T>,
    known: &BTreeMap<Name, i64>,
    now: i64,
) -> OrdMap<Name, i64> {
    let components = resources.of(Kind::Component).keys();
    components
        .filter(|name| is_idle(resources, name))
        .map(|name| (name.clone(), known.get(name).copied().unwrap_or(now)))
        .collect()
}

/// What differs.
pub(super) fn changes(
    before: &OrdMap<Name, i64>,
    after: &OrdMap<Name, i64>,
) -> Vec<(Name, Option<i64>)> {
    let changed = before.diff(after).map(|item| match item {
        DiffItem::Add(name, since) => (name.clone(), Some(*since)),
        DiffItem::Update {
            new: (name, since), ..
        } => (name.clone(), Some(*since)),
        DiffItem::Remove(name, _) => (name.clone(), None),
    });
    changed.collect()
}

fn is_idle<T>(resources: &ResourceSet<T>, name: &Name) -> bool {
    let id = Id::new(Kind::Component, name.clone());
    resources.get(&id).is_some() && resources.referrers(&id).next().is_none()
}
