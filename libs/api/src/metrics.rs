//! Metrics queries: partial series as messages between services, and answers as messages for clients.

mod response;

pub use response::{MetricsFacts, instant_response, range_response, written_bytes};

use bytes::Bytes;
use tactus_proto::otlp::{AnyValue, KeyValue, any_value::Value};
use tactus_proto::tactus::v1::{self as proto, MetricsExemplar, MetricsSeries};
use tactus_traceql::metrics::{
    ComparedSide, Exemplar, LabelValue, PartialSeries, Point, SeriesKey,
};

/// A message that no job of this version sends. The service that sent it may speak another version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed series: {0}")]
pub struct MalformedSeries(&'static str);

/// The message of a partial series. Weights are sent only if one is not 1.
pub fn to_message(series: PartialSeries) -> MetricsSeries {
    let mut message = MetricsSeries { leaf: series.leaf, ..MetricsSeries::default() };
    match series.key {
        SeriesKey::Group { values, bucket } => {
            message.labels = values.into_iter().map(value_message).collect();
            message.bucket = bucket.map(u32::from);
        }
        SeriesKey::Compared { side, attribute, value } => {
            let side = match side {
                ComparedSide::Baseline => proto::ComparedSide::Baseline,
                ComparedSide::Selection => proto::ComparedSide::Selection,
            };
            message.side = Some(side.into());
            message.attribute = attribute.into();
            message.labels = value.into_iter().map(value_message).collect();
        }
    }
    message.intervals = series.points.iter().map(|point| point.interval).collect();
    message.values = series.points.iter().map(|point| point.value).collect();
    if series.points.iter().any(|point| point.weight != 1.0) {
        message.weights = series.points.iter().map(|point| point.weight).collect();
    }
    message.exemplars = series.exemplars.into_iter().map(exemplar_message).collect();
    message
}

/// The partial series of a message.
///
/// Errors: [`MalformedSeries`] if its lists differ in length, its intervals do not ascend, or a value is of a type
/// that no label has.
pub fn from_message(message: MetricsSeries) -> Result<PartialSeries, MalformedSeries> {
    let points = points(&message)?;
    let mut labels = message.labels.into_iter().map(label_value);
    let key = match message.side {
        None => {
            let bucket = message.bucket.map(u8::try_from).transpose();
            SeriesKey::Group {
                values: labels.collect::<Result<_, _>>()?,
                bucket: bucket.map_err(|_| MalformedSeries("bucket"))?,
            }
        }
        Some(side) => {
            let side = match proto::ComparedSide::try_from(side) {
                Ok(proto::ComparedSide::Baseline) => ComparedSide::Baseline,
                Ok(proto::ComparedSide::Selection) => ComparedSide::Selection,
                Err(_) => return Err(MalformedSeries("side")),
            };
            let value = labels.next().transpose()?;
            if labels.next().is_some() {
                return Err(MalformedSeries("several values of one attribute"));
            }
            SeriesKey::Compared { side, attribute: message.attribute.into(), value }
        }
    };
    let exemplars = message.exemplars.into_iter().map(exemplar).collect::<Result<_, _>>()?;
    Ok(PartialSeries { leaf: message.leaf, key, points, exemplars })
}

fn points(message: &MetricsSeries) -> Result<Vec<Point>, MalformedSeries> {
    let MetricsSeries { intervals, values, weights, .. } = message;
    if values.len() != intervals.len() {
        return Err(MalformedSeries("as many intervals as values expected"));
    }
    if !weights.is_empty() && weights.len() != intervals.len() {
        return Err(MalformedSeries("as many weights as values expected"));
    }
    if !intervals.is_sorted_by(|one, next| one < next) {
        return Err(MalformedSeries("intervals do not ascend"));
    }
    let weights = weights.iter().copied().chain(std::iter::repeat(1.0));
    let points = intervals.iter().zip(values).zip(weights);
    Ok(points.map(|((&interval, &value), weight)| Point { interval, value, weight }).collect())
}

fn exemplar_message(exemplar: Exemplar) -> MetricsExemplar {
    MetricsExemplar {
        labels: exemplar.labels.into_iter().map(label_message).collect(),
        value: exemplar.value,
        start_nanos: exemplar.start_unix_nanos,
    }
}

fn exemplar(message: MetricsExemplar) -> Result<Exemplar, MalformedSeries> {
    let label = |KeyValue { key, value }: KeyValue| {
        let name = String::from_utf8_lossy(&key).into_owned().into_boxed_str();
        Ok((name, label_value(value.unwrap_or_default())?))
    };
    Ok(Exemplar {
        labels: message.labels.into_iter().map(label).collect::<Result<_, _>>()?,
        value: message.value,
        of_series: false,
        start_unix_nanos: message.start_nanos,
    })
}

fn label_message((name, value): (Box<str>, LabelValue)) -> KeyValue {
    KeyValue { key: Bytes::from(String::from(name)), value: Some(value_message(value)) }
}

fn value_message(value: LabelValue) -> AnyValue {
    let value = match value {
        LabelValue::Nil => None,
        LabelValue::String(text) => Some(Value::StringValue(Bytes::from(String::from(text)))),
        LabelValue::Int(number) => Some(Value::IntValue(number)),
        LabelValue::Float(number) => Some(Value::DoubleValue(number)),
        LabelValue::Bool(flag) => Some(Value::BoolValue(flag)),
    };
    AnyValue { value }
}

fn label_value(message: AnyValue) -> Result<LabelValue, MalformedSeries> {
    Ok(match message.value {
        None => LabelValue::Nil,
        Some(Value::StringValue(text)) => {
            LabelValue::String(String::from_utf8_lossy(&text).into_owned().into_boxed_str())
        }
        Some(Value::IntValue(number)) => LabelValue::Int(number),
        Some(Value::DoubleValue(number)) => LabelValue::Float(number),
        Some(Value::BoolValue(flag)) => LabelValue::Bool(flag),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_) | Value::BytesValue(_)) => {
            return Err(MalformedSeries("type of a label"));
        }
    })
}

#[cfg(test)]
mod tests;
