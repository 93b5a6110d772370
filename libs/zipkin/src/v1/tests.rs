use tactus_jaeger::zipkincore::annotation_type;
use tactus_proto::otlp::any_value::Value;

use crate::tests::{attributes, error, one, one_with, pairs, text, unhex};
use crate::{DecodeOptions, Format};

fn json(members: &str) -> String {
    format!(r#"[{{"traceId":"0000000000000001","id":"0000000000000002"{members}}}]"#)
}

fn properties(values: &str) -> String {
    json(&format!(r#","timestamp":1,"binaryAnnotations":[{values}]"#))
}

#[test]
fn ids_have_their_lengths_and_texts() {
    for (trace_id, id, expected) in [
        ("1", "0000000000000001", "hex traceId span has wrong length (expected 16 or 32)"),
        ("0000000000000001", "1", "hex Id has wrong length (expected 16)"),
        ("0000000000000000", "0000000000000001", "traceId is zero"),
        ("0000000000000001", "0000000000000000", "ID is zero"),
        ("000000000000000g", "0000000000000001", "traceId is not a hex number"),
        ("0000000000000001", "000000000000000g", "id is not a hex number"),
    ] {
        let error = error(Format::JsonV1, format!(r#"[{{"traceId":"{trace_id}","id":"{id}"}}]"#));
        assert!(error.starts_with(expected), "{error}");
    }
    let (_, span) = one(Format::JsonV1, json(r#","parentId":"0000000000000002","timestamp":1"#));
    assert_eq!(&span.parent_span_id[..], unhex("0000000000000002"));
}

#[test]
fn first_core_annotation_says_the_kind() {
    for (value, kind) in
        [("cs", 3), ("cr", 3), ("sr", 2), ("ss", 2), ("ms", 4), ("mr", 5), ("ws", 0)]
    {
        let annotations = format!(
            r#","annotations":[{{"timestamp":1,"value":"{value}"}},{{"timestamp":2,"value":"other"}}]"#
        );
        let (_, span) = one(Format::JsonV1, json(&annotations));
        assert_eq!(span.kind, kind, "{value}");
        assert_eq!(span.events.len(), if kind == 0 { 2 } else { 1 });
    }
}

#[test]
fn address_of_the_other_side_is_the_peer() {
    let span = |core: &str, address: &str, value: &str| {
        one(
            Format::JsonV1,
            json(&format!(
                r#","timestamp":1,"annotations":[{{"timestamp":1,"value":"{core}"}}],"binaryAnnotations":[
                {{"key":"a","value":"b","endpoint":{{"serviceName":"shop"}}}},
                {{"key":"{address}","value":{value},"endpoint":{{"serviceName":"db","ipv4":"10.0.0.1","port":5432}}}}]"#
            )),
        )
    };
    let peer = [
        ("a", text("b")),
        ("peer.service", text("db")),
        ("net.peer.ip", text("10.0.0.1")),
        ("net.peer.port", Value::IntValue(5432)),
    ];
    for (core, address) in
        [("cs", "sa"), ("sr", "ca"), ("ms", "ma"), ("mr", "ma"), ("x", "sa"), ("x", "ca")]
    {
        let (resource, span) = span(core, address, "true");
        assert_eq!(attributes(&span.attributes), pairs(&peer), "{core} {address}");
        assert_eq!(resource, pairs(&[("service.name", text("shop"))]));
    }
    for (core, address, value) in [
        ("cs", "ca", "true"),
        ("sr", "sa", "true"),
        ("cs", "sa", "false"),
        ("cs", "sa", r#""true""#),
    ] {
        let (_, span) = span(core, address, value);
        let found = attributes(&span.attributes);
        assert_eq!((found.len(), &*found[1].0), (2, address), "{core} {value}");
    }
}

#[test]
fn times_are_given_or_those_of_annotations_or_now() {
    let options = DecodeOptions { now_unix_nanos: 77, ..DecodeOptions::default() };
    let times = |members: &str| {
        let (_, span) = one_with(Format::JsonV1, json(members), &options);
        let marks = attributes(&span.attributes);
        (span.start_time_unix_nano, span.end_time_unix_nano, marks)
    };
    let annotations = r#","annotations":[{"timestamp":5,"value":"a"},{"timestamp":3,"value":"b"}]"#;
    assert_eq!(times(annotations), (3_000, 5_000, vec![]));
    let given = format!(r#","timestamp":2,"duration":9{annotations}"#);
    assert_eq!(times(&given), (2_000, 11_000, vec![]));
    let mark = pairs(&[("otel.zipkin.absentField.startTime", Value::BoolValue(true))]);
    assert_eq!(times(""), (77, 77, mark));
}

#[test]
fn binary_annotations_keep_their_json_type() {
    let body = properties(
        r#"{"key":"s","value":"12"},{"key":"i","value":-3},{"key":"d","value":1.5},{"key":"b","value":true},{"key":"lc","value":"worker"}"#,
    );
    let (resource, span) = one(Format::JsonV1, body.clone());
    assert_eq!(resource, pairs(&[("service.name", text("worker"))]));
    let mut expected = [
        ("s", text("12")),
        ("i", Value::IntValue(-3)),
        ("d", Value::DoubleValue(1.5)),
        ("b", Value::BoolValue(true)),
        ("component", text("worker")),
    ];
    assert_eq!(attributes(&span.attributes), pairs(&expected));
    let options = DecodeOptions { parse_string_tags: true, ..DecodeOptions::default() };
    let (_, span) = one_with(Format::JsonV1, body, &options);
    expected[0].1 = Value::IntValue(12);
    assert_eq!(attributes(&span.attributes), pairs(&expected));
    assert!(error(Format::JsonV1, properties(r#"{"key":"o","value":{}}"#)).contains("line 1"));
}

#[test]
fn service_is_of_a_core_annotation_then_of_the_last_property_then_unknown() {
    let endpoint =
        |name: &str| format!(r#""endpoint":{{"serviceName":"{name}","ipv4":"1.1.1.1"}}"#);
    let core = format!(
        r#","annotations":[{{"timestamp":1,"value":"cs"}},{{"timestamp":1,"value":"cr",{}}}]"#,
        endpoint("core")
    );
    let property = |name: &str| format!(r#"{{"key":"k","value":"v",{}}}"#, endpoint(name));
    let list = format!(r#","binaryAnnotations":[{},{}]"#, property("first"), property("last"));
    let service = |members: &str| {
        let (resource, _) = one(Format::JsonV1, json(members));
        let found = resource.into_iter().find(|(key, _)| key == "service.name");
        found.unwrap().1
    };
    assert_eq!(service(&format!("{core}{list}")), text("core"));
    assert_eq!(service(&list), text("last"));
    assert_eq!(service(""), text("unknown-service"));
}

#[test]
fn status_follows_the_conventions_in_their_order() {
    let status = |values: &str| {
        let (_, span) = one(Format::JsonV1, properties(values));
        let status = span.status.unwrap_or_default();
        let left = attributes(&span.attributes).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        (status.code, String::from_utf8(status.message.to_vec()).unwrap(), left.join(","))
    };
    let of = |code: i32, message: &str, left: &str| (code, message.to_owned(), left.to_owned());
    let described = r#"{"key":"census.status_description","value":"why"}"#;
    assert_eq!(
        status(r#"{"key":"census.status_code","value":"0"},{"key":"error","value":"x"}"#),
        of(1, "", "")
    );
    assert_eq!(
        status(&format!(r#"{{"key":"census.status_code","value":7}},{described}"#)),
        of(2, "why", "")
    );
    assert_eq!(
        status(
            r#"{"key":"otel.status_code","value":2},{"key":"otel.status_description","value":"d"}"#
        ),
        of(2, "d", "")
    );
    let both = format!(r#"{described},{{"key":"otel.status_description","value":"d"}}"#);
    assert_eq!(
        status(&format!(r#"{{"key":"otel.status_code","value":2}},{both}"#)),
        of(2, "d", "")
    );
    assert_eq!(
        status(&format!(r#"{{"key":"census.status_code","value":2}},{both}"#)),
        of(2, "why", "")
    );
    assert_eq!(status(r#"{"key":"otel.status_code","value":"OK"}"#), of(1, "", ""));
    assert_eq!(
        status(&format!(r#"{{"key":"error","value":false}},{described}"#)),
        of(2, "why", "")
    );
    let numbers =
        r#"{"key":"otel.status_code","value":2},{"key":"otel.status_description","value":404}"#;
    assert_eq!(status(numbers), of(2, "404", ""));
    let http = |code: &str| {
        format!(
            r#"{{"key":"http.status_code","value":{code}}},{{"key":"http.status_message","value":"m"}}"#
        )
    };
    let left = "http.status_code,http.status_message";
    assert_eq!(status(&http("399")), of(0, "", left));
    assert_eq!(status(&http("\"404\"")), of(2, "m", left));
    assert_eq!(status(&http("99")), of(2, "m", left));
    assert_eq!(status(&http("\"x\"")), of(0, "", left));
}

#[test]
fn thrift_values_have_their_types() {
    let value = |value_type: i32, bytes: &str| {
        let mut body =
            unhex("0c000000010a000100000000000000010a000400000000000000020f00080c00000001");
        body.extend(unhex("0b0001000000016b0b0002"));
        body.extend((bytes.len() as i32 / 2).to_be_bytes());
        body.extend(unhex(bytes));
        body.extend(unhex("080003"));
        body.extend(value_type.to_be_bytes());
        body.extend(unhex("0000"));
        let options = DecodeOptions { parse_string_tags: true, ..DecodeOptions::default() };
        let (_, span) = one_with(Format::ThriftV1, body, &options);
        attributes(&span.attributes)[0].1.clone()
    };
    use annotation_type::{BOOL, BYTES, DOUBLE, I16, I32, I64, STRING};
    assert_eq!(value(BOOL, "01"), Value::BoolValue(true));
    assert_eq!(value(BOOL, "02"), Value::BoolValue(false));
    assert_eq!(value(I16, "fffe"), Value::IntValue(-2));
    assert_eq!(value(I32, "fffffffe"), Value::IntValue(-2));
    assert_eq!(value(I64, "0000000000000005"), Value::IntValue(5));
    assert_eq!(value(DOUBLE, "3ff8000000000000"), Value::DoubleValue(1.5));
    assert_eq!(value(STRING, "6869"), text("hi"));
    assert_eq!(value(STRING, "3432"), text("42"));
    assert_eq!(value(BYTES, "ff"), text("/w=="));
    assert_eq!(value(99, "6869"), text("hi"));
    assert_eq!(value(I64, "00"), text("<not enough bytes representing the number>"));
}

#[test]
fn thrift_ports_are_unsigned() {
    let host = "0c0004080001c0a80001060002ffff0b0003000000037376630000";
    let mut body = unhex("0c000000010a000100000000000000010a000400000000000000020f00080c00000001");
    body.extend(unhex("0b0001000000016b0b0002000000017608000300000006"));
    body.extend(unhex(host));
    body.extend(unhex("00"));
    let (resource, _) = one(Format::ThriftV1, body);
    let expected =
        [("ipv4", text("192.168.0.1")), ("port", text("65535")), ("service.name", text("svc"))];
    assert_eq!(resource, pairs(&expected));
}
