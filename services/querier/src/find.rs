//! Trace by id in several blocks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tactus_block::read::BlockReader;
use tactus_model::otlp::encode_traces_data;
use tactus_model::{Projection, TraceId};
use tactus_proto::tactus::v1::FindTraceInBlocksResponse;
use tactus_rpc::QueryContext;
use tactus_storage::Uuid;
use tactus_work::Line;

use crate::error::{Error, Result};
use crate::pool::{Job, JobOptions};
use crate::service::Inner;

/// Blocks whose bloom filters are asked at the same time.
const CONCURRENT_BLOCKS: usize = 32;

/// What one block has of a trace.
#[derive(Default)]
struct Part {
    trace: Bytes,
    inspected_bytes: u64,
}

/// The spans of a trace in these blocks. Damaged blocks are counted, not failed for: the others' spans are worth
/// having.
pub(crate) async fn find_trace(
    inner: &Arc<Inner>,
    tenant: &str,
    id: TraceId,
    block_ids: Vec<Uuid>,
    context: QueryContext,
) -> Result<FindTraceInBlocksResponse> {
    let mut parts = stream::iter(block_ids)
        .map(|block_id| find_in_block(inner, tenant, id, block_id, context))
        .buffered(CONCURRENT_BLOCKS);
    let mut found = FindTraceInBlocksResponse::default();
    while let Some(part) = parts.next().await {
        match part {
            Ok(part) => {
                found.inspected_bytes += part.inspected_bytes;
                if !part.trace.is_empty() {
                    found.traces.push(part.trace);
                }
            }
            Err(Error::Damaged(_)) => found.damaged_blocks += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn find_in_block(
    inner: &Arc<Inner>,
    tenant: &str,
    id: TraceId,
    block_id: Uuid,
    context: QueryContext,
) -> Result<Part> {
    let mut result = read_from_block(inner, tenant, id, block_id, context, false).await;
    if matches!(result, Err(Error::Damaged(_))) && inner.blocks.has_shared_caches() {
        // The block may be whole, and what a cache was given of it not.
        result = read_from_block(inner, tenant, id, block_id, context, true).await;
    }
    match result {
        Ok(part) => Ok(part),
        Err(error) => {
            inner.blocks.explain(tenant, block_id, error).await?;
            Ok(Part::default())
        }
    }
}

async fn read_from_block(
    inner: &Arc<Inner>,
    tenant: &str,
    id: TraceId,
    block_id: Uuid,
    context: QueryContext,
    bypasses_caches: bool,
) -> Result<Part> {
    let meta = inner.blocks.meta(tenant, block_id).await?;
    let (may_contain, bloom_bytes) = inner.blocks.may_contain(&meta, id).await?;
    if !may_contain {
        return Ok(Part { trace: Bytes::new(), inspected_bytes: bloom_bytes });
    }
    let (timeout, shared) = (inner.settings.trace_timeout, Arc::clone(inner));
    let options = JobOptions {
        timeout,
        line: Line::of(tenant, &["trace"]),
        context,
        explain: false,
        bypasses_caches,
    };
    let read = move |job: &Job| {
        let block = shared.blocks.open(&meta, job)?;
        let trace = read_trace(&block, id, job)?;
        Ok(Part { trace, inspected_bytes: bloom_bytes + job.inspected_bytes() })
    };
    inner.pool.run(options, read).await
}

/// The spans of a trace as an OTLP message; empty if the block does not have it.
fn read_trace(block: &BlockReader, id: TraceId, job: &Job) -> Result<Bytes> {
    let Some(row_group) = block.find_row_group(id, None)? else { return Ok(Bytes::new()) };
    // Few pages of each column, but their dictionaries as a whole.
    job.hold_bytes(block.row_groups().get(row_group).map_or(0, |group| group.bytes))?;
    let Some(row) = block.find_row(row_group, id)? else { return Ok(Bytes::new()) };
    job.check()?;
    let batch = block.read_rows(row_group, row..row + 1, &Projection::all())?;
    Ok(encode_traces_data(&batch).into())
}
