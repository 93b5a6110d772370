use std::cell::Cell;
use std::ops::Range;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use tactus_block::read::ByteSource;

use super::*;
use crate::test_blocks::{batch_of_spans, reader_of, traces_of};

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
    let (open_one, open_two) = (|| Ok(one.clone()), || Ok(two.clone()));
    let one = Side { id: Uuid::from_u128(1), open: &open_one };
    let two = Side { id: Uuid::from_u128(2), open: &open_two };
    let duplicates = Duplicates::new(1 << 20);
    let count = |from: &Side<'_>, to: &Side<'_>| {
        let found = duplicates.find(from, to, || Ok(())).unwrap();
        found.values().map(Bitmap::count).sum::<usize>()
    };
    (count(&one, &two), count(&two, &one))
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
    assert!(
        duplicates.known(one_id, two_id).is_none() && duplicates.known(two_id, one_id).is_none()
    );
    let opened = Cell::new(0);
    let open = |block: &BlockReader| {
        opened.set(opened.get() + 1);
        Ok(block.clone())
    };
    let (open_one, open_two) = (|| open(&one), || open(&two));
    let one = Side { id: one_id, open: &open_one };
    let other = Side { id: two_id, open: &open_two };
    let found = duplicates.find(&other, &one, || Ok(())).unwrap();
    assert!(Arc::ptr_eq(&duplicates.known(two_id, one_id).unwrap(), &found));
    assert!(
        duplicates.known(one_id, two_id).unwrap().is_empty(),
        "that is what the other one leaves"
    );
    let batch = two.read_row_group(0, &identity()).unwrap();
    for row in found[&0].rows() {
        assert!((40..60).contains(&batch.spans.span_id[row].0[7]));
    }
    let opens = opened.get();
    let known = duplicates.find(&other, &one, || Err(Error::Cancelled));
    assert!(Arc::ptr_eq(&known.unwrap(), &found), "not looked for again");
    // Nor is a block opened of which all is known.
    let third = reader_of(&[batch_of_spans(100..110, 90)]);
    let third = Side { id: Uuid::new_v4(), open: &|| Ok(third.clone()) };
    assert!(duplicates.find(&one, &third, || Ok(())).unwrap().is_empty());
    assert_eq!(opened.get(), opens);
}

#[test]
fn spans_of_common_traces_at_other_times_are_not_read() {
    let batch = batch_of_spans(0..60, 7);
    let mut later = batch.clone();
    later.spans.start.make_mut().iter_mut().for_each(|start| *start += 3_600_000_000_000);
    let (one, two) = (recorded(reader_of(&[batch]), false), recorded(reader_of(&[later]), false));
    assert_eq!(left_out(&one.0, &two.0), (0, 0));
    assert!(!has_read_names(&one) && !has_read_names(&two));
    assert_eq!(left_out(&one.0, &one.0), (60, 0));
    assert!(has_read_names(&one));
}

#[test]
fn blocks_of_many_row_groups_are_asked_for_few_ranges_if_they_are_remote() {
    let whole = batch_of_spans(0..700, 70);
    let row_groups: Vec<_> =
        (0..70).step_by(2).map(|trace| traces_of(&whole, trace..trace + 2)).collect();
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
    let one = reader_of(&[traces_of(&whole, 0..3)]);
    let two = reader_of(&[traces_of(&whole, 3..5), traces_of(&whole, 5..7)]);
    assert_eq!(left_out(&one, &two), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_span_in_both_blocks_is_left_out_once(
        (one, two, traces) in (ranges(), ranges(), 1u16..20), groups in 1usize..4,
    ) {
        let batches = [one, two].map(|spans| batch_of_spans(spans, traces));
        let blocks = batches.each_ref().map(|batch| {
            let count = batch.traces.ids.len();
            let step = count.div_ceil(groups).max(1);
            let part = |from| traces_of(batch, from..(from + step).min(count));
            reader_of(&(0..count).step_by(step).map(part).collect::<Vec<_>>())
        });
        let ids = [1, 2].map(Uuid::from_u128);
        let duplicates = Duplicates::new(1 << 20);
        let (open_one, open_two) = (|| Ok(blocks[0].clone()), || Ok(blocks[1].clone()));
        let opens: [&dyn Fn() -> Result<BlockReader>; 2] = [&open_one, &open_two];
        let find = |own: usize, other: usize| {
            let side = |id: usize, open| Side { id: ids[id], open };
            let (own_side, other_side) = (side(own, opens[own]), side(other, opens[other]));
            duplicates.find(&own_side, &other_side, || Ok(())).unwrap()
        };
        let left = [find(0, 1), find(1, 0)];
        let spans_of = |block: &BlockReader| {
            let groups = (0..block.row_groups().len()).map(|group| (group, block.read_row_group(group, &identity()).unwrap()));
            let spans = groups.flat_map(|(group, batch)| {
                let span = |row| {
                    let trace = batch.traces.ids[batch.spans.trace[row] as usize];
                    (batch.spans.span_id[row], trace, group, row)
                };
                (0..batch.len()).map(span).collect::<Vec<_>>()
            });
            spans.collect::<Vec<_>>()
        };
        let spans = blocks.each_ref().map(spans_of);
        let of_trace = |side: usize, trace| spans[side].iter().filter(|span| span.1 == trace).count();
        for side in 0..2 {
            for &(id, trace, group, row) in &spans[side] {
                let is_common = spans[1 - side].iter().any(|span| span.0 == id);
                let (here, there) = (of_trace(side, trace), of_trace(1 - side, trace));
                let expected = is_common && (here < there || here == there && side == 0);
                let is_left = left[side].get(&group).is_some_and(|rows| rows.contains(row));
                prop_assert_eq!(is_left, expected, "{:?} {}", id, side);
            }
        }
    }
}

fn ranges() -> impl Strategy<Value = Range<u16>> {
    (0u16..60, 1u16..60).prop_map(|(from, count)| from..from + count)
}
