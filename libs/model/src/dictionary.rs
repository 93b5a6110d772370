//! The byte strings of a batch, each stored once.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::Buffer;

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
        let ordered = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        let fits = offsets.last().is_some_and(|&end| end as usize <= bytes.len());
        let starts_empty = offsets.len() >= 2 && offsets[0] == 0 && offsets[1] == 0;
        (ordered && fits && starts_empty).then_some(Self { bytes, offsets })
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
        let (bytes, offsets) = (self.bytes.as_slice(), self.offsets.as_slice());
        let index = code as usize;
        if index + 1 >= offsets.len() {
            return b"";
        }
        &bytes[offsets[index] as usize..offsets[index + 1] as usize]
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

    fn push(&mut self, string: &[u8]) -> StringCode {
        let code = self.len() as u32;
        self.bytes.make_mut().extend_from_slice(string);
        self.offsets.push(self.bytes.len() as u32);
        code
    }
}

/// A dictionary that is being filled, with an index from string to code.
#[derive(Debug, Default)]
pub struct DictionaryBuilder {
    dictionary: Dictionary,
    index: HashTable<StringCode>,
    hasher: RandomState,
}

impl DictionaryBuilder {
    /// The code of `string`, added if it is new. The empty string is code 0.
    ///
    /// Limit: a dictionary addresses 4 GiB of bytes; batches are cut long before.
    #[inline]
    pub fn intern(&mut self, string: &[u8]) -> StringCode {
        if string.is_empty() {
            return 0;
        }
        let hash = self.hasher.hash_one(string);
        let dictionary = &self.dictionary;
        if let Some(&code) = self.index.find(hash, |&code| dictionary.get(code) == string) {
            return code;
        }
        let code = self.dictionary.push(string);
        let (dictionary, hasher) = (&self.dictionary, &self.hasher);
        self.index.insert_unique(hash, code, |&code| hasher.hash_one(dictionary.get(code)));
        code
    }

    /// The code of `string`, which is likely the one of `guess`: a comparison instead of a look-up if it is.
    #[inline]
    pub(crate) fn intern_guess(&mut self, string: &[u8], guess: StringCode) -> StringCode {
        if self.dictionary.get(guess) == string { guess } else { self.intern(string) }
    }

    /// The strings so far.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Exchanges the strings with those of a batch, so that a reader of the batch sees them; call it again with the
    /// same batch before the next [`Self::intern`].
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
