//! Segments: sorted spans on local disk, between the write-ahead log and a block.
//!
//! A segment is a sorted [`SpanBatch`]. Its columns are stored as they are in memory, each with a CRC32C:
//!
//! ```text
//! "TACTSEG2"  count: u32  crc of the table: u32
//! table       count x { column: u32, crc: u32, offset: u64, bytes: u64 }
//! columns     each at a multiple of 8 bytes
//! ```
//!
//! Columns without values, or with zeros only, are left out. The segments of a cut share one file (`cut.rs`); what tail
//! sampling leaves of a segment has a file of its own. Columns are read on first use and checked then. So a failing
//! disk causes an error, which a memory map could not report. Nothing outside this process reads segments; they are in
//! the directory that the write-ahead log's lock protects. All numbers are little-endian.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use tactus_clock::instant_of;
use tactus_model::{CutTraces, OriginSet, Projection, SpanBatch, TraceId};
use tactus_storage::Uuid;
use tactus_work::memory::Budget;

use crate::{layout, origins::HeldOrigins};

mod cache;
mod column_reader;
mod columns;
pub(crate) mod cut;
mod error;
mod file;
mod image;
mod open_segment;

use cache::Slot;
pub(crate) use cache::{OpenBatch, SegmentCache};
use column_reader::ColumnReader;
pub use error::SegmentError;
pub(crate) use error::is_error_of_disk;
pub(crate) use file::{Place, SegmentFile};
use image::Image;
pub(crate) use image::with_checksums;
pub(crate) use open_segment::OpenSegment;

/// Approximate memory of the note of a cut trace.
const CUT_TRACE_BYTES: usize = 32;

/// A segment that is about to be written.
#[derive(Debug)]
pub(crate) struct NewSegment<'a> {
    /// Sorted.
    pub(crate) batch: &'a SpanBatch,
    /// The time range that the batch adds to its block, in unix nanoseconds.
    pub(crate) block_times: (u64, u64),
    /// The origins of its spans, and of copies that were left out.
    pub(crate) origins: &'a HeldOrigins,
    /// Traces of which spans were refused.
    pub(crate) cut: &'a CutTraces,
}

/// One segment on disk. Its columns are read on first use.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    place: Place,
    traces: usize,
    block_times: (u64, u64),
    origins: HeldOrigins,
    cut_traces: CutTraces,
    written: SystemTime,
    /// The same time by the clock that never jumps.
    since: Instant,
    starts: OnceLock<(u64, u64)>,
    ends: OnceLock<(u64, u64)>,
    block: Mutex<Option<Uuid>>,
    flushed: AtomicBool,
    released: AtomicBool,
    set_aside: AtomicBool,
    slot: Slot,
}

impl NewSegment<'_> {
    /// Writes it to a new file of its own, and syncs the file if asked to.
    pub(crate) fn write(&self, path: &Path, sync: bool) -> Result<(), SegmentError> {
        let io = |action| move |source| SegmentError::io(action, path, source);
        let file = File::create(path).map_err(io("create"))?;
        let mut out = BufWriter::with_capacity(256 << 10, &file);
        let written = self.with_image(|image| image.write(&mut out));
        written.and_then(|()| out.flush()).map_err(io("write"))?;
        if sync {
            file.sync_data().map_err(io("sync"))?;
        }
        Ok(())
    }

    fn with_image<R>(&self, write: impl FnOnce(&Image<'_>) -> R) -> R {
        let times = [self.block_times.0, self.block_times.1];
        let mut columns = columns::sections(self.batch);
        columns.push((columns::BLOCK_TIMES, bytemuck::cast_slice(&times)));
        let origins = self.origins;
        let sets = [&origins.complete, &origins.incomplete, &origins.thinned];
        let bounds = sets.map(OriginSet::bounds);
        let bounds = bounds.each_ref().map(Vec::as_slice);
        columns.extend(columns::origins(self.batch, bounds, origins.has_none));
        let cut = columns::cut_trace_numbers(self.cut);
        columns.push((columns::CUT_TRACES, bytemuck::cast_slice(&cut)));
        write(&Image::new(&columns))
    }
}

impl Segment {
    /// Opens a segment, and reads the columns that describe all of its spans. With `verify` every byte is checked;
    /// leave that out only for a segment that was just written.
    ///
    /// `path`: its name in the directory of its cut. Its bytes may be in another file.
    pub(crate) fn open(
        path: &Path,
        place: Place,
        verify: bool,
        cache: &SegmentCache,
    ) -> Result<Self, SegmentError> {
        let state = cache.state();
        let keeper = Arc::clone(&state);
        let reader = Arc::new(ColumnReader::open(path.to_owned(), place.clone(), keeper)?);
        if verify {
            reader.check()?;
        }
        let batch = OpenBatch::new(Arc::clone(&reader))?;
        if verify {
            let checked = columns::check(&batch);
            // What cannot be read is zeros, which do not fit.
            if let Some(error) = state.last_failure() {
                return Err(error);
            }
            checked.map_err(|what| reader.corrupt(what))?;
        }
        let origins = columns::held_origins(&reader)?;
        let cut_traces = columns::cut_traces(&reader)?;
        let written = fs::metadata(place.file.path()).and_then(|meta| meta.modified());
        let written = written.unwrap_or_else(|_| SystemTime::now());
        let since = match verify {
            true => instant_of(written),
            false => Instant::now(),
        };
        let heap_bytes = size_of::<Self>()
            + path.as_os_str().len()
            + origins.heap_bytes()
            + cut_traces.iter().count() * CUT_TRACE_BYTES;
        Ok(Self {
            path: path.to_owned(),
            place,
            traces: batch.traces.ids.len(),
            block_times: columns::block_times(&reader)?,
            origins,
            cut_traces,
            written,
            since,
            starts: OnceLock::new(),
            ends: OnceLock::new(),
            block: Mutex::default(),
            flushed: AtomicBool::new(false),
            released: AtomicBool::new(false),
            set_aside: AtomicBool::new(false),
            slot: Slot::new(state, heap_bytes),
        })
    }

    /// Opens a segment that is a file of its own.
    pub(crate) fn open_file(
        path: &Path,
        verify: bool,
        cache: &SegmentCache,
    ) -> Result<Self, SegmentError> {
        let file = SegmentFile::new(path, 1, cache.file_counter());
        let file = file.map_err(|source| SegmentError::read(path, source))?;
        Self::open(path, file.whole(), verify, cache)
    }

    /// The spans, sorted by trace id.
    pub(crate) fn batch(&self) -> Result<Arc<OpenBatch>, SegmentError> {
        self.slot.batch(|| self.open_batch())
    }

    /// The spans, in memory that no cache keeps.
    pub(crate) fn open_batch(&self) -> Result<OpenBatch, SegmentError> {
        let state = Arc::clone(self.slot.state());
        let reader = ColumnReader::open(self.path.clone(), self.place.clone(), state)?;
        OpenBatch::new(Arc::new(reader))
    }

    /// Reads all of the segment and checks it.
    pub(crate) fn check(&self) -> Result<(), SegmentError> {
        let state = Arc::clone(self.slot.state());
        ColumnReader::open(self.path.clone(), self.place.clone(), state)?.check()
    }

    /// A copy of the traces from `first` to `last`, with the strings of `batch`, which must be this segment's. Reads
    /// little else, and does not check it for damage. `besides`: which columns to read besides the basic ones, see
    /// [`tactus_model::merge::TracePart`].
    pub(crate) fn slice(
        &self,
        batch: &OpenBatch,
        (first, last): (TraceId, TraceId),
        besides: Option<&Projection>,
    ) -> Result<SpanBatch, SegmentError> {
        let failures = self.failures();
        let ids = &batch.traces.ids;
        let traces = ids.partition_point(|id| *id < first)..ids.partition_point(|id| *id <= last);
        let of_spans = &batch.spans.trace;
        let rows = of_spans.partition_point(|&trace| (trace as usize) < traces.start)
            ..of_spans.partition_point(|&trace| (trace as usize) < traces.end);
        let slice = self.slice_of(batch, (traces, rows), besides)?;
        match self.failure_since(failures) {
            Some(error) => Err(error),
            None => Ok(slice),
        }
    }

    /// As [`Self::slice`], of these traces and their spans. What it shares with `batch` may be unread: whoever uses it looks
    /// at [`Self::failure_since`] afterwards.
    pub(crate) fn slice_of(
        &self,
        batch: &OpenBatch,
        (traces, rows): (Range<usize>, Range<usize>),
        besides: Option<&Projection>,
    ) -> Result<SpanBatch, SegmentError> {
        match batch.reader() {
            Some(reader) if !traces.is_empty() => {
                columns::slice(reader, batch, traces, rows, besides)
            }
            _ => Ok(SpanBatch::default()),
        }
    }

    /// How often something could not be read. If this number changes, everything computed from its columns in between
    /// is void.
    pub(crate) fn failures(&self) -> u64 {
        self.slot.state().failures()
    }

    /// The last read error that occurred since this number of failures.
    pub(crate) fn failure_since(&self, failures: u64) -> Option<SegmentError> {
        let state = self.slot.state();
        if state.failures() == failures { None } else { state.last_failure() }
    }

    /// Its file, and where in it the segment lies.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The number of the segment, unique in this process.
    pub(crate) fn number(&self) -> u64 {
        self.slot.state().number()
    }

    /// Memory for the lists of traces that the tenant's segments have in common.
    pub(crate) fn split_memory(&self) -> &Arc<Budget> {
        self.slot.state().cache().split_memory()
    }

    /// True if its file is not shared with other segments.
    pub(crate) fn has_own_file(&self) -> bool {
        self.place.has_own_file()
    }

    /// Notes that its file need not be kept for it.
    pub(crate) fn release(&self) {
        if !self.released.swap(true, Ordering::AcqRel) {
            self.place.file.release_one();
        }
    }

    /// True if its file need not be kept for it.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// Marks it as readable again. Unless its block is in object storage, it is to be part of another.
    pub(crate) fn serve_again(&self) {
        if !self.is_flushed() {
            *self.block.lock() = None;
        }
        self.set_aside.store(false, Ordering::Release);
    }

    /// Marks it as unreadable. True the first time.
    pub(crate) fn mark_set_aside(&self) -> bool {
        !self.set_aside.swap(true, Ordering::AcqRel)
    }

    /// True if it could not be read.
    pub(crate) fn is_set_aside(&self) -> bool {
        self.set_aside.load(Ordering::Acquire)
    }

    /// Traces in it.
    pub(crate) fn traces(&self) -> usize {
        self.traces
    }

    /// The origins of its spans.
    pub(crate) fn origins(&self) -> &HeldOrigins {
        &self.origins
    }

    /// Traces of which spans were refused, in this segment or before any segment was cut.
    pub(crate) fn cut_traces(&self) -> &CutTraces {
        &self.cut_traces
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.place.bytes
    }

    /// Its name: the directory of its cut, its tenant and its number.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// True until tail sampling has decided which of its traces stay.
    pub(crate) fn is_pending(&self) -> bool {
        layout::is_pending(&self.path)
    }

    /// The block that it becomes a part of, once that is known.
    pub(crate) fn block(&self) -> Option<Uuid> {
        *self.block.lock()
    }

    /// Sets the block. It changes only if the segment is left out of the block.
    pub(crate) fn set_block(&self, block: Uuid) {
        *self.block.lock() = Some(block);
    }

    /// True once its block is in object storage.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Acquire)
    }

    /// Notes that its block is in object storage.
    pub(crate) fn set_flushed(&self) {
        self.flushed.store(true, Ordering::Release);
    }

    /// When the file was written, by the clock that never jumps.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// How long ago the file was written, even if the wall clock was set since this process found it.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// When the file was written.
    pub(crate) fn written(&self) -> SystemTime {
        self.written
    }

    /// The time range that the segment adds to its block, in unix nanoseconds.
    pub(crate) fn block_times(&self) -> (u64, u64) {
        self.block_times
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if *self.released.get_mut() {
            self.place.give_back();
        }
    }
}

#[cfg(test)]
mod tests;
