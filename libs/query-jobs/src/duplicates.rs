//! Spans that stand in two blocks.
//!
//! Replicas, and clients that send again, leave the same span in several blocks until compaction joins them. A query that
//! counts spans must count it once: of two blocks one leaves out what the other has, trace by trace the one that has
//! fewer spans of it, so that queries on whole traces find them where they are more nearly whole. Blocks do not change,
//! so this is found once a pair of blocks and kept.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use moka::sync::Cache;
use tactus_block::read::BlockReader;
use tactus_model::{Projection, SpanBatch};
use tactus_storage::Uuid;
use tactus_traceql::eval::Bitmap;

use crate::error::{Error, Result};
use crate::joined::{JoinedReads, Wanted};

mod traces;

use traces::{TraceTimes, Traces};

/// The spans that a block leaves to another one to count, by row group.
pub(crate) type DuplicateSpans = HashMap<usize, Bitmap>;

/// What is known of pairs of blocks.
#[derive(Debug)]
pub(crate) struct Duplicates {
    pairs: Cache<(Uuid, Uuid), Arc<DuplicateSpans>>,
    /// The traces of each block, by row group: every pair of it asks for them.
    traces: Cache<Uuid, Arc<Vec<Traces>>>,
    /// When the spans of each trace start, of row groups that have a trace in common with another block.
    times: Cache<(Uuid, usize), Arc<TraceTimes>>,
}

/// A block and its traces.
struct Side<'b> {
    id: Uuid,
    block: &'b BlockReader,
    traces: Arc<Vec<Traces>>,
}

impl Duplicates {
    /// Keeps up to `max_bytes`, half of it for the traces of blocks, a quarter each for their times and for pairs.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let pairs = Cache::builder().max_capacity(max_bytes / 4).weigher(|_, found| weight(found));
        let traces = Cache::builder().max_capacity(max_bytes / 2);
        let traces = traces.weigher(|_, groups: &Arc<Vec<Traces>>| {
            weight_of(groups.iter().map(Traces::heap_bytes).sum())
        });
        let times = Cache::builder().max_capacity(max_bytes / 4);
        let times = times.weigher(|_, times: &Arc<TraceTimes>| weight_of(times.heap_bytes()));
        Self { pairs: pairs.build(), traces: traces.build(), times: times.build() }
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
            let own = Side { id, block, traces: self.traces(id, block, &check)? };
            let traces = self.traces(other_id, other, &check)?;
            let other = Side { id: other_id, block: other, traces };
            self.shared_spans(&own, &other, &check).map(Arc::new)
        };
        shared(self.pairs.try_get_with((id, other_id), find))
    }

    /// The traces of each row group.
    fn traces(
        &self,
        id: Uuid,
        block: &BlockReader,
        check: impl Fn() -> Result<()>,
    ) -> Result<Arc<Vec<Traces>>> {
        let ids = Projection::default();
        let read_all = || {
            let row_groups = 0..block.row_groups().len();
            let reads = JoinedReads::small(block, row_groups.clone(), wanted(&ids, None));
            reads.ahead()?;
            let read = |row_group| {
                check()?;
                let traces = Traces::of(&reads.block.read_row_group(row_group, &ids)?);
                reads.end(row_group);
                Ok(traces)
            };
            row_groups.map(read).collect::<Result<_>>().map(Arc::new)
        };
        shared(self.traces.try_get_with(id, read_all))
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

    fn shared_spans(
        &self,
        own: &Side<'_>,
        other: &Side<'_>,
        check: impl Fn() -> Result<()>,
    ) -> Result<DuplicateSpans> {
        let given = own.gives(other);
        let (starts, identity) = (starts(), identity());
        let reads = |block, row_groups: BTreeSet<usize>| {
            JoinedReads::small(block, row_groups.into_iter(), wanted(&starts, Some(&identity)))
        };
        let own_reads = reads(own.block, given.iter().map(|part| part.row_group).collect());
        let other_reads = reads(other.block, given.iter().map(|part| part.other_group).collect());
        let mut found = DuplicateSpans::new();
        for parts in given.chunk_by(|one, next| one.row_group == next.row_group) {
            let row_group = parts[0].row_group;
            let mut own_spans: Option<(SpanBatch, Bitmap)> = None;
            for Given { other_group, traces, is_last, .. } in parts {
                let times = self.times(own.id, &own_reads, row_group, &check)?;
                let other_times = self.times(other.id, &other_reads, *other_group, &check)?;
                let touch = |&&(row, other_row): &&(usize, usize)| {
                    times.touch(row, &other_times, other_row)
                };
                let given: Vec<_> = traces.iter().filter(touch).copied().collect();
                if let (Some(&(_, first)), Some(&(_, last))) = (given.first(), given.last()) {
                    check()?;
                    let rows = first as u64..last as u64 + 1;
                    let batch = other_reads.block.read_rows(*other_group, rows, &identity)?;
                    let (own_batch, shared) = match &mut own_spans {
                        Some(spans) => spans,
                        None => {
                            check()?;
                            let batch = own_reads.block.read_row_group(row_group, &identity)?;
                            let none = Bitmap::none(batch.len());
                            own_spans.insert((batch, none))
                        }
                    };
                    let given = given.into_iter().map(|(row, other_row)| (row, other_row - first));
                    mark_shared(own_batch, shared, &batch, given);
                }
                if *is_last {
                    other_reads.end(*other_group);
                }
            }
            own_reads.end(row_group);
            if let Some((_, shared)) = own_spans.filter(|(_, shared)| !shared.is_empty()) {
                found.insert(row_group, shared);
            }
        }
        Ok(found)
    }
}

/// Traces that a row group of one block leaves to one of another.
struct Given {
    row_group: usize,
    other_group: usize,
    /// Their rows in both.
    traces: Vec<(usize, usize)>,
    /// No further row group leaves anything to that of the other block.
    is_last: bool,
}

impl Side<'_> {
    /// The traces that may have spans in both blocks and of which this one leaves those to the other, in the order of row
    /// groups.
    fn gives(&self, other: &Side<'_>) -> Vec<Given> {
        // The block leaves a trace of which both have as many spans to the other.
        let yields = other.id > self.id;
        let mut given = Vec::new();
        for (row_group, own) in self.traces.iter().enumerate() {
            for (other_group, others) in other.traces.iter().enumerate() {
                let traces = own.given_to(others, yields);
                if !traces.is_empty() {
                    given.push(Given { row_group, other_group, traces, is_last: false });
                }
            }
        }
        let mut seen = HashSet::new();
        for part in given.iter_mut().rev() {
            part.is_last = seen.insert(part.other_group);
        }
        given
    }
}

fn wanted<'p>(first: &'p Projection, then: Option<&'p Projection>) -> Wanted<'p> {
    Wanted { first, then, may_end: false }
}

fn starts() -> Projection {
    Projection { start: true, ..Projection::default() }
}

/// What another thread may have found, or failed to.
fn shared<T>(found: std::result::Result<T, Arc<Error>>) -> Result<T> {
    found.map_err(|error| (*error).clone())
}

fn weight_of(bytes: usize) -> u32 {
    u32::try_from(bytes + 128).unwrap_or(u32::MAX)
}

fn weight(found: &Arc<DuplicateSpans>) -> u32 {
    let bits: usize = found.values().map(Bitmap::len).sum();
    weight_of(bits / 8)
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

/// The columns that tell spans apart.
pub(crate) fn identity() -> Projection {
    Projection { span_id: true, kind: true, start: true, name: true, ..Projection::default() }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use bytes::Bytes;
    use parking_lot::Mutex;
    use tactus_block::read::ByteSource;
    use tactus_model::slice_traces;

    use crate::test_blocks::{batch_of_spans, reader_of};

    /// A source that remembers what was read of it.
    struct Recorded {
        inner: Arc<dyn ByteSource>,
        is_remote: bool,
        read: Mutex<Vec<Range<u64>>>,
    }

    impl ByteSource for Recorded {
        fn size(&self) -> u64 {
            self.inner.size()
        }

        fn read(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
            self.read.lock().push(range.clone());
            self.inner.read(range)
        }

        fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
            ranges.iter().map(|range| self.read(range.clone())).collect()
        }

        // A block in object storage keeps them with its footer.
        fn read_offset_indexes(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
            self.inner.read_many(ranges)
        }

        fn is_remote(&self) -> bool {
            self.is_remote
        }
    }

    fn recorded(block: BlockReader, is_remote: bool) -> (BlockReader, Arc<Recorded>) {
        let inner = Arc::clone(block.source());
        let source = Arc::new(Recorded { inner, is_remote, read: Mutex::default() });
        (block.with_source(Arc::clone(&source) as _), source)
    }

    /// True if something of the names of spans was read.
    fn has_read_names((block, source): &(BlockReader, Arc<Recorded>)) -> bool {
        let is_name = |path: &str| path.ends_with("Spans.list.element.Name");
        let column = block.columns().iter().position(|column| is_name(&column.path)).unwrap();
        let names = block.column_ranges(0)[column].clone();
        source.read.lock().iter().any(|read| read.start < names.end && read.end > names.start)
    }

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
    fn spans_of_common_traces_at_other_times_are_not_read() {
        let batch = batch_of_spans(0..60, 7);
        let mut later = batch.clone();
        later.spans.start.make_mut().iter_mut().for_each(|start| *start += 3_600_000_000_000);
        let (one, two) =
            (recorded(reader_of(&[batch]), false), recorded(reader_of(&[later]), false));
        assert_eq!(left_out(&one.0, &two.0), (0, 0));
        assert!(!has_read_names(&one) && !has_read_names(&two));
        assert_eq!(left_out(&one.0, &one.0), (60, 0));
        assert!(has_read_names(&one));
    }

    #[test]
    fn blocks_of_many_row_groups_are_asked_for_few_ranges_if_they_are_remote() {
        let whole = batch_of_spans(0..700, 70);
        let row_groups: Vec<_> =
            (0..70).step_by(2).map(|trace| slice_traces(&whole, trace..trace + 2)).collect();
        let of = |is_remote| {
            let (one, two) = (reader_of(&row_groups), reader_of(&row_groups[5..30]));
            let (one, two) = (recorded(one, is_remote), recorded(two, is_remote));
            let left_out = left_out(&one.0, &two.0);
            let read = [&one.1, &two.1].map(|source| source.read.lock().len());
            (left_out, read)
        };
        let (near, far) = (of(false), of(true));
        assert_eq!((near.0, far.0), ((500, 0), (500, 0)));
        assert!(near.1.iter().all(|&read| read > 25), "{:?}", near.1);
        assert!(far.1.iter().all(|&read| read <= 4), "{:?}", far.1);
    }

    #[test]
    fn blocks_without_a_common_trace_share_nothing() {
        let whole = batch_of_spans(0..70, 7);
        let one = reader_of(&[slice_traces(&whole, 0..3)]);
        let two = reader_of(&[slice_traces(&whole, 3..5), slice_traces(&whole, 5..7)]);
        assert_eq!(left_out(&one, &two), (0, 0));
    }
}
