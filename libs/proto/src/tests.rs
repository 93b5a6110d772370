use bytes::Bytes;
use prost::Message;

use crate::lossy;
use crate::otlp::{ExportTraceServiceRequest, ExportTraceServiceResponse, Span};
use crate::tempopb::{Trace, TraceByIdMetrics, TraceByIdResponse};

/// One span: trace 1/2, span 3, name `op`, kind server, service `svc`, status error.
const ONE_SPAN: &[u8] = b"\x0a\x57\x0a\x17\x0a\x15\x0a\x0cservice.name\x12\x05\x0a\x03svc\
    \x12\x3c\x0a\x00\x12\x38\x0a\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\
    \x12\x08\x00\x00\x00\x00\x00\x00\x00\x03\x2a\x02op\x30\x02\
    \x39\x00\x00\x2a\x36\xfe\x9c\x97\x17\x41\x60\xe3\x40\x36\xfe\x9c\x97\x17\x7a\x02\x18\x02";

#[test]
fn export_request_golden_bytes_decode_and_encode_unchanged() {
    let request = ExportTraceServiceRequest::decode(ONE_SPAN).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.name, "op");
    assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(span.end_time_unix_nano, 1_700_000_000_001_500_000);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    assert_eq!(request.encode_to_vec(), ONE_SPAN);
}

#[test]
fn trace_message_is_wire_identical_to_export_request() {
    assert_eq!(Trace::decode(ONE_SPAN).unwrap().encode_to_vec(), ONE_SPAN);
}

#[test]
fn span_name_with_invalid_utf8_is_accepted_and_shown_lossy() {
    let span = Span::decode(&b"\x2a\x02\xffA"[..]).unwrap();
    assert_eq!(&span.name[..], b"\xffA");
    assert_eq!(lossy(&span.name), "\u{fffd}A");
}

#[test]
fn bytes_fields_are_slices_of_the_decoded_buffer() {
    let buffer = Bytes::from_static(ONE_SPAN);
    let range = buffer.as_ptr_range();
    let request = ExportTraceServiceRequest::decode(buffer).unwrap();
    let name = request.resource_spans[0].scope_spans[0].spans[0].name.as_ptr();
    assert!(range.contains(&name));
}

#[test]
fn empty_trace_response_carries_trace_and_metrics_fields() {
    let response = TraceByIdResponse {
        trace: Some(Trace::default()),
        metrics: Some(TraceByIdMetrics::default()),
        ..Default::default()
    };
    assert_eq!(response.encode_to_vec(), [0x0a, 0x00, 0x12, 0x00]);
}

#[test]
fn export_response_with_empty_partial_success_is_two_bytes() {
    let response = ExportTraceServiceResponse { partial_success: Some(Default::default()) };
    assert_eq!(response.encode_to_vec(), [0x0a, 0x00]);
}

#[test]
fn surrogates_are_replaced_and_nothing_else_is() {
    for (text, expected) in [
        (&b"\xED\xA0\xBD"[..], "\u{FFFD}".as_bytes()),
        (b"a\xED\xBF\xBF\xED\xA0\x80b", "a\u{FFFD}\u{FFFD}b".as_bytes()),
        ("퟿ é 😀".as_bytes(), "퟿ é 😀".as_bytes()),
        (b"\xED\xA0", b"\xED\xA0"),
        (b"\xFF\xED\x9F\xBF", b"\xFF\xED\x9F\xBF"),
    ] {
        let mut text = text.to_vec();
        crate::replace_surrogates(&mut text);
        assert_eq!(text, expected);
    }
}
