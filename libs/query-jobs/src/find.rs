//! Finds a trace by id in several blocks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tactus_api::trace_job::TraceJob;
use tactus_block::read::BlockReader;
use tactus_model::merge::ChosenSpans;
use tactus_model::otlp::{encode_part_while, encode_traces_data_while};
use tactus_model::{Projection, SpanBatch};
use tactus_proto::tactus::v1::FindTraceInBlocksResponse;
use tactus_rpc::QueryContext;
use tactus_server::bodies::AnswerMemory;
use tactus_storage::Uuid;
use tactus_work::{Held, UNITS_OF_WRITTEN_SPAN, tick};

use crate::error::{Error, Result};
use crate::joined::row_group_at_once;
use crate::pool::{Job, JobOptions};
use crate::querier_state::QuerierState;

/// Blocks whose bloom filters are asked at the same time.
const CONCURRENT_BLOCKS: usize = 32;

/// What a large trace takes as columns, in times the compressed bytes of its row group, about.
const COLUMN_FACTOR: u64 = 4;

/// What one block has of a trace.
#[derive(Default)]
struct Part {
    trace: Bytes,
    inspected_bytes: u64,
    /// See `FindTraceResponse`.
    is_part: bool,
    part_bytes: u64,
}

/// The spans of a trace in these blocks. Damaged blocks are counted, but do not make the job fail, because the spans of
/// the others are still useful.
pub(crate) async fn find_trace(
    inner: &Arc<QuerierState>,
    tenant: &str,
    wanted: &Arc<TraceJob>,
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
                found.part_bytes += part.part_bytes;
                if !part.trace.is_empty() {
                    memory.add(part.trace.len() as u64).await?;
                    found.traces.push(part.trace);
                }
            }
            Err(Error::Damaged(_)) => found.damaged_blocks += 1,
            Err(error) => return Err(error),
        }
    }
    if found.part_bytes > wanted.max_part_bytes() {
        (found.is_part, found.traces) = (true, Vec::new());
    }
    Ok(found)
}

async fn find_in_block(
    inner: &Arc<QuerierState>,
    tenant: &str,
    wanted: &Arc<TraceJob>,
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
        Err(error) => Err(inner.blocks.explain(tenant, block_id, error).await),
    }
}

async fn read_from_block(
    inner: &Arc<QuerierState>,
    tenant: &str,
    wanted: &Arc<TraceJob>,
    block_id: Uuid,
    context: QueryContext,
    bypasses_caches: bool,
) -> Result<Part> {
    let meta = inner.blocks.meta(tenant, block_id).await?;
    let (may_contain, bloom_bytes) = inner.blocks.may_contain(&meta, wanted.id).await?;
    if !may_contain {
        return Ok(Part { inspected_bytes: bloom_bytes, ..Part::default() });
    }
    let shared = Arc::clone(inner);
    let timeout = inner.settings.section.trace_by_id.query_timeout.as_std();
    let options = inner.options(tenant, &["trace"], context);
    let options = JobOptions { timeout, bypasses_caches, ..options };
    let wanted = Arc::clone(wanted);
    let read = move |job: &Job| {
        let block = shared.blocks.open(&meta, job)?;
        let part = read_trace(&block, &wanted, job)?;
        Ok(Part { inspected_bytes: bloom_bytes + job.inspected_bytes(), ..part })
    };
    inner.pool.run(options, read).await
}

/// What a block has of a trace.
fn read_trace(block: &BlockReader, wanted: &TraceJob, job: &Job) -> Result<Part> {
    let Some(row_group) = block.find_row_group(wanted.id)? else { return Ok(Part::default()) };
    // Few pages of each column, but their dictionaries as a whole.
    let group_bytes = block.row_groups().get(row_group).map_or(0, |group| group.bytes);
    job.hold_bytes(group_bytes)?;
    let block = row_group_at_once(block, row_group);
    let Some(row) = block.find_row(row_group, wanted.id)? else { return Ok(Part::default()) };
    job.check()?;
    let block = block.with_page_indexes(row_group)?;
    let read = |columns: &Projection| block.read_rows(row_group, row..row + 1, columns);
    let mut is_large = wanted.is_part();
    // A span takes a byte at least.
    if wanted.counts_spans(group_bytes) {
        is_large = wanted.is_large(read(&Projection::default())?.len() as u64);
        job.check()?;
    }
    let mut whole = None;
    if !is_large {
        let batch = read(&Projection::as_received())?;
        if let Some(trace) = encoded_whole(&batch, wanted.max_bytes)? {
            let part_bytes = trace.len() as u64;
            return Ok(Part { trace, part_bytes, ..Part::default() });
        }
        whole = Some(batch).filter(|_| wants_as_received(wanted));
    }
    // The columns count as row groups that jobs decode, not as memory that queries hold. Otherwise reading a few spans
    // or a slice of a large trace would charge the query for all its spans.
    let bytes = match &whole {
        Some(batch) => batch.heap_bytes() as u64,
        None => group_bytes.saturating_mul(COLUMN_FACTOR),
    };
    job.hold_large_bytes(bytes)?;
    let batch = match (whole, &wanted.part.spans) {
        (Some(batch), _) => batch,
        (None, ChosenSpans::Slice(slice)) if slice.is_whole() => read(&wanted.part.columns())?,
        (None, spans) => {
            let (rows, columns) = (row..row + 1, wanted.part.columns());
            block.read_chosen_spans(row_group, rows, &columns, &|id| spans.has(id))?
        }
    };
    let (trace, part_bytes) = encoded_part(&batch, wanted)?;
    Ok(Part { trace, part_bytes, is_part: true, inspected_bytes: 0 })
}

/// True if the part is made of all that spans came with, so that it need not be read again.
fn wants_as_received(wanted: &TraceJob) -> bool {
    matches!(wanted.part.spans, ChosenSpans::Slice(slice) if slice.is_whole())
        && wanted.part.columns() == Projection::as_received()
}

/// A trace as an OTLP message. `None` if it has more bytes than these, or if there is no memory for all of it at once:
/// then it is large.
fn encoded_whole(batch: &SpanBatch, max_bytes: u64) -> Result<Option<Bytes>> {
    // Also of the memory of queries: those of many traces at once are not to take more than that.
    let own = batch.heap_bytes();
    let (mut held, mut fits) = (Held::default(), true);
    let trace = encode_traces_data_while(batch, |bytes| {
        fits = bytes as u64 <= max_bytes && held.grow_if_free(own + bytes);
        fits && !tick(UNITS_OF_WRITTEN_SPAN)
    });
    match trace {
        Some(trace) => Ok(Some(trace.into())),
        None if !fits => Ok(None),
        None => Err(Error::Cancelled),
    }
}

/// The part that is wanted as an OTLP message, and its bytes; empty if they are too many.
fn encoded_part(batch: &SpanBatch, wanted: &TraceJob) -> Result<(Bytes, u64)> {
    let rows = wanted.part.rows(batch, wanted.id);
    let own = rows.len() * size_of::<u32>();
    let (mut held, mut message) = (Held::of(own), Vec::new());
    let mut written = 0;
    let is_whole = encode_part_while(&mut message, batch, &rows, &wanted.part, |spans, bytes| {
        written = spans;
        bytes as u64 <= wanted.max_part_bytes()
            && held.grow_to(own + bytes)
            && !tick(UNITS_OF_WRITTEN_SPAN)
    });
    let bytes = message.len() as u64;
    match is_whole {
        true => Ok((message.into(), bytes)),
        false if bytes > wanted.max_part_bytes() => {
            let all = bytes.saturating_mul(rows.len() as u64) / written.max(1) as u64;
            Ok((Bytes::new(), all.max(bytes)))
        }
        false => Err(Error::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use tactus_work::Work;
    use tactus_work::memory::{Budget, QueryMemory};

    use super::*;
    use crate::test_blocks::batch_of_spans;

    #[test]
    fn trace_for_which_queries_have_no_memory_is_large_and_ends_no_query() {
        let (batch, all) = (batch_of_spans(0..20_000, 1), Budget::new(1_000_000));
        let work = Work::default().holding(&QueryMemory::within(&all), 7, 1);
        let found = work.run(|| {
            let whole = encoded_whole(&batch, u64::MAX).unwrap();
            let other = encoded_whole(&batch_of_spans(0..9, 1), u64::MAX).unwrap();
            (whole, other.is_some_and(|message| !message.is_empty()))
        });
        assert_eq!((found, all.used()), (Ok((None, true)), 0));
        let free = encoded_whole(&batch, u64::MAX).unwrap();
        assert!(free.is_some_and(|message| message.len() > 1_000_000));
    }
}
