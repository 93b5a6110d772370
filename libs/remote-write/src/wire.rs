//! Encodes samples and exemplars with the labels of their series, and requests of both protocols, without intermediate
//! messages: the labels of a series are encoded once and copied.

use std::collections::HashMap;
use std::sync::Arc;

use tactus_model::wire::{
    Reader, field_size, put_fixed64_field, put_message_field, put_message_frame, put_varint,
    put_varint_field,
};

use super::entry::{Kind, zigzag};
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

/// `protobuf_message` of a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

impl Protocol {
    pub(crate) fn from_message(name: &str) -> Option<Self> {
        match name {
            "prometheus.WriteRequest" => Some(Self::V1),
            "io.prometheus.write.v2.Request" => Some(Self::V2),
            _ => None,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }

    /// One request with these items, not compressed. The second protocol needs an exemplar behind a sample of its
    /// series; without one it is left out.
    pub(crate) fn encode(self, items: &[Item]) -> Vec<u8> {
        match self {
            Self::V1 => request_v1(items),
            Self::V2 => request_v2(items),
        }
    }
}

/// Labels as `labels` fields of the first protocol's `TimeSeries`.
pub(crate) fn label_fields<N: AsRef<str>, V: AsRef<str>>(labels: &[(N, V)]) -> Labels {
    let mut bytes = Vec::with_capacity(labels.len() * 32);
    for (name, value) in labels {
        put_label(&mut bytes, 1, name.as_ref(), value.as_ref());
    }
    Arc::from(bytes)
}

/// The labels of [`label_fields`] again.
fn labels_of(fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut fields = Reader::new(fields);
    std::iter::from_fn(move || {
        let mut label = Reader::new(next_content(&mut fields)?);
        Some((next_content(&mut label)?, next_content(&mut label)?))
    })
}

/// Content of the next field of bytes written by [`put_label`].
fn next_content<'a>(fields: &mut Reader<'a>) -> Option<&'a [u8]> {
    let (field, value) = fields.next_field().ok()??;
    value.bytes(field).ok()
}

fn put_label(bytes: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    let size = [name, value].map(|text| field_size(text.len()));
    put_message_frame(bytes, field, size.iter().sum());
    put_message_field(bytes, 1, name.as_bytes());
    put_message_field(bytes, 2, value.as_bytes());
}

fn put_sint(bytes: &mut Vec<u8>, field: u32, value: i64) {
    put_varint_field(bytes, field, zigzag(value));
}

/// Zero is left out; minus zero is not zero.
fn put_double(bytes: &mut Vec<u8>, field: u32, value: f64) {
    put_fixed64_field(bytes, field, value.to_bits());
}

/// `Sample`, the same in both protocols.
fn sample(bytes: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    put_double(bytes, 1, value);
    put_varint_field(bytes, 2, timestamp_ms.cast_unsigned());
}

/// `Histogram`, the same in both protocols: with integer counts if all are whole numbers, else with float counts.
fn histogram(bytes: &mut Vec<u8>, timestamp_ms: i64, value: &NativeHistogram, part: &mut Vec<u8>) {
    let whole = |count: f64| (0.0..9e15).contains(&count) && count.fract() == 0.0;
    let counts = [value.count, value.zero_count];
    let integers = counts.iter().chain(&value.buckets).all(|count| whole(*count));
    // Members of a oneof are written also when they are zero.
    if integers {
        bytes.push(1 << 3);
        put_varint(bytes, value.count as u64);
    } else {
        bytes.push(2 << 3 | 1);
        bytes.extend_from_slice(&value.count.to_le_bytes());
    }
    put_double(bytes, 3, value.sum);
    put_sint(bytes, 4, i64::from(value.schema));
    put_double(bytes, 5, value.zero_threshold);
    if integers {
        bytes.push(6 << 3);
        put_varint(bytes, value.zero_count as u64);
    } else {
        bytes.push(7 << 3 | 1);
        bytes.extend_from_slice(&value.zero_count.to_le_bytes());
    }
    for span in &value.spans {
        part.clear();
        put_sint(part, 1, i64::from(span.offset));
        put_varint_field(part, 2, u64::from(span.length));
        put_message_field(bytes, 11, part);
    }
    if !value.buckets.is_empty() {
        part.clear();
        if integers {
            let mut last = 0;
            for bucket in &value.buckets {
                let bucket = *bucket as i64;
                let delta = bucket - last;
                put_varint(part, zigzag(delta));
                last = bucket;
            }
            put_message_field(bytes, 12, part);
        } else {
            for bucket in &value.buckets {
                part.extend_from_slice(&bucket.to_le_bytes());
            }
            put_message_field(bytes, 13, part);
        }
    }
    put_varint_field(bytes, 15, timestamp_ms.cast_unsigned());
}

/// `prometheus.WriteRequest`: one `TimeSeries` for each item.
fn request_v1(items: &[Item]) -> Vec<u8> {
    let size = |item: &Item| item.labels.len() + 32;
    let mut bytes = Vec::with_capacity(items.iter().map(size).sum());
    let (mut content, mut part) = (Vec::new(), Vec::new());
    for item in items {
        content.clear();
        let field = match &item.value {
            Value::Float(value) => {
                sample(&mut content, item.timestamp_ms, *value);
                2
            }
            Value::Histogram(value) => {
                histogram(&mut content, item.timestamp_ms, value, &mut part);
                4
            }
            Value::Exemplar { value, label, trace_id } => {
                put_label(&mut content, 1, label, trace_id);
                put_double(&mut content, 2, *value);
                put_varint_field(&mut content, 3, item.timestamp_ms.cast_unsigned());
                3
            }
        };
        let series = item.labels.len() + field_size(content.len());
        put_message_frame(&mut bytes, 1, series);
        bytes.extend_from_slice(&item.labels);
        put_message_field(&mut bytes, field, &content);
    }
    bytes
}

/// `Metadata.MetricType`
const COUNTER: u64 = 1;
const GAUGE: u64 = 2;
const HISTOGRAM: u64 = 3;

/// The texts of a request of the second protocol: every text once, in a table; series refer to it.
#[derive(Default)]
struct Symbols<'a> {
    numbers: HashMap<&'a [u8], u64>,
    texts: Vec<&'a [u8]>,
}

impl<'a> Symbols<'a> {
    fn number(&mut self, text: &'a [u8]) -> u64 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u64 - 1
        })
    }
}

/// `io.prometheus.write.v2.Request`: one `TimeSeries` for each sample, with its exemplars.
fn request_v2(items: &[Item]) -> Vec<u8> {
    let mut symbols = Symbols::default();
    // The first text is the empty one.
    symbols.number(b"");
    let mut series_list = Vec::with_capacity(items.len() * 64);
    let (mut series, mut content, mut part) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = items;
    while let Some((item, after)) = rest.split_first() {
        let exemplars = after.iter().take_while(|next| belongs_to(next, item)).count();
        let (exemplars, after) = after.split_at(exemplars);
        rest = after;
        if matches!(item.value, Value::Exemplar { .. }) {
            continue;
        }
        series.clear();
        part.clear();
        let mut name: &[u8] = b"";
        for (key, value) in labels_of(&item.labels) {
            if key == b"__name__" {
                name = value;
            }
            put_varint(&mut part, symbols.number(key));
            put_varint(&mut part, symbols.number(value));
        }
        put_message_field(&mut series, 1, &part);
        content.clear();
        match &item.value {
            Value::Histogram(value) => {
                histogram(&mut content, item.timestamp_ms, value, &mut part);
                put_message_field(&mut series, 3, &content);
            }
            Value::Float(value) => {
                sample(&mut content, item.timestamp_ms, *value);
                put_message_field(&mut series, 2, &content);
            }
            Value::Exemplar { .. } => {}
        }
        for exemplar in exemplars {
            let Value::Exemplar { value, label, trace_id } = &exemplar.value else { continue };
            content.clear();
            part.clear();
            put_varint(&mut part, symbols.number(label.as_bytes()));
            put_varint(&mut part, symbols.number(trace_id.as_bytes()));
            put_message_field(&mut content, 1, &part);
            put_double(&mut content, 2, *value);
            put_varint_field(&mut content, 3, exemplar.timestamp_ms.cast_unsigned());
            put_message_field(&mut series, 4, &content);
        }
        content.clear();
        put_varint_field(&mut content, 1, metric_type(name, &item.value));
        put_message_field(&mut series, 5, &content);
        put_message_field(&mut series_list, 5, &series);
    }
    let size = symbols.texts.iter().map(|text| text.len() + 6).sum::<usize>();
    let mut bytes = Vec::with_capacity(size + series_list.len());
    for text in &symbols.texts {
        put_message_field(&mut bytes, 4, text);
    }
    bytes.extend_from_slice(&series_list);
    bytes
}

/// True of an exemplar of the sample before it.
pub(crate) fn belongs_to(next: &Item, item: &Item) -> bool {
    matches!(next.value, Value::Exemplar { .. }) && next.labels == item.labels
}

/// The type of what a generator makes follows from its name.
fn metric_type(name: &[u8], value: &Value) -> u64 {
    let ends = |suffix: &[u8]| name.ends_with(suffix);
    match value {
        Value::Histogram(_) => HISTOGRAM,
        _ if ends(b"_total") => COUNTER,
        _ if ends(b"_bucket") || ends(b"_sum") || ends(b"_count") => HISTOGRAM,
        _ => GAUGE,
    }
}

#[cfg(test)]
mod tests;
