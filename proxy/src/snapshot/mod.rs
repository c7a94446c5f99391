//! The configuration a proxy runs on.

use std::{fmt, future::Future, sync::Arc};

use fleetway_api::{FieldError, Id, ResourceSet};

/// The resources of a proxy, valid together, each with its version as the server gave it.
pub type Resources = ResourceSet<Version>;

/// A version as the server gave it: opaque, a decimal revision where the server is Fleetway's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub Arc<str>);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The management server at this address.
    Server(Arc<str>),
    /// The last good snapshot on disk, from before this process started.
    Disk,
    /// A folder of resource files.
    Folder(Arc<str>),
}

/// A configuration to be put in force, whole or not at all.
#[derive(Debug, Clone)]
pub struct Update {
    /// All resources, with the changes made.
    pub resources: Resources,
    /// The resources that were put or removed since the configuration in force.
    pub changed: Vec<Id>,
    /// The revision: from the barrier, or counted where there is none.
    pub revision: u64,
    /// When it was committed, in milliseconds since 1970; 0 where unknown.
    pub time_ms: i64,
    /// Where it came from.
    pub origin: Origin,
}

/// What puts configurations in force: the workers and their sockets.
pub trait Apply {
    /// Puts `update` in force. On return every worker serves it: new requests see all of it.
    ///
    /// # Errors
    /// Every reason it cannot be, such as a port that cannot be bound, with resource and field.
    /// The configuration in force before stays.
    fn apply(&self, update: Update) -> impl Future<Output = Result<(), Vec<FieldError>>> + Send;
}
