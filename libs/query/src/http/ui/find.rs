//! TraceQL inside one trace: which of its spans match.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tactus_api::request::parse_traceql;
use tactus_api::trace::CombinedTrace;
use tactus_api::{Error, Result};
use tactus_model::wire::{put_message_field, put_message_frame};
use tactus_model::{BatchBuilder, KnownOwners, SpanBatch, TraceId};
use tactus_traceql::RootExpr;
use tactus_traceql::eval::{CompiledQuery, Window};
use tactus_work::{UNITS_OF_WRITTEN_SPAN, tick};

use super::skeleton::Skeleton;
use crate::trace_by_id::malformed;

mod large;

pub(super) use large::{Found, find_in};

/// Number of the spans in a ScopeSpans message.
const SPANS: u32 = 2;

/// Of the id of a trace as a field of a span.
const TRACE_ID_BYTES: usize = 18;

/// A text that is to find spans of a trace.
pub(super) enum Finding {
    Query(Box<CompiledQuery>),
    /// Why it is no query, as a page is told. Most texts are none while somebody writes them, which is nothing that a browser
    /// should report as an error.
    Problem(String),
}

impl Finding {
    pub(super) fn of(text: &str, max_query_bytes: usize) -> Self {
        match parse_traceql(text, max_query_bytes).and_then(|root| compile(&root)) {
            Ok(query) => Self::Query(Box::new(query)),
            Err(error) => Self::Problem(error.to_string()),
        }
    }
}

/// What a page is told of a text that is no query.
pub(super) fn problem(text: &str) -> Value {
    json!({ "problem": text })
}

/// Errors: [`Error::Invalid`] for a query that finds no spans.
fn compile(root: &RootExpr) -> Result<CompiledQuery> {
    if root.metrics().is_some() {
        return Err(Error::Invalid("a metrics query finds no spans".to_owned()));
    }
    CompiledQuery::compile(root).map_err(|error| Error::NotImplemented(error.to_string()))
}

/// What the page gets: see [`super::traces::find`].
pub(super) fn rows(trace: &CombinedTrace, id: TraceId, query: &CompiledQuery) -> Result<Value> {
    let matched = matched(trace, id, query)?;
    let skeleton = Skeleton::of(trace).map_err(malformed)?;
    Ok(rows_of(skeleton.order(), &matched))
}

/// `order`: which span each row shows. `matched`: if the query matches it, by span.
fn rows_of(order: &[u32], matched: &[bool]) -> Value {
    let mut bitmap = vec![0u8; matched.len().div_ceil(8)];
    for (row, &span) in order.iter().enumerate() {
        if matched[span as usize] {
            bitmap[row / 8] |= 1 << (row % 8);
        }
    }
    json!({
        "spans": matched.len(),
        "matched": matched.iter().filter(|matched| **matched).count(),
        "rows": STANDARD.encode(bitmap),
    })
}

/// For each span, in the order of the trace, if the query matches it.
fn matched(trace: &CombinedTrace, id: TraceId, query: &CompiledQuery) -> Result<Vec<bool>> {
    let mut rows = Rows::default();
    rows.append(trace, id)?;
    let (batch, span_of_row) = (rows.builder.finish(), rows.span_of_row);
    matched_in(&batch, query, rows.spans, |row| span_of_row[row])
}

/// Errors: the query cannot be evaluated.
fn matched_in(
    batch: &SpanBatch,
    query: &CompiledQuery,
    spans: usize,
    span_of_row: impl Fn(usize) -> usize,
) -> Result<Vec<bool>> {
    let found = query
        .find_matches(batch, Window::default())
        .map_err(|error| Error::Invalid(error.to_string()))?;
    let mut matched = vec![false; spans];
    for set in found.traces.iter().flat_map(|trace| &trace.span_sets) {
        for &row in &set.rows {
            matched[span_of_row(row as usize)] = true;
        }
    }
    Ok(matched)
}

/// Spans of a trace as rows of a batch.
#[derive(Default)]
struct Rows {
    builder: BatchBuilder,
    /// Spans so far. Those with ids that TraceQL cannot have, or with a resource that is nested too deeply, become no row.
    spans: usize,
    span_of_row: Vec<usize>,
    message: Vec<u8>,
}

impl Rows {
    fn append(&mut self, trace: &CombinedTrace, id: TraceId) -> Result<()> {
        let mut owners = KnownOwners::default();
        for (resource, scope, messages) in trace.spans_by_scope() {
            let rows = self.builder.owners(&mut owners, resource, scope).map_err(malformed)?;
            let Some((resource, scope)) = rows else {
                self.spans += messages.len();
                continue;
            };
            for span in messages {
                if tick(UNITS_OF_WRITTEN_SPAN) {
                    return Err(Error::Cancelled);
                }
                self.message.clear();
                // Spans of a part have no id of their trace.
                put_message_frame(&mut self.message, SPANS, TRACE_ID_BYTES + span.len());
                put_message_field(&mut self.message, 1, &id.0);
                self.message.extend_from_slice(span);
                self.builder
                    .append_scope_spans(resource, scope, &self.message, |_, _| true)
                    .map_err(malformed)?;
                if self.builder.len() > self.span_of_row.len() {
                    self.span_of_row.push(self.spans);
                }
                self.spans += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::large_resource_of_many_scopes;

    #[test]
    fn large_resource_is_looked_up_once_for_all_its_scopes() {
        let trace = CombinedTrace::of_message(&large_resource_of_many_scopes()).unwrap();
        let mut rows = Rows::default();
        let began = std::time::Instant::now();
        rows.append(&trace, TraceId([7; 16])).unwrap();
        assert!(began.elapsed().as_secs() < 5);
        assert_eq!((rows.spans, rows.builder.len()), (10_000, 10_000));
    }
}
