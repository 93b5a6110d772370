//! Reads one input block, a window at a time.

use std::ops::Range;

use tactus_block::read::BlockReader;
use tactus_model::{Projection, SpanBatch, TraceId};

use super::Head;
use crate::{Error, Result, RewriteStats};

/// First estimate of the bytes in memory for one byte in a file before compression.
const MEMORY_RATIO: f64 = 2.5;

/// A block that is read from its first to its last row.
pub(super) struct Input<'r> {
    number: usize,
    reader: &'r BlockReader,
    /// Row group and row that come after the window.
    group: usize,
    row: u64,
    window: Option<Window>,
    pub(super) last_id: Option<TraceId>,
    /// As [`MEMORY_RATIO`], measured with the last window.
    ratio: f64,
    done_bytes: u64,
}

struct Window {
    batch: SpanBatch,
    /// First span of each trace, and the end.
    offsets: Vec<u32>,
    next: usize,
    heap_bytes: u64,
}

impl<'r> Input<'r> {
    pub(super) fn new(number: usize, reader: &'r BlockReader) -> Self {
        let mut input = Self {
            number,
            reader,
            group: 0,
            row: 0,
            window: None,
            last_id: None,
            ratio: MEMORY_RATIO,
            done_bytes: 0,
        };
        input.skip_empty_groups();
        input
    }

    fn skip_empty_groups(&mut self) {
        let groups = self.reader.row_groups();
        while groups.get(self.group).is_some_and(|group| self.row >= group.traces) {
            self.done_bytes = self.done_bytes.saturating_add(groups[self.group].bytes);
            self.group += 1;
            self.row = 0;
        }
    }

    /// True if nothing is left, neither in the window nor in the block.
    pub(super) fn is_at_end(&self) -> bool {
        self.window.is_none() && self.group >= self.reader.row_groups().len()
    }

    /// True if the window is used up and the block has more.
    pub(super) fn wants_window(&self) -> bool {
        self.window.is_none() && self.group < self.reader.row_groups().len()
    }

    /// Bytes held.
    pub(super) fn heap_bytes(&self) -> u64 {
        self.window.as_ref().map_or(0, |window| window.heap_bytes)
    }

    /// Bytes of the strings of the window.
    pub(super) fn string_bytes(&self) -> u64 {
        self.window.as_ref().map_or(0, |window| window.batch.strings.parts().0.len() as u64)
    }

    /// The error if the window is too large because of a single trace.
    pub(super) fn giant(&self) -> Option<Error> {
        let window = self.window.as_ref()?;
        let spans = window.offsets.windows(2).map(|pair| pair[1] - pair[0]).max()?;
        let is_most = u64::from(spans) * 2 >= window.batch.len() as u64;
        is_most.then(|| Error::TooLarge {
            input: self.number,
            spans: spans.into(),
            mib: window.heap_bytes >> 20,
        })
    }

    /// Compressed bytes of the row groups that were read, including a share of the current one.
    pub(super) fn done_bytes(&self) -> u64 {
        let part = self.reader.row_groups().get(self.group).map_or(0, |group| {
            u128::from(group.bytes) * u128::from(self.row) / u128::from(group.traces.max(1))
        });
        self.done_bytes.saturating_add(part as u64)
    }

    /// The window's spans, or `empty`, and the position of the merge in it.
    pub(super) fn head<'w>(&'w self, empty: &'w SpanBatch) -> (&'w SpanBatch, Head<'w>) {
        match &self.window {
            Some(Window { batch, offsets, next, .. }) => {
                (batch, Head { ids: &batch.traces.ids, offsets, next: *next })
            }
            None => (empty, Head { ids: &[], offsets: &[0], next: 0 }),
        }
    }

    /// Sets the window's next trace. A window that is used up is dropped.
    pub(super) fn advance_to(&mut self, next: usize) {
        if let Some(window) = &mut self.window {
            window.next = next;
            if next >= window.batch.traces.ids.len() {
                self.window = None;
            }
        }
    }

    /// Reads the next rows, as many as fit into about `bytes` of memory: at least one, at most to the end of the row
    /// group.
    ///
    /// Errors: `Input` for data that cannot be read, `Unordered`.
    pub(super) fn read_window(&mut self, bytes: u64, stats: &mut RewriteStats) -> Result<()> {
        let rows = self.plan(bytes);
        let group = &self.reader.row_groups()[self.group];
        let everything = Projection {
            nested_left: false,
            nested_right: false,
            nested_parent: false,
            ..all_stored()
        };
        let is_whole = rows.start == 0 && rows.end == group.traces;
        let read = match is_whole {
            true => self.reader.read_row_group(self.group, &everything),
            false => self.reader.read_rows(self.group, rows.clone(), &everything),
        };
        let batch = read.map_err(|source| Error::Input { input: self.number, source })?;
        let count = rows.end - rows.start;
        if batch.traces.ids.len() as u64 != count {
            return Err(self.corrupt(format!(
                "row group {} has {} of {count} rows",
                self.group,
                batch.traces.ids.len()
            )));
        }
        self.check_order(&batch)?;
        let heap_bytes = batch.heap_bytes() as u64;
        let planned = group.uncompressed_bytes as f64 * count as f64 / group.traces.max(1) as f64;
        // Dictionaries make small windows look large, and the next one may be the rest of a row group.
        self.ratio = (heap_bytes as f64 / planned.max(1.0)).clamp(0.5, 16.0);
        let read_before = self.done_bytes();
        self.row = rows.end;
        self.skip_empty_groups();
        stats.bytes_read += self.done_bytes().saturating_sub(read_before);
        stats.traces_read += count;
        stats.spans_read += batch.len() as u64;
        let offsets = batch.trace_offsets();
        self.window = Some(Window { batch, offsets, next: 0, heap_bytes });
        Ok(())
    }

    /// The next rows of the row group, which is divided evenly.
    fn plan(&self, bytes: u64) -> Range<u64> {
        let group = &self.reader.row_groups()[self.group];
        let left = group.traces - self.row;
        let row_bytes = group.uncompressed_bytes as f64 * self.ratio / group.traces.max(1) as f64;
        let windows = (row_bytes * left as f64 / bytes.max(1) as f64).ceil().max(1.0);
        let rows = (left as f64 / windows).ceil().clamp(1.0, left as f64) as u64;
        self.row..self.row + rows.clamp(1, left)
    }

    fn check_order(&mut self, batch: &SpanBatch) -> Result<()> {
        let ids = batch.traces.ids.as_slice();
        let (Some(first), Some(&last)) = (ids.first(), ids.last()) else { return Ok(()) };
        let continues = self.last_id.is_none_or(|previous| previous < *first);
        if !continues || !ids.is_sorted_by(|a, b| a < b) {
            return Err(Error::Unordered { input: self.number });
        }
        if !batch.spans.trace.is_sorted() {
            return Err(self.corrupt("spans are not in order of trace".to_owned()));
        }
        self.last_id = Some(last);
        Ok(())
    }

    fn corrupt(&self, what: String) -> Error {
        Error::Input { input: self.number, source: tactus_block::Error::Corrupt { what } }
    }
}

/// Everything that is stored and is not computed again when a block is written.
fn all_stored() -> Projection {
    Projection {
        trace_summary: false,
        trace_roots: false,
        service_stats: false,
        ..Projection::all()
    }
}
