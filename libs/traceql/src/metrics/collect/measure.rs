//! The measured values of spans.

use super::labels::is_scanned;
use super::rows::Rows;
use crate::Attribute;
use crate::eval::operand::{Operand, Place, Source, Table, span_duration};
use crate::eval::scan::for_each_first;
use crate::eval::value::Value;
use crate::eval::view::BatchView;
use crate::metrics::buckets::Buckets;

/// Nanoseconds of a second.
pub(super) const SECOND: f64 = 1e9;

/// The bucket of a value; 0 for none.
fn bucket_of(value: Value<'_>, buckets: Buckets) -> u8 {
    match value {
        Value::Int(value) | Value::Duration(value) => buckets.of_value(value),
        _ => 0,
    }
}

/// The value as a number, durations in nanoseconds; NaN if it is not a number.
pub(super) fn number_of(value: Value<'_>) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// The rows that are in a bucket, and the bucket of each.
pub(super) fn buckets(
    attribute: &Attribute,
    by: Buckets,
    rows: Rows,
    view: &BatchView<'_>,
) -> (Rows, Vec<u8>) {
    let of_duration = |stored| by.of_value(span_duration(stored));
    let all = column(attribute, &rows, view, 0, of_duration, |value| bucket_of(value, by));
    if !all.contains(&0) {
        return (rows, all);
    }
    let rows = rows.retain(|place| all[place] > 0);
    (rows, all.into_iter().filter(|&bucket| bucket > 0).collect())
}

/// The rows that have a number, and the number of each; durations in nanoseconds.
pub(super) fn numbers(attribute: &Attribute, rows: Rows, view: &BatchView<'_>) -> (Rows, Vec<f64>) {
    let of_duration = |stored| span_duration(stored) as f64;
    let all = column(attribute, &rows, view, f64::NAN, of_duration, number_of);
    if !all.iter().any(|number| number.is_nan()) {
        return (rows, all);
    }
    let rows = rows.retain(|place| !all[place].is_nan());
    (rows, all.into_iter().filter(|number| !number.is_nan()).collect())
}

fn column<T: Copy>(
    attribute: &Attribute,
    rows: &Rows,
    view: &BatchView<'_>,
    nothing: T,
    of_duration: impl Fn(u64) -> T,
    of_value: impl Fn(Value<'_>) -> T,
) -> Vec<T> {
    let operand = Operand::bind(attribute, view);
    match (operand.table, &operand.source) {
        (_, Source::Nothing) => rows.map(|_| nothing),
        (Table::Span, Source::Durations(durations)) => rows.gather(durations, of_duration),
        (Table::Span, Source::Attributes { list, key })
            if !operand.is_of_parent() && is_scanned(list, rows) =>
        {
            let mut by_span = vec![nothing; view.spans()];
            for_each_first(list, *key, |span, entry| {
                if let Some(of_span) = by_span.get_mut(span) {
                    *of_span = of_value(Value::of_attribute(list.at(entry), &view.batch.strings));
                }
            });
            rows.gather(&by_span, |value| value)
        }
        _ => rows.map(|row| of_value(operand.value(Place::of_span(row)))),
    }
}
