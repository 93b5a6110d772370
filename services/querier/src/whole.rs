//! Row groups of a remote block that are read with one request, when the first of their bytes is asked for.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_block::Result;
use tactus_block::read::{BlockReader, ByteSource};

use crate::pool::pause_job;

/// No more is read at once: a request of this length takes some times as long as a short one.
const MAX_BYTES: u64 = 8 << 20;

/// What is read in vain to save a request, for each row group.
const BYTES_A_REQUEST: u64 = 1 << 20;

/// The block with all columns of a row group from one request, if that is not too long.
pub(crate) fn row_group_at_once(block: &BlockReader, row_group: usize) -> BlockReader {
    at_once(block, row_group..row_group + 1, MAX_BYTES)
}

/// The block with small row groups, of which some columns are wanted, from one request for all of them.
pub(crate) fn row_groups_at_once(block: &BlockReader, row_groups: Range<usize>) -> BlockReader {
    let worth = (row_groups.len() as u64).saturating_mul(BYTES_A_REQUEST).min(MAX_BYTES);
    at_once(block, row_groups, worth)
}

fn at_once(block: &BlockReader, row_groups: Range<usize>, max_bytes: u64) -> BlockReader {
    let range = block.bytes_of(row_groups);
    let length = range.end - range.start;
    if !block.source().is_remote() || length == 0 || length > max_bytes {
        return block.clone();
    }
    let inner = Arc::clone(block.source());
    block.with_source(Arc::new(WholeSource { inner, range, bytes: Mutex::new(None) }))
}

/// A source of which a part is read as a whole.
struct WholeSource {
    inner: Arc<dyn ByteSource>,
    range: Range<u64>,
    bytes: Mutex<Option<Bytes>>,
}

impl WholeSource {
    fn covers(&self, range: &Range<u64>) -> bool {
        range.is_empty() || (range.start >= self.range.start && range.end <= self.range.end)
    }

    /// The bytes of ranges that are covered.
    fn cut(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.iter().all(Range::is_empty) {
            return Ok(vec![Bytes::new(); ranges.len()]);
        }
        let whole = {
            // Other threads of the job may wait for the same bytes.
            let mut bytes = match self.bytes.try_lock() {
                Some(bytes) => bytes,
                None => pause_job(|| self.bytes.lock()),
            };
            match &*bytes {
                Some(bytes) => bytes.clone(),
                None => bytes.insert(self.inner.read(self.range.clone())?).clone(),
            }
        };
        let from = self.range.start;
        let cut = |range: &Range<u64>| match range.is_empty() {
            true => Ok(Bytes::new()),
            false => whole
                .get((range.start - from) as usize..(range.end - from) as usize)
                .map(|part| whole.slice_ref(part))
                .ok_or_else(|| tactus_block::Error::Corrupt {
                    what: "a source returned too few bytes".to_owned(),
                }),
        };
        ranges.iter().map(cut).collect()
    }
}

impl ByteSource for WholeSource {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if !self.covers(&range) {
            return self.inner.read(range);
        }
        Ok(self.cut(std::slice::from_ref(&range))?.pop().unwrap_or_default())
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match ranges.iter().all(|range| self.covers(range)) {
            true => self.cut(ranges),
            false => self.inner.read_many(ranges),
        }
    }

    fn read_footer(&self, range: Range<u64>) -> Result<Bytes> {
        self.inner.read_footer(range)
    }

    fn read_offset_indexes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.read_offset_indexes(ranges)
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }
}
