//! Search answers: combining partial ones, and the message that clients get.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tactus_proto::otlp::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use tactus_proto::tempopb::{
    SearchMetrics, SearchResponse, ServiceStats, Span, SpanSet, TraceSearchMetadata,
};
use tactus_traceql::eval::{self, AttributeValue, TraceMatch};

mod span_sets;

use span_sets::{merge_sets, settle};

/// Shown as the service of a trace whose root is not known.
const ROOT_NOT_RECEIVED: &str = "<root span not yet received>";

/// Longer texts are not copied into messages.
const SHORT_TEXT_BYTES: usize = 64;

/// Traces kept beyond the limit before the oldest are dropped, as a multiple of the limit.
const SLACK: usize = 8;

/// Combines the answers of ingesters and blocks to one search.
#[derive(Debug, Default)]
pub struct SearchCombiner {
    limit: usize,
    /// Their sets are yet to be settled.
    traces: HashMap<String, TraceSearchMetadata>,
    pads_ids: bool,
    /// Spans shown of each set at most; 0: all.
    spans: usize,
    /// Ids of traces that are new or changed since [`Self::take_changes`]; `None` if nobody will ask.
    changed: Option<HashSet<String>>,
    /// Ids of traces that were shown, which stay in the answer; `None` if others may take their places.
    kept: Option<HashSet<String>>,
    previews: Previews,
    /// The cached result of [`Self::oldest_kept_start`], which is read for each job, and changes with each answer.
    oldest_kept_start: OnceLock<u64>,
}

/// Traces that are shown before the answer that they are in.
#[derive(Debug, Default)]
struct Previews {
    waiting: Vec<TraceSearchMetadata>,
    /// Those that were shown and stay. Their sources may not send them again: newer traces took their places there.
    kept: Vec<TraceSearchMetadata>,
    /// The ids of all traces that were ever added.
    ids: HashSet<String>,
}

impl SearchCombiner {
    /// For the `limit` newest of the traces that are added; 0: all.
    pub fn new(limit: u32) -> Self {
        let limit = limit as usize;
        Self { limit, ..Self::default() }
    }

    /// Shows trace ids with all 32 digits, leading zeros included.
    pub fn pads_ids(self, pads_ids: bool) -> Self {
        Self { pads_ids, ..self }
    }

    /// Shows this many spans of each set at most; 0: all that the sources list.
    pub fn shows_spans(self, spans: u32) -> Self {
        Self { spans: spans as usize, ..self }
    }

    /// Records changes from now on, for [`Self::take_changes`].
    pub fn watches_changes(self) -> Self {
        Self { changed: Some(HashSet::new()), ..self }
    }

    /// Keeps the traces that [`Self::take_changes`] returned in the answer, though newer ones are found later: for clients
    /// that take nothing back. So they are shown as many as the limit.
    pub fn keeps_what_was_shown(self) -> Self {
        Self { kept: Some(HashSet::new()), ..self }
    }

    /// Distinct traces so far.
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// True without any trace.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// True once there are as many traces as wanted.
    pub fn is_full(&self) -> bool {
        self.limit > 0 && self.traces.len() >= self.limit
    }

    /// Start of the oldest of the `limit` newest traces, unix nanoseconds; `None` while there are fewer.
    ///
    /// A trace that starts before cannot get into the answer.
    pub fn oldest_kept_start(&self) -> Option<u64> {
        if !self.is_full() {
            return None;
        }
        let find = || {
            let starts = self.traces.values().map(|trace| trace.start_time_unix_nano);
            let mut starts: Vec<u64> = starts.collect();
            *starts.select_nth_unstable_by(self.limit - 1, |one, other| other.cmp(one)).1
        };
        Some(*self.oldest_kept_start.get_or_init(find))
    }

    /// Adds traces of one answer.
    pub fn add(&mut self, traces: Vec<TraceSearchMetadata>) {
        self.oldest_kept_start.take();
        for trace in traces {
            let Some(changed) = &mut self.changed else {
                add_to(&mut self.traces, trace);
                continue;
            };
            let id = trace.trace_id.clone();
            let before = self.traces.get(&id).cloned();
            add_to(&mut self.traces, trace);
            if is_changed(before, self.traces.get(&id)) {
                changed.insert(id);
            }
        }
        if self.limit > 0 && self.traces.len() > self.limit.saturating_mul(SLACK).max(1_000) {
            let kept = self.newest();
            self.traces = kept.into_iter().map(|trace| (trace.trace_id.clone(), trace)).collect();
        }
    }

    /// Adds traces that a source has found so far and will send again in its answer. The next [`Self::take_changes`]
    /// returns them, up to the limit. They have no effect on the final answer, unless what was shown is kept.
    pub fn preview(&mut self, traces: Vec<TraceSearchMetadata>) {
        for trace in traces {
            let has_room = self.limit == 0 || self.previews.ids.len() < self.limit;
            let is_new = !self.traces.contains_key(&trace.trace_id);
            if has_room && is_new && self.previews.ids.insert(trace.trace_id.clone()) {
                self.previews.waiting.push(trace);
            }
        }
    }

    /// The traces that are new or changed since the last call, as an answer shows them, newest first.
    ///
    /// Only those that start after `after` (unix nanoseconds) and would be in the answer as it is now; others are left
    /// for a later call. Nothing without [`Self::watches_changes`].
    pub fn take_changes(&mut self, after: u64) -> Vec<TraceSearchMetadata> {
        let oldest = self.oldest_kept_start().unwrap_or(0);
        let Self { changed, traces, kept, previews, limit, .. } = self;
        let Some(changed) = changed else { return Vec::new() };
        let mut due: Vec<_> = changed.iter().filter_map(|id| traces.get(id)).collect();
        due.retain(|trace| {
            let start = trace.start_time_unix_nano;
            let is_kept = kept.as_ref().is_some_and(|kept| kept.contains(&trace.trace_id));
            (start >= oldest || is_kept) && (after == 0 || start > after)
        });
        let waiting = if after == 0 { std::mem::take(&mut previews.waiting) } else { Vec::new() };
        due.extend(waiting.iter().filter(|trace| !traces.contains_key(&trace.trace_id)));
        due.sort_by(|one, other| newest_first(one, other));
        if let Some(kept) = kept {
            due.retain(|trace| {
                let has_room = *limit == 0 || kept.len() < *limit;
                kept.contains(&trace.trace_id) || has_room && kept.insert(trace.trace_id.clone())
            });
            let is_preview = |trace: &&&TraceSearchMetadata| !traces.contains_key(&trace.trace_id);
            previews.kept.extend(due.iter().filter(is_preview).map(|trace| (*trace).clone()));
        }
        changed.retain(|id| traces.contains_key(id));
        let (pads_ids, spans) = (self.pads_ids, self.spans);
        let show = |trace: &TraceSearchMetadata| {
            changed.remove(&trace.trace_id);
            shown(trace.clone(), pads_ids, spans)
        };
        due.into_iter().map(show).collect()
    }

    /// What was added as one answer of a source, newest trace first.
    pub fn finish_part(mut self) -> Vec<TraceSearchMetadata> {
        let mut traces = self.newest();
        traces.iter_mut().for_each(|trace| settle(&mut trace.span_sets));
        traces
    }

    /// The answer, newest trace first.
    pub fn finish(mut self, metrics: SearchMetrics) -> SearchResponse {
        let (pads_ids, spans) = (self.pads_ids, self.spans);
        // What sources do not send again, though there is room for it, matches no longer.
        if self.is_full() {
            for trace in std::mem::take(&mut self.previews.kept) {
                self.traces.entry(trace.trace_id.clone()).or_insert(trace);
            }
        }
        let traces = self.newest();
        let traces = traces.into_iter().map(|trace| shown(trace, pads_ids, spans)).collect();
        SearchResponse { traces, metrics: Some(metrics) }
    }

    fn newest(&mut self) -> Vec<TraceSearchMetadata> {
        let mut traces: Vec<_> = self.traces.drain().map(|(_, trace)| trace).collect();
        traces.sort_by(newest_first);
        if self.limit > 0 && self.limit < traces.len() {
            // Stable: the others stay in order.
            let is_other = |id: &String| !self.kept.as_ref().is_some_and(|kept| kept.contains(id));
            traces.sort_by_key(|trace| is_other(&trace.trace_id));
            traces.truncate(self.limit);
            traces.sort_by(newest_first);
        }
        traces
    }
}

/// The order of traces in an answer.
pub fn newest_first(one: &TraceSearchMetadata, other: &TraceSearchMetadata) -> Ordering {
    let by_start = other.start_time_unix_nano.cmp(&one.start_time_unix_nano);
    // Ids have no leading zeros, or are all of one length: the shorter one is the smaller.
    let by_length = by_start.then(one.trace_id.len().cmp(&other.trace_id.len()));
    by_length.then_with(|| one.trace_id.cmp(&other.trace_id))
}

/// A trace as clients see it.
fn shown(mut trace: TraceSearchMetadata, pads_ids: bool, spans: usize) -> TraceSearchMetadata {
    if trace.root_service_name.is_empty() {
        ROOT_NOT_RECEIVED.clone_into(&mut trace.root_service_name);
    }
    settle(&mut trace.span_sets);
    for set in &mut trace.span_sets {
        if spans > 0 {
            set.spans.truncate(spans);
        }
        // Sources send a missing group value as no value, so that it differs from the text `nil`.
        let values = set.attributes.iter_mut().filter_map(|attribute| attribute.value.as_mut());
        for AnyValue { value } in values {
            value.get_or_insert_with(|| Value::StringValue("nil".into()));
        }
    }
    trace.span_set = trace.span_sets.first().cloned();
    if pads_ids {
        trace.trace_id = format!("{:0>32}", trace.trace_id);
    }
    trace
}

/// Whether clients see another trace than before.
fn is_changed(before: Option<TraceSearchMetadata>, after: Option<&TraceSearchMetadata>) -> bool {
    let settled = |mut trace: TraceSearchMetadata| {
        settle(&mut trace.span_sets);
        trace
    };
    after != before.as_ref() && after.cloned().map(settled) != before.map(settled)
}

fn add_to(traces: &mut HashMap<String, TraceSearchMetadata>, trace: TraceSearchMetadata) {
    match traces.get_mut(&trace.trace_id) {
        Some(known) => merge(known, trace),
        None => {
            traces.insert(trace.trace_id.clone(), trace);
        }
    }
}

/// Adds the work of a job to the sums of a query; the counts of jobs and blocks are the caller's.
pub fn add_metrics(sum: &mut SearchMetrics, job: &SearchMetrics) {
    sum.inspected_traces = sum.inspected_traces.saturating_add(job.inspected_traces);
    sum.inspected_bytes = sum.inspected_bytes.saturating_add(job.inspected_bytes);
    sum.inspected_spans = sum.inspected_spans.saturating_add(job.inspected_spans);
}

/// Merges what two answers say about the same trace.
fn merge(known: &mut TraceSearchMetadata, other: TraceSearchMetadata) {
    // Both names are of one root, and of several roots the same one whoever answers first.
    let known_root = (&*known.root_service_name, &*known.root_trace_name);
    if (&*other.root_service_name, &*other.root_trace_name) > known_root {
        known.root_service_name = other.root_service_name;
        known.root_trace_name = other.root_trace_name;
    }
    known.start_time_unix_nano = match (known.start_time_unix_nano, other.start_time_unix_nano) {
        (0, start) | (start, 0) => start,
        (one, other) => one.min(other),
    };
    known.duration_ms = known.duration_ms.max(other.duration_ms);
    for (service, stats) in other.service_stats {
        let known = known.service_stats.entry(service).or_default();
        known.span_count = known.span_count.max(stats.span_count);
        known.error_count = known.error_count.max(stats.error_count);
    }
    merge_sets(&mut known.span_sets, other.span_sets);
}

/// The message of a match, as ingesters and queriers answer.
pub fn to_message(found: TraceMatch) -> TraceSearchMetadata {
    let stats = |(service, stats): (String, eval::ServiceStats)| {
        (service, ServiceStats { span_count: stats.spans, error_count: stats.errors })
    };
    TraceSearchMetadata {
        trace_id: found.trace_id.to_hex_trimmed(),
        root_service_name: found.root_service_name,
        root_trace_name: found.root_trace_name,
        start_time_unix_nano: found.start_unix_nanos,
        duration_ms: u32::try_from(found.duration_nanos / 1_000_000).unwrap_or(u32::MAX),
        span_set: None,
        span_sets: found.span_sets.into_iter().map(span_set_message).collect(),
        service_stats: found.service_stats.into_iter().map(stats).collect(),
    }
}

fn span_set_message(set: eval::SpanSet) -> SpanSet {
    let span = |mut span: eval::SpanMatch| {
        // The order of a query's conditions says nothing, and clients compare answers.
        span.attributes.sort_by(|(one, _), (other, _)| one.cmp(other));
        Span {
            span_id: span.span_id.to_hex(),
            name: span.name.unwrap_or_default(),
            start_time_unix_nano: span.start_unix_nanos,
            duration_nanos: span.duration_nanos,
            attributes: attribute_messages(span.attributes),
        }
    };
    SpanSet {
        spans: set.spans.into_iter().map(span).collect(),
        matched: set.matched,
        attributes: attribute_messages(set.attributes),
    }
}

fn attribute_messages(attributes: Vec<(Arc<str>, AttributeValue)>) -> Vec<KeyValue> {
    let message = |(key, value): (Arc<str>, _)| KeyValue {
        key: text_bytes(key),
        value: Some(value_message(value)),
    };
    attributes.into_iter().map(message).collect()
}

/// A long text stays shared.
fn text_bytes(text: Arc<str>) -> Bytes {
    struct Shared(Arc<str>);

    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }

    match text.len() {
        0..=SHORT_TEXT_BYTES => Bytes::copy_from_slice(text.as_bytes()),
        _ => Bytes::from_owner(Shared(text)),
    }
}

fn value_message(value: AttributeValue) -> AnyValue {
    let value = match value {
        AttributeValue::String(text) => Value::StringValue(text_bytes(text)),
        AttributeValue::Int(value) => Value::IntValue(value),
        AttributeValue::Float(value) => Value::DoubleValue(value),
        AttributeValue::Bool(value) => Value::BoolValue(value),
        AttributeValue::Array(elements) => Value::ArrayValue(ArrayValue {
            values: elements.into_iter().map(value_message).collect(),
        }),
        AttributeValue::Nil => return AnyValue { value: None },
    };
    AnyValue { value: Some(value) }
}

#[cfg(test)]
mod tests;
