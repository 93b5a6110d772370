//! Trace by id in several blocks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tactus_block::read::BlockReader;
use tactus_model::merge::{TracePart, gather_part};
use tactus_model::otlp::encode_traces_data_while;
use tactus_model::{Projection, TraceId};
use tactus_proto::tactus::v1::FindTraceInBlocksResponse;
use tactus_rpc::QueryContext;
use tactus_server::bodies::AnswerMemory;
use tactus_storage::Uuid;
use tactus_work::{Held, Line, is_over};

use crate::error::{Error, Result};
use crate::joined::row_group_at_once;
use crate::pool::{Job, JobOptions};
use crate::shared::Shared;

/// Blocks whose bloom filters are asked at the same time.
const CONCURRENT_BLOCKS: usize = 32;

/// What one block has of a trace.
#[derive(Default)]
struct Part {
    trace: Bytes,
    inspected_bytes: u64,
    /// See `FindTraceRequest`.
    is_part: bool,
}

/// What is asked of each block.
#[derive(Clone)]
pub(crate) struct Wanted {
    /// The trace.
    pub(crate) id: TraceId,
    /// With more spans than these it is large; 0: no trace is.
    pub(crate) large_spans: u64,
    /// What is wanted of a large one.
    pub(crate) part: Arc<TracePart>,
}

/// The spans of a trace in these blocks. Damaged blocks are counted, not failed for: the others' spans are worth
/// having.
pub(crate) async fn find_trace(
    inner: &Arc<Shared>,
    tenant: &str,
    wanted: &Wanted,
    block_ids: Vec<Uuid>,
    context: QueryContext,
) -> Result<FindTraceInBlocksResponse> {
    let mut parts = stream::iter(block_ids)
        .map(|block_id| find_in_block(inner, tenant, wanted, block_id, context))
        .buffered(CONCURRENT_BLOCKS);
    let mut found = FindTraceInBlocksResponse::default();
    let mut memory = AnswerMemory::of(&inner.settings.answer_memory);
    while let Some(part) = parts.next().await {
        match part {
            Ok(part) => {
                found.inspected_bytes += part.inspected_bytes;
                found.is_part |= part.is_part;
                if !part.trace.is_empty() {
                    memory.add(part.trace.len() as u64).await?;
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
    inner: &Arc<Shared>,
    tenant: &str,
    wanted: &Wanted,
    block_id: Uuid,
    context: QueryContext,
) -> Result<Part> {
    let mut result = read_from_block(inner, tenant, wanted, block_id, context, false).await;
    if matches!(result, Err(Error::Damaged(_))) && inner.blocks.has_shared_caches() {
        // The block may be whole, and what a cache was given of it not.
        result = read_from_block(inner, tenant, wanted, block_id, context, true).await;
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
    inner: &Arc<Shared>,
    tenant: &str,
    wanted: &Wanted,
    block_id: Uuid,
    context: QueryContext,
    bypasses_caches: bool,
) -> Result<Part> {
    let meta = inner.blocks.meta(tenant, block_id).await?;
    let (may_contain, bloom_bytes) = inner.blocks.may_contain(&meta, wanted.id).await?;
    if !may_contain {
        return Ok(Part { inspected_bytes: bloom_bytes, ..Part::default() });
    }
    let (timeout, shared) = (inner.settings.trace_timeout, Arc::clone(inner));
    let options = JobOptions {
        timeout,
        line: Line::of(tenant, &["trace"]),
        context,
        explain: false,
        bypasses_caches,
    };
    let wanted = wanted.clone();
    let read = move |job: &Job| {
        let block = shared.blocks.open(&meta, job)?;
        let (trace, is_part) = read_trace(&block, &wanted, job)?;
        let inspected_bytes = bloom_bytes + job.inspected_bytes();
        Ok(Part { trace, inspected_bytes, is_part })
    };
    inner.pool.run(options, read).await
}

/// The spans of a trace as an OTLP message, empty if the block does not have it; and whether it is large.
fn read_trace(block: &BlockReader, wanted: &Wanted, job: &Job) -> Result<(Bytes, bool)> {
    let nothing = (Bytes::new(), false);
    let Some(row_group) = block.find_row_group(wanted.id)? else { return Ok(nothing) };
    // Few pages of each column, but their dictionaries as a whole.
    job.hold_bytes(block.row_groups().get(row_group).map_or(0, |group| group.bytes))?;
    let block = row_group_at_once(block, row_group);
    let Some(row) = block.find_row(row_group, wanted.id)? else { return Ok(nothing) };
    job.check()?;
    let block = block.with_page_indexes(row_group)?;
    let rows = row..row + 1;
    let mut is_large = false;
    if wanted.large_spans != 0 {
        let spans = block.read_rows(row_group, rows.clone(), &Projection::default())?.len();
        is_large = spans as u64 > wanted.large_spans;
        job.check()?;
    }
    let batch = match (is_large, &*wanted.part) {
        (false, _) => block.read_rows(row_group, rows, &Projection::all())?,
        (true, TracePart::Heads) => block.read_rows(row_group, rows, &Projection::heads())?,
        (true, part) => {
            let whole = block.read_rows(row_group, rows, &Projection::all())?;
            gather_part(&[&whole], wanted.id, part)
        }
    };
    // Also of the memory of queries: those of many traces at once are not to take more than that.
    let own = batch.heap_bytes();
    let mut held = Held::of(own);
    let has_room = |bytes| held.grow_to(own + bytes) && !is_over();
    let trace = encode_traces_data_while(&batch, has_room).ok_or(Error::Cancelled)?;
    Ok((trace.into(), is_large))
}
