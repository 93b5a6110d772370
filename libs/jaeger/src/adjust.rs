//! Makes traces easier to read: what is missing gets a name, what clients write in odd forms gets the usual one.
//!
//! Stored spans stay as they are; this is for answers. What is to be known of a span goes into its attribute
//! [`WARNINGS`](crate::from_otlp::WARNINGS).

mod clock_skew;
mod duplicates;
mod sanitize;
mod shared_ids;
#[cfg(test)]
mod tests;
mod tidy;
mod warnings;

use std::time::Duration;

use tactus_proto::otlp::{ResourceSpans, Span};

/// Adjusts the spans of one trace. `max_clock_skew`: the longest time by which a span is moved to make up for the clock of
/// its host. Zero moves none, and spans that would be moved say so.
pub fn adjust(trace: &mut [ResourceSpans], max_clock_skew: Duration) {
    for resource in trace.iter_mut() {
        sanitize::resource(resource);
    }
    shared_ids::separate(trace);
    for resource in trace.iter_mut() {
        tidy::resource(resource);
    }
    duplicates::remove(trace);
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
        warnings.iter().for_each(|warning| warnings::warn(span, warning.clone()));
    }
}

fn spans(trace: &[ResourceSpans]) -> impl Iterator<Item = &Span> {
    trace.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans)
}

fn spans_mut(trace: &mut [ResourceSpans]) -> impl Iterator<Item = &mut Span> {
    let scopes = trace.iter_mut().flat_map(|resource| &mut resource.scope_spans);
    scopes.flat_map(|scope| &mut scope.spans)
}
