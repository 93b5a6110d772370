use proptest::prelude::*;
use prost::Message;
use tactus_model::any_value::{self, DecodedValue, array_elements, decode_key_value, key_values};
use tactus_model::wire::Reader;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, Span};

use super::*;

/// One span: trace 1/2, span 3, name `op`, kind server, service `svc`, status error, 1.5 ms.
const ONE_SPAN: &[u8] = b"\x0a\x57\x0a\x17\x0a\x15\x0a\x0cservice.name\x12\x05\x0a\x03svc\
    \x12\x3c\x0a\x00\x12\x38\x0a\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\
    \x12\x08\x00\x00\x00\x00\x00\x00\x00\x03\x2a\x02op\x30\x02\
    \x39\x00\x00\x2a\x36\xfe\x9c\x97\x17\x41\x60\xe3\x40\x36\xfe\x9c\x97\x17\x7a\x02\x18\x02";

/// The same span as JSON, in a mixture of the spellings that are allowed.
const ONE_SPAN_JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"svc"}}]},"unknown":1,"scopeSpans":[{"spans":[{"trace_id":"00000000000000010000000000000002","spanId":"0000000000000003","name":"op","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1700000000000000000","end_time_unix_nano":1700000000001500000,"status":{"code":2}}]}]}]}"#;

/// A message or text in a field of a message.
fn field(message: &[u8], number: u32) -> &[u8] {
    let mut reader = Reader::new(message);
    while let Some((found, value)) = reader.next_field().unwrap() {
        if found == number {
            return value.bytes(number).unwrap();
        }
    }
    panic!("no field {number}");
}

/// The one span of a request whose span has these members.
fn span(members: &str) -> Result<Span, String> {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{members}}}]}}]}}]}}"#);
    let request = decode_export_request(json.as_bytes()).map_err(|error| error.to_string())?;
    Ok(request.resource_spans[0].scope_spans[0].spans[0].clone())
}

/// The value of an attribute with this JSON.
fn attribute(value: &str) -> Result<Option<Value>, String> {
    let span = span(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#))?;
    Ok(span.attributes[0].value.clone().and_then(|value| value.value))
}

#[test]
fn json_and_protobuf_of_a_span_are_the_same_message() {
    let mut expected = ExportTraceServiceRequest::decode(ONE_SPAN).unwrap();
    // The golden bytes write an empty scope.
    expected.resource_spans[0].scope_spans[0].scope = None;
    assert_eq!(decode_export_request(ONE_SPAN_JSON.as_bytes()), Ok(expected));
}

#[test]
fn every_member_of_a_span_is_read() {
    let read = span(
        r#""traceId":"0102030405060708090A0b0c0d0e0f10","spanId":"1112131415161718",
        "traceState":"a=b","parentSpanId":"2122232425262728","name":"n","kind":3,
        "startTimeUnixNano":"1","endTimeUnixNano":2,"droppedAttributesCount":"3",
        "events":[{"timeUnixNano":"4","name":"e","attributes":[{"key":"k"}],"droppedAttributesCount":5}],
        "droppedEventsCount":6,
        "links":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"1112131415161718",
                  "traceState":"c=d","attributes":[],"droppedAttributesCount":7,"flags":8}],
        "droppedLinksCount":9,"status":{"message":"m","code":"STATUS_CODE_ERROR"},"flags":257"#,
    )
    .unwrap();
    assert_eq!(&read.trace_id[..], (1..=16).collect::<Vec<u8>>());
    assert_eq!(&read.parent_span_id[..], (0x21..=0x28).collect::<Vec<u8>>());
    assert_eq!((read.start_time_unix_nano, read.end_time_unix_nano), (1, 2));
    assert_eq!((read.kind, read.flags), (3, 257));
    assert_eq!((read.events[0].time_unix_nano, read.events[0].dropped_attributes_count), (4, 5));
    assert_eq!((read.links[0].dropped_attributes_count, read.links[0].flags), (7, 8));
    assert_eq!((read.dropped_events_count, read.dropped_links_count), (6, 9));
    assert_eq!(read.status.unwrap().code, 2);
}

#[test]
fn attribute_values_of_all_types() {
    assert_eq!(attribute(r#"{"stringValue":"s"}"#), Ok(Some(Value::StringValue("s".into()))));
    assert_eq!(attribute(r#"{"boolValue":true}"#), Ok(Some(Value::BoolValue(true))));
    assert_eq!(attribute(r#"{"intValue":"-5"}"#), Ok(Some(Value::IntValue(-5))));
    assert_eq!(
        attribute(r#"{"intValue":9007199254740993}"#),
        Ok(Some(Value::IntValue((1 << 53) + 1)))
    );
    assert_eq!(attribute(r#"{"doubleValue":1}"#), Ok(Some(Value::DoubleValue(1.0))));
    assert_eq!(
        attribute(r#"{"doubleValue":"-Infinity"}"#),
        Ok(Some(Value::DoubleValue(f64::NEG_INFINITY)))
    );
    assert!(
        matches!(attribute(r#"{"doubleValue":"NaN"}"#), Ok(Some(Value::DoubleValue(nan))) if nan.is_nan())
    );
    assert_eq!(
        attribute(r#"{"bytesValue":"AQI="}"#),
        Ok(Some(Value::BytesValue(vec![1, 2].into())))
    );
    assert_eq!(attribute("{}"), Ok(None));
    assert_eq!(attribute("null"), Ok(None));
    let Ok(Some(Value::ArrayValue(array))) =
        attribute(r#"{"arrayValue":{"values":[{"intValue":1},{}]}}"#)
    else {
        panic!("an array")
    };
    assert_eq!(array.values, [AnyValue { value: Some(Value::IntValue(1)) }, AnyValue::default()]);
    let Ok(Some(Value::KvlistValue(list))) =
        attribute(r#"{"kvlist_value":{"values":[{"key":"a","value":{"boolValue":false}}]}}"#)
    else {
        panic!("a list")
    };
    assert_eq!(list.values[0].key, "a");
}

#[test]
fn boolean_or_number_of_a_value_that_is_null_is_none() {
    for member in ["boolValue", "intValue", "double_value"] {
        assert_eq!(attribute(&format!(r#"{{"{member}":null}}"#)), Ok(None), "{member}");
    }
    for (member, empty) in [
        ("stringValue", Value::StringValue(Bytes::new())),
        ("arrayValue", Value::ArrayValue(Default::default())),
        ("kvlistValue", Value::KvlistValue(Default::default())),
        ("bytesValue", Value::BytesValue(Bytes::new())),
    ] {
        assert_eq!(attribute(&format!(r#"{{"{member}":null}}"#)), Ok(Some(empty)), "{member}");
    }
    // As in the JSON mapping of protobuf, it does not undo another one.
    for both in [r#"{"intValue":1,"doubleValue":null}"#, r#"{"boolValue":null,"intValue":1}"#] {
        assert_eq!(attribute(both), Ok(Some(Value::IntValue(1))), "{both}");
    }
    let Ok(Some(Value::ArrayValue(array))) =
        attribute(r#"{"arrayValue":{"values":[{"doubleValue":null},{"doubleValue":2}]}}"#)
    else {
        panic!("an array")
    };
    let two = AnyValue { value: Some(Value::DoubleValue(2.0)) };
    assert_eq!(array.values, [AnyValue::default(), two]);
}

#[test]
fn integer_of_a_value_beyond_64_bits_is_a_double() {
    for (json, double) in [
        ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ("-9223372036854775809", -9_223_372_036_854_775_808.0),
        ("18446744073709552000", 18_446_744_073_709_551_616.0),
        ("1.7976931348623157e+308", f64::MAX),
        (r#""18446744073709551616""#, 18_446_744_073_709_551_616.0),
        (r#""-1000000000000000000000""#, -1e21),
    ] {
        let value = format!(r#"{{"intValue":{json}}}"#);
        assert_eq!(attribute(&value), Ok(Some(Value::DoubleValue(double))), "{json}");
        let list = attribute(&format!(r#"{{"arrayValue":{{"values":[{value}]}}}}"#));
        let Ok(Some(Value::ArrayValue(list))) = list else { panic!("{json}") };
        assert_eq!(list.values, [AnyValue { value: Some(Value::DoubleValue(double)) }]);
    }
    for (json, integer) in
        [("9223372036854775807", i64::MAX), (r#""-9223372036854775808""#, i64::MIN)]
    {
        let value = format!(r#"{{"intValue":{json}}}"#);
        assert_eq!(attribute(&value), Ok(Some(Value::IntValue(integer))));
    }
    let huge = format!(r#""{}""#, "9".repeat(400));
    for bad in
        ["1.5", "1e5", r#""1.5""#, r#""1e30""#, r#""Infinity""#, r#""-""#, r#""""#, huge.as_str()]
    {
        let error = attribute(&format!(r#"{{"intValue":{bad}}}"#)).unwrap_err();
        assert!(error.contains("value.intValue: invalid value: "), "{error}");
    }
}

#[test]
fn broken_utf8_in_a_string_is_carried() {
    let json = b"{\"resourceSpans\":[{\"schemaUrl\":\"\xffA\"}]}";
    assert_eq!(&decode_export_request(json).unwrap().resource_spans[0].schema_url[..], b"\xffA");
}

#[test]
fn half_of_a_surrogate_pair_is_one_replacement_character() {
    let name = |json: &str| span(&format!(r#""name":"{json}""#)).unwrap().name;
    assert_eq!(name(r"cut \ud83d"), "cut \u{FFFD}");
    assert_eq!(name(r"\ude00\ud83d\ude00\ud83d\n"), "\u{FFFD}😀\u{FFFD}\n");
}

#[test]
fn ids_are_hex_of_the_right_length_or_empty() {
    assert!(span(r#""traceId":"""#).unwrap().trace_id.is_empty());
    assert!(span(r#""traceId":null"#).unwrap().trace_id.is_empty());
    for bad in [
        r#""spanId":"03""#,
        r#""spanId":"xx00000000000003""#,
        r#""traceId":"AAAAAAAAAAEAAAAAAAAAAg==""#,
        r#""spanId":"é0000000000003""#,
    ] {
        assert!(span(bad).is_err(), "{bad}");
    }
    assert!(span(r#""spanId":"03""#).unwrap_err().contains("length mismatch"));
}

#[test]
fn errors_name_the_field_and_the_position() {
    let error = span(r#""kind":"SERVER""#).unwrap_err();
    assert_eq!(
        error,
        "resourceSpans[0].scopeSpans[0].spans[0].kind: unknown string value \"SERVER\" at line 1 column 59"
    );
    let error = span(r#""attributes":[{"key":5}]"#).unwrap_err();
    assert!(
        error.starts_with(
            "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].key: invalid type: "
        ),
        "{error}"
    );
}

#[test]
fn null_is_nothing_for_objects_arrays_and_strings_but_an_error_for_numbers() {
    let read = span(r#""name":null,"status":null,"attributes":null,"links":null"#).unwrap();
    assert_eq!(read, Span { status: Some(Default::default()), ..Span::default() });
    for bad in [r#""flags":null"#, r#""startTimeUnixNano":null"#, r#""kind":null"#] {
        assert!(span(bad).is_err(), "{bad}");
    }
}

#[test]
fn numbers_out_of_range_are_errors() {
    for bad in [
        r#""flags":4294967296"#,
        r#""flags":-1"#,
        r#""startTimeUnixNano":1.5"#,
        r#""kind":4294967296"#,
    ] {
        assert!(span(bad).is_err(), "{bad}");
    }
}

#[test]
fn unknown_enum_number_is_kept() {
    assert_eq!(span(r#""kind":77"#).unwrap().kind, 77);
}

#[test]
fn repeated_keys_append_to_lists_and_replace_scalars() {
    let read = span(r#""name":"a","name":"b","links":[{}],"links":[{},{}],"status":{"code":2},"status":{"message":"m"}"#).unwrap();
    assert_eq!((&read.name[..], read.links.len()), (&b"b"[..], 3));
    assert_eq!(read.status.unwrap().code, 2);
}

#[test]
fn old_library_spans_become_scope_spans_unless_there_are_any() {
    let json = br#"{"resourceSpans":[{"instrumentationLibrarySpans":[{"instrumentationLibrary":{"name":"l"},"spans":[{"name":"s"}]}]}]}"#;
    let request = decode_export_request(json).unwrap();
    assert_eq!(request.resource_spans[0].scope_spans[0].scope.as_ref().unwrap().name, "l");
    let json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}],"instrumentationLibrarySpans":[{"spans":[{},{}]}]}]}"#;
    let request = decode_export_request(json).unwrap();
    assert_eq!(request.resource_spans[0].scope_spans.len(), 1);
}

#[test]
fn empty_object_and_trailing_bytes_are_accepted_and_an_empty_body_is_not() {
    assert_eq!(decode_export_request(b"{} trailing"), Ok(ExportTraceServiceRequest::default()));
    assert!(decode_export_request(b"").is_err());
    assert!(decode_export_request(b"[]").is_err());
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let depth = 10_000;
    let value = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(depth), "]}}".repeat(depth));
    assert!(attribute(&value).unwrap_err().contains("recursion limit"));
    let unknown = format!(r#""unknown":{}{}"#, "[".repeat(depth), "]".repeat(depth));
    // Skipping must not recurse without bound either; whether it is refused is its business.
    let _ = span(&unknown);
}

/// `value` in so many lists, every second one an array; the other ones take most levels of JSON.
fn nested(levels: usize, arrays: usize) -> String {
    (0..levels).fold(r#"{"stringValue":"bottom"}"#.to_owned(), |value, level| {
        if level < arrays {
            format!(r#"{{"arrayValue":{{"values":[{value}]}}}}"#)
        } else {
            format!(r#"{{"kvlistValue":{{"values":[{{"key":"k","value":{value}}}]}}}}"#)
        }
    })
}

#[test]
fn value_as_deep_as_is_accepted_is_read_wherever_it_stands() {
    // And some deeper: the span is refused for them, not the request.
    for (levels, arrays) in [(MAX_DEPTH, 0), (MAX_DEPTH, MAX_DEPTH), (MAX_DEPTH + 5, 3)] {
        let value = nested(levels, arrays);
        let json = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"events":[{{"attributes":[{{"key":"k","value":{value}}}]}}],"name":"[{{\""}}]}}]}}]}}"#
        );
        // Message by message: prost goes no deeper than a hundred of them.
        let request = read_export_request(json.as_bytes()).unwrap();
        let span =
            [1, 2, 2].into_iter().fold(&request[..], |message, number| field(message, number));
        let attribute = field(field(span, 11), 3);
        let mut found = decode_key_value(attribute).and_then(|(_, value)| any_value::decode(value));
        let mut depth = 0;
        loop {
            found = match found.unwrap() {
                DecodedValue::Array(values) => array_elements(values).next().unwrap(),
                DecodedValue::KeyValues(pairs) => {
                    key_values(pairs).next().unwrap().map(|(_, value)| value)
                }
                other => {
                    assert_eq!(other, DecodedValue::String(b"bottom"));
                    break;
                }
            };
            depth += 1;
        }
        assert_eq!((depth, field(span, 5)), (levels, &b"[{\""[..]));
    }
    let error = attribute(&nested(MAX_DEPTH * 2, 0)).unwrap_err();
    assert!(error.contains("attributes[0].value.kvlistValue"), "{error}");
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        "[a-z\"\\\\\u{e9}]{0,5}".prop_map(|text| Value::StringValue(text.into())),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
    ];
    leaf.prop_map(|value| AnyValue { value: Some(value) })
}

fn value_json(value: &AnyValue) -> serde_json::Value {
    use serde_json::json;
    match &value.value {
        Some(Value::StringValue(text)) => json!({ "stringValue": String::from_utf8_lossy(text) }),
        Some(Value::BoolValue(flag)) => json!({ "boolValue": flag }),
        Some(Value::IntValue(number)) => json!({ "intValue": number.to_string() }),
        _ => json!({}),
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>) {
        let _ = decode_export_request(&body);
    }

    #[test]
    fn almost_json_never_panics(body in r#"(\{|\}|\[|\]|:|,|"resourceSpans"|"scopeSpans"|"spans"|"traceId"|"kind"|"attributes"|"value"|"intValue"|null|1e99|-5|"\\u00e9"|"00"| ){0,60}"#) {
        let _ = decode_export_request(body.as_bytes());
    }

    #[test]
    fn attributes_survive_the_way_through_json(values in proptest::collection::vec(any_value(), 0..5), start: u64) {
        let attributes: Vec<_> = values
            .iter()
            .map(|value| serde_json::json!({ "key": "k", "value": value_json(value) }))
            .collect();
        let members = format!(
            r#""startTimeUnixNano":{start},"attributes":{}"#,
            serde_json::Value::from(attributes)
        );
        let read = span(&members).unwrap();
        prop_assert_eq!(read.start_time_unix_nano, start);
        let read: Vec<_> = read.attributes.into_iter().map(|kv| kv.value.unwrap()).collect();
        prop_assert_eq!(read, values);
    }
}

/// A request with these spans.
fn request_of(spans: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
}

#[test]
fn null_in_a_list_is_an_error_that_names_the_field() {
    let at = "resourceSpans[0].scopeSpans[0].spans";
    for (spans, place, expected) in [
        ("null", "[0]", "a span"),
        ("{},null", "[1]", "a span"),
        (r#"{"attributes":[null]}"#, "[0].attributes[0]", "a key and value"),
        (r#"{"events":[{},null]}"#, "[0].events[1]", "an event"),
        (r#"{"links":[null]}"#, "[0].links[0]", "a link"),
        (
            r#"{"attributes":[{"value":{"arrayValue":{"values":[null]}}}]}"#,
            "[0].attributes[0].value.arrayValue.values[0]",
            "a value",
        ),
    ] {
        let error = decode_export_request(request_of(spans).as_bytes()).unwrap_err().to_string();
        let start = format!("{at}{place}: invalid type: null, expected {expected} at line 1 ");
        assert!(error.starts_with(&start), "{error}");
    }
    for body in [
        r#"{"resourceSpans":[null]}"#,
        r#"{"resourceSpans":[{"scopeSpans":[null]}]}"#,
        r#"{"resourceSpans":[{"instrumentationLibrarySpans":[null]}]}"#,
        r#"{"resourceSpans":[{"resource":{"entityRefs":[{"idKeys":[null]}]}}]}"#,
    ] {
        assert!(decode_export_request(body.as_bytes()).is_err(), "{body}");
    }
    assert!(read_trace_file(br#"{"batches":[null]}"#).is_err());
}

#[test]
fn span_or_resource_has_so_many_elements_and_no_more() {
    let list = |element: &str, count: usize| vec![element; count].join(",");
    let body =
        |element: &str, count| request_of(&format!(r#"{{"events":[{}]}}"#, list(element, count)));
    assert!(decode_export_request(body("{}", 60_000).as_bytes()).is_ok());
    for body in [
        body("{}", 70_000),
        // Each event and its two attributes.
        body(r#"{"attributes":[{},{}]}"#, 25_000),
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}}}}]}}"#,
            list("{}", 70_000)
        ),
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"entityRefs":[{{"idKeys":[{}]}}]}}}}]}}"#,
            list(r#""""#, 70_000)
        ),
    ] {
        let error = read_export_request(body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("more than 65536 elements"), "{error}");
    }
    // Each span counts by itself.
    let request = read_export_request(request_of(&list("{}", 200_000)).as_bytes()).unwrap();
    assert!(request.len() < 500_000);
}

#[test]
fn error_that_repeats_the_body_is_cut_and_keeps_its_place() {
    let long = "é".repeat(1 << 20);
    for members in [
        format!(r#""kind":"{long}""#),
        format!(r#""flags":"{long}""#),
        format!(r#""attributes":"{long}""#),
        format!(r#""attributes":[{{"value":"{long}"}}]"#),
    ] {
        let error = span(&members).unwrap_err();
        assert!(error.len() <= error_text::MAX_BYTES, "{}", error.len());
        assert!(error.starts_with("resourceSpans[0].scopeSpans[0].spans[0]."), "{error}");
        assert!(error.contains("… (cut, ") && error.contains(" at line 1 column "), "{error}");
    }
}

#[test]
fn answers_of_tempo_and_jaeger_are_files_with_a_trace() {
    let spans =
        |id: &str| format!(r#"[{{"scopeSpans":[{{"spans":[{{"traceId":"{id}","name":"a"}}]}}]}}]"#);
    let (hex, base64) = ("00000000000000010000000000000002", "AAAAAAAAAAEAAAAAAAAAAg==");
    for file in [
        format!(r#"{{"resourceSpans":{}}}"#, spans(hex)),
        format!(r#"{{"batches":{}}}"#, spans(base64)),
        format!(r#"{{"trace":{{"batches":{}}},"metrics":{{}}}}"#, spans(hex)),
        format!(r#"{{"trace":{{"resourceSpans":{}}}}}"#, spans(base64)),
        format!(r#"{{"result":{{"resourceSpans":{}}}}}"#, spans(hex)),
    ] {
        let decoded = read_trace_file(file.as_bytes()).unwrap();
        let decoded = ExportTraceServiceRequest::decode(decoded).unwrap();
        let span = &decoded.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(span.trace_id[..], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2], "{file}");
    }
    let file = format!(r#"{{"batches":{}}}"#, spans("1"));
    let error = read_trace_file(file.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("batches[0].scopeSpans[0].spans[0].traceId: length"), "{error}");
    assert!(error.contains("at line 1 column"), "{error}");
    let file = format!(r#"{{"batches":{}}}"#, spans(&format!(r#"{base64}","kind":"SERVER"#)));
    assert_eq!(
        read_trace_file(file.as_bytes()).unwrap_err().to_string(),
        r#"batches[0].scopeSpans[0].spans[0].kind: unknown string value "SERVER""#
    );
}
