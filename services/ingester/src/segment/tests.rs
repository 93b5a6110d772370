use super::*;
use crate::test_spans::batch_of_spans;
use tactus_model::{CutTraces, OriginSet, TraceId, merge::merge};

fn sorted() -> SpanBatch {
    merge(&[&batch_of_spans(1..40, 7)]).0
}

fn open(path: &Path) -> Result<Segment, SegmentError> {
    Segment::open(path, true, &SegmentMaps::new(10))
}

fn origins() -> HeldOrigins {
    HeldOrigins::default()
}

#[test]
fn origins_read_back_and_segments_without_any_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let mut batch = sorted();
    Segment::write(&path, &batch, (1, 2), &origins(), &CutTraces::new(), false).unwrap();
    let plain = open(&path).unwrap();
    assert!(plain.batch().unwrap().spans.origin.is_empty());
    assert_eq!(plain.origins(), &HeldOrigins { has_none: true, ..origins() });
    batch.spans.origin = (0..batch.len() as u64).map(|row| row % 3).collect();
    let held = HeldOrigins::of([&batch], &OriginSet::from_iter([2, 9]));
    assert_eq!((held.complete.bounds(), held.incomplete.bounds()), (vec![1, 1], vec![2, 2]));
    Segment::write(&path, &batch, (1, 2), &held, &CutTraces::new(), false).unwrap();
    let segment = open(&path).unwrap();
    assert_eq!((&*segment.batch().unwrap(), segment.origins()), (&batch, &held));
    assert!(held.has_none);
    batch.spans.origin = batch.spans.origin.iter().map(|origin| origin + 1).collect();
    let held = HeldOrigins::of([&batch], &OriginSet::new());
    Segment::write(&path, &batch, (1, 2), &held, &CutTraces::new(), false).unwrap();
    assert_eq!(open(&path).unwrap().origins(), &held);
    assert!(!held.has_none);
}

#[test]
fn segment_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = sorted();
    let bytes = Segment::write(&path, &batch, (1, 2), &origins(), &CutTraces::new(), true).unwrap();
    let segment = open(&path).unwrap();
    assert_eq!((segment.bytes(), segment.block_times()), (bytes, (1, 2)));
    assert_eq!(*segment.batch().unwrap(), batch);
    assert_eq!(segment.map_anew().unwrap(), batch);
    assert_eq!(segment.traces(), batch.traces.ids.len());
}

#[test]
fn truncated_segment_is_an_error_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    Segment::write(&path, &sorted(), (1, 2), &origins(), &CutTraces::new(), false).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(open(&path).is_err(), "{length}");
    }
}

#[test]
fn flipped_bit_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = sorted();
    Segment::write(&path, &batch, (1, 2), &origins(), &CutTraces::new(), false).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(53) {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        std::fs::write(&path, &flipped).unwrap();
        // A flip in the padding between sections changes nothing.
        if let Ok(segment) = open(&path) {
            assert_eq!(*segment.batch().unwrap(), batch, "{at}");
        }
    }
}

#[test]
fn cut_traces_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let cut = CutTraces::from_iter([(TraceId([0xf1; 16]), 91_064), (TraceId([3; 16]), 1)]);
    Segment::write(&path, &sorted(), (1, 2), &origins(), &cut, false).unwrap();
    assert_eq!(open(&path).unwrap().cut_traces(), &cut);
}

#[test]
fn few_maps_stay_open_and_those_in_use_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let maps = SegmentMaps::new(3);
    let segments: Vec<_> = (0..20)
        .map(|number| {
            let path = folder.path().join(format!("{number}.seg"));
            Segment::write(&path, &sorted(), (1, 2), &origins(), &CutTraces::new(), false).unwrap();
            Arc::new(Segment::open(&path, true, &maps).unwrap())
        })
        .collect();
    assert_eq!((maps.segments(), maps.kept()), (20, 0), "a start maps nothing for good");
    assert!(maps.heap_bytes() >= 20 * size_of::<Segment>() && maps.file_bytes() > 0);
    let held = segments[0].batch().unwrap();
    for segment in &segments {
        assert_eq!(*segment.batch().unwrap(), *held);
    }
    assert_eq!(maps.kept(), 3);
    assert!(Arc::ptr_eq(&held, &segments[0].batch().unwrap()), "mapped once while somebody has it");
    drop(segments);
    assert_eq!((maps.segments(), maps.file_bytes(), maps.heap_bytes(), maps.kept()), (0, 0, 0, 0));
}

#[test]
fn open_segment_outlives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = sorted();
    Segment::write(&path, &batch, (1, 2), &origins(), &CutTraces::new(), false).unwrap();
    let segment = Arc::new(Segment::open(&path, false, &SegmentMaps::new(0)).unwrap());
    let opened = OpenSegment::new(Arc::clone(&segment)).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(*opened.batch(), batch);
    drop(opened);
    assert!(OpenSegment::new(segment).unwrap_err().is_gone());
}
