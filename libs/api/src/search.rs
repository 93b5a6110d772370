//! Search answers: combining partial ones, and the message that clients get.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use tactus_proto::otlp::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use tactus_proto::tempopb::{
    SearchMetrics, SearchResponse, ServiceStats, Span, SpanSet, TraceSearchMetadata,
};
use tactus_traceql::eval::{self, AttributeValue, TraceMatch};

/// Shown as the service of a trace whose root is not known.
pub const ROOT_NOT_RECEIVED: &str = "<root span not yet received>";

/// Traces kept beyond the limit before the oldest are dropped, as a multiple of the limit.
const SLACK: usize = 8;

/// Combines the answers of ingesters and blocks to one search.
#[derive(Debug)]
pub struct SearchCombiner {
    limit: usize,
    traces: HashMap<String, TraceSearchMetadata>,
    pads_ids: bool,
    /// Spans shown of each set at most; 0: all.
    spans: usize,
    /// Ids of traces that are new or changed since [`Self::take_changes`]; `None` if nobody will ask.
    changed: Option<HashSet<String>>,
}

impl SearchCombiner {
    /// For the `limit` newest of the traces that are added; 0: all.
    pub fn new(limit: u32) -> Self {
        let limit = limit as usize;
        Self { limit, traces: HashMap::new(), pads_ids: false, spans: 0, changed: None }
    }

    /// Shows trace ids with 32 digits, and not without their leading zeros.
    pub fn pads_ids(self, pads_ids: bool) -> Self {
        Self { pads_ids, ..self }
    }

    /// Shows so many spans of each set at most; 0: all that the sources list.
    pub fn shows_spans(self, spans: u32) -> Self {
        Self { spans: spans as usize, ..self }
    }

    /// Takes note of what changes from now on, for [`Self::take_changes`].
    pub fn watches_changes(self) -> Self {
        Self { changed: Some(HashSet::new()), ..self }
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
        let mut starts: Vec<u64> =
            self.traces.values().map(|trace| trace.start_time_unix_nano).collect();
        let (_, oldest, _) =
            starts.select_nth_unstable_by(self.limit - 1, |one, other| other.cmp(one));
        Some(*oldest)
    }

    /// Adds traces of one answer.
    pub fn add(&mut self, traces: Vec<TraceSearchMetadata>) {
        for trace in traces {
            let Some(changed) = &mut self.changed else {
                add_to(&mut self.traces, trace);
                continue;
            };
            let id = trace.trace_id.clone();
            let before = self.traces.get(&id).cloned();
            add_to(&mut self.traces, trace);
            if self.traces.get(&id) != before.as_ref() {
                changed.insert(id);
            }
        }
        if self.limit > 0 && self.traces.len() > self.limit.saturating_mul(SLACK).max(1_000) {
            let kept = self.newest();
            self.traces = kept.into_iter().map(|trace| (trace.trace_id.clone(), trace)).collect();
        }
    }

    /// The traces that are new or changed since the last call, as an answer shows them, newest first.
    ///
    /// Only those that start after `after` (unix nanoseconds) and would be in the answer as it is now; others are left
    /// for a later call. Nothing without [`Self::watches_changes`].
    pub fn take_changes(&mut self, after: u64) -> Vec<TraceSearchMetadata> {
        let oldest = self.oldest_kept_start().unwrap_or(0);
        let Some(changed) = &mut self.changed else { return Vec::new() };
        let traces = &self.traces;
        let mut taken = Vec::new();
        changed.retain(|id| {
            let Some(trace) = traces.get(id) else { return false };
            let start = trace.start_time_unix_nano;
            let is_shown = start >= oldest && (after == 0 || start > after);
            if is_shown {
                taken.push(shown(trace.clone(), self.pads_ids, self.spans));
            }
            !is_shown
        });
        taken.sort_by(newest_first);
        taken
    }

    /// The answer, newest trace first.
    pub fn finish(mut self, metrics: SearchMetrics) -> SearchResponse {
        let (pads_ids, spans) = (self.pads_ids, self.spans);
        let traces = self.newest().into_iter().map(|trace| shown(trace, pads_ids, spans)).collect();
        SearchResponse { traces, metrics: Some(metrics) }
    }

    fn newest(&mut self) -> Vec<TraceSearchMetadata> {
        let mut traces: Vec<_> = self.traces.drain().map(|(_, trace)| trace).collect();
        traces.sort_by(newest_first);
        if self.limit > 0 {
            traces.truncate(self.limit);
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
    if spans > 0 {
        trace.span_sets.iter_mut().for_each(|set| set.spans.truncate(spans));
    }
    trace.span_set = trace.span_sets.first().cloned();
    if pads_ids {
        trace.trace_id = format!("{:0>32}", trace.trace_id);
    }
    trace
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
    if known.root_service_name.is_empty() {
        known.root_service_name = other.root_service_name;
    }
    if known.root_trace_name.is_empty() {
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
    for set in other.span_sets {
        let identity = identity(&set);
        match known.span_sets.iter_mut().find(|known| self::identity(known) == identity) {
            Some(known) => unite(known, set),
            None => known.span_sets.push(set),
        }
    }
}

/// Two sources may each have a part of a trace. Where both list all that matched, the answer is every span that is in one
/// of them; else the larger set, as what the lists leave out cannot be told apart.
fn unite(known: &mut SpanSet, other: SpanSet) {
    let lists_all = |set: &SpanSet| u32::try_from(set.spans.len()) == Ok(set.matched);
    // Aggregates that differ were computed on what each source has: the larger one is nearer to the truth.
    if lists_all(known) && lists_all(&other) && known.attributes == other.attributes {
        for span in other.spans {
            if !known.spans.iter().any(|shown| is_same(shown, &span)) {
                known.spans.push(span);
                known.matched += 1;
            }
        }
    } else if other.matched > known.matched {
        *known = other;
    }
}

/// True if two sources show the same span, as far as an answer tells what a [`tactus_model::SpanIdentity`] is of: the kind
/// is not in it, and the name only if the query asks for it.
fn is_same(one: &Span, other: &Span) -> bool {
    one.span_id == other.span_id
        && one.start_time_unix_nano == other.start_time_unix_nano
        && one.name == other.name
}

/// What makes two span sets of a trace the same set: the values it is grouped by.
fn identity(set: &SpanSet) -> Vec<&KeyValue> {
    set.attributes.iter().filter(|attribute| attribute.key.starts_with(b"by")).collect()
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
    let span = |span: eval::SpanMatch| Span {
        span_id: span.span_id.to_hex(),
        name: span.name.unwrap_or_default(),
        start_time_unix_nano: span.start_unix_nanos,
        duration_nanos: span.duration_nanos,
        attributes: attribute_messages(span.attributes),
    };
    SpanSet {
        spans: set.spans.into_iter().map(span).collect(),
        matched: set.matched,
        attributes: attribute_messages(set.attributes),
    }
}

fn attribute_messages(attributes: Vec<(String, AttributeValue)>) -> Vec<KeyValue> {
    let message =
        |(key, value): (String, _)| KeyValue { key: key.into(), value: Some(value_message(value)) };
    attributes.into_iter().map(message).collect()
}

fn value_message(value: AttributeValue) -> AnyValue {
    let value = match value {
        AttributeValue::String(text) => Value::StringValue(text.into()),
        AttributeValue::Int(value) => Value::IntValue(value),
        AttributeValue::Float(value) => Value::DoubleValue(value),
        AttributeValue::Bool(value) => Value::BoolValue(value),
        AttributeValue::Array(elements) => Value::ArrayValue(ArrayValue {
            values: elements.into_iter().map(value_message).collect(),
        }),
    };
    AnyValue { value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_model::{SpanId, TraceId};

    fn trace(id: &str, start: u64) -> TraceSearchMetadata {
        TraceSearchMetadata {
            trace_id: id.to_owned(),
            start_time_unix_nano: start,
            ..TraceSearchMetadata::default()
        }
    }

    fn string_attribute(key: &str, value: &str) -> KeyValue {
        let value = AnyValue { value: Some(Value::StringValue(value.to_owned().into())) };
        KeyValue { key: key.to_owned().into(), value: Some(value) }
    }

    fn set(matched: u32, group: Option<&str>, count: &str) -> SpanSet {
        let mut attributes = vec![string_attribute("count()", count)];
        attributes.extend(group.map(|group| string_attribute("by(name)", group)));
        let spans = vec![Span { span_id: format!("{matched:016}"), ..Span::default() }];
        SpanSet { matched, attributes, spans }
    }

    #[test]
    fn newest_traces_come_first_and_ties_by_id() {
        let mut combiner = SearchCombiner::new(3);
        combiner.add(vec![trace("a", 5), trace("10", 7), trace("b", 7)]);
        assert!(combiner.is_full());
        combiner.add(vec![trace("d", 6)]);
        assert_eq!(combiner.oldest_kept_start(), Some(6));
        let answer = combiner.finish(SearchMetrics::default());
        let ids: Vec<_> = answer.traces.iter().map(|trace| trace.trace_id.as_str()).collect();
        assert_eq!(ids, ["b", "10", "d"]);
        assert_eq!(answer.traces[0].root_service_name, ROOT_NOT_RECEIVED);
    }

    #[test]
    fn parts_of_a_trace_are_merged() {
        let stats = |span_count, error_count| ServiceStats { span_count, error_count };
        let mut one = trace("a", 0);
        one.duration_ms = 5;
        one.service_stats = [("x".to_owned(), stats(3, 0))].into();
        one.span_sets = vec![set(2, Some("g"), "2"), set(1, None, "1")];
        let mut two = trace("a", 9);
        two.root_service_name = "root".into();
        two.root_trace_name = "get".into();
        two.duration_ms = 4;
        two.service_stats = [("x".to_owned(), stats(2, 1)), ("y".to_owned(), stats(1, 0))].into();
        two.span_sets = vec![set(3, Some("g"), "3"), set(1, Some("h"), "1"), set(1, None, "9")];
        let mut combiner = SearchCombiner::new(20);
        combiner.add(vec![one]);
        combiner.add(vec![two]);
        let answer = combiner.finish(SearchMetrics::default());
        let [merged] = &answer.traces[..] else { panic!("{answer:?}") };
        assert_eq!((merged.start_time_unix_nano, merged.duration_ms), (9, 5));
        assert_eq!((&*merged.root_service_name, &*merged.root_trace_name), ("root", "get"));
        assert_eq!(merged.service_stats["x"], stats(3, 1));
        assert_eq!(merged.service_stats["y"], stats(1, 0));
        assert_eq!(
            merged.span_sets,
            [set(3, Some("g"), "3"), set(1, None, "1"), set(1, Some("h"), "1")]
        );
        assert_eq!(merged.span_set.as_ref(), merged.span_sets.first());
    }

    #[test]
    fn spans_of_all_sources_are_shown_where_each_lists_all_that_matched() {
        let span = |id: &str| Span { span_id: id.to_owned(), ..Span::default() };
        let set = |matched, ids: &[&str]| SpanSet {
            matched,
            spans: ids.iter().map(|id| span(id)).collect(),
            ..SpanSet::default()
        };
        let answer = |shown, sets: &[SpanSet]| {
            let mut combiner = SearchCombiner::new(20).shows_spans(shown);
            for set in sets {
                let mut part = trace("a", 1);
                part.span_sets = vec![set.clone()];
                combiner.add(vec![part]);
            }
            let mut answer = combiner.finish(SearchMetrics::default());
            answer.traces.remove(0).span_sets.remove(0)
        };
        let parts = [set(2, &["1", "2"]), set(2, &["2", "3"])];
        assert_eq!(answer(0, &parts), set(3, &["1", "2", "3"]));
        assert_eq!(answer(2, &parts), set(3, &["1", "2"]));
        let cut = [set(2, &["1", "2"]), set(9, &["2", "3"])];
        assert_eq!(answer(0, &cut), cut[1]);
        // Client and server of a call may share an id, and a span may differ in its name only.
        let mut others = [set(1, &["1"]), set(1, &["1"]), set(1, &["1"])];
        others[1].spans[0].start_time_unix_nano = 5;
        others[2].spans[0].name = "other".to_owned();
        assert_eq!(answer(0, &others).matched, 3);
    }

    #[test]
    fn old_traces_are_dropped_when_there_are_far_too_many() {
        let mut combiner = SearchCombiner::new(2);
        combiner.add((1..2_000).map(|start| trace(&start.to_string(), start)).collect());
        assert_eq!(combiner.len(), 2);
        assert_eq!(combiner.oldest_kept_start(), Some(1_998));
    }

    #[test]
    fn changes_are_told_once() {
        let mut combiner = SearchCombiner::new(3).watches_changes().pads_ids(true);
        let ids = |traces: &[TraceSearchMetadata]| -> Vec<String> {
            traces.iter().map(|trace| trace.trace_id.trim_start_matches('0').to_owned()).collect()
        };
        combiner.add(vec![trace("a", 5), trace("b", 7)]);
        let first = combiner.take_changes(0);
        assert_eq!(ids(&first), ["b", "a"]);
        assert_eq!(first[0].trace_id.len(), 32);
        assert_eq!(first[0].root_service_name, ROOT_NOT_RECEIVED);
        combiner.add(vec![trace("a", 5), trace("b", 6)]);
        assert_eq!(ids(&combiner.take_changes(0)), ["b"]);
        // What is not newer than the bound waits for a later call.
        combiner.add(vec![trace("c", 20), trace("d", 10)]);
        assert_eq!(ids(&combiner.take_changes(10)), ["c"]);
        // With `c`, `d` and `b` the answer is full: `e` is not in it, and `d` is.
        combiner.add(vec![trace("e", 1)]);
        assert_eq!(ids(&combiner.take_changes(0)), ["d"]);
        assert_eq!(ids(&combiner.finish(SearchMetrics::default()).traces), ["c", "d", "b"]);
    }

    #[test]
    fn match_becomes_a_message() {
        let span = eval::SpanMatch {
            span_id: SpanId::from_slice(&[1]),
            name: None,
            start_unix_nanos: 7,
            duration_nanos: 8,
            attributes: vec![("x".into(), AttributeValue::Array(vec![AttributeValue::Int(1)]))],
        };
        let attributes = vec![("count()".to_owned(), AttributeValue::Float(1.5))];
        let message = to_message(TraceMatch {
            trace_id: TraceId::from_slice(&[0xff]),
            root_service_name: "s".into(),
            root_trace_name: String::new(),
            start_unix_nanos: 5,
            duration_nanos: 2_999_999,
            service_stats: [("s".to_owned(), eval::ServiceStats { spans: 2, errors: 1 })].into(),
            span_sets: vec![eval::SpanSet { matched: 4, attributes, spans: vec![span] }],
        });
        assert_eq!((&*message.trace_id, message.duration_ms), ("ff", 2));
        assert_eq!(message.service_stats["s"], ServiceStats { span_count: 2, error_count: 1 });
        let set = &message.span_sets[0];
        assert_eq!((set.matched, &*set.spans[0].span_id), (4, "0000000000000001"));
        assert!(matches!(
            &set.spans[0].attributes[0].value,
            Some(AnyValue { value: Some(Value::ArrayValue(array)) }) if array.values.len() == 1
        ));
    }
}
