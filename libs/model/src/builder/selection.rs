//! A builder that keeps only selected attributes, and no events or links, but measures the full size of each span.

use std::sync::Arc;

use crate::batch::each_span_column;
use crate::{
    AttributeList, SpanBatch,
    any_value::{self, DecodedValue},
    wire::{Reader, WireError, field_size, varint_size},
};

use super::{AppendError, BatchBuilder, BuilderLimits, attribute::AttributeReader};

/// The selected keys of attributes. Each has a number, its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectedKeys {
    keys: Vec<Box<str>>,
    /// Bit `n` is set if a key has `n` bytes; keys of 63 bytes and more share the last bit.
    lengths: u64,
}

impl SelectedKeys {
    /// The place of a key, which is added if it is new.
    pub fn add(&mut self, key: &str) -> usize {
        self.lengths |= length_bit(key.len());
        self.place(key.as_bytes()).unwrap_or_else(|| {
            self.keys.push(key.into());
            self.keys.len() - 1
        })
    }

    /// Number of keys; all places are below it.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// False if no selected key has this many bytes.
    #[inline]
    pub fn may_have_length(&self, bytes: usize) -> bool {
        self.lengths & length_bit(bytes) != 0
    }

    /// The place of a key, if it is among them.
    #[inline]
    pub fn place(&self, key: &[u8]) -> Option<usize> {
        if !self.may_have_length(key.len()) {
            return None;
        }
        self.keys.iter().position(|known| known.as_bytes() == key)
    }
}

#[inline]
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// A batch of selected attributes.
#[derive(Debug, Default)]
pub struct SelectedBatch {
    /// Its columns.
    pub batch: SpanBatch,
    /// For each span, the bytes of its protobuf message with all its attributes (cut to the limits), events and links.
    /// The status and the values of attributes are always counted; other fields only if they are not zero.
    pub sizes: Vec<u32>,
}

/// What a selecting builder has in addition to the columns.
#[derive(Debug)]
pub(super) struct Selecting {
    pub(super) keys: Arc<SelectedKeys>,
    /// Of each span: bytes of its message.
    pub(super) sizes: Vec<u32>,
}

impl BatchBuilder {
    /// An empty builder that keeps all attributes of resources and scopes, only these of spans, and neither events nor
    /// links. It refuses the same spans as a builder that keeps all.
    pub fn selecting(limits: BuilderLimits, keys: Arc<SelectedKeys>) -> Self {
        let selecting = Some(Box::new(Selecting { keys, sizes: Vec::new() }));
        Self { selecting, ..Self::new(limits) }
    }

    /// Makes room for the rows of this many spans.
    pub fn reserve_spans(&mut self, count: usize) {
        let spans = &mut self.batch.spans;
        macro_rules! reserve {
            ($column:ident) => {
                spans.$column.make_mut().reserve(count);
            };
        }
        each_span_column!(reserve);
        if let Some(selecting) = &mut self.selecting {
            selecting.sizes.reserve(count);
        }
    }

    /// The finished batch of a selecting builder.
    pub fn finish_selected(mut self) -> SelectedBatch {
        let sizes = self.selecting.take().map(|selecting| selecting.sizes).unwrap_or_default();
        SelectedBatch { sizes, batch: self.finish() }
    }

    /// Reads an event without keeping it; returns the size of its field.
    pub(super) fn measure_event(&mut self, message: &[u8]) -> Result<usize, AppendError> {
        self.entries.spend()?;
        let (mut time, mut name, mut dropped, mut size) = (0, 0, 0, 0);
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 => time = value.fixed64(1)?,
                2 => name = value.bytes(2)?.len(),
                3 => {
                    self.entries.spend_attribute()?;
                    size += self.reader.measure(value.bytes(3)?)?;
                }
                4 => dropped = value.varint(4)?,
                _ => {}
            }
        }
        size += fixed_size(time) + text_size(name) + number_size(dropped as u32);
        Ok(field_size(size))
    }

    /// Reads a link without keeping it; returns the size of its field.
    pub(super) fn measure_link(&mut self, message: &[u8]) -> Result<usize, AppendError> {
        self.entries.spend()?;
        let (mut state, mut dropped, mut flags, mut size) = (0, 0, 0, 18 + 10);
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 | 2 => {
                    value.bytes(field)?;
                }
                3 => state = value.bytes(3)?.len(),
                4 => {
                    self.entries.spend_attribute()?;
                    size += self.reader.measure(value.bytes(4)?)?;
                }
                5 => dropped = value.varint(5)?,
                6 => flags = value.fixed32_or_none().unwrap_or(0),
                _ => {}
            }
        }
        size += text_size(state) + number_size(dropped as u32) + if flags == 0 { 0 } else { 5 };
        Ok(field_size(size))
    }
}

impl AttributeReader {
    /// Appends a KeyValue message if its key is selected; returns the size of its field in either case.
    #[inline]
    pub(super) fn append_selected(
        &mut self,
        key_value: &[u8],
        list: &mut AttributeList,
        keys: &SelectedKeys,
    ) -> Result<usize, WireError> {
        if let Some((key, value)) = self.decode_whole(key_value) {
            if keys.place(key).is_some() {
                self.append_decoded(key, value, &[], list)?;
            }
            return Ok(field_size(key_value.len()));
        }
        let (key, encoded) = any_value::decode_key_value(key_value)?;
        let key = self.cut_to_limit(key);
        let size = self.measure_pair(key, encoded)?;
        if keys.place(key).is_some() {
            self.append(key_value, list)?;
        }
        Ok(size)
    }

    /// The size of the field of a KeyValue message.
    fn measure(&mut self, key_value: &[u8]) -> Result<usize, WireError> {
        if self.decode_whole(key_value).is_some() {
            return Ok(field_size(key_value.len()));
        }
        let (key, encoded) = any_value::decode_key_value(key_value)?;
        self.measure_pair(self.cut_to_limit(key), encoded)
    }

    /// Decodes a KeyValue message if nothing in it has to be cut, and it is encoded in as few bytes as possible.
    #[inline]
    fn decode_whole<'a>(&self, key_value: &'a [u8]) -> Option<(&'a [u8], DecodedValue<'a>)> {
        self.keeps_short_texts().then(|| any_value::decode_plain(key_value)).flatten()
    }

    #[inline]
    fn measure_pair(&mut self, key: &[u8], encoded: &[u8]) -> Result<usize, WireError> {
        let value = match any_value::decode(encoded)? {
            DecodedValue::Unset => 0,
            DecodedValue::String(text) => field_size(self.cut_to_limit(text).len()),
            DecodedValue::Int(number) => 1 + varint_size(number as u64),
            DecodedValue::Double(_) => 9,
            DecodedValue::Bool(_) => 2,
            complex => {
                let (_, longest) = any_value::classify_texts(complex).inspect_err(|error| {
                    if *error == WireError::Depth {
                        self.too_deep.get_or_insert_with(|| key.to_vec());
                    }
                })?;
                self.cut_complex(encoded, complex, longest)?
                    .map_or(encoded.len(), |shortened| shortened.len())
            }
        };
        Ok(field_size(text_size(key.len()) + field_size(value)))
    }
}

/// The fields of a span that occur once.
pub(super) struct Scalars {
    pub(super) has_parent: bool,
    /// Bytes of trace state, name and status message.
    pub(super) texts: [usize; 3],
    pub(super) kind: u8,
    pub(super) status: u8,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) dropped: [u64; 3],
    pub(super) flags: u32,
}

impl Scalars {
    /// Bytes of their fields, ids included.
    pub(super) fn size(&self) -> usize {
        let [state, name, message] = self.texts.map(text_size);
        let status = field_size(message + number_size(self.status.into()));
        let kind = number_size(self.kind.into());
        let dropped: usize = self.dropped.iter().map(|count| number_size(*count as u32)).sum();
        let parent = if self.has_parent { 10 } else { 0 };
        let times = fixed_size(self.start) + fixed_size(self.end);
        // Field 16 has a tag of two bytes.
        let flags = if self.flags == 0 { 0 } else { 6 };
        18 + 10 + parent + state + name + status + kind + times + dropped + flags
    }
}

/// A field of text, which is left out if empty.
fn text_size(length: usize) -> usize {
    if length == 0 { 0 } else { field_size(length) }
}

fn number_size(number: u32) -> usize {
    if number == 0 { 0 } else { 1 + varint_size(number.into()) }
}

fn fixed_size(number: u64) -> usize {
    if number == 0 { 0 } else { 9 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_place_at_which_they_were_added_first() {
        let mut keys = SelectedKeys::default();
        let long = "k".repeat(80);
        assert_eq!([keys.add("b"), keys.add(&long), keys.add("b"), keys.add("")], [0, 1, 0, 2]);
        assert_eq!((keys.place(b"b"), keys.place(long.as_bytes())), (Some(0), Some(1)));
        assert_eq!(
            (keys.place(b""), keys.place(b"a"), keys.place(&[b'k'; 81])),
            (Some(2), None, None)
        );
    }
}
