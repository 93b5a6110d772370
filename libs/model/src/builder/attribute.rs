//! Reads attributes of OTLP messages into an attribute list.

use crate::{
    Attribute, AttributeList, DictionaryBuilder, StringCode, ValueType,
    any_value::{self, AnyValueRef, DecodedValue},
    buffer::truncate_vec,
    wire::{WireError, put_message_field},
};

use super::BuilderLimits;

/// Reads attributes into lists. Has the dictionary and the limits for that.
#[derive(Debug, Default)]
pub(super) struct AttributeReader {
    pub(super) strings: DictionaryBuilder,
    limits: BuilderLimits,
    guesses: Guesses,
    /// Keys and values cut so far.
    pub(super) truncated: u64,
    /// Key of the first attribute that was nested too deeply.
    pub(super) too_deep: Option<Vec<u8>>,
}

/// A state of the reader that [`AttributeReader::rollback`] returns to.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReaderMark {
    strings: usize,
    truncated: u64,
}

impl AttributeReader {
    pub(super) fn new(limits: BuilderLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// A new reader with the same limits, and capacity for as many strings.
    pub(super) fn successor(&self) -> Self {
        let mut next = Self::new(self.limits);
        let strings = self.strings.dictionary();
        next.strings.reserve(strings.len(), strings.byte_len());
        next
    }

    /// What has been read until now.
    #[inline]
    pub(super) fn mark(&self) -> ReaderMark {
        ReaderMark { strings: self.strings.dictionary().len(), truncated: self.truncated }
    }

    /// Removes the strings that were added since the mark, and resets the count of cut texts.
    pub(super) fn rollback(&mut self, mark: ReaderMark) {
        self.strings.truncate(mark.strings);
        self.guesses.truncate(mark.strings);
        self.truncated = mark.truncated;
    }

    /// Bytes of memory held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.strings.heap_bytes() + self.guesses.by_key.capacity() * size_of::<Guess>()
    }

    /// Appends a KeyValue message to the current owner of a list.
    #[inline]
    pub(super) fn append(
        &mut self,
        key_value: &[u8],
        list: &mut AttributeList,
    ) -> Result<(), WireError> {
        let (key, value, encoded) = match any_value::decode_plain(key_value) {
            Some((key, value)) => (key, value, &[][..]),
            None => {
                let (key, encoded) = any_value::decode_key_value(key_value)?;
                (key, any_value::decode(encoded)?, encoded)
            }
        };
        self.append_decoded(key, value, encoded, list)
    }

    /// Appends an attribute. If the value is an array, a list or bytes, `encoded` is its message.
    #[inline]
    pub(super) fn append_decoded(
        &mut self,
        mut key: &[u8],
        value: DecodedValue<'_>,
        encoded: &[u8],
        list: &mut AttributeList,
    ) -> Result<(), WireError> {
        let limit = self.limits.max_attribute_bytes;
        if limit > 0 && key.len() > limit {
            key = cut(key, limit);
            self.truncated += 1;
        }
        let key = self.guesses.key(key, &mut self.strings);
        let (value_type, payload) = match value {
            DecodedValue::Unset => (ValueType::Unset, 0),
            DecodedValue::String(mut text) => {
                if limit > 0 && text.len() > limit {
                    text = cut(text, limit);
                    self.truncated += 1;
                }
                let code = self.guesses.value(key, text, &mut self.strings);
                (ValueType::String, u64::from(code))
            }
            DecodedValue::Int(number) => (ValueType::Int, number as u64),
            DecodedValue::Double(number) => (ValueType::Double, number.to_bits()),
            DecodedValue::Bool(flag) => (ValueType::Bool, u64::from(flag)),
            complex => {
                let (value_type, longest) =
                    any_value::classify_texts(complex).inspect_err(|error| {
                        if *error == WireError::Depth {
                            let known = self.strings.dictionary().get(key);
                            self.too_deep.get_or_insert_with(|| known.to_vec());
                        }
                    })?;
                let code = match self.cut_complex(encoded, complex, longest)? {
                    Some(shortened) => self.strings.intern(&shortened),
                    None => self.strings.intern(encoded),
                };
                (value_type, u64::from(code))
            }
        };
        list.push(Attribute { key, value_type, payload });
        Ok(())
    }

    /// True if keys and values of at most 127 bytes are never cut.
    #[inline]
    pub(super) fn keeps_short_texts(&self) -> bool {
        let limit = self.limits.max_attribute_bytes;
        limit == 0 || limit >= 0x7f
    }

    /// A key or string value, cut to the limit. Does not count it as cut.
    #[inline]
    pub(super) fn cut_to_limit<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let limit = self.limits.max_attribute_bytes;
        if limit > 0 && text.len() > limit { cut(text, limit) } else { text }
    }

    /// Cuts the strings inside an array, list or bytes value. `message` is its encoding, and the longest string or key
    /// in it has this many bytes. Encoding a value again costs more than all other steps, so a value without a long
    /// string is returned unchanged.
    pub(super) fn cut_complex(
        &mut self,
        encoded: &[u8],
        value: DecodedValue<'_>,
        longest: usize,
    ) -> Result<Option<Vec<u8>>, WireError> {
        let limit = self.limits.max_attribute_bytes;
        if limit == 0 || encoded.len() <= limit || longest <= limit {
            return Ok(None);
        }
        let mut shortened = Vec::with_capacity(encoded.len());
        encode_cut(&mut shortened, value, limit, &mut self.truncated)?;
        Ok(Some(shortened))
    }
}

/// Guesses the next attribute: spans of one kind carry the same keys in the same order, and often the same values. A
/// right guess saves a look-up in the dictionary.
#[derive(Debug, Default)]
struct Guesses {
    /// Indexed by the code of a key.
    by_key: Vec<Guess>,
    last_key: StringCode,
}

#[derive(Debug, Default, Clone, Copy)]
struct Guess {
    /// Key that followed this one last time.
    next_key: StringCode,
    /// String value that this key had last time.
    value: StringCode,
}

impl Guesses {
    #[inline]
    fn key(&mut self, key: &[u8], strings: &mut DictionaryBuilder) -> StringCode {
        let guess = self.by_key.get(self.last_key as usize).map_or(0, |guess| guess.next_key);
        let code = strings.intern_guess(key, guess);
        if code != guess {
            self.at(self.last_key).next_key = code;
        }
        self.last_key = code;
        code
    }

    #[inline]
    fn value(
        &mut self,
        key: StringCode,
        text: &[u8],
        strings: &mut DictionaryBuilder,
    ) -> StringCode {
        let guess = self.by_key.get(key as usize).map_or(0, |guess| guess.value);
        let code = strings.intern_guess(text, guess);
        if code != guess {
            self.at(key).value = code;
        }
        code
    }

    /// Drops what is known of the keys from code `strings` on. Guesses of values with such a code stay:
    /// [`DictionaryBuilder::intern_guess`] compares the strings, whatever has that code by then.
    fn truncate(&mut self, strings: usize) {
        if self.by_key.len() > strings {
            truncate_vec(&mut self.by_key, strings);
        }
        if self.last_key as usize >= strings {
            self.last_key = 0;
        }
    }

    fn at(&mut self, key: StringCode) -> &mut Guess {
        let index = key as usize;
        if index >= self.by_key.len() {
            self.by_key.resize(index + 1, Guess::default());
        }
        &mut self.by_key[index]
    }
}

/// The longest prefix of at most `limit` bytes that does not split a UTF-8 character.
fn cut(text: &[u8], limit: usize) -> &[u8] {
    let mut end = limit;
    while end > 0 && limit - end < 4 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

/// Encodes a value with the strings inside it cut. `classify` has already checked how deeply it is nested.
fn encode_cut(
    out: &mut Vec<u8>,
    value: DecodedValue<'_>,
    limit: usize,
    truncated: &mut u64,
) -> Result<(), WireError> {
    match value {
        DecodedValue::Array(elements) => {
            let mut list = Vec::new();
            for element in any_value::array_elements(elements) {
                let mut one = Vec::new();
                encode_cut(&mut one, element?, limit, truncated)?;
                put_message_field(&mut list, 1, &one);
            }
            put_message_field(out, 5, &list);
        }
        DecodedValue::KeyValues(pairs) => {
            let mut list = Vec::new();
            for pair in any_value::key_values(pairs) {
                let (key, element) = pair?;
                let (mut one, mut nested) = (Vec::new(), Vec::new());
                put_message_field(
                    &mut one,
                    1,
                    if key.len() > limit { cut(key, limit) } else { key },
                );
                encode_cut(&mut nested, element, limit, truncated)?;
                put_message_field(&mut one, 2, &nested);
                put_message_field(&mut list, 1, &one);
            }
            put_message_field(out, 6, &list);
        }
        DecodedValue::String(text) if text.len() > limit => {
            *truncated += 1;
            any_value::encode(out, AnyValueRef::String(cut(text, limit)));
        }
        DecodedValue::String(text) => any_value::encode(out, AnyValueRef::String(text)),
        DecodedValue::Bool(flag) => any_value::encode(out, AnyValueRef::Bool(flag)),
        DecodedValue::Int(number) => any_value::encode(out, AnyValueRef::Int(number)),
        DecodedValue::Double(number) => any_value::encode(out, AnyValueRef::Double(number)),
        DecodedValue::Bytes(bytes) => put_message_field(out, 7, bytes),
        DecodedValue::Unset => {}
    }
    Ok(())
}
