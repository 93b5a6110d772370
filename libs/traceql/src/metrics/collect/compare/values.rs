//! Counts how often each value of an attribute occurs on both sides.

use std::cmp::Ordering;

use tactus_work::Held;

use crate::eval::value::Value;
use crate::metrics::collect::cells::{Cell, Joining};
use crate::metrics::collect::labels::{Labels, label};
use crate::metrics::collect::series::Points;
use crate::metrics::{ComparedSide, Exemplar, LabelValue, PartialSeries, SeriesKey};

/// Estimated bytes of an attribute with the tables for its first value, and of the count of a value in an interval.
const ATTRIBUTE_BYTES: usize = 1_024;
const POINT_BYTES: usize = 36;

/// If a side has more spans than this, a single one does not matter.
const MANY_SPANS: f64 = 10_000.0;

const SIDES: [ComparedSide; 2] = [ComparedSide::Baseline, ComparedSide::Selection];

/// The counts of an attribute.
#[derive(Debug)]
pub(super) struct ValueCounts {
    name: Box<str>,
    labels: Labels,
    /// For each label number: the counts of both sides.
    values: Vec<[Points; 2]>,
    totals: [Points; 2],
    /// The sums over all intervals, by side.
    sums: [f64; 2],
    /// Bytes of the counts. Labels count their own.
    bytes: usize,
    /// True if rare values were dropped. Then a new value that occurs in a single span among many is not added.
    has_rare_values: bool,
}

impl ValueCounts {
    /// Without counts.
    pub(super) fn new(name: Box<str>) -> Self {
        Self {
            name,
            labels: Labels::default(),
            values: Vec::new(),
            totals: Default::default(),
            sums: [0.0; 2],
            bytes: ATTRIBUTE_BYTES,
            has_rare_values: false,
        }
    }

    /// Bytes of the counts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the counts and of the values.
    pub(super) fn all_bytes(&self) -> usize {
        self.bytes + self.labels.heap_bytes()
    }

    /// Takes the memory of the values, which counts as used until it is dropped.
    pub(super) fn take_held(&mut self) -> Held {
        self.labels.take_held()
    }

    /// Counts spans that have the attribute, each once.
    pub(super) fn add_total(&mut self, counts: &[Vec<(u32, Cell)>; 2]) {
        for (side, counts) in counts.iter().enumerate() {
            self.bytes += self.totals[side].join(Joining::Count, counts) * POINT_BYTES;
            self.sums[side] += counts.iter().map(|(_, cell)| cell.value).sum::<f64>();
        }
    }

    /// Counts spans with this value, after they were counted in the total.
    pub(super) fn add_value(&mut self, value: Value<'_>, counts: &[Vec<(u32, Cell)>; 2]) {
        let place = match self.labels.find(value) {
            Some(place) => place as usize,
            None if self.has_rare_values && self.is_one_of_many(counts) => return,
            None => self.labels.number(label(value)) as usize,
        };
        if place >= self.values.len() {
            if place == 0 {
                // Most of very many attributes have one value.
                self.values.reserve_exact(1);
            }
            self.values.resize_with(place + 1, Default::default);
            self.bytes += size_of::<[Points; 2]>();
        }
        let points = self.values[place].iter_mut().zip(counts);
        let new: usize = points.map(|(points, counts)| points.join(Joining::Count, counts)).sum();
        self.bytes += new * POINT_BYTES;
    }

    /// True for the count of a single span on a side with so many spans that it does not matter.
    fn is_one_of_many(&self, counts: &[Vec<(u32, Cell)>; 2]) -> bool {
        let mut cells = (0..).zip(counts).flat_map(|(side, counts): (usize, _)| {
            counts.iter().map(move |(_, cell)| (side, cell.value))
        });
        let is_nothing = |(side, value): (usize, f64)| value <= 1.0 && self.sums[side] > MANY_SPANS;
        cells.next().is_none_or(is_nothing) && cells.next().is_none()
    }

    /// Keeps the most frequent values that fit into `most_bytes`, and in any case `least_values` of them.
    pub(super) fn forget_rare_values(&mut self, most_bytes: usize, least_values: usize) {
        // If one side has few spans, its most frequent value may be rare overall.
        let share = |[one, other]: &[Points; 2]| {
            (one.total() / self.sums[0].max(1.0)).max(other.total() / self.sums[1].max(1.0))
        };
        let shares: Vec<f64> = self.values.iter().map(share).collect();
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by(|&one, &other| shares[other].total_cmp(&shares[one]));
        let mut kept = Self::new(std::mem::take(&mut self.name));
        (kept.totals, kept.sums) = (std::mem::take(&mut self.totals), self.sums);
        kept.bytes += kept.totals.iter().map(Points::len).sum::<usize>() * POINT_BYTES;
        for place in order {
            if kept.values.len() >= least_values && kept.all_bytes() >= most_bytes {
                break;
            }
            kept.labels.number(self.labels.value(place as u32).clone());
            if kept.labels.len() == kept.values.len() {
                // No memory is left, so the result is discarded.
                break;
            }
            let points = std::mem::take(&mut self.values[place]);
            let count: usize = points.iter().map(Points::len).sum();
            kept.bytes += size_of::<[Points; 2]>() + count * POINT_BYTES;
            kept.values.push(points);
        }
        kept.has_rare_values = true;
        *self = kept;
    }

    /// The series: for each side the total, with exemplars, and up to `most` values. `scale`: how many spans each
    /// counted span represents.
    pub(super) fn finish(
        mut self,
        leaf: u32,
        most: usize,
        scale: f64,
        of_totals: [Vec<Exemplar>; 2],
        finished: &mut Vec<PartialSeries>,
    ) {
        for ((index, side), of_total) in SIDES.into_iter().enumerate().zip(of_totals) {
            let mut push = |value, points: &mut Points, exemplars| {
                let points = std::mem::take(points).finish(Joining::Count, scale, 1.0);
                if !points.is_empty() {
                    let key = SeriesKey::Compared { side, attribute: self.name.clone(), value };
                    finished.push(PartialSeries { leaf, key, points, exemplars });
                }
            };
            push(None, &mut self.totals[index], of_total);
            let totals: Vec<f64> = self.values.iter().map(|sides| sides[index].total()).collect();
            let mut order: Vec<usize> = (0..totals.len()).collect();
            order.retain(|&place| totals[place] > 0.0);
            if order.len() > most {
                let value = |place: usize| self.labels.value(place as u32);
                order.sort_by(|&one, &other| {
                    let by_total = totals[other].total_cmp(&totals[one]);
                    by_total.then_with(|| by_text(value(one), value(other)))
                });
                order.truncate(most);
            }
            for place in order {
                let value = Some(self.labels.value(place as u32).clone());
                push(value, &mut self.values[place][index], Vec::new());
            }
        }
    }
}

/// The order in which the answer shows values that are equally frequent.
fn by_text(one: &LabelValue, other: &LabelValue) -> Ordering {
    one.text().cmp(&other.text()).then_with(|| one.type_rank().cmp(&other.type_rank()))
}

#[cfg(test)]
mod tests {
    use tactus_work::memory::{Budget, QueryMemory};
    use tactus_work::{Over, Work};

    use super::*;

    /// The values are copied when the rare ones are forgotten, for which there may be no memory.
    #[test]
    fn values_for_which_no_memory_is_left_are_left_out() {
        let run = |bytes: u64| {
            let memory = QueryMemory::within(&Budget::new(bytes));
            Work::default().holding(&memory, 7, 1).run(|| {
                let mut values = ValueCounts::new("name".into());
                for number in 0..30_000 {
                    let one = vec![(0, Cell { value: 1.0, rest: 0.0, weight: 1.0 })];
                    let counts = [one, Vec::new()];
                    values.add_total(&counts);
                    values.add_value(Value::Int(number), &counts);
                }
                values.forget_rare_values(1 << 30, 1);
                let mut finished = Vec::new();
                values.finish(0, 1_000, 1.0, Default::default(), &mut finished);
                finished.len()
            })
        };
        assert_eq!(run(64 << 20), Ok(1_001));
        let mut ends: Vec<_> = (1..16).map(|part| run(part << 19)).collect();
        ends.dedup_by_key(|end| end.map_err(|over| matches!(over, Over::TooLarge { .. })));
        assert!(matches!(ends[..], [Err(Over::TooLarge { .. }), Ok(1_001)]), "{ends:?}");
    }
}
