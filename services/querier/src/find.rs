//! Trace by id in several blocks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tactus_model::TraceId;
use tactus_model::otlp::encode_traces_data;
use tactus_proto::tactus::v1::FindTraceInBlocksResponse;
use tactus_storage::Uuid;

use crate::error::{Error, Result};
use crate::pool::{Job, JobOptions, query_number};
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
) -> Result<FindTraceInBlocksResponse> {
    let mut parts = stream::iter(block_ids)
        .map(|block_id| find_in_block(inner, tenant, id, block_id))
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
) -> Result<Part> {
    match read_from_block(inner, tenant, id, block_id).await {
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
) -> Result<Part> {
    let meta = inner.blocks.meta(tenant, block_id).await?;
    let (may_contain, bloom_bytes) = inner.blocks.may_contain(&meta, id).await?;
    if !may_contain {
        return Ok(Part { trace: Bytes::new(), inspected_bytes: bloom_bytes });
    }
    let (timeout, shared) = (inner.settings.trace_timeout, Arc::clone(inner));
    let options = JobOptions { timeout, query: query_number(&["trace", tenant]), explain: false };
    let read = move |job: &Job| {
        let block = shared.blocks.open(&meta, job)?;
        let batch = block.read_trace(id, None)?;
        let trace = batch.map_or_else(Bytes::new, |batch| encode_traces_data(&batch).into());
        Ok(Part { trace, inspected_bytes: bloom_bytes + job.inspected_bytes() })
    };
    inner.pool.run(options, read).await
}
