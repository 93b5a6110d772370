//! What the user sees: a table, or one JSON document.

pub(crate) mod format;
mod table;

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::error::{Error, Result};

pub(crate) use table::Table;

/// How to write results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON document instead of text.
    pub(crate) json: bool,
    /// Colours may be used.
    pub(crate) colour: bool,
    /// Columns of the terminal, or of what stands for one.
    pub(crate) width: usize,
}

/// Columns where there is no terminal that knows its own.
const DEFAULT_WIDTH: usize = 120;
/// Narrower ones are taken for this many columns: nothing fits into less.
const LEAST_WIDTH: usize = 60;

impl Output {
    /// For the standard output of this process. `NO_COLOR` is respected.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = if terminal { terminal_width() } else { DEFAULT_WIDTH };
        Self { json, colour: terminal && !no_colour, width: width.max(LEAST_WIDTH) }
    }

    /// Writes `value` as JSON, or else the text.
    pub(crate) fn show(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        if !self.json {
            return self.text(&text());
        }
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::Malformed(error.to_string()))?;
        bytes.push(b'\n');
        write(&bytes)
    }

    /// Writes text.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        write(text.as_bytes())
    }

    /// Writes a JSON document that is bytes already.
    pub(crate) fn raw_json(&self, bytes: &[u8]) -> Result<()> {
        write(bytes)?;
        write(b"\n")
    }
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(columns, _)| usize::from(columns.0))
}

fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::Output)
}
