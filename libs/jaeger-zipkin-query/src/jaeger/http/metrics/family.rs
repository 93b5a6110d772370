//! The message that metrics are answered with.

use serde::Serialize;
use serde_json::{Value, json};

use crate::jaeger::{Measure, PerformanceSeries};

#[derive(Serialize)]
pub(super) struct MetricFamily {
    name: String,
    #[serde(rename = "type")]
    metric_type: &'static str,
    help: String,
    metrics: Vec<Value>,
}

impl MetricFamily {
    pub(super) fn of(measure: Measure, by_operation: bool, series: Vec<PerformanceSeries>) -> Self {
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
        Self {
            name: format!("{prefix}_{what}"),
            metric_type: "GAUGE",
            help: format!("{help}, grouped by {groups}"),
            metrics: series.into_iter().map(metric).collect(),
        }
    }
}

fn metric(series: PerformanceSeries) -> Value {
    let PerformanceSeries { service, operation, points } = series;
    let operation = operation.map(|value| json!({ "name": "operation", "value": value }));
    let service = json!({ "name": "service_name", "value": service });
    let labels: Vec<_> = [service].into_iter().chain(operation).collect();
    let points: Vec<_> = points.into_iter().map(point).collect();
    json!({ "labels": labels, "metricPoints": points })
}

fn point((millis, value): (i64, f64)) -> Value {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    // NaN is a string: JSON has no number for it.
    let value = if value.is_finite() { json!(value) } else { json!("NaN") };
    json!({ "gaugeValue": { "doubleValue": value }, "timestamp": time.to_string() })
}
