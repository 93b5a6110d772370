//! Previews a job: applies it to each block, and discards the result.

use std::io;
use std::sync::Arc;

use indicatif::ProgressBar;
use serde::Serialize;
use tactus_block::read::open_stored;
use tactus_block_lifecycle::jobs::JobRequest;
use tactus_compaction::{Cancelled, Control, RewriteSettings, RewriteStats, merge_blocks};
use tactus_storage::meta::BlockVersion;
use tactus_storage::{BlockMeta, Bucket, Uuid};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::{building, progress};

/// A block that would be rewritten.
#[derive(Debug, Serialize)]
pub(super) struct Preview {
    pub(super) block: Uuid,
    /// Traces and spans that would be removed.
    pub(super) traces: u64,
    pub(super) spans: u64,
    /// Attribute values that would be removed or replaced.
    pub(super) values: u64,
    /// Size of the block now.
    pub(super) bytes: u64,
}

/// The blocks that contain something that the job removes.
pub(super) async fn of(
    bucket: &Bucket,
    blocks: &[Arc<BlockMeta>],
    request: &JobRequest,
) -> Result<Vec<Preview>> {
    let bar = progress::bytes(
        "reading blocks",
        blocks.iter().map(|meta| meta.size).fold(0, u64::saturating_add),
    );
    let mut affected = Vec::new();
    for meta in blocks {
        if meta.version().is_ok() && meta.size > 0 {
            let (bucket, shared, request) = (bucket.clone(), Arc::clone(meta), request.clone());
            let bar = bar.clone();
            let tried =
                tokio::task::spawn_blocking(move || try_on(&bucket, &shared, &request, &bar));
            let stats = tried.await.map_err(Error::thread)??;
            if stats.traces_removed + stats.values_redacted > 0 {
                affected.push(Preview {
                    block: meta.block_id,
                    traces: stats.traces_removed,
                    spans: stats.spans_removed,
                    values: stats.values_redacted,
                    bytes: meta.size,
                });
            }
        }
        bar.inc(meta.size);
    }
    bar.finish_and_clear();
    Ok(affected)
}

fn try_on(
    bucket: &Bucket,
    meta: &BlockMeta,
    request: &JobRequest,
    bar: &ProgressBar,
) -> Result<RewriteStats> {
    let failed = |error| Error::block(meta.block_id, error);
    let block = open_stored(bucket, meta, &Handle::current()).map_err(failed)?;
    let traces = request.traces().unwrap_or_default();
    if request.redact.is_empty() && !block.has_any_trace(traces).map_err(failed)? {
        return Ok(RewriteStats::default());
    }
    let settings = RewriteSettings::new(building::settings(BlockVersion::VParquet4, &[]));
    let changes = request.changes().map_err(Error::Job)?;
    let control = Alive(bar);
    Ok(merge_blocks(&[block], io::sink(), &settings, &changes, &control)?.stats)
}

/// Keeps the bar moving within a large block.
struct Alive<'a>(&'a ProgressBar);

impl Control for Alive<'_> {
    fn check(&self) -> Result<(), Cancelled> {
        self.0.tick();
        Ok(())
    }
}
