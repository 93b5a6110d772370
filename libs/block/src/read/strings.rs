//! The dictionary of the batch that is being read.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tactus_model::{AttributeList, Buffer, Dictionary, ValueType};

use crate::decoding::{DecodeError, DecodeResult};

use super::cache::Column;

/// A dictionary addresses its bytes with 32 bits.
const MAX_BYTES: usize = u32::MAX as usize;

/// Collects the strings of all columns, each once.
///
/// The first whole dictionary that is added is used as it is. It is copied and indexed only if another string has to be
/// looked up in it.
#[derive(Debug)]
pub(crate) struct StringPool {
    adopted: Option<Dictionary>,
    /// True if the strings are in the fields below, those of the adopted dictionary first.
    is_own: bool,
    bytes: Vec<u8>,
    /// One more than there are strings.
    offsets: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Default for StringPool {
    fn default() -> Self {
        Self {
            adopted: None,
            is_own: true,
            bytes: Vec::new(),
            offsets: vec![0, 0],
            index: HashTable::new(),
            hasher: RandomState::default(),
        }
    }
}

/// What codes of a dictionary become in the batch.
#[derive(Debug)]
pub(crate) enum Recode {
    /// They stay.
    Same,
    /// The new code of each.
    Table(Vec<u32>),
}

impl StringPool {
    /// The code of a string, which is added if it is new.
    ///
    /// Errors: the strings of the batch would exceed 4 GiB.
    #[inline]
    pub(crate) fn intern(&mut self, string: &[u8]) -> DecodeResult<u32> {
        if string.is_empty() {
            return Ok(0);
        }
        if !self.is_own {
            self.index_adopted();
        }
        let hash = self.hasher.hash_one(string);
        let Self { bytes, offsets, index, hasher, .. } = self;
        if let Some(&code) = index.find(hash, |&code| string_at(bytes, offsets, code) == string) {
            return Ok(code);
        }
        if bytes.len() + string.len() > MAX_BYTES {
            return Err(DecodeError("the strings of a row group exceed 4 GiB"));
        }
        let code = (offsets.len() - 1) as u32;
        bytes.extend_from_slice(string);
        offsets.push(bytes.len() as u32);
        index.insert_unique(hash, code, |&code| hasher.hash_one(string_at(bytes, offsets, code)));
        Ok(code)
    }

    #[cold]
    fn index_adopted(&mut self) {
        self.is_own = true;
        let Some(adopted) = &self.adopted else { return };
        let (bytes, offsets) = adopted.parts();
        (self.bytes, self.offsets) = (bytes.to_vec(), offsets.to_vec());
        let Self { bytes, offsets, index, hasher, .. } = self;
        let hash = |code: &u32| hasher.hash_one(string_at(bytes, offsets, *code));
        index.reserve(offsets.len(), hash);
        for code in 1..(offsets.len() - 1) as u32 {
            index.insert_unique(hash(&code), code, hash);
        }
    }

    /// Adds all strings of a dictionary without duplicates.
    pub(crate) fn absorb(&mut self, strings: Dictionary) -> DecodeResult<Recode> {
        if strings.len() == 1 {
            return Ok(Recode::Same);
        }
        match &self.adopted {
            None if self.offsets.len() == 2 => {
                self.adopted = Some(strings);
                self.is_own = false;
                return Ok(Recode::Same);
            }
            Some(adopted) if std::ptr::eq(adopted.parts().1, strings.parts().1) => {
                return Ok(Recode::Same);
            }
            _ => {}
        }
        let codes = 0..strings.len() as u32;
        let table: DecodeResult<Vec<u32>> =
            codes.map(|code| self.intern(strings.get(code))).collect();
        let table = table?;
        let stays = table.iter().enumerate().all(|(old, &new)| old as u32 == new);
        Ok(if stays { Recode::Same } else { Recode::Table(table) })
    }

    /// Number of strings, the empty one included.
    pub(crate) fn len(&self) -> usize {
        match &self.adopted {
            Some(adopted) if !self.is_own => adopted.len(),
            _ => self.offsets.len() - 1,
        }
    }

    /// The string of a code.
    pub(crate) fn get(&self, code: u32) -> &[u8] {
        match &self.adopted {
            Some(adopted) if !self.is_own => adopted.get(code),
            _ => string_at(&self.bytes, &self.offsets, code),
        }
    }

    /// All strings, in a dictionary that is cheap to clone.
    pub(crate) fn finish_shared(self) -> Dictionary {
        match self.adopted {
            Some(adopted) if !self.is_own => adopted,
            _ => {
                let (bytes, offsets) = (Buffer::from(self.bytes), Buffer::from(self.offsets));
                Dictionary::from_checked_parts(bytes.into_shared(), offsets.into_shared())
            }
        }
    }

    /// All strings.
    pub(crate) fn finish(self) -> Dictionary {
        match self.adopted {
            Some(adopted) if !self.is_own => adopted,
            _ => Dictionary::from_checked_parts(self.bytes.into(), self.offsets.into()),
        }
    }
}

/// The string of a code, which must be below the number of strings.
#[inline]
fn string_at<'b>(bytes: &'b [u8], offsets: &[u32], code: u32) -> &'b [u8] {
    &bytes[offsets[code as usize] as usize..offsets[code as usize + 1] as usize]
}

impl Recode {
    /// The attributes of a list in the batch.
    pub(crate) fn list(&self, list: AttributeList) -> AttributeList {
        let Self::Table(table) = self else { return list };
        let payloads = list.types.iter().zip(list.payloads.iter());
        let payloads = payloads.map(|(&value_type, &payload)| {
            match ValueType::from_u8(value_type).is_some_and(ValueType::holds_code) {
                true => u64::from(table[payload as usize]),
                false => payload,
            }
        });
        AttributeList {
            payloads: payloads.collect(),
            keys: self.codes(list.keys),
            starts: list.starts,
            types: list.types,
        }
    }

    /// The codes of a column in the batch.
    pub(crate) fn codes(&self, codes: Buffer<u32>) -> Buffer<u32> {
        match self {
            Self::Same => codes,
            Self::Table(table) => codes.iter().map(|&code| table[code as usize]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dictionary(strings: &[String]) -> Dictionary {
        let mut pool = StringPool::default();
        for string in strings {
            pool.intern(string.as_bytes()).unwrap();
        }
        pool.finish_shared()
    }

    #[test]
    fn first_dictionary_is_taken_over_as_it_is() {
        let first = dictionary(&["a".to_owned(), "b".to_owned()]);
        let mut pool = StringPool::default();
        assert!(matches!(pool.absorb(Dictionary::default()), Ok(Recode::Same)));
        assert!(matches!(pool.absorb(first.clone()), Ok(Recode::Same)));
        assert!(matches!(pool.absorb(first.clone()), Ok(Recode::Same)));
        assert_eq!(pool.get(2), b"b");
        assert_eq!(pool.intern(b"c").unwrap(), 3);
        // It is still known after it was copied.
        assert!(matches!(pool.absorb(first.clone()), Ok(Recode::Same)));
        assert_eq!(pool.intern(b"a").unwrap(), 1);
        let strings = pool.finish();
        let all: Vec<&[u8]> = (0..strings.len() as u32).map(|code| strings.get(code)).collect();
        assert_eq!(all, [&b""[..], b"a", b"b", b"c"]);
    }

    proptest! {
        #[test]
        fn recoded_strings_stay_the_same_and_each_is_kept_once(
            parts in proptest::collection::vec(proptest::collection::vec("[a-c]{0,2}", 0..12), 0..5),
        ) {
            let mut pool = StringPool::default();
            let mut recoded = Vec::new();
            for part in &parts {
                let part = dictionary(part);
                let codes: Buffer<u32> = (0..part.len() as u32).collect();
                let recode = pool.absorb(part.clone()).unwrap();
                recoded.push((part, recode.codes(codes)));
            }
            let strings = pool.finish();
            for (part, codes) in recoded {
                for (old, &new) in codes.iter().enumerate() {
                    prop_assert_eq!(part.get(old as u32), strings.get(new));
                }
            }
            let mut all: Vec<&[u8]> = (0..strings.len() as u32).map(|code| strings.get(code)).collect();
            all.sort_unstable();
            prop_assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
