//! Requests of both protocols, encoded without intermediate messages: the labels of a series are encoded once and copied.

mod v1;
mod v2;

use std::sync::Arc;

use super::entry::{put_varint, varint_bytes};
use super::item::{Item, Labels};
use crate::series::NativeHistogram;

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
            Self::V1 => v1::request(items),
            Self::V2 => v2::request(items),
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
fn labels_of(mut fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let label = take_field(&mut fields)?;
        let mut label = label;
        Some((take_field(&mut label)?, take_field(&mut label)?))
    })
}

/// Content of the first field, of which only the wire type is looked at: bytes written by [`put_label`].
fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (_, mut rest) = bytes.split_first()?;
    let mut length = 0_usize;
    for shift in (0..).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if *byte < 0x80 {
            break;
        }
    }
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(content)
}

fn put_label(bytes: &mut Vec<u8>, field: u8, name: &str, value: &str) {
    let size = [name, value].map(|text| 1 + varint_bytes(text.len() as u64) + text.len());
    bytes.push(field << 3 | 2);
    put_varint(bytes, size.iter().sum::<usize>() as u64);
    put_bytes(bytes, 1, name.as_bytes());
    put_bytes(bytes, 2, value.as_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, field: u8, content: &[u8]) {
    bytes.push(field << 3 | 2);
    put_varint(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn put_uint(bytes: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        bytes.push(field << 3);
        put_varint(bytes, value);
    }
}

fn put_sint(bytes: &mut Vec<u8>, field: u8, value: i64) {
    put_uint(bytes, field, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Zero is left out; minus zero is not zero.
fn put_double(bytes: &mut Vec<u8>, field: u8, value: f64) {
    if value.to_bits() != 0 {
        bytes.push(field << 3 | 1);
        bytes.extend_from_slice(&value.to_le_bytes());
    }
}

/// `Sample`, the same in both protocols.
fn sample(bytes: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    put_double(bytes, 1, value);
    put_uint(bytes, 2, timestamp_ms.cast_unsigned());
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
        put_uint(part, 2, u64::from(span.length));
        put_bytes(bytes, 11, part);
    }
    if !value.buckets.is_empty() {
        part.clear();
        if integers {
            let mut last = 0;
            for bucket in &value.buckets {
                let bucket = *bucket as i64;
                let delta = bucket - last;
                put_varint(part, ((delta << 1) ^ (delta >> 63)).cast_unsigned());
                last = bucket;
            }
            put_bytes(bytes, 12, part);
        } else {
            for bucket in &value.buckets {
                part.extend_from_slice(&bucket.to_le_bytes());
            }
            put_bytes(bytes, 13, part);
        }
    }
    put_uint(bytes, 15, timestamp_ms.cast_unsigned());
}

#[cfg(test)]
mod tests;
