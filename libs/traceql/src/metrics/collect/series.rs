//! The series of one function over all batches.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::cells::{Cell, Joining};
use crate::metrics::Point;
use tactus_work::Held;

/// Estimated bytes of a series without its points: its key twice, its entry in the index and the lists of points.
const SERIES_BYTES: usize = 240;
/// Bytes of a point here and in the result.
const POINT_BYTES: usize = 12 + size_of::<Point>();

/// At the end the series exist twice: here, and in the message that is sent.
const SENT_TWICE: usize = 2;

/// The number of a series.
pub(super) type SeriesNumber = u32;

/// Series by key. A key has the numbers of the label values, and the bucket last.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    index: HashMap<Box<[u32]>, SeriesNumber, RandomState>,
    points: Vec<Points>,
    bytes: usize,
    held: Held,
}

impl SeriesTable {
    /// The number of the series with a key, which is added if it is new. Once no memory is left, any number is
    /// returned, because the result will be discarded.
    pub(super) fn number(&mut self, key: &[u32]) -> SeriesNumber {
        if let Some(&number) = self.index.get(key) {
            return number;
        }
        let number = self.points.len() as SeriesNumber;
        let bytes = self.bytes + SERIES_BYTES + 8 * key.len();
        if !self.held.grow_to(bytes * SENT_TWICE) && number > 0 {
            return 0;
        }
        self.bytes = bytes;
        self.index.insert(key.into(), number);
        self.points.push(Points::default());
        number
    }

    /// The number of the series with a key.
    pub(super) fn find(&self, key: &[u32]) -> Option<SeriesNumber> {
        self.index.get(key).copied()
    }

    /// Adds points to a series; ascending by interval.
    pub(super) fn add(&mut self, number: SeriesNumber, joining: Joining, added: &[(u32, Cell)]) {
        if !self.held.grow_to((self.bytes + POINT_BYTES * added.len()) * SENT_TWICE) {
            return;
        }
        self.bytes += POINT_BYTES * self.points[number as usize].join(joining, added);
    }

    /// Its memory, which counts until this is dropped.
    pub(super) fn take_held(&mut self) -> Held {
        std::mem::take(&mut self.held)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// All series in no particular order, with key, number and points.
    pub(super) fn into_series(
        mut self,
    ) -> impl Iterator<Item = (Box<[u32]>, SeriesNumber, Points)> {
        self.index.into_iter().map(move |(key, number)| {
            (key, number, std::mem::take(&mut self.points[number as usize]))
        })
    }
}

/// The points of one series, ascending by interval.
#[derive(Debug, Default)]
pub(super) struct Points {
    intervals: Vec<u32>,
    values: Vec<f64>,
    /// Of sums and means; else empty.
    rests: Vec<f64>,
    /// Of means; else empty.
    weights: Vec<f64>,
}

impl Points {
    /// Combines points in ascending order of interval. Returns how many are new.
    pub(super) fn join(&mut self, joining: Joining, added: &[(u32, Cell)]) -> usize {
        let Some(&(first, _)) = added.first() else { return 0 };
        let before = self.intervals.len();
        if self.intervals.last().is_none_or(|&last| last < first) {
            self.reserve(joining, added.len());
            added.iter().for_each(|&(interval, cell)| self.push(joining, interval, cell));
            return added.len();
        }
        if self.holds_all(added) {
            let mut place = self.intervals.partition_point(|&interval| interval < first);
            for &(interval, cell) in added {
                while self.intervals[place] < interval {
                    place += 1;
                }
                let mut known = self.cell(place);
                known.join(joining, cell);
                self.set(place, known);
            }
            return 0;
        }
        let old = std::mem::take(self);
        self.reserve(joining, before + added.len());
        let mut place = 0;
        for &(interval, cell) in added {
            while old.intervals.get(place).is_some_and(|&known| known < interval) {
                self.push(joining, old.intervals[place], old.cell(place));
                place += 1;
            }
            if old.intervals.get(place) == Some(&interval) {
                let mut known = old.cell(place);
                known.join(joining, cell);
                self.push(joining, interval, known);
                place += 1;
            } else {
                self.push(joining, interval, cell);
            }
        }
        for rest in place..old.intervals.len() {
            self.push(joining, old.intervals[rest], old.cell(rest));
        }
        self.intervals.len() - before
    }

    fn holds_all(&self, added: &[(u32, Cell)]) -> bool {
        let mut known = self.intervals.iter();
        added.iter().all(|(interval, _)| known.find(|&known| known >= interval) == Some(interval))
    }

    fn cell(&self, place: usize) -> Cell {
        Cell {
            value: self.values[place],
            rest: self.rests.get(place).copied().unwrap_or(0.0),
            weight: self.weights.get(place).copied().unwrap_or(1.0),
        }
    }

    fn set(&mut self, place: usize, cell: Cell) {
        self.values[place] = cell.value;
        if let Some(rest) = self.rests.get_mut(place) {
            *rest = cell.rest;
        }
        if let Some(weight) = self.weights.get_mut(place) {
            *weight = cell.weight;
        }
    }

    /// Reserves capacity for points. Most series get points from one batch after another, many at a time.
    fn reserve(&mut self, joining: Joining, points: usize) {
        self.intervals.reserve(points);
        self.values.reserve(points);
        if matches!(joining, Joining::Sum | Joining::Mean) {
            self.rests.reserve(points);
        }
        if joining == Joining::Mean {
            self.weights.reserve(points);
        }
    }

    fn push(&mut self, joining: Joining, interval: u32, cell: Cell) {
        self.intervals.push(interval);
        self.values.push(cell.value);
        if matches!(joining, Joining::Sum | Joining::Mean) {
            self.rests.push(cell.rest);
        }
        if joining == Joining::Mean {
            self.weights.push(cell.weight);
        }
    }

    /// Number of points.
    pub(super) fn len(&self) -> usize {
        self.intervals.len()
    }

    /// Sum of all values.
    pub(super) fn total(&self) -> f64 {
        self.values.iter().sum()
    }

    /// The points to send. `scale`: how many spans each span represents. `unit`: values are divided by it.
    pub(super) fn finish(self, joining: Joining, scale: f64, unit: f64) -> Vec<Point> {
        let point = |place: usize| {
            let cell = self.cell(place);
            let (value, weight) = match joining {
                Joining::Count | Joining::Sum => ((cell.value + cell.rest) * scale / unit, 1.0),
                Joining::Min | Joining::Max => (cell.value / unit, 1.0),
                Joining::Mean => {
                    ((cell.value + cell.rest) / cell.weight / unit, cell.weight * scale)
                }
            };
            Point { interval: self.intervals[place], value, weight }
        };
        (0..self.intervals.len()).map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn joined_points_agree_with_a_map(
            batches in proptest::collection::vec(
                proptest::collection::btree_map(0u32..20, 1u32..9, 0..8), 0..6,
            ),
        ) {
            let mut points = Points::default();
            let mut expected: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
            let mut added = 0;
            for batch in &batches {
                let cells: Vec<_> = batch
                    .iter()
                    .map(|(&interval, &value)| (interval, Cell::of(f64::from(value), 2.0)))
                    .collect();
                added += points.join(Joining::Mean, &cells);
                for (&interval, &value) in batch {
                    let entry = expected.entry(interval).or_default();
                    *entry = (entry.0 + f64::from(value), entry.1 + 2.0);
                }
            }
            prop_assert_eq!(added, expected.len());
            let finished = points.finish(Joining::Mean, 1.0, 1.0);
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(interval, (sum, weight))| Point { interval, value: sum / weight, weight })
                .collect();
            prop_assert_eq!(finished, expected);
        }
    }
}
