//! The search response as JSON.

use tactus_proto::otlp::{AnyValue, KeyValue, any_value::Value};
use tactus_proto::tempopb::{SearchMetrics, SearchResponse, Span, SpanSet, TraceSearchMetadata};

use super::{JsonWriter, written_bytes};
use crate::explain::Explanation;

/// Names of fields and numbers as JSON, without texts: of a trace, a service, a set, a span, an attribute and a value.
const TRACE_BYTES: usize = 256;
const SERVICE_BYTES: usize = 64;
const SET_BYTES: usize = 64;
const SPAN_BYTES: usize = 160;
const ATTRIBUTE_BYTES: usize = 24;
const VALUE_BYTES: usize = 48;

/// Bytes that a search response takes as JSON, at most, without explanation.
pub fn search_bytes(response: &SearchResponse) -> usize {
    let of_trace = |trace: &TraceSearchMetadata| {
        let services = trace.service_stats.keys();
        TRACE_BYTES
            + written_bytes(trace.root_service_name.as_bytes())
            + written_bytes(trace.root_trace_name.as_bytes())
            + trace.span_set.iter().chain(&trace.span_sets).map(set_bytes).sum::<usize>()
            + services.map(|name| SERVICE_BYTES + written_bytes(name.as_bytes())).sum::<usize>()
    };
    TRACE_BYTES + response.traces.iter().map(of_trace).sum::<usize>()
}

fn set_bytes(set: &SpanSet) -> usize {
    let of_span = |span: &Span| {
        SPAN_BYTES + written_bytes(span.name.as_bytes()) + attribute_bytes(&span.attributes)
    };
    SET_BYTES + attribute_bytes(&set.attributes) + set.spans.iter().map(of_span).sum::<usize>()
}

fn attribute_bytes(attributes: &[KeyValue]) -> usize {
    let of_attribute = |KeyValue { key, value }: &KeyValue| {
        written_bytes(key) + value.as_ref().map_or(0, value_bytes)
    };
    attributes.iter().map(|it| ATTRIBUTE_BYTES + of_attribute(it)).sum()
}

fn value_bytes(value: &AnyValue) -> usize {
    VALUE_BYTES
        + match &value.value {
            Some(Value::StringValue(text)) => written_bytes(text),
            Some(Value::BytesValue(bytes)) => bytes.len() * 2,
            Some(Value::ArrayValue(array)) => array.values.iter().map(value_bytes).sum(),
            Some(Value::KvlistValue(list)) => attribute_bytes(&list.values),
            _ => 0,
        }
}

/// Writes a search response. The list of traces is there even if empty; `explanation` becomes one more field at the
/// end.
pub fn search_response(response: &SearchResponse, explanation: Option<&Explanation>) -> Vec<u8> {
    let mut json = JsonWriter::with_capacity(search_bytes(response));
    json.begin_object();
    json.key("traces").list(&response.traces, write_trace);
    if let Some(metrics) = &response.metrics {
        json.key("metrics");
        write_metrics(&mut json, metrics);
    }
    if let Some(explanation) = explanation {
        json.key("explain");
        super::explain::write_explanation(&mut json, explanation);
    }
    json.end_object();
    json.finish()
}

fn write_trace(json: &mut JsonWriter, trace: &TraceSearchMetadata) {
    json.begin_object();
    json.string_field("traceID", trace.trace_id.as_bytes());
    json.string_field("rootServiceName", trace.root_service_name.as_bytes());
    json.string_field("rootTraceName", trace.root_trace_name.as_bytes());
    json.wide_field("startTimeUnixNano", trace.start_time_unix_nano);
    json.number_field("durationMs", trace.duration_ms);
    if let Some(set) = &trace.span_set {
        json.key("spanSet");
        write_span_set(json, set);
    }
    json.list_field("spanSets", &trace.span_sets, write_span_set);
    if !trace.service_stats.is_empty() {
        json.key("serviceStats").begin_object();
        for (service, stats) in &trace.service_stats {
            json.data_key(service.as_bytes()).begin_object();
            json.number_field("spanCount", stats.span_count);
            json.number_field("errorCount", stats.error_count);
            json.end_object();
        }
        json.end_object();
    }
    json.end_object();
}

fn write_span_set(json: &mut JsonWriter, set: &SpanSet) {
    json.begin_object();
    json.list_field("spans", &set.spans, write_span);
    json.number_field("matched", set.matched);
    write_attributes(json, &set.attributes);
    json.end_object();
}

fn write_span(json: &mut JsonWriter, span: &Span) {
    json.begin_object();
    json.string_field("spanID", span.span_id.as_bytes());
    json.string_field("name", span.name.as_bytes());
    json.wide_field("startTimeUnixNano", span.start_time_unix_nano);
    json.wide_field("durationNanos", span.duration_nanos);
    write_attributes(json, &span.attributes);
    json.end_object();
}

fn write_attributes(json: &mut JsonWriter, attributes: &[KeyValue]) {
    json.list_field("attributes", attributes, write_key_value);
}

pub(super) fn write_key_value(json: &mut JsonWriter, attribute: &KeyValue) {
    json.begin_object();
    json.string_field("key", &attribute.key);
    if let Some(value) = &attribute.value {
        json.key("value");
        write_value(json, value);
    }
    json.end_object();
}

fn write_value(json: &mut JsonWriter, value: &AnyValue) {
    json.begin_object();
    match &value.value {
        None => {}
        Some(Value::StringValue(text)) => {
            json.key("stringValue").string(text);
        }
        Some(Value::BoolValue(value)) => {
            json.key("boolValue").bool(*value);
        }
        Some(Value::IntValue(value)) => {
            json.key("intValue").wide(value);
        }
        Some(Value::DoubleValue(value)) => {
            json.key("doubleValue").double(*value);
        }
        Some(Value::BytesValue(bytes)) => {
            json.key("bytesValue").base64(bytes);
        }
        Some(Value::ArrayValue(array)) => {
            json.key("arrayValue").begin_object();
            json.list_field("values", &array.values, write_value);
            json.end_object();
        }
        Some(Value::KvlistValue(list)) => {
            json.key("kvlistValue").begin_object();
            json.list_field("values", &list.values, write_key_value);
            json.end_object();
        }
    }
    json.end_object();
}

pub(super) fn write_metrics(json: &mut JsonWriter, metrics: &SearchMetrics) {
    json.begin_object();
    json.number_field("inspectedTraces", metrics.inspected_traces);
    json.wide_field("inspectedBytes", metrics.inspected_bytes);
    json.number_field("totalBlocks", metrics.total_blocks);
    json.number_field("completedJobs", metrics.completed_jobs);
    json.number_field("totalJobs", metrics.total_jobs);
    json.wide_field("totalBlockBytes", metrics.total_block_bytes);
    json.wide_field("inspectedSpans", metrics.inspected_spans);
    json.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::SearchCombiner;
    use tactus_proto::tempopb::ServiceStats;

    fn string_attribute(key: &'static str, value: &'static str) -> KeyValue {
        let value = AnyValue { value: Some(Value::StringValue(value.into())) };
        KeyValue { key: key.into(), value: Some(value) }
    }

    #[test]
    fn response_has_the_documented_form() {
        let span = Span {
            span_id: "563d623c76514f8e".into(),
            start_time_unix_nano: 1_684_778_327_735_077_898,
            duration_nanos: 446_979_497,
            attributes: vec![string_attribute("status", "error")],
            ..Span::default()
        };
        let trace = TraceSearchMetadata {
            trace_id: "2f3e0cee77ae5dc9c17ade3689eb2e54".into(),
            root_service_name: "shop-backend".into(),
            root_trace_name: "update-billing".into(),
            start_time_unix_nano: 1_684_778_327_699_392_724,
            duration_ms: 557,
            span_sets: vec![SpanSet { spans: vec![span], matched: 1, attributes: vec![] }],
            service_stats: [(
                "shop-backend".to_owned(),
                ServiceStats { span_count: 4, error_count: 1 },
            )]
            .into(),
            ..TraceSearchMetadata::default()
        };
        let mut combiner = SearchCombiner::new(20);
        combiner.add(vec![trace]);
        let metrics = SearchMetrics {
            inspected_traces: 12,
            inspected_bytes: 345_678,
            total_blocks: 1,
            completed_jobs: 4,
            total_jobs: 4,
            total_block_bytes: 901_234,
            inspected_spans: 0,
        };
        let response = combiner.finish(metrics);
        let json = search_response(&response, None);
        assert!(json.len() <= search_bytes(&response));
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"traces":[{"traceID":"2f3e0cee77ae5dc9c17ade3689eb2e54","rootServiceName":"shop-backend","rootTraceName":"update-billing","startTimeUnixNano":"1684778327699392724","durationMs":557,"spanSet":{"spans":[{"spanID":"563d623c76514f8e","startTimeUnixNano":"1684778327735077898","durationNanos":"446979497","attributes":[{"key":"status","value":{"stringValue":"error"}}]}],"matched":1},"spanSets":[{"spans":[{"spanID":"563d623c76514f8e","startTimeUnixNano":"1684778327735077898","durationNanos":"446979497","attributes":[{"key":"status","value":{"stringValue":"error"}}]}],"matched":1}],"serviceStats":{"shop-backend":{"spanCount":4,"errorCount":1}}}],"metrics":{"inspectedTraces":12,"inspectedBytes":"345678","totalBlocks":1,"completedJobs":4,"totalJobs":4,"totalBlockBytes":"901234"}}"#
        );
    }

    #[test]
    fn response_takes_no_more_than_was_said() {
        let number = |value| AnyValue { value: Some(value) };
        let text = |text: &'static str| number(Value::StringValue(text.into()));
        let list =
            [text("<<<"), number(Value::IntValue(i64::MIN)), number(Value::BoolValue(false))];
        let all = [
            text("<a href=\"x\">&&&&&&</a>"),
            number(Value::DoubleValue(-1.234_567_890_123_456_7e-300)),
            number(Value::ArrayValue(tactus_proto::otlp::ArrayValue { values: list.into() })),
        ];
        let attributes = |key: &'static str| {
            let attribute = |value| KeyValue { key: key.into(), value: Some(value) };
            all.clone().map(attribute).to_vec()
        };
        let span = Span {
            span_id: "563d623c76514f8e".into(),
            name: "\u{1}\u{2}".to_owned(),
            start_time_unix_nano: u64::MAX,
            duration_nanos: u64::MAX,
            attributes: attributes("<key>"),
        };
        let set = SpanSet { spans: vec![span; 40], matched: u32::MAX, attributes: attributes("&") };
        let stats = |name: u32| {
            let stats = ServiceStats { span_count: u32::MAX, error_count: u32::MAX };
            (format!("<{name}>"), stats)
        };
        let trace = TraceSearchMetadata {
            trace_id: "2f3e0cee77ae5dc9c17ade3689eb2e54".into(),
            root_trace_name: "\"\"\"".into(),
            start_time_unix_nano: u64::MAX,
            duration_ms: u32::MAX,
            span_set: Some(SpanSet::default()),
            span_sets: vec![set; 3],
            service_stats: (0..50).map(stats).collect(),
            ..TraceSearchMetadata::default()
        };
        let response = SearchResponse { traces: vec![trace; 5], ..SearchResponse::default() };
        let (said, written) = (search_bytes(&response), search_response(&response, None).len());
        assert!((written..written * 2).contains(&said), "{written} of {said}");
    }

    #[test]
    fn empty_response_has_an_empty_list_and_metrics() {
        let response = SearchCombiner::new(20).finish(SearchMetrics::default());
        assert_eq!(search_response(&response, None), br#"{"traces":[],"metrics":{}}"#);
    }

    #[test]
    fn unknown_root_is_shown_escaped_and_without_a_name() {
        let trace = TraceSearchMetadata { trace_id: "ff".into(), ..Default::default() };
        let mut combiner = SearchCombiner::new(20);
        combiner.add(vec![trace]);
        let json = search_response(&combiner.finish(SearchMetrics::default()), None);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"traces":[{"traceID":"ff","rootServiceName":"\u003croot span not yet received\u003e"}],"metrics":{}}"#
        );
    }
}
