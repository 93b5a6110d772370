//! What is sent: samples and exemplars with the labels of their series.

use std::sync::Arc;

use super::entry::Kind;
use crate::series::NativeHistogram;

/// The labels of a series as fields of a `TimeSeries` of the first protocol.
pub(crate) type Labels = Arc<[u8]>;

/// Something to send.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) labels: Labels,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Float(f64),
    Histogram(Box<NativeHistogram>),
    Exemplar { value: f64, label: Box<str>, trace_id: Box<str> },
}

impl Item {
    pub(crate) fn kind(&self) -> Kind {
        match self.value {
            Value::Float(_) => Kind::Float,
            Value::Histogram(_) => Kind::Histogram,
            Value::Exemplar { .. } => Kind::Exemplar,
        }
    }
}
