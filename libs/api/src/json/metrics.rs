//! Responses of metrics queries as JSON.

use tactus_proto::otlp::KeyValue;
use tactus_proto::tempopb::{
    Exemplar, PartialStatus, QueryInstantResponse, QueryRangeResponse, SearchMetrics, TimeSeries,
};

use super::JsonWriter;
use super::search::{write_key_value, write_metrics};
use crate::explain::Explanation;

/// Writes the response to a range query. The list of series is there even if empty; `explanation` becomes one more
/// field at the end.
pub fn range_response(response: &QueryRangeResponse, explanation: Option<&Explanation>) -> Vec<u8> {
    let samples: usize = response.series.iter().map(|series| series.samples.len()).sum();
    let mut json = JsonWriter::with_capacity(response.series.len() * 256 + samples * 56 + 256);
    json.begin_object();
    json.key("series").list(&response.series, write_series);
    let QueryRangeResponse { metrics, status, message, .. } = response;
    write_end(json, metrics.as_ref(), (*status, message), explanation)
}

/// Writes the response to an instant query. Without series there is no list; `explanation` becomes one more field at
/// the end.
pub fn instant_response(
    response: &QueryInstantResponse,
    explanation: Option<&Explanation>,
) -> Vec<u8> {
    let mut json = JsonWriter::with_capacity(response.series.len() * 256 + 256);
    json.begin_object();
    json.list_field("series", &response.series, |json, series| {
        json.begin_object();
        write_labels(json, &series.labels);
        write_value(json, series.value);
        json.end_object();
    });
    let QueryInstantResponse { metrics, status, message, .. } = response;
    write_end(json, metrics.as_ref(), (*status, message), explanation)
}

fn write_series(json: &mut JsonWriter, series: &TimeSeries) {
    json.begin_object();
    write_labels(json, &series.labels);
    json.list_field("samples", &series.samples, |json, sample| {
        json.begin_object();
        write_timestamp(json, sample.timestamp_ms);
        write_value(json, sample.value);
        json.end_object();
    });
    json.list_field("exemplars", &series.exemplars, write_exemplar);
    json.end_object();
}

fn write_exemplar(json: &mut JsonWriter, exemplar: &Exemplar) {
    json.begin_object();
    write_labels(json, &exemplar.labels);
    write_value(json, exemplar.value);
    write_timestamp(json, exemplar.timestamp_ms);
    json.end_object();
}

fn write_labels(json: &mut JsonWriter, labels: &[KeyValue]) {
    json.list_field("labels", labels, write_key_value);
}

fn write_value(json: &mut JsonWriter, value: f64) {
    if value != 0.0 {
        json.key("value").double(value);
    }
}

fn write_timestamp(json: &mut JsonWriter, millis: i64) {
    if millis != 0 {
        json.key("timestampMs").wide(millis);
    }
}

pub(super) fn write_end(
    mut json: JsonWriter,
    metrics: Option<&SearchMetrics>,
    (status, message): (i32, &str),
    explanation: Option<&Explanation>,
) -> Vec<u8> {
    if let Some(metrics) = metrics {
        json.key("metrics");
        write_metrics(&mut json, metrics);
    }
    if status != PartialStatus::Complete as i32 {
        let status = PartialStatus::try_from(status).unwrap_or_default();
        json.key("status").string(status.as_str_name().as_bytes());
    }
    json.string_field("message", message.as_bytes());
    if let Some(explanation) = explanation {
        json.key("explain");
        super::explain::write_explanation(&mut json, explanation);
    }
    json.end_object();
    json.finish()
}
