//! Spans that stand in two blocks.
//!
//! Replicas, and clients that send again, leave the same span in several blocks until compaction joins them. A query that
//! counts spans must count it once: of two blocks one leaves out what the other has, trace by trace the one that has
//! fewer spans of it, so that queries on whole traces find them where they are more nearly whole. Blocks do not change,
//! so this is found once a pair of blocks and kept.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use tactus_block::read::BlockReader;
use tactus_model::{Projection, SpanBatch, TraceId};
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
        let mut own: Option<(SpanBatch, Bitmap)> = None;
        for (other_group, other_traces) in other_traces.iter().enumerate() {
            let given = given_traces(traces, other_traces, yields);
            let (Some(&(_, first)), Some(&(_, last))) = (given.first(), given.last()) else {
                continue;
            };
            check()?;
            let batch = other.read_rows(other_group, first as u64..last as u64 + 1, &identity())?;
            let (own, shared) = match &mut own {
                Some(own) => own,
                None => {
                    check()?;
                    let batch = block.read_row_group(row_group, &identity())?;
                    let none = Bitmap::none(batch.len());
                    own.insert((batch, none))
                }
            };
            let given = given.into_iter().map(|(own, other)| (own, other - first));
            mark_shared(own, shared, &batch, given);
        }
        if let Some((_, shared)) = own.filter(|(_, shared)| !shared.is_empty()) {
            found.insert(row_group, shared);
        }
    }
    Ok(found)
}

/// Marks the spans that another batch has as well. `traces`: of the common traces the row in each batch.
fn mark_shared(
    own: &SpanBatch,
    shared: &mut Bitmap,
    other: &SpanBatch,
    traces: impl Iterator<Item = (usize, usize)>,
) {
    let (own_spans, other_spans) = (spans_by_trace(own), spans_by_trace(other));
    let mut candidates = Vec::new();
    for (own_trace, other_trace) in traces {
        let spans = own_spans[own_trace]..own_spans[own_trace + 1];
        let starts = &own.spans.start[spans.clone()];
        let (Some(&first), Some(&last)) = (starts.iter().min(), starts.iter().max()) else {
            continue;
        };
        let others = other_spans[other_trace]..other_spans[other_trace + 1];
        let may_be_shared = |&span: &usize| (first..=last).contains(&other.spans.start[span]);
        candidates.clear();
        candidates.extend(others.filter(may_be_shared).map(|span| other.span_identity(span)));
        if candidates.is_empty() {
            continue;
        }
        candidates.sort_unstable();
        for span in spans {
            if candidates.binary_search(&own.span_identity(span)).is_ok() {
                shared.insert(span);
            }
        }
    }
}

/// The first span of each trace of a block's rows, which stand trace by trace, and the end of the last.
fn spans_by_trace(batch: &SpanBatch) -> Vec<usize> {
    let mut ends = vec![0; batch.traces.ids.len() + 1];
    batch.spans.trace.iter().for_each(|&trace| ends[trace as usize + 1] += 1);
    let mut end = 0;
    for count in &mut ends {
        end += *count;
        *count = end;
    }
    ends
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

/// The traces of `own` that its block leaves to the other one: their rows in both.
fn given_traces(own: &Traces, other: &Traces, yields: bool) -> Vec<(usize, usize)> {
    let (Some((first, _)), Some((other_first, _))) = (own.first(), other.first()) else {
        return Vec::new();
    };
    let mut row = own.partition_point(|(id, _)| id < other_first);
    let mut other_row = other.partition_point(|(id, _)| id < first);
    let mut given = Vec::new();
    while let (Some((id, spans)), Some((other_id, other_spans))) =
        (own.get(row), other.get(other_row))
    {
        match id.cmp(other_id) {
            Ordering::Less => row += 1,
            Ordering::Greater => other_row += 1,
            Ordering::Equal => {
                if other_spans > spans || (other_spans == spans && yields) {
                    given.push((row, other_row));
                }
                row += 1;
                other_row += 1;
            }
        }
    }
    given
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
