//! Turns matched rows into an answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tactus_model::{SpanBatch, SpanId, StringCode};
use tactus_work::{Held, tick};

use super::matches::{
    AttributeValue, MatchedSpanSet, MatchedTrace, Matches, ServiceStats, SpanMatch, SpanSet,
    TraceMatch,
};
use super::operand::span_duration;
use super::query::CompiledQuery;
use super::shown::BoundShown;
use super::texts::Texts;
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

/// The answers for the matches of one batch, in order. Their memory is counted until they are taken.
#[derive(Debug, Default)]
pub struct Assembled {
    traces: std::vec::IntoIter<TraceMatch>,
    /// Of the traces that are left.
    bytes: usize,
    held: Held,
}

impl Iterator for Assembled {
    type Item = TraceMatch;

    fn next(&mut self) -> Option<TraceMatch> {
        let trace = self.traces.next()?;
        self.bytes = self.bytes.saturating_sub(trace.heap_bytes());
        self.held.shrink_to(self.bytes);
        Some(trace)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.traces.size_hint()
    }
}

impl ExactSizeIterator for Assembled {}

impl CompiledQuery {
    /// Builds the answers for the newest matches, newest first, then by trace id.
    ///
    /// `batch` has the same rows as the batch given to [`CompiledQuery::find_matches`], and the columns of
    /// [`CompiledQuery::result_projection`]. The earliest spans of each spanset are shown. Ends early where there is no
    /// memory for the answer: then the query has ended.
    pub fn assemble(
        &self,
        batch: &SpanBatch,
        matches: &Matches,
        options: &SearchOptions,
    ) -> Assembled {
        let view = BatchView::new(batch);
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let matched = &matches.traces[..matches.traces.len().min(limit)];
        let rows = rows_of(matched, batch);
        let facts = Facts::of(batch, &rows);
        let stats = if self.legacy {
            vec![BTreeMap::new(); matched.len()]
        } else {
            service_stats(matched, batch, &rows)
        };
        let shown = self.shown.iter().map(|shown| {
            let shown = shown.bind(&view);
            (shown.key().into(), shown)
        });
        let mut assembler = Assembler {
            view: &view,
            shown: shown.collect(),
            spans_per_span_set: options.spans_per_span_set,
            texts: Texts::default(),
            bytes: 0,
            held: Held::default(),
        };
        let mut traces = Vec::with_capacity(matched.len());
        for (matched, stats) in matched.iter().zip(stats) {
            let span_sets = if self.legacy { &[] } else { matched.span_sets.as_slice() };
            let mut trace = facts.trace(matched, stats, batch);
            assembler.bytes += trace.own_bytes();
            for set in assembler.in_order(span_sets) {
                if !assembler.has_room() {
                    break;
                }
                trace.span_sets.push(assembler.span_set(set));
            }
            if !assembler.has_room() {
                break;
            }
            traces.push(trace);
        }
        let Assembler { bytes, held, .. } = assembler;
        Assembled { traces: traces.into_iter(), bytes, held }
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

    /// An answer without spansets.
    fn trace(
        &self,
        matched: &MatchedTrace,
        service_stats: BTreeMap<String, ServiceStats>,
        batch: &SpanBatch,
    ) -> TraceMatch {
        let trace = matched.trace as usize;
        let text = |codes: &[u32]| {
            batch.strings.display(codes.get(trace).copied().unwrap_or(0)).into_owned()
        };
        let end = self.end.get(trace).copied().unwrap_or(matched.start_unix_nanos);
        let duration = end.wrapping_sub(matched.start_unix_nanos);
        TraceMatch {
            trace_id: matched.trace_id,
            root_service_name: text(&self.root_service),
            root_trace_name: text(&self.root_name),
            start_unix_nanos: matched.start_unix_nanos,
            duration_nanos: span_duration(duration) as u64,
            service_stats,
            span_sets: Vec::new(),
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

/// Builds the spansets of an answer, and counts their memory.
struct Assembler<'v> {
    view: &'v BatchView<'v>,
    /// What spans show, with its key.
    shown: Vec<(Arc<str>, BoundShown<'v>)>,
    spans_per_span_set: usize,
    texts: Texts<'v>,
    /// Of the answer so far.
    bytes: usize,
    held: Held,
}

impl Assembler<'_> {
    fn has_room(&mut self) -> bool {
        self.held.grow_to(self.bytes)
    }

    /// Spansets by their earliest span. Spans come in another order from a block than from an ingester.
    fn in_order<'s>(&self, sets: &'s [MatchedSpanSet]) -> Vec<&'s MatchedSpanSet> {
        let mut ordered: Vec<_> = sets.iter().collect();
        if sets.len() > 1 {
            ordered.sort_by_cached_key(|set| set.rows.iter().map(|&row| self.order(row)).min());
        }
        ordered
    }

    /// What spans are ordered by: start, then id.
    fn order(&self, row: u32) -> (u64, Option<SpanId>) {
        let (spans, row) = (&self.view.batch.spans, row as usize);
        (spans.start.get(row).copied().unwrap_or(0), spans.span_id.get(row).copied())
    }

    fn span_set(&mut self, set: &MatchedSpanSet) -> SpanSet {
        let key = |&row: &u32| self.order(row);
        let limit = self.spans_per_span_set;
        let mut rows = set.rows.clone();
        if limit > 0 && limit < rows.len() {
            rows.select_nth_unstable_by_key(limit, key);
            rows.truncate(limit);
        }
        rows.sort_by_key(key);
        let mut built = SpanSet {
            matched: set.rows.len() as u32,
            attributes: set.attributes.clone(),
            spans: Vec::with_capacity(rows.len()),
        };
        self.bytes += built.own_bytes();
        for row in rows {
            let span = self.span(row as usize);
            self.bytes += span.heap_bytes();
            if !self.has_room() {
                break;
            }
            built.spans.push(span);
        }
        built
    }

    fn span(&mut self, row: usize) -> SpanMatch {
        let spans = &self.view.batch.spans;
        let mut span = SpanMatch {
            span_id: spans.span_id.get(row).copied().unwrap_or_default(),
            name: None,
            start_unix_nanos: spans.start.get(row).copied().unwrap_or(0),
            duration_nanos: span_duration(spans.duration.get(row).copied().unwrap_or(0)) as u64,
            attributes: Vec::new(),
        };
        for (key, shown) in &self.shown {
            // Each attribute is searched for among those that are already there.
            if tick(1 + shown.tests() + span.attributes.len() as u32) {
                break;
            }
            let Some(value) = shown.value(row, &mut self.texts) else { continue };
            if shown.is_name() {
                span.name = Some(value.to_string());
                continue;
            }
            // `span.env` and `.env` may be the same attribute.
            let is_known = |(known, other): &(Arc<str>, AttributeValue)| {
                known == key && is_same(other, &value)
            };
            if !span.attributes.iter().any(is_known) {
                span.attributes.push((Arc::clone(key), value));
            }
        }
        span
    }
}

/// True for equal values, and for NaN in the same places.
fn is_same(one: &AttributeValue, other: &AttributeValue) -> bool {
    match (one, other) {
        (AttributeValue::Float(one), AttributeValue::Float(other)) => {
            one == other || one.is_nan() && other.is_nan()
        }
        (AttributeValue::Array(one), AttributeValue::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        _ => one == other,
    }
}
