//! Spans that stand in two blocks.
//!
//! Replicas, and clients that send again, leave the same span in several blocks until compaction joins them. A query that
//! counts spans must count it once: of two blocks one leaves out what the other has, trace by trace the one that has
//! fewer spans of it, so that queries on whole traces find them where they are more nearly whole. Blocks do not change,
//! so this is found once a pair of blocks and kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use moka::sync::Cache;
use tactus_block::read::BlockReader;
use tactus_model::{Projection, SpanKey, TraceId};
use tactus_storage::Uuid;
use tactus_traceql::eval::Bitmap;

use crate::error::{Error, Result};

/// The spans that a block leaves to another one to count, by row group.
pub(crate) type DuplicateSpans = HashMap<usize, Bitmap>;

/// What is known of pairs of blocks.
#[derive(Debug)]
pub(crate) struct Duplicates {
    pairs: Cache<(Uuid, Uuid), Arc<DuplicateSpans>>,
    /// The traces of each block, by row group: every pair of it asks for them.
    traces: Cache<Uuid, Arc<Vec<Traces>>>,
}

/// Traces and their numbers of spans.
type Traces = Vec<(TraceId, u32)>;

impl Duplicates {
    /// Keeps up to `max_bytes`, half of it for pairs and half for the traces of blocks.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let pairs = Cache::builder().max_capacity(max_bytes / 2).weigher(|_, found| weight(found));
        let traces = Cache::builder().max_capacity(max_bytes / 2);
        let traces = traces.weigher(|_, groups: &Arc<Vec<Traces>>| weight_of_traces(groups));
        Self { pairs: pairs.build(), traces: traces.build() }
    }

    /// The spans of the first block that also stand in the second, and are counted there. May block; `check` may break
    /// off.
    pub(crate) fn find(
        &self,
        (id, block): (Uuid, &BlockReader),
        (other_id, other): (Uuid, &BlockReader),
        check: impl Fn() -> Result<()>,
    ) -> Result<Arc<DuplicateSpans>> {
        let find = || {
            let (traces, other_traces) =
                (self.traces(id, block, &check)?, self.traces(other_id, other, &check)?);
            let sides = [(block, &*traces), (other, &*other_traces)];
            shared_spans(sides, other_id > id, &check).map(Arc::new)
        };
        self.pairs.try_get_with((id, other_id), find).map_err(|error: Arc<Error>| (*error).clone())
    }

    fn traces(
        &self,
        id: Uuid,
        block: &BlockReader,
        check: impl Fn() -> Result<()>,
    ) -> Result<Arc<Vec<Traces>>> {
        if let Some(known) = self.traces.get(&id) {
            return Ok(known);
        }
        let found = Arc::new(traces(block, check)?);
        self.traces.insert(id, Arc::clone(&found));
        Ok(found)
    }
}

fn weight_of_traces(groups: &[Traces]) -> u32 {
    let traces: usize = groups.iter().map(Vec::len).sum();
    u32::try_from(traces * size_of::<(TraceId, u32)>() + 128).unwrap_or(u32::MAX)
}

fn weight(found: &Arc<DuplicateSpans>) -> u32 {
    let bits: usize = found.values().map(Bitmap::len).sum();
    u32::try_from(bits / 8 + 128).unwrap_or(u32::MAX)
}

/// `yields`: the block leaves a trace of which both have as many spans to the other.
fn shared_spans(
    [(block, traces), (other, other_traces)]: [(&BlockReader, &Vec<Traces>); 2],
    yields: bool,
    check: impl Fn() -> Result<()>,
) -> Result<DuplicateSpans> {
    let mut found = DuplicateSpans::new();
    for (row_group, traces) in traces.iter().enumerate() {
        let mut keys: HashSet<SpanKey> = HashSet::new();
        for (other_group, other_traces) in other_traces.iter().enumerate() {
            let given = given_rows(other_traces, traces, yields);
            let (Some(&first), Some(&last)) = (given.first(), given.last()) else { continue };
            check()?;
            let batch = other.read_rows(other_group, first as u64..last as u64 + 1, &identity())?;
            let is_given = |row: usize| {
                let trace = batch.spans.trace[row] as usize + first;
                given.binary_search(&trace).is_ok()
            };
            let spans = (0..batch.len()).filter(|&row| is_given(row));
            keys.extend(spans.map(|row| batch.span_key(row)));
        }
        if keys.is_empty() {
            continue;
        }
        check()?;
        let batch = block.read_row_group(row_group, &identity())?;
        let spans = Bitmap::from_fn(batch.len(), |row| keys.contains(&batch.span_key(row)));
        if !spans.is_empty() {
            found.insert(row_group, spans);
        }
    }
    Ok(found)
}

/// The traces of each row group, ascending by id, and how many spans it has of each.
fn traces(block: &BlockReader, check: impl Fn() -> Result<()>) -> Result<Vec<Traces>> {
    let read = |row_group| {
        check()?;
        let batch = block.read_row_group(row_group, &Projection::default())?;
        let mut traces: Traces = batch.traces.ids.iter().map(|&id| (id, 0)).collect();
        batch.spans.trace.iter().for_each(|&trace| traces[trace as usize].1 += 1);
        Ok(traces)
    };
    (0..block.row_groups().len()).map(read).collect()
}

/// The rows of `other` with traces that the block of `own` leaves to it.
fn given_rows(other: &Traces, own: &Traces, yields: bool) -> Vec<usize> {
    let (Some((first, _)), Some((last, _))) = (own.first(), own.last()) else { return Vec::new() };
    let start = other.partition_point(|(id, _)| id < first);
    let end = other.partition_point(|(id, _)| id <= last);
    let is_given = |row: &usize| {
        let (id, other_spans) = other[*row];
        own.binary_search_by_key(&id, |(id, _)| *id).is_ok_and(|place| {
            let own_spans = own[place].1;
            other_spans > own_spans || (other_spans == own_spans && yields)
        })
    };
    (start..end).filter(is_given).collect()
}

/// The columns that tell spans apart.
pub(crate) fn identity() -> Projection {
    Projection { span_id: true, kind: true, start: true, name: true, ..Projection::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_model::slice_traces;

    use crate::test_blocks::{batch_of_spans, reader_of};

    /// How many spans each of two blocks leaves to the other.
    fn left_out(one: &BlockReader, two: &BlockReader) -> (usize, usize) {
        let (one, two) = ((Uuid::from_u128(1), one), (Uuid::from_u128(2), two));
        let duplicates = Duplicates::new(1 << 20);
        let count = |from, to| {
            let found = duplicates.find(from, to, || Ok(())).unwrap();
            found.values().map(Bitmap::count).sum::<usize>()
        };
        (count(one, two), count(two, one))
    }

    #[test]
    fn span_in_both_blocks_is_left_to_the_one_with_more_of_its_trace() {
        // Spans in traces of their id modulo 7; 40 to 60 are in both.
        let one = reader_of(&[batch_of_spans(0..60, 7)]);
        assert_eq!(left_out(&one, &reader_of(&[batch_of_spans(40..60, 7)])), (0, 20));
        assert_eq!(left_out(&one, &reader_of(&[batch_of_spans(40..200, 7)])), (20, 0));
        // Of equal copies one remains.
        assert_eq!(left_out(&one, &one), (60, 0));
    }

    #[test]
    fn span_with_another_name_is_another_span() {
        let one = batch_of_spans(0..6, 2);
        let mut other = one.clone();
        let names = other.spans.name.make_mut();
        let name = names[1];
        assert_ne!(names[0], name);
        names[0] = name;
        assert_eq!(left_out(&reader_of(&[one]), &reader_of(&[other])), (5, 0));
    }

    #[test]
    fn duplicates_are_found_once_a_pair() {
        let one = reader_of(&[batch_of_spans(0..60, 7)]);
        let two = reader_of(&[batch_of_spans(40..60, 7)]);
        let (one_id, two_id) = (Uuid::new_v4(), Uuid::new_v4());
        let duplicates = Duplicates::new(1 << 20);
        let found = duplicates.find((two_id, &two), (one_id, &one), || Ok(())).unwrap();
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
        assert_eq!(left_out(&one, &two), (0, 0));
    }
}
