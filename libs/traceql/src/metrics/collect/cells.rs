//! Adds up values by series and interval.

use crate::MetricsFunction;

/// How two values of the same series and interval are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metrics) enum Joining {
    Count,
    Min,
    Max,
    Sum,
    /// A sum, divided by its weight in the end.
    Mean,
}

impl MetricsFunction {
    pub(in crate::metrics) fn joining(&self) -> Joining {
        match self {
            MetricsFunction::MinOverTime(_) => Joining::Min,
            MetricsFunction::MaxOverTime(_) => Joining::Max,
            MetricsFunction::SumOverTime(_) => Joining::Sum,
            MetricsFunction::AvgOverTime(_) => Joining::Mean,
            MetricsFunction::Rate
            | MetricsFunction::CountOverTime
            | MetricsFunction::HistogramOverTime(_)
            | MetricsFunction::QuantileOverTime { .. } => Joining::Count,
        }
    }
}

/// The value of one series and interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cell {
    /// Without `rest`, of a sum: see there.
    pub(super) value: f64,
    /// What rounding took from a sum.
    pub(super) rest: f64,
    /// How many spans it represents, each with its own weight. 0: there is no value.
    pub(super) weight: f64,
}

impl Cell {
    /// The cell of one span.
    #[inline]
    pub(super) fn of(value: f64, weight: f64) -> Self {
        Self { value, rest: 0.0, weight }
    }

    #[inline(always)]
    pub(super) fn join(&mut self, joining: Joining, other: Cell) {
        if self.weight == 0.0 {
            *self = other;
            return;
        }
        self.weight += other.weight;
        match joining {
            Joining::Count => self.value += other.value,
            Joining::Min => self.value = self.value.min(other.value),
            Joining::Max => self.value = self.value.max(other.value),
            Joining::Sum | Joining::Mean => {
                let sum = self.value + other.value;
                // Neumaier's summation; infinities have no rest.
                if sum.is_finite() {
                    self.rest += if self.value.abs() >= other.value.abs() {
                        (self.value - sum) + other.value
                    } else {
                        (other.value - sum) + self.value
                    };
                }
                self.value = sum;
                self.rest += other.rest;
            }
        }
    }
}

/// Where the values of rows are added up.
pub(super) struct Slots<'a, P> {
    /// The series number of each row; `None`: all rows belong to series 0.
    pub(super) series: Option<&'a [u32]>,
    /// All numbers of series are below this.
    pub(super) series_count: usize,
    /// Writes the interval of consecutive rows within their series: `places(first row, out)`.
    pub(super) places: P,
    /// All places are below this.
    pub(super) place_count: usize,
    pub(super) rows: usize,
}

/// Rows that are processed at a time, so that intermediate results stay in the processor's cache.
const CHUNK: usize = 1024;
/// Up to this many slots are stored as an array, however few rows there are.
const DENSE_SLOTS: u64 = 1 << 16;
/// More slots are stored as an array only if there are at most this many per row.
const DENSE_SLOTS_PER_ROW: u64 = 4;
/// Up to this many slots have several counters each, so that neighbouring rows that count in the same slot do not wait
/// for each other.
const BANKED_SLOTS: usize = 1 << 10;
const BANKS: usize = 4;

impl<P: Fn(usize, &mut [u32])> Slots<'_, P> {
    fn total(&self) -> u64 {
        self.series_count as u64 * self.place_count as u64
    }

    fn is_dense(&self) -> bool {
        let most = DENSE_SLOTS.max(self.rows as u64 * DENSE_SLOTS_PER_ROW);
        self.total() <= most.min(u64::from(u32::MAX))
    }

    /// Counts rows. Calls `emit(series, place, count)` for every slot with rows, in ascending order.
    pub(super) fn count(&self, mut emit: impl FnMut(u32, u32, u64)) {
        if self.total() == 1 {
            return emit(0, 0, self.rows as u64);
        }
        if !self.is_dense() {
            let mut keys = Vec::with_capacity(self.rows);
            self.for_each_key(|_, key| keys.push(key));
            keys.sort_unstable();
            for equal in keys.chunk_by(|one, other| one == other) {
                emit((equal[0] >> 32) as u32, equal[0] as u32, equal.len() as u64);
            }
            return;
        }
        let counts = self.count_dense();
        for (series, counts) in counts.chunks_exact(self.place_count).enumerate() {
            for (place, &count) in counts.iter().enumerate() {
                if count > 0 {
                    emit(series as u32, place as u32, u64::from(count));
                }
            }
        }
    }

    /// Counts by slot. A batch has less than 2^32 rows.
    fn count_dense(&self) -> Vec<u32> {
        let slots = self.total() as usize;
        if slots > BANKED_SLOTS {
            let mut counts = vec![0u32; slots];
            self.for_each_chunk(|_, chunk| {
                chunk.iter().for_each(|&slot| counts[slot as usize] += 1);
            });
            return counts;
        }
        let mut banks = vec![[0u32; BANKS]; slots];
        self.for_each_chunk(|_, chunk| {
            for few in chunk.chunks(BANKS) {
                for (bank, &slot) in few.iter().enumerate() {
                    banks[slot as usize][bank] += 1;
                }
            }
        });
        banks.iter().map(|counts| counts.iter().sum()).collect()
    }

    /// Combines the cells of rows. Calls `emit(series, place, cell)` for every slot with rows, in ascending order.
    pub(super) fn join(
        &self,
        joining: Joining,
        cell_of: impl Fn(usize) -> Cell,
        mut emit: impl FnMut(u32, u32, Cell),
    ) {
        if self.is_dense() {
            // One loop for each way of joining, so that the loop does not have to ask.
            let cells = match joining {
                Joining::Count => {
                    self.join_dense(|cell, row| cell.join(Joining::Count, cell_of(row)))
                }
                Joining::Min => self.join_dense(|cell, row| cell.join(Joining::Min, cell_of(row))),
                Joining::Max => self.join_dense(|cell, row| cell.join(Joining::Max, cell_of(row))),
                Joining::Sum | Joining::Mean => {
                    self.join_dense(|cell, row| cell.join(Joining::Sum, cell_of(row)))
                }
            };
            for (series, cells) in cells.chunks_exact(self.place_count).enumerate() {
                for (place, &cell) in cells.iter().enumerate() {
                    if cell.weight > 0.0 {
                        emit(series as u32, place as u32, cell);
                    }
                }
            }
            return;
        }
        let mut keys: Vec<(u64, u32)> = Vec::with_capacity(self.rows);
        self.for_each_key(|row, key| keys.push((key, row as u32)));
        keys.sort_unstable();
        for equal in keys.chunk_by(|one, other| one.0 == other.0) {
            let mut cell = Cell::default();
            for &(_, row) in equal {
                cell.join(joining, cell_of(row as usize));
            }
            if cell.weight > 0.0 {
                emit((equal[0].0 >> 32) as u32, equal[0].0 as u32, cell);
            }
        }
    }

    #[inline]
    fn join_dense(&self, join: impl Fn(&mut Cell, usize)) -> Vec<Cell> {
        let mut cells = vec![Cell::default(); self.total() as usize];
        self.for_each_chunk(|first, chunk| {
            for (row, &slot) in chunk.iter().enumerate() {
                join(&mut cells[slot as usize], first + row);
            }
        });
        cells
    }

    /// Calls `visit(first row, slots)` for consecutive rows. Use it only if slots are stored as an array.
    #[inline]
    fn for_each_chunk(&self, mut visit: impl FnMut(usize, &[u32])) {
        let width = self.place_count as u32;
        let mut buffer = [0u32; CHUNK];
        for first in (0..self.rows).step_by(CHUNK) {
            let chunk = &mut buffer[..CHUNK.min(self.rows - first)];
            (self.places)(first, chunk);
            if let Some(series) = self.series {
                for (slot, &series) in chunk.iter_mut().zip(&series[first..]) {
                    *slot += series * width;
                }
            }
            visit(first, chunk);
        }
    }

    /// Calls `visit(row, key)` for every row. Keys order slots by series and place.
    fn for_each_key(&self, mut visit: impl FnMut(usize, u64)) {
        let mut buffer = [0u32; CHUNK];
        for first in (0..self.rows).step_by(CHUNK) {
            let chunk = &mut buffer[..CHUNK.min(self.rows - first)];
            (self.places)(first, chunk);
            for (row, &place) in (first..).zip(chunk.iter()) {
                let series = self.series.map_or(0, |series| series[row]);
                visit(row, u64::from(series) << 32 | u64::from(place));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn counts_and_sums_agree_with_a_map(
            rows in proptest::collection::vec((0u32..5, 0u32..7, -9i32..9), 0..3000),
            is_sparse in any::<bool>(),
        ) {
            // A slot far away makes the slots too many to be stored as an array.
            let far = if is_sparse { 1 << 20 } else { 0 };
            let series: Vec<u32> = rows.iter().map(|row| row.0 + far).collect();
            let places: Vec<u32> = rows.iter().map(|row| row.1).collect();
            let slots = Slots {
                series: Some(&series),
                series_count: 5 + far as usize,
                places: |first: usize, out: &mut [u32]| {
                    out.copy_from_slice(&places[first..first + out.len()]);
                },
                place_count: 7,
                rows: rows.len(),
            };
            prop_assert_eq!(slots.is_dense(), !is_sparse);
            let mut expected: BTreeMap<(u32, u32), (u64, f64)> = BTreeMap::new();
            for (row, &series) in rows.iter().zip(&series) {
                let entry = expected.entry((series, row.1)).or_default();
                entry.0 += 1;
                entry.1 += f64::from(row.2);
            }
            let mut counted = Vec::new();
            slots.count(|series, place, count| counted.push(((series, place), count)));
            let counts: Vec<_> = expected.iter().map(|(key, value)| (*key, value.0)).collect();
            prop_assert_eq!(counted, counts);
            let mut summed = Vec::new();
            let cell = |row: usize| Cell::of(f64::from(rows[row].2), 1.0);
            slots.join(Joining::Sum, cell, |series, place, cell| {
                summed.push(((series, place), (cell.weight as u64, cell.value + cell.rest)));
            });
            prop_assert_eq!(summed, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn sum_keeps_what_rounding_takes() {
        let mut cell = Cell::of(1.0, 1.0);
        for value in [1e100, 1.0, -1e100] {
            cell.join(Joining::Sum, Cell::of(value, 1.0));
        }
        assert_eq!(cell.value + cell.rest, 2.0);
        let mut cell = Cell::of(f64::INFINITY, 1.0);
        cell.join(Joining::Sum, Cell::of(1.0, 1.0));
        assert_eq!(cell.value + cell.rest, f64::INFINITY);
    }
}
