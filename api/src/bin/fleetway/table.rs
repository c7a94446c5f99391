//! Tables: columns as wide as their widest cell, the last as long as it is.

use fleetway_api::rest::NodeState;

use crate::output::{Colour, Output};

/// A cell with its colour.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        // One line, and nothing that steers the terminal.
        let text: String = text
            .into()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let text = if text.is_empty() {
            "-".to_owned()
        } else {
            text
        };
        Self { text, colour: None }
    }

    pub(crate) fn coloured(text: impl Into<String>, colour: Colour) -> Self {
        Self {
            colour: Some(colour),
            ..Self::new(text)
        }
    }
}

/// Prints rows below their headings. Every row has a cell for each heading.
pub(crate) fn print(
    output: &mut Output,
    headings: &[&str],
    rows: &[Vec<Cell>],
) -> anyhow::Result<()> {
    let heading: Vec<Cell> = headings
        .iter()
        .map(|text| Cell::coloured(*text, Colour::Heading))
        .collect();
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            std::iter::once(&heading)
                .chain(rows)
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = if index + 1 == headings.len() {
                0
            } else {
                width + 2 - cell.text.chars().count()
            };
            match cell.colour {
                Some(colour) => line.push_str(&output.paint(colour, &cell.text)),
                None => line.push_str(&cell.text),
            }
            line.push_str(&" ".repeat(padding));
        }
        output.line(&line)?;
    }
    Ok(())
}

/// A node's state as the REST interface writes it.
pub(crate) const fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Live => "LIVE",
        NodeState::Pending => "PENDING",
        NodeState::Rejected => "REJECTED",
        NodeState::Disconnected => "DISCONNECTED",
    }
}
