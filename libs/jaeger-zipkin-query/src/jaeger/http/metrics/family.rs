//! The message that metrics are answered with.

use serde::{Serialize, Serializer};

use crate::jaeger::{Measure, PerformanceSeries};

#[derive(Serialize)]
pub(super) struct MetricFamily {
    name: String,
    #[serde(rename = "type")]
    metric_type: &'static str,
    help: String,
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    labels: Vec<Label>,
    metric_points: Vec<MetricPoint>,
}

#[derive(Serialize)]
struct Label {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricPoint {
    gauge_value: GaugeValue,
    timestamp: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GaugeValue {
    #[serde(serialize_with = "double")]
    double_value: f64,
}

/// NaN is a string: JSON has no number for it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn double<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.is_finite() {
        serializer.serialize_f64(*number)
    } else {
        serializer.serialize_str("NaN")
    }
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

fn metric(series: PerformanceSeries) -> Metric {
    let PerformanceSeries { service, operation, points } = series;
    let operation = operation.map(|value| Label { name: "operation", value });
    let service = Label { name: "service_name", value: service };
    Metric {
        labels: [service].into_iter().chain(operation).collect(),
        metric_points: points.into_iter().map(point).collect(),
    }
}

fn point((millis, value): (i64, f64)) -> MetricPoint {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    MetricPoint { gauge_value: GaugeValue { double_value: value }, timestamp: time.to_string() }
}
