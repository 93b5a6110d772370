//! Numbers that vParquet5 stores for each span, so that queries need not compute them.

use crate::schema::leaf::ROUNDED_SECONDS;

const NANOS: u64 = 1_000_000_000;

/// Appends the number of direct children of each span of a trace, computed from nested-set numbers; 0 for spans without
/// these. `of_left` is reused memory.
pub(super) fn add_child_counts(
    out: &mut Vec<i64>,
    left: &[i32],
    parent: &[i32],
    of_left: &mut Vec<u32>,
) {
    let before = out.len();
    out.resize(before + left.len(), 0);
    let counts = &mut out[before..];
    of_left.clear();
    // Two numbers a span, from 1 on.
    of_left.resize(2 * left.len() + 1, 0);
    for (&left, span) in left.iter().zip(0..) {
        of_left[left as usize] = span;
    }
    for &parent in parent.iter().filter(|&&parent| parent > 0) {
        counts[of_left[parent as usize] as usize] += 1;
    }
}

/// The interval in which a span starts, for the interval length [`ROUNDED_SECONDS`]`[which]`. Intervals count from the
/// epoch, and their last instant belongs to them; 0 for a start of 0.
pub(super) fn rounded_start(start_unix_nanos: u64, which: usize) -> u32 {
    let interval = ROUNDED_SECONDS[which] * NANOS;
    let number = start_unix_nanos.div_ceil(interval).saturating_sub(1);
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_starts_are_those_of_the_format() {
        let rounded = |start| [0, 1, 2, 3].map(|which| rounded_start(start, which));
        let start = 1_700_000_000_000_000_000;
        assert_eq!(rounded(start), [113_333_333, 28_333_333, 5_666_666, 472_222]);
        assert_eq!(rounded(15 * NANOS)[0], 0);
        assert_eq!(rounded(15 * NANOS + 1)[0], 1);
        assert_eq!(rounded(0), [0; 4]);
        assert_eq!(rounded(1), [0; 4]);
        assert_eq!(rounded(u64::MAX)[0], 1_229_782_938);
    }

    #[test]
    fn children_are_counted_below_their_parent() {
        let (mut counts, mut memory) = (vec![9], Vec::new());
        // A tree of four and a span outside.
        add_child_counts(&mut counts, &[1, 2, 4, 5, 0], &[-1, 1, 1, 4, 0], &mut memory);
        assert_eq!(counts, [9, 2, 0, 1, 0, 0]);
    }

    #[test]
    fn traces_without_a_root_have_no_children() {
        let (mut counts, mut memory) = (Vec::new(), Vec::new());
        add_child_counts(&mut counts, &[0, 0], &[0, 0], &mut memory);
        assert_eq!(counts, [0, 0]);
    }
}
