//! Turns matched rows into an answer.

use std::collections::BTreeMap;

use tactus_model::SpanBatch;

use super::matches::{
    MatchedSpanSet, MatchedTrace, Matches, ServiceStats, SpanMatch, SpanSet, TraceMatch,
};
use super::operand::span_duration;
use super::query::CompiledQuery;
use super::shown::BoundShown;
use super::view::BatchView;

/// How much of the matches an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// Most traces, the newest; 0 for all.
    pub limit: usize,
    /// Most spans a spanset; 0 for all.
    pub spans_per_span_set: usize,
}

impl CompiledQuery {
    /// Makes answers of the newest matches, newest first, ties by trace id.
    ///
    /// `batch` has the same rows as the one given to [`CompiledQuery::find_matches`], and the columns of
    /// [`CompiledQuery::result_projection`]. Of a spanset the earliest spans are shown.
    pub fn assemble(
        &self,
        batch: &SpanBatch,
        matches: &Matches,
        options: &SearchOptions,
    ) -> Vec<TraceMatch> {
        let view = BatchView::new(batch);
        let shown: Vec<_> = self.shown.iter().map(|shown| shown.bind(&view)).collect();
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let traces = matches.traces.iter().take(limit);
        traces.map(|matched| self.assemble_trace(matched, options, &shown, &view)).collect()
    }

    fn assemble_trace(
        &self,
        matched: &MatchedTrace,
        options: &SearchOptions,
        shown: &[BoundShown<'_>],
        view: &BatchView<'_>,
    ) -> TraceMatch {
        let (facts, trace) = (view.facts(), matched.trace as usize);
        let strings = &view.batch.strings;
        let text =
            |codes: &[u32]| strings.display(codes.get(trace).copied().unwrap_or(0)).into_owned();
        let end = facts.end.get(trace).copied().unwrap_or(matched.start_unix_nanos);
        let duration = end.wrapping_sub(matched.start_unix_nanos);
        let span_sets = if self.legacy { &[] } else { matched.span_sets.as_slice() };
        TraceMatch {
            trace_id: matched.trace_id,
            root_service_name: text(&facts.root_service),
            root_trace_name: text(&facts.root_name),
            start_unix_nanos: matched.start_unix_nanos,
            duration_nanos: span_duration(duration) as u64,
            service_stats: if self.legacy { BTreeMap::new() } else { service_stats(trace, view) },
            span_sets: span_sets
                .iter()
                .map(|set| assemble_span_set(set, options.spans_per_span_set, shown, view))
                .collect(),
        }
    }
}

fn service_stats(trace: usize, view: &BatchView<'_>) -> BTreeMap<String, ServiceStats> {
    let facts = view.facts();
    let mut stats = BTreeMap::<String, ServiceStats>::new();
    for entry in facts.services(trace) {
        let column = |column: &[u32]| column.get(entry).copied().unwrap_or(0);
        let name = view.batch.strings.display(column(&facts.service_name)).into_owned();
        let service = stats.entry(name).or_default();
        service.spans += column(&facts.service_spans);
        service.errors += column(&facts.service_errors);
    }
    stats
}

fn assemble_span_set(
    set: &MatchedSpanSet,
    limit: usize,
    shown: &[BoundShown<'_>],
    view: &BatchView<'_>,
) -> SpanSet {
    let spans = &view.batch.spans;
    let key = |&row: &u32| {
        let row = row as usize;
        (spans.start.get(row).copied().unwrap_or(0), spans.span_id.get(row).copied())
    };
    let mut rows = set.rows.clone();
    if limit > 0 && limit < rows.len() {
        rows.select_nth_unstable_by_key(limit, key);
        rows.truncate(limit);
    }
    rows.sort_by_key(key);
    SpanSet {
        matched: set.rows.len() as u32,
        attributes: set.attributes.clone(),
        spans: rows.iter().map(|&row| assemble_span(row as usize, shown, view)).collect(),
    }
}

fn assemble_span(row: usize, shown: &[BoundShown<'_>], view: &BatchView<'_>) -> SpanMatch {
    let spans = &view.batch.spans;
    let mut span = SpanMatch {
        span_id: spans.span_id.get(row).copied().unwrap_or_default(),
        name: None,
        start_unix_nanos: spans.start.get(row).copied().unwrap_or(0),
        duration_nanos: span_duration(spans.duration.get(row).copied().unwrap_or(0)) as u64,
        attributes: Vec::new(),
    };
    for attribute in shown {
        let Some(value) = attribute.value(row) else { continue };
        if attribute.is_name() {
            span.name = Some(value.to_string());
            continue;
        }
        // `span.env` and `.env` may be one and the same.
        let pair = (attribute.key().to_owned(), value);
        if !span.attributes.contains(&pair) {
            span.attributes.push(pair);
        }
    }
    span
}
