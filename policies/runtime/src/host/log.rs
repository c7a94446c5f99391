//! Lines in the proxy's log and its access log.

use std::time::Instant;

use crate::{
    abi::host::log::{Host, Level},
    state::State,
};

/// The longest line in bytes.
const LINE_MAX: usize = 4096;
/// The longest key of an annotation in bytes.
const KEY_MAX: usize = 128;
/// The longest value of an annotation in bytes.
const VALUE_MAX: usize = 1024;

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

macro_rules! line {
    ($level:ident, $state:expr, $message:expr) => {
        if tracing::enabled!(target: "fleetway::policy", tracing::Level::$level)
            && $state.unit.shared.may_log(Instant::now())
        {
            let route = $state.upstream.as_ref().map(|to| &*to.route);
            tracing::event!(
                target: "fleetway::policy",
                tracing::Level::$level,
                policy = %$state.unit.name,
                route,
                request_id = $state.subject.facts.id,
                "{}",
                $message
            );
        }
    };
}

impl Host for State {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let message = cut(&message, LINE_MAX);
        match level {
            Level::Trace => line!(TRACE, self, message),
            Level::Debug => line!(DEBUG, self, message),
            Level::Info => line!(INFO, self, message),
            Level::Warn => line!(WARN, self, message),
            Level::Error => line!(ERROR, self, message),
        }
        Ok(())
    }

    fn annotate(&mut self, key: String, value: String) -> wasmtime::Result<bool> {
        if key.is_empty() || key.len() > KEY_MAX || value.len() > VALUE_MAX {
            return Ok(false);
        }
        Ok(self.subject.notebook.annotate(&self.unit.name, key, value))
    }
}
