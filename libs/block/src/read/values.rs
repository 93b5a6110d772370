//! Decoders of values, by column type.

use std::sync::Arc;

use crate::decoding::byte_arrays::ByteArrays;
use crate::decoding::delta::decode_first;
use crate::decoding::page::Encoding;
use crate::decoding::plain::Number;
use crate::decoding::{DecodeError, DecodeResult, hybrid, plain};

use super::chunk::{PageDecoder, PageValues, retain_from};
use super::strings::StringPool;

const ENCODING: DecodeError = DecodeError("a page has an encoding that its type does not allow");
const NO_DICTIONARY: DecodeError = DecodeError("this type has no dictionary");

/// Decodes no values, for columns of which only the levels matter.
#[derive(Debug, Default)]
pub(crate) struct LevelsOnly;

impl PageDecoder for LevelsOnly {
    const VALUES: bool = false;

    fn dictionary(&mut self, _: &[u8], _: usize) -> DecodeResult<()> {
        Ok(())
    }

    fn page(&mut self, _: PageValues<'_>) -> DecodeResult<()> {
        Ok(())
    }

    fn retain(&mut self, _: &[u8]) {}
}

/// INT64, signed or not, and DOUBLE, as bits.
pub(crate) type Words = Numbers<u64>;
/// INT32.
pub(crate) type Ints = Numbers<i32>;
/// INT64 columns of small numbers, as bytes. Numbers that do not fit become 0.
pub(crate) type SmallWords = Numbers<u8>;

/// Numbers of one width.
#[derive(Debug, Default)]
pub(crate) struct Numbers<T> {
    /// The values of the current page, or of all pages so far if this collects.
    pub(crate) values: Vec<T>,
    collects: bool,
    dictionary: Vec<T>,
    codes: Vec<u32>,
}

impl<T: Number> Numbers<T> {
    /// A decoder that keeps the values of all pages, with this initial capacity.
    pub(crate) fn collecting(capacity: usize) -> Self {
        Self { values: Vec::with_capacity(capacity), collects: true, ..Self::default() }
    }
}

impl<T: Number> PageDecoder for Numbers<T> {
    fn dictionary(&mut self, body: &[u8], entries: usize) -> DecodeResult<()> {
        self.dictionary.clear();
        T::decode(body, 0, entries, &mut self.dictionary)
    }

    fn page(&mut self, page: PageValues<'_>) -> DecodeResult<()> {
        if !self.collects {
            self.values.clear();
        }
        match page.encoding {
            Encoding::Plain => T::decode(page.body, page.skip, page.count, &mut self.values),
            Encoding::DeltaBinaryPacked => {
                let start = self.values.len();
                let wanted = page.skip + page.count;
                decode_first(page.body, page.total, wanted, &mut self.values)?;
                keep(&mut self.values, start, page);
                Ok(())
            }
            Encoding::Dictionary => {
                self.codes.clear();
                let limit = self.dictionary.len();
                hybrid::decode_codes(page.body, page.skip, page.count, limit, &mut self.codes)?;
                let dictionary = &self.dictionary;
                self.values.extend(self.codes.iter().map(|&code| dictionary[code as usize]));
                Ok(())
            }
            _ => Err(ENCODING),
        }
    }

    fn retain(&mut self, kept: &[u8]) {
        let start = self.values.len().saturating_sub(kept.len());
        retain_from(&mut self.values, start, kept);
    }
}

/// Reduces the values from `start` on, which are a whole page, to the wanted ones.
fn keep<T>(values: &mut Vec<T>, start: usize, page: PageValues<'_>) {
    values.truncate(start + page.skip + page.count);
    values.drain(start..(start + page.skip).min(values.len()));
    // If a page consists of one huge trace, a neighbouring trace keeps only little of it.
    if values.capacity() / 4 > values.len() {
        values.shrink_to_fit();
    }
}

/// BOOLEAN, as 0 and 1.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// Of the current page.
    pub(crate) values: Vec<u8>,
}

impl PageDecoder for Flags {
    fn dictionary(&mut self, _: &[u8], _: usize) -> DecodeResult<()> {
        Err(NO_DICTIONARY)
    }

    fn page(&mut self, page: PageValues<'_>) -> DecodeResult<()> {
        self.values.clear();
        match page.encoding {
            Encoding::Plain => {
                plain::decode_booleans(page.body, page.skip, page.count, &mut self.values)
            }
            Encoding::Rle => {
                hybrid::decode_booleans(page.body, page.skip, page.count, &mut self.values)
            }
            _ => Err(ENCODING),
        }
    }

    fn retain(&mut self, kept: &[u8]) {
        retain_from(&mut self.values, 0, kept);
    }
}

/// BYTE_ARRAY. A page's values are local codes, which refer to the chunk's dictionary or to the page itself.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    /// Local codes of the current page; each is below [`Self::local_len`].
    pub(crate) local: Vec<u32>,
    dictionary: Arc<ByteArrays>,
    /// The batch code of each dictionary entry; [`UNSEEN`] until it is first used.
    resolved: Vec<u32>,
    /// Entries of the dictionary that have none.
    unresolved: usize,
    page: ByteArrays,
    /// The current page has no codes.
    is_plain: bool,
}

/// Marks a dictionary entry that no value has used yet. It cannot be a real code, because a pool holds fewer strings.
pub(crate) const UNSEEN: u32 = u32::MAX;

impl PageDecoder for Strings {
    fn dictionary(&mut self, body: &[u8], entries: usize) -> DecodeResult<()> {
        let mut dictionary = ByteArrays::default();
        dictionary.decode_plain(body, 0, entries)?;
        self.share_dictionary(Arc::new(dictionary));
        Ok(())
    }

    fn share_dictionary(&mut self, dictionary: Arc<ByteArrays>) {
        self.resolved.clear();
        self.resolved.resize(dictionary.len(), UNSEEN);
        self.unresolved = dictionary.len();
        self.dictionary = dictionary;
    }

    fn page(&mut self, page: PageValues<'_>) -> DecodeResult<()> {
        let PageValues { body, skip, count, total, .. } = page;
        self.local.clear();
        self.is_plain = page.encoding != Encoding::Dictionary;
        match page.encoding {
            Encoding::Dictionary => {
                let limit = self.dictionary.len();
                return hybrid::decode_codes(body, skip, count, limit, &mut self.local);
            }
            Encoding::Plain => self.page.decode_plain(body, skip, count)?,
            Encoding::DeltaLengthByteArray => {
                self.page.decode_delta_length(body, skip, count, total)?;
            }
            Encoding::DeltaByteArray => self.page.decode_front_coded(body, skip, count, total)?,
            _ => return Err(ENCODING),
        }
        self.local.extend(0..self.page.len() as u32);
        Ok(())
    }

    fn retain(&mut self, kept: &[u8]) {
        retain_from(&mut self.local, 0, kept);
    }
}

impl Strings {
    /// The number of local codes: dictionary entries, or values of a page without codes.
    pub(crate) fn local_len(&self) -> usize {
        if self.is_plain { self.page.len() } else { self.dictionary.len() }
    }

    /// True if local codes mean the same on every page.
    pub(crate) fn has_codes(&self) -> bool {
        !self.is_plain
    }

    /// The bytes of a local code.
    #[inline]
    pub(crate) fn bytes(&self, local: u32) -> &[u8] {
        let arrays = if self.is_plain { &self.page } else { &*self.dictionary };
        arrays.get(local as usize)
    }

    /// The batch code of a local code.
    #[inline]
    pub(crate) fn resolve(&mut self, local: u32, pool: &mut StringPool) -> DecodeResult<u32> {
        if self.is_plain {
            return pool.intern(self.page.get(local as usize));
        }
        let known = self.resolved[local as usize];
        if known != UNSEEN {
            return Ok(known);
        }
        let code = pool.intern(self.dictionary.get(local as usize))?;
        self.resolved[local as usize] = code;
        self.unresolved -= 1;
        Ok(code)
    }

    /// Appends the batch codes of all values of the page.
    pub(crate) fn resolve_all(
        &mut self,
        pool: &mut StringPool,
        out: &mut Vec<u32>,
    ) -> DecodeResult<()> {
        out.reserve(self.local.len());
        if !self.is_plain {
            for number in 0..self.local.len() {
                // From then on no page has a new one.
                if self.unresolved == 0 {
                    break;
                }
                let local = self.local[number] as usize;
                if self.resolved[local] == UNSEEN {
                    self.resolved[local] = pool.intern(self.dictionary.get(local))?;
                    self.unresolved -= 1;
                }
            }
            let resolved = self.resolved.as_slice();
            out.extend(self.local.iter().map(|&local| resolved[local as usize]));
            return Ok(());
        }
        // Without a dictionary, equal neighbours are common: mostly empty strings.
        let (mut previous, mut code) = (&b""[..], 0);
        for &local in &self.local {
            let string = self.page.get(local as usize);
            if string != previous {
                (previous, code) = (string, pool.intern(string)?);
            }
            out.push(code);
        }
        Ok(())
    }

    /// Appends the values of the page as ids of `WIDTH` bytes. Shorter values are padded with zeros on the left; longer
    /// ones keep only their last bytes.
    pub(crate) fn ids<const WIDTH: usize, T>(
        &self,
        wrap: impl Fn([u8; WIDTH]) -> T,
        out: &mut Vec<T>,
    ) {
        if self.is_plain
            && self.local.len() == self.page.len()
            && let Some(ids) = self.page.fixed::<WIDTH>()
        {
            out.extend(ids.iter().map(|id| wrap(*id)));
            return;
        }
        out.extend(self.local.iter().map(|&local| {
            let bytes = self.bytes(local);
            let tail = &bytes[bytes.len().saturating_sub(WIDTH)..];
            let mut id = [0; WIDTH];
            id[WIDTH - tail.len()..].copy_from_slice(tail);
            wrap(id)
        }));
    }
}
