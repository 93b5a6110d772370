//! The summary of a block: an object beside `data.parquet` with what most queries need first.
//!
//! Its parts are stored one after the other, so that neighbours can be read with one request. The *tail* is a copy of
//! the end of the data file (offset indexes and footer). The *values* are the attributes of the block, and the values
//! of those that have few. The *filter* says which strings the other attributes may have. All of this is in
//! `data.parquet` as well, but reading it there would take requests in proportion to row groups and columns. So a block
//! whose summary is missing or damaged gives the same answers. The block's meta says how long the parts are.

use bytes::Bytes;
use tactus_model::wire::put_varint;
use tactus_storage::meta::SummaryParts;

use crate::{Error, Result};

mod collect;
mod filter;
mod found;
mod tail;
mod values;

pub(crate) use collect::ValueCollector;
pub use filter::BlockFilter;
pub(crate) use tail::cut_tail;
pub use tail::{Tail, TailSource};
pub use values::{BlockValues, ListedValue, ValueOwner};

/// Length and checksum before the compressed bytes of a part.
const HEAD_BYTES: usize = 8;

/// Compression level. Parts are small, and are read far more often than written.
const LEVEL: i32 = 3;

/// More row groups than blocks have. A block with more is read without its summary.
const MAX_ROW_GROUPS: u32 = 1 << 17;
/// Most bytes of a tail, which includes the footer, and of a filter.
const MAX_PART_BYTES: u64 = 128 << 20;
/// Divisor: a filter longer than this fraction of the block's data is not read. Written ones take one byte in 34, and a
/// little for each row group.
const DATA_BYTES_A_FILTER_BYTE: u64 = 16;
/// What parts of small blocks take besides.
const MORE_BYTES: u64 = 64 << 10;

/// The parts of a summary if they may be read; `None` if one is longer than any that is written for a block with
/// `data_bytes`.
///
/// Whoever can write to the bucket may claim any length, and may store objects that long.
pub fn readable_parts(parts: SummaryParts, data_bytes: u64) -> Option<SummaryParts> {
    // Data that does not compress becomes slightly longer.
    let packed = |bytes: u64| bytes.saturating_add(bytes / 64).saturating_add(MORE_BYTES);
    let max_filter = (data_bytes / DATA_BYTES_A_FILTER_BYTE).saturating_add(MORE_BYTES);
    let is_readable = parts.tail <= packed(data_bytes.min(MAX_PART_BYTES))
        && parts.values <= packed(values::MAX_BYTES as u64)
        && parts.filter <= max_filter.min(MAX_PART_BYTES);
    is_readable.then_some(parts)
}

/// A finished summary.
#[derive(Debug, Clone)]
pub struct SummaryFile {
    /// The object.
    pub bytes: Bytes,
    /// The lengths of the parts, for the meta.
    pub parts: SummaryParts,
}

impl SummaryFile {
    /// Puts the parts together. Errors: those of the compression library.
    pub(crate) fn new(tail: &[u8], values: &[u8], filter: Vec<u8>) -> Result<Self> {
        let (tail, values) = (pack(tail)?, pack(values)?);
        let parts = SummaryParts {
            tail: tail.len() as u64,
            values: values.len() as u64,
            filter: filter.len() as u64,
        };
        Ok(Self { bytes: [tail, values, filter].concat().into(), parts })
    }
}

/// A part as it is stored: length before compression and checksum, both little-endian, then zstd.
fn pack(raw: &[u8]) -> Result<Vec<u8>> {
    let compressed = zstd::bulk::compress(raw, LEVEL)?;
    let length = u32::try_from(raw.len()).map_err(|_| Error::TooLarge("the summary"))?;
    let mut out = Vec::with_capacity(HEAD_BYTES + compressed.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&compressed).to_le_bytes());
    out.extend_from_slice(&compressed);
    Ok(out)
}

/// The content of a stored part. Errors: `Error::Corrupt`, also for a part that claims to be longer than `limit`.
fn unpack(part: &[u8], limit: usize) -> Result<Vec<u8>> {
    let (Some(head), Some(compressed)) = (part.first_chunk::<HEAD_BYTES>(), part.get(HEAD_BYTES..))
    else {
        return Err(corrupt("is cut off"));
    };
    let [a, b, c, d, crc @ ..] = *head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if crc32fast::hash(compressed) != u32::from_le_bytes(crc) {
        return Err(corrupt("does not match its checksum"));
    }
    if length > limit {
        return Err(corrupt("is too long"));
    }
    let raw = zstd::bulk::decompress(compressed, length).map_err(|_| corrupt("is not zstd"))?;
    if raw.len() == length { Ok(raw) } else { Err(corrupt("has another length than it says")) }
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt { what: format!("the summary {what}") }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the parts are made of.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| corrupt("ends"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Result<u64> {
        let bytes = self.take(8)?.first_chunk().copied();
        Ok(u64::from_le_bytes(bytes.unwrap_or_default()))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(corrupt("has a number without an end"))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.varint()?;
        self.take(usize::try_from(count).map_err(|_| corrupt("ends"))?)
    }
}
