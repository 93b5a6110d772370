//! Estimates the memory that the series of a job take.

use tactus_proto::tactus::v1::MetricsSeries;

/// Bytes of a series on its way, and of a label and a point of it, as a message and beside it.
const SERIES_BYTES: usize = 256;
const LABEL_BYTES: usize = 64;
const POINT_BYTES: usize = 24;

/// About what series take as messages, and beside them.
pub(crate) fn series_bytes(series: &[MetricsSeries]) -> usize {
    let points: usize = series.iter().map(|series| series.intervals.len()).sum();
    let labels: usize = series.iter().map(|series| series.labels.len()).sum();
    series.len() * SERIES_BYTES + labels * LABEL_BYTES + points * POINT_BYTES
}
