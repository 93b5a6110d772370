use super::*;
use crate::test_spans::batch_of_spans;
use tactus_model::{AttributeSelection, CutTraces, OriginSet, TraceId};
use tactus_model::{
    merge::{SpanSlice, TracePart, gather_traces, merge},
    otlp::{encode_part_while, encode_traces_data},
};

const SOME_MEMORY: u64 = 1 << 20;

fn sorted() -> SpanBatch {
    merge(&[&batch_of_spans(1..40, 7)]).0
}

fn cache() -> SegmentCache {
    SegmentCache::new(10, SOME_MEMORY)
}

fn open(path: &Path) -> Result<Segment, SegmentError> {
    Segment::open_file(path, true, &cache())
}

fn write(path: &Path, batch: &SpanBatch, origins: &HeldOrigins, cut: &CutTraces) {
    NewSegment { batch, block_times: (1, 2), origins, cut }.write(path, true).unwrap();
}

fn write_plain(path: &Path, batch: &SpanBatch) {
    write(path, batch, &HeldOrigins::default(), &CutTraces::new());
}

#[test]
fn origins_read_back_and_segments_without_any_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let mut batch = sorted();
    write_plain(&path, &batch);
    let plain = open(&path).unwrap();
    assert!(plain.batch().unwrap().spans.origin.is_empty());
    assert_eq!(plain.origins(), &HeldOrigins { has_none: true, ..HeldOrigins::default() });
    batch.spans.origin = (0..batch.len() as u64).map(|row| row % 3).collect();
    let held = HeldOrigins::of([&batch], &OriginSet::from_iter([2, 9]));
    assert_eq!((held.complete.bounds(), held.incomplete.bounds()), (vec![1, 1], vec![2, 2]));
    write(&path, &batch, &held, &CutTraces::new());
    let segment = open(&path).unwrap();
    assert_eq!((&**segment.batch().unwrap(), segment.origins()), (&batch, &held));
    assert!(held.has_none);
    batch.spans.origin = batch.spans.origin.iter().map(|origin| origin + 1).collect();
    let held = HeldOrigins::of([&batch], &OriginSet::new());
    write(&path, &batch, &held, &CutTraces::new());
    assert_eq!(open(&path).unwrap().origins(), &held);
    assert!(!held.has_none);
}

#[test]
fn segment_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = sorted();
    write_plain(&path, &batch);
    let segment = open(&path).unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert_eq!((segment.bytes(), segment.block_times()), (bytes, (1, 2)));
    assert_eq!(**segment.batch().unwrap(), batch);
    assert_eq!(*segment.open_batch().unwrap(), batch);
    assert_eq!(segment.traces(), batch.traces.ids.len());
}

fn encoded(batch: &SpanBatch, id: TraceId, part: &TracePart) -> Vec<u8> {
    let mut message = Vec::new();
    assert!(encode_part_while(&mut message, batch, &part.rows(batch, id), part, |_, _| true));
    message
}

#[test]
fn any_traces_of_a_segment_are_read_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    for batch in [sorted(), merge(&[&batch_of_spans(1..3_000, 300)]).0] {
        write_plain(&path, &batch);
        let segment = open(&path).unwrap();
        let whole = segment.open_batch().unwrap();
        let ids = &batch.traces.ids;
        for (first, last) in [(0, 0), (0, ids.len() - 1), (2, 5), (ids.len() - 1, ids.len() - 1)] {
            let slice = segment.slice(&whole, (ids[first], ids[last]), None).unwrap();
            let expected = gather_traces(&[&batch], |id| ids[first..=last].contains(&id));
            assert_eq!(encode_traces_data(&slice), encode_traces_data(&expected));
        }
        for &id in &ids[..3] {
            let mut events = Projection { events: true, links: true, ..Projection::default() };
            events.event_attributes = AttributeSelection::All;
            let mut spans = Projection { dropped_counts: true, ..Projection::default() };
            spans.span_attributes = AttributeSelection::All;
            spans.status_message = true;
            for besides in [Projection::default(), events, spans, Projection::all()] {
                let columns = segment.slice(&whole, (id, id), Some(&besides)).unwrap();
                let part = TracePart::read_by(besides, SpanSlice::WHOLE);
                assert_eq!(encoded(&columns, id, &part), encoded(&batch, id, &part));
            }
        }
        let nothing = segment.slice(&whole, (TraceId([0; 16]), TraceId([0; 16])), None).unwrap();
        assert!(nothing.is_empty());
    }
}

#[test]
fn truncated_segment_is_an_error_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    write_plain(&path, &sorted());
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.is_damage(), "{length}: {error}");
    }
}

#[test]
fn flipped_bit_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = sorted();
    write_plain(&path, &batch);
    let whole = std::fs::read(&path).unwrap();
    let mut found = 0;
    for at in (0..whole.len()).step_by(11) {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        std::fs::write(&path, &flipped).unwrap();
        // A flip in the padding between columns changes nothing.
        match open(&path) {
            Ok(segment) => assert_eq!(**segment.batch().unwrap(), batch, "{at}"),
            Err(_) => found += 1,
        }
    }
    assert!(found > whole.len() / 11 * 9 / 10, "{found}");
}

#[test]
fn cut_traces_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let cut = CutTraces::from_iter([(TraceId([0xf1; 16]), 91_064), (TraceId([3; 16]), 1)]);
    write(&path, &sorted(), &HeldOrigins::default(), &cut);
    assert_eq!(open(&path).unwrap().cut_traces(), &cut);
}

#[test]
fn few_segments_keep_columns_and_those_in_use_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SegmentCache::new(3, SOME_MEMORY);
    let segments: Vec<_> = (0..20)
        .map(|number| {
            let path = folder.path().join(format!("{number}.seg"));
            write_plain(&path, &sorted());
            Arc::new(Segment::open_file(&path, true, &cache).unwrap())
        })
        .collect();
    let counts = (cache.segments(), cache.kept(), cache.column_bytes());
    assert_eq!(counts, (20, 0, 0), "a start keeps nothing");
    assert!(cache.heap_bytes() >= 20 * size_of::<Segment>() && cache.file_bytes() > 0);
    let held = segments[0].batch().unwrap();
    for segment in &segments {
        assert_eq!(**segment.batch().unwrap(), **held);
    }
    assert_eq!(cache.kept(), 3);
    assert!(Arc::ptr_eq(&held, &segments[0].batch().unwrap()), "read once while somebody has it");
    drop((segments, held));
    let counts = (cache.segments(), cache.file_bytes(), cache.heap_bytes(), cache.kept());
    assert_eq!((counts, cache.column_bytes()), ((0, 0, 0, 0), 0));
}

#[test]
fn columns_take_little_more_memory_than_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let batch = merge(&[&batch_of_spans(1..6_000, 100)]).0;
    let path = |number| folder.path().join(format!("{number}.seg"));
    write_plain(&path(0), &batch);
    let one = std::fs::metadata(path(0)).unwrap().len();
    let cache = SegmentCache::new(100, 3 * one);
    for number in 0..12 {
        write_plain(&path(number), &batch);
        let segment = Segment::open_file(&path(number), true, &cache).unwrap();
        let segment = OpenSegment::new(Arc::new(segment));
        // As a query does: nothing is held between two looks.
        assert_eq!(**segment.batch(), batch);
        assert_eq!(segment.starts().0, *batch.spans.start.iter().min().unwrap());
        assert!(cache.column_bytes() <= 4 * one, "{number}: {}", cache.column_bytes());
        assert!(segment.failure().is_none());
        std::mem::forget(segment);
    }
    assert!((1..=3).contains(&cache.kept()), "{}", cache.kept());
}

#[test]
fn segment_that_is_truncated_while_it_is_read_is_an_error_of_all_its_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = merge(&[&batch_of_spans(1..3_000, 300)]).0;
    write_plain(&path, &batch);
    let segment = Arc::new(open(&path).unwrap());
    let (early, late) = (OpenSegment::new(Arc::clone(&segment)), OpenSegment::new(segment));
    let whole = early.batch();
    assert_eq!(whole.spans.start, batch.spans.start);
    File::options().write(true).open(&path).unwrap().set_len(5_000).unwrap();
    // What is in memory is there; the rest is as long as it was, and void.
    assert_eq!(whole.spans.start, batch.spans.start);
    assert_eq!(whole.spans.name.iter().copied().sum::<u32>(), 0);
    assert_eq!(whole.spans.name.len(), batch.len());
    for reader in [&early, &late] {
        let error = reader.failure().unwrap();
        assert!(error.is_damage() && error.to_string().contains("a.seg"), "{error}");
    }
    let next = OpenSegment::new(Arc::clone(early.segment()));
    assert!(next.failure().is_none());
    assert!(!Arc::ptr_eq(&next.batch(), &whole), "what is void is not shown again");
}

#[test]
fn error_of_the_disk_is_told_after_one_that_says_nothing_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    write_plain(&path, &merge(&[&batch_of_spans(1..3_000, 300)]).0);
    let segment = Arc::new(open(&path).unwrap());
    let early = OpenSegment::new(Arc::clone(&segment));
    let whole = early.batch();
    std::fs::rename(&path, folder.path().join("away")).unwrap();
    // A link to itself.
    std::os::unix::fs::symlink("a.seg", &path).unwrap();
    assert_eq!(whole.spans.name.iter().copied().sum::<u32>(), 0);
    assert!(!early.failure().unwrap().is_of_file());
    let does_not_fit = whole.reader().unwrap().corrupt("an offset");
    assert!(!does_not_fit.is_damage(), "beside zeros that were not read: {does_not_fit}");
    std::fs::remove_file(&path).unwrap();
    let late = OpenSegment::new(segment);
    drop(late.batch());
    assert!(late.failure().unwrap().is_of_disk());
}

#[test]
fn released_segment_outlives_its_file_as_long_as_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = sorted();
    write_plain(&path, &batch);
    let opened = OpenSegment::new(Arc::new(open(&path).unwrap()));
    opened.release();
    opened.release();
    assert_eq!(**opened.batch(), batch);
    drop(opened);
    assert!(!path.exists());
}
