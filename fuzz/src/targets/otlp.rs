//! OTLP's requests: protobuf as the distributor walks it and the ingester converts it, and JSON.

use prost::Message;
use tactus_api::json::JsonStyle;
use tactus_api::trace::CombinedTrace;
use tactus_model::{SpanBatch, merge::merge, otlp::encode_traces_data};
use tactus_otlp_json::{decode_export_request, read_trace_file};

use crate::sample;

/// The first byte: how long attributes may be.
pub(crate) fn feed(input: &[u8]) {
    let Some((&limit, request)) = input.split_first() else { return };
    if let Some(batch) = sample::spans_of(request, usize::from(limit) * 8) {
        check(&batch);
    }
}

/// What was taken can be merged, answered and taken again.
pub(crate) fn check(batch: &SpanBatch) {
    batch.check().expect("a batch is whole");
    let sorted = merge(&[batch]).0;
    sorted.check().expect("a merged batch is whole");
    assert!(sorted.is_sorted());
    let again = sample::spans_of(&encode_traces_data(&sorted), 0).expect("what is written is read");
    assert_eq!(again.len(), sorted.len());
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let request = |traces| sample::request(traces).encode_to_vec();
    // A bare span, and one where old senders have it.
    let span = b"\x0a\x20\x12\x1e\x12\x1c\x0a\x10\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x12\x08\x02\x02\x02\x02\x02\x02\x02\x02";
    let old = b"\x0a\x21\xc2\x3e\x1e\x12\x1c\x0a\x10\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x12\x08\x02\x02\x02\x02\x02\x02\x02\x02";
    [request(1), request(2), span.to_vec(), old.to_vec()]
        .into_iter()
        .flat_map(|request| [0, 1].map(|limit| [&[limit][..], &request].concat()))
        .collect()
}

pub(crate) fn feed_json(json: &[u8]) {
    let _ = read_trace_file(json);
    let Ok(request) = decode_export_request(json) else { return };
    if let Some(batch) = sample::spans_of(&request.encode_to_vec(), 0) {
        check(&batch);
    }
    let Ok(trace) = CombinedTrace::of_message(&request.encode_to_vec().into()) else { return };
    let Some(written) = json_of(&trace) else { return };
    let written = format!(r#"{{"resourceSpans":{written}}}"#);
    let again = decode_export_request(written.as_bytes()).expect("what is written is read");
    // Without the texts that may have been around its spans, it may be refused as hollow.
    let Ok(again) = CombinedTrace::of_message(&again.encode_to_vec().into()) else { return };
    assert_eq!(again.spans(), trace.spans());
}

/// `None`: an attribute is nested too deeply.
fn json_of(trace: &CombinedTrace) -> Option<String> {
    let elements = trace.to_json_elements(JsonStyle::Otlp).ok()?;
    Some(format!("[{}]", String::from_utf8(elements).expect("JSON is text")))
}

pub(crate) fn json_seeds() -> Vec<Vec<u8>> {
    let message = sample::request(1).encode_to_vec().into();
    let trace = CombinedTrace::of_message(&message).expect("a sample is valid");
    let json = json_of(&trace).expect("a sample has a JSON form");
    let old = json.replace("scopeSpans", "instrumentationLibrarySpans");
    let snake = json.replace("traceId", "trace_id").replace("intValue", "int_value");
    let texts = [
        format!(r#"{{"resourceSpans":{json}}}"#),
        format!(r#"{{"resourceSpans":{old}}}"#),
        format!(r#"{{"resource_spans":{snake}}}"#),
        format!(r#"{{"batches":{json}}}"#),
        format!(r#"{{"trace":{{"resourceSpans":{json}}}}}"#),
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1544712660000000000","attributes":[{"key":"k","value":{"arrayValue":{"values":[{"doubleValue":"NaN"},{"bytesValue":"AA=="}]}}}]}]}]}]}"#.to_owned(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}
