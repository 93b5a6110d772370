//! Converts answers to messages for clients.

use tactus_proto::otlp::KeyValue;
use tactus_proto::tempopb::{
    self, InstantSeries, PartialStatus, QueryInstantResponse, QueryRangeResponse, Sample,
    SearchMetrics, TimeSeries,
};
use tactus_traceql::metrics::{Exemplar, Grid, LabelValue, MetricsAnswer, Series};

use super::label_message;
use crate::json;

/// A label, without its texts: as JSON, and in the message.
const LABEL_BYTES: usize = 160;
/// A value, likewise.
const POINT_BYTES: usize = 80;
/// An interval without a value, in the compact form of series.
const NULL_BYTES: usize = 5;

/// Facts that an answer has besides its series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsFacts {
    /// The work that was done.
    pub metrics: SearchMetrics,
    /// The limit of series, named if the answer was cut.
    pub max_series: u32,
    /// Something could not be read: values may be too small.
    pub unread: bool,
}

/// The message of an answer if something could not be read.
const UNREAD: &str = "Some data could not be read, a partial response is returned. Warning: values may be too small.";

impl MetricsFacts {
    fn status(&self, truncated: bool) -> (PartialStatus, String) {
        let mut messages = Vec::new();
        if truncated {
            messages.push(format!(
                "Response exceeds maximum series limit of {}, a partial response is returned. Warning: the accuracy of each individual value is not guaranteed.",
                self.max_series
            ));
        }
        if self.unread {
            messages.push(UNREAD.to_owned());
        }
        if messages.is_empty() {
            return (PartialStatus::Complete, String::new());
        }
        (PartialStatus::Partial, messages.join("; "))
    }
}

/// Bytes that an answer takes as JSON, at most, with the message that it is written from.
pub fn written_bytes(answer: &MetricsAnswer) -> usize {
    let of_label = |(name, value): &(Box<str>, LabelValue)| {
        let text = if let LabelValue::String(text) = value { text } else { "" };
        LABEL_BYTES + json::written_bytes(name.as_bytes()) + json::written_bytes(text.as_bytes())
    };
    let of_labels = |labels: &[_]| labels.iter().map(of_label).sum::<usize>();
    let of_series = |series: &Series| {
        let intervals = series.points.last().map_or(0, |(last, _)| *last as usize);
        let of_exemplar = |exemplar: &Exemplar| POINT_BYTES + of_labels(&exemplar.labels);
        of_labels(&series.labels)
            + series.points.len() * POINT_BYTES
            + intervals * NULL_BYTES
            + series.exemplars.iter().map(of_exemplar).sum::<usize>()
    };
    answer.series.iter().map(of_series).sum()
}

/// The response to a range query over `grid`.
pub fn range_response(
    answer: MetricsAnswer,
    grid: &Grid,
    facts: MetricsFacts,
) -> QueryRangeResponse {
    let (status, message) = facts.status(answer.truncated);
    let series = |series: Series| TimeSeries {
        labels: series.labels.into_iter().map(shown_label).collect(),
        samples: series
            .points
            .into_iter()
            .map(|(interval, value)| Sample {
                timestamp_ms: grid.timestamp_millis(interval as usize),
                value,
            })
            .collect(),
        exemplars: series.exemplars.into_iter().map(exemplar).collect(),
    };
    QueryRangeResponse {
        series: answer.series.into_iter().map(series).collect(),
        metrics: Some(facts.metrics),
        status: status.into(),
        message,
    }
}

/// The response to an instant query: the first point of each series.
pub fn instant_response(answer: MetricsAnswer, facts: MetricsFacts) -> QueryInstantResponse {
    let (status, message) = facts.status(answer.truncated);
    let series = |series: Series| {
        let (_, value) = *series.points.first()?;
        let labels = series.labels.into_iter().map(shown_label).collect();
        Some(InstantSeries { labels, value })
    };
    QueryInstantResponse {
        series: answer.series.into_iter().filter_map(series).collect(),
        metrics: Some(facts.metrics),
        status: status.into(),
        message,
    }
}

fn exemplar(exemplar: Exemplar) -> tempopb::Exemplar {
    let millis = exemplar.start_unix_nanos / 1_000_000;
    tempopb::Exemplar {
        labels: exemplar.labels.into_iter().map(shown_label).collect(),
        value: exemplar.value.unwrap_or_default(),
        timestamp_ms: i64::try_from(millis).unwrap_or(i64::MAX),
    }
}

/// Clients have no type for a missing value, so they get the text `nil`.
fn shown_label((name, value): (Box<str>, LabelValue)) -> KeyValue {
    let value = match value {
        LabelValue::Nil => LabelValue::String("nil".into()),
        value => value,
    };
    label_message((name, value))
}
