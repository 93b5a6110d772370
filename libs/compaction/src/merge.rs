//! Merges several blocks into one, trace by trace.
//!
//! Every input is read in windows, which are consecutive decoded rows of a row group. The smallest trace id at the
//! heads of all windows is next. Its fragments go into the output's batch, which becomes a row group when it is large
//! enough. When a window is used up, the input's next one replaces it, while the others stay. So each span is decoded
//! once and copied once, and memory holds one window of each input and one row group.

mod input;
mod output;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;

use tactus_block::read::BlockReader;
use tactus_block::{BuiltBlock, estimated_bytes};
use tactus_model::merge::{MergeOutput, TraceMerger};
use tactus_model::{CutTraces, SpanBatch, TraceId};

use crate::{Changes, Control, Error, Result, RewriteSettings, RewriteStats};
use input::Input;
use output::Output;

/// What [`merge_blocks`] made.
#[derive(Debug)]
pub struct Merged<W> {
    /// The block, completely written to its sink. `None` if nothing is left; then nothing was written.
    pub block: Option<BuiltBlock<W>>,
    /// Earliest start and latest end of the spans written, unix nanoseconds; `None` if nothing is left.
    pub range: Option<(u64, u64)>,
    /// Traces that lost spans because they would have become too large.
    pub cut_traces: CutTraces,
    /// What was done.
    pub stats: RewriteStats,
}

/// Merges blocks into one. Run it on a thread that may block.
///
/// The same inputs in the same order, settings and changes give the same bytes. If a span occurs twice (same trace,
/// span id, kind, start and name), that of the first input is kept. Memory: see `settings.memory_bytes`. Errors:
/// `Input` and `Unordered` name the input at fault, `Output` for the sink and bad settings, `Cancelled`, `Invalid` for
/// a retention class or redaction whose query cannot be evaluated.
pub fn merge_blocks<W: Write + Send>(
    inputs: &[BlockReader],
    sink: W,
    settings: &RewriteSettings,
    changes: &Changes,
    control: &dyn Control,
) -> Result<Merged<W>> {
    let mut merge = Merge::new(inputs, sink, settings, changes, control);
    while merge.step()? {}
    merge.finish()
}

struct Merge<'a, W: Write + Send> {
    inputs: Vec<Input<'a>>,
    output: Output<'a, W>,
    pending: MergeOutput,
    changes: &'a Changes,
    control: &'a dyn Control,
    budget: Budget,
    cut_traces: CutTraces,
    stats: RewriteStats,
    total_bytes: u64,
}

impl<'a, W: Write + Send> Merge<'a, W> {
    fn new(
        readers: &'a [BlockReader],
        sink: W,
        settings: &'a RewriteSettings,
        changes: &'a Changes,
        control: &'a dyn Control,
    ) -> Self {
        let budget = Budget::new(settings, readers);
        let groups = || readers.iter().flat_map(|reader| reader.row_groups());
        // Saturating, because a damaged footer may hold any number.
        let traces = groups().map(|group| group.traces).fold(0, u64::saturating_add);
        Self {
            inputs: readers.iter().enumerate().map(|(i, reader)| Input::new(i, reader)).collect(),
            output: Output::new(sink, settings, changes, budget.row_group, traces),
            pending: MergeOutput::default(),
            changes,
            control,
            budget,
            cut_traces: CutTraces::new(),
            stats: RewriteStats { blocks_read: readers.len() as u64, ..RewriteStats::default() },
            total_bytes: groups().map(|group| group.bytes).fold(0, u64::saturating_add),
        }
    }

    /// Fills windows, then moves traces until a window is used up or a row group is full. False at the end.
    fn step(&mut self) -> Result<bool> {
        self.fill_windows()?;
        if self.inputs.iter().all(Input::is_at_end) {
            return Ok(false);
        }
        if self.move_traces() {
            self.write_pending()?;
        }
        Ok(true)
    }

    fn fill_windows(&mut self) -> Result<()> {
        for i in 0..self.inputs.len() {
            if !self.inputs[i].wants_window() {
                continue;
            }
            self.control.check().map_err(|_| Error::Cancelled)?;
            let share = self.budget.share(i, &self.inputs);
            self.pending.forget_input(i);
            self.inputs[i].read_window(share, &mut self.stats)?;
            self.check_giants()?;
            let done = self.inputs.iter().map(Input::done_bytes).fold(0, u64::saturating_add);
            self.control.progress(done, self.total_bytes);
            self.note_memory();
        }
        // More than this a dictionary cannot address, so strings would be lost.
        let strings = self.inputs.iter().map(Input::string_bytes).sum::<u64>()
            + self.pending.strings().parts().0.len() as u64;
        if strings > u64::from(u32::MAX) {
            return Err(Error::Invalid("a trace is too large to be merged".to_owned()));
        }
        Ok(())
    }

    /// Traces are not divided. If traces of several inputs together take too much memory, the input with the largest
    /// one is at fault: without it, the others can be merged.
    fn check_giants(&self) -> Result<()> {
        let held: u64 = self.inputs.iter().map(Input::heap_bytes).sum();
        if self.inputs.len() < 2 || held <= self.budget.most_windows {
            return Ok(());
        }
        match self.inputs.iter().max_by_key(|input| input.heap_bytes()).and_then(Input::giant) {
            Some(giant) => Err(giant),
            None => Ok(()),
        }
    }

    fn note_memory(&mut self) {
        let windows: u64 = self.inputs.iter().map(Input::heap_bytes).sum();
        let bytes = windows + self.pending.heap_bytes() as u64 + self.output.held_bytes();
        self.stats.peak_bytes = self.stats.peak_bytes.max(bytes);
    }

    /// Moves traces from the windows into the output until a window is used up, or until the row group is full, in
    /// which case it returns true.
    fn move_traces(&mut self) -> bool {
        let empty = SpanBatch::default();
        let (batches, mut heads): (Vec<&SpanBatch>, Vec<Head<'_>>) =
            self.inputs.iter().map(|input| input.head(&empty)).unzip();
        let mut merger = TraceMerger::new(&batches, std::mem::take(&mut self.pending));
        let mut heap: BinaryHeap<Reverse<(TraceId, usize)>> = heads
            .iter()
            .enumerate()
            .filter_map(|(i, head)| Some(Reverse((head.id()?, i))))
            .collect();
        let mut fragments: Vec<usize> = Vec::with_capacity(heads.len());
        let (mut is_full, mut has_ended) = (false, false);
        while !has_ended && let Some(&Reverse((id, _))) = heap.peek() {
            fragments.clear();
            while let Some(&Reverse((other, input))) = heap.peek()
                && other == id
            {
                heap.pop();
                fragments.push(input);
            }
            let spans = fragments.iter().map(|&input| heads[input].rows().len()).sum();
            if self.changes.remove.contains(&id) {
                self.stats.traces_removed += 1;
                self.stats.spans_removed += spans as u64;
            } else if self.budget.row_group.is_full(merger.output(), spans) {
                is_full = true;
                break;
            } else {
                self.stats.traces_combined += u64::from(fragments.len() > 1);
                merger.start_trace(id);
                for &input in &fragments {
                    for row in heads[input].rows() {
                        merger.add_row(input as u32, row);
                    }
                }
                let cut = merger.finish_trace(self.budget.max_trace_bytes);
                if cut > 0 {
                    self.cut_traces.add(id, cut);
                }
            }
            for &input in &fragments {
                heads[input].next += 1;
                match heads[input].id() {
                    Some(next) => heap.push(Reverse((next, input))),
                    None => has_ended = true,
                }
            }
        }
        self.pending = merger.into_output();
        let places: Vec<usize> = heads.iter().map(|head| head.next).collect();
        for (input, place) in self.inputs.iter_mut().zip(places) {
            input.advance_to(place);
        }
        is_full
    }

    fn write_pending(&mut self) -> Result<()> {
        self.control.check().map_err(|_| Error::Cancelled)?;
        self.note_memory();
        let (batch, merged) = self.pending.take();
        self.stats.duplicate_spans += merged.duplicate_spans;
        self.stats.spans_cut += merged.cut_spans;
        self.stats.traces_cut += merged.cut_traces;
        if batch.is_empty() {
            return Ok(());
        }
        self.output.add(batch, &mut self.stats)
    }

    fn finish(mut self) -> Result<Merged<W>> {
        self.write_pending()?;
        let (block, range) = self.output.finish(&mut self.stats)?;
        Ok(Merged { block, range, cut_traces: self.cut_traces, stats: self.stats })
    }
}

/// The position of a merge in a window.
struct Head<'w> {
    ids: &'w [TraceId],
    /// First span of each trace, and the end.
    offsets: &'w [u32],
    next: usize,
}

impl Head<'_> {
    fn id(&self) -> Option<TraceId> {
        self.ids.get(self.next).copied()
    }

    fn rows(&self) -> std::ops::Range<u32> {
        self.offsets[self.next]..self.offsets[self.next + 1]
    }
}

/// Shares of the memory of a merge.
struct Budget {
    /// Size limit of a combined trace; `u64::MAX` for none.
    max_trace_bytes: u64,
    row_group: RowGroupLimits,
    /// Memory for the windows of all inputs.
    windows: u64,
    /// The most memory of windows if single traces are larger than a window.
    most_windows: u64,
    /// The least memory that a window is planned with.
    least_window: u64,
    /// Bytes of each input before compression.
    sizes: Vec<u64>,
}

/// When a row group is full.
#[derive(Clone, Copy)]
struct RowGroupLimits {
    spans: usize,
    /// Bytes before compression, limited by the memory.
    bytes: u64,
}

impl RowGroupLimits {
    /// True if a trace with some spans must go into the next row group. This depends only on the traces and not on
    /// windows, so that the same blocks always become the same block.
    fn is_full(self, output: &MergeOutput, spans: usize) -> bool {
        let held = output.batch().len();
        let bytes = || {
            let strings = output.strings().parts().0.len() as u64;
            estimated_bytes(output.batch()) + strings
        };
        held > 0 && (held + spans > self.spans || bytes() >= self.bytes)
    }
}

/// No window is smaller, because each costs some reads however small it is.
const LEAST_WINDOW_BYTES: u64 = 64 << 10;
/// Traces that together take less than this are merged, however little memory is configured.
const LEAST_GIANTS_BYTES: u64 = 64 << 20;

impl Budget {
    fn new(settings: &RewriteSettings, inputs: &[BlockReader]) -> Self {
        let size = |reader: &BlockReader| {
            let sizes = reader.row_groups().iter().map(|group| group.uncompressed_bytes);
            sizes.fold(0, u64::saturating_add)
        };
        // A quarter for the growing row group, a quarter for writing it.
        let quarter = (settings.memory_bytes / 4).max(1);
        Self {
            max_trace_bytes: match settings.max_trace_bytes {
                0 => u64::MAX,
                limit => limit,
            },
            row_group: RowGroupLimits {
                spans: settings.row_group_spans,
                bytes: settings.row_group_bytes.min(quarter),
            },
            windows: settings.memory_bytes / 2,
            most_windows: settings.memory_bytes.saturating_mul(2).max(LEAST_GIANTS_BYTES),
            least_window: LEAST_WINDOW_BYTES.min(settings.memory_bytes / 16),
            sizes: inputs.iter().map(size).collect(),
        }
    }

    /// Bytes for the next window of an input, in proportion to the size of the input among those that are still read,
    /// so that all windows end at about the same trace.
    fn share(&self, input: usize, inputs: &[Input<'_>]) -> u64 {
        let active = inputs.iter().zip(&self.sizes).filter(|(input, _)| !input.is_at_end());
        let (count, total) = active.fold((0u64, 0u64), |(count, total), (_, &size)| {
            (count + 1, total.saturating_add(size))
        });
        let part =
            u128::from(self.windows) * u128::from(self.sizes[input]) / u128::from(total.max(1));
        // A small input among large ones must not be read in tiny pieces.
        (part as u64).max(self.windows / (4 * count.max(1))).max(self.least_window)
    }
}

#[cfg(test)]
mod tests;
