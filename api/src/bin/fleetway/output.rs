//! Printing: one place that knows the form, the colours and where it goes.

use std::io::{self, BufWriter, Stdout, Write as _};

use fleetway_api::document::{self, Format};
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::{Form, Global},
    diff,
};

/// Standard output in the form the user asked for.
pub(crate) struct Output {
    form: Form,
    colour: bool,
    out: BufWriter<Stdout>,
}

/// A colour, by what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Good,
    Change,
    Bad,
    Place,
    Heading,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Change => "33",
            Self::Bad => "31",
            Self::Place => "36",
            Self::Heading => "1",
        }
    }
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let out = io::stdout();
        Self {
            form: global.output,
            colour: global.colour_on(&out),
            out: BufWriter::new(out),
        }
    }

    /// Whether it is for people, not for programs.
    pub(crate) fn is_table(&self) -> bool {
        self.form == Form::Table
    }

    /// The form, where it is not for people.
    pub(crate) fn format(&self) -> Option<Format> {
        match self.form {
            Form::Table => None,
            Form::Json => Some(Format::Json),
            Form::Yaml => Some(Format::Yaml),
        }
    }

    /// A body as the server gave it, in JSON or YAML.
    pub(crate) fn body(&mut self, body: &impl Serialize) -> anyhow::Result<()> {
        let value = serde_json::to_value(body)?;
        let format = self.format().unwrap_or(Format::Yaml);
        self.write(&document::to_text(&[value], format))
    }

    /// A line for people.
    pub(crate) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(text)?;
        self.write("\n")
    }

    /// A text as it is.
    pub(crate) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// The text in a colour, if colours are on.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", colour.code())
        } else {
            text.to_owned()
        }
    }

    /// What changed between two documents, indented below a line that says of what.
    pub(crate) fn diff(
        &mut self,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> anyhow::Result<()> {
        self.changes(&diff::unified(before, after))
    }

    /// A unified diff, indented below a line that says of what.
    pub(crate) fn changes(&mut self, text: &str) -> anyhow::Result<()> {
        for line in text.lines() {
            // A colour code in a value is not to reach the terminal.
            let line = &line.replace(char::is_control, " ");
            let line = match line.as_bytes().first() {
                Some(b'+') => self.paint(Colour::Good, line),
                Some(b'-') => self.paint(Colour::Bad, line),
                Some(b'@') => self.paint(Colour::Place, line),
                _ => line.to_owned(),
            };
            self.line(&format!("    {line}"))?;
        }
        Ok(())
    }

    /// Clears the screen, where there is one.
    pub(crate) fn clear(&mut self) -> anyhow::Result<()> {
        if io::IsTerminal::is_terminal(&io::stdout()) {
            self.write("\x1b[H\x1b[2J")?;
        }
        Ok(())
    }

    /// Lets everything out.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Tells people what is going on, beside the output. Nobody is left to tell when that fails.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
