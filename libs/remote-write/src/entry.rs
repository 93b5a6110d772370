//! Frames of the queue: the form of samples on disk.
//!
//! A frame is `version u8, end u8, floats u32, histograms u32, exemplars u32, base time i64` (little endian) and
//! entries. `end` is 1 in the last frame of a collection; without that frame the collection does not count. An entry is
//! a tag and varints. Each part of the log has the label set of a series once, before its first sample there: series
//! are numbered from 0 in the order of their definitions, and samples refer to the number.

mod read;

use tactus_model::wire::{put_varint, varint_size};

use crate::series::{Exemplar, NativeHistogram, Series};

pub(crate) use read::{Entry, FrameReader};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 2 + 3 * 4 + 8;
const COUNTS_AT: usize = 2;
const BASE_AT: usize = COUNTS_AT + 3 * 4;

const DEFINE: u8 = 0;
const FLOAT: u8 = 1;
const WHOLE: u8 = 2;
const HISTOGRAM: u8 = 3;
const EXEMPLAR: u8 = 4;

/// The frame cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the remote-write queue is damaged: {0}")]
pub(crate) struct Damaged(&'static str);

/// Entries by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) floats: u64,
    pub(crate) histograms: u64,
    pub(crate) exemplars: u64,
}

impl Counts {
    /// In the order of [`Kind`].
    pub(crate) fn by_kind(self) -> [u64; 3] {
        [self.floats, self.histograms, self.exemplars]
    }

    pub(crate) fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Float => self.floats += 1,
            Kind::Histogram => self.histograms += 1,
            Kind::Exemplar => self.exemplars += 1,
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.floats += other.floats;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
    }

    pub(crate) fn total(self) -> u64 {
        self.floats + self.histograms + self.exemplars
    }
}

/// What an entry that is sent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    Histogram,
    Exemplar,
}

/// A frame while it is written.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    bytes: Vec<u8>,
    counts: Counts,
    base_ms: i64,
}

impl FrameWriter {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], counts: Counts::default(), base_ms: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Also true with definitions alone: they are useless without a sample.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.total() == 0
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Numbers the next series; returns the bytes written.
    pub(crate) fn define(&mut self, series: &Series<'_>) -> usize {
        let before = self.bytes.len();
        let mut size = 0;
        for_each_label(series, |name, value| {
            size += text_bytes(name) + text_bytes(value);
        });
        self.bytes.push(DEFINE);
        put_varint(&mut self.bytes, size as u64);
        for_each_label(series, |name, value| {
            put_text(&mut self.bytes, name);
            put_text(&mut self.bytes, value);
        });
        self.bytes.len() - before
    }

    pub(crate) fn float(&mut self, id: u32, timestamp_ms: i64, value: f64) {
        let whole = whole(value);
        self.start(if whole.is_some() { WHOLE } else { FLOAT }, id, timestamp_ms);
        match whole {
            Some(whole) => put_varint(&mut self.bytes, zigzag(whole)),
            None => self.bytes.extend_from_slice(&value.to_le_bytes()),
        }
        self.counts.floats += 1;
    }

    pub(crate) fn histogram(&mut self, id: u32, timestamp_ms: i64, value: &NativeHistogram) {
        self.start(HISTOGRAM, id, timestamp_ms);
        for number in [value.count, value.sum, value.zero_threshold, value.zero_count] {
            put_number(&mut self.bytes, number);
        }
        put_varint(&mut self.bytes, zigzag(i64::from(value.schema)));
        put_varint(&mut self.bytes, value.spans.len() as u64);
        for span in &value.spans {
            put_varint(&mut self.bytes, zigzag(i64::from(span.offset)));
            put_varint(&mut self.bytes, u64::from(span.length));
        }
        put_varint(&mut self.bytes, value.buckets.len() as u64);
        for bucket in &value.buckets {
            put_number(&mut self.bytes, *bucket);
        }
        self.counts.histograms += 1;
    }

    pub(crate) fn exemplar(&mut self, id: u32, exemplar: &Exemplar<'_>) {
        self.start(EXEMPLAR, id, exemplar.timestamp_ms);
        put_number(&mut self.bytes, exemplar.value);
        put_text(&mut self.bytes, exemplar.label);
        put_text(&mut self.bytes, exemplar.trace_id);
        self.counts.exemplars += 1;
    }

    fn start(&mut self, tag: u8, id: u32, timestamp_ms: i64) {
        if self.is_empty() {
            self.base_ms = timestamp_ms;
        }
        self.bytes.push(tag);
        put_varint(&mut self.bytes, u64::from(id));
        put_varint(&mut self.bytes, zigzag(timestamp_ms.wrapping_sub(self.base_ms)));
    }

    /// The whole frame; the writer is empty again afterwards, with its memory kept. `end`: the collection ends with it.
    pub(crate) fn finish<R>(&mut self, end: bool, append: impl FnOnce(&[u8]) -> R) -> R {
        // A frame is cut long before a count reaches its limit.
        let counts = self.counts.by_kind().map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        self.bytes[0] = VERSION;
        self.bytes[1] = u8::from(end);
        for (slot, count) in self.bytes[COUNTS_AT..BASE_AT].chunks_exact_mut(4).zip(counts) {
            slot.copy_from_slice(&count.to_le_bytes());
        }
        self.bytes[BASE_AT..HEADER_BYTES].copy_from_slice(&self.base_ms.to_le_bytes());
        let appended = append(&self.bytes);
        self.clear();
        appended
    }

    /// Gives up what was not finished.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(HEADER_BYTES);
        self.counts = Counts::default();
    }
}

/// All labels in the order of their names, `__name__` and `le` in their places.
fn for_each_label<'a>(series: &Series<'a>, mut each: impl FnMut(&'a str, &'a str)) {
    let mut extra = [Some(("__name__", series.name)), series.le.map(|le| ("le", le))];
    for (name, value) in series.labels {
        for slot in &mut extra {
            if let Some((extra_name, extra_value)) = *slot
                && extra_name < name.as_ref()
            {
                each(extra_name, extra_value);
                *slot = None;
            }
        }
        each(name, value);
    }
    for (name, value) in extra.into_iter().flatten() {
        each(name, value);
    }
}

/// Identity of a series: a hash of its labels.
pub(crate) fn label_hash(series: &Series<'_>) -> u64 {
    let mut hash = xxhash_rust::xxh64::Xxh64::new(0);
    for_each_label(series, |name, value| {
        // No byte of UTF-8 is 0xff.
        hash.update(name.as_bytes());
        hash.update(&[0xff]);
        hash.update(value.as_bytes());
        hash.update(&[0xff]);
    });
    hash.digest()
}

/// The value as a whole number that says the same to the bit.
fn whole(value: f64) -> Option<i64> {
    let whole = value as i64;
    (whole.unsigned_abs() < 1 << 48 && (whole as f64).to_bits() == value.to_bits()).then_some(whole)
}

pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn put_number(bytes: &mut Vec<u8>, value: f64) {
    match whole(value) {
        Some(whole) => {
            bytes.push(1);
            put_varint(bytes, zigzag(whole));
        }
        None => {
            bytes.push(0);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_varint(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn text_bytes(text: &str) -> usize {
    varint_size(text.len() as u64) + text.len()
}

#[cfg(test)]
mod tests;
