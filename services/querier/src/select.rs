//! Which of many blocks a search has to look at, by their summaries alone.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tactus_proto::tactus::v1::SelectBlocksResponse;
use tactus_storage::{BlockMeta, Uuid};

use crate::error::Result;
use crate::pool::{Job, JobOptions};
use crate::prune::{Pruner, ToldRowGroups};
use crate::shared::Shared;

/// Blocks whose summaries are read from object storage at the same time.
const CONCURRENT_BLOCKS: usize = 32;

/// Those of the blocks that may match. One whose meta or summary cannot be read may: the job that reads it says why not.
pub(crate) async fn select_blocks(
    inner: &Arc<Shared>,
    tenant: &str,
    pruner: Pruner,
    block_ids: Vec<Uuid>,
    options: JobOptions,
) -> Result<SelectBlocksResponse> {
    if !pruner.asks_values() {
        let blocks = (0..).zip(&block_ids).map(|(place, _)| place).collect();
        return Ok(SelectBlocksResponse { blocks, inspected_bytes: 0 });
    }
    let pruner = Arc::new(pruner);
    let read_ahead = |block_id| {
        let pruner = Arc::clone(&pruner);
        async move {
            let meta = inner.blocks.meta(tenant, block_id).await.ok();
            let bytes = match &meta {
                Some(meta) => ToldRowGroups::read_ahead(&pruner, &inner.blocks, meta).await,
                None => 0,
            };
            (meta, bytes)
        }
    };
    let read = stream::iter(block_ids).map(read_ahead).buffered(CONCURRENT_BLOCKS);
    let (metas, bytes): (Vec<_>, Vec<_>) = read.unzip().await;
    let shared = Arc::clone(inner);
    let select = move |job: &Job| {
        let mut blocks = Vec::new();
        for (place, meta) in (0..).zip(&metas) {
            job.check()?;
            if may_match(&shared, &pruner, meta.as_deref(), job)? {
                blocks.push(place);
            }
        }
        let inspected_bytes = bytes.iter().sum::<u64>() + job.inspected_bytes();
        Ok(SelectBlocksResponse { blocks, inspected_bytes })
    };
    inner.pool.run(options, select).await
}

fn may_match(inner: &Shared, pruner: &Pruner, meta: Option<&BlockMeta>, job: &Job) -> Result<bool> {
    let Some(meta) = meta else { return Ok(true) };
    let told = ToldRowGroups::ask(pruner, &inner.blocks, meta, job)?;
    Ok(told.len().is_none_or(|row_groups| !told.are_pruned(0..row_groups)))
}
