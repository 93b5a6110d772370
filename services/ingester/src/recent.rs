//! Queries over what no block holds yet: live spans and segments.
//!
//! The spans of a trace lie scattered: every push and every cut may hold some. A query therefore first finds
//! candidate traces in each batch alone, then gathers the candidates' spans from everywhere and is evaluated on
//! whole traces.

use std::collections::{HashMap, HashSet};

use tactus_model::{
    SpanBatch, TenantId, TraceId,
    merge::{gather_traces, merge},
    slice_traces,
};
use tactus_traceql::eval::{
    CompiledQuery, EvaluateError, SearchOptions, TraceMatch, TraceMatchCombiner, Window,
};

use crate::ingester::Ingester;

/// Candidate traces that are gathered at a time: their spans are copied.
const CANDIDATES_PER_ROUND: usize = 512;

/// Up to so many traces are copied out of a segment one by one, without a look at the rest of it.
const FEW_TRACES: usize = 16;

/// Nanoseconds. Spans of one trace further apart than a day are not looked for beyond the window.
const LONGEST_TRACE: u64 = 86_400_000_000_000;

/// A search's result and the work it took.
#[derive(Debug, Default)]
pub(crate) struct RecentMatches {
    pub(crate) traces: Vec<TraceMatch>,
    pub(crate) inspected_bytes: u64,
    pub(crate) inspected_traces: u32,
}

/// Bytes that a look at a batch counts for: an estimate, since what is read of it depends on the query.
fn inspected_bytes(batch: &SpanBatch) -> u64 {
    batch.len() as u64 * 200
}

impl Ingester {
    /// Shows every batch of a tenant to `read`; a batch that moves meanwhile may be shown twice, never missed.
    fn for_each_batch(&self, tenant: &TenantId, mut read: impl FnMut(&SpanBatch)) {
        let Some(tenant) = self.tenant(tenant) else { return };
        let (heads, segments) = tenant.snapshot();
        for head in heads {
            head.for_each(&mut read);
        }
        for segment in segments {
            read(segment.batch());
        }
    }

    /// All spans of these traces, each once.
    pub(crate) fn gather(&self, tenant: &TenantId, wanted: &HashSet<TraceId>) -> SpanBatch {
        let Some(tenant) = self.tenant(tenant) else { return SpanBatch::default() };
        let (heads, segments) = tenant.snapshot();
        let mut parts = Vec::new();
        for head in heads {
            head.for_each(|batch| parts.push(gather_traces(&[batch], |id| wanted.contains(&id))));
        }
        for segment in segments {
            let batch = segment.batch();
            let ids = &batch.traces.ids;
            let found: Vec<_> = wanted.iter().filter_map(|id| ids.binary_search(id).ok()).collect();
            if found.len() <= FEW_TRACES {
                parts.extend(found.into_iter().map(|trace| slice_traces(batch, trace..trace + 1)));
            } else {
                parts.push(gather_traces(&[batch], |id| wanted.contains(&id)));
            }
        }
        merge(&parts.iter().collect::<Vec<_>>()).0
    }

    /// The traces that match, the newest first.
    pub(crate) fn search_recent(
        &self,
        tenant: &TenantId,
        query: &CompiledQuery,
        window: Window,
        options: SearchOptions,
    ) -> Result<RecentMatches, EvaluateError> {
        let mut result = RecentMatches::default();
        let candidates = self.candidates(tenant, query, window, &mut result);
        let mut found = TraceMatchCombiner::default();
        for round in candidates.chunks(CANDIDATES_PER_ROUND) {
            // A trace starts no later than what is known of it, so the rest cannot be newer than this.
            let newest_left = round[0].1;
            if found.oldest_kept_start(options.limit).is_some_and(|kept| kept >= newest_left) {
                break;
            }
            let wanted: HashSet<_> = round.iter().map(|(id, _)| *id).collect();
            let batch = self.gather(tenant, &wanted);
            let matches = query.find_matches(&batch, window)?;
            for trace in query.assemble(&batch, &matches, &options) {
                found.add(trace);
            }
        }
        result.traces = found.finish(options.limit);
        Ok(result)
    }

    /// Traces of which the spans of some batch match, with the earliest start that such a batch knows, the newest
    /// first. Traces that cannot reach the window within [`LONGEST_TRACE`] are left out.
    fn candidates(
        &self,
        tenant: &TenantId,
        query: &CompiledQuery,
        window: Window,
        result: &mut RecentMatches,
    ) -> Vec<(TraceId, u64)> {
        let mut starts: HashMap<TraceId, u64> = HashMap::new();
        self.for_each_batch(tenant, |batch| {
            result.inspected_bytes += inspected_bytes(batch);
            result.inspected_traces += batch.traces.ids.len() as u32;
            for (id, start) in query.find_candidates(batch) {
                let known = starts.entry(id).or_insert(start);
                *known = start.min(*known);
            }
        });
        let near = |start: u64| {
            window.touches(start.saturating_sub(LONGEST_TRACE), start.saturating_add(LONGEST_TRACE))
        };
        let mut newest: Vec<_> = starts.into_iter().filter(|&(_, start)| near(start)).collect();
        newest.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        newest
    }

    /// Shows batches to a collector of tags or values until it has enough.
    pub(crate) fn collect_recent(
        &self,
        tenant: &TenantId,
        mut collect: impl FnMut(&SpanBatch),
    ) -> u64 {
        let mut inspected = 0;
        self.for_each_batch(tenant, |batch| {
            inspected += inspected_bytes(batch);
            collect(batch);
        });
        inspected
    }
}
