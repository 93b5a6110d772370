//! The entries of a page that belong to some rows.

use std::ops::Range;

use crate::decoding::hybrid::{Levels, count_equal};
use crate::decoding::{DecodeError, DecodeResult};

use super::{PageLevels, Window};

/// Entries that are skipped at a time on the way to a row.
const ROW_SEARCH_STEP: usize = 255;

/// The pages of a window, in their order.
pub(super) struct WindowPages<'c> {
    rows: &'c Range<u64>,
    /// The row in which the next page starts, or which it continues.
    next_row: u64,
    end_rows: std::slice::Iter<'c, u64>,
}

impl<'c> WindowPages<'c> {
    pub(super) fn new(window: &'c Window) -> Self {
        let Window { rows, first_row, end_rows } = window;
        Self { rows, next_row: *first_row, end_rows: end_rows.iter() }
    }

    /// The entries of the next page that belong to the wanted rows. Errors: it ends in a different row than its index
    /// says.
    pub(super) fn wanted_entries(&mut self, page: &PageLevels<'_>) -> DecodeResult<Range<usize>> {
        let wanted = rows_to_entries(page, self.rows, &mut self.next_row);
        // Otherwise rows with the same number would differ between columns.
        if self.end_rows.next().is_some_and(|end| *end != self.next_row) {
            return Err(DecodeError("a page has other rows than its index says"));
        }
        Ok(wanted)
    }

    /// True if no later page has entries of the window.
    pub(super) fn is_past_end(&self) -> bool {
        self.next_row > self.rows.end
    }
}

/// The entries of a page that belong to `rows`. Advances `next_row` by the rows that start in the page.
fn rows_to_entries(levels: &PageLevels<'_>, rows: &Range<u64>, next_row: &mut u64) -> Range<usize> {
    let first = *next_row;
    let wanted = |row: u64| row.saturating_sub(first) as usize;
    let repetitions = match levels.rep {
        // Every entry is a row.
        Levels::Constant(0) => {
            *next_row += levels.entries as u64;
            let start = wanted(rows.start).min(levels.entries);
            return start..wanted(rows.end).clamp(start, levels.entries);
        }
        // The page continues the previous row; no row starts in it.
        Levels::Constant(_) => {
            let continues = first > rows.start && first <= rows.end;
            return if continues { 0..levels.entries } else { 0..0 };
        }
        Levels::Each(levels) => levels,
    };
    let (mut start, mut end) = (None, None);
    if first > rows.start && first <= rows.end {
        start = Some(0);
    }
    for (number, part) in repetitions.chunks(ROW_SEARCH_STEP).enumerate() {
        let starts = count_equal(part, 0) as u64;
        let rows_here = *next_row..*next_row + starts;
        if !rows_here.contains(&rows.start) && !rows_here.contains(&rows.end) {
            *next_row += starts;
            continue;
        }
        for (entry, &level) in part.iter().enumerate() {
            if level == 0 {
                let entry = number * ROW_SEARCH_STEP + entry;
                if *next_row == rows.start {
                    start = Some(entry);
                }
                if *next_row == rows.end {
                    end = Some(entry);
                }
                *next_row += 1;
            }
        }
    }
    let start = start.unwrap_or(levels.entries);
    let end = end.unwrap_or(levels.entries);
    if *next_row <= rows.start { 0..0 } else { start..end.max(start) }
}
