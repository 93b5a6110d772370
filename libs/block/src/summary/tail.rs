//! The tail of the data file: from the first offset index to the end.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{MAX_PART_BYTES, corrupt, unpack};
use crate::read::ByteSource;
use crate::{Error, Result};

/// A tail may be at most this many times as long as its compressed form (it consists of ascending numbers), plus a
/// constant for short ones.
const MAX_GROWTH: usize = 256;
const FREE_BYTES: usize = 64 << 10;

/// Footer length and magic, after the footer.
const END_BYTES: usize = 8;

/// A copy of the end of a data file.
#[derive(Debug, Clone)]
pub struct Tail {
    /// Where the footer starts, from the start of `bytes`.
    footer: usize,
    bytes: Bytes,
}

impl Tail {
    /// Decodes the tail part of a summary, for a block with `data_bytes`. Errors: `Error::Corrupt`, also if the tail is
    /// longer than the data or than any footer.
    pub fn decode(part: &[u8], data_bytes: u64) -> Result<Self> {
        let limit = data_bytes.min(MAX_PART_BYTES) as usize;
        let limit = limit.min(part.len().saturating_mul(MAX_GROWTH) + FREE_BYTES);
        let bytes = Bytes::from(unpack(part, limit)?);
        let footer = bytes
            .len()
            .checked_sub(END_BYTES)
            .and_then(|end| Some((end, u32::from_le_bytes(*bytes.get(end..)?.first_chunk()?))))
            .and_then(|(end, length)| end.checked_sub(length as usize));
        let footer = footer.ok_or_else(|| corrupt("has no footer"))?;
        Ok(Self { footer, bytes })
    }

    /// True if a file ends with the same bytes. Errors: those of the source; the file is shorter.
    pub fn is_end_of(&self, source: &dyn ByteSource) -> Result<bool> {
        let end = source.size();
        let start = end.checked_sub(self.bytes.len() as u64);
        let start = start.ok_or_else(|| corrupt("is longer than the data"))?;
        Ok(source.read_footer(start..end)? == self.bytes)
    }
}

/// The tail of a file of `size` bytes, out of its last bytes `end`: everything from the first offset index on, which
/// begins at `first_index` in the file. Only the footer if the file has no index.
pub(crate) fn cut_tail(end: &[u8], size: u64, first_index: Option<u64>) -> &[u8] {
    let start = size - end.len() as u64;
    let from = first_index.and_then(|index| usize::try_from(index.checked_sub(start)?).ok());
    let footer = || {
        let length = end.last_chunk::<END_BYTES>().and_then(|tail| tail.first_chunk());
        let length = length.map_or(0, |length| u32::from_le_bytes(*length) as usize);
        end.len().saturating_sub(length + END_BYTES)
    };
    end.get(from.unwrap_or_else(footer)..).unwrap_or(end)
}

/// A source whose tail is in memory.
///
/// The footer is dropped after it is first read, because readers keep what they decode from it.
pub struct TailSource {
    inner: Arc<dyn ByteSource>,
    /// The offset indexes, and where they start in the file.
    indexes: Bytes,
    start: u64,
    footer: Mutex<Option<Bytes>>,
}

impl TailSource {
    /// The source with its tail. Errors: `Error::Corrupt` if the tail is longer than the file.
    pub fn new(inner: Arc<dyn ByteSource>, tail: &Tail) -> Result<Self> {
        let start = inner.size().checked_sub(tail.bytes.len() as u64);
        let start = start.ok_or_else(|| corrupt("is longer than the data"))?;
        // Copied, so that the footer's memory can be freed.
        let indexes = Bytes::copy_from_slice(&tail.bytes[..tail.footer]);
        let footer = Mutex::new(Some(tail.bytes.slice(tail.footer..)));
        Ok(Self { inner, indexes, start, footer })
    }
}

impl ByteSource for TailSource {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.inner.read(range)
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.read_many(ranges)
    }

    fn read_footer(&self, range: Range<u64>) -> Result<Bytes> {
        let footer = self.footer.lock().take().filter(|_| range.end == self.size());
        let length = range.end.saturating_sub(range.start) as usize;
        match footer.and_then(|footer| Some((footer.len().checked_sub(length)?, footer))) {
            Some((from, footer)) => Ok(footer.slice(from..)),
            None => self.inner.read_footer(range),
        }
    }

    fn read_offset_indexes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let part = |range: &Range<u64>| -> Option<Bytes> {
            let from = usize::try_from(range.start.checked_sub(self.start)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(self.start)?).ok()?;
            Some(self.indexes.slice_ref(self.indexes.get(from..to)?))
        };
        let empty = |range: &Range<u64>| range.is_empty().then(Bytes::new);
        let parts: Option<_> =
            ranges.iter().map(|range| empty(range).or_else(|| part(range))).collect();
        parts.map_or_else(|| self.inner.read_offset_indexes(ranges), Ok::<_, Error>)
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn held_bytes(&self) -> usize {
        self.indexes.len() + self.inner.held_bytes()
    }
}
