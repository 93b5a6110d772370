//! Builds a block from segments. The data goes straight to object storage, because the local disk may be full.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

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
use tokio::runtime::Handle;

use crate::{
    error::Error,
    ingester::Ingester,
    origins::HeldOrigins,
    segment::{Segment, SegmentError},
    settings::Settings,
    upload_time::{Timed, UploadTime},
};

impl Ingester {
    /// Merges segments into a block, and uploads its data. Holds one row group and the parts of an upload in memory.
    /// Stops when `is_abandoned`.
    ///
    /// Blocks the thread. `runtime` runs the requests, and `time` measures how long they take.
    pub(crate) fn build_block(
        &self,
        tenant: &TenantId,
        id: Uuid,
        segments: &[Arc<Segment>],
        runtime: &Handle,
        is_abandoned: &AtomicBool,
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
        let (plan, row_group_spans) = self.plan(tenant, segments)?;
        let settings = self.builder_settings(tenant);
        let traces = plan.trace_count() as u64;
        let mut builder = BlockBuilder::new(sink, &settings, traces).map_err(not_stored)?;
        for range in plan.cut(row_group_spans) {
            if is_abandoned.load(Ordering::Relaxed) {
                return Err(Error::Timeout);
            }
            let Some((first, last)) = plan.bounds(&range) else { continue };
            let parts = self.traces_between(tenant, segments, first, last)?;
            let (batch, stats) = merge(&parts.iter().collect::<Vec<_>>());
            drop(parts);
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
            bloom_false_positive: self.settings.bloom_false_positive,
            bloom_shard_bytes: self.settings.bloom_shard_bytes,
        }
    }

    /// The order in which traces are written, and the number of spans in a row group. Of each segment only the trace
    /// ids, and where the spans of each trace begin, are in memory.
    fn plan(
        &self,
        tenant: &TenantId,
        segments: &[Arc<Segment>],
    ) -> Result<(MergePlan, usize), Error> {
        let (mut batches, mut spans, mut bytes) = (Vec::with_capacity(segments.len()), 0, 0);
        for segment in segments {
            let failures = segment.failures();
            let batch = self.or_set_aside(tenant, segment, segment.open_batch())?;
            spans += batch.len() as u64;
            bytes += estimated_bytes(&batch);
            // The segment is opened again because the estimate has read other columns.
            let batch = self.or_set_aside(tenant, segment, segment.open_batch())?;
            batch.traces.ids.as_slice();
            batch.spans.trace.as_slice();
            let read = segment.failure_since(failures).map_or(Ok(()), Err);
            self.or_set_aside(tenant, segment, read)?;
            batches.push(batch);
        }
        let batches: Vec<&SpanBatch> = batches.iter().map(|batch| &**batch).collect();
        Ok((MergePlan::new(&batches), row_group_spans(&self.settings, spans, bytes)))
    }

    /// Copies of the traces from `first` to `last` of each segment. Besides the copies, only the trace ids of one
    /// segment at a time and the strings of all are in memory.
    fn traces_between(
        &self,
        tenant: &TenantId,
        segments: &[Arc<Segment>],
        first: TraceId,
        last: TraceId,
    ) -> Result<Vec<SpanBatch>, Error> {
        let mut parts = Vec::with_capacity(segments.len());
        for segment in segments {
            let slice =
                segment.open_batch().and_then(|batch| segment.slice(&batch, (first, last), None));
            let part = self.or_set_aside(tenant, segment, slice)?;
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
            && error.is_damage()
        {
            self.set_aside(tenant, segment, error);
        }
        Ok(result?)
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
    let fitting =
        u128::from(settings.row_group_bytes) * u128::from(spans) / u128::from(bytes.max(1));
    usize::try_from(fitting).unwrap_or(usize::MAX).min(settings.row_group_spans).max(1)
}
