//! Traces in messages of a bounded size.
//!
//! Many clients take no message above 4 MiB. A message holds spans of one trace only, and none is empty.

use prost::Message as _;
use prost::encoding::encoded_len_varint;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::otlp::{ResourceSpans, ScopeSpans, Span};

/// About the size of a message, in bytes. A single span may be larger.
pub(super) const MESSAGE_BYTES: usize = 1 << 20;

/// Spans of Jaeger's model in a message.
pub(super) const MESSAGE_SPANS: usize = 10;

/// A trace in messages of about `max_bytes`: spans in their order, each under its resource and scope.
pub(super) fn of_otlp(data: TracesData, max_bytes: usize) -> Vec<TracesData> {
    if data.encoded_len() <= max_bytes {
        let has_spans = spans(&data) > 0;
        return has_spans.then_some(data).into_iter().collect();
    }
    let mut chunks = Chunks { max_bytes, bytes: 0, done: Vec::new(), open: Vec::new() };
    for mut of_resource in data.resource_spans {
        let scopes = std::mem::take(&mut of_resource.scope_spans);
        for mut of_scope in scopes {
            let spans = std::mem::take(&mut of_scope.spans);
            chunks.add(&of_resource, &of_scope, spans);
        }
    }
    chunks.close();
    chunks.done
}

/// How many spans there are.
pub(super) fn spans(data: &TracesData) -> usize {
    let scopes = data.resource_spans.iter().flat_map(|spans| &spans.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

/// Items in groups of at most `size`.
pub(super) fn in_groups<I, M>(items: Vec<I>, size: usize, message: impl Fn(Vec<I>) -> M) -> Vec<M> {
    let mut messages = Vec::with_capacity(items.len().div_ceil(size));
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        messages.push(message(items.by_ref().take(size).collect()));
    }
    messages
}

struct Chunks {
    max_bytes: usize,
    /// About the size of what is open.
    bytes: usize,
    done: Vec<TracesData>,
    open: Vec<ResourceSpans>,
}

impl Chunks {
    /// Adds the spans of a scope. `of_resource` and `of_scope` are without spans.
    fn add(&mut self, of_resource: &ResourceSpans, of_scope: &ScopeSpans, spans: Vec<Span>) {
        let head = of_resource.encoded_len() + of_scope.encoded_len();
        let mut is_continued = false;
        for span in spans {
            let length = span.encoded_len();
            let length = length + encoded_len_varint(length as u64) + 1;
            let head = if is_continued { 0 } else { head };
            if self.bytes > 0 && self.bytes + head + length > self.max_bytes {
                self.close();
                is_continued = false;
            }
            match self.open.last_mut().and_then(|resource| resource.scope_spans.last_mut()) {
                Some(scope) if is_continued => {
                    scope.spans.push(span);
                    self.bytes += length;
                }
                _ => {
                    let scope = ScopeSpans { spans: vec![span], ..of_scope.clone() };
                    self.open
                        .push(ResourceSpans { scope_spans: vec![scope], ..of_resource.clone() });
                    self.bytes += length + of_resource.encoded_len() + of_scope.encoded_len();
                    is_continued = true;
                }
            }
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(TracesData { resource_spans: std::mem::take(&mut self.open) });
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_proto::otlp::{InstrumentationScope, Resource};

    use super::*;

    /// A trace of resources of scopes of this many spans, whose names count from 0.
    fn trace(resources: &[Vec<usize>]) -> TracesData {
        let mut number = 0;
        let mut resource_spans = Vec::new();
        for (index, scopes) in resources.iter().enumerate() {
            let mut scope_spans = Vec::new();
            for (scope, &count) in scopes.iter().enumerate() {
                let spans = (0..count).map(|_| {
                    number += 1;
                    Span { name: (number - 1).to_string().into(), ..Span::default() }
                });
                let spans = spans.collect();
                let name = format!("scope {scope}").into();
                let scope = Some(InstrumentationScope { name, ..Default::default() });
                scope_spans.push(ScopeSpans { scope, spans, ..Default::default() });
            }
            let schema_url = format!("resource {index}").into();
            let resource = Some(Resource::default());
            resource_spans.push(ResourceSpans {
                resource,
                scope_spans,
                schema_url,
                ..Default::default()
            });
        }
        TracesData { resource_spans }
    }

    /// Resource, scope and name of each span.
    fn flat(data: &TracesData) -> Vec<String> {
        let mut lines = Vec::new();
        for resource in &data.resource_spans {
            for scope in &resource.scope_spans {
                for span in &scope.spans {
                    let name = scope.scope.as_ref().map(|scope| scope.name.clone());
                    lines.push(format!("{:?} {name:?} {:?}", resource.schema_url, span.name));
                }
            }
        }
        lines
    }

    #[test]
    fn small_trace_is_one_message_and_one_without_spans_none() {
        let small = trace(&[vec![2, 1], vec![1]]);
        assert_eq!(of_otlp(small.clone(), 1 << 20), [small]);
        assert!(of_otlp(trace(&[vec![0]]), 1 << 20).is_empty());
        assert!(of_otlp(trace(&[vec![0], vec![]]), 1).is_empty());
    }

    #[test]
    fn spans_are_sent_by_tens() {
        let lengths = |count: usize| in_groups(vec![(); count], MESSAGE_SPANS, |spans| spans.len());
        assert_eq!(lengths(0), [0; 0]);
        assert_eq!(lengths(10), [10]);
        assert_eq!(lengths(21), [10, 10, 1]);
    }

    proptest! {
        #[test]
        fn messages_hold_all_spans_in_order_and_are_bounded(
            resources in prop::collection::vec(prop::collection::vec(0usize..20, 0..4), 0..4),
            max_bytes in 1usize..400,
        ) {
            let whole = trace(&resources);
            let messages = of_otlp(whole.clone(), max_bytes);
            let found: Vec<_> = messages.iter().flat_map(flat).collect();
            prop_assert_eq!(found, flat(&whole));
            for message in &messages {
                prop_assert!(spans(message) > 0);
                // Lengths of nested messages are not counted exactly.
                prop_assert!(spans(message) == 1 || message.encoded_len() <= max_bytes + 40 * message.resource_spans.len());
            }
        }
    }
}
