//! `convert` and `rewrite` write blocks as one new block.

use std::sync::Arc;

use indicatif::ProgressBar;
use serde::Serialize;
use tactus_block::BuilderSettings;
use tactus_compaction::{
    BoxError, Cancelled, Changes, Control, OutputBlock, fingerprint, output_id, rewrite_blocks,
};
use tactus_config::Config;
use tactus_storage::block_io::{mark_compacted, read_meta};
use tactus_storage::layout::{NO_COMPACT, block_key};
use tactus_storage::{BlockMeta, Bucket, Uuid};

use crate::arguments::{BlockForm, Columns, Rewrite};
use crate::error::{Error, Result};
use crate::output::{Output, format};
use crate::{bucket, building, progress};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// The blocks that were read and are now marked compacted.
    replaced: Vec<Uuid>,
    /// The new block; absent if nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<BlockMeta>,
    bytes_before: u64,
    traces: u64,
    spans: u64,
    duplicate_spans: u64,
}

/// Writes blocks as one new block, and then marks them compacted.
pub(super) async fn run(
    bucket: &Bucket,
    command: &Rewrite,
    config: Option<&Config>,
    output: &Output,
) -> Result<()> {
    let Rewrite { tenant, blocks, form } = command;
    let mut inputs = Vec::with_capacity(blocks.len());
    for (number, &block) in blocks.iter().enumerate() {
        if blocks[..number].contains(&block) {
            return Err(Error::Usage(format!("block {block} is given twice")));
        }
        if bucket.exists(&block_key(tenant, block, NO_COMPACT)).await? {
            let text =
                format!("block {block} has a {NO_COMPACT}: another writer wants it left alone");
            return Err(Error::Setup(text));
        }
        let (meta, is_compacted) = bucket::find_meta(bucket, tenant, block).await?;
        if is_compacted {
            return Err(Error::NotFound(format!("block {block} is compacted away already")));
        }
        inputs.push(Arc::new(meta));
    }
    let Some(first) = inputs.first() else {
        return Err(Error::Usage("no block is named".to_owned()));
    };
    let settings = building::rewrite(builder(first, form)?, config);
    let retention = first.extension.as_ref().map(|extension| extension.retention.clone());
    let retention = retention.filter(|_| inputs.len() == 1).unwrap_or_default();
    let changes = Changes::default();
    let purpose = format!("tactusctl {}", fingerprint(&settings, &changes));
    let target = OutputBlock {
        id: output_id(blocks, &purpose),
        // A block that only changes its form keeps its level.
        level: (inputs.len() == 1).then_some(first.compaction_level),
        retention,
        only_if_changed: false,
    };
    let bytes = inputs.iter().map(|meta| meta.size).fold(0, u64::saturating_add);
    let bar = progress::bytes("writing the block", bytes);
    let done = rewrite_blocks(
        bucket,
        &inputs,
        target,
        settings,
        Arc::new(changes),
        Arc::new(Bar(bar.clone())),
        async || still_live(bucket, tenant, blocks).await,
    )
    .await?;
    bar.finish_and_clear();
    for &block in blocks {
        mark_compacted(bucket, tenant, block).await?;
    }
    let stats = done.stats;
    let report = Report {
        replaced: blocks.clone(),
        bytes_before: bytes,
        traces: stats.traces_written,
        spans: stats.spans_written,
        duplicate_spans: stats.duplicate_spans,
        block: done.meta,
    };
    output.show(&report, || text(&report))
}

fn builder(first: &BlockMeta, form: &BlockForm) -> Result<BuilderSettings> {
    let version = form.version.map_or_else(|| first.version(), Ok)?;
    let columns = match &form.columns {
        Some(Columns(columns)) => columns.as_slice(),
        None => &first.dedicated_columns[..],
    };
    let settings = building::settings(version, columns);
    let kept = &settings.writer.dedicated_columns;
    // Columns of the old block may be lost with its version, but not columns that the user asked for.
    let left_out = columns.iter().find(|&column| form.columns.is_some() && !kept.contains(column));
    if let Some(column) = left_out {
        return Err(Error::Usage(format!(
            "--columns: {}.{} cannot be a dedicated column of {}: integers, events, blob and more than ten columns of a \
             scope need vParquet5, and some attributes have a column of their own",
            column.scope.as_str(),
            column.name,
            settings.writer.version.as_str(),
        )));
    }
    Ok(settings)
}

/// Checks right before the new block appears that no other process has compacted its inputs.
async fn still_live(bucket: &Bucket, tenant: &str, blocks: &[Uuid]) -> Result<(), BoxError> {
    for &block in blocks {
        read_meta(bucket, tenant, block).await?;
    }
    Ok(())
}

/// Shows how far a rewrite is.
struct Bar(ProgressBar);

impl Control for Bar {
    fn check(&self) -> Result<(), Cancelled> {
        Ok(())
    }

    fn progress(&self, done_bytes: u64, total_bytes: u64) {
        self.0.set_length(total_bytes);
        self.0.set_position(done_bytes);
    }
}

fn text(report: &Report) -> String {
    let Some(meta) = &report.block else { return "nothing was written\n".to_owned() };
    let Report { traces, spans, duplicate_spans, .. } = report;
    let mut text = format!(
        "block {} ({}): {}, {} instead of {}\n",
        meta.block_id,
        meta.format,
        format::counted(meta.total_objects, "trace"),
        format::bytes(meta.size),
        format::bytes(report.bytes_before),
    );
    // All counts are zero if the block had been written before.
    if *traces > 0 {
        text.push_str(&format!("spans: {spans}  left out as duplicates: {duplicate_spans}\n"));
    }
    for block in &report.replaced {
        text.push_str(&format!("marked compacted: {block}\n"));
    }
    text
}
