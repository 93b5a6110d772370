//! Merges the answers of several ingesters into the answer of one.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tactus_api::job::{add_tags, add_values, tags_response, value_collector, values_response};
use tactus_api::search::{SearchCombiner, add_metrics};
use tactus_api::trace::{CombinedTrace, TraceCombiner, WhenTooLarge};
use tactus_proto::tactus::v1::{
    FindTraceResponse, HoldingsResponse, MetricsResponse, SearchResponse, TagValuesRequest,
    TagValuesResponse, TagsResponse,
};
use tactus_proto::tempopb::SearchMetrics;
use tactus_server::bodies::Bodies;
use tactus_traceql::eval::{TagCollector, TagLimits};
use tonic::Status;

use super::ask::{Answers, add, take};

/// Parts of more bytes are put together away from the threads that serve connections.
const INLINE_BYTES: usize = 256 << 10;

/// Combines the parts of a trace, with each span once, because replicas would make the answer several times as large.
/// Spans that are also in blocks are removed by whoever combines the result with those. If one part, or all together,
/// exceed `max_bytes`, the answer says only that. Errors: there is no memory for the result in addition to the parts.
pub(super) async fn traces(
    answers: Answers<FindTraceResponse>,
    max_bytes: u64,
    memory: &Arc<Bodies>,
) -> Result<FindTraceResponse, Status> {
    let mut whole = FindTraceResponse { partial: answers.partial, ..FindTraceResponse::default() };
    let mut parts: Vec<Bytes> = Vec::new();
    let mut seen = HashSet::new();
    for answer in answers.all {
        whole.inspected_bytes = whole.inspected_bytes.saturating_add(answer.inspected_bytes);
        whole.is_part |= answer.is_part;
        whole.part_bytes = whole.part_bytes.max(answer.part_bytes);
        // All of them were sent the same spans.
        whole.refused_spans = whole.refused_spans.max(answer.refused_spans);
        // Replicas often have the very same.
        if !answer.trace.is_empty() && seen.insert(answer.trace.clone()) {
            parts.push(answer.trace);
        }
    }
    if whole.part_bytes <= max_bytes {
        whole.trace = match &parts[..] {
            [] => Bytes::new(),
            [part] => part.clone(),
            _ => put_together(parts, memory).await?,
        };
        whole.part_bytes = whole.part_bytes.max(whole.trace.len() as u64);
    }
    if whole.part_bytes > max_bytes {
        (whole.is_part, whole.trace) = (true, Bytes::new());
    }
    drop(answers.memory);
    Ok(whole)
}

/// Parts of a trace as one.
async fn put_together(parts: Vec<Bytes>, memory: &Arc<Bodies>) -> Result<Bytes, Status> {
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    let at_least = parts.iter().map(Bytes::len).max().unwrap_or(0);
    let mut taken = take(memory, at_least).await?;
    let (parts, combined) = work_on(bytes, move || {
        let mut combiner = TraceCombiner::new(0, WhenTooLarge::Cut);
        let are_whole = parts.iter().all(|part| combiner.add(part).is_ok());
        (parts, are_whole.then(|| combiner.finish_part()))
    })
    .await?;
    let bytes = combined.as_ref().map_or(bytes, CombinedTrace::bytes);
    add(&mut taken, bytes.saturating_sub(at_least)).await?;
    work_on(bytes, move || match combined {
        Some(combined) => combined.to_protobuf_v1().into(),
        // One that is damaged is for whoever combines them to tell. Behind each other they are one message.
        None => parts.concat().into(),
    })
    .await
}

/// What `work` makes of this many bytes. Errors: it panicked.
async fn work_on<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    if bytes <= INLINE_BYTES {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::internal(error.to_string()))
}

/// Traces found, each once, `limit` at most (0: all).
pub(super) fn searches(answers: Answers<SearchResponse>, limit: u32) -> SearchResponse {
    let mut whole = SearchResponse { partial: answers.partial, ..SearchResponse::default() };
    let mut metrics = SearchMetrics::default();
    let mut combiner = SearchCombiner::new(limit);
    for answer in answers.all {
        whole.explanations.extend(answer.explanations);
        if let Some(found) = &answer.metrics {
            add_metrics(&mut metrics, found);
        }
        combiner.add(answer.traces);
    }
    (whole.traces, whole.metrics) = (combiner.finish_part(), Some(metrics));
    whole
}

/// Names of all, up to this many bytes (0: any number).
pub(super) fn tags(answers: Answers<TagsResponse>, max_bytes: u64) -> TagsResponse {
    let limits = TagLimits { max_bytes: max_bytes as usize, ..TagLimits::default() };
    let mut collector = TagCollector::new(limits);
    let (partial, mut truncated, mut inspected_bytes) = (answers.partial, false, 0u64);
    for answer in answers.all {
        truncated |= answer.truncated;
        inspected_bytes = inspected_bytes.saturating_add(answer.inspected_bytes);
        add_tags(&mut collector, answer);
    }
    let whole = tags_response(collector);
    TagsResponse { partial, truncated: truncated || whole.truncated, inspected_bytes, ..whole }
}

/// Values of all, up to the limits of the request.
pub(super) fn tag_values(
    answers: Answers<TagValuesResponse>,
    request: &TagValuesRequest,
) -> TagValuesResponse {
    let mut collector = value_collector(request);
    let (partial, mut truncated, mut inspected_bytes) = (answers.partial, false, 0u64);
    for answer in answers.all {
        truncated |= answer.truncated;
        inspected_bytes = inspected_bytes.saturating_add(answer.inspected_bytes);
        add_values(&mut collector, answer);
    }
    let whole = values_response(collector);
    TagValuesResponse { partial, truncated: truncated || whole.truncated, inspected_bytes, ..whole }
}

/// Series of all, to be added by whoever adds those of blocks.
pub(super) fn metrics(answers: Answers<MetricsResponse>) -> MetricsResponse {
    let mut whole = MetricsResponse { partial: answers.partial, ..MetricsResponse::default() };
    let mut metrics = SearchMetrics::default();
    for answer in answers.all {
        if let Some(found) = &answer.metrics {
            add_metrics(&mut metrics, found);
        }
        whole.series.extend(answer.series);
        whole.counted_block_ids.extend(answer.counted_block_ids);
        whole.released_block_ids.extend(answer.released_block_ids);
        whole.explanations.extend(answer.explanations);
        if !answer.shared_traces.is_empty() {
            let is_first = whole.shared_traces.is_empty();
            let first = answer.shared_first_nanos;
            whole.shared_first_nanos =
                if is_first { first } else { first.min(whole.shared_first_nanos) };
            whole.shared_last_nanos = whole.shared_last_nanos.max(answer.shared_last_nanos);
            whole.shared_traces.extend(answer.shared_traces);
        }
    }
    whole.metrics = Some(metrics);
    whole
}

/// The holdings of all ingesters.
pub(super) fn holdings(answers: Answers<HoldingsResponse>) -> HoldingsResponse {
    let mut whole = HoldingsResponse { partial: answers.partial, ..HoldingsResponse::default() };
    for answer in answers.all {
        whole.partial |= answer.partial;
        whole.holders.extend(answer.holders);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_ingesters_claim_to_have_read_never_wrap_around() {
        let claim = || TagsResponse { inspected_bytes: u64::MAX - 1, ..TagsResponse::default() };
        let answers = Answers {
            all: vec![claim(), claim()],
            partial: false,
            silent: Vec::new(),
            memory: Vec::new(),
        };
        assert_eq!(tags(answers, 0).inspected_bytes, u64::MAX);
    }
}
