//! Makes traces easier to read: gives names to what has none, and converts unusual forms to the usual one.
//!
//! Only answers are changed, not the stored spans. Remarks about a span go into its attribute
//! [`WARNINGS`](crate::from_otlp::WARNINGS).

mod clock_skew;
mod sanitize;
mod text;
mod tidy;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, ArrayValue, KeyValue, ResourceSpans, Span};

use crate::from_otlp::WARNINGS;
pub use sanitize::{EMPTY_SERVICE, MISSING_SERVICE, NO_TEXT_SERVICE};
pub use text::replace_invalid_text;

/// Adjusts the spans of one trace. `max_clock_skew`: the longest time by which a span is moved to make up for the clock of
/// its host. Zero moves none, and spans that would be moved say so.
pub fn adjust(trace: &mut [ResourceSpans], max_clock_skew: Duration) {
    for resource in trace.iter_mut() {
        sanitize::resource(resource);
    }
    separate_shared_ids(trace);
    for resource in trace.iter_mut() {
        tidy::resource(resource);
    }
    remove_duplicates(trace);
    clock_skew::adjust(trace, max_clock_skew);
}

/// Leaves the first `max` spans of a trace, and returns what there is to say of it if there were more.
pub fn cut(trace: &mut Vec<ResourceSpans>, max: usize) -> Option<String> {
    if spans(trace).count() <= max {
        return None;
    }
    let mut left = max;
    for resource in trace.iter_mut() {
        for scope in &mut resource.scope_spans {
            scope.spans.truncate(left);
            left -= scope.spans.len();
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    trace.retain(|resource| !resource.scope_spans.is_empty());
    Some(too_large_warning(max))
}

/// What there is to say of a trace of which only so many spans are shown.
pub fn too_large_warning(spans: usize) -> String {
    format!("trace has more than {spans} spans, showing first {spans} spans only")
}

/// Says on its root what is to be known of a trace as a whole, where an answer has no other place for it. A trace
/// without a root says it on its first span.
pub fn warn_on_root(trace: &mut [ResourceSpans], warnings: &[String]) {
    let is_root = |span: &Span| span.parent_span_id.iter().all(|&byte| byte == 0);
    let root = spans(trace).position(is_root).unwrap_or(0);
    if let Some(span) = spans_mut(trace).nth(root) {
        warnings.iter().for_each(|warning| warn(span, warning.clone()));
    }
}

fn spans(trace: &[ResourceSpans]) -> impl Iterator<Item = &Span> + Clone {
    trace.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans)
}

fn spans_mut(trace: &mut [ResourceSpans]) -> impl Iterator<Item = &mut Span> {
    let scopes = trace.iter_mut().flat_map(|resource| &mut resource.scope_spans);
    scopes.flat_map(|scope| &mut scope.spans)
}

/// Leaves the first of spans that are equal, their resource and scope included.
fn remove_duplicates(trace: &mut [ResourceSpans]) {
    let mut counts: HashMap<Bytes, usize> = HashMap::new();
    for span in spans(trace) {
        *counts.entry(span.span_id.clone()).or_default() += 1;
    }
    counts.retain(|_, count| *count > 1);
    if counts.is_empty() {
        return;
    }
    // Messages by number: a span has not its own copy of a large resource.
    let mut numbers: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut number = |message: Vec<u8>| {
        let next = numbers.len();
        *numbers.entry(message).or_insert(next)
    };
    let mut seen: HashSet<(usize, usize, Vec<u8>)> = HashSet::new();
    for resource in trace {
        let of_resource = resource.resource.as_ref().map_or_else(Vec::new, |r| r.encode_to_vec());
        let of_resource = number(of_resource);
        for scope in &mut resource.scope_spans {
            let of_scope = scope.scope.as_ref().map_or_else(Vec::new, |s| s.encode_to_vec());
            let of_scope = number(of_scope);
            scope.spans.retain(|span| {
                !counts.contains_key(&span.span_id)
                    || seen.insert((of_resource, of_scope, span.encode_to_vec()))
            });
        }
    }
}

/// As [`tactus_model::separate_shared_ids`].
fn separate_shared_ids(trace: &mut [ResourceSpans]) {
    let kind = |span: &Span| u64::try_from(span.kind).unwrap_or_default();
    let known =
        spans(trace).map(|span| (span.span_id.clone(), span.parent_span_id.clone(), kind(span)));
    let new_id = |number: u64| Bytes::copy_from_slice(&number.to_be_bytes());
    let mut changes = tactus_model::separate_shared_ids(known, new_id);
    for (place, span) in spans_mut(trace).enumerate() {
        if let Some(ids) = changes.remove(&place) {
            (span.span_id, span.parent_span_id) = ids;
        }
    }
}

/// Adds a warning to a span.
fn warn(span: &mut Span, warning: String) {
    let warning = AnyValue { value: Some(Value::StringValue(warning.into())) };
    let mut attributes = span.attributes.iter_mut();
    let existing = attributes.find(|attribute| attribute.key == WARNINGS);
    if let Some(KeyValue {
        value: Some(AnyValue { value: Some(Value::ArrayValue(array)) }), ..
    }) = existing
    {
        array.values.push(warning);
        return;
    }
    let array = Value::ArrayValue(ArrayValue { values: vec![warning] });
    span.attributes.push(KeyValue {
        key: Bytes::from_static(WARNINGS.as_bytes()),
        value: Some(AnyValue { value: Some(array) }),
    });
}

#[cfg(test)]
mod tests;
