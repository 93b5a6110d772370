//! A trace of OTLP as JSON.

use std::collections::{HashMap, VecDeque};

use prost::Message as _;
use prost_types::{Duration, Timestamp};
use tactus_model::{SpanId, TraceId, bytes_to_hex};
use tactus_proto::jaeger::api_v2;
use tactus_proto::lossy;
use tactus_proto::otlp::{self, InstrumentationScope, ResourceSpans, ScopeSpans};

use super::{Log, Process, Reference, Span, Trace, tag};
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
    /// By the process as a message.
    names: HashMap<Vec<u8>, String>,
    processes: Vec<(String, Process)>,
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
                return Some(shown_span(&span, left.process.clone()));
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
        let message = process.encode_to_vec();
        if let Some(name) = self.names.get(&message) {
            return name.clone();
        }
        let name = format!("p{}", self.processes.len() + 1);
        self.processes.push((name.clone(), shown_process(process)));
        self.process_bytes += message.len();
        self.names.insert(message, name.clone());
        name
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
            trace_id: shown_trace_id(id),
            spans: Vec::new(),
            processes: self.processes,
            warnings: some(warnings),
            start_time: start / 1_000,
            duration: (end - start) / 1_000,
        }
    }
}

fn has_spans(resource: &ResourceSpans) -> bool {
    resource.scope_spans.iter().any(|scope| !scope.spans.is_empty())
}

fn shown_process(process: &api_v2::Process) -> Process {
    Process {
        service_name: lossy(&process.service_name).into_owned(),
        tags: process.tags.iter().map(tag).collect(),
    }
}

fn shown_span(span: &api_v2::Span, process_id: String) -> Span {
    let warnings = span.warnings.iter().map(|warning| lossy(warning).into_owned()).collect();
    Span {
        trace_id: shown_trace_id(TraceId::from_slice(&span.trace_id)),
        span_id: shown_span_id(&span.span_id),
        operation_name: lossy(&span.operation_name).into_owned(),
        references: span.references.iter().map(reference).collect(),
        start_time: span.start_time.as_ref().map_or(0, timestamp_micros),
        duration: span.duration.as_ref().map_or(0, duration_micros),
        tags: span.tags.iter().map(tag).collect(),
        logs: span.logs.iter().map(log).collect(),
        process_id,
        warnings: some(warnings),
    }
}

fn reference(reference: &api_v2::SpanRef) -> Reference {
    let is_child = reference.ref_type == i32::from(api_v2::SpanRefType::ChildOf);
    Reference {
        ref_type: if is_child { "CHILD_OF" } else { "FOLLOWS_FROM" },
        trace_id: shown_trace_id(TraceId::from_slice(&reference.trace_id)),
        span_id: shown_span_id(&reference.span_id),
    }
}

fn log(log: &api_v2::Log) -> Log {
    Log {
        timestamp: log.timestamp.as_ref().map_or(0, timestamp_micros),
        fields: log.fields.iter().map(tag).collect(),
    }
}

/// An id as answers show it: 16 digits if the high half is zero, else 32.
pub fn shown_trace_id(id: TraceId) -> String {
    match id.0.split_at(8) {
        ([0, 0, 0, 0, 0, 0, 0, 0], low) => bytes_to_hex(low),
        _ => id.to_hex(),
    }
}

fn shown_span_id(id: &[u8]) -> String {
    SpanId::from_slice(id).to_hex()
}

fn timestamp_micros(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos / 1_000))
}

fn duration_micros(duration: &Duration) -> i64 {
    duration.seconds.saturating_mul(1_000_000).saturating_add(i64::from(duration.nanos / 1_000))
}

fn some(warnings: Vec<String>) -> Option<Vec<String>> {
    (!warnings.is_empty()).then_some(warnings)
}
