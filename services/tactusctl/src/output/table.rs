//! Aligned columns of text.

use super::format::{pad, width};

/// On which side a column is flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under headings; columns are as wide as their widest cell and two blanks apart.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Cells are shown as they are: clean those that come from data.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The lines, each with its end; no blanks at the ends of lines.
    pub(crate) fn render(&self) -> String {
        let heading = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        let lines = std::iter::once(&heading).chain(&self.rows);
        let mut widths = vec![0; self.columns.len()];
        for cells in lines.clone() {
            for (widest, cell) in widths.iter_mut().zip(cells) {
                *widest = width(cell).max(*widest);
            }
        }
        let mut out = String::new();
        for cells in lines {
            let mut line = String::new();
            for ((cell, &columns), (_, align)) in cells.iter().zip(&widths).zip(&self.columns) {
                let missing = columns - width(cell);
                match align {
                    Align::Left => line.push_str(&pad(cell, columns)),
                    Align::Right => line.push_str(&(" ".repeat(missing) + cell)),
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
        let mut table = Table::new(&[("NAME", Align::Left), ("BYTES", Align::Right)]);
        table.row(["ünï".to_owned(), "1".to_owned()]);
        table.row(["漢字x".to_owned(), "1234567".to_owned()]);
        assert_eq!(table.render(), "NAME     BYTES\nünï          1\n漢字x  1234567\n");
    }

    #[test]
    fn table_without_rows_has_its_heading() {
        assert_eq!(Table::new(&[("TENANT", Align::Left)]).render(), "TENANT\n");
    }
}
