//! Decides from their summaries alone which of many blocks a search has to read.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tactus_proto::tactus::v1::SelectBlocksResponse;
use tactus_storage::{BlockMeta, Uuid};

use crate::blocks::Blocks;
use crate::error::{Error, Result};
use crate::pool::{Job, JobOptions};
use crate::prune::{Pruner, ToldRowGroups};
use crate::querier_state::QuerierState;

/// Blocks whose summaries are read from object storage at the same time.
const CONCURRENT_BLOCKS: usize = 32;

/// The blocks that may match. A block whose meta or summary cannot be read may match; the job that reads the block
/// reports why.
pub(crate) async fn select_blocks(
    inner: &Arc<QuerierState>,
    tenant: &str,
    pruner: Pruner,
    block_ids: Vec<Uuid>,
    options: JobOptions,
) -> Result<SelectBlocksResponse> {
    let count = block_ids.len();
    if !pruner.asks_values() && !pruner.asks_meta() {
        let all = selected(std::iter::repeat_n(true, count), 0);
        return Ok(SelectBlocksResponse { tells_nothing: true, ..all });
    }
    let mut metas = Vec::with_capacity(count);
    for block_id in block_ids {
        metas.push(inner.blocks.meta(tenant, block_id).await.ok());
    }
    if inner.blocks.summaries().is_local() {
        let shared = Arc::clone(inner);
        let ask = move |job: &Job| {
            let may_match = |meta: &Option<Arc<BlockMeta>>| match meta {
                Some(meta) => may_match(&shared.blocks, &pruner, meta, job),
                None => Ok(true),
            };
            let may_match = metas.iter().map(may_match).collect::<Result<Vec<_>>>()?;
            Ok(selected(may_match.into_iter(), job.inspected_bytes()))
        };
        return inner.pool.run(options, ask).await;
    }
    let pruner = Arc::new(pruner);
    let ask = |meta: Option<Arc<BlockMeta>>| {
        let (shared, pruner) = (Arc::clone(inner), Arc::clone(&pruner));
        async move {
            let Some(meta) = meta else { return (true, 0) };
            match ToldRowGroups::ask_many(&pruner, &shared.blocks, &meta).await {
                Ok((told, bytes)) => (!told.rules_out_all(), bytes),
                Err(_) => (true, 0),
            }
        }
    };
    let asked = stream::iter(metas).map(ask).buffered(CONCURRENT_BLOCKS);
    let (may_match, bytes): (Vec<_>, Vec<_>) = asked.unzip().await;
    Ok(selected(may_match.into_iter(), bytes.iter().sum()))
}

fn selected(may_match: impl Iterator<Item = bool>, inspected_bytes: u64) -> SelectBlocksResponse {
    let places = (0..).zip(may_match).filter(|(_, may_match)| *may_match);
    let blocks = places.map(|(place, _)| place).collect();
    SelectBlocksResponse { blocks, inspected_bytes, tells_nothing: false }
}

fn may_match(blocks: &Blocks, pruner: &Pruner, meta: &BlockMeta, job: &Job) -> Result<bool> {
    job.check()?;
    match ToldRowGroups::ask(pruner, blocks, meta, job) {
        Ok(told) => Ok(!told.rules_out_all()),
        Err(error @ (Error::Cancelled | Error::TimedOut | Error::Limit(_))) => Err(error),
        Err(_) => Ok(true),
    }
}
