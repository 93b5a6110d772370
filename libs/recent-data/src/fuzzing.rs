//! Entry points for fuzz targets: payloads of an ingester's log without the log, and files of segments. Not a public
//! interface.

use std::path::Path;

use bytes::Bytes;
use tactus_model::{BatchBuilder, BuilderLimits, CutTraces, SpanBatch, TenantId, TraceId};
use tactus_proto::tactus::v1::PushRequest;

use crate::{
    frame, head,
    origins::HeldOrigins,
    segment::{
        NewSegment, Place, Segment, SegmentCache, SegmentError, SegmentFile,
        cut::{CutWriter, read_sections},
        with_checksums,
    },
};

/// As little memory for columns as possible.
const COLUMN_BYTES: u64 = 1 << 20;

/// The payload of a frame of the log that holds a push.
pub fn log_payload(push: &PushRequest, refused: &[u32]) -> Vec<u8> {
    frame::FrameSlices::new(push, refused).slices().concat()
}

/// What a replay makes of a frame's payload: spans in order of arrival; `None` if it holds no push.
pub fn replayed(payload: Bytes) -> Option<SpanBatch> {
    let (push, refused) = frame::decode(payload)?;
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    head::append_replayed(&mut builder, &push, &refused, |_| false).ok()?;
    Some(builder.finish())
}

/// Writes the file of a cut in which each tenant has these sorted spans.
pub fn write_cut(path: &Path, tenants: &[TenantId], batch: &SpanBatch) -> Result<(), SegmentError> {
    let mut cut = CutTraces::new();
    cut.add(TraceId([7; 16]), 3);
    let origins = HeldOrigins::of([batch], &tactus_model::OriginSet::from_iter([9]));
    let segment = NewSegment { batch, block_times: (1, 2), origins: &origins, cut: &cut };
    let mut writer = CutWriter::create(path)?;
    for (number, tenant) in tenants.iter().enumerate() {
        writer.add(tenant, number as u32, number % 2 == 1, &segment)?;
    }
    writer.finish(false)
}

/// Opens the file of a cut as a start does. Returns how many of its segments are sound.
pub fn open_cut(path: &Path) -> Result<usize, SegmentError> {
    let cache = SegmentCache::new(2, COLUMN_BYTES);
    let found = read_sections(path)?;
    let file = SegmentFile::new(path, found.sections.len(), cache.file_counter());
    let file = file.map_err(|source| SegmentError::read(path, source))?;
    let open = found.sections.iter().map(|section| {
        let place = Place {
            file: std::sync::Arc::clone(&file),
            offset: section.offset,
            bytes: section.bytes,
        };
        read(&Segment::open(path, place, true, &cache)?)
    });
    Ok(open.filter(Result::is_ok).count())
}

/// Opens a segment in a file of its own, after correcting its checksums, and reads its traces. Its content is arbitrary
/// then, and may not be a sound batch.
pub fn open_segment(path: &Path, image: &mut [u8]) -> Result<(), SegmentError> {
    with_checksums(image);
    std::fs::write(path, image).map_err(|source| SegmentError::io("write", path, source))?;
    read(&Segment::open_file(path, true, &SegmentCache::new(2, COLUMN_BYTES))?)
}

/// Reads some of the traces, and all.
fn read(segment: &Segment) -> Result<(), SegmentError> {
    let batch = segment.batch()?;
    let ids = &batch.traces.ids;
    for (first, last) in [(ids.first(), ids.last()), (ids.get(1), ids.get(1))] {
        if let (Some(&first), Some(&last)) = (first, last) {
            let _ = segment.slice(&batch, (first, last), None)?;
        }
    }
    Ok(())
}
