//! TraceQL inside one trace: which of its spans match.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tactus_api::request::parse_traceql;
use tactus_api::trace::CombinedTrace;
use tactus_api::{Error, Result};
use tactus_model::wire::put_message_field;
use tactus_model::{BatchBuilder, BuilderLimits};
use tactus_traceql::RootExpr;
use tactus_traceql::eval::{CompiledQuery, Window};

use super::skeleton::Skeleton;
use crate::trace_by_id::malformed;

/// Number of the spans in a ScopeSpans message.
const SPANS: u32 = 2;

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
pub(super) fn rows(trace: &CombinedTrace, query: &CompiledQuery) -> Result<Value> {
    let matched = matched(trace, query)?;
    let skeleton = Skeleton::of(trace).map_err(malformed)?;
    let mut bitmap = vec![0u8; matched.len().div_ceil(8)];
    for (row, &span) in skeleton.order().iter().enumerate() {
        if matched[span as usize] {
            bitmap[row / 8] |= 1 << (row % 8);
        }
    }
    Ok(json!({
        "spans": matched.len(),
        "matched": matched.iter().filter(|matched| **matched).count(),
        "rows": STANDARD.encode(bitmap),
    }))
}

/// For each span, in the order of the trace, if the query matches it.
fn matched(trace: &CombinedTrace, query: &CompiledQuery) -> Result<Vec<bool>> {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    // Spans with ids that TraceQL cannot have become no row.
    let mut span_of_row = Vec::with_capacity(trace.spans());
    let (mut spans, mut message) = (0, Vec::new());
    for (resource, scope, messages) in trace.spans_by_scope() {
        let resource = builder.resource(resource).map_err(malformed)?;
        let scope = builder.scope(scope).map_err(malformed)?;
        for span in messages {
            message.clear();
            put_message_field(&mut message, SPANS, span);
            builder
                .append_scope_spans(resource, scope, &message, |_, _| true)
                .map_err(malformed)?;
            if builder.len() > span_of_row.len() {
                span_of_row.push(spans);
            }
            spans += 1;
        }
    }
    let found = query
        .find_matches(&builder.finish(), Window::default())
        .map_err(|error| Error::Invalid(error.to_string()))?;
    let mut matched = vec![false; spans];
    for set in found.traces.iter().flat_map(|trace| &trace.span_sets) {
        for &row in &set.rows {
            matched[span_of_row[row as usize]] = true;
        }
    }
    Ok(matched)
}
