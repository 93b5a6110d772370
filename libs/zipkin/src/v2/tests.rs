use crate::Format;
use crate::tests::{attributes, error, one, pairs, text, unhex};
use tactus_proto::otlp::any_value::Value;

fn json(members: &str) -> String {
    format!(r#"[{{"traceId":"1","id":"2","timestamp":1{members}}}]"#)
}

#[test]
fn ids_are_one_to_thirty_two_digits() {
    let (_, span) = one(Format::JsonV2, r#"[{"traceId":"aBc","id":"1","parentId":"0f"}]"#);
    assert_eq!(&span.trace_id[..], unhex("00000000000000000000000000000abc"));
    assert_eq!(&span.parent_span_id[..], unhex("000000000000000f"));
    let (_, span) = one(Format::JsonV2, r#"[{"traceId":"10000000000000002","id":"1"}]"#);
    assert_eq!(&span.trace_id[..], unhex("00000000000000010000000000000002"));
    for (trace_id, id, expected) in [
        ("", "1", "valid traceId required"),
        ("0", "1", "valid traceId required"),
        ("xyz", "1", "valid traceId required"),
        ("000000000000000000000000000000001", "1", "valid traceId required"),
        ("1", "", "valid span id required"),
        ("1", "0000", "valid span id required"),
        ("1", "00000000000000001", "valid span id required"),
    ] {
        let body = format!(r#"[{{"traceId":"{trace_id}","id":"{id}"}}]"#);
        let error = error(Format::JsonV2, body);
        assert!(error.starts_with(expected), "{error}");
    }
    let bad = r#"[{"traceId":"1","id":"1","parentId":"g"}]"#;
    assert!(error(Format::JsonV2, bad).starts_with("valid parentId required"));
}

#[test]
fn parent_that_is_the_span_itself_or_zero_is_none() {
    for parent in ["2", "0000000000000002", "0", ""] {
        let (_, span) = one(Format::JsonV2, json(&format!(r#","parentId":"{parent}""#)));
        assert!(span.parent_span_id.is_empty(), "{parent}");
    }
}

#[test]
fn null_is_the_same_as_absent() {
    let nulls = r#","parentId":null,"kind":null,"name":null,"duration":null,"localEndpoint":null,"remoteEndpoint":{"serviceName":null,"ipv4":null,"port":null},"annotations":null,"tags":null,"debug":null"#;
    let (resource, span) = one(Format::JsonV2, json(nulls));
    assert!(resource.is_empty());
    assert!(span.attributes.is_empty() && span.events.is_empty() && span.name.is_empty());
}

#[test]
fn unknown_members_are_skipped_and_last_tags_win() {
    let (_, span) = one(Format::JsonV2, json(r#","x":{"y":[1]},"tags":{"a":"1","b":"2","a":"3"}"#));
    assert_eq!(attributes(&span.attributes), pairs(&[("a", text("3")), ("b", text("2"))]));
}

#[test]
fn wrong_types_are_errors_with_a_place() {
    for members in [
        r#","tags":{"a":[1}"#,
        r#","remoteEndpoint":{"ipv4":true}"#,
        r#","tags":{"a":01}"#,
        r#","tags":[]"#,
        r#","name":1"#,
        r#","timestamp":1e300"#,
        r#","duration":"x""#,
        r#","annotations":{}"#,
        r#","localEndpoint":"x""#,
    ] {
        let body = format!(r#"[{{"traceId":"1","id":"2"{members}}}]"#);
        let error = error(Format::JsonV2, body);
        assert!(error.contains("line 1 column"), "{members}: {error}");
    }
    for members in [
        r#","annotations":[{"timestamp":0,"value":"a"}]"#,
        r#","annotations":[{"timestamp":-1,"value":"a"}]"#,
        r#","kind":"CLIENT","annotations":[{"value":"a","endpoint":{}}]"#,
    ] {
        let error = error(Format::JsonV2, json(members));
        assert!(error.starts_with("valid annotation timestamp required"), "{members}: {error}");
    }
}

#[test]
fn tags_that_are_numbers_or_booleans_are_their_texts() {
    let (_, span) =
        one(Format::JsonV2, json(r#","tags":{"a":200,"b":-1.50,"c":true,"d":"x","e":null}"#));
    let expected = [("a", "200"), ("b", "-1.50"), ("c", "true"), ("d", "x"), ("e", "")];
    let expected = expected.map(|(key, value)| (key, text(value)));
    assert_eq!(attributes(&span.attributes), pairs(&expected));
    // Beside a text that is not UTF-8, and on the path of the first model.
    let before = &br#"[{"traceId":"1","id":"2","timestamp":1,"name":""#[..];
    let after = br#"","tags":{"a":1}}]"#;
    for format in [Format::JsonV1, Format::JsonV2] {
        let (_, span) = one(format, [before, b"\xff", after].concat());
        assert_eq!(&*span.name, b"\xff");
        assert_eq!(attributes(&span.attributes), pairs(&[("a", text("1"))]));
    }
    let wrong = r#"[{"traceId":"1","id":"2","tags":{"a":1}},{"id":"3"}]"#;
    assert_eq!(error(Format::JsonV2, wrong), "valid traceId required (span 1 of the list)");
    for (spans, expected) in [
        (
            r#"{"traceId":"1","id":"2","tags":{"a":1}},{"duration":"x"}"#,
            r#"string "x", expected a number of microseconds ([1].duration)"#,
        ),
        (r#"{"tags":{"a":1},"name":{}}"#, "map, expected a string ([0].name)"),
        (
            r#"{"duration":"x"},{"tags":{"a":1}}"#,
            "expected a number of microseconds at line 1 column ",
        ),
    ] {
        let error = error(Format::JsonV2, format!("[{spans}]"));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn tags_that_are_arrays_or_objects_are_their_json() {
    let tags = r#","tags":{"a":["x","\u00e9",1.50],"b":{"c":[null,true]},"d":[]}"#;
    let (_, span) = one(Format::JsonV2, json(tags));
    let expected = [("a", r#"["x","\u00e9",1.50]"#), ("b", r#"{"c":[null,true]}"#), ("d", "[]")];
    let expected = expected.map(|(key, value)| (key, text(value)));
    assert_eq!(attributes(&span.attributes), pairs(&expected));
    let body =
        [&br#"[{"traceId":"1","id":"2","timestamp":1,"tags":{"a":[""#[..], b"\xff", br#""]}}]"#];
    let (_, span) = one(Format::JsonV2, body.concat());
    let bytes = Value::StringValue(bytes::Bytes::from_static(b"[\"\xff\"]"));
    assert_eq!(attributes(&span.attributes), pairs(&[("a", bytes)]));
}

#[test]
fn annotations_with_endpoints_are_events_of_a_span_of_the_second_model() {
    let annotations =
        r#","annotations":[{"timestamp":5,"value":"ws","endpoint":{"serviceName":"shop"}}]"#;
    for members in [
        r#","tags":{"a":"b"}"#,
        r#","kind":"CLIENT""#,
        r#","localEndpoint":{"serviceName":"shop"}"#,
        r#","remoteEndpoint":{"serviceName":"db"}"#,
    ] {
        let (_, span) = one(Format::JsonV2, json(&format!("{members}{annotations}")));
        let events = span.events.iter().map(|event| (&*event.name, event.time_unix_nano));
        assert_eq!(events.collect::<Vec<_>>(), [(&b"ws"[..], 5_000)], "{members}");
    }
}

#[test]
fn times_may_be_fractions_or_texts() {
    let body = r#"[{"traceId":"1","id":"2","timestamp":"1500","duration":2.5}]"#;
    let (_, span) = one(Format::JsonV2, body);
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_500_000, 1_503_000));
}

#[test]
fn negative_times_are_unknown() {
    for (timestamp, duration, start, end) in
        [("-1", "5", 0, 5_000), ("7", "-1", 7_000, 7_000), ("-1.5", "-0.5", 0, 0)]
    {
        let times = format!(r#""timestamp":{timestamp},"duration":{duration}"#);
        let (_, span) = one(Format::JsonV2, format!(r#"[{{"traceId":"1","id":"2",{times}}}]"#));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (start, end), "{times}");
    }
}

#[test]
fn addresses_that_are_none_and_ports_out_of_range_are_left_out() {
    let endpoint = r#","localEndpoint":{"ipv4":"nowhere","ipv6":"::ffff:1.2.3.4","port":70000}"#;
    let (resource, span) = one(Format::JsonV2, json(endpoint));
    assert!(resource.is_empty());
    assert_eq!(attributes(&span.attributes), pairs(&[("net.host.ip", text("1.2.3.4"))]));
    let endpoint = r#","remoteEndpoint":{"ipv6":"2001:db8::1","port":80}"#;
    let (_, span) = one(Format::JsonV2, json(endpoint));
    let expected = [("net.peer.ip", text("2001:db8::1")), ("net.peer.port", Value::IntValue(80))];
    assert_eq!(attributes(&span.attributes), pairs(&expected));
    for (port, number) in [(r#""6379""#, 6379), ("80.0", 80), ("-1", 0), (r#""none""#, 0)] {
        let endpoint = format!(r#","remoteEndpoint":{{"serviceName":"redis","port":{port}}}"#);
        let (_, span) = one(Format::JsonV2, json(&endpoint));
        let found = attributes(&span.attributes).into_iter().map(|(_, value)| value);
        let number = (number != 0).then_some(Value::IntValue(number));
        assert_eq!(found.skip(1).collect::<Vec<_>>(), Vec::from_iter(number), "{port}");
    }
}

#[test]
fn address_may_be_its_number() {
    for (number, address) in [
        ("2130706433", "127.0.0.1"),
        ("4294967295", "255.255.255.255"),
        ("-1062731775", "192.168.0.1"),
        ("0", ""),
        ("4294967296", ""),
        ("-2147483649", ""),
        ("1.5", ""),
    ] {
        let endpoint = format!(r#","remoteEndpoint":{{"ipv4":{number},"port":80}}"#);
        let (_, span) = one(Format::JsonV2, json(&endpoint));
        let found =
            attributes(&span.attributes).into_iter().filter(|(key, _)| key == "net.peer.ip");
        let found = found.map(|(_, value)| value).collect::<Vec<_>>();
        let expected = (!address.is_empty()).then(|| text(address));
        assert_eq!(found, Vec::from_iter(expected), "{number}");
    }
}

#[test]
fn of_two_addresses_the_one_of_version_6_is_kept() {
    let both = r#"{"ipv4":"10.0.0.1","ipv6":"2001:db8::1"}"#;
    let members = format!(r#","localEndpoint":{both},"remoteEndpoint":{both}"#);
    let (_, span) = one(Format::JsonV2, json(&members));
    let expected = [("net.host.ip", text("2001:db8::1")), ("net.peer.ip", text("2001:db8::1"))];
    assert_eq!(attributes(&span.attributes), pairs(&expected));
}

#[test]
fn kind_is_known_in_any_case_and_none_otherwise() {
    for (name, kind) in [("SERVER", 2), ("client", 3), ("PRODUCER", 4), ("CONSUMER", 5), ("X", 0)] {
        let (_, span) = one(Format::JsonV2, json(&format!(r#","kind":"{name}""#)));
        assert_eq!(span.kind, kind, "{name}");
    }
}

#[test]
fn text_of_invalid_utf8_is_carried() {
    let body = [&br#"[{"traceId":"1","id":"2","name":""#[..], b"\xff", br#""}]"#].concat();
    let (_, span) = one(Format::JsonV2, body);
    assert_eq!(&*span.name, b"\xff");
}

#[test]
fn half_of_a_surrogate_pair_is_one_replacement_character() {
    let (_, span) =
        one(Format::JsonV2, json(r#","name":"a\ud83d","tags":{"\ude00":"\ud83d\ude00\ud83d"}"#));
    assert_eq!(span.name, "a\u{FFFD}");
    assert_eq!(attributes(&span.attributes), pairs(&[("\u{FFFD}", text("😀\u{FFFD}"))]));
}

#[test]
fn protobuf_ids_have_their_lengths() {
    let span = |fields: &str| {
        let mut body = vec![0x0a, (fields.len() / 2) as u8];
        body.extend(unhex(fields));
        body
    };
    let id = "1a080000000000000003";
    let (_, found) = one(Format::ProtobufV2, span(&format!("0a080000000000000007{id}")));
    assert_eq!(&found.trace_id[..], unhex("00000000000000000000000000000007"));
    let trace = "0a1000000000000000010000000000000002";
    for (fields, expected) in [
        (id.to_owned(), "invalid TraceID: has length 0 yet wanted length 16"),
        (format!("0a0107{id}"), "invalid TraceID: has length 1 yet wanted length 16"),
        (trace.to_owned(), "expected a non-nil SpanID"),
        (format!("{trace}1a080000000000000000"), "expected a non-nil SpanID"),
        (format!("{trace}1a0101"), "invalid SpanID: has length 1 yet wanted length 8"),
        (format!("{trace}{id}120101"), "invalid Parent SpanID: has length 1 yet wanted length 8"),
        (format!("{trace}{id}5200"), "valid annotation timestamp required"),
        (format!("{trace}{id}2a"), "malformed protobuf: message is cut off"),
        (format!("{trace}{id}2801"), "malformed protobuf: field 5 has wire type 0"),
    ] {
        let error = error(Format::ProtobufV2, span(&fields));
        assert!(error.starts_with(expected), "{fields}: {error}");
    }
}
