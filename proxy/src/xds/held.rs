//! The configuration a proxy holds: the valid set and its revision.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fleetway_api::{Change, Entry, FieldError, Id, Invalid, Kind, Resource, proto::v1};

use crate::snapshot::{Received, Resources, Version};

/// A configuration, whole and valid. Immutable, and cheap to clone: the sets share structure.
#[derive(Debug, Clone, Default)]
pub struct Held {
    resources: Resources,
    revision: Revision,
}

/// Which revision a configuration is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// Its number; 0 for the empty beginning.
    pub number: u64,
    /// When it was committed, in milliseconds since 1970; 0 where unknown.
    pub time_ms: i64,
    /// The version its barrier had, which tells the server more than the number: whether it is one
    /// of its own. `None` where this proxy counts by itself, since its source has no revisions.
    pub version: Option<Version>,
}

impl Revision {
    /// The revision after this one, for a source that has no numbers.
    #[must_use]
    pub(super) const fn next_counted(&self, time_ms: i64) -> Self {
        Self {
            number: self.number.saturating_add(1),
            time_ms,
            version: None,
        }
    }
}

/// What is to become of one resource.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// It is put in place.
    Put {
        resource: Resource,
        received: Received,
    },
    /// It is removed, if it is there.
    Remove,
}

/// A configuration that could be in force next.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) held: Held,
    /// What differs from the one it was made from.
    pub(super) changed: Vec<Id>,
}

impl Held {
    /// The resources, each with its version.
    #[must_use]
    pub const fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Which revision it is.
    #[must_use]
    pub const fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The message of a resource, as a dump of the configuration prints it.
    #[must_use]
    pub fn message(&self, id: &Id) -> Option<v1::Resource> {
        let entry = self.resources.get(id)?;
        fleetway_api::decode_message(id.kind, entry.data.wire.clone()).ok()
    }

    /// What a new stream reports as `initial_resource_versions`.
    #[must_use]
    pub(super) fn versions(&self, kind: Kind) -> HashMap<String, String> {
        self.resources
            .of(kind)
            .iter()
            .map(|(name, entry)| (name.to_string(), entry.data.version.to_string()))
            .collect()
    }

    /// Makes the edits, judged together. A put of what is there already, by bytes and version,
    /// and a removal of what is not, change nothing.
    ///
    /// # Errors
    /// Every fault the edited set would have.
    pub(super) fn edit(
        &self,
        edits: BTreeMap<Id, Edit>,
        revision: Revision,
    ) -> Result<Candidate, Vec<FieldError>> {
        let changes = self.changes(edits);
        let changed = changes.iter().map(Change::id).collect();
        let resources = self
            .resources
            .apply(changes)
            .map_err(|rejection| rejection.errors)?;
        let held = Self {
            resources,
            revision,
        };
        Ok(Candidate { held, changed })
    }

    /// Every fault the edited set would have beside what is invalid by itself.
    pub(super) fn faults(&self, edits: BTreeMap<Id, Edit>, invalid: &Invalid) -> Vec<FieldError> {
        self.resources.faults(self.changes(edits), invalid)
    }

    /// The edits that change something.
    fn changes(&self, edits: BTreeMap<Id, Edit>) -> Vec<Change<Received>> {
        let change = |(id, edit): (Id, Edit)| {
            let before = self.resources.get(&id);
            match edit {
                Edit::Put { resource, received } => {
                    before.is_none_or(|entry| entry.data != received).then(|| {
                        Change::Put(Arc::new(Entry {
                            resource,
                            data: received,
                        }))
                    })
                }
                Edit::Remove => before.is_some().then_some(Change::Delete(id)),
            }
        };
        edits.into_iter().filter_map(change).collect()
    }
}
