use bytes::Bytes;
use tactus_proto::otlp::any_value::Value;

use crate::tests::{attributes, decode, error, one, one_with, pairs, text, unhex};
use crate::{DecodeOptions, Format};

fn json(members: &str) -> String {
    format!(r#"[{{"traceId":"1","id":"2","timestamp":1{members}}}]"#)
}

fn tags(tags: &str) -> String {
    json(&format!(r#","tags":{{{tags}}}"#))
}

#[test]
fn absent_start_is_marked_in_json_only() {
    let (_, span) = one(Format::JsonV2, r#"[{"traceId":"1","id":"2","duration":5}]"#);
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (0, 5_000));
    let mark = [("otel.zipkin.absentField.startTime", Value::BoolValue(true))];
    assert_eq!(attributes(&span.attributes), pairs(&mark));
    let body = unhex("0a1c0a10000000000000000100000000000000021a080000000000000003");
    let (_, span) = one(Format::ProtobufV2, body);
    assert!(span.start_time_unix_nano == 0 && span.attributes.is_empty());
}

#[test]
fn status_is_read_from_tags() {
    for (given, code, message, left) in [
        (r#""otel.status_code":"STATUS_CODE_OK""#, 1, "", ""),
        (r#""otel.status_code":"Error","otel.status_description":"d""#, 2, "d", ""),
        (r#""otel.status_description":"d","otel.status_code":"error""#, 2, "d", ""),
        (r#""otel.status_code":"OK""#, 1, "", ""),
        (r#""otel.status_code":"what""#, 0, "", ""),
        (r#""otel.status_code":0"#, 0, "", ""),
        (r#""otel.status_code":1"#, 1, "", ""),
        (r#""otel.status_code":"1""#, 1, "", ""),
        (r#""otel.status_code":2,"otel.status_description":"d""#, 2, "d", ""),
        (r#""otel.status_code":"2""#, 2, "", ""),
        (r#""otel.status_code":3"#, 0, "", ""),
        (r#""otel.status_code":"Unset","error":"true""#, 2, "", ""),
        (r#""otel.status_code":"OK","error":"false""#, 2, "", "error"),
        (r#""error":"""#, 2, "", "error"),
        (r#""otel.status_description":"d""#, 0, "", "otel.status_description"),
    ] {
        let (_, span) = one(Format::JsonV2, tags(given));
        let status = span.status.unwrap_or_default();
        assert_eq!((status.code, &*status.message), (code, message.as_bytes()), "{given}");
        let keys: Vec<_> = attributes(&span.attributes).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.join(","), left, "{given}");
    }
}

#[test]
fn span_kind_tag_counts_only_without_a_kind() {
    let (_, span) = one(Format::JsonV2, tags(r#""span.kind":"internal""#));
    assert!(span.kind == 1 && span.attributes.is_empty());
    let (_, span) = one(Format::JsonV2, tags(r#""span.kind":"server""#));
    assert!(span.kind == 0 && span.attributes.is_empty());
    let (_, span) =
        one(Format::JsonV2, json(r#","kind":"CLIENT","tags":{"span.kind":"internal"}"#));
    assert!(span.kind == 3 && span.attributes.len() == 1);
}

#[test]
fn spans_are_grouped_by_service_and_resource_tags() {
    let span = |id: u8, service: &str, tags: &str| {
        format!(
            r#"{{"traceId":"1","id":"{id}","timestamp":1,"localEndpoint":{{"serviceName":"{service}"}},"tags":{{{tags}}}}}"#
        )
    };
    let host = |name: &str| format!(r#""host.name":"{name}","a":"b""#);
    let scope = r#""otel.library.name":"lib","otel.library.version":"1","host.name":"h1""#;
    let spans = [
        span(1, "s", &host("h1")),
        span(2, "s", &host("h2")),
        span(3, "t", &host("h1")),
        span(4, "s", scope),
        span(5, "s", &host("h1")),
        span(6, "", ""),
    ];
    let body = Bytes::from(format!("[{}]", spans.join(",")));
    let request = decode(Format::JsonV2, &body, &DecodeOptions::default()).unwrap();
    let mut found = Vec::new();
    for group in &request.resource_spans {
        for scope in &group.scope_spans {
            let resource = attributes(&group.resource.as_ref().unwrap().attributes);
            let name = scope.scope.clone().unwrap().name;
            let ids: Vec<_> = scope.spans.iter().map(|span| span.span_id[7]).collect();
            found.push((resource.len(), String::from_utf8(name.to_vec()).unwrap(), ids));
        }
    }
    let expected = [
        (2, "", vec![1, 5]),
        (2, "lib", vec![4]),
        (2, "", vec![2]),
        (2, "", vec![3]),
        (0, "", vec![6]),
    ];
    assert_eq!(found, expected.map(|(count, name, ids)| (count, name.to_owned(), ids)));
    let first = &request.resource_spans[0];
    let expected = pairs(&[("host.name", text("h1")), ("service.name", text("s"))]);
    assert_eq!(attributes(&first.resource.as_ref().unwrap().attributes), expected);
    let span = &first.scope_spans[0].spans[0];
    assert_eq!(attributes(&span.attributes), pairs(&[("a", text("b"))]));
}

#[test]
fn service_may_be_named_by_another_key() {
    let members = r#","localEndpoint":{"serviceName":"f"},"tags":{"otlp.service.name.source":"faas.name","w3c.tracestate":"a=b","opencensus.starttime":"x"}"#;
    let (resource, span) = one(Format::JsonV2, json(members));
    assert_eq!(resource, pairs(&[("faas.name", text("f"))]));
    assert!(span.attributes.is_empty());
    assert_eq!(&*span.trace_state, b"a=b");
}

#[test]
fn name_that_stands_for_no_service_is_none() {
    let of = |service: &str| json(&format!(r#","localEndpoint":{{"serviceName":"{service}"}}"#));
    let (resource, _) = one(Format::JsonV2, of("OTLPResourceNoServiceName"));
    assert!(resource.is_empty(), "{resource:?}");
    let (resource, _) = one(Format::JsonV2, of("OTLPResource"));
    assert_eq!(resource, pairs(&[("service.name", text("OTLPResource"))]));
}

#[test]
fn links_are_read_without_a_gap() {
    let link = r#"0000000000000001000000000000000a|000000000000000b|k=v|{\"a\":\"x|y\",\"n\":2}|3"#;
    let given = format!(
        r#""otlp.link.2":"{link}","otlp.link.0":"{link}","otlp.link.1":"no link","otlp.link.4":"{link}","otlp.link.01":"x""#
    );
    let (_, span) = one(Format::JsonV2, tags(&given));
    assert_eq!(span.links.len(), 2);
    let link = &span.links[1];
    assert_eq!(&link.trace_id[..], unhex("0000000000000001000000000000000a"));
    assert_eq!(&link.span_id[..], unhex("000000000000000b"));
    assert_eq!((&*link.trace_state, link.dropped_attributes_count), (&b"k=v"[..], 3));
    let expected = pairs(&[("a", text("x|y")), ("n", Value::IntValue(2))]);
    assert_eq!(attributes(&link.attributes), expected);
    let left: Vec<_> = attributes(&span.attributes).into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, ["otlp.link.01", "otlp.link.1", "otlp.link.4"]);
}

#[test]
fn broken_link_refuses_the_request() {
    for (link, expected) in [
        ("x|2||{}|0", "tag otlp.link.0: the trace id is no hex"),
        ("1|x||{}|0", "tag otlp.link.0: the span id is no hex"),
        ("1|2||{|0", "tag otlp.link.0: the attributes are no JSON object"),
        ("1|2||{}|x", "tag otlp.link.0: the dropped count is no number"),
    ] {
        let error = error(Format::JsonV2, tags(&format!(r#""otlp.link.0":"{link}""#)));
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn annotations_are_events_and_never_an_error() {
    for (value, name, count, dropped) in [
        ("plain", "plain", 0, 0),
        ("a|b", "a|b", 0, 0),
        (r#"name|{\"a\":1,\"b\":[1.5]}|7"#, "name", 2, 7),
        (r#"|{}|0"#, "", 0, 0),
        ("name|{|0", "name|{|0", 0, 0),
        ("name|[1]|0", "name|[1]|0", 0, 0),
        ("name|{}|-1", "name|{}|-1", 0, 0),
    ] {
        let body = json(&format!(r#","annotations":[{{"timestamp":3,"value":"{value}"}}]"#));
        let (_, span) = one(Format::JsonV2, body);
        let event = &span.events[0];
        assert_eq!((&*event.name, event.time_unix_nano), (name.as_bytes(), 3_000));
        assert_eq!((event.attributes.len(), event.dropped_attributes_count), (count, dropped));
    }
}

#[test]
fn string_tags_are_parsed_if_asked() {
    let given = r#""i":"-12","d":"1.50","t":"true","f":"false","s":"1e5","l":"99999999999999999999","m":"-","p":".5","e":"""#;
    let options = DecodeOptions { parse_string_tags: true, ..DecodeOptions::default() };
    let (_, span) = one_with(Format::JsonV2, tags(given), &options);
    let expected = [
        ("i", Value::IntValue(-12)),
        ("d", Value::DoubleValue(1.5)),
        ("t", Value::BoolValue(true)),
        ("f", Value::BoolValue(false)),
        ("s", text("1e5")),
        ("l", text("99999999999999999999")),
        ("m", text("-")),
        ("p", text(".5")),
        ("e", text("")),
    ];
    assert_eq!(attributes(&span.attributes), pairs(&expected));
    let described = tags(r#""otel.status_code":"ERROR","otel.status_description":"007""#);
    let (_, span) = one_with(Format::JsonV2, described, &options);
    assert_eq!(span.status.unwrap().message, "007");
    let (_, span) = one(Format::JsonV2, tags(given));
    assert!(span.attributes.iter().all(|attribute| {
        matches!(attribute.value.clone().unwrap().value, Some(Value::StringValue(_)))
    }));
}

#[test]
fn endpoint_wins_over_a_tag_of_its_key() {
    let members = r#","remoteEndpoint":{"serviceName":"db"},"tags":{"peer.service":"x"}"#;
    let (_, span) = one(Format::JsonV2, json(members));
    assert_eq!(attributes(&span.attributes), pairs(&[("peer.service", text("db"))]));
}

#[test]
fn times_beyond_the_range_stay_at_its_end() {
    let body = format!(r#"[{{"traceId":"1","id":"2","timestamp":{0},"duration":{0}}}]"#, u64::MAX);
    let (_, span) = one(Format::JsonV2, body);
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (u64::MAX, u64::MAX));
}
