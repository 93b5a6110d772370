use super::*;
use crate::testing::{
    BINARY, COMPACT, STRICT_CALL, ZIPKIN, bytes, decoded, expected, expected_span,
};
use tactus_proto::otlp::any_value::Value;

#[test]
fn compact_call_gives_the_span() {
    let datagram = bytes(COMPACT);
    assert_eq!(datagram.len(), 87);
    assert_eq!(decoded(call_to_otlp(datagram)).unwrap(), expected());
}

#[test]
fn strict_binary_call_gives_the_span() {
    let datagram = bytes(&format!("{STRICT_CALL}{BINARY}00"));
    assert_eq!(datagram.len(), 200);
    assert_eq!(decoded(call_to_otlp(datagram)).unwrap(), expected());
}

#[test]
fn binary_call_without_a_version_gives_the_span() {
    let datagram = bytes(&format!("00000009656d69744261746368010000002a0c0001{BINARY}00"));
    assert_eq!(decoded(call_to_otlp(datagram)).unwrap(), expected());
}

#[test]
fn call_that_expects_an_answer_is_taken() {
    // Type 1, CALL, in place of 4, ONEWAY.
    let datagram = bytes(&format!("82210009{}", &COMPACT[8..]));
    assert_eq!(decoded(call_to_otlp(datagram)).unwrap(), expected());
}

#[test]
fn bytes_after_the_call_are_ignored() {
    let datagram = bytes(&format!("{COMPACT}ffff"));
    assert_eq!(decoded(call_to_otlp(datagram)).unwrap(), expected());
}

#[test]
fn zipkin_call_gives_the_span() {
    let datagram = bytes(ZIPKIN);
    assert_eq!(datagram.len(), 147);
    let request = decoded(call_to_otlp(datagram)).unwrap();
    let [group] = &request.resource_spans[..] else { panic!("{request:?}") };
    let resource = &group.resource.as_ref().unwrap().attributes;
    let shown: Vec<_> =
        resource.iter().map(|a| (&a.key[..], a.value.clone().unwrap().value)).collect();
    assert_eq!(
        shown,
        [
            (&b"service.name"[..], Some(Value::StringValue("svc".into()))),
            (b"ip", Some(Value::IntValue(2_130_706_433))),
        ]
    );
    let mut span = group.scope_spans[0].spans[0].clone();
    let [attribute] = &std::mem::take(&mut span.attributes)[..] else { panic!("{span:?}") };
    assert_eq!(attribute, &crate::to_otlp::string("http.method".into(), "GET".into()));
    assert_eq!(span, expected_span());
}

#[test]
fn what_is_no_call_is_an_error_that_says_so() {
    for (datagram, text) in [
        ("", "unexpected end of the Thrift data"),
        ("7b7d", "the data starts with 0x7b, which is no Thrift message"),
        ("82620009656d69744261746368", "Thrift version 0x2 is unknown"),
        ("80020004", "Thrift version 0x8002 is unknown"),
        ("822100026162", r#"unknown method "ab""#),
        ("00000002616201000000000c0001", r#"unknown method "ab""#),
        ("82210009656d6974426174636800", "Required field batch of emitBatch is not set"),
        ("822100ffffffff0f", "length 4294967295 is more than the 0 bytes that are left"),
        ("80010004ffffffff", "negative length -1"),
    ] {
        let error = call_to_otlp(bytes(datagram)).unwrap_err();
        assert_eq!(error.to_string(), text, "{datagram}");
    }
}
