//! Writes `data.parquet`: takes sorted batches, and writes row groups.

mod attributes;
mod canonical;
mod check;
mod chunk;
mod compress;
mod derived;
mod estimate;
mod expansion;
mod file;
mod json;
mod layout;
mod leaves;
mod levels;
mod page_header;
mod row_group;
mod slot_columns;
mod slots;
mod span_lists;
mod statistics;
mod strings;
mod traces;

use std::io::Write;

use tactus_model::{SpanBatch, StringCode, TraceId, merge::MergePlan};
use tactus_storage::meta::{BlockVersion, DedicatedColumn};

pub use estimate::estimated_bytes;
pub(crate) use expansion::MOST_OWNER_BYTES;
pub use file::STRIPE_BYTES;

use crate::error::Result;
use crate::read::footer::first_offset_index;
use crate::schema::{AttributeColumn, Schema};
use crate::summary::{SummaryFile, ValueCollector, cut_tail};
use canonical::CanonicalResources;
use compress::Compressor;
use expansion::cut_by_owners;
use file::{DataFile, FileEnd};
use leaves::LeafWriter;
use row_group::{Scratch, Source, write_columns};
use slots::{BatchSlots, SlotNames, SlotValue};

/// How pages are compressed. [`crate::schema::LeafCompression`] lists the exceptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy.
    Snappy,
    /// Zstandard of this level, 1 to 22.
    Zstd(i32),
}

/// Settings of a [`BlockWriter`].
#[derive(Clone, PartialEq, Debug)]
pub struct WriterSettings {
    /// The format: vParquet4 or vParquet5.
    pub version: BlockVersion,
    /// Attributes with a column of their own, as `meta.json` lists them; already filtered for vParquet4.
    pub dedicated_columns: Vec<DedicatedColumn>,
    /// Compression of pages.
    pub compression: Compression,
    /// Target size in uncompressed bytes of the largest page of a range of rows. All columns are divided into pages at
    /// the same rows, and a trace is never divided.
    pub page_bytes: usize,
    /// Most compressed bytes of row groups that are combined in a stripe, unless it is a single one. A column of
    /// neighbouring row groups can be read with one request, and so can all columns of a row group.
    pub stripe_bytes: u64,
    /// True to write a filter for the strings of attributes with many values into the summary, of at most 3 % of the
    /// file.
    pub value_filter: bool,
}

impl Default for WriterSettings {
    /// vParquet4, no dedicated columns, zstd level 1, pages of 64 KiB, stripes of [`STRIPE_BYTES`], a filter.
    fn default() -> Self {
        Self {
            version: BlockVersion::VParquet4,
            dedicated_columns: Vec::new(),
            compression: Compression::Zstd(1),
            page_bytes: 64 << 10,
            stripe_bytes: STRIPE_BYTES,
            value_filter: true,
        }
    }
}

/// What [`BlockWriter::write_row_group`] wrote.
#[derive(Clone, PartialEq, Debug)]
pub struct RowGroupInfo {
    /// Traces, which are rows.
    pub traces: u64,
    /// Spans.
    pub spans: u64,
    /// First trace id.
    pub first_id: TraceId,
    /// Last trace id.
    pub last_id: TraceId,
    /// Earliest start of a span, unix nanoseconds; 0 if no span has one.
    pub start_unix_nanos: u64,
    /// Latest end of a span, unix nanoseconds.
    pub end_unix_nanos: u64,
    /// Compressed bytes of each leaf column of the schema in use.
    pub column_bytes: Vec<u64>,
}

/// What a finished block holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BlockSummary {
    /// Bytes of `data.parquet`.
    pub size: u64,
    /// Bytes of its thrift footer.
    pub footer_size: u32,
    /// Row groups.
    pub row_groups: u32,
    /// Traces.
    pub traces: u64,
    /// Spans.
    pub spans: u64,
    /// Earliest start of a span, unix nanoseconds; 0 if no span has one.
    pub start_unix_nanos: u64,
    /// Latest end of a span, unix nanoseconds.
    pub end_unix_nanos: u64,
    /// The shortest and the longest of the stored durations of spans, nanoseconds; `None` without spans.
    pub durations: Option<(u64, u64)>,
    /// Last trace id of each row group.
    pub last_ids: Vec<TraceId>,
}

/// Writes one `data.parquet` in the vParquet4 or vParquet5 format, a row group at a time.
///
/// Memory: about 15 bytes for each span attribute of the largest row group; a stripe of row groups that are not written
/// yet, or a single larger one; and some kilobytes for each row group in the footer. After an error the file is
/// unusable.
pub struct BlockWriter<W: Write + Send> {
    file: DataFile<W>,
    schema: Schema,
    page_bytes: usize,
    resource_slots: SlotNames,
    span_slots: SlotNames,
    event_slots: SlotNames,
    compressor: Compressor,
    scratch: Scratch,
    summary: BlockSummary,
    values: ValueCollector,
}

impl<W: Write + Send> BlockWriter<W> {
    /// Starts a file. Errors: the version cannot be written, the zstd level does not exist, or those of the sink.
    pub fn new(sink: W, settings: WriterSettings) -> Result<Self> {
        let schema = Schema::new(settings.version, &settings.dedicated_columns)?;
        let compressor = Compressor::new(settings.compression)?;
        let file = DataFile::start(sink, &schema, settings.stripe_bytes)?;
        Ok(Self {
            file,
            resource_slots: SlotNames::new(&schema.resource_columns),
            span_slots: SlotNames::new(&schema.span_columns),
            event_slots: SlotNames::new(&schema.event_columns),
            schema,
            page_bytes: settings.page_bytes,
            compressor,
            scratch: Scratch::default(),
            summary: BlockSummary::default(),
            values: ValueCollector::new(settings.value_filter),
        })
    }

    /// Writes a sorted batch without duplicate spans as one row group. Computes nested-set numbers, service statistics
    /// and trace columns, and ignores those of the batch.
    ///
    /// Errors: `Unsorted` and `NotAscending` if the file would not be in order of trace id; `IncompleteBatch` for a
    /// batch without a trace, with columns left out by a projection, or with rows that do not exist. Then nothing is
    /// written. `Io` and `Parquet` if the sink fails.
    pub fn write_row_group(&mut self, batch: &SpanBatch) -> Result<RowGroupInfo> {
        let bounds = check::batch(batch, self.summary.last_ids.last().copied())?;
        self.write_checked(batch, bounds)
    }

    /// Like [`Self::write_row_group`], but writes several row groups if resources and scopes would take more than
    /// `most_owner_bytes` in one, which has them again for each trace. A trace is never divided.
    pub(crate) fn write_row_groups(
        &mut self,
        batch: &SpanBatch,
        most_owner_bytes: u64,
    ) -> Result<Vec<RowGroupInfo>> {
        let bounds = check::batch(batch, self.summary.last_ids.last().copied())?;
        let ranges = cut_by_owners(batch, &keys_in_full(&self.schema), most_owner_bytes);
        if ranges.len() <= 1 {
            return Ok(vec![self.write_checked(batch, bounds)?]);
        }
        let inputs = [batch];
        // The batch is sorted, so a fragment of the plan is a trace.
        let plan = MergePlan::new(&inputs);
        let parts = ranges.into_iter().map(|traces| plan.gather(&inputs, traces).0);
        parts.map(|part| self.write_row_group(&part)).collect()
    }

    fn write_checked(
        &mut self,
        batch: &SpanBatch,
        (first_id, last_id): (TraceId, TraceId),
    ) -> Result<RowGroupInfo> {
        let resource_keys = self.resource_slots.of_batch(&batch.strings);
        let resources = CanonicalResources::new(batch, &resource_keys);
        let span_keys = self.span_slots.of_batch(&batch.strings);
        let event_keys = self.event_slots.of_batch(&batch.strings);

        let mut layout = std::mem::take(&mut self.scratch.layout);
        let mut traces = std::mem::take(&mut self.scratch.traces);
        let mut leaf_scratch = std::mem::take(&mut self.scratch.leaves);
        layout.set(batch, &resources);
        traces.set(batch, &layout, &resources);
        let blobs = blob_ends(batch, &self.schema.span_columns, &span_keys);
        let pages = page_rows(batch, &layout.trace_spans, &blobs, self.page_bytes);
        let mut writer = LeafWriter {
            schema: &self.schema,
            compressor: &mut self.compressor,
            scratch: &mut leaf_scratch,
            pages: &pages,
            chunks: Vec::with_capacity(self.schema.leaf_count()),
        };
        let source = Source {
            schema: &self.schema,
            batch,
            resources: &resources,
            span_keys: &span_keys,
            event_keys: &event_keys,
        };
        write_columns(&mut writer, &source, &layout, &traces, &mut self.scratch)?;
        let chunks = writer.chunks;
        let column_bytes = chunks.iter().map(|chunk| chunk.bytes.len() as u64).collect();
        self.file.add_row_group(chunks)?;

        let info = RowGroupInfo {
            traces: batch.traces.ids.len() as u64,
            spans: batch.len() as u64,
            first_id,
            last_id,
            start_unix_nanos: earliest(traces.start.iter().map(|&start| start as u64)),
            end_unix_nanos: traces.end.iter().map(|&end| end as u64).max().unwrap_or(0),
            column_bytes,
        };
        self.scratch.layout = layout;
        self.scratch.traces = traces;
        self.scratch.leaves = leaf_scratch;
        self.add_to_summary(&info);
        let durations = self.summary.durations.into_iter();
        let durations = batch.spans.duration.iter().map(|&one| (one, one)).chain(durations);
        self.summary.durations = durations.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        self.values.add(batch, info.column_bytes.iter().sum());
        Ok(info)
    }

    fn add_to_summary(&mut self, info: &RowGroupInfo) {
        let summary = &mut self.summary;
        summary.row_groups += 1;
        summary.traces += info.traces;
        summary.spans += info.spans;
        summary.start_unix_nanos =
            earliest([summary.start_unix_nanos, info.start_unix_nanos].into_iter());
        summary.end_unix_nanos = summary.end_unix_nanos.max(info.end_unix_nanos);
        summary.last_ids.push(info.last_id);
    }

    /// Like [`Self::finish`]; also the object to be put beside the file.
    pub(crate) fn finish_with_summary(self) -> Result<(W, BlockSummary, SummaryFile)> {
        let (values, filter) = self.values.finish();
        let FileEnd { sink, size, footer_size, end } = self.file.finish()?;
        let tail = cut_tail(&end, size, first_offset_index(&end)?);
        let file = SummaryFile::new(tail, &values.encode(), filter.encode())?;
        Ok((sink, BlockSummary { size, footer_size, ..self.summary }, file))
    }

    /// Writes the footer. Returns the sink, flushed, and what the block holds.
    pub fn finish(self) -> Result<(W, BlockSummary)> {
        let FileEnd { sink, size, footer_size, .. } = self.file.finish()?;
        Ok((sink, BlockSummary { size, footer_size, ..self.summary }))
    }
}

/// Keys of resources whose texts have no dictionary. Statistics of services have none in vParquet4.
fn keys_in_full(schema: &Schema) -> Vec<&[u8]> {
    let blobs = schema.resource_columns.iter().filter(|column| column.is_blob);
    let names = blobs.filter_map(|column| column.name.as_deref());
    let service = (!schema.is_v5()).then_some("service.name");
    names.chain(service).map(str::as_bytes).collect()
}

/// The smallest number other than 0; 0 if there is none.
fn earliest(starts: impl Iterator<Item = u64>) -> u64 {
    starts.filter(|&start| start != 0).min().unwrap_or(0)
}

/// For each span, the bytes of strings in blob columns of the spans before it; and the total. Empty without such columns.
fn blob_ends(batch: &SpanBatch, columns: &[AttributeColumn], slots: &BatchSlots<'_>) -> Vec<u64> {
    if columns.iter().all(|column| !column.is_blob) {
        return Vec::new();
    }
    let list = &batch.span_attributes;
    let bytes_of = |found: Option<(usize, SlotValue)>| match found {
        Some((slot, value)) if columns[slot].is_blob => {
            batch.strings.get(value.payload as StringCode).len() as u64
        }
        _ => 0,
    };
    let mut ends = Vec::with_capacity(batch.len() + 1);
    let mut end = 0;
    ends.push(end);
    for span in 0..batch.len() {
        let entries = list.range(span);
        let owner = slots.of_owner(list, entries.clone());
        end += entries.map(|entry| bytes_of(owner.of(entry))).sum::<u64>();
        ends.push(end);
    }
    ends
}

/// First row of each page, and the end: cut so that no page gets much larger than `page_bytes`.
///
/// `blobs` is [`blob_ends`].
fn page_rows(
    batch: &SpanBatch,
    trace_spans: &[u32],
    blobs: &[u64],
    page_bytes: usize,
) -> Vec<usize> {
    // Estimates of the widest column a span (an id) and an attribute (a dictionary index, levels).
    const SPAN_BYTES: usize = 8;
    const ATTRIBUTE_BYTES: usize = 2;
    let lists = [
        (&batch.span_attributes.starts, None),
        (&batch.events.attributes.starts, Some(&batch.events.starts)),
        (&batch.links.attributes.starts, Some(&batch.links.starts)),
    ];
    let size_up_to = |span: usize| {
        let entries = lists.iter().map(|(starts, owners)| {
            let owner = owners.map_or(span, |owners| owners[span] as usize);
            starts[owner] as usize
        });
        let blobs = blobs.get(span).map_or(0, |&bytes| bytes as usize);
        (span * SPAN_BYTES).max(entries.max().unwrap_or(0) * ATTRIBUTE_BYTES).max(blobs)
    };
    let mut pages = vec![0];
    let mut size_before = 0;
    for (row, &span) in trace_spans.iter().enumerate().skip(1) {
        let size = size_up_to(span as usize);
        if size - size_before >= page_bytes && row + 1 < trace_spans.len() {
            pages.push(row);
            size_before = size;
        }
    }
    pages.push(trace_spans.len() - 1);
    pages
}

#[cfg(test)]
mod tests;
