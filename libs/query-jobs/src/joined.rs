//! Joins reads of a remote block into few requests. A joined range is read when the first of its bytes is needed.
//!
//! A request to object storage costs money, and takes some tens of milliseconds however little it reads; a megabyte or
//! two would arrive in that time. So the ranges that a job may read in several row groups are joined if they are close
//! together. In neighbouring row groups, the columns of many queries are.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tactus_block::STRIPE_BYTES;
use tactus_block::read::{BlockReader, ByteSource};
use tactus_model::Projection;

use crate::error::Result;

mod windows;

use windows::{Window, windows_of};

/// Up to this many unneeded bytes are read to save a request.
const MAX_GAP: u64 = 2 << 20;

/// A job that would need more requests than these accepts longer gaps, the shortest of them first.
const FEW_REQUESTS: usize = 10;

/// Most bytes of one read for several row groups: the same columns of two stripes.
const MAX_BYTES: u64 = 3 * STRIPE_BYTES / 2;

/// The same where the memory is not counted.
const FEW_BYTES: u64 = STRIPE_BYTES / 2;

/// Most bytes that are read ahead.
const MAX_AHEAD: u64 = 2 * STRIPE_BYTES;

/// The block with all columns of a row group from one request, if that is not too long.
pub(crate) fn row_group_at_once(block: &BlockReader, row_group: usize) -> BlockReader {
    JoinedReads::at_once(block, row_group..row_group + 1, STRIPE_BYTES).block
}

/// The columns that a job reads of each row group.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'p> {
    /// Columns that are read of every row group.
    pub(crate) first: &'p Projection,
    /// Columns that are also read of row groups with matches.
    pub(crate) then: Option<&'p Projection>,
    /// The first row group may be all that is read.
    pub(crate) may_end: bool,
}

/// A block of which a job reads some columns, row group by row group.
#[derive(Clone)]
pub(crate) struct JoinedReads {
    /// The block, whose source joins the reads.
    pub(crate) block: BlockReader,
    source: Option<Arc<JoinedSource>>,
}

impl JoinedReads {
    /// The block itself.
    pub(crate) fn plain(block: &BlockReader) -> Self {
        Self { block: block.clone(), source: None }
    }

    /// The block with small row groups, of which something is wanted, from one request for all of them.
    pub(crate) fn whole_if_small(block: &BlockReader, row_groups: Range<usize>) -> Self {
        let worth = MAX_GAP.saturating_mul(row_groups.len() as u64).min(STRIPE_BYTES);
        Self::at_once(block, row_groups, worth)
    }

    /// The block with row groups from one request, if they have no more bytes than `most`.
    fn at_once(block: &BlockReader, row_groups: Range<usize>, most: u64) -> Self {
        let range = block.bytes_of(row_groups.clone());
        let length = range.end - range.start;
        if !block.source().is_remote() || length == 0 || length > most {
            return Self::plain(block);
        }
        let window = Window::new(range, row_groups.collect());
        with_windows(block, Windows { first: vec![window], all: Vec::new() })
    }

    /// The block with the reads of these row groups joined, if it is a remote one.
    pub(crate) fn new(
        block: &BlockReader,
        row_groups: impl Iterator<Item = usize>,
        wanted: Wanted<'_>,
    ) -> Self {
        Self::within(block, row_groups, wanted, MAX_BYTES)
    }

    /// The same with fewer bytes at once, which need not be counted.
    pub(crate) fn small(
        block: &BlockReader,
        row_groups: impl Iterator<Item = usize>,
        wanted: Wanted<'_>,
    ) -> Self {
        Self::within(block, row_groups, wanted, FEW_BYTES)
    }

    fn within(
        block: &BlockReader,
        row_groups: impl Iterator<Item = usize>,
        wanted: Wanted<'_>,
        most: u64,
    ) -> Self {
        if !block.source().is_remote() {
            return Self::plain(block);
        }
        let row_groups: Vec<_> = row_groups.collect();
        let alone = usize::from(wanted.may_end && row_groups.len() > 1);
        let (alone, rest) = row_groups.split_at(alone);
        let parts = |projections: &[&Projection]| {
            [alone, rest].map(|part| {
                let of_group = |&row_group: &usize| {
                    let ranges =
                        projections.iter().map(move |columns| block.ranges_of(row_group, columns));
                    ranges.flatten().map(move |range| (range, row_group))
                };
                part.iter().flat_map(of_group).collect::<Vec<_>>()
            })
        };
        let join = |projections: &[&Projection]| {
            let [alone, rest] = parts(projections);
            windows_of(alone, rest, most)
        };
        let first = join(&[wanted.first]);
        let all = wanted.then.map_or_else(Vec::new, |then| join(&[wanted.first, then]));
        with_windows(block, Windows { first, all })
    }

    /// Reads the first columns of these row groups with parallel requests, up to a limit of bytes.
    pub(crate) fn ahead(&self) -> Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let mut bytes = 0;
        let within = |window: &&Window| {
            bytes += window.length();
            bytes <= MAX_AHEAD
        };
        let count = source.windows[..source.firsts].iter().take_while(within).count();
        source.cut(&[], &(0..count).collect::<Vec<_>>())?;
        Ok(())
    }

    /// Notes that a row group will not be read any more.
    pub(crate) fn end(&self, row_group: usize) {
        if let Some(source) = &self.source {
            source.windows.iter().for_each(|window| window.end(row_group));
        }
    }

    /// Raw bytes that are held on behalf of a row group: its share of the joined reads.
    pub(crate) fn bytes_for(&self, row_group: usize) -> u64 {
        let windows = self.source.iter().flat_map(|source| &source.windows);
        let of_it = windows.filter(|window| window.row_groups.contains(&row_group));
        of_it.map(|window| window.length() / window.row_groups.len() as u64).max().unwrap_or(0)
    }
}

struct Windows {
    first: Vec<Window>,
    all: Vec<Window>,
}

fn with_windows(block: &BlockReader, windows: Windows) -> JoinedReads {
    let Windows { first, all } = windows;
    let (firsts, mut windows) = (first.len(), first);
    windows.extend(all);
    let inner = Arc::clone(block.source());
    let source = JoinedSource { inner, windows, firsts, reads_all: AtomicBool::new(false) };
    let source = Arc::new(source);
    let shared: Arc<dyn ByteSource> = Arc::clone(&source) as _;
    JoinedReads { block: block.with_source(shared), source: Some(source) }
}

/// A source of which windows are read as a whole.
struct JoinedSource {
    inner: Arc<dyn ByteSource>,
    /// Those of the columns that come first, then those of all.
    windows: Vec<Window>,
    firsts: usize,
    /// All columns were needed before, so they will be needed again.
    reads_all: AtomicBool,
}

impl JoinedSource {
    /// The window to take a range from; `None` if there is none.
    fn window_of(&self, range: &Range<u64>) -> Option<usize> {
        let is_read = |window: &Window| window.covers(range) && window.is_read();
        if let Some(read) = self.windows.iter().position(is_read) {
            return Some(read);
        }
        let (first, all) = self.windows.split_at(self.firsts);
        // One whose row groups have ended does not keep its bytes: the next range of it would be another request.
        let covers = |window: &Window| window.covers(range) && !window.has_ended();
        let in_first = first.iter().position(covers);
        let in_all = all.iter().position(covers).map(|place| place + self.firsts);
        let (Some(one), Some(other)) = (in_first, in_all) else {
            if in_all.is_some() {
                self.reads_all.store(true, Ordering::Relaxed);
            }
            return in_first.or(in_all);
        };
        // A range that costs hardly anything more is read with it.
        let is_close = self.windows[other].length() <= self.windows[one].length() + MAX_GAP;
        let takes_all = is_close || self.reads_all.load(Ordering::Relaxed);
        Some(if takes_all { other } else { one })
    }

    /// The bytes of ranges in these windows.
    fn cut(&self, ranges: &[Range<u64>], windows: &[usize]) -> tactus_block::Result<Vec<Bytes>> {
        let mut wanted = windows.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        // Windows are always locked in this order, which rules out a deadlock.
        let mut held: Vec<_> =
            wanted.iter().map(|&window| (window, self.windows[window].lock())).collect();
        let missing: Vec<_> = held.iter_mut().filter(|(_, bytes)| bytes.is_none()).collect();
        let to_read: Vec<_> =
            missing.iter().map(|(window, _)| self.windows[*window].range.clone()).collect();
        if !to_read.is_empty() {
            for ((_, place), bytes) in missing.into_iter().zip(self.inner.read_many(&to_read)?) {
                **place = Some(bytes);
            }
        }
        let cut = |(range, window): (&Range<u64>, &usize)| {
            let bytes = held.iter().find(|(held, _)| held == window);
            let bytes = bytes.and_then(|(_, bytes)| bytes.as_ref());
            bytes.map_or_else(
                || self.inner.read(range.clone()),
                |bytes| self.windows[*window].cut(range, bytes),
            )
        };
        let parts = ranges.iter().zip(windows).map(cut).collect();
        for (_, bytes) in held.iter_mut().filter(|(window, _)| self.windows[*window].has_ended()) {
            **bytes = None;
        }
        parts
    }
}

impl ByteSource for JoinedSource {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
        let found = self.read_many(std::slice::from_ref(&range))?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        let filled: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
        let windows: Option<Vec<_>> = filled.iter().map(|range| self.window_of(range)).collect();
        let read = match windows {
            Some(windows) => self.cut(&filled, &windows)?,
            None => self.inner.read_many(&filled)?,
        };
        let mut read = read.into_iter();
        let part = |range: &Range<u64>| match range.is_empty() {
            true => Bytes::new(),
            false => read.next().unwrap_or_default(),
        };
        Ok(ranges.iter().map(part).collect())
    }

    fn read_footer(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
        self.inner.read_footer(range)
    }

    fn read_offset_indexes(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        self.inner.read_offset_indexes(ranges)
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }
}

#[cfg(test)]
mod tests;
