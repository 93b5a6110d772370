//! A compact JSON form of series: their values in lists, with one shared time axis.

use tactus_proto::otlp::{KeyValue, any_value::Value};
use tactus_proto::tempopb::{Exemplar, QueryRangeResponse, TimeSeries};

use super::JsonWriter;
use super::metrics::write_end;
use crate::explain::Explanation;

/// The labels of exemplars for the ids of their trace and span. The span id is there only if the query refers to it.
const TRACE_ID: &[u8] = b"trace:id";
const SPAN_ID: &[u8] = b"span:id";

/// Writes the response to a range query. `start` and `step` are in milliseconds. Each series has its `labels` as
/// texts by name, `texts` (the names of labels whose value is a text that reads as a number, a boolean or nil), its
/// `values`, one for each step from `start` on (`null` where there is none), and its `exemplars`: unix milliseconds,
/// value, trace id, and span id (empty if unknown). The rest is as in [`super::range_response`].
///
/// `start` is the time of the first value of all series. `step_nanos` is the step of the query.
pub fn compact_series(
    response: &QueryRangeResponse,
    step_nanos: u64,
    explanation: Option<&Explanation>,
) -> Vec<u8> {
    let QueryRangeResponse { series, metrics, status, message } = response;
    let step_millis = (step_nanos as f64 / 1e6).max(f64::MIN_POSITIVE);
    let times = series.iter().flat_map(|series| &series.samples).map(|it| it.timestamp_ms);
    let start = times.min().unwrap_or(0);
    let samples: usize = series.iter().map(|series| series.samples.len()).sum();
    let mut json = JsonWriter::with_capacity(series.len() * 128 + samples * 12 + 256);
    json.begin_object();
    json.key("start").integer(start);
    json.key("step").double(step_millis);
    json.key("series").begin_list();
    for series in series {
        write_series(&mut json, series, |millis| {
            let since = millis.saturating_sub(start) as f64;
            (since / step_millis).round() as usize
        });
    }
    json.end_list();
    write_end(json, metrics.as_ref(), (*status, message), explanation)
}

/// `place`: the number of the step at a time. Samples ascend by time.
fn write_series(json: &mut JsonWriter, series: &TimeSeries, place: impl Fn(i64) -> usize) {
    json.begin_object();
    json.key("labels").begin_object();
    for label in &series.labels {
        json.data_key(&label.key).string(&text_of(label));
    }
    json.end_object();
    let mistaken: Vec<&KeyValue> =
        series.labels.iter().filter(|label| reads_as_another_type(label)).collect();
    json.list_field("texts", &mistaken, |json, label| json.string(&label.key));
    json.key("values").begin_list();
    let mut written = 0;
    for sample in &series.samples {
        let place = place(sample.timestamp_ms);
        for _ in written..place {
            json.raw("null");
        }
        json.double(sample.value);
        written = place.max(written) + 1;
    }
    json.end_list();
    json.list_field("exemplars", &series.exemplars, write_exemplar);
    json.end_object();
}

fn write_exemplar(json: &mut JsonWriter, exemplar: &Exemplar) {
    let id = |name: &[u8]| {
        let label = exemplar.labels.iter().find(|label| *label.key == *name);
        label.map(text_of).unwrap_or_default()
    };
    json.begin_list();
    json.integer(exemplar.timestamp_ms);
    json.double(exemplar.value);
    json.string(&id(TRACE_ID));
    json.string(&id(SPAN_ID));
    json.end_list();
}

/// True for a text that one cannot tell from a value of another type.
fn reads_as_another_type(label: &KeyValue) -> bool {
    let value = label.value.as_ref().and_then(|value| value.value.as_ref());
    let Some(Value::StringValue(text)) = value else { return false };
    let text = str::from_utf8(text).unwrap_or_default();
    matches!(text, "true" | "false" | "nil") || text.parse::<f64>().is_ok()
}

/// The value of a label as text for people.
fn text_of(label: &KeyValue) -> Vec<u8> {
    match label.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text) | Value::BytesValue(text)) => text.to_vec(),
        Some(Value::IntValue(number)) => number.to_string().into_bytes(),
        Some(Value::DoubleValue(number)) => number.to_string().into_bytes(),
        Some(Value::BoolValue(flag)) => flag.to_string().into_bytes(),
        // No label has a list.
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value as Json, json};
    use tactus_proto::otlp::AnyValue;
    use tactus_proto::tempopb::{PartialStatus, Sample, SearchMetrics};

    use super::*;

    fn label(key: &str, value: Value) -> KeyValue {
        let value = Some(AnyValue { value: Some(value) });
        KeyValue { key: Bytes::copy_from_slice(key.as_bytes()), value }
    }

    fn text(key: &str, value: &str) -> KeyValue {
        label(key, Value::StringValue(Bytes::copy_from_slice(value.as_bytes())))
    }

    fn samples(all: &[(i64, f64)]) -> Vec<Sample> {
        let sample = |&(timestamp_ms, value)| Sample { timestamp_ms, value };
        all.iter().map(sample).collect()
    }

    fn written(series: Vec<TimeSeries>, step_nanos: u64) -> Json {
        let response = QueryRangeResponse {
            series,
            metrics: Some(SearchMetrics { total_jobs: 3, ..SearchMetrics::default() }),
            status: PartialStatus::Partial.into(),
            message: "cut".to_owned(),
        };
        serde_json::from_slice(&compact_series(&response, step_nanos, None)).unwrap()
    }

    #[test]
    fn values_of_all_series_stand_on_one_axis() {
        let exemplar = Exemplar {
            labels: vec![text("trace:id", "ab"), text("name", "x")],
            value: 0.5,
            timestamp_ms: 1_234,
        };
        let one = TimeSeries {
            labels: vec![text("na\"me", "GET <"), label("p", Value::DoubleValue(0.95))],
            samples: samples(&[(60_000, 1.5), (180_000, f64::NAN)]),
            exemplars: vec![exemplar],
        };
        let other = TimeSeries {
            labels: vec![label("code", Value::IntValue(i64::MAX))],
            samples: samples(&[(120_000, 2.0)]),
            exemplars: vec![],
        };
        let expected = json!({
            "start": 60_000,
            "step": 60_000,
            "series": [
                {
                    "labels": { "na\"me": "GET <", "p": "0.95" },
                    "values": [1.5, null, "NaN"],
                    "exemplars": [[1_234, 0.5, "ab", ""]],
                },
                { "labels": { "code": "9223372036854775807" }, "values": [null, 2] },
            ],
            "metrics": { "totalJobs": 3 },
            "status": "PARTIAL",
            "message": "cut",
        });
        assert_eq!(written(vec![one, other], 60_000_000_000), expected);
    }

    #[test]
    fn steps_of_part_of_a_millisecond_and_no_series_are_written() {
        let none = written(Vec::new(), 500_000);
        assert_eq!(
            (&none["start"], &none["step"], &none["series"]),
            (&json!(0), &json!(0.5), &json!([]))
        );
        let series = TimeSeries {
            samples: samples(&[(1, 1.0), (1, 2.0), (2, 3.0)]),
            ..TimeSeries::default()
        };
        assert_eq!(written(vec![series], 500_000)["series"][0]["values"], json!([1, 2, 3]));
    }
}
