//! The traces of one message.

use std::collections::HashMap;

use bytes::Bytes;
use tactus_model::walk::{SpanView, walk_export};
use tactus_model::wire::WireError;
use tactus_model::{SpanId, TraceId};

use super::CombinedTrace;
use super::combine::grouped;
use super::span_entry::{Seen, SpanEntry, SpanScalars};
use super::zipkin::separate_shared_ids;

/// The traces of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SplitTraces {
    /// The traces, in the order of their first spans.
    pub traces: Vec<(TraceId, CombinedTrace)>,
    /// Number of spans in the message, including duplicates and those without a trace.
    pub spans: usize,
    /// Number of spans without a trace id, which are left out.
    pub without_trace: usize,
}

/// The spans of one trace.
#[derive(Default)]
struct Spans {
    all: Vec<SpanEntry>,
    seen: Seen,
}

/// Splits an OTLP TracesData message into its traces. A span that is there twice (see [`tactus_model::SpanIdentity`])
/// is kept once.
///
/// If the message has more than `max_spans` spans, only their number is returned. Resources and scopes are slices of
/// the message, whatever the number of traces. Errors: the message is not valid OTLP.
pub fn split_traces(traces_data: &Bytes, max_spans: usize) -> Result<SplitTraces, WireError> {
    let mut found: Vec<SpanView<'_>> = Vec::new();
    let mut spans = 0;
    let walk = walk_export(traces_data, |span| {
        spans += 1;
        if spans <= max_spans {
            found.push(span);
        }
    })?;
    if spans > max_spans {
        return Ok(SplitTraces { spans, ..SplitTraces::default() });
    }
    let mut places: HashMap<TraceId, usize> = HashMap::new();
    let mut traces: Vec<(TraceId, Spans)> = Vec::new();
    let mut without_trace = 0;
    for span in found {
        let trace = TraceId::from_slice(span.trace_id);
        if trace.is_zero() {
            without_trace += 1;
            continue;
        }
        let place = *places.entry(trace).or_insert_with(|| {
            // Most traces of a file with very many have one span.
            traces.push((trace, Spans { all: Vec::with_capacity(1), ..Spans::default() }));
            traces.len() - 1
        });
        let (fields, id) = (SpanScalars::read(span.message)?, SpanId::from_slice(span.span_id));
        let Spans { all, seen } = &mut traces[place].1;
        if !seen.insert(all, &fields.identity(id)) {
            continue;
        }
        let run = &walk.runs[span.run];
        all.push(SpanEntry {
            resource: run.resource,
            scope: run.scope,
            id,
            parent: SpanId::from_slice(fields.parent_span_id),
            kind: fields.kind,
            start: fields.start,
            message: traces_data.slice_ref(span.message),
        });
    }
    let combined = |(id, Spans { mut all, .. }): (TraceId, Spans)| {
        separate_shared_ids(&mut all);
        let spans = all.into_iter().map(SpanEntry::owned);
        let resource = |row: usize| traces_data.slice(walk.resources[row].clone());
        let scope = |row: usize| traces_data.slice(walk.scopes[row].clone());
        let resources = grouped(spans, resource, scope);
        (id, CombinedTrace { resources, truncated: false })
    };
    let traces = traces.into_iter().map(combined).collect();
    Ok(SplitTraces { traces, spans, without_trace })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tactus_proto::otlp::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn message(resources: Vec<Vec<Span>>) -> Bytes {
        let resource_spans = resources.into_iter().map(|spans| ResourceSpans {
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        });
        let request = ExportTraceServiceRequest { resource_spans: resource_spans.collect() };
        request.encode_to_vec().into()
    }

    fn span(trace: u8, id: u8) -> Span {
        let (trace_id, span_id) = (vec![trace; 16].into(), vec![id; 8].into());
        Span { trace_id, span_id, name: "a".into(), ..Span::default() }
    }

    #[test]
    fn each_trace_has_its_spans_once() {
        let file =
            message(vec![vec![span(1, 1), span(2, 2), span(0, 3)], vec![span(1, 1), span(1, 4)]]);
        let split = split_traces(&file, 5).unwrap();
        assert_eq!((split.spans, split.without_trace), (5, 1));
        let shown: Vec<_> = split
            .traces
            .iter()
            .map(|(id, trace)| (id.0[0], trace.spans(), trace.spans_by_resource().count()))
            .collect();
        assert_eq!(shown, [(1, 2, 2), (2, 1, 1)]);
        assert_eq!(split_traces(&file, 4).unwrap().traces, []);
        assert_eq!(split_traces(&file, 4).unwrap().spans, 5);
        assert!(split_traces(&file.slice(..file.len() - 1), 5).is_err());
    }
}
