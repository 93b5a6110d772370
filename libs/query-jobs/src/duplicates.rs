//! Finds spans that are in two blocks.
//!
//! Replicas, and clients that send again, leave the same span in several blocks until compaction merges them. A query
//! that counts spans must count it once. So for each trace in two blocks, the block with fewer of its spans leaves the
//! common ones to the other; queries on whole traces then find the trace where it is more complete. Blocks do not
//! change, so the result for a pair of blocks is cached.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use moka::sync::Cache;
use tactus_block::read::BlockReader;
use tactus_model::Projection;
use tactus_storage::Uuid;
use tactus_traceql::eval::Bitmap;

use crate::error::{Error, Result};
use crate::joined::{JoinedReads, Wanted};

mod spans;
mod traces;

use spans::Spans;
use traces::{Common, TraceTimes, Traces};

/// The spans that a block leaves to another one to count, by row group.
pub(crate) type DuplicateSpans = HashMap<usize, Bitmap>;

/// The spans that each of two blocks leaves to the other, the block with the lower id first.
type Pair = [Arc<DuplicateSpans>; 2];

/// The cached results for pairs of blocks.
#[derive(Debug)]
pub(crate) struct Duplicates {
    /// Keyed by the two block ids, the lower one first.
    pairs: Cache<(Uuid, Uuid), Pair>,
    /// The traces of each block, by row group: every pair of it asks for them.
    traces: Cache<Uuid, Arc<Vec<Traces>>>,
    /// When the spans of each trace start, of row groups that have a trace in common with another block.
    times: Cache<(Uuid, usize), Arc<TraceTimes>>,
}

/// One of two blocks. It is opened only if something of it is not known.
pub(crate) struct Side<'b> {
    pub(crate) id: Uuid,
    pub(crate) open: &'b dyn Fn() -> Result<BlockReader>,
}

impl Duplicates {
    /// Keeps up to `max_bytes`, half of it for the traces of blocks, a quarter each for their times and for pairs.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let pairs = Cache::builder().max_capacity(max_bytes / 4).weigher(|_, pair| weight(pair));
        let traces = Cache::builder().max_capacity(max_bytes / 2);
        let traces = traces.weigher(|_, groups: &Arc<Vec<Traces>>| {
            weight_of(groups.iter().map(Traces::heap_bytes).sum())
        });
        let times = Cache::builder().max_capacity(max_bytes / 4);
        let times = times.weigher(|_, times: &Arc<TraceTimes>| weight_of(times.heap_bytes()));
        Self { pairs: pairs.build(), traces: traces.build(), times: times.build() }
    }

    /// What [`Self::find`] found of two blocks, if that is still known.
    pub(crate) fn known(&self, id: Uuid, other_id: Uuid) -> Option<Arc<DuplicateSpans>> {
        let [of_lower, of_upper] = self.pairs.get(&(id.min(other_id), id.max(other_id)))?;
        Some(if id <= other_id { of_lower } else { of_upper })
    }

    /// The spans of the first block that also stand in the second, and are counted there. May block; `check` may break
    /// off.
    pub(crate) fn find(
        &self,
        own: &Side<'_>,
        other: &Side<'_>,
        check: impl Fn() -> Result<()>,
    ) -> Result<Arc<DuplicateSpans>> {
        let is_lower = own.id <= other.id;
        let (lower, upper) = if is_lower { (own, other) } else { (other, own) };
        let find = || Ok::<_, Error>(self.shared_spans(lower, upper, &check)?.map(Arc::new));
        let [of_lower, of_upper] = shared(self.pairs.try_get_with((lower.id, upper.id), find))?;
        Ok(if is_lower { of_lower } else { of_upper })
    }

    /// The traces of each row group.
    fn traces(&self, side: &Side<'_>, check: impl Fn() -> Result<()>) -> Result<Arc<Vec<Traces>>> {
        let ids = Projection::default();
        let read_all = || {
            let block = (side.open)()?;
            let row_groups = 0..block.row_groups().len();
            let reads = JoinedReads::small(&block, row_groups.clone(), wanted(&ids, None));
            reads.ahead()?;
            let read = |row_group| {
                check()?;
                let traces = Traces::of(&reads.block.read_row_group(row_group, &ids)?);
                reads.end(row_group);
                Ok(traces)
            };
            row_groups.map(read).collect::<Result<_>>().map(Arc::new)
        };
        shared(self.traces.try_get_with(side.id, read_all))
    }

    fn times(
        &self,
        id: Uuid,
        reads: &JoinedReads,
        row_group: usize,
        check: impl Fn() -> Result<()>,
    ) -> Result<Arc<TraceTimes>> {
        let read = || {
            check()?;
            let batch = reads.block.read_row_group(row_group, &starts())?;
            Ok(Arc::new(TraceTimes::of(&batch)))
        };
        shared(self.times.try_get_with((id, row_group), read))
    }

    /// What each of two blocks leaves to the other. Of a trace of which both have as many spans, `own` leaves its to `other`.
    fn shared_spans(
        &self,
        own: &Side<'_>,
        other: &Side<'_>,
        check: impl Fn() -> Result<()>,
    ) -> Result<[DuplicateSpans; 2]> {
        let traces = self.traces(own, &check)?;
        let other_traces = self.traces(other, &check)?;
        let parts = in_common(&traces, &other_traces);
        if parts.is_empty() {
            return Ok(Default::default());
        }
        let (block, other_block) = ((own.open)()?, (other.open)()?);
        let (starts, identity) = (starts(), identity());
        let reads = |block, row_groups: BTreeSet<usize>| {
            JoinedReads::small(block, row_groups.into_iter(), wanted(&starts, Some(&identity)))
        };
        let own_reads = reads(&block, parts.iter().map(|part| part.row_group).collect());
        let other_reads = reads(&other_block, parts.iter().map(|part| part.other_group).collect());
        let (mut found, mut other_found) = (DuplicateSpans::new(), DuplicateSpans::new());
        for parts in parts.chunk_by(|one, next| one.row_group == next.row_group) {
            let row_group = parts[0].row_group;
            let touching = parts.iter().map(|part| {
                let times = self.times(own.id, &own_reads, row_group, &check)?;
                let others = self.times(other.id, &other_reads, part.other_group, &check)?;
                Ok(part.touching(&times, &others))
            });
            let touching = touching.collect::<Result<Vec<_>>>()?;
            if touching.iter().any(|traces| !traces.is_empty()) {
                check()?;
                let batch = own_reads.block.read_row_group(row_group, &identity)?;
                let mut shared = Bitmap::none(batch.len());
                let spans = Spans::of(batch, 0);
                for (part, traces) in parts.iter().zip(&touching) {
                    let (Some(first), Some(last)) = (traces.first(), traces.last()) else {
                        continue;
                    };
                    check()?;
                    let rows = first.other_row as u64..last.other_row as u64 + 1;
                    let batch = other_reads.block.read_rows(part.other_group, rows, &identity)?;
                    let others = Spans::of(batch, first.other_row);
                    let left = traces.iter().filter(|common| common.is_left);
                    let left = left.map(|common| (common.row, common.other_row));
                    spans.each_also_in(&others, left, |span| shared.insert(span));
                    let group = &other_traces[part.other_group];
                    let before = group.spans_before(first.other_row);
                    let left = traces.iter().filter(|common| !common.is_left);
                    let left = left.map(|common| (common.other_row, common.row));
                    others.each_also_in(&spans, left, |span| {
                        let none = || Bitmap::none(group.spans_before(group.len()));
                        let shared = other_found.entry(part.other_group).or_insert_with(none);
                        shared.insert(before + span);
                    });
                }
                if !shared.is_empty() {
                    found.insert(row_group, shared);
                }
            }
            own_reads.end(row_group);
            let last = parts.iter().filter(|part| part.is_last);
            last.for_each(|part| other_reads.end(part.other_group));
        }
        Ok([found, other_found])
    }
}

/// Traces that a row group of each of two blocks has.
struct Part {
    row_group: usize,
    other_group: usize,
    traces: Vec<Common>,
    /// No further part is of that row group of the other block.
    is_last: bool,
}

impl Part {
    /// The traces of which spans of both may start at the same time.
    fn touching(&self, times: &TraceTimes, others: &TraceTimes) -> Vec<Common> {
        let touch = |common: &&Common| times.touch(common.row, others, common.other_row);
        self.traces.iter().filter(touch).copied().collect()
    }
}

/// What the row groups of two blocks have in common, in their order.
fn in_common(traces: &[Traces], other_traces: &[Traces]) -> Vec<Part> {
    let mut parts = Vec::new();
    for (row_group, own) in traces.iter().enumerate() {
        for (other_group, others) in other_traces.iter().enumerate() {
            let traces = own.in_common(others);
            if !traces.is_empty() {
                parts.push(Part { row_group, other_group, traces, is_last: false });
            }
        }
    }
    let mut seen = HashSet::new();
    for part in parts.iter_mut().rev() {
        part.is_last = seen.insert(part.other_group);
    }
    parts
}

fn wanted<'p>(first: &'p Projection, then: Option<&'p Projection>) -> Wanted<'p> {
    Wanted { first, then, may_end: false }
}

fn starts() -> Projection {
    Projection { start: true, ..Projection::default() }
}

/// Converts a result that another thread may have produced.
fn shared<T>(found: std::result::Result<T, Arc<Error>>) -> Result<T> {
    found.map_err(|error| (*error).clone())
}

fn weight_of(bytes: usize) -> u32 {
    u32::try_from(bytes + 128).unwrap_or(u32::MAX)
}

fn weight(pair: &Pair) -> u32 {
    let bits: usize = pair.iter().flat_map(|found| found.values()).map(Bitmap::len).sum();
    weight_of(bits / 8)
}

/// The columns that tell spans apart.
pub(crate) fn identity() -> Projection {
    Projection { span_id: true, kind: true, start: true, name: true, ..Projection::default() }
}

#[cfg(test)]
mod tests;
