//! The entries of a page that belong to some rows.

use std::ops::Range;

use crate::decoding::hybrid::{Levels, count_equal};

use super::PageLevels;

/// Entries that are passed over at a time on the way to a row.
const ROW_SEARCH_STEP: usize = 255;

/// The entries of a page that belong to `rows`; moves `next_row` on by the rows that start in the page.
pub(super) fn rows_to_entries(
    levels: &PageLevels<'_>,
    rows: &Range<u64>,
    next_row: &mut u64,
) -> Range<usize> {
    let first = *next_row;
    let wanted = |row: u64| row.saturating_sub(first) as usize;
    let repetitions = match levels.rep {
        // Every entry is a row.
        Levels::Constant(0) => {
            *next_row += levels.entries as u64;
            let start = wanted(rows.start).min(levels.entries);
            return start..wanted(rows.end).clamp(start, levels.entries);
        }
        // The page continues the row before; no row starts in it.
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
