//! The message that metrics are answered with, in pieces: it may be very large.

use std::iter::once;

use serde_json::json;
use tactus_api::Result;

use super::call::unwritten;
use crate::jaeger::{Measure, PerformanceSeries};

/// Points of a piece: some twenty kilobytes.
const PIECE_POINTS: usize = 256;

/// The pieces of the message with these series.
pub(super) fn pieces(
    measure: Measure,
    by_operation: bool,
    series: Vec<PerformanceSeries>,
) -> impl Iterator<Item = Result<Vec<u8>>> + Send + 'static {
    let (what, help) = match measure {
        Measure::Latencies { quantile } => {
            ("latencies", format!("{quantile:.2}th quantile latency"))
        }
        Measure::Calls => ("call_rate", "calls/sec".to_owned()),
        Measure::Errors => (
            "error_rate",
            "error rate, computed as a fraction of errors/sec over calls/sec".to_owned(),
        ),
    };
    let (prefix, groups) = match by_operation {
        true => ("service_operation", "service & operation"),
        false => ("service", "service"),
    };
    let begin = format!(
        r#"{{"name":"{prefix}_{what}","type":"GAUGE","help":"{help}, grouped by {groups}","metrics":["#
    );
    let series = series.into_iter().enumerate();
    let series = series.flat_map(|(number, series)| {
        let comma = (number > 0).then(|| Ok(b",".to_vec()));
        comma.into_iter().chain(pieces_of_series(series))
    });
    once(Ok(begin.into_bytes())).chain(series).chain(once(Ok(b"]}".to_vec())))
}

fn pieces_of_series(series: PerformanceSeries) -> impl Iterator<Item = Result<Vec<u8>>> + Send {
    let service = json!({ "name": "service_name", "value": series.service });
    let operation = series.operation.as_ref();
    let operation = operation.map(|value| json!({ "name": "operation", "value": value }));
    let labels = serde_json::Value::from_iter(once(service).chain(operation));
    let begin = format!(r#"{{"labels":{labels},"metricPoints":["#);
    let mut points = series.points().enumerate();
    let points = std::iter::from_fn(move || {
        let mut piece = Vec::new();
        for (number, point) in points.by_ref().take(PIECE_POINTS) {
            if number > 0 {
                piece.push(b',');
            }
            if let Err(error) = write_point(point, &mut piece) {
                return Some(Err(unwritten(error)));
            }
        }
        (!piece.is_empty()).then_some(Ok(piece))
    });
    once(Ok(begin.into_bytes())).chain(points).chain(once(Ok(b"]}".to_vec())))
}

fn write_point((millis, value): (i64, f64), json: &mut Vec<u8>) -> serde_json::Result<()> {
    json.extend_from_slice(br#"{"gaugeValue":{"doubleValue":"#);
    match value.is_finite() {
        true => serde_json::to_writer(&mut *json, &value)?,
        // A text: JSON has no number for it.
        false => json.extend_from_slice(br#""NaN""#),
    }
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    json.extend_from_slice(format!(r#"}},"timestamp":"{time}"}}"#).as_bytes());
    Ok(())
}
