//! Builds a whole block: `data.parquet` and the files beside it.

use std::io::Write;

use bytes::Bytes;
use tactus_model::SpanBatch;
use tactus_storage::BlockMeta;
use tactus_storage::bloom::BlockBloom;
use tactus_storage::index::RowGroupIndex;
use tactus_storage::meta::columns_of_version;

use crate::error::Result;
use crate::summary::SummaryFile;
use crate::write::{BlockSummary, BlockWriter, MOST_OWNER_BYTES, RowGroupInfo, WriterSettings};

/// Most spans of a row group, unless a single trace has more. Memory and query times were measured with this size.
pub const ROW_GROUP_SPANS: usize = 64_000;

/// The settings for building blocks.
#[derive(Clone, PartialEq, Debug)]
pub struct BuilderSettings {
    /// Settings of the data file.
    pub writer: WriterSettings,
    /// False positive rate of the bloom filters, between 0 and 1.
    pub bloom_false_positive: f64,
    /// Size of one bloom filter in bytes.
    pub bloom_shard_bytes: u32,
}

/// Writes `data.parquet` into a sink and collects the block's bloom filters and index.
///
/// Memory: that of a [`BlockWriter`], and the bloom filters: 1.2 bytes a trace at a false positive rate of 0.01.
pub struct BlockBuilder<W: Write + Send> {
    writer: BlockWriter<W>,
    bloom: BlockBloom,
    settings: WriterSettings,
}

/// A block whose data was written to the sink.
#[derive(Debug)]
pub struct BuiltBlock<W> {
    /// The sink, flushed.
    pub sink: W,
    /// Numbers about the data file.
    pub summary: BlockSummary,
    /// `bloom-0`, `bloom-1`, …
    pub blooms: Vec<Bytes>,
    /// `index`.
    pub index: Bytes,
    /// `tactus-summary`.
    pub summary_file: SummaryFile,
    settings: WriterSettings,
}

impl<W: Write + Send> BlockBuilder<W> {
    /// Starts a block. `traces` is the expected number of traces, which determines the size of the bloom filters.
    ///
    /// Errors: invalid settings, or the sink's.
    pub fn new(sink: W, settings: &BuilderSettings, traces: u64) -> Result<Self> {
        let bloom = BlockBloom::new(
            settings.bloom_false_positive,
            settings.bloom_shard_bytes,
            traces.max(1),
        )?;
        let mut writer_settings = settings.writer.clone();
        // The meta names these columns, and readers derive the places of values from it.
        writer_settings.dedicated_columns =
            columns_of_version(writer_settings.version, &writer_settings.dedicated_columns);
        let writer = BlockWriter::new(sink, writer_settings.clone())?;
        Ok(Self { writer, bloom, settings: writer_settings })
    }

    /// Adds a row group; see [`BlockWriter::write_row_group`]. It becomes several row groups if the resources and scopes of
    /// its traces would take more than 64 MiB before compression: a batch has each of them once, and a row group again
    /// for each trace.
    pub fn write_row_group(&mut self, batch: &SpanBatch) -> Result<Vec<RowGroupInfo>> {
        let infos = self.writer.write_row_groups(batch, MOST_OWNER_BYTES)?;
        batch.traces.ids.iter().for_each(|trace| self.bloom.add(&trace.0));
        Ok(infos)
    }

    /// Writes the footer. Errors: the sink's.
    pub fn finish(self) -> Result<BuiltBlock<W>> {
        let (sink, summary, summary_file) = self.writer.finish_with_summary()?;
        let index = RowGroupIndex::new(summary.last_ids.iter().map(|trace| trace.0).collect());
        Ok(BuiltBlock {
            sink,
            summary,
            blooms: self.bloom.encode(),
            index: index.encode().into(),
            summary_file,
            settings: self.settings,
        })
    }
}

impl<W> BuiltBlock<W> {
    /// Sets the fields of `meta` that describe the files: format, columns, sizes and counts. The caller sets level and
    /// tenant, and before this the times.
    pub fn describe(&self, meta: &mut BlockMeta) {
        meta.format = self.settings.version.as_str().to_owned();
        meta.dedicated_columns = self.settings.dedicated_columns.clone().into();
        meta.total_objects = self.summary.traces;
        meta.size = self.summary.size;
        meta.total_records = self.summary.row_groups;
        meta.bloom_shards = u32::try_from(self.blooms.len()).unwrap_or(u32::MAX);
        meta.footer_size = self.summary.footer_size;
        meta.note_starts(self.summary.start_unix_nanos, self.summary.end_unix_nanos);
        let extension = meta.extension.get_or_insert_default();
        extension.summary = Some(self.summary_file.parts);
        extension.durations = self.summary.durations;
    }
}
