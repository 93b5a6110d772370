//! Builds a block's files of segments, on local disk.

use std::{
    fs::{self, File},
    io::BufWriter,
    sync::Arc,
};

use tactus_block::{BlockWriter, WriterSettings};
use tactus_model::{SpanBatch, TenantId, merge::MergePlan};
use tactus_storage::{
    BlockMeta, Uuid,
    block_io::{BlockFiles, ObjectSource},
    bloom::BlockBloom,
    index::RowGroupIndex,
    meta::BlockVersion,
};

use crate::{error::Error, ingester::Ingester, segment::Segment};

impl Ingester {
    /// Merges segments into the files of a block, one row group in memory at a time.
    pub(crate) fn build_block(
        &self,
        tenant: &TenantId,
        id: Uuid,
        segments: &[Arc<Segment>],
    ) -> Result<(BlockMeta, BlockFiles), Error> {
        let directory = self.layout.building().join(id.to_string());
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let path = directory.join("data.parquet");
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let plan = MergePlan::new(&batches(&reopen(segments)?));
        let mut bloom = BlockBloom::new(
            self.settings.bloom_false_positive,
            self.settings.bloom_shard_bytes,
            plan.trace_count() as u64,
        )?;
        let settings = WriterSettings {
            dedicated_columns: self.settings.dedicated_columns.clone(),
            ..WriterSettings::default()
        };
        let mut writer = BlockWriter::new(BufWriter::with_capacity(1 << 20, file), settings)?;
        for range in plan.cut(self.settings.row_group_spans) {
            // Maps of its own for each row group: closing them gives back the memory that the sweep touched.
            let maps = reopen(segments)?;
            let (batch, stats) = plan.gather(&batches(&maps), range);
            self.metrics.duplicate_spans.inc_by(stats.duplicate_spans);
            batch.traces.ids.iter().for_each(|trace| bloom.add(&trace.0));
            writer.write_row_group(&batch)?;
        }
        let (_, summary) = writer.finish()?;
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, tenant.as_str(), id);
        let times = segments.iter().map(|segment| segment.block_times());
        let (start, end) =
            times.fold((u64::MAX, 0), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        meta.set_time_range_unix_nanos(start, end);
        meta.total_objects = summary.traces;
        meta.size = summary.size;
        meta.total_records = summary.row_groups;
        meta.bloom_shards = bloom.shard_count();
        meta.footer_size = summary.footer_size;
        meta.dedicated_columns = self.settings.dedicated_columns.clone();
        let index = RowGroupIndex::new(summary.last_ids.iter().map(|trace| trace.0).collect());
        let files = BlockFiles {
            data: ObjectSource::File(path),
            blooms: bloom.encode().into_iter().map(ObjectSource::Bytes).collect(),
            index: Some(ObjectSource::Bytes(index.encode().into())),
            no_compact: false,
        };
        Ok((meta, files))
    }
}

fn reopen(segments: &[Arc<Segment>]) -> Result<Vec<Segment>, Error> {
    Ok(segments.iter().map(|segment| segment.reopen()).collect::<Result<_, _>>()?)
}

fn batches(segments: &[Segment]) -> Vec<&SpanBatch> {
    segments.iter().map(Segment::batch).collect()
}
