//! Looks up which spans of some traces are in blocks.
//!
//! A client may send spans again that are in a block already. An ingester then stores them without knowing. A metrics
//! query looks up the few traces that recent data and blocks may have in common. Blocks do not change, so the result
//! for a trace, usually empty, is cached.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tactus_block::read::BlockReader;
use tactus_model::{SpanBatch, TraceId, span_hash};
use tactus_proto::tactus::v1::{SpansInBlocksResponse, TraceSpans};
use tactus_rpc::QueryContext;
use tactus_storage::Uuid;

use crate::block_part::needed_bytes;
use crate::duplicates::identity;
use crate::error::{Error, Result};
use crate::pool::Job;
use crate::querier_state::QuerierState;

/// Blocks that are searched at the same time.
const CONCURRENT_BLOCKS: usize = 4;
/// If a row group has more of the traces than this, the identities of all its spans are read.
const FEW_TRACES: usize = 16;
/// Spans of an answer; it takes 8 bytes for each. Of what is beyond nothing is said.
const MAX_SPANS: usize = 400_000;

/// Hashes of the spans that a block has of a trace.
type Spans = Arc<[u64]>;

/// The spans that these blocks have of the traces, and whether one of them is gone or damaged.
pub(crate) async fn spans_in_blocks(
    shared: &Arc<QuerierState>,
    tenant: &str,
    block_ids: Vec<Uuid>,
    traces: Vec<TraceId>,
    context: QueryContext,
) -> Result<SpansInBlocksResponse> {
    let traces = Arc::new(traces);
    let mut blocks = stream::iter(block_ids)
        .map(|block_id| in_block(shared, tenant, block_id, Arc::clone(&traces), context))
        .buffered(CONCURRENT_BLOCKS);
    let mut found: BTreeMap<TraceId, Vec<u64>> = BTreeMap::new();
    let (mut count, mut lacks_blocks) = (0, false);
    while let Some(block) = blocks.next().await {
        let Some(block) = block? else {
            lacks_blocks = true;
            continue;
        };
        for (trace, spans) in block {
            if count < MAX_SPANS {
                count += spans.len();
                found.entry(trace).or_default().extend_from_slice(&spans);
            }
        }
    }
    let stored = |(trace, mut spans): (TraceId, Vec<u64>)| {
        spans.sort_unstable();
        spans.dedup();
        TraceSpans { trace_id: Bytes::copy_from_slice(&trace.0), spans }
    };
    Ok(SpansInBlocksResponse { traces: found.into_iter().map(stored).collect(), lacks_blocks })
}

/// The traces that a block has, with their spans; `None` if it is gone or damaged.
async fn in_block(
    shared: &Arc<QuerierState>,
    tenant: &str,
    block_id: Uuid,
    traces: Arc<Vec<TraceId>>,
    context: QueryContext,
) -> Result<Option<Vec<(TraceId, Spans)>>> {
    match read_block(shared, tenant, block_id, &traces, context).await {
        Err(error) => match shared.blocks.explain(tenant, block_id, error).await {
            Error::Damaged(_) => Ok(None),
            error => Err(error),
        },
        found => found.map(Some),
    }
}

async fn read_block(
    shared: &Arc<QuerierState>,
    tenant: &str,
    block_id: Uuid,
    traces: &[TraceId],
    context: QueryContext,
) -> Result<Vec<(TraceId, Spans)>> {
    let meta = shared.blocks.meta(tenant, block_id).await?;
    let known = shared.blocks.stored_spans();
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for &trace in traces {
        if let Some(spans) = known.get(&(block_id, trace)) {
            found.push((trace, spans));
        } else if shared.blocks.may_contain(&meta, trace).await?.0 {
            unknown.push(trace);
        }
    }
    if !unknown.is_empty() {
        let options = shared.options(tenant, &["spans"], context);
        let inner = Arc::clone(shared);
        let read = move |job: &Job| {
            let block = inner.blocks.open(&meta, job)?;
            read_traces(&block, unknown.clone(), job)
        };
        for (trace, spans) in shared.pool.run(options, read).await? {
            known.insert((block_id, trace), Arc::clone(&spans));
            found.push((trace, spans));
        }
    }
    found.retain(|(_, spans)| !spans.is_empty());
    Ok(found)
}

/// The spans of each trace, in order of row groups.
fn read_traces(
    block: &BlockReader,
    traces: Vec<TraceId>,
    job: &Job,
) -> Result<Vec<(TraceId, Spans)>> {
    let mut of_row_group: BTreeMap<usize, Vec<TraceId>> = BTreeMap::new();
    let mut found = Vec::with_capacity(traces.len());
    for trace in traces {
        match block.find_row_group(trace)? {
            Some(row_group) => of_row_group.entry(row_group).or_default().push(trace),
            None => found.push((trace, Spans::default())),
        }
    }
    for (row_group, traces) in of_row_group {
        job.check()?;
        job.hold_bytes(needed_bytes(block, row_group, &identity()))?;
        let all = match traces.len() > FEW_TRACES {
            true => Some(block.read_row_group(row_group, &identity())?),
            false => None,
        };
        for trace in traces {
            let spans = match &all {
                Some(batch) => match batch.traces.ids.binary_search(&trace) {
                    Ok(row) => spans_of(batch, row as u32),
                    Err(_) => Spans::default(),
                },
                None => match block.find_row(row_group, trace)? {
                    Some(row) => {
                        spans_of(&block.read_rows(row_group, row..row + 1, &identity())?, 0)
                    }
                    None => Spans::default(),
                },
            };
            found.push((trace, spans));
        }
    }
    Ok(found)
}

/// Spans of a sorted batch are in order of trace.
fn spans_of(batch: &SpanBatch, trace: u32) -> Spans {
    let traces = batch.spans.trace.as_slice();
    let first = traces.partition_point(|&known| known < trace);
    let end = traces.partition_point(|&known| known <= trace);
    (first..end).map(|row| span_hash(&batch.span_identity(row))).collect()
}
