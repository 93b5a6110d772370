//! Finds the rows of a batch to count, and the interval of each.

use crate::eval::Bitmap;
use crate::metrics::Grid;

/// Rows of a batch, ascending. Columns *of rows* have one value for each of these, in this order.
pub(super) enum Rows {
    /// All rows of a batch, which has this many.
    All(usize),
    /// Only these rows.
    Some(Vec<u32>),
}

impl Rows {
    pub(super) fn of(bitmap: &Bitmap) -> Self {
        let count = bitmap.count();
        if count == bitmap.len() {
            return Rows::All(count);
        }
        let (mut rows, mut end) = (vec![0; count], 0);
        bitmap.rows().for_each(|row| {
            rows[end] = row as u32;
            end += 1;
        });
        Rows::Some(rows)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Rows::All(count) => *count,
            Rows::Some(rows) => rows.len(),
        }
    }

    /// The row at a place.
    pub(super) fn at(&self, place: usize) -> usize {
        match self {
            Rows::All(_) => place,
            Rows::Some(rows) => rows[place] as usize,
        }
    }

    /// A value for each row, computed by `of` from its value in a column of the batch.
    #[inline]
    pub(super) fn gather<T: Copy, R>(&self, column: &[T], mut of: impl FnMut(T) -> R) -> Vec<R> {
        match self {
            Rows::All(_) => column.iter().map(|&value| of(value)).collect(),
            Rows::Some(rows) => rows.iter().map(|&row| of(column[row as usize])).collect(),
        }
    }

    /// As [`Self::gather`], for the rows from index `first` on that fit into `out`.
    #[inline]
    pub(super) fn write<T: Copy, R>(
        &self,
        column: &[T],
        first: usize,
        out: &mut [R],
        of: impl Fn(T) -> R,
    ) {
        match self {
            Rows::All(_) => {
                out.iter_mut().zip(&column[first..]).for_each(|(out, &value)| *out = of(value));
            }
            Rows::Some(rows) => {
                for (out, &row) in out.iter_mut().zip(&rows[first..]) {
                    *out = of(column[row as usize]);
                }
            }
        }
    }

    /// A value of each row.
    #[inline]
    pub(super) fn map<R>(&self, mut of: impl FnMut(usize) -> R) -> Vec<R> {
        match self {
            Rows::All(count) => (0..*count).map(of).collect(),
            Rows::Some(rows) => rows.iter().map(|&row| of(row as usize)).collect(),
        }
    }

    /// Keeps the rows for whose index `keeps` returns true. The columns of these rows must be reduced, too.
    pub(super) fn retain(self, keeps: impl Fn(usize) -> bool) -> Self {
        let places = (0..self.len()).filter(|&place| keeps(place));
        Rows::Some(places.map(|place| self.at(place) as u32).collect())
    }
}

/// The intervals in which the spans of a batch start.
pub(super) struct Reach {
    /// The first interval.
    pub(super) first: usize,
    /// How many intervals, from the first to the last; at least 1.
    pub(super) width: usize,
    /// No span starts outside the grid.
    pub(super) is_whole: bool,
    /// Left edge of the first interval.
    edge: u64,
    divider: Divider,
    /// True if a span starts too far from the edge for the divider.
    is_far: bool,
    step: u64,
}

impl Reach {
    /// `None` if no span starts in the grid.
    pub(super) fn of(grid: Grid, starts: &[u64]) -> Option<Self> {
        let (mut low, mut high) = bounds(starts);
        let is_whole = grid.interval_of(low).is_some() && grid.interval_of(high).is_some();
        low = low.max(grid.start().saturating_add(1));
        high = high.min(grid.end());
        let (first, last) = (grid.interval_of(low)?, grid.interval_of(high)?);
        if low > high {
            return None;
        }
        let step = grid.step();
        let edge = grid.start() + step * first as u64;
        Some(Self {
            first,
            width: last - first + 1,
            is_whole,
            edge,
            divider: Divider::by(step),
            is_far: high - edge > i64::MAX as u64,
            step,
        })
    }

    /// The spans that start in the grid.
    pub(super) fn inside(&self, grid: Grid, starts: &[u64]) -> Bitmap {
        let (start, end) = (grid.start(), grid.end());
        Bitmap::from_values(starts, |at| at > start && at <= end)
    }

    /// Writes the intervals of consecutive rows, counted from the first interval.
    #[inline]
    pub(super) fn write_intervals(
        &self,
        rows: &Rows,
        starts: &[u64],
        first: usize,
        out: &mut [u32],
    ) {
        let (edge, divider, step) = (self.edge + 1, self.divider, self.step);
        if self.width == 1 {
            out.fill(0);
        } else if self.is_far {
            rows.write(starts, first, out, |start| (start.wrapping_sub(edge) / step) as u32);
        } else {
            rows.write(starts, first, out, |start| divider.divide(start.wrapping_sub(edge)) as u32);
        }
    }
}

/// The smallest and the largest of some numbers. Uses four accumulators, so that no step waits for the previous one.
fn bounds(numbers: &[u64]) -> (u64, u64) {
    let (fours, rest) = numbers.as_chunks::<4>();
    let (mut low, mut high) = ([u64::MAX; 4], [0; 4]);
    for four in fours {
        for lane in 0..4 {
            low[lane] = low[lane].min(four[lane]);
            high[lane] = high[lane].max(four[lane]);
        }
    }
    let low = low.iter().chain(rest).fold(u64::MAX, |low, &number| low.min(number));
    (low, high.iter().chain(rest).fold(0, |high, &number| high.max(number)))
}

/// Divides many numbers by the same divisor, by multiplication.
#[derive(Clone, Copy, Debug)]
pub(super) struct Divider {
    /// 2^64 times a power of two, divided by the divisor and rounded up; 0 if the divisor is a power of two.
    factor: u64,
    shift: u32,
}

impl Divider {
    /// A divisor of 0 counts as 1.
    pub(super) fn by(divisor: u64) -> Self {
        let divisor = divisor.max(1);
        let shift = divisor.ilog2();
        if divisor.is_power_of_two() {
            return Self { factor: 0, shift };
        }
        let factor = ((1u128 << (64 + shift)) / u128::from(divisor) + 1) as u64;
        Self { factor, shift }
    }

    /// The quotient; exact for numbers below 2^63.
    #[inline]
    pub(super) fn divide(self, number: u64) -> u64 {
        if self.factor == 0 {
            return number >> self.shift;
        }
        ((u128::from(number) * u128::from(self.factor)) >> 64) as u64 >> self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn divider_agrees_with_division(divisor in 1u64.., number in 0u64..1 << 63, small in 1u64..100_000) {
            prop_assert_eq!(Divider::by(divisor).divide(number), number / divisor);
            prop_assert_eq!(Divider::by(small).divide(number), number / small);
            let edge = number - number % small;
            prop_assert_eq!(Divider::by(small).divide(edge), edge / small);
            prop_assert_eq!(Divider::by(small).divide(edge.saturating_sub(1)), edge.saturating_sub(1) / small);
        }

        #[test]
        fn intervals_agree_with_the_grid(
            starts in proptest::collection::vec(0u64..2_000, 1..80),
            from in 0u64..1_500,
            length in 0u64..800,
            step in 1u64..300,
        ) {
            let grid = Grid::range(from, from + length, step, None);
            let expected: Vec<_> = starts.iter().filter_map(|&start| grid.interval_of(start)).collect();
            let Some(reach) = Reach::of(grid, &starts) else {
                prop_assert!(expected.is_empty());
                return Ok(());
            };
            let inside = reach.inside(grid, &starts);
            prop_assert_eq!(reach.is_whole, inside.count() == starts.len());
            let rows = Rows::of(&inside);
            let mut found = vec![0; rows.len()];
            reach.write_intervals(&rows, &starts, 0, &mut found);
            let found: Vec<_> = found.iter().map(|&at| reach.first + at as usize).collect();
            prop_assert!(found.iter().all(|&interval| interval < reach.first + reach.width));
            prop_assert_eq!(found, expected);
        }
    }
}
