//! Aligned columns of text.

use super::format::{pad, width};

/// Rows under headings; columns are as wide as their widest cell and two blanks apart. Cells are shown as they are: clean
/// those that come from data.
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

    /// The lines, each with its end; no blanks at the ends of lines.
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

    #[test]
    fn table_without_rows_has_its_heading() {
        let text = Table::of(Vec::<String>::new()).left("TENANT", Clone::clone).render();
        assert_eq!(text, "TENANT\n");
    }
}
