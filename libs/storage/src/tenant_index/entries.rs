//! The blocks that are kept of an index while it is decoded, and their limits.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use jiff::Timestamp;

use super::{BUFFER_BYTES, TenantIndex};
use crate::error::{Error, Result};
use crate::meta::{BlockMeta, CompactedBlockMeta, zero_time};

/// What an index may have at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of the decompressed index. More is taken for damage.
    pub(super) decoded_bytes: u64,
    /// Bytes of one block in it.
    pub(super) entry_bytes: u64,
    /// Blocks that are kept: each may take a few bytes in the index, and takes some hundred in memory all the same.
    pub(super) blocks: usize,
}

impl Bounds {
    /// About two million blocks. Most have less than a kilobyte; one that has cut traces names them. None has more than its
    /// `meta.json` may have.
    pub(super) const USUAL: Self =
        Self { decoded_bytes: 1 << 30, entry_bytes: 5 << 20, blocks: 2 << 20 };
}

/// What is kept of the blocks of an index.
pub trait Choose {
    /// The meta as it is kept; `None` if it is not.
    fn live(&mut self, meta: BlockMeta) -> Option<Arc<BlockMeta>>;

    /// As [`Choose::live`], of a compacted block.
    fn compacted(&mut self, block: CompactedBlockMeta) -> Option<Arc<CompactedBlockMeta>>;
}

impl<F: FnMut(&BlockMeta) -> bool> Choose for F {
    fn live(&mut self, meta: BlockMeta) -> Option<Arc<BlockMeta>> {
        self(&meta).then(|| Arc::new(meta))
    }

    fn compacted(&mut self, block: CompactedBlockMeta) -> Option<Arc<CompactedBlockMeta>> {
        self(&block.meta).then(|| Arc::new(block))
    }
}

/// Blocks as they are decoded.
pub(super) struct Entries<K> {
    keep: K,
    pub(super) bounds: Bounds,
    index: TenantIndex,
    others: usize,
}

impl<K: Choose> Entries<K> {
    pub(super) fn new(keep: K, bounds: Bounds) -> Self {
        let index = TenantIndex::empty(zero_time());
        Self { keep, bounds, index, others: 0 }
    }

    /// The index, and how many blocks were left out of it.
    pub(super) fn finish(self) -> (TenantIndex, usize) {
        (self.index, self.others)
    }

    pub(super) fn created_at(&mut self, at: Timestamp) {
        self.index.created_at = at;
    }

    pub(super) fn left_out(&mut self, blocks: u64) {
        self.index.left_out = blocks;
    }

    pub(super) fn unread(&mut self, blocks: u64) {
        self.index.unread = blocks;
    }

    pub(super) fn form(&mut self, form: u64) {
        self.index.form = form;
    }

    pub(super) fn live(&mut self, meta: BlockMeta) -> Result<()> {
        match self.keep.live(meta) {
            Some(meta) => self.index.live.push(meta),
            None => self.others += 1,
        }
        self.check()
    }

    pub(super) fn compacted(&mut self, block: CompactedBlockMeta) -> Result<()> {
        match self.keep.compacted(block) {
            Some(block) => self.index.compacted.push(block),
            None => self.others += 1,
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        if self.index.live.len() + self.index.compacted.len() > self.bounds.blocks {
            return Err(Error::corrupt("block count of tenant index", 0));
        }
        Ok(())
    }
}

/// Counts decompressed bytes.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    all: Cell<u64>,
    /// Since the last block ended.
    of_entry: Cell<u64>,
}

impl Decoded {
    /// What is read from now on is of another block.
    pub(super) fn next_entry(&self) {
        self.of_entry.set(0);
    }

    /// `Error::Corrupt` where the last bytes were read.
    pub(super) fn corrupt(&self, what: &'static str) -> Error {
        Error::corrupt(what, self.all.get())
    }
}

/// Decompressed bytes up to the bounds; an error behind them.
pub(super) struct Bounded<'d, R> {
    reader: R,
    decoded: &'d Decoded,
    bounds: Bounds,
}

impl<'d, R: Read> Bounded<'d, R> {
    pub(super) fn buffered(reader: R, decoded: &'d Decoded, bounds: Bounds) -> BufReader<Self> {
        BufReader::with_capacity(BUFFER_BYTES, Self { reader, decoded, bounds })
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let Decoded { all, of_entry } = self.decoded;
        all.set(all.get() + count as u64);
        of_entry.set(of_entry.get() + count as u64);
        let Bounds { decoded_bytes, entry_bytes, .. } = self.bounds;
        if all.get() > decoded_bytes || of_entry.get() > entry_bytes {
            return Err(io::Error::other("too large"));
        }
        Ok(count)
    }
}
