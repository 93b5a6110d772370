//! The sources of a block's bytes.

use std::ops::Range;

use bytes::Bytes;

use crate::{Error, Result};

/// The bytes of one `data.parquet`.
///
/// Called on threads that may block: a remote implementation waits here for I/O that runs elsewhere. The content must
/// not change while a reader uses it.
pub trait ByteSource: Send + Sync {
    /// Length of the file in bytes.
    fn size(&self) -> u64;

    /// The bytes of a range, exactly as many as its length.
    ///
    /// Errors: `Error::Corrupt` for a range beyond the end, `Error::Io` if reading fails.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;

    /// The bytes of several ranges, in the order of the arguments.
    fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>>;

    /// As [`Self::read`], for the footer at the end of the file.
    fn read_footer(&self, range: Range<u64>) -> Result<Bytes> {
        self.read(range)
    }

    /// Like [`Self::read_many`], of offset indexes.
    fn read_offset_indexes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.read_many(ranges)
    }

    /// True if a read waits for a network, so that one long read takes less time than several short ones.
    fn is_remote(&self) -> bool {
        false
    }

    /// Bytes of the file that are held in memory.
    fn held_bytes(&self) -> usize {
        0
    }
}

/// A source in memory.
#[derive(Debug, Clone)]
pub struct BytesSource {
    bytes: Bytes,
}

impl BytesSource {
    /// The file's whole content.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }
}

impl ByteSource for BytesSource {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let part = self.bytes.get(range.start as usize..range.end as usize);
        part.map(|part| self.bytes.slice_ref(part)).ok_or_else(|| beyond_end(&range))
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.read(range.clone())).collect()
    }
}

fn beyond_end(range: &Range<u64>) -> Error {
    Error::Corrupt { what: format!("bytes {}..{} lie beyond the file", range.start, range.end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Bytes {
        (0..300_000u32).map(|i| i as u8).collect::<Vec<_>>().into()
    }

    #[test]
    fn ranges_beyond_the_end_are_corrupt() {
        let source = BytesSource::new(content());
        #[expect(clippy::reversed_empty_ranges, reason = "a corrupt footer can ask for one")]
        let ranges = [299_999..300_001, 10..5, u64::MAX - 1..u64::MAX];
        for range in ranges {
            assert!(matches!(source.read(range), Err(Error::Corrupt { .. })));
        }
    }
}
