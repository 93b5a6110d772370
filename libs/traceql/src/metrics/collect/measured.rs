//! Adds measured values to their series.

use super::cells::{Cell, Joining, Slots};
use super::labels::SeriesColumn;
use super::measure::{self, SECOND};
use super::rows::Rows;
use super::series::SeriesTable;
use super::{Offer, sample};
use crate::eval::operand::{Operand, Place};
use crate::eval::view::BatchView;
use crate::metrics::buckets::Buckets;
use crate::metrics::compile::{CompiledMetrics, is_duration};
use crate::{Attribute, Intrinsic, MetricsFunction};

/// Collected values are divided by this: durations of spans are shown in seconds, all others as they are.
pub(super) fn unit(function: &MetricsFunction) -> f64 {
    let is_span_duration = function.attribute() == Some(&Attribute::Intrinsic(Intrinsic::Duration));
    match function.joining() {
        Joining::Count => 1.0,
        _ if is_span_duration => SECOND,
        _ => 1.0,
    }
}

/// The rows that have the measured value, and the values.
pub(super) struct Measured {
    pub(super) rows: Rows,
    values: Values,
}

enum Values {
    /// Nothing is measured.
    None,
    Numbers(Vec<f64>),
    /// Numbers of buckets, and how many buckets there are.
    Buckets(Vec<u8>, usize),
}

impl Measured {
    pub(super) fn of(
        function: &MetricsFunction,
        by_size: Buckets,
        rows: Rows,
        view: &BatchView<'_>,
    ) -> Self {
        let Some(attribute) = function.attribute() else {
            return Self { rows, values: Values::None };
        };
        if function.has_buckets() {
            let (rows, buckets) = measure::buckets(attribute, by_size, rows, view);
            return Self { rows, values: Values::Buckets(buckets, by_size.count()) };
        }
        let (rows, numbers) = measure::numbers(attribute, rows, view);
        Self { rows, values: Values::Numbers(numbers) }
    }

    /// Adds the rows to their series.
    pub(super) fn add_up(
        &self,
        query: &CompiledMetrics,
        joining: Joining,
        columns: &SeriesColumn,
        offer: &Offer<'_>,
        table: &mut SeriesTable,
    ) {
        let width = offer.reach.width;
        let buckets = match &self.values {
            Values::Buckets(buckets, count) => Some((buckets.as_slice(), *count)),
            _ => None,
        };
        let slots = Slots {
            series: columns.codes.as_deref(),
            series_count: columns.keys.len(),
            places: |first: usize, out: &mut [u32]| {
                offer.reach.write_intervals(&self.rows, offer.starts, first, out);
                if let Some((buckets, _)) = buckets {
                    for (place, &bucket) in out.iter_mut().zip(&buckets[first..]) {
                        *place += u32::from(bucket) * width as u32;
                    }
                }
            },
            place_count: width * buckets.map_or(1, |(_, count)| count),
            rows: self.rows.len(),
        };
        let is_extreme = matches!(joining, Joining::Min | Joining::Max);
        let weights = query
            .weighing
            .filter(|_| !is_extreme)
            .map(|by| sample::weights(by, &self.rows, offer.view));
        let weight = |row: usize| weights.as_ref().map_or(1.0, |weights| weights[row]);
        let mut sink = Sink { offer, columns, joining, table, open: None, points: Vec::new() };
        match &self.values {
            Values::Numbers(numbers) => {
                let cell = |row: usize| match weight(row) {
                    weight if is_extreme => Cell::of(numbers[row], weight),
                    weight => Cell::of(numbers[row] * weight, weight),
                };
                slots.join(joining, cell, |series, place, cell| sink.take(series, place, cell));
            }
            _ if weights.is_some() => {
                let cell = |row: usize| Cell::of(weight(row), 1.0);
                slots.join(joining, cell, |series, place, cell| sink.take(series, place, cell));
            }
            _ => slots.count(|series, place, count| {
                sink.take(series, place, Cell::of(count as f64, 1.0));
            }),
        }
        sink.close();
    }

    /// The key of the series of a row.
    pub(super) fn key(&self, columns: &SeriesColumn, place: usize) -> Vec<u32> {
        let series = columns.codes.as_ref().map_or(0, |codes| codes[place]);
        let mut key = columns.keys[series as usize].clone();
        key.push(match &self.values {
            Values::Buckets(buckets, _) => u32::from(buckets[place]),
            _ => 0,
        });
        key
    }

    /// The value that an exemplar carries.
    pub(super) fn shown_value(
        &self,
        function: &MetricsFunction,
        place: usize,
        view: &BatchView<'_>,
    ) -> Option<f64> {
        match (&self.values, function) {
            (Values::Numbers(numbers), _) => Some(numbers[place] / unit(function)),
            (_, MetricsFunction::QuantileOverTime { attribute, .. }) => {
                let value =
                    Operand::bind(attribute, view).value(Place::of_span(self.rows.at(place)));
                let unit = if is_duration(attribute) { SECOND } else { 1.0 };
                Some(measure::number_of(value) / unit)
            }
            _ => None,
        }
    }
}

/// Receives cells in ascending order of series and place, and adds them to the series of all batches.
struct Sink<'a> {
    offer: &'a Offer<'a>,
    columns: &'a SeriesColumn,
    joining: Joining,
    table: &'a mut SeriesTable,
    /// Series and bucket of `points`.
    open: Option<(u32, u32)>,
    points: Vec<(u32, Cell)>,
}

impl Sink<'_> {
    fn take(&mut self, series: u32, place: u32, cell: Cell) {
        let reach = &self.offer.reach;
        let (bucket, interval) = (place / reach.width as u32, place % reach.width as u32);
        if self.open != Some((series, bucket)) {
            self.close();
            self.open = Some((series, bucket));
        }
        self.points.push((reach.first as u32 + interval, cell));
    }

    fn close(&mut self) {
        let Some((series, bucket)) = self.open.take() else { return };
        let mut key = self.columns.keys[series as usize].clone();
        key.push(bucket);
        let number = self.table.number(&key);
        self.table.add(number, self.joining, &self.points);
        self.points.clear();
    }
}
