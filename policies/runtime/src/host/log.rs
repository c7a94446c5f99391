//! Lines in the proxy's log and its access log.

use std::{borrow::Cow, time::Instant};

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

/// The text on one line: what would end it, or move about on a terminal, is escaped.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let moves = |c: char| c.is_control() && c != '\t';
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match moves(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    Cow::Owned(line)
}

macro_rules! line {
    ($level:ident, $state:expr, $message:expr) => {
        if tracing::enabled!(target: "fleetway::policy", tracing::Level::$level)
            && $state.unit.shared.may_log(Instant::now())
        {
            let route = $state.subject.notebook.route();
            tracing::event!(
                target: "fleetway::policy",
                tracing::Level::$level,
                policy = %$state.unit.name,
                route = route.as_deref(),
                request_id = $state.subject.facts.id,
                "{}",
                $message
            );
        }
    };
}

impl Host for State {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let message = printable(cut(&message, LINE_MAX));
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

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_line_stays_one() {
        assert_eq!(printable("ä\tb"), "ä\tb");
        assert_eq!(
            printable("a\nERROR b\u{1b}[31m\0\r\u{85}"),
            "a\\nERROR b\\u{1b}[31m\\u{0}\\r\\u{85}"
        );
    }
}
