//! Access logs: a line of JSON for each request, or for each connection that is passed on.
//!
//! Worker: line → batch ([`Buffers`]) → bounded queue → a thread for each file → write(2). A worker
//! never waits: what the queue does not take is left out and counted.

mod buffers;
mod file;
mod json;
mod line;
mod output;
#[cfg(test)]
mod tests;
mod writer;

use std::{io, sync::Arc};

pub use buffers::Buffers;
use fleetway_api as api;
pub use line::Line;
pub(crate) use line::field;
pub use output::{Logs, Output};

use crate::telemetry::ListenerCounters;

/// The access log of a listener.
#[derive(Debug)]
pub struct AccessLog {
    output: Arc<Output>,
    counters: Arc<ListenerCounters>,
}

impl AccessLog {
    /// The log that goes to `target`, opened among `logs` if it is not yet.
    ///
    /// # Errors
    /// When it cannot be opened for writing.
    pub fn open(
        logs: &Logs,
        target: &api::AccessLog,
        counters: Arc<ListenerCounters>,
    ) -> io::Result<Self> {
        Ok(Self {
            output: logs.open(target)?,
            counters,
        })
    }

    /// Whether it goes to `target`.
    #[must_use]
    pub fn goes_to(&self, target: &api::AccessLog) -> bool {
        self.output.target() == target
    }
}
