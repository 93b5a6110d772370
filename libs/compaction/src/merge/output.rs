//! The output block of a merge.

use std::io::Write;

use tactus_block::{BlockBuilder, BuiltBlock};
use tactus_model::SpanBatch;
use tactus_model::merge::{MergeOutput, TraceMerger};

use super::RowGroupLimits;
use crate::changes::{self, redact};
use crate::{Changes, Error, Result, RewriteSettings, RewriteStats};

/// Applies changes to merged traces, and writes the result as row groups.
pub(super) struct Output<'a, W: Write + Send> {
    /// Until the first row group is written.
    sink: Option<W>,
    builder: Option<BlockBuilder<W>>,
    settings: &'a RewriteSettings,
    changes: &'a Changes,
    limits: RowGroupLimits,
    /// Number of traces of the inputs. One that is in several inputs counts several times.
    traces: u64,
    /// What is left of batches that lost traces, until it is enough for a row group.
    remainder: MergeOutput,
}

impl<'a, W: Write + Send> Output<'a, W> {
    pub(super) fn new(
        sink: W,
        settings: &'a RewriteSettings,
        changes: &'a Changes,
        limits: RowGroupLimits,
        traces: u64,
    ) -> Self {
        let remainder = MergeOutput::default();
        Self { sink: Some(sink), builder: None, settings, changes, limits, traces, remainder }
    }

    /// Bytes held.
    pub(super) fn held_bytes(&self) -> u64 {
        self.remainder.heap_bytes() as u64
    }

    /// Takes whole traces, which must come after all that were taken before.
    pub(super) fn add(&mut self, batch: SpanBatch, stats: &mut RewriteStats) -> Result<()> {
        let expired = match &self.changes.retention {
            Some(classes) => changes::expired_traces(classes, &batch)?,
            None => Vec::new(),
        };
        if expired.is_empty() && self.remainder.batch().is_empty() {
            return self.write(batch, stats);
        }
        self.keep_rest(&batch, &expired, stats)
    }

    /// Adds the traces that have not expired to the remainder. `expired`: rows of the trace table, ascending.
    fn keep_rest(
        &mut self,
        batch: &SpanBatch,
        expired: &[u32],
        stats: &mut RewriteStats,
    ) -> Result<()> {
        let (inputs, offsets) = ([batch], batch.trace_offsets());
        let mut expired = expired.iter().copied().peekable();
        let mut traces = (0u32..).zip(batch.traces.ids.iter()).peekable();
        self.remainder.forget_input(0);
        while traces.peek().is_some() {
            let mut merger = TraceMerger::new(&inputs, std::mem::take(&mut self.remainder));
            let mut is_full = false;
            while let Some(&(trace, id)) = traces.peek() {
                let rows = offsets[trace as usize]..offsets[trace as usize + 1];
                if expired.next_if_eq(&trace).is_some() {
                    stats.traces_expired += 1;
                    stats.spans_expired += rows.len() as u64;
                } else if self.limits.is_full(merger.output(), rows.len()) {
                    is_full = true;
                    break;
                } else {
                    merger.start_trace(*id);
                    rows.for_each(|row| merger.add_row(0, row));
                    merger.finish_trace(u64::MAX);
                }
                traces.next();
            }
            self.remainder = merger.into_output();
            if is_full {
                self.write_remainder(stats)?;
            }
        }
        Ok(())
    }

    fn write_remainder(&mut self, stats: &mut RewriteStats) -> Result<()> {
        let (batch, _) = self.remainder.take();
        if batch.is_empty() { Ok(()) } else { self.write(batch, stats) }
    }

    fn write(&mut self, mut batch: SpanBatch, stats: &mut RewriteStats) -> Result<()> {
        stats.values_redacted += redact::apply_all(&self.changes.redact, &mut batch)?;
        let builder = match &mut self.builder {
            Some(builder) => builder,
            none => {
                let Some(sink) = self.sink.take() else {
                    return Err(Error::Invalid("the output is finished".to_owned()));
                };
                let builder = BlockBuilder::new(sink, &self.settings.builder, self.traces);
                none.insert(builder.map_err(Error::Output)?)
            }
        };
        for info in builder.write_row_group(&batch).map_err(Error::Output)? {
            stats.traces_written += info.traces;
            stats.spans_written += info.spans;
            stats.row_groups_written += 1;
        }
        Ok(())
    }

    /// Writes what waits, and the footer.
    #[expect(clippy::type_complexity, reason = "a block and its range of time")]
    pub(super) fn finish(
        mut self,
        stats: &mut RewriteStats,
    ) -> Result<(Option<BuiltBlock<W>>, Option<(u64, u64)>)> {
        self.write_remainder(stats)?;
        let Some(builder) = self.builder else { return Ok((None, None)) };
        let block = builder.finish().map_err(Error::Output)?;
        stats.bytes_written = block.summary.size;
        let range = (block.summary.start_unix_nanos, block.summary.end_unix_nanos);
        Ok((Some(block), Some(range)))
    }
}
