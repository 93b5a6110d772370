//! `prometheus.WriteRequest`.

use super::{histogram, put_bytes, put_double, put_label, put_uint, sample};
use crate::entry::{put_varint, varint_bytes};
use crate::item::{Item, Value};

/// One `TimeSeries` for each item.
pub(super) fn request(items: &[Item]) -> Vec<u8> {
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
                put_uint(&mut content, 3, item.timestamp_ms.cast_unsigned());
                3
            }
        };
        let length = content.len();
        let series = item.labels.len() + 1 + varint_bytes(length as u64) + length;
        bytes.push(1 << 3 | 2);
        put_varint(&mut bytes, series as u64);
        bytes.extend_from_slice(&item.labels);
        put_bytes(&mut bytes, field, &content);
    }
    bytes
}
