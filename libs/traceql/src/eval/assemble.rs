//! Turns matched rows into an answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tactus_model::{SpanBatch, StringCode};
use tactus_work::tick;

use super::matches::{
    MatchedSpanSet, MatchedTrace, Matches, ServiceStats, SpanMatch, SpanSet, TraceMatch,
};
use super::operand::span_duration;
use super::query::CompiledQuery;
use super::shown::BoundShown;
use super::trace_facts::{service_counts, trace_roots, trace_times};
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
    /// Builds the answers for the newest matches, newest first, then by trace id.
    ///
    /// `batch` has the same rows as the batch given to [`CompiledQuery::find_matches`], and the columns of
    /// [`CompiledQuery::result_projection`]. The earliest spans of each spanset are shown.
    pub fn assemble(
        &self,
        batch: &SpanBatch,
        matches: &Matches,
        options: &SearchOptions,
    ) -> Vec<TraceMatch> {
        let view = BatchView::new(batch);
        let shown: Vec<_> = self.shown.iter().map(|shown| shown.bind(&view)).collect();
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let matched = &matches.traces[..matches.traces.len().min(limit)];
        let rows = rows_of(matched, batch);
        let facts = Facts::of(batch, &rows);
        let stats = if self.legacy {
            vec![BTreeMap::new(); matched.len()]
        } else {
            service_stats(matched, batch, &rows)
        };
        let assemble = |(matched, stats)| {
            self.assemble_trace(matched, (stats, &facts), options, &shown, &view)
        };
        matched.iter().zip(stats).map(assemble).collect()
    }

    fn assemble_trace(
        &self,
        matched: &MatchedTrace,
        (service_stats, facts): (BTreeMap<String, ServiceStats>, &Facts<'_>),
        options: &SearchOptions,
        shown: &[BoundShown<'_>],
        view: &BatchView<'_>,
    ) -> TraceMatch {
        let trace = matched.trace as usize;
        let text = |codes: &[u32]| {
            view.batch.strings.display(codes.get(trace).copied().unwrap_or(0)).into_owned()
        };
        let end = facts.end.get(trace).copied().unwrap_or(matched.start_unix_nanos);
        let duration = end.wrapping_sub(matched.start_unix_nanos);
        let span_sets = if self.legacy { &[] } else { matched.span_sets.as_slice() };
        TraceMatch {
            trace_id: matched.trace_id,
            root_service_name: text(&facts.root_service),
            root_trace_name: text(&facts.root_name),
            start_unix_nanos: matched.start_unix_nanos,
            duration_nanos: span_duration(duration) as u64,
            service_stats,
            span_sets: span_sets
                .iter()
                .map(|set| assemble_span_set(set, options.spans_per_span_set, shown, view))
                .collect(),
        }
    }
}

/// Trace-level facts for answers, by trace row: those of the matched traces, or of all.
struct Facts<'b> {
    end: Cow<'b, [u64]>,
    root_service: Cow<'b, [StringCode]>,
    root_name: Cow<'b, [StringCode]>,
}

impl<'b> Facts<'b> {
    /// `rows`: the spans of the matched traces.
    fn of(batch: &'b SpanBatch, rows: &[u32]) -> Self {
        if let Some(summaries) = &batch.traces.summaries {
            return Self {
                end: Cow::Borrowed(&summaries.end),
                root_service: Cow::Borrowed(&summaries.root_service),
                root_name: Cow::Borrowed(&summaries.root_name),
            };
        }
        let rows = || rows.iter().map(|&row| row as usize);
        let (root_service, root_name) = trace_roots(batch, rows());
        Self {
            end: trace_times(batch, rows()).1.into(),
            root_service: root_service.into(),
            root_name: root_name.into(),
        }
    }
}

/// The spans of the matched traces, if summaries do not have the facts that are needed.
fn rows_of(matched: &[MatchedTrace], batch: &SpanBatch) -> Vec<u32> {
    if batch.traces.summaries.is_some() {
        return Vec::new();
    }
    let mut is_matched = vec![false; batch.traces.ids.len()];
    matched.iter().for_each(|matched| is_matched[matched.trace as usize] = true);
    let rows = (0..).zip(batch.spans.trace.iter());
    rows.filter(|(_, trace)| is_matched[**trace as usize]).map(|(row, _)| row).collect()
}

/// The service counts of each matched trace, stored or computed from its spans.
fn service_stats(
    matched: &[MatchedTrace],
    batch: &SpanBatch,
    rows: &[u32],
) -> Vec<BTreeMap<String, ServiceStats>> {
    let mut stats = vec![BTreeMap::<String, ServiceStats>::new(); matched.len()];
    let mut add = |slot: usize, service, spans, errors| {
        let name = batch.strings.display(service).into_owned();
        let known = stats[slot].entry(name).or_default();
        known.spans += spans;
        known.errors += errors;
    };
    let Some(summaries) = &batch.traces.summaries else {
        let mut slots = vec![0; batch.traces.ids.len()];
        for (slot, matched) in matched.iter().enumerate() {
            slots[matched.trace as usize] = slot;
        }
        let rows = rows.iter().map(|&row| row as usize);
        let counts = service_counts(batch, rows, matched.len(), |trace| slots[trace]);
        for (slot, counts) in counts.iter().enumerate() {
            counts.iter().for_each(|it| add(slot, it.service, it.spans, it.errors));
        }
        return stats;
    };
    for (slot, matched) in matched.iter().enumerate() {
        for entry in summaries.services(matched.trace as usize) {
            let column = |column: &[u32]| column.get(entry).copied().unwrap_or(0);
            add(
                slot,
                column(&summaries.service_name),
                column(&summaries.service_spans),
                column(&summaries.service_errors),
            );
        }
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
        // Each attribute is searched for among those that are already there.
        if tick(1 + attribute.tests() + span.attributes.len() as u32) {
            break;
        }
        let Some(value) = attribute.value(row) else { continue };
        if attribute.is_name() {
            span.name = Some(value.to_string());
            continue;
        }
        // `span.env` and `.env` may be the same attribute.
        let pair = (attribute.key().to_owned(), value);
        if !span.attributes.contains(&pair) {
            span.attributes.push(pair);
        }
    }
    span
}
