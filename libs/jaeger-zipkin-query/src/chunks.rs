//! Traces in messages of a bounded size.
//!
//! Many clients take no message above 4 MiB. A message holds spans of one trace only, and none is empty.

use std::iter::Peekable;
use std::sync::Arc;

use prost::Message as _;
use tactus_model::wire::field_size;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::otlp::{ResourceSpans, ScopeSpans, Span};

/// About the size of a message, in bytes. A single span may be larger.
pub(crate) const MESSAGE_BYTES: usize = 1 << 20;

/// Items of Jaeger's model in a message: spans, as Jaeger sends them.
pub(crate) const MESSAGE_SPANS: usize = 10;

/// A trace in messages of about `max_bytes`, each with its size: spans in their order, each under its resource and scope. A
/// resource of more bytes comes with at least as many bytes of spans.
pub(crate) fn of_otlp(
    data: TracesData,
    max_bytes: usize,
) -> Box<dyn Iterator<Item = (TracesData, usize)> + Send> {
    let bytes = data.encoded_len();
    if bytes <= max_bytes {
        let has_spans = spans(&data) > 0;
        return Box::new(has_spans.then_some((data, bytes)).into_iter());
    }
    Box::new(Chunks { max_bytes, spans: placed_spans(data).peekable() })
}

fn spans(data: &TracesData) -> usize {
    let scopes = data.resource_spans.iter().flat_map(|spans| &spans.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

/// Items in messages of at most `max_items` and about [`MESSAGE_BYTES`], each with its size.
pub(crate) fn in_groups<I: prost::Message, M>(
    items: impl Iterator<Item = I>,
    max_items: usize,
    message: impl Fn(Vec<I>) -> M,
) -> impl Iterator<Item = (M, usize)> {
    let mut items = items.peekable();
    std::iter::from_fn(move || {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < max_items
            && let Some(length) = items.peek().map(prost::Message::encoded_len)
            && (group.is_empty() || bytes + length <= MESSAGE_BYTES)
        {
            group.extend(items.next());
            bytes += length;
        }
        (!group.is_empty()).then(|| (message(group), bytes))
    })
}

/// A span and where it belongs: a resource and a scope without spans, of so many bytes.
struct PlacedSpan {
    of_resource: Arc<ResourceSpans>,
    of_scope: Arc<ScopeSpans>,
    head_bytes: usize,
    span: Span,
}

fn placed_spans(data: TracesData) -> impl Iterator<Item = PlacedSpan> + Send {
    data.resource_spans.into_iter().flat_map(|mut of_resource| {
        let scopes = std::mem::take(&mut of_resource.scope_spans);
        let of_resource = Arc::new(of_resource);
        scopes.into_iter().flat_map(move |mut of_scope| {
            let spans = std::mem::take(&mut of_scope.spans);
            let head_bytes = of_resource.encoded_len() + of_scope.encoded_len();
            let (of_resource, of_scope) = (Arc::clone(&of_resource), Arc::new(of_scope));
            spans.into_iter().map(move |span| PlacedSpan {
                of_resource: Arc::clone(&of_resource),
                of_scope: Arc::clone(&of_scope),
                head_bytes,
                span,
            })
        })
    })
}

struct Chunks<I: Iterator> {
    max_bytes: usize,
    spans: Peekable<I>,
}

impl<I: Iterator<Item = PlacedSpan>> Iterator for Chunks<I> {
    type Item = (TracesData, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut bytes, mut open) = (0, Vec::<ResourceSpans>::new());
        let mut current: Option<Arc<ScopeSpans>> = None;
        while let Some(next) = self.spans.peek() {
            let is_continued = current.as_ref().is_some_and(|it| Arc::ptr_eq(it, &next.of_scope));
            let length = field_size(next.span.encoded_len());
            let head = if is_continued { 0 } else { next.head_bytes };
            let max_bytes = self.max_bytes.max(2 * next.head_bytes);
            if bytes > 0 && bytes + head + length > max_bytes {
                break;
            }
            let Some(PlacedSpan { of_resource, of_scope, span, .. }) = self.spans.next() else {
                break;
            };
            bytes += head + length;
            match open.last_mut().and_then(|resource| resource.scope_spans.last_mut()) {
                Some(scope) if is_continued => scope.spans.push(span),
                _ => {
                    let scope = ScopeSpans { spans: vec![span], ..(*of_scope).clone() };
                    let resource = (*of_resource).clone();
                    open.push(ResourceSpans { scope_spans: vec![scope], ..resource });
                }
            }
            current = Some(of_scope);
        }
        (!open.is_empty()).then_some((TracesData { resource_spans: open }, bytes))
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
        let messages: Vec<_> = of_otlp(small.clone(), 1 << 20).collect();
        assert_eq!(messages, [(small.clone(), small.encoded_len())]);
        assert!(of_otlp(trace(&[vec![0]]), 1 << 20).next().is_none());
        assert!(of_otlp(trace(&[vec![0], vec![]]), 1).next().is_none());
    }

    #[test]
    fn spans_are_sent_by_tens_and_large_ones_alone() {
        let lengths = |spans: Vec<Span>| -> Vec<_> {
            in_groups(spans.into_iter(), MESSAGE_SPANS, |spans| spans.len()).collect()
        };
        let lengths_of = |count: usize| lengths(vec![Span::default(); count]);
        assert_eq!(lengths_of(0), []);
        assert_eq!(lengths_of(10), [(10, 0)]);
        assert_eq!(lengths_of(21), [(10, 0), (10, 0), (1, 0)]);
        let large = Span { name: vec![b'n'; MESSAGE_BYTES].into(), ..Span::default() };
        let sent = lengths(vec![Span::default(), large.clone(), large.clone()]);
        assert_eq!(sent.iter().map(|(spans, _)| *spans).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn large_resource_is_not_sent_with_each_span() {
        let mut whole = trace(&[vec![1_000]]);
        whole.resource_spans[0].schema_url = "s".repeat(5_000).into();
        let messages: Vec<_> = of_otlp(whole.clone(), 100).collect();
        let bytes: usize = messages.iter().map(|(_, bytes)| bytes).sum();
        assert!(messages.len() > 1 && bytes < 2 * whole.encoded_len(), "{bytes}");
    }

    proptest! {
        #[test]
        fn messages_hold_all_spans_in_order_and_are_bounded(
            resources in prop::collection::vec(prop::collection::vec(0usize..20, 0..4), 0..4),
            max_bytes in 1usize..400,
        ) {
            let whole = trace(&resources);
            let messages: Vec<_> = of_otlp(whole.clone(), max_bytes).collect();
            let found: Vec<_> = messages.iter().flat_map(|(message, _)| flat(message)).collect();
            prop_assert_eq!(found, flat(&whole));
            for (message, bytes) in &messages {
                prop_assert!(spans(message) > 0);
                // Lengths of nested messages are not counted exactly, and a head of 20 bytes has as many of spans.
                let resources = message.resource_spans.len();
                prop_assert!(spans(message) == 1 || message.encoded_len() <= max_bytes.max(60) + 40 * resources);
                prop_assert!(message.encoded_len() <= bytes + 40 * resources);
            }
        }
    }
}
