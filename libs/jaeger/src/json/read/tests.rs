use proptest::prelude::*;
use prost::Message;
use serde_json::{Value as Json, json};
use tactus_model::TraceId;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{ExportTraceServiceRequest, ResourceSpans};

use super::*;
use crate::from_otlp::WARNINGS;
use crate::json::{Envelope, trace};

fn read(file: &Json) -> Result<Vec<ResourceSpans>, String> {
    let request =
        read_jaeger_file(file.to_string().as_bytes()).map_err(|error| error.to_string())?;
    Ok(ExportTraceServiceRequest::decode(request).unwrap().resource_spans)
}

fn written(spans: &[ResourceSpans]) -> Json {
    let id = TraceId::from_slice(&spans[0].scope_spans[0].spans[0].trace_id);
    serde_json::to_value(Envelope::new([trace(id, spans.to_vec(), Vec::new())], 0)).unwrap()
}

fn file() -> Json {
    json!({"data": [{
        "traceID": "7", "processes": {
            "p1": {"serviceName": "shop", "tags": [{"key": "region", "type": "string", "value": "eu"}]},
            "p2": {"serviceName": "cards", "tags": null}},
        "spans": [
            {"traceID": "7", "spanID": "1", "operationName": "GET /", "references": [], "startTime": 1_700_000_000_000_001_i64,
             "duration": 1500, "processID": "p1", "warnings": ["late", "odd"], "logs": null, "tags": [
                {"key": "span.kind", "type": "string", "value": "server"},
                {"key": "error", "type": "bool", "value": true},
                {"key": "big", "type": "int64", "value": "9223372036854775807"},
                {"key": "nan", "type": "float64", "value": "NaN"},
                {"key": "half", "type": "float64", "value": 0.5},
                {"key": "one", "type": "float64", "value": 1},
                {"key": "bytes", "type": "binary", "value": "AAE="},
                {"key": "list", "value": [1, "a"]}]},
            {"traceID": "7", "spanID": "2", "operationName": "pay", "startTime": 1_700_000_000_000_101_i64, "duration": 20,
             "processID": "p2", "references": [
                {"refType": "CHILD_OF", "traceID": "7", "spanID": "1"},
                {"refType": "FOLLOWS_FROM", "traceID": "8", "spanID": "9"}],
             "logs": [{"timestamp": 1_700_000_000_000_102_i64, "fields": [{"key": "event", "type": "string", "value": "sent"}]}]}],
    }]})
}

#[test]
fn spans_are_read_with_process_parent_and_types() {
    let spans = read(&file()).unwrap();
    let [shop, cards] = &spans[..] else { panic!("{spans:?}") };
    let first = &shop.scope_spans[0].spans[0];
    assert_eq!((first.kind, first.status.as_ref().unwrap().code), (2, 2));
    assert_eq!(first.end_time_unix_nano - first.start_time_unix_nano, 1_500_000);
    assert_eq!(TraceId::from_slice(&first.trace_id).to_hex(), format!("{:032x}", 7));
    let value = |key: &str| {
        let found = first.attributes.iter().find(|attribute| attribute.key == key.as_bytes());
        found.and_then(|attribute| attribute.value.clone()?.value)
    };
    assert_eq!(value("big"), Some(Value::IntValue(i64::MAX)));
    assert_eq!(value("half"), Some(Value::DoubleValue(0.5)));
    assert_eq!(value("one"), Some(Value::DoubleValue(1.0)));
    assert!(matches!(value("nan"), Some(Value::DoubleValue(number)) if number.is_nan()));
    assert_eq!(value("bytes"), Some(Value::BytesValue(Bytes::from_static(&[0, 1]))));
    assert_eq!(value("list"), Some(Value::StringValue("[1,\"a\"]".into())));
    assert_eq!(value(WARNINGS), Some(Value::StringValue("late; odd".into())));
    let second = &cards.scope_spans[0].spans[0];
    assert_eq!(second.parent_span_id, first.span_id);
    assert_eq!((second.links.len(), &second.events[0].name[..]), (1, &b"sent"[..]));
}

#[test]
fn file_that_was_written_reads_as_the_same() {
    let spans = read(&file()).unwrap();
    let again = read(&written(&spans)).unwrap();
    assert_eq!(written(&again), written(&spans));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let changed = |pointer: &str, value: Json| {
        let mut file = file();
        *file.pointer_mut(pointer).unwrap() = value;
        read(&file).unwrap_err()
    };
    assert_eq!(
        changed("/data/0/spans/1/spanID", json!("xyz")),
        "data[0].spans[1].spanID: no hexadecimal span id"
    );
    assert_eq!(
        changed("/data/0/spans/1/references/1/traceID", json!("")),
        "data[0].spans[1].references[1].traceID: no hexadecimal trace id"
    );
    assert_eq!(
        changed("/data/0/spans/1/processID", json!("p9")),
        "data[0].spans[1].processID: the trace has no process \"p9\""
    );
    let error = changed("/data/0/spans/1/startTime", json!("soon"));
    assert!(
        error.contains("invalid type: string \"soon\"") && error.contains("at line 1"),
        "{error}"
    );
    let error = read_jaeger_file(b"{\"data\":[{}]}").unwrap_err().to_string();
    assert_eq!(error, "missing field `spans` at line 1 column 11");
}

#[test]
fn file_of_nothing_is_refused_before_it_fills_the_memory() {
    let repeated = |element: &str, count: usize| vec![element; count].join(",");
    let span = |member: &str| {
        format!(
            r#"{{"data":[{{"spans":[{{"traceID":"1","spanID":"1","startTime":0,"duration":0,{member}}}]}}]}}"#
        )
    };
    for (file, expected) in [
        (
            span(&format!(r#""warnings":[{}]"#, repeated(r#""""#, 300_000))),
            "values in one span or process",
        ),
        (
            span(&format!(r#""tags":[{{"key":"","value":[{}]}}]"#, repeated("0", 300_000))),
            "values in one span or process",
        ),
        (format!(r#"{{"data":[{}]}}"#, repeated("{}", 300_000)), "more than 262144 traces"),
        (r#"{"data":[{"spans":[null]}]}"#.to_owned(), "invalid type: null, expected struct Span"),
        (r#"{"data":[null]}"#.to_owned(), "invalid type: null"),
    ] {
        let error = read_jaeger_file(file.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.len() <= error_text::MAX_BYTES, "{error}");
    }
    let tags = repeated(r#"{"key":"a","type":"bool","value":true}"#, 60_000);
    assert!(read_jaeger_file(span(&format!(r#""tags":[{tags}]"#)).as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn damaged_file_is_an_error_or_another_file(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = file().to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let _ = read_jaeger_file(&text);
    }
}

#[test]
fn spans_of_a_large_process_cost_the_same_as_of_a_small_one() {
    let span = |name: &str| json!({"traceID": "7", "spanID": "1", "operationName": "", "startTime": 1, "duration": 1, "processID": name});
    let process = json!({"serviceName": "a".repeat(16 << 20)});
    let spans = vec![span("p1"); 10_000];
    let file = json!({"data": [{"traceID": "7", "processes": {"p1": process}, "spans": spans}]});
    let began = std::time::Instant::now();
    let resource_spans = read(&file).unwrap();
    assert!(began.elapsed().as_secs() < 8);
    assert_eq!(resource_spans[0].scope_spans[0].spans.len(), 10_000);
    // Equal processes are one, whatever their names.
    let process = json!({"serviceName": "a"});
    let processes = json!({"p1": process, "p2": process});
    let spans = json!([span("p1"), span("p2")]);
    let file = json!({"data": [{"traceID": "7", "processes": processes, "spans": spans}]});
    assert_eq!(read(&file).unwrap().len(), 1);
}
