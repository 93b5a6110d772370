use proptest::prelude::*;
use serde_json::json;
use tactus_model::TraceId;
use tactus_model::wire::{put_fixed64_field, put_message_field};
use tactus_proto::otlp::ExportTraceServiceRequest;

use super::*;

const TRACE: &str = "00000000000000010000000000000002";

fn otlp(name: &str) -> serde_json::Value {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [
        {"traceId": TRACE, "spanId": "0000000000000003", "name": name, "startTimeUnixNano": "1"}]}]}]})
}

fn protobuf(name: &str) -> Vec<u8> {
    read_trace_file(otlp(name).to_string().as_bytes()).unwrap().to_vec()
}

/// A list with one of Zipkin's spans.
fn zipkin_protobuf(name: &str) -> Vec<u8> {
    let (mut span, mut list) = (Vec::new(), Vec::new());
    put_message_field(&mut span, 1, &TraceId::from_hex(TRACE).unwrap().0);
    put_message_field(&mut span, 3, &[0, 0, 0, 0, 0, 0, 0, 3]);
    put_message_field(&mut span, 5, name.as_bytes());
    put_fixed64_field(&mut span, 6, 1);
    put_message_field(&mut list, 1, &span);
    list
}

fn read(file: impl Into<Bytes>) -> Result<TraceFile> {
    decode(&file.into(), 10)
}

/// Format, trace ids and spans of a file.
fn shown(file: impl Into<Bytes>) -> (&'static str, Vec<TraceId>, usize) {
    let TraceFile { format, content } = read(file).unwrap();
    (format, content.traces.iter().map(|(id, _)| *id).collect(), content.spans)
}

fn error(file: impl Into<Bytes>) -> String {
    read(file).unwrap_err().to_string()
}

#[test]
fn every_format_is_told_by_its_content() {
    let id = TraceId::from_hex(TRACE).unwrap();
    let text = otlp("a").to_string();
    let jaeger = json!({"data": [{"processes": {"p1": {"serviceName": "shop"}}, "spans": [
        {"traceID": TRACE, "spanID": "3", "startTime": 1, "duration": 1, "processID": "p1"}]}]});
    let mut jaeger_trace = jaeger["data"][0].clone();
    jaeger_trace["traceID"] = TRACE.into();
    let tempo = json!({"batches": otlp("a")["resourceSpans"]});
    let zipkin = json!([{"traceId": TRACE, "id": "0000000000000003", "name": "a"}]);
    let first_model =
        json!([{"traceId": TRACE, "id": "0000000000000003", "name": "a", "binaryAnnotations": []}]);
    for (file, format) in [
        (text.clone().into_bytes(), "OTLP JSON"),
        (format!("\u{feff}\n {text}").into_bytes(), "OTLP JSON"),
        (protobuf("a"), "OTLP protobuf"),
        (tempo.to_string().into_bytes(), "Tempo JSON"),
        (json!({"trace": otlp("a"), "metrics": {}}).to_string().into_bytes(), "Tempo JSON"),
        (json!({"result": otlp("a")}).to_string().into_bytes(), "OTLP JSON"),
        (jaeger.to_string().into_bytes(), "Jaeger JSON"),
        (jaeger_trace.to_string().into_bytes(), "Jaeger JSON"),
        (json!([jaeger_trace]).to_string().into_bytes(), "Jaeger JSON"),
        (json!([zipkin]).to_string().into_bytes(), "Zipkin JSON"),
        (json!([zipkin, []]).to_string().into_bytes(), "Zipkin JSON"),
        (zipkin.to_string().into_bytes(), "Zipkin JSON"),
        (first_model.to_string().into_bytes(), "Zipkin JSON"),
        (zipkin_protobuf("a"), "Zipkin protobuf"),
    ] {
        assert_eq!(shown(file), (format, vec![id], 1));
    }
    // The length of this one is an opening brace.
    let name = "a".repeat(usize::from(b'{') - (protobuf("a").len() - 2) + 1);
    let braced = protobuf(&name);
    assert_eq!(braced[..2], *b"\n{");
    assert_eq!(shown(braced).0, "OTLP protobuf");
    let name = "a".repeat(usize::from(b'{') - (zipkin_protobuf("a").len() - 2) + 1);
    assert_eq!(zipkin_protobuf(&name)[..2], *b"\n{");
    assert_eq!(shown(zipkin_protobuf(&name)).0, "Zipkin protobuf");
    // A resource and the address of a schema may be as long as ids.
    let mut request = ExportTraceServiceRequest::decode(&*protobuf("a")).unwrap();
    request.resource_spans[0].schema_url = Bytes::from_static(b"http://a");
    let schema = request.encode_to_vec();
    assert_eq!(shown(schema).0, "OTLP protobuf");
}

#[test]
fn lines_of_a_collector_are_read_together() {
    let streamed = |name| json!({"result": otlp(name)});
    assert_eq!(shown(format!("{}\n{}\n", streamed("a"), streamed("b"))).2, 2);
    let file = format!("{}\n{}\n", otlp("a"), otlp("b"));
    assert_eq!(shown(file.clone()).2, 2);
    let broken = format!("{file}\n{{\"resourceSpans\":[{{\"scopeSpans\":7}}]}}");
    let damage = error(broken);
    let place = "document 3, after line 2: resourceSpans[0].scopeSpans: invalid type";
    assert!(damage.starts_with(place), "{damage}");
}

#[test]
fn damage_is_told_with_its_place() {
    assert_eq!(error(""), "the file is empty");
    assert_eq!(error(" \n"), "the file is empty");
    let cut = error("{\n\"resourceSpans\": [");
    assert_eq!(cut, "no JSON: EOF while parsing a list at line 2 column 18");
    // The second is an answer of Tempo in the form for language models.
    for other in [
        r#"{"spans": []}"#,
        r#"{"trace": {"traceId": "1", "services": [{"serviceName": "shop"}]}}"#,
        r#"{"result": {}}"#,
    ] {
        let other = error(other);
        assert!(other.starts_with("no traces in it: expected `resourceSpans`"), "{other}");
    }
    for other in ["hello", "<!doctype html>\n<html>", "\n null", "größer"] {
        assert_eq!(error(other), "a text, but no JSON of traces, which begins with { or [");
    }
    let binary = error(vec![0x77, 0x07, 0x00]);
    assert!(binary.starts_with("neither JSON nor protobuf of traces: "), "{binary}");
    for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let text = format!("\u{feff}{}", otlp("a"));
        let utf_16: Vec<u8> = text.encode_utf16().flat_map(to_bytes).collect();
        assert_eq!(error(utf_16), "a text in UTF-16: save it as UTF-8");
    }
    let id = error(otlp("a").to_string().replace(TRACE, "1"));
    assert!(id.starts_with("resourceSpans[0].scopeSpans[0].spans[0].traceId: "), "{id}");
    let zipkin = error(r#"[{"traceId":"x"}]"#);
    assert!(zipkin.contains("span 0 of the list"), "{zipkin}");
    // The second resource's span is cut off.
    let first = protobuf("a");
    let place = format!("resourceSpans[1], from byte {}: ", first.len());
    let damaged = error([first.clone(), vec![0x0a, 4, 0x12, 2, 0x12, 7]].concat());
    assert!(damaged.starts_with(&place), "{damaged}");
    // A name that is a number.
    let damaged = error([first.clone(), vec![0x0a, 6, 0x12, 4, 0x12, 2, 0x28, 7]].concat());
    assert!(damaged.starts_with(&place), "{damaged}");
    assert!(error([first, vec![0x12, 0]].concat()).contains("a field 2 at byte"));
}

#[test]
fn file_of_nothing_costs_nothing_and_a_span_of_nothing_is_refused() {
    assert_eq!(shown([0x0a, 0].repeat(40_000)).2, 0);
    assert_eq!(shown("[]".repeat(40_000)).2, 0);
    let mut file = Vec::new();
    for (field, empty) in [(2, [0x4a, 0]), (2, [0x5a, 0]), (1, [0x0a, 0])] {
        let within = |field: u8, message: &[u8]| {
            let mut out = vec![field << 3 | 2];
            prost::encode_length_delimiter(message.len(), &mut out).unwrap();
            [out, message.to_vec()].concat()
        };
        let part = within(field, &empty.repeat(70_000));
        file = if field == 2 { within(1, &within(2, &part)) } else { within(1, &part) };
        let refused = error(file.clone());
        assert!(refused.contains("more than 65536 elements in one span or resource"), "{refused}");
    }
    assert!(error(file).starts_with("resourceSpans[0], from byte 0: "));
    let null = error(r#"{"resourceSpans":[{"scopeSpans":[{"spans":[null,null]}]}]}"#);
    assert!(
        null.starts_with("resourceSpans[0].scopeSpans[0].spans[0]: invalid type: null"),
        "{null}"
    );
}

#[test]
fn file_with_too_many_spans_is_refused() {
    let file = format!("{}\n", otlp("a")).repeat(11);
    assert_eq!(
        error(file),
        "the file has 11 spans, more than 10 (limit: query_frontend.trace_files.max_spans)"
    );
}

proptest! {
    #[test]
    fn damaged_file_is_an_error_or_another_file(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for mut file in [otlp("a").to_string().into_bytes(), protobuf("a")] {
            let at = at.index(file.len());
            file[at] = byte;
            let _ = read(file);
        }
    }
}
