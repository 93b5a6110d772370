//! Spans that stand in two blocks.
//!
//! Replicas, and clients that send again, leave the same span in several blocks until compaction joins them. A query that
//! counts spans must count it once: of two blocks one leaves out what the other has. Blocks do not change, so this is
//! found once a pair of blocks and kept.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use moka::sync::Cache;
use tactus_block::read::BlockReader;
use tactus_model::{Projection, SpanBatch, SpanId, TraceId};
use tactus_storage::Uuid;
use tactus_traceql::eval::Bitmap;

use crate::error::{Error, Result};

/// The spans of one block that also stand in another, by row group.
pub(crate) type DuplicateSpans = HashMap<usize, Bitmap>;

/// What is known of pairs of blocks.
#[derive(Debug)]
pub(crate) struct Duplicates {
    pairs: Cache<(Uuid, Uuid), Arc<DuplicateSpans>>,
}

/// What tells spans of one trace apart.
type SpanKey = (TraceId, SpanId, u8, u64);

impl Duplicates {
    /// Keeps up to `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let pairs = Cache::builder().max_capacity(max_bytes).weigher(|_, found| weight(found));
        Self { pairs: pairs.build() }
    }

    /// The spans of the first block that also stand in the second. May block; `check` may break off.
    pub(crate) fn find(
        &self,
        (id, block): (Uuid, &BlockReader),
        (other_id, other): (Uuid, &BlockReader),
        check: impl Fn() -> Result<()>,
    ) -> Result<Arc<DuplicateSpans>> {
        let find = || shared_spans(block, other, &check).map(Arc::new);
        self.pairs.try_get_with((id, other_id), find).map_err(|error: Arc<Error>| (*error).clone())
    }
}

fn weight(found: &Arc<DuplicateSpans>) -> u32 {
    let bits: usize = found.values().map(Bitmap::len).sum();
    u32::try_from(bits / 8 + 128).unwrap_or(u32::MAX)
}

fn shared_spans(
    block: &BlockReader,
    other: &BlockReader,
    check: impl Fn() -> Result<()>,
) -> Result<DuplicateSpans> {
    let mut found = DuplicateSpans::new();
    let other_ids = trace_ids(other, &check)?;
    for (row_group, ids) in trace_ids(block, &check)?.iter().enumerate() {
        let mut keys: HashSet<SpanKey> = HashSet::new();
        for (other_group, other_ids) in other_ids.iter().enumerate() {
            let rows = shared_rows(other_ids, ids);
            if !rows.is_empty() {
                check()?;
                let batch = other.read_rows(other_group, rows, &identity())?;
                keys.extend((0..batch.len()).map(|row| key(&batch, row)));
            }
        }
        if keys.is_empty() {
            continue;
        }
        check()?;
        let batch = block.read_row_group(row_group, &identity())?;
        let spans = Bitmap::from_fn(batch.len(), |row| keys.contains(&key(&batch, row)));
        if !spans.is_empty() {
            found.insert(row_group, spans);
        }
    }
    Ok(found)
}

/// The trace ids of each row group, ascending.
fn trace_ids(block: &BlockReader, check: impl Fn() -> Result<()>) -> Result<Vec<Vec<TraceId>>> {
    let read = |row_group| {
        check()?;
        let batch = block.read_row_group(row_group, &Projection::default())?;
        Ok(batch.traces.ids.to_vec())
    };
    (0..block.row_groups().len()).map(read).collect()
}

/// From the first to the last row with an id that is among `others`; both ascend.
fn shared_rows(ids: &[TraceId], others: &[TraceId]) -> Range<u64> {
    let (Some(first), Some(last)) = (others.first(), others.last()) else { return 0..0 };
    let start = ids.partition_point(|id| id < first);
    let end = ids.partition_point(|id| id <= last);
    let shared = |row: &usize| others.binary_search(&ids[*row]).is_ok();
    let first = (start..end).find(shared);
    let last = (start..end).rfind(shared);
    first.zip(last).map_or(0..0, |(first, last)| first as u64..last as u64 + 1)
}

fn identity() -> Projection {
    Projection { span_id: true, kind: true, start: true, ..Projection::default() }
}

fn key(batch: &SpanBatch, row: usize) -> SpanKey {
    let spans = &batch.spans;
    let trace = batch.traces.ids[spans.trace[row] as usize];
    (trace, spans.span_id[row], spans.kind[row], spans.start[row])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_model::slice_traces;

    use crate::test_blocks::{batch_of_spans, reader_of};

    #[test]
    fn spans_in_both_blocks_are_found_once_a_pair() {
        // Spans 0..60 in traces of their id modulo 7; the second block has 40..100.
        let one = reader_of(&[batch_of_spans(0..60, 7)]);
        let two = reader_of(&[batch_of_spans(40..100, 7)]);
        let (one_id, two_id) = (Uuid::new_v4(), Uuid::new_v4());
        let duplicates = Duplicates::new(1 << 20);
        let found = duplicates.find((two_id, &two), (one_id, &one), || Ok(())).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[&0].count(), 20);
        let batch = two.read_row_group(0, &identity()).unwrap();
        for row in found[&0].rows() {
            assert!((40..60).contains(&batch.spans.span_id[row].0[7]));
        }
        let known = duplicates.find((two_id, &two), (one_id, &one), || Err(Error::Cancelled));
        assert!(Arc::ptr_eq(&known.unwrap(), &found), "not looked for again");
    }

    #[test]
    fn blocks_without_a_common_trace_share_nothing() {
        let whole = batch_of_spans(0..70, 7);
        let one = reader_of(&[slice_traces(&whole, 0..3)]);
        let two = reader_of(&[slice_traces(&whole, 3..5), slice_traces(&whole, 5..7)]);
        let duplicates = Duplicates::new(1 << 20);
        let found = duplicates.find((Uuid::new_v4(), &two), (Uuid::new_v4(), &one), || Ok(()));
        assert!(found.unwrap().is_empty());
        let same = duplicates.find((Uuid::new_v4(), &two), (Uuid::new_v4(), &two), || Ok(()));
        let counts = same.unwrap().values().map(Bitmap::count).sum::<usize>();
        assert_eq!(counts, 40);
    }
}
