use super::*;
use crate::test_spans::batch_of_spans;
use tactus_model::merge::merge;

fn sorted() -> SpanBatch {
    merge(&[&batch_of_spans(1..40, 7)]).0
}

#[test]
fn segment_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = sorted();
    let bytes = Segment::write(&path, &batch, (1, 2), true).unwrap();
    let segment = Segment::open(&path, true).unwrap();
    assert_eq!((segment.bytes(), segment.block_times()), (bytes, (1, 2)));
    assert_eq!(segment.batch(), &batch);
    assert_eq!(segment.reopen().unwrap().batch(), &batch);
}

#[test]
fn truncated_segment_is_an_error_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    Segment::write(&path, &sorted(), (1, 2), false).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(Segment::open(&path, true).is_err(), "{length}");
    }
}

#[test]
fn flipped_bit_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg");
    let batch = sorted();
    Segment::write(&path, &batch, (1, 2), false).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(53) {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        std::fs::write(&path, &flipped).unwrap();
        // A flip in the padding between sections changes nothing.
        if let Ok(segment) = Segment::open(&path, true) {
            assert_eq!(segment.batch(), &batch, "{at}");
        }
    }
}
