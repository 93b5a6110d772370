use super::*;
use crate::testing::{BINARY, bytes, decoded, expected};

fn read_first(body: &Bytes) -> Span {
    let (_, mut spans) = read_batch(&mut Reader::new(Protocol::Binary, body.clone())).unwrap();
    spans.list(Kind::Struct, read_span).unwrap().remove(0)
}

#[test]
fn batch_of_an_http_body_gives_the_span() {
    let body = bytes(BINARY);
    assert_eq!(body.len(), 175);
    assert_eq!(decoded(batch_to_otlp(body)).unwrap(), expected());
}

#[test]
fn text_is_a_slice_of_the_body() {
    let body = bytes(BINARY);
    let name = read_first(&body).operation_name.as_ptr();
    assert!(body.as_ptr_range().contains(&name));
}

#[test]
fn missing_field_is_named_with_its_struct() {
    let process = "0c00010b0001000000037376630000";
    let process = &process[..process.len() - 2];
    for (body, text) in [
        ("00", "Required field process of Batch is not set"),
        (&format!("{process}00"), "Required field spans of Batch is not set"),
        ("0c000100", "Required field serviceName of Process is not set"),
        (
            &format!("{process}0f00020c000000010a000100000000000000020000"),
            "Required field traceIdHigh of Span is not set",
        ),
        (
            // The first tag has a key and no type.
            "0c00010b0001000000037376630f00020c000000010b000100000001610000",
            "Required field vType of Tag is not set",
        ),
    ] {
        assert_eq!(batch_to_otlp(bytes(body)).unwrap_err().to_string(), text, "{body}");
    }
}

#[test]
fn field_of_another_type_counts_as_unknown() {
    // The service name as an i32.
    let error = batch_to_otlp(bytes("0c000108000100000001000f00020c0000000000")).unwrap_err();
    let missing = ThriftError::Missing { of: "Process", field: "serviceName" };
    assert_eq!(error, missing.into());
}

#[test]
fn unknown_fields_of_every_type_are_skipped() {
    // Fields 100 to 110 of the batch, before its own: bool, byte, double, i16, i32, i64, string,
    // struct with a field, map, set, list of structs.
    let unknown = "020064010300650704006600000000000000000600670001080068000000010a00690000000000000001\
        0b006a0000000161\
        0c006b0800010000000100\
        0d006c0b0800000001000000016100000001\
        0e006d080000000100000001\
        0f006e0c000000020000";
    let body = bytes(&format!("{}{BINARY}", unknown.replace(' ', "")));
    assert_eq!(decoded(batch_to_otlp(body)).unwrap(), expected());
}

#[test]
fn times_before_1970_and_negative_durations_are_told_by_their_parts() {
    assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_999_000 });
    assert_eq!(timestamp(1_500_000), Timestamp { seconds: 1, nanos: 500_000_000 });
    assert_eq!(micros(-1_500_000), Duration { seconds: -1, nanos: -500_000_000 });
}

#[test]
fn parent_field_becomes_the_first_reference() {
    // The span of the batch with parent 9, and a reference to it that says the same.
    let with_parent = BINARY.replace("0a00040000000000000000", "0a00040000000000000009");
    let found = read_first(&bytes(&with_parent));
    let reference = &found.references[0];
    assert_eq!(reference.span_id, bytes("0000000000000009"));
    assert_eq!(reference.trace_id, found.trace_id);
    let request = decoded(batch_to_otlp(bytes(&with_parent))).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.parent_span_id, bytes("0000000000000009"));
    assert!(span.links.is_empty());
}

#[test]
fn types_of_tags_are_told_by_the_numbers_of_thrift() {
    let of = |number: u8| {
        // A tag `a` of a type, with a number of each kind in it.
        let tag = format!(
            "0b00010000000161080002000000{number:02x}0b0003000000017304000440000000000000000200050\
             10a000600000000000000070b0007000000016200"
        );
        read_tag(&mut Reader::new(Protocol::Binary, bytes(&tag.replace(' ', "")))).unwrap()
    };
    let types = [0, 1, 2, 3, 4, 9].map(|number| of(number).v_type);
    let expected = [
        ValueType::String,
        ValueType::Float64,
        ValueType::Bool,
        ValueType::Int64,
        ValueType::Binary,
    ];
    assert_eq!(types[..5], expected.map(i32::from));
    assert_eq!(types[5], 9);
    let tag = of(0);
    assert_eq!((tag.v_float64, tag.v_bool, tag.v_int64), (2.0, true, 7));
    assert_eq!((&tag.v_str[..], &tag.v_binary[..]), (&b"s"[..], &b"b"[..]));
}
