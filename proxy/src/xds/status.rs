//! What an operator sees of where the configuration comes from.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use fleetway_api::rest::FailingPolicy;
use tokio::sync::watch;

use super::held::{Held, Revision};
use crate::snapshot::Origin;

/// A shared, cheap handle on the state of the configuration's source. Clones show the same state.
#[derive(Debug, Clone, Default)]
pub struct Status {
    report: Arc<watch::Sender<Report>>,
    held: Arc<ArcSwap<Held>>,
    failing: Arc<watch::Sender<Vec<FailingPolicy>>>,
}

/// What is served, where it came from, and how its source is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is in force; `None` while nothing is.
    pub served: Option<Served>,
    /// The stream to a management server.
    pub connection: Connection,
    /// The last thing that went wrong, if that is not yet mended.
    pub last_error: Option<Problem>,
}

/// A configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Where it came from.
    pub origin: Origin,
    /// Which revision it is.
    pub revision: Revision,
    /// When this process put it in force, in milliseconds since 1970.
    pub applied_ms: i64,
    /// How many resources it has.
    pub resources: usize,
}

impl Served {
    /// How long ago it was committed; `None` where that is unknown or in the future.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let committed = u64::try_from(self.revision.time_ms)
            .ok()
            .filter(|ms| *ms > 0)?;
        now.duration_since(UNIX_EPOCH + Duration::from_millis(committed))
            .ok()
    }
}

/// Whether there is a stream to a management server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Connection {
    /// No server is configured.
    #[default]
    None,
    /// None of the servers answers.
    Disconnected {
        /// Since when, in milliseconds since 1970.
        since_ms: i64,
    },
    /// A stream is open.
    Connected {
        /// The server's address.
        server: Arc<str>,
        /// Since when, in milliseconds since 1970.
        since_ms: i64,
    },
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What, and where.
    pub message: String,
    /// A configuration was refused, as against a server that cannot be reached.
    pub refused: bool,
}

impl Status {
    /// A handle on a source that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How things are now.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Whether some configuration is in force, so that the proxy can serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report.borrow().served.is_some()
    }

    /// Tells of every change of the report.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// The configuration in force, with the bytes of each resource.
    #[must_use]
    pub fn held(&self) -> Arc<Held> {
        self.held.load_full()
    }

    /// Which policies keep failing: the server is told when others do, or do no more.
    pub fn failing(&self, policies: Vec<FailingPolicy>) {
        let said = |of: &FailingPolicy| (of.policy.clone(), of.since.clone(), of.cause.clone());
        self.failing.send_if_modified(|known| {
            let news = !known.iter().map(said).eq(policies.iter().map(said));
            if news {
                for new in policies.iter().filter(|new| !known.contains(new)) {
                    tracing::warn!(
                        policy = new.policy,
                        cause = new.cause,
                        since = new.since,
                        "the policy keeps failing: {}",
                        new.message
                    );
                }
                *known = policies;
            }
            news
        });
    }

    pub(super) fn failing_policies(&self) -> watch::Receiver<Vec<FailingPolicy>> {
        self.failing.subscribe()
    }

    pub(super) fn applied(&self, held: &Held, origin: Origin) {
        self.held.store(Arc::new(held.clone()));
        self.report.send_modify(|report| {
            report.served = Some(Served {
                origin,
                revision: held.revision().clone(),
                applied_ms: now_ms(),
                resources: held.resources().len(),
            });
            report.last_error = None;
        });
    }

    pub(super) fn connected(&self, server: &Arc<str>) {
        self.report.send_modify(|report| {
            report.connection = Connection::Connected {
                server: server.clone(),
                since_ms: now_ms(),
            };
            report.last_error = report.last_error.take().filter(|problem| problem.refused);
        });
    }

    /// The server at hand is lost or does not answer.
    pub(super) fn disconnected(&self, reason: String) {
        self.report.send_modify(|report| {
            if !matches!(report.connection, Connection::Disconnected { .. }) {
                report.connection = Connection::Disconnected { since_ms: now_ms() };
            }
        });
        self.silent(reason);
    }

    /// The server at hand has sent something.
    pub(super) fn answered(&self) {
        self.report.send_modify(|report| {
            report.last_error = report.last_error.take().filter(|problem| problem.refused);
        });
    }

    /// The server at hand sends nothing, and this may be why.
    pub(super) fn silent(&self, reason: String) {
        self.report.send_modify(|report| {
            // That a configuration was refused is the more telling error of the two.
            if report
                .last_error
                .as_ref()
                .is_none_or(|problem| !problem.refused)
            {
                report.last_error = Some(Problem {
                    at_ms: now_ms(),
                    message: reason,
                    refused: false,
                });
            }
        });
    }

    /// A configuration was refused; what was in force stays.
    pub(super) fn refused(&self, message: String) {
        self.report.send_modify(|report| {
            report.last_error = Some(Problem {
                at_ms: now_ms(),
                message,
                refused: true,
            });
        });
    }

    /// What was refused is no longer asked for.
    pub(super) fn mended(&self) {
        self.report.send_modify(|report| report.last_error = None);
    }
}

/// The wall clock, in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}
