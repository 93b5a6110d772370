//! The measured values of spans.

use super::labels::is_scanned;
use super::rows::Rows;
use crate::Attribute;
use crate::eval::operand::{Operand, Place, Source, Table, span_duration};
use crate::eval::scan::for_each_first;
use crate::eval::value::Value;
use crate::eval::view::BatchView;

/// Nanoseconds of a second.
pub(super) const SECOND: f64 = 1e9;

/// Values up to 2 to this power, and above the one below; 0 for values that are in no bucket.
#[inline]
pub(super) fn bucket(value: i64) -> u8 {
    if value < 2 { 0 } else { (64 - (value as u64 - 1).leading_zeros()) as u8 }
}

/// The bucket of a value; 0 for none.
fn bucket_of(value: Value<'_>) -> u8 {
    match value {
        Value::Int(value) | Value::Duration(value) => bucket(value),
        _ => 0,
    }
}

/// The number of a value, durations in nanoseconds; NaN for none.
pub(super) fn number_of(value: Value<'_>) -> f64 {
    match value {
        Value::Int(value) | Value::Duration(value) => value as f64,
        Value::Float(value) => value,
        _ => f64::NAN,
    }
}

/// The rows that are in a bucket, and the bucket of each.
pub(super) fn buckets(attribute: &Attribute, rows: Rows, view: &BatchView<'_>) -> (Rows, Vec<u8>) {
    let of_duration = |stored| bucket(span_duration(stored));
    let all = column(attribute, &rows, view, 0, of_duration, bucket_of);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_the_next_powers_of_two() {
        let powers: Vec<u8> =
            [i64::MIN, -5, 0, 1, 2, 3, 4, 1000, 1024, 1025, i64::MAX].map(bucket).into();
        assert_eq!(powers, [0, 0, 0, 0, 1, 2, 2, 10, 10, 11, 63]);
        assert_eq!(bucket_of(Value::Float(8.0)), 0);
    }
}
