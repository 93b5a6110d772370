//! Which parts of a file are read as a whole, and their bytes.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::{FEW_REQUESTS, MAX_GAP};
use crate::pool::pause_job;

/// A part of a file, for some row groups.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) range: Range<u64>,
    /// Ascending.
    pub(super) row_groups: Vec<usize>,
    /// Row groups that may still be read.
    left: AtomicUsize,
    pub(super) bytes: Mutex<Option<Bytes>>,
}

impl Window {
    pub(super) fn new(range: Range<u64>, row_groups: Vec<usize>) -> Self {
        let left = AtomicUsize::new(row_groups.len());
        Self { range, row_groups, left, bytes: Mutex::default() }
    }

    pub(super) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        range.start >= self.range.start && range.end <= self.range.end
    }

    /// Other threads of the job may be waiting for the same bytes.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        match self.bytes.try_lock() {
            Some(bytes) => bytes,
            None => pause_job(|| self.bytes.lock()),
        }
    }

    /// True if the bytes have arrived. False while they are being read.
    pub(super) fn is_read(&self) -> bool {
        self.bytes.try_lock().is_some_and(|bytes| bytes.is_some())
    }

    /// Must not wait for the bytes: who holds them may be waiting for the turn of the caller. Then they go when it is done,
    /// see [`JoinedSource::cut`].
    pub(super) fn end(&self, row_group: usize) {
        let is_of_it = self.row_groups.binary_search(&row_group).is_ok();
        if is_of_it
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(mut bytes) = self.bytes.try_lock()
        {
            *bytes = None;
        }
    }

    /// True once nobody is expected to read it.
    pub(super) fn has_ended(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// A range that it covers, out of its bytes.
    pub(super) fn cut(&self, range: &Range<u64>, bytes: &Bytes) -> tactus_block::Result<Bytes> {
        let from = (range.start - self.range.start) as usize;
        let to = (range.end - self.range.start) as usize;
        bytes.get(from..to).map(|part| bytes.slice_ref(part)).ok_or_else(|| {
            tactus_block::Error::Corrupt { what: "a source returned too few bytes".to_owned() }
        })
    }
}

/// The windows of what is read first, which may be all, and of the rest.
pub(super) fn windows_of(
    alone: Vec<(Range<u64>, usize)>,
    rest: Vec<(Range<u64>, usize)>,
    most: u64,
) -> Vec<Window> {
    let few = |ranges, few| join_closest(join(ranges, MAX_GAP, most), few, most);
    let together = few([&alone[..], &rest].concat(), FEW_REQUESTS);
    let alone = join(alone, MAX_GAP, most);
    // Row groups of a stripe lie among each other: who reads one reads much of the others.
    if alone.is_empty() || all_bytes(&together) <= all_bytes(&alone) + MAX_GAP {
        return together;
    }
    let rest = few(rest, FEW_REQUESTS.saturating_sub(alone.len()));
    alone.into_iter().chain(rest).collect()
}

/// Joins ranges of row groups with no more than `gap` bytes between them to no more than `most`; the ranges of the result ascend.
pub(super) fn join(mut ranges: Vec<(Range<u64>, usize)>, gap: u64, most: u64) -> Vec<Window> {
    ranges.retain(|(range, _)| !range.is_empty());
    ranges.sort_unstable_by_key(|(range, _)| (range.start, range.end));
    let mut joined: Vec<(Range<u64>, Vec<usize>)> = Vec::new();
    for (range, row_group) in ranges {
        match joined.last_mut() {
            Some((last, row_groups))
                if range.end <= last.end
                    || (range.start <= last.end.saturating_add(gap)
                        && range.end - last.start <= most) =>
            {
                last.end = last.end.max(range.end);
                row_groups.push(row_group);
            }
            _ => joined.push((range, vec![row_group])),
        }
    }
    let window = |(range, mut row_groups): (Range<u64>, Vec<usize>)| {
        row_groups.sort_unstable();
        row_groups.dedup();
        Window::new(range, row_groups)
    };
    joined.into_iter().map(window).collect()
}

fn all_bytes(windows: &[Window]) -> u64 {
    windows.iter().map(Window::length).sum()
}

/// Joins further neighbours, the closest first, until there are no more than `few`, none is close enough, or twice as much
/// would be read.
pub(super) fn join_closest(mut windows: Vec<Window>, few: usize, most: u64) -> Vec<Window> {
    let mut spare = all_bytes(&windows);
    while windows.len() > few {
        let gap = |pair: &[Window]| {
            let length = pair[1].range.end - pair[0].range.start;
            let gap = pair[1].range.start.saturating_sub(pair[0].range.end);
            (length <= most && gap <= 2 * MAX_GAP).then_some(gap)
        };
        let gaps = windows.windows(2).enumerate().filter_map(|(at, pair)| Some((gap(pair)?, at)));
        let Some((gap, at)) = gaps.min().filter(|(gap, _)| *gap <= spare) else { break };
        spare -= gap;
        let second = windows.remove(at + 1);
        let range = windows[at].range.start..windows[at].range.end.max(second.range.end);
        let mut row_groups = [windows[at].row_groups.as_slice(), &second.row_groups].concat();
        row_groups.sort_unstable();
        row_groups.dedup();
        windows[at] = Window::new(range, row_groups);
    }
    windows
}
