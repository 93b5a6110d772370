//! Pushes in the form that live tails need, and the filter on their spans.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tactus_model::{AppendError, BatchBuilder, BuilderLimits, SpanBatch, TenantId, TraceId};
use tactus_proto::tactus::v1::{PushRequest, TailAttribute, TailResponse, TailRun, TailSpan};
use tactus_traceql::eval::{
    CompiledQuery, MatchedSpanSet, MatchedTrace, Matches, SearchOptions, Window,
};

use crate::head::{Appended, append_replayed};

/// Longer texts are cut.
const MAX_TEXT_BYTES: usize = 2048;
/// Most attributes of a span that are shown.
const MAX_ATTRIBUTES: usize = 64;

/// A stored push: slices of the buffer that it came in.
#[derive(Debug)]
pub(crate) struct Pushed {
    push: PushRequest,
    /// Positions of the spans that were not stored, ascending.
    refused: Vec<u32>,
    /// Stored spans.
    pub(crate) spans: u64,
    pub(crate) bytes: usize,
}

impl Pushed {
    pub(crate) fn new(push: &PushRequest, appended: &Appended) -> Self {
        let owners = push.resources.iter().chain(&push.scopes).map(Bytes::len);
        let spans = push.runs.iter().map(|run| run.scope_spans.len());
        Self {
            bytes: owners.chain(spans).sum(),
            push: push.clone(),
            refused: appended.refused_spans.clone(),
            spans: appended.spans,
        }
    }
}

/// The filter of a tail.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) tenant: TenantId,
    /// Judges each span by itself.
    pub(crate) query: CompiledQuery,
    /// The limits of the tenant's stored spans.
    pub(crate) limits: BuilderLimits,
}

impl Filter {
    /// The spans of these pushes that match; the first `may_show` of them in full.
    pub(crate) fn look_at(&self, pushes: &[Arc<Pushed>], may_show: usize) -> TailResponse {
        let mut look = Look { filter: self, may_show, response: TailResponse::default() };
        let mut builder = BatchBuilder::new(self.limits);
        for pushed in pushes {
            let append = |builder: &mut BatchBuilder| {
                append_replayed(builder, &pushed.push, &pushed.refused, |_| false)
            };
            let mut appended = append(&mut builder);
            if matches!(appended, Err(AppendError::Full)) && !builder.is_empty() {
                let full = std::mem::replace(&mut builder, BatchBuilder::new(self.limits));
                look.at(&full.finish());
                appended = append(&mut builder);
            }
            if appended.is_err() {
                // The push was stored, so it must be well formed and fit. Anything else is a bug, which the count must
                // show.
                look.response.skipped_spans += pushed.spans;
            }
        }
        look.at(&builder.finish());
        look.response
    }
}

/// One evaluation of some pushes.
struct Look<'f> {
    filter: &'f Filter,
    may_show: usize,
    response: TailResponse,
}

impl Look<'_> {
    fn at(&mut self, batch: &SpanBatch) {
        let Ok(matches) = self.filter.query.find_matches(batch, Window::default()) else {
            // Only operators on several spansets can fail, and a filter of a live tail has none.
            self.response.skipped_spans += batch.len() as u64;
            return;
        };
        let sets = matches.traces.iter().flat_map(|trace| &trace.span_sets);
        let mut rows: Vec<u32> = sets.flat_map(|set| set.rows.iter().copied()).collect();
        rows.sort_unstable();
        let shown = rows.len().min(self.may_show);
        self.may_show -= shown;
        let mut attributes = self.attributes(batch, &rows[..shown]).into_iter();
        let mut runs: Vec<TailRun> = Vec::new();
        let mut run_of: HashMap<u64, usize> = HashMap::new();
        for (place, &row) in rows.iter().enumerate() {
            let row = row as usize;
            let origin = batch.spans.origin.get(row).copied().unwrap_or(0);
            let run = *run_of.entry(origin).or_insert_with(|| {
                runs.push(TailRun { origin, ..TailRun::default() });
                runs.len() - 1
            });
            runs[run].matched_spans += 1;
            if place < shown {
                let mut span = shown_span(batch, row);
                span.attributes = attributes.next().unwrap_or_default();
                runs[run].spans.push(span);
            }
        }
        self.response.runs.extend(runs);
    }

    /// The attributes that the query names, of the spans in these rows in their order.
    fn attributes(&self, batch: &SpanBatch, rows: &[u32]) -> Vec<Vec<TailAttribute>> {
        // Each span as a trace of its own: traces stay in their order, and spans of a trace do not. Ids do not tell spans
        // apart, because a client and a server may share one.
        let alone = |&row: &u32| MatchedTrace {
            trace: batch.spans.trace[row as usize],
            trace_id: trace_id(batch, row as usize),
            start_unix_nanos: 0,
            span_sets: vec![MatchedSpanSet { rows: vec![row], attributes: Vec::new() }],
        };
        let matches = Matches { traces: rows.iter().map(alone).collect() };
        let all = SearchOptions { limit: 0, spans_per_span_set: 0 };
        let assembled = self.filter.query.assemble(batch, &matches, &all);
        let shown = assembled.map(|trace| {
            let spans = trace.span_sets.into_iter().flat_map(|set| set.spans);
            let named = spans.flat_map(|span| span.attributes).take(MAX_ATTRIBUTES);
            let shown = named.map(|(key, value)| TailAttribute {
                key: cut(key.to_string()),
                value: cut(value.to_string()),
            });
            shown.collect::<Vec<_>>()
        });
        shown.collect()
    }
}

fn trace_id(batch: &SpanBatch, row: usize) -> TraceId {
    batch.traces.ids[batch.spans.trace[row] as usize]
}

fn shown_span(batch: &SpanBatch, row: usize) -> TailSpan {
    let (spans, strings) = (&batch.spans, &batch.strings);
    let (trace_id, span_id) = (trace_id(batch, row), spans.span_id[row]);
    let text = |code| cut(strings.display(code).into_owned());
    let service = batch.service_name(spans.resource[row] as usize, strings.find(b"service.name"));
    TailSpan {
        trace_id: Bytes::copy_from_slice(&trace_id.0),
        span_id: Bytes::copy_from_slice(&span_id.0),
        start_nanos: spans.start[row],
        // The duration of a span that ends before it starts has wrapped. The span is shown without a duration.
        duration_nanos: i64::try_from(spans.duration[row]).map_or(0, i64::unsigned_abs),
        service: text(service),
        name: text(spans.name[row]),
        kind: spans.kind[row].into(),
        status: spans.status[row].into(),
        status_message: text(spans.status_message[row]),
        attributes: Vec::new(),
    }
}

/// The beginning of a text, cut at a character boundary.
fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push('…');
    }
    text
}
