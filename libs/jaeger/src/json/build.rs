//! A trace of OTLP as JSON.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::{Duration, Timestamp};
use tactus_model::{SpanId, TraceId, bytes_to_hex};
use tactus_proto::jaeger::api_v2;
use tactus_proto::lossy;
use tactus_proto::otlp::ResourceSpans;

use super::{Log, Process, Reference, Span, Trace, tag};
use crate::from_otlp;

/// The JSON of a trace, with warnings that are about all of it.
pub fn trace(id: TraceId, resource_spans: &[ResourceSpans], warnings: Vec<String>) -> Trace {
    let mut built = TraceParts::default();
    let spans = built.add(resource_spans);
    Trace { spans, ..built.finish(id, warnings) }
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
    /// Further spans; those of the same process name it alike.
    pub(super) fn add(&mut self, resource_spans: &[ResourceSpans]) -> Vec<Span> {
        let mut spans = Vec::new();
        for resource in resource_spans.iter().filter(|resource| has_spans(resource)) {
            let process = from_otlp::process(resource.resource.as_ref());
            let name = self.name_of(&process);
            for scope in &resource.scope_spans {
                for span in &scope.spans {
                    self.add_times(span.start_time_unix_nano, span.end_time_unix_nano);
                    let span = from_otlp::span(scope.scope.as_ref(), span);
                    spans.push(shown_span(&span, name.clone()));
                }
            }
        }
        spans
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
