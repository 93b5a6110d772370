//! A trace of OTLP as JSON.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use prost::Message as _;
use tactus_model::TraceId;
use tactus_proto::jaeger::api_v2;
use tactus_proto::otlp::{self, InstrumentationScope, ResourceSpans, ScopeSpans};

use super::messages::{Span, Trace, process_name};
use crate::from_otlp;

/// A whole trace, with warnings that are about all of it.
#[cfg(test)]
pub(crate) fn trace(
    id: TraceId,
    resource_spans: Vec<ResourceSpans>,
    warnings: Vec<String>,
) -> Trace {
    let (mut built, mut left) = (TraceParts::default(), SpansLeft::default());
    left.add(resource_spans);
    let spans = std::iter::from_fn(|| built.next_span(&mut left)).collect();
    Trace { spans, ..built.finish(id, warnings) }
}

/// Spans of a trace that are not converted yet.
#[derive(Debug, Default)]
pub(super) struct SpansLeft {
    resources: VecDeque<ResourceSpans>,
    /// Of the current resource.
    process: String,
    scopes: std::vec::IntoIter<ScopeSpans>,
    scope: Option<InstrumentationScope>,
    spans: std::vec::IntoIter<otlp::Span>,
}

impl SpansLeft {
    pub(super) fn add(&mut self, resource_spans: Vec<ResourceSpans>) {
        self.resources.extend(resource_spans.into_iter().filter(has_spans));
    }
}

/// What a trace has besides its spans, of which some come at a time.
#[derive(Debug, Default)]
pub(super) struct TraceParts {
    /// The places of the processes, as messages.
    places: HashMap<Bytes, usize>,
    processes: Vec<Bytes>,
    /// Of the spans so far, unix nanoseconds.
    times: Option<(u64, u64)>,
    /// Bytes of the processes as messages.
    pub(super) process_bytes: usize,
}

impl TraceParts {
    /// The next span. Those of the same process name it alike.
    pub(super) fn next_span(&mut self, left: &mut SpansLeft) -> Option<Span> {
        loop {
            if let Some(span) = left.spans.next() {
                self.add_times(span.start_time_unix_nano, span.end_time_unix_nano);
                let span = from_otlp::span(left.scope.as_ref(), &span);
                return Some(Span { span, process_id: left.process.clone() });
            }
            if let Some(of_scope) = left.scopes.next() {
                (left.scope, left.spans) = (of_scope.scope, of_scope.spans.into_iter());
                continue;
            }
            let of_resource = left.resources.pop_front()?;
            left.process = self.name_of(&from_otlp::process(of_resource.resource.as_ref()));
            left.scopes = of_resource.scope_spans.into_iter();
        }
    }

    fn name_of(&mut self, process: &api_v2::Process) -> String {
        let message = Bytes::from(process.encode_to_vec());
        let place = *self.places.entry(message).or_insert_with_key(|message| {
            self.processes.push(message.clone());
            self.process_bytes += message.len();
            self.processes.len() - 1
        });
        process_name(place)
    }

    fn add_times(&mut self, start: u64, end: u64) {
        let end = end.max(start);
        let (first, last) = self.times.unwrap_or((start, end));
        self.times = Some((first.min(start), last.max(end)));
    }

    /// The trace without its spans.
    pub(super) fn finish(self, id: TraceId, warnings: Vec<String>) -> Trace {
        let (start, end) = self.times.unwrap_or_default();
        Trace {
            trace_id: id.to_hex_by_half(),
            spans: Vec::new(),
            processes: self.processes,
            warnings: (!warnings.is_empty()).then_some(warnings),
            start_time: start / 1_000,
            duration: (end - start) / 1_000,
        }
    }
}

fn has_spans(resource: &ResourceSpans) -> bool {
    resource.scope_spans.iter().any(|scope| !scope.spans.is_empty())
}
