//! The lines a policy writes, held for the report.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
};

/// What the runtime writes the lines of policies to.
const TARGET: &str = "fleetway::policy";

/// A line.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    /// `info`.
    pub(super) level: String,
    /// What it says.
    pub(super) message: String,
}

/// The lines since they were last taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<Line>>>);

impl Lines {
    /// Takes them.
    pub(super) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What holds the lines of policies, of every level; all other lines are left out.
pub(super) fn capture() -> (Lines, impl Subscriber + Send + Sync) {
    let lines = Lines::default();
    let of_policies = Targets::new().with_target(TARGET, Level::TRACE);
    let layer = lines.clone().with_filter(of_policies);
    (lines, tracing_subscriber::registry().with(layer))
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let line = Line {
            level: event.metadata().level().as_str().to_ascii_lowercase(),
            message: message.0,
        };
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }
}

/// What an event says.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
