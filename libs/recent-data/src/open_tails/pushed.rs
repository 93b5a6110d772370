//! Pushes in the form that live tails need, and the filter on their spans.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tactus_model::{
    AppendError, BatchBuilder, BuilderLimits, SpanBatch, SpanId, TenantId, TraceId,
};
use tactus_proto::tactus::v1::{PushRequest, TailAttribute, TailResponse, TailRun, TailSpan};
use tactus_traceql::eval::{CompiledQuery, MatchedSpanSet, Matches, SearchOptions, Window};

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
        let Ok(mut matches) = self.filter.query.find_matches(batch, Window::default()) else {
            // Only operators on several spansets can fail, and a filter of a live tail has none.
            self.response.skipped_spans += batch.len() as u64;
            return;
        };
        let mut rows: Vec<usize> = span_sets(&matches).flat_map(rows_of).collect();
        rows.sort_unstable();
        let shown = rows.len().min(self.may_show);
        self.may_show -= shown;
        keep_until(&mut matches, rows[..shown].last().copied());
        let mut attributes = self.attributes(batch, &matches);
        let mut runs: Vec<TailRun> = Vec::new();
        let mut run_of: HashMap<u64, usize> = HashMap::new();
        for (place, &row) in rows.iter().enumerate() {
            let origin = batch.spans.origin.get(row).copied().unwrap_or(0);
            let run = *run_of.entry(origin).or_insert_with(|| {
                runs.push(TailRun { origin, ..TailRun::default() });
                runs.len() - 1
            });
            runs[run].matched_spans += 1;
            if place < shown {
                let mut span = shown_span(batch, row);
                span.attributes = attributes.remove(&ids(batch, row)).unwrap_or_default();
                runs[run].spans.push(span);
            }
        }
        self.response.runs.extend(runs);
    }

    /// The attributes that the query names, for all spans that match.
    fn attributes(
        &self,
        batch: &SpanBatch,
        matches: &Matches,
    ) -> HashMap<(TraceId, SpanId), Vec<TailAttribute>> {
        let all = SearchOptions { limit: 0, spans_per_span_set: 0 };
        let mut attributes = HashMap::new();
        for trace in self.filter.query.assemble(batch, matches, &all) {
            for span in trace.span_sets.into_iter().flat_map(|set| set.spans) {
                let shown = span.attributes.into_iter().take(MAX_ATTRIBUTES);
                let shown = shown.map(|(key, value)| TailAttribute {
                    key: cut(key.to_string()),
                    value: cut(value.to_string()),
                });
                attributes.insert((trace.trace_id, span.span_id), shown.collect());
            }
        }
        attributes
    }
}

fn span_sets(matches: &Matches) -> impl Iterator<Item = &MatchedSpanSet> {
    matches.traces.iter().flat_map(|trace| &trace.span_sets)
}

fn rows_of(set: &MatchedSpanSet) -> impl Iterator<Item = usize> {
    set.rows.iter().map(|&row| row as usize)
}

/// Drops the matches after row `last`; all if `None`.
fn keep_until(matches: &mut Matches, last: Option<usize>) {
    for trace in &mut matches.traces {
        for set in &mut trace.span_sets {
            set.rows.retain(|&row| last.is_some_and(|last| row as usize <= last));
        }
        trace.span_sets.retain(|set| !set.rows.is_empty());
    }
    matches.traces.retain(|trace| !trace.span_sets.is_empty());
}

fn ids(batch: &SpanBatch, row: usize) -> (TraceId, SpanId) {
    (batch.traces.ids[batch.spans.trace[row] as usize], batch.spans.span_id[row])
}

fn shown_span(batch: &SpanBatch, row: usize) -> TailSpan {
    let (spans, strings) = (&batch.spans, &batch.strings);
    let (trace_id, span_id) = ids(batch, row);
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
