//! The output for users: a table, or one JSON document.

pub(crate) mod format;

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::error::{Error, Result};
use format::{pad, width};

/// How to write results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON document instead of text.
    pub(crate) json: bool,
    /// Colours may be used.
    pub(crate) colour: bool,
    /// Width of the output in columns.
    pub(crate) width: usize,
}

/// Width if the output is no terminal, or the terminal does not tell its width.
const DEFAULT_WIDTH: usize = 120;

/// Least width, because nothing fits into less.
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

    /// Writes a JSON document that is already encoded.
    pub(crate) fn raw_json(&self, bytes: &[u8]) -> Result<()> {
        write(bytes)?;
        write(b"\n")
    }
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(columns, _)| usize::from(columns.0))
}

fn write(bytes: &[u8]) -> Result<()> {
    write_to(std::io::stdout().lock(), bytes)
}

fn write_to(mut sink: impl Write, bytes: &[u8]) -> Result<()> {
    match sink.write_all(bytes).and_then(|()| sink.flush()) {
        // The reader has seen enough: `tactusctl … | head`. The command goes on, and its exit code says what it found.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::Output),
    }
}

/// Rows under headings. A column is as wide as its widest cell, and two blanks separate columns. Cells are not escaped, so
/// use [`format::clean`] on text from data.
pub(crate) struct Table<'c, R> {
    rows: Vec<R>,
    columns: Vec<Column<'c, R>>,
}

struct Column<'c, R> {
    heading: &'static str,
    is_right: bool,
    cell: Box<dyn Fn(&R) -> String + 'c>,
}

impl<'c, R> Table<'c, R> {
    /// A table without columns.
    pub(crate) fn of(rows: impl IntoIterator<Item = R>) -> Self {
        Self { rows: rows.into_iter().collect(), columns: Vec::new() }
    }

    /// Adds a column of text.
    pub(crate) fn left(self, heading: &'static str, cell: impl Fn(&R) -> String + 'c) -> Self {
        self.column(Column { heading, is_right: false, cell: Box::new(cell) })
    }

    /// Adds a column of numbers.
    pub(crate) fn right(self, heading: &'static str, cell: impl Fn(&R) -> String + 'c) -> Self {
        self.column(Column { heading, is_right: true, cell: Box::new(cell) })
    }

    fn column(mut self, column: Column<'c, R>) -> Self {
        self.columns.push(column);
        self
    }

    /// The lines, each with a line break and without trailing blanks.
    pub(crate) fn render(&self) -> String {
        let headings = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        let cells = |row| self.columns.iter().map(|column| (column.cell)(row)).collect();
        let lines: Vec<Vec<String>> =
            std::iter::once(headings).chain(self.rows.iter().map(cells)).collect();
        let mut widths = vec![0; self.columns.len()];
        for cells in &lines {
            for (widest, cell) in widths.iter_mut().zip(cells) {
                *widest = width(cell).max(*widest);
            }
        }
        let mut out = String::new();
        for cells in lines {
            let mut line = String::new();
            for ((cell, &widest), column) in cells.iter().zip(&widths).zip(&self.columns) {
                match column.is_right {
                    true => line.push_str(&(" ".repeat(widest - width(cell)) + cell)),
                    false => line.push_str(&pad(cell, widest)),
                }
                line.push_str("  ");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_people_see() {
        let text = Table::of([("ünï", 1), ("漢字x", 1_234_567)])
            .left("NAME", |(name, _)| (*name).to_owned())
            .right("BYTES", |(_, bytes)| bytes.to_string())
            .render();
        assert_eq!(text, "NAME     BYTES\nünï          1\n漢字x  1234567\n");
    }

    struct Sink(io::ErrorKind);

    impl Write for Sink {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reader_that_has_left_is_no_error() {
        assert!(write_to(Sink(io::ErrorKind::BrokenPipe), b"text").is_ok());
        assert!(write_to(Sink(io::ErrorKind::StorageFull), b"text").is_err());
    }

    #[test]
    fn table_without_rows_has_its_heading() {
        let text = Table::of(Vec::<String>::new()).left("TENANT", Clone::clone).render();
        assert_eq!(text, "TENANT\n");
    }
}
