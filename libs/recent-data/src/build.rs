//! Builds a block from segments. The data goes straight to object storage, because the local disk may be full.

use std::{ops::Range, sync::Arc};

use tactus_block::{BlockBuilder, BuilderSettings, WriterSettings, estimated_bytes};
use tactus_model::{
    CutTraces, SpanBatch, TenantId, TraceId,
    merge::{MergePlan, merge},
};
use tactus_storage::{
    BlockMeta, Uuid,
    block_io::{BlockFiles, ObjectSource},
    bucket::ObjectWriter,
    layout::{DATA, block_key},
};
use tactus_work::Stop;
use tokio::runtime::Handle;

use crate::{
    error::Error,
    ingester::Ingester,
    origins::HeldOrigins,
    segment::{OpenBatch, Segment, SegmentError},
    settings::Settings,
    upload_time::{Timed, UploadTime},
};

impl Ingester {
    /// Merges segments into a block, and uploads its data. Holds one row group and the parts of an upload in memory.
    /// Stops when it is `abandoned`.
    ///
    /// Blocks the thread. `runtime` runs the requests, and `time` measures how long they take.
    pub(crate) fn build_block(
        &self,
        tenant: &TenantId,
        id: Uuid,
        segments: &[Arc<Segment>],
        runtime: &Handle,
        abandoned: &Stop,
        time: &UploadTime,
    ) -> Result<(BlockMeta, BlockFiles), Error> {
        for segment in segments {
            self.or_set_aside(tenant, segment, segment.check())?;
        }
        let key = block_key(tenant.as_str(), id, DATA);
        let segment_bytes = segments.iter().map(|segment| segment.bytes()).sum();
        let sink = self.bucket.writer(&key, segment_bytes, runtime)?;
        let sink = Timed { inner: sink, time: time.clone() };
        let not_stored = |error| from_block(&key, error);
        let (plan, row_group_spans, sources) = self.plan(tenant, segments)?;
        let settings = self.builder_settings(tenant);
        let traces = plan.trace_count() as u64;
        let mut builder = BlockBuilder::new(sink, &settings, traces).map_err(not_stored)?;
        for range in plan.cut(row_group_spans) {
            if abandoned.is_stopped() {
                return Err(Error::Timeout);
            }
            let Some((first, last)) = plan.bounds(&range) else { continue };
            let parts = self.traces_between(tenant, &sources, first, last)?;
            let (batch, stats) = merge(&parts.iter().collect::<Vec<_>>());
            drop(parts);
            // The merge reads strings, resources and scopes that no row group before has needed.
            for source in &sources {
                self.or_set_aside(tenant, source.segment, source.is_read())?;
            }
            self.metrics.duplicate_spans.inc_by(stats.duplicate_spans);
            builder.write_row_group(&batch).map_err(not_stored)?;
        }
        let built = builder.finish().map_err(not_stored)?;
        let mut meta = BlockMeta::new(self.settings.block_version, tenant.as_str(), id);
        let times = segments.iter().map(|segment| segment.block_times());
        let (start, end) =
            times.fold((u64::MAX, 0), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        meta.set_time_range_unix_nanos(start, end);
        built.describe(&mut meta);
        note_origins_and_cuts(&mut meta, segments);
        let bytes = time.measure(|| ObjectWriter::finish(built.sink.inner))?;
        let files = BlockFiles {
            data: ObjectSource::Written(bytes),
            blooms: built.blooms.into_iter().map(ObjectSource::Bytes).collect(),
            index: Some(ObjectSource::Bytes(built.index)),
            summary: Some(ObjectSource::Bytes(built.summary_file.bytes)),
            no_compact: false,
        };
        Ok((meta, files))
    }

    fn builder_settings(&self, tenant: &TenantId) -> BuilderSettings {
        BuilderSettings {
            writer: WriterSettings {
                version: self.settings.block_version,
                dedicated_columns: self.settings.dedicated_columns.of(tenant),
                value_filter: self.settings.value_filters.of(tenant),
                ..WriterSettings::default()
            },
            bloom_false_positive: self.settings.block.bloom_filter_false_positive,
            bloom_shard_bytes: self.settings.block.bloom_filter_shard_size_bytes as u32,
        }
    }

    /// The order in which traces are written, the number of spans in a row group, and the sources of both. Of each segment
    /// only the trace ids, and where the spans of each trace begin, are in memory meanwhile.
    fn plan<'a>(
        &self,
        tenant: &TenantId,
        segments: &'a [Arc<Segment>],
    ) -> Result<(MergePlan, usize, Vec<Source<'a>>), Error> {
        let (mut batches, mut spans, mut bytes) = (Vec::with_capacity(segments.len()), 0, 0);
        let mut sources = Vec::with_capacity(segments.len());
        for segment in segments {
            let failures = segment.failures();
            let open = || self.or_set_aside(tenant, segment, segment.open_batch());
            let batch = open()?;
            spans += batch.len() as u64;
            bytes += estimated_bytes(&batch);
            // The segment is opened again because the estimate has read other columns.
            let batch = open()?;
            let (ids, starts) = (batch.traces.ids.to_vec(), batch.trace_offsets());
            let source = Source { segment, batch: open()?, failures, ids, starts };
            self.or_set_aside(tenant, segment, source.is_read())?;
            batches.push(batch);
            sources.push(source);
        }
        let batches: Vec<&SpanBatch> = batches.iter().map(|batch| &**batch).collect();
        let row_group_spans = row_group_spans(&self.settings, spans, bytes);
        Ok((MergePlan::new(&batches), row_group_spans, sources))
    }

    /// The traces of each segment from `first` to `last`, copied.
    fn traces_between(
        &self,
        tenant: &TenantId,
        sources: &[Source<'_>],
        first: TraceId,
        last: TraceId,
    ) -> Result<Vec<SpanBatch>, Error> {
        let mut parts = Vec::with_capacity(sources.len());
        for source in sources {
            let (traces, rows) = source.rows_between(first, last);
            let slice = source.segment.slice_of(&source.batch, (traces, rows), None);
            let part = self.or_set_aside(tenant, source.segment, slice)?;
            if !part.is_empty() {
                parts.push(part);
            }
        }
        Ok(parts)
    }

    /// Returns the result. If it is an error because a segment cannot be read, the segment is set aside, and the next
    /// attempt builds the block from the others.
    fn or_set_aside<T>(
        &self,
        tenant: &TenantId,
        segment: &Arc<Segment>,
        result: Result<T, SegmentError>,
    ) -> Result<T, Error> {
        if let Err(error) = &result
            && error.is_of_file()
        {
            self.set_aside(tenant, segment, error);
        }
        Ok(result?)
    }
}

/// A segment that a block is made of.
struct Source<'a> {
    segment: &'a Arc<Segment>,
    /// Of this only strings, resources and scopes are read, once for all row groups: a merge needs those of all segments in
    /// memory anyway.
    batch: OpenBatch,
    /// Of the segment, before anything was read.
    failures: u64,
    ids: Vec<TraceId>,
    /// The first row of each trace, and the end.
    starts: Vec<u32>,
}

impl Source<'_> {
    /// The traces from `first` to `last`, and the rows of their spans.
    fn rows_between(&self, first: TraceId, last: TraceId) -> (Range<usize>, Range<usize>) {
        let start = self.ids.partition_point(|id| *id < first);
        let end = self.ids.partition_point(|id| *id <= last);
        (start..end, self.starts[start] as usize..self.starts[end] as usize)
    }

    /// Errors: something of the segment could not be read.
    fn is_read(&self) -> Result<(), SegmentError> {
        self.segment.failure_since(self.failures).map_or(Ok(()), Err)
    }
}

/// Records in the block's meta the origins of its segments and the traces that were cut.
fn note_origins_and_cuts(meta: &mut BlockMeta, segments: &[Arc<Segment>]) {
    let mut origins = HeldOrigins::default();
    segments.iter().for_each(|segment| origins.unite(segment.origins()));
    if !origins.all().is_empty() {
        let extension = meta.extension.get_or_insert_default();
        extension.origins = origins.complete;
        extension.incomplete_origins = origins.incomplete;
        extension.thinned_origins = origins.thinned;
    }
    let mut cut = CutTraces::new();
    segments.iter().for_each(|segment| cut.add_all(segment.cut_traces()));
    if !cut.is_empty() {
        meta.extension.get_or_insert_default().cut_traces = cut;
    }
}

/// Converts an error of writing a block. Most come from object storage.
fn from_block(key: &str, error: tactus_block::Error) -> Error {
    match error {
        tactus_block::Error::Io(error) => tactus_storage::Error::from_write(key, error).into(),
        error => error.into(),
    }
}

/// The number of spans at which a row group is closed. Trace ids are random, so each row group has spans of all sizes,
/// and the mean size tells how many spans fit.
fn row_group_spans(settings: &Settings, spans: u64, bytes: u64) -> usize {
    let row_group_bytes = settings.block.parquet_row_group_size_bytes;
    let fitting = u128::from(row_group_bytes) * u128::from(spans) / u128::from(bytes.max(1));
    usize::try_from(fitting).unwrap_or(usize::MAX).min(settings.row_group_spans).max(1)
}
