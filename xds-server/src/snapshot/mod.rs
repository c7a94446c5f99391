//! The state of the whole store at one revision, immutable and shared by everything that reads.

mod change_log;
mod encoded;
mod history;
mod idle;

use std::{collections::BTreeMap, sync::Arc};

pub use change_log::{ChangeLog, LogEntry};
pub use encoded::{Encoded, frame};
use fleetway_api::{Change, Id, Name, Rejection, Resource, ResourceSet};
pub use history::{Epoch, History, Position};
use imbl::OrdMap;

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
    /// Since when no policy names a component: those of which that is so.
    idle: OrdMap<Name, i64>,
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
            idle: OrdMap::new(),
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
        let changed: Vec<Id> = changes.iter().map(Change::id).collect();
        let resources = self.resources.apply(changes)?;
        let states = (&self.resources, &resources);
        let logged: Vec<LogEntry> = changed
            .into_iter()
            .flat_map(|id| change_log::entries(revision, id, states))
            .collect();
        let idle = idle::next(&self.idle, &resources, &logged, time_ms);
        Ok(Self {
            revision,
            time_ms,
            resources,
            log: self.log.with(logged),
            history: self.history.clone(),
            idle,
        })
    }

    /// The same state, with what a store knows of the components that no policy names: since when,
    /// in milliseconds since 1970. Of others that is `now`.
    #[must_use]
    pub fn with_idle(self, known: &BTreeMap<Name, i64>, now: i64) -> Self {
        let idle = idle::restored(&self.resources, known, now);
        Self { idle, ..self }
    }

    /// The components that no policy names, and since when that is so, in milliseconds since 1970.
    #[must_use]
    pub const fn idle(&self) -> &OrdMap<Name, i64> {
        &self.idle
    }

    /// What of that is otherwise than `before`: the time, or none for a component that is named or
    /// gone.
    #[must_use]
    pub fn idle_since(&self, before: &Self) -> Vec<(Name, Option<i64>)> {
        idle::changes(&before.idle, &self.idle)
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
    /// fleet and, if it is of a kind that only goes where it is needed, something else that the proxy
    /// gets refers to it.
    #[must_use]
    pub fn visible(&self, resource: &Resource, fleet: &str) -> bool {
        // References go one way through the kinds, so this ends.
        let concerns = |by: &Id| {
            self.get(by)
                .is_some_and(|by| self.visible(&by.resource, fleet))
        };
        reaches(resource, fleet)
            && (!resource.kind().on_demand()
                || self.resources.referrers(&resource.id()).any(concerns))
    }
}

/// Whether the resource goes to `fleet`.
#[must_use]
pub fn reaches(resource: &Resource, fleet: &str) -> bool {
    resource.common().fleets.contains(fleet)
}
