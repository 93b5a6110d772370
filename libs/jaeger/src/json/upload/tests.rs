use proptest::prelude::*;
use serde_json::json;
use tactus_otlp_json::decode_export_request;

use super::*;

const ONE: &str = "00000000000000010000000000000002";
const OTHER: &str = "00000000000000010000000000000003";

fn read(json: &serde_json::Value) -> Result<Vec<(TraceId, Vec<ResourceSpans>)>, UploadError> {
    traces_of_upload(json.to_string().as_bytes(), 100)
}

#[test]
fn trace_has_all_that_is_written() {
    let written = json!([{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "svc"}}]},
        "scopeSpans": [{"scope": {"name": "lib", "version": "1"}, "spans": [{
            "traceId": ONE, "spanId": "0000000000000003", "traceState": "a=b", "parentSpanId": "0000000000000005", "flags": 1,
            "name": "op", "kind": 2, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000001500000",
            "attributes": [
                {"key": "i", "value": {"intValue": "-1"}},
                {"key": "d", "value": {"doubleValue": 0.5}},
                {"key": "b", "value": {"boolValue": true}},
                {"key": "y", "value": {"bytesValue": "YWI="}},
                {"key": "l", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
                {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {}}]}}},
            ],
            "droppedAttributesCount": 4,
            "events": [{"timeUnixNano": "3", "name": "e"}],
            "links": [{"traceId": OTHER, "spanId": "0000000000000003"}],
            "status": {"message": "m", "code": 2},
        }]}],
    }]);
    let file = json!({"resourceSpans": written});
    let traces = read(&file).unwrap();
    assert_eq!(traces.len(), 1);
    let request = decode_export_request(file.to_string().as_bytes()).unwrap();
    assert_eq!(traces[0].1, request.resource_spans);
}

#[test]
fn other_spellings_are_read() {
    let traces = read(
        &json!({"resource_spans": [{"unknown": 1, "resource": null, "scope_spans": [{"spans": [
            {"trace_id": ONE, "span_id": "00000000000000AB", "name": "a", "kind": "SPAN_KIND_CLIENT", "start_time_unix_nano": 5,
             "attributes": [{"key": "i", "value": {"int_value": 7}}], "status": {"code": "STATUS_CODE_OK"}},
        ]}]}]}),
    );
    let span = &traces.unwrap()[0].1[0].scope_spans[0].spans[0];
    assert_eq!((span.kind, span.start_time_unix_nano, span.span_id[7]), (3, 5, 0xab));
    assert_eq!(span.status.as_ref().unwrap().code, 1);
}

#[test]
fn spans_are_sorted_into_their_traces() {
    let span = |trace: &str, name: &str| json!({"traceId": trace, "spanId": "0000000000000001", "name": name});
    let traces = read(&json!({"resourceSpans": [
        {"scopeSpans": [{"spans": [span(OTHER, "a"), span(ONE, "b"), span(OTHER, "c"), {"name": "nowhere"}]}]},
        {"scopeSpans": [{"spans": [span(ONE, "d")]}]},
    ]}));
    let traces = traces.unwrap();
    let names = |resources: &[ResourceSpans]| {
        let scopes = resources.iter().flat_map(|resource| &resource.scope_spans);
        let names = scopes.flat_map(|scope| &scope.spans).map(|span| span.name.to_vec());
        String::from_utf8(names.collect::<Vec<_>>().concat()).unwrap()
    };
    let found: Vec<_> =
        traces.iter().map(|(id, resources)| (id.to_hex(), names(resources))).collect();
    assert_eq!(found, [(OTHER.to_owned(), "ac".to_owned()), (ONE.to_owned(), "bd".to_owned())]);
}

#[test]
fn what_is_wrong_is_named() {
    let file = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": "SERVER"}]}]}]});
    let error = read(&file).unwrap_err().to_string();
    assert!(error.starts_with("resourceSpans[0].scopeSpans[0].spans[0].kind: "), "{error}");
    for file in ["", "{", "[]", r#"{"resourceSpans":{}}"#] {
        assert!(traces_of_upload(file.as_bytes(), 100).is_err(), "{file}");
    }
}

#[test]
fn too_many_spans_or_copies_of_a_resource_are_refused() {
    let span =
        |trace: usize| json!({"traceId": format!("{trace:032x}"), "spanId": "0000000000000001"});
    let file = |attributes: usize, spans: usize| {
        let attributes = vec![json!({"key": "a"}); attributes];
        let spans: Vec<_> = (1..=spans).map(span).collect();
        let file = json!({"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]}]});
        traces_of_upload(file.to_string().as_bytes(), 1_000).map(|traces| traces.len())
    };
    assert_eq!(file(100, 1_000), Ok(1_000));
    assert_eq!(file(100, 1_001), Err(UploadError::TooManySpans { max_spans: 1_000 }));
    assert_eq!(file(1_000, 1_000), Err(UploadError::TooManyCopies));
    let keys = json!({"entityRefs": [{"idKeys": vec!["k"; 1_000]}]});
    let spans: Vec<_> = (1..=1_000).map(span).collect();
    let file = json!({"resourceSpans": [{"resource": keys, "scopeSpans": [{"spans": spans}]}]});
    let read = traces_of_upload(file.to_string().as_bytes(), 1_000);
    assert_eq!(read, Err(UploadError::TooManyCopies));
    let long = |bytes: usize, part: &str| {
        let attribute = json!({"key": "a", "value": {"stringValue": "x".repeat(bytes)}});
        let attributes = json!({"attributes": [attribute]});
        let spans: Vec<_> = (1..=1_000).map(span).collect();
        let mut resource_spans = json!({"scopeSpans": [{"spans": spans}]});
        match part {
            "scope" => resource_spans["scopeSpans"][0]["scope"] = attributes,
            _ => resource_spans["resource"] = attributes,
        }
        let file = json!({"resourceSpans": [resource_spans]});
        traces_of_upload(file.to_string().as_bytes(), 1_000).map(|traces| traces.len())
    };
    for part in ["resource", "scope"] {
        assert_eq!(long(60_000, part), Ok(1_000));
        assert_eq!(long(70_000, part), Err(UploadError::TooManyCopies));
    }
    let nothing = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        ["{}"; 1_001].join(",")
    );
    assert!(traces_of_upload(nothing.as_bytes(), 1_000).is_err());
}

proptest! {
    #[test]
    fn damaged_files_never_panic(cut in 0usize..200, flip in 0usize..200, byte in any::<u8>()) {
        let mut file = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": ONE, "attributes": [{"key": "a"}]}]}]}]})
            .to_string()
            .into_bytes();
        if let Some(place) = file.get_mut(flip) {
            *place = byte;
        }
        file.truncate(file.len().saturating_sub(cut));
        let _ = traces_of_upload(&file, 100);
    }
}
