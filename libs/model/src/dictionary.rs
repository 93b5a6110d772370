//! The byte strings of a batch, each stored once.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::{Buffer, buffer::mostly_unused};

/// The number of a byte string in its batch's [`Dictionary`].
pub type StringCode = u32;

/// All byte strings of one batch: names, attribute keys, attribute values, encoded arrays.
///
/// Code 0 is always the empty string. Codes are dense and in order of first appearance. Strings are
/// bytes: senders do send invalid UTF-8, which is kept and only shown with U+FFFD.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary {
    bytes: Buffer<u8>,
    /// One more than there are strings: string `i` is `bytes[offsets[i]..offsets[i + 1]]`.
    offsets: Buffer<u32>,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self { bytes: Buffer::new(), offsets: vec![0, 0].into() }
    }
}

impl Dictionary {
    /// Puts a dictionary together from its stored parts; `None` if the offsets do not fit.
    pub fn from_parts(bytes: Buffer<u8>, offsets: Buffer<u32>) -> Option<Self> {
        let dictionary = Self { bytes, offsets };
        dictionary.is_sound().then_some(dictionary)
    }

    /// True if the offsets fit the bytes.
    pub fn is_sound(&self) -> bool {
        let offsets = self.offsets.as_slice();
        let ordered = offsets.is_sorted();
        let fits = offsets.last().is_some_and(|&end| end as usize <= self.bytes.len());
        let starts_empty = offsets.len() >= 2 && offsets[0] == 0 && offsets[1] == 0;
        ordered && fits && starts_empty
    }

    /// Puts a dictionary together from parts that were already checked, without reading them. Wrong offsets make
    /// look-ups panic.
    pub fn from_checked_parts(bytes: Buffer<u8>, offsets: Buffer<u32>) -> Self {
        Self { bytes, offsets }
    }

    /// The stored parts: all bytes, and one more offset than there are strings.
    pub fn parts(&self) -> (&[u8], &[u32]) {
        (&self.bytes, &self.offsets)
    }

    /// Number of strings, the empty one included.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// False: a dictionary always holds the empty string.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The string of a code; empty for a code that is not in the dictionary.
    #[inline]
    pub fn get(&self, code: StringCode) -> &[u8] {
        self.lookup(code).unwrap_or(b"")
    }

    /// The string of a code; `None` if the dictionary does not have it.
    #[inline]
    fn lookup(&self, code: StringCode) -> Option<&[u8]> {
        let (bytes, offsets) = (self.bytes.as_slice(), self.offsets.as_slice());
        let index = code as usize;
        if index + 1 >= offsets.len() {
            return None;
        }
        Some(&bytes[offsets[index] as usize..offsets[index + 1] as usize])
    }

    /// The string of a code for display, invalid UTF-8 replaced by U+FFFD.
    pub fn display(&self, code: StringCode) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.get(code))
    }

    /// The code of a string by a scan over all entries; for one look-up per query.
    pub fn find(&self, wanted: &[u8]) -> Option<StringCode> {
        (0..self.len() as u32).find(|&code| self.get(code) == wanted)
    }

    /// Bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.heap_bytes() + self.offsets.heap_bytes()
    }

    /// Bytes of all strings; reads none of them.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a string; `None` if its end or its code would not fit into 32 bits.
    fn push(&mut self, string: &[u8]) -> Option<StringCode> {
        let code = StringCode::try_from(self.len()).ok()?;
        let end = end_of(self.bytes.len(), string.len())?;
        self.bytes.make_mut().extend_from_slice(string);
        self.offsets.push(end);
        Some(code)
    }

    /// Drops the strings from the code `strings` on; the empty one stays.
    fn truncate(&mut self, strings: usize) {
        self.offsets.truncate(strings.max(1) + 1);
        let end = self.offsets.last().map_or(0, |&end| end as usize);
        self.bytes.truncate(end);
    }
}

/// Where a string of `length` bytes ends if it follows `bytes` others; `None` if 32 bits cannot hold that.
fn end_of(bytes: usize, length: usize) -> Option<u32> {
    u32::try_from(bytes.checked_add(length)?).ok()
}

/// A dictionary that is being filled, with an index from string to code.
#[derive(Debug, Default)]
pub struct DictionaryBuilder {
    dictionary: Dictionary,
    index: HashTable<StringCode>,
    hasher: RandomState,
}

impl DictionaryBuilder {
    /// Of the strings of a dictionary, to which more are added.
    pub fn of(dictionary: &Dictionary) -> Self {
        let mut builder = Self { dictionary: dictionary.clone(), ..Self::default() };
        for code in 1..dictionary.len() as StringCode {
            let hash = builder.hasher.hash_one(dictionary.get(code));
            builder.index.insert_unique(hash, code, |&code| {
                builder.hasher.hash_one(builder.dictionary.get(code))
            });
        }
        builder
    }

    /// The code of `string`, which is added if it is new. The empty string has code 0.
    ///
    /// Limit: a dictionary can address 4 GiB of bytes. A string that does not fit is not kept, and gets the code of the
    /// empty one. Code that takes data from outside stops before that, as [`crate::BatchBuilder`] does.
    #[inline]
    pub fn intern(&mut self, string: &[u8]) -> StringCode {
        self.try_intern(string).unwrap_or(0)
    }

    /// As [`Self::intern`], but `None` for a string that does not fit.
    #[inline]
    pub fn try_intern(&mut self, string: &[u8]) -> Option<StringCode> {
        if string.is_empty() {
            return Some(0);
        }
        let hash = self.hasher.hash_one(string);
        let dictionary = &self.dictionary;
        if let Some(&code) = self.index.find(hash, |&code| dictionary.get(code) == string) {
            return Some(code);
        }
        let code = self.dictionary.push(string)?;
        let (dictionary, hasher) = (&self.dictionary, &self.hasher);
        self.index.insert_unique(hash, code, |&code| hasher.hash_one(dictionary.get(code)));
        Some(code)
    }

    /// The code of `string`, which is likely to be `guess`: if it is, one comparison replaces the look-up. `guess` may
    /// also be a code that was dropped since.
    #[inline]
    pub(crate) fn intern_guess(&mut self, string: &[u8], guess: StringCode) -> StringCode {
        if self.dictionary.lookup(guess) == Some(string) { guess } else { self.intern(string) }
    }

    /// Reserves capacity for this many more strings of this many bytes in total.
    pub(crate) fn reserve(&mut self, strings: usize, bytes: usize) {
        let (dictionary, hasher) = (&mut self.dictionary, &self.hasher);
        dictionary.bytes.make_mut().reserve_exact(bytes);
        dictionary.offsets.make_mut().reserve_exact(strings);
        self.index.reserve(strings, |&code| hasher.hash_one(dictionary.get(code)));
    }

    /// Drops the strings from the code `strings` on.
    pub(crate) fn truncate(&mut self, strings: usize) {
        let strings = strings.max(1);
        if strings >= self.dictionary.len() {
            return;
        }
        for code in strings as StringCode..self.dictionary.len() as StringCode {
            let hash = self.hasher.hash_one(self.dictionary.get(code));
            if let Ok(entry) = self.index.find_entry(hash, |&other| other == code) {
                entry.remove();
            }
        }
        self.dictionary.truncate(strings);
        if mostly_unused(self.index.capacity(), self.index.len()) {
            let (dictionary, hasher) = (&self.dictionary, &self.hasher);
            self.index.shrink_to(2 * strings, |&code| hasher.hash_one(dictionary.get(code)));
        }
    }

    /// The strings so far.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Swaps the strings with those of a batch, so that a reader of the batch sees them. Call it again with the same
    /// batch before the next [`Self::intern`].
    pub(crate) fn swap_dictionary(&mut self, other: &mut Dictionary) {
        std::mem::swap(&mut self.dictionary, other);
    }

    /// The finished dictionary, without its index.
    pub fn finish(self) -> Dictionary {
        self.dictionary
    }

    /// Bytes of memory held, the index included.
    pub fn heap_bytes(&self) -> usize {
        self.dictionary.heap_bytes() + self.index.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn end_of_a_string_beyond_32_bits_is_refused() {
        assert_eq!(end_of(u32::MAX as usize - 1, 1), Some(u32::MAX));
        assert_eq!(end_of(u32::MAX as usize, 1), None);
        assert_eq!(end_of(usize::MAX, 1), None);
    }

    #[test]
    fn guess_of_a_dropped_code_is_not_used() {
        let mut strings = DictionaryBuilder::default();
        let dropped = strings.intern(b"a");
        strings.truncate(1);
        assert_eq!(strings.intern_guess(b"", dropped), 0);
        assert_eq!(strings.intern_guess(b"b", dropped), 1);
        assert_eq!(strings.intern_guess(b"a", 1), 2);
    }

    #[test]
    fn truncate_gives_memory_back() {
        let mut strings = DictionaryBuilder::default();
        strings.intern(b"kept");
        for number in 0..200_000u32 {
            strings.intern(&number.to_le_bytes());
        }
        strings.truncate(2);
        assert!(strings.heap_bytes() < 10_000, "{}", strings.heap_bytes());
        assert_eq!((strings.intern(b"kept"), strings.intern(&[0; 4])), (1, 2));
    }

    proptest! {
        #[test]
        fn truncate_restores_what_was(
            kept in proptest::collection::vec("[a-c]{0,3}", 0..30),
            dropped in proptest::collection::vec("[a-d]{0,3}", 0..30),
            after in proptest::collection::vec("[a-e]{0,3}", 0..30),
        ) {
            let (mut strings, mut expected) =
                (DictionaryBuilder::default(), DictionaryBuilder::default());
            for string in &kept {
                prop_assert_eq!(strings.intern(string.as_bytes()), expected.intern(string.as_bytes()));
            }
            let length = strings.dictionary().len();
            for string in &dropped {
                strings.intern(string.as_bytes());
            }
            strings.truncate(length);
            for string in &after {
                prop_assert_eq!(strings.intern(string.as_bytes()), expected.intern(string.as_bytes()));
            }
            prop_assert_eq!(strings.finish(), expected.finish());
        }
    }
}
