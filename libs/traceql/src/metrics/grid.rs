//! The intervals of a metrics query.

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Equal intervals of time. Interval `i` has the instants after `start + i * step`, up to and including
/// `start + (i + 1) * step`. Its right edge is the timestamp of its sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    start: u64,
    step: u64,
    intervals: usize,
}

impl Grid {
    /// The grid of a range query: `start` and `end` (unix nanoseconds) extended to whole steps, and one more interval
    /// before the first. `cutoff` (unix nanoseconds): nothing after the last step up to it is shown. A step of 0 gives
    /// an empty grid.
    pub fn range(start: u64, end: u64, step: u64, cutoff: Option<u64>) -> Self {
        if step == 0 {
            return Self { start, step: 1, intervals: 0 };
        }
        let mut first = start - start % step;
        let mut last = end.checked_next_multiple_of(step).unwrap_or(end - end % step);
        if first > step {
            first -= step;
        }
        if let Some(cutoff) = cutoff
            && cutoff < last
        {
            last = cutoff - cutoff % step;
        }
        let intervals = usize::try_from(last.saturating_sub(first) / step).unwrap_or(usize::MAX);
        Self { start: first, step, intervals }
    }

    /// One interval: after `start`, up to and including `end`, in unix nanoseconds.
    pub fn instant(start: u64, end: u64) -> Self {
        let step = end.saturating_sub(start);
        Self { start, step: step.max(1), intervals: usize::from(step > 0) }
    }

    /// A grid from the parts that were sent: see the accessors. A step of 0 counts as 1.
    pub fn from_parts(start: u64, step: u64, intervals: usize) -> Self {
        Self { start, step: step.max(1), intervals }
    }

    /// Left edge of the first interval, exclusive; unix nanoseconds.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Right edge of the last interval, inclusive; unix nanoseconds.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.step.saturating_mul(self.intervals as u64))
    }

    /// Length of an interval in nanoseconds, not 0.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Number of intervals.
    pub fn intervals(&self) -> usize {
        self.intervals
    }

    /// Length of an interval in seconds.
    pub fn step_seconds(&self) -> f64 {
        self.step as f64 / 1e9
    }

    /// The interval of an instant.
    #[inline]
    pub fn interval_of(&self, unix_nanos: u64) -> Option<usize> {
        let after_start = unix_nanos.checked_sub(self.start)?.checked_sub(1)?;
        let interval = usize::try_from(after_start / self.step).ok()?;
        (interval < self.intervals).then_some(interval)
    }

    /// The timestamp of an interval's sample: its right edge in unix milliseconds, truncated.
    pub fn timestamp_millis(&self, interval: usize) -> i64 {
        let edge = self.start.saturating_add(self.step.saturating_mul(interval as u64 + 1));
        i64::try_from(edge / NANOS_PER_MILLI).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn range_is_widened_to_whole_steps_and_one_before() {
        let grid = Grid::range(1_700_000_040 * SECOND, 1_700_000_160 * SECOND, 60 * SECOND, None);
        let times: Vec<_> =
            (0..grid.intervals()).map(|interval| grid.timestamp_millis(interval)).collect();
        assert_eq!(times, [1_700_000_040_000, 1_700_000_100_000, 1_700_000_160_000]);
        let grid = Grid::range(1_700_000_041 * SECOND, 1_700_000_161 * SECOND, 60 * SECOND, None);
        assert_eq!(grid.intervals(), 4);
        let cut = Some(1_700_000_150 * SECOND);
        let grid = Grid::range(1_700_000_040 * SECOND, 1_700_000_160 * SECOND, 60 * SECOND, cut);
        assert_eq!(grid.end(), 1_700_000_100 * SECOND);
        assert_eq!(Grid::range(5, 50, 0, None).intervals(), 0);
        assert_eq!(Grid::range(50, 60, 10, Some(7)).intervals(), 0);
        assert_eq!(Grid::range(5, 15, 10, None).start(), 0);
    }

    #[test]
    fn intervals_are_open_left_and_closed_right() {
        let grid = Grid::range(20, 40, 10, None);
        assert_eq!(grid.start(), 10);
        let found: Vec<_> = [10, 11, 20, 21, 40, 41].map(|at| grid.interval_of(at)).into();
        assert_eq!(found, [None, Some(0), Some(0), Some(1), Some(2), None]);
        let instant = Grid::instant(0, 80);
        assert_eq!((instant.interval_of(0), instant.interval_of(80)), (None, Some(0)));
        assert_eq!(Grid::instant(9, 9).intervals(), 0);
    }
}
