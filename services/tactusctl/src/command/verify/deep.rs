//! Reads all data of a block, and compares it with the other files of the block.

use indicatif::ProgressBar;
use tactus_block::read::BlockReader;
use tactus_model::{Projection, SpanBatch, TraceId, span_end};
use tactus_storage::BlockMeta;
use tactus_storage::bloom::{BloomShard, shard_of};
use tactus_storage::index::RowGroupIndex;
use tactus_telemetry::error_text;

use super::finding::{Finding, Problem};
use super::tree::TreeCheck;
use super::{is_transient, windows};
use crate::output::format;

/// How many traces of a row group are also read by id, as a query does.
const TRACES_BY_ID: usize = 16;
/// Estimated bytes, before compression, that are decoded at a time.
const WINDOW_BYTES: u64 = 128 << 20;
const NANOS_A_SECOND: i128 = 1_000_000_000;

/// The bloom filters and the index of a block.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// By shard; `None` for a filter that is missing or damaged.
    pub(super) blooms: Vec<Option<BloomShard>>,
    pub(super) index: Option<RowGroupIndex>,
}

/// Reads a block. Errors: only errors that say nothing about the block.
pub(super) fn check(
    meta: &BlockMeta,
    reader: &BlockReader,
    side: &Side,
    bar: &ProgressBar,
    findings: &mut Vec<Finding>,
) -> tactus_block::Result<()> {
    let mut state = Deep::new(meta, reader, side, findings);
    for (number, group) in reader.row_groups().iter().enumerate() {
        state.row_group(number)?;
        bar.inc(group.bytes);
    }
    state.compare_times();
    state.tell_counts();
    Ok(())
}

struct Deep<'a> {
    meta: &'a BlockMeta,
    reader: &'a BlockReader,
    side: &'a Side,
    findings: &'a mut Vec<Finding>,
    last_id: Option<TraceId>,
    /// Unix nanoseconds.
    first_start: u64,
    last_end: u64,
    tree: TreeCheck,
    /// Number of traces that are not in their bloom filter.
    unknown_to_bloom: u64,
    /// Number of traces for which the index names another row group.
    unknown_to_index: u64,
    unordered: u64,
    wrong_trees: u64,
    /// The first of these traces.
    example_tree: Option<TraceId>,
}

impl<'a> Deep<'a> {
    fn new(
        meta: &'a BlockMeta,
        reader: &'a BlockReader,
        side: &'a Side,
        findings: &'a mut Vec<Finding>,
    ) -> Self {
        Self {
            meta,
            reader,
            side,
            findings,
            last_id: None,
            first_start: u64::MAX,
            last_end: 0,
            tree: TreeCheck::default(),
            unknown_to_bloom: 0,
            unknown_to_index: 0,
            unordered: 0,
            wrong_trees: 0,
            example_tree: None,
        }
    }

    fn add(&mut self, problem: Problem, what: String) {
        self.findings.push(Finding::damage(self.meta.block_id, problem, what));
    }

    fn row_group(&mut self, number: usize) -> tactus_block::Result<()> {
        let group = &self.reader.row_groups()[number];
        for rows in windows(group, WINDOW_BYTES) {
            // A whole row group is read without its page index.
            let read = match rows == (0..group.traces) {
                true => self.reader.read_row_group(number, &Projection::all()),
                false => self.reader.read_rows(number, rows, &Projection::all()),
            };
            match read {
                Ok(batch) => self.batch(number, &batch)?,
                Err(error) if is_transient(&error) => return Err(error),
                Err(error) => self.add(Problem::DataDamaged, error_text(&error)),
            }
        }
        Ok(())
    }

    fn batch(&mut self, number: usize, batch: &SpanBatch) -> tactus_block::Result<()> {
        for &id in batch.traces.ids.iter() {
            self.unordered += u64::from(self.last_id.is_some_and(|last| last >= id));
            self.last_id = Some(id);
            let shard = shard_of(&id.0, self.meta.bloom_shard_count()) as usize;
            let bloom = self.side.blooms.get(shard).and_then(Option::as_ref);
            self.unknown_to_bloom +=
                u64::from(bloom.is_some_and(|bloom| !bloom.may_contain(&id.0)));
            let index = self.side.index.as_ref();
            let right = index.is_none_or(|index| index.find(&id.0) == Some(number));
            self.unknown_to_index += u64::from(!right);
        }
        for (&start, &duration) in batch.spans.start.iter().zip(batch.spans.duration.iter()) {
            if start > 0 {
                self.first_start = self.first_start.min(start);
            }
            self.last_end = self.last_end.max(span_end(start, duration));
        }
        self.check_trees(batch);
        self.read_by_id(batch)
    }

    fn check_trees(&mut self, batch: &SpanBatch) {
        let offsets = batch.trace_offsets();
        for (&id, bounds) in batch.traces.ids.iter().zip(offsets.windows(2)) {
            if !self.tree.is_plausible(batch, bounds[0] as usize..bounds[1] as usize) {
                self.wrong_trees += 1;
                self.example_tree = self.example_tree.or(Some(id));
            }
        }
    }

    /// Reads some traces by id, as a query does. A wrong index is not an error here.
    fn read_by_id(&mut self, batch: &SpanBatch) -> tactus_block::Result<()> {
        let offsets = batch.trace_offsets();
        let ids = batch.traces.ids.as_slice();
        let step = ids.len().div_ceil(TRACES_BY_ID).max(1);
        for row in (0..ids.len()).step_by(step) {
            let spans = (offsets[row + 1] - offsets[row]) as usize;
            let what = match self.reader.read_trace(ids[row]) {
                Ok(Some(trace)) if trace.len() == spans => continue,
                Ok(Some(trace)) => format!("has {} of {spans} spans", trace.len()),
                Ok(None) => "is not found".to_owned(),
                Err(error) if is_transient(&error) => return Err(error),
                Err(error) => error_text(&error),
            };
            let id = ids[row].to_hex();
            self.add(Problem::DataDamaged, format!("trace {id} read by its id {what}"));
        }
        Ok(())
    }

    /// A note: ingesters leave times that are far off out of the meta, and by its times a block is kept or deleted.
    fn compare_times(&mut self) {
        if self.first_start > self.last_end {
            return;
        }
        let (first, last) = (i128::from(self.first_start), i128::from(self.last_end));
        // Ingesters cut fractions of seconds.
        let (start, end) =
            (self.meta.start_time.as_nanosecond(), self.meta.end_time.as_nanosecond());
        if last < start - NANOS_A_SECOND || first > end + NANOS_A_SECOND {
            let time = format::time_of_nanos;
            let what = format!(
                "meta: {} to {}, spans: {} to {}",
                self.meta.start_time,
                self.meta.end_time,
                time(self.first_start),
                time(self.last_end)
            );
            self.findings.push(Finding::note(self.meta.block_id, Problem::Times, what));
        }
    }

    fn tell_counts(&mut self) {
        let (bloom, index) = (self.unknown_to_bloom, self.unknown_to_index);
        let (unordered, trees) = (self.unordered, self.wrong_trees);
        if bloom > 0 {
            self.add(Problem::Bloom, format!("{bloom} traces are not in their filter"));
        }
        let groups = self.reader.row_groups().len();
        let indexed = self.side.index.as_ref().map(|index| index.last_ids().len());
        if indexed.is_some_and(|indexed| indexed != groups) {
            let what = format!("{} entries for {groups} row groups", indexed.unwrap_or(0));
            self.add(Problem::Index, what);
        } else if index > 0 {
            self.add(Problem::Index, format!("{index} traces are sent to another row group"));
        }
        if unordered > 0 {
            self.add(Problem::Order, format!("{unordered} traces come after one with a higher id"));
        }
        if let Some(id) = self.example_tree {
            let what =
                format!("{trees} traces have impossible tree positions, such as {}", id.to_hex());
            self.add(Problem::Tree, what);
        }
    }
}
