//! Segments: sorted spans on local disk, between the write-ahead log and a block.
//!
//! A segment file is one sorted [`SpanBatch`], its columns as they lie in memory, each with a CRC32C:
//!
//! ```text
//! "TACTSEG1"  count: u32  crc of the table: u32
//! table       count x { section: u32, crc: u32, offset: u64, bytes: u64 }
//! sections    each at a multiple of 64 bytes, so that a memory map can be read in place
//! ```
//!
//! Columns that are zero throughout are left out. Nothing outside this process reads segments; they live in
//! the directory that the write-ahead log's lock protects. All numbers are little-endian.

use std::{
    fs::File,
    io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tactus_model::{CutTraces, OriginSet, SpanBatch};
use tactus_storage::Uuid;

use crate::{layout, origins::HeldOrigins};

mod columns;
mod file;
mod maps;

use maps::MapSlot;
pub(crate) use maps::SegmentMaps;

/// Memory of a cut trace that is noted, about.
const CUT_TRACE_BYTES: usize = 32;

/// Why a segment cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file system refused.
    #[error("{action} segment {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no segment, or not the one that was written.
    #[error("segment {} is damaged: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
}

/// One segment on disk. Its spans are mapped into memory when somebody asks for them.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    bytes: u64,
    traces: usize,
    block_times: (u64, u64),
    origins: HeldOrigins,
    cut_traces: CutTraces,
    written: SystemTime,
    starts: OnceLock<(u64, u64)>,
    block: OnceLock<Uuid>,
    flushed: AtomicBool,
    map: MapSlot,
}

/// A segment whose spans are mapped as long as this lives, whatever becomes of its file.
#[derive(Debug, Clone)]
pub(crate) struct OpenSegment {
    segment: Arc<Segment>,
    batch: Arc<SpanBatch>,
}

impl Segment {
    /// Writes a sorted batch to a new file and syncs it if asked to; returns its size in bytes. `block_times` is
    /// what the batch adds to the time range of its block, in unix nanoseconds; `origins` those of its spans and of the
    /// copies that were left out; `cut` traces of which spans were refused.
    pub(crate) fn write(
        path: &Path,
        batch: &SpanBatch,
        block_times: (u64, u64),
        origins: &HeldOrigins,
        cut: &CutTraces,
        sync: bool,
    ) -> Result<u64, SegmentError> {
        let io = |action| move |source| SegmentError::Io { action, path: path.to_owned(), source };
        let file = File::create(path).map_err(io("create"))?;
        let times = [block_times.0, block_times.1];
        let mut sections = columns::sections(batch);
        sections.push((columns::BLOCK_TIMES, bytemuck::cast_slice(&times)));
        let sets = [&origins.complete, &origins.incomplete, &origins.thinned];
        let bounds = sets.map(OriginSet::bounds);
        let bounds = bounds.each_ref().map(Vec::as_slice);
        sections.extend(columns::origins(batch, bounds, origins.has_none));
        let cut = columns::cut_trace_numbers(cut);
        if !cut.is_empty() {
            sections.push((columns::CUT_TRACES, bytemuck::cast_slice(&cut)));
        }
        let bytes = file::write(&file, &sections).map_err(io("write"))?;
        if sync {
            file.sync_data().map_err(io("sync"))?;
        }
        Ok(bytes)
    }

    /// Opens a segment, reads what is known of all its spans, and closes it again. With `verify` every byte is checked;
    /// leave it out only for a file just written.
    pub(crate) fn open(
        path: &Path,
        verify: bool,
        maps: &SegmentMaps,
    ) -> Result<Self, SegmentError> {
        let corrupt = |what| SegmentError::Corrupt { path: path.to_owned(), what };
        let map = Arc::new(file::map(path)?);
        let sections = file::sections(&map, verify).map_err(corrupt)?;
        let batch = columns::batch(&map, &sections, verify).map_err(corrupt)?;
        let block_times = columns::block_times(&map, &sections).map_err(corrupt)?;
        let origins = columns::held_origins(&map, &sections).map_err(corrupt)?;
        let cut_traces = columns::cut_traces(&map, &sections).map_err(corrupt)?;
        let written = std::fs::metadata(path).and_then(|meta| meta.modified());
        let written = written.unwrap_or_else(|_| SystemTime::now());
        let heap_bytes = size_of::<Self>()
            + path.as_os_str().len()
            + origins.heap_bytes()
            + cut_traces.iter().count() * CUT_TRACE_BYTES;
        Ok(Self {
            path: path.to_owned(),
            bytes: map.len() as u64,
            traces: batch.traces.ids.len(),
            block_times,
            origins,
            cut_traces,
            written,
            starts: OnceLock::new(),
            block: OnceLock::new(),
            flushed: AtomicBool::new(false),
            map: maps.slot(map.len() as u64, heap_bytes),
        })
    }

    /// The spans, sorted by trace id.
    pub(crate) fn batch(&self) -> Result<Arc<SpanBatch>, SegmentError> {
        self.map.batch(&self.path)
    }

    /// The spans with pages of their own, so that a sweep over them can give their memory back.
    pub(crate) fn map_anew(&self) -> Result<SpanBatch, SegmentError> {
        map_batch(&self.path)
    }

    /// Traces in it.
    pub(crate) fn traces(&self) -> usize {
        self.traces
    }

    /// The origins of its spans.
    pub(crate) fn origins(&self) -> &HeldOrigins {
        &self.origins
    }

    /// Traces of which spans were refused, here or before any segment was cut.
    pub(crate) fn cut_traces(&self) -> &CutTraces {
        &self.cut_traces
    }

    /// Size of the file in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the file lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// True as long as tail sampling did not decide which of its traces stay.
    pub(crate) fn is_pending(&self) -> bool {
        layout::is_pending(&self.path)
    }

    /// The block that it becomes part of, once that is decided.
    pub(crate) fn block(&self) -> Option<Uuid> {
        self.block.get().copied()
    }

    /// Notes the block; for good.
    pub(crate) fn set_block(&self, block: Uuid) {
        let _ = self.block.set(block);
    }

    /// True once its block is in object storage.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Acquire)
    }

    /// Notes that its block is in object storage.
    pub(crate) fn set_flushed(&self) {
        self.flushed.store(true, Ordering::Release);
    }

    /// When the file was written.
    pub(crate) fn written(&self) -> SystemTime {
        self.written
    }

    /// What the segment adds to the time range of its block, unix nanoseconds.
    pub(crate) fn block_times(&self) -> (u64, u64) {
        self.block_times
    }
}

impl OpenSegment {
    /// Maps the spans of a segment.
    pub(crate) fn new(segment: Arc<Segment>) -> Result<Self, SegmentError> {
        let batch = segment.batch()?;
        Ok(Self { segment, batch })
    }

    /// The segment, mapped or not.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The spans, sorted by trace id.
    pub(crate) fn batch(&self) -> &SpanBatch {
        &self.batch
    }

    /// When the first and the last of its spans start, unix nanoseconds.
    pub(crate) fn starts(&self) -> (u64, u64) {
        *self.segment.starts.get_or_init(|| {
            let starts = self.batch.spans.start.iter();
            starts.fold((u64::MAX, 0), |(first, last), &it| (first.min(it), last.max(it)))
        })
    }
}

impl Deref for OpenSegment {
    type Target = Segment;

    fn deref(&self) -> &Segment {
        &self.segment
    }
}

impl SegmentError {
    /// True if the file is not there: a block took its place, or what was decided of it.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Maps a segment that was checked before.
fn map_batch(path: &Path) -> Result<SpanBatch, SegmentError> {
    let corrupt = |what| SegmentError::Corrupt { path: path.to_owned(), what };
    let map = Arc::new(file::map(path)?);
    let sections = file::sections(&map, false).map_err(corrupt)?;
    columns::batch(&map, &sections, false).map_err(corrupt)
}

#[cfg(test)]
mod tests;
