//! The state of the whole store at one revision, immutable and shared by everything that reads.

mod change_log;
mod encoded;
mod history;

use std::sync::Arc;

pub use change_log::{ChangeLog, LogEntry};
pub use encoded::{Encoded, frame};
use fleetway_api::{Change, Id, Kind, Rejection, Resource, ResourceSet};
pub use history::{Epoch, History, Position};

/// A resource as the server holds it.
pub type Entry = fleetway_api::Entry<Stored>;

/// What the server keeps beside a resource.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The revision that last changed it.
    pub version: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last changed.
    pub updated_ms: i64,
    /// Who last changed it.
    pub updated_by: Arc<str>,
    /// Its wire form, made once and shared by all streams.
    pub encoded: Encoded,
}

/// The state at one revision.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    revision: u64,
    time_ms: i64,
    resources: ResourceSet<Stored>,
    log: ChangeLog,
    history: History,
}

impl Snapshot {
    /// The state a store was found in. The change log begins here: a stream that knows an older
    /// state is compared with it resource by resource.
    ///
    /// # Errors
    /// When the resources are not valid together.
    pub fn restored(
        revision: u64,
        time_ms: i64,
        entries: Vec<Arc<Entry>>,
    ) -> Result<Self, Rejection> {
        let changes = entries.into_iter().map(Change::Put).collect();
        let resources = ResourceSet::default().apply(changes)?;
        Ok(Self {
            revision,
            time_ms,
            resources,
            log: ChangeLog::beginning_at(revision),
            history: History::default(),
        })
    }

    /// The next state: this one with `changes` made at `revision`.
    ///
    /// # Errors
    /// Every fault the changed state would have.
    pub fn next(
        &self,
        revision: u64,
        time_ms: i64,
        changes: Vec<Change<Stored>>,
    ) -> Result<Self, Rejection> {
        let logged: Vec<LogEntry> = changes
            .iter()
            .flat_map(|change| {
                let id = change.id();
                let before = self.resources.get(&id).map(|entry| &entry.resource);
                let after = match change {
                    Change::Put(entry) => Some(&entry.resource),
                    Change::Delete(_) => None,
                };
                change_log::entries(revision, id, before, after)
            })
            .collect();
        let resources = self.resources.apply(changes)?;
        Ok(Self {
            revision,
            time_ms,
            resources,
            log: self.log.with(logged),
            history: self.history.clone(),
        })
    }

    /// The same state, with the history of how it came about and of what comes next.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// How it came about.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Whether a client at `position` has been given this state, or one that led to it.
    #[must_use]
    pub fn follows(&self, position: Position) -> bool {
        position.number <= self.revision && self.history.position(position.number) == position
    }

    /// The number of the revision.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// When it was committed, in milliseconds since 1970.
    #[must_use]
    pub const fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// All resources.
    #[must_use]
    pub const fn resources(&self) -> &ResourceSet<Stored> {
        &self.resources
    }

    /// What changed on the way here.
    #[must_use]
    pub const fn log(&self) -> &ChangeLog {
        &self.log
    }

    /// The resource, if it is there.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Arc<Entry>> {
        self.resources.get(id)
    }

    /// Whether a proxy of `fleet` gets the resource, which is one of this state: it goes to the
    /// fleet and, if it is a secret, something else that the proxy gets refers to it.
    #[must_use]
    pub fn visible(&self, resource: &Resource, fleet: &str) -> bool {
        let concerns = |by: &Id| self.get(by).is_some_and(|by| reaches(&by.resource, fleet));
        reaches(resource, fleet)
            && (resource.kind() != Kind::Secret
                || self.resources.referrers(&resource.id()).any(concerns))
    }
}

/// Whether the resource goes to `fleet`.
#[must_use]
pub fn reaches(resource: &Resource, fleet: &str) -> bool {
    resource.common().fleets.contains(fleet)
}
