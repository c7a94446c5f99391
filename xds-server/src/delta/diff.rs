//! What to send: the one place where two states are compared for a client. Pure functions.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fleetway_api::{Kind, Name};

use super::subscription::{Owed, Subscription, Why};
use crate::snapshot::{Entry, Snapshot};

/// What a client may see of one kind: its fleet's resources, as far as it wants them.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The kind.
    pub kind: Kind,
    /// The client's fleet.
    pub fleet: &'a str,
    /// What it asked for.
    pub subscription: &'a Subscription,
}

impl View<'_> {
    /// The resource called `name`, if it is there and the client may see it.
    #[must_use]
    pub fn get<'s>(&self, snapshot: &'s Snapshot, name: &str) -> Option<&'s Arc<Entry>> {
        let entry = snapshot.resources().of(self.kind).get(name)?;
        snapshot
            .visible(&entry.resource, self.fleet)
            .then_some(entry)
    }

    /// Everything the client may see, by name.
    pub(super) fn all<'s>(&self, snapshot: &'s Snapshot) -> impl Iterator<Item = &'s Arc<Entry>> {
        snapshot
            .resources()
            .of(self.kind)
            .values()
            .filter(|entry| snapshot.visible(&entry.resource, self.fleet))
    }
}

/// What to send of one kind.
#[derive(Debug, Default)]
pub struct Delta {
    /// Everything the client may see, in place of `upserts`.
    pub all: bool,
    /// What is new or changed, by name.
    pub upserts: Vec<Arc<Entry>>,
    /// What the client holds and is to drop, by name.
    pub removed: Vec<Arc<str>>,
    /// What the client asked for and does not exist, by name.
    pub absent: Vec<Arc<str>>,
}

impl Delta {
    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.upserts.is_empty() && self.removed.is_empty() && self.absent.is_empty()
    }
}

/// What a client that holds `base`, and is owed `owed` besides, needs to hold `new`.
///
/// Takes time in proportion to what changed between the two as long as the change log reaches
/// back, else to the number of resources of the kind.
#[must_use]
pub fn diff(view: &View<'_>, base: &Snapshot, owed: &Owed, new: &Snapshot) -> Delta {
    let mut delta = Delta {
        all: owed.all,
        ..Delta::default()
    };
    let mut names: BTreeMap<&str, Option<Why>> = changed_names(view, base, new);
    names.extend(owed.names.iter().map(|(name, why)| (&**name, Some(*why))));
    for (name, owed_for) in names {
        let before = view.get(base, name);
        match view.get(new, name) {
            // Sent with everything else.
            Some(_) if owed.all => {}
            Some(after) => {
                let changed = before.is_none_or(|b| b.data.version != after.data.version);
                if changed || owed_for.is_some() {
                    delta.upserts.push(after.clone());
                }
            }
            None if before.is_some() || owed_for == Some(Why::Held) => {
                delta.removed.push(name.into());
            }
            None if owed_for.is_some() => delta.absent.push(name.into()),
            // Not the client's before, nor now.
            None => {}
        }
    }
    delta
}

/// The wanted names that may differ between the two states.
fn changed_names<'s>(
    view: &View<'_>,
    base: &'s Snapshot,
    new: &'s Snapshot,
) -> BTreeMap<&'s str, Option<Why>> {
    let wanted = |name: &Name| view.subscription.wants(name.as_str());
    if base.revision() == new.revision() {
        return BTreeMap::new();
    }
    if let Some(changes) = new.log().since(base.revision()) {
        return changes
            .map(|change| &change.id)
            .filter(|id| id.kind == view.kind && wanted(&id.name))
            .map(|id| (id.name.as_str(), None))
            .collect();
    }
    let mut names = BTreeMap::new();
    let mut before = base.resources().of(view.kind).iter().peekable();
    let mut after = new.resources().of(view.kind).iter().peekable();
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some((one, _)), Some((two, _))) => one.cmp(two),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return names,
        };
        let (old, now) = match order {
            Ordering::Less => (before.next(), None),
            Ordering::Greater => (None, after.next()),
            Ordering::Equal => (before.next(), after.next()),
        };
        // A secret may be as it was and yet come or go, with what names it; so may others.
        let same = !view.kind.on_demand()
            && matches!((old, now), (Some((_, old)), Some((_, now))) if Arc::ptr_eq(old, now));
        let name = now.or(old).map(|(name, _)| name);
        if let Some(name) = name.filter(|name| !same && wanted(name)) {
            names.insert(name.as_str(), None);
        }
    }
}

/// What a client that comes back with `versions` is owed to hold `snapshot`: every resource it
/// does not have at just the version, and every name that is gone. A version not of this server
/// equals none of its own, so the resource is sent again.
#[must_use]
pub fn resume(view: &View<'_>, versions: &HashMap<String, String>, snapshot: &Snapshot) -> Owed {
    let mut owed = Owed {
        answer: view.subscription.owed().answer,
        ..Owed::default()
    };
    let mut met = 0;
    if view.subscription.is_wildcard() {
        for entry in view.all(snapshot) {
            let name = entry.resource.name().as_str();
            let version = versions.get(name);
            met += usize::from(version.is_some());
            if version.and_then(|version| version.parse().ok()) != Some(entry.data.version) {
                owed.names.insert(name.into(), Why::Held);
            }
        }
    }
    // As a rule every version was met by now, and there is no second look at each.
    if met < versions.len() {
        for (name, version) in versions {
            let current = |entry: &Arc<Entry>| version.parse() == Ok(entry.data.version);
            if view.subscription.wants(name) && !view.get(snapshot, name).is_some_and(current) {
                owed.names.insert(name.as_str().into(), Why::Held);
            }
        }
    }
    for name in view.subscription.owed().names.keys() {
        if !versions.contains_key(&**name) {
            owed.names.entry(name.clone()).or_insert(Why::Asked);
        }
    }
    owed
}

#[cfg(test)]
mod tests;
