use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use tactus_proto::otlp::{
    AnyValue, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, Status,
    any_value::Value, span,
};
use tactus_proto::tempopb;

use super::*;
use crate::json::JsonStyle;

fn attribute(key: &'static str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}

fn resource(service: &'static str) -> Resource {
    let name = attribute("service.name", Value::StringValue(service.into()));
    Resource { attributes: vec![name], ..Resource::default() }
}

fn span(id: u8, parent: u8, kind: i32, start: u64) -> Span {
    let id_bytes = |id: u8| Bytes::from(vec![0, 0, 0, 0, 0, 0, 0, id]);
    Span {
        trace_id: vec![1; 16].into(),
        span_id: id_bytes(id),
        parent_span_id: if parent == 0 { Bytes::new() } else { id_bytes(parent) },
        name: "n".into(),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 10,
        status: Some(Status::default()),
        ..Span::default()
    }
}

fn part(service: &'static str, spans: Vec<Span>) -> Bytes {
    let scope = Some(InstrumentationScope::default());
    let scope_spans = vec![ScopeSpans { scope, spans, ..ScopeSpans::default() }];
    let resource_spans =
        ResourceSpans { resource: Some(resource(service)), scope_spans, ..Default::default() };
    tempopb::Trace { resource_spans: vec![resource_spans] }.encode_to_vec().into()
}

fn combine(parts: &[Bytes]) -> CombinedTrace {
    let mut combiner = TraceCombiner::new(0, WhenTooLarge::Refuse);
    parts.iter().for_each(|part| combiner.add(part).unwrap());
    combiner.finish(SharedIds::Separated)
}

/// (service, [(span id, parent id)]) of each resource.
fn shape(trace: &CombinedTrace) -> Vec<(String, Vec<(u8, u8)>)> {
    let decoded = tempopb::Trace::decode(&trace.to_protobuf_v1()[..]).unwrap();
    let name = |resource: Resource| match resource.attributes[0].value.clone().unwrap().value {
        Some(Value::StringValue(name)) => String::from_utf8(name.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    let ids = |group: ResourceSpans| {
        let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let last = |id: &Bytes| id.last().copied().unwrap_or(0);
        spans.map(|span| (last(&span.span_id), last(&span.parent_span_id))).collect()
    };
    let groups = decoded.resource_spans.into_iter();
    groups.map(|group| (name(group.resource.clone().unwrap()), ids(group))).collect()
}

fn rich_part() -> Bytes {
    let mut rich = span(8, 7, 2, 1_700_000_000_000_000_000);
    rich.trace_id = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes().to_vec().into();
    rich.span_id = vec![1, 2, 3, 4, 5, 6, 7, 8].into();
    rich.end_time_unix_nano = 1_700_000_000_250_000_000;
    rich.name = "GET /".into();
    rich.trace_state = "a=b".into();
    rich.flags = 1;
    rich.attributes = vec![attribute("http.status_code", Value::IntValue(200))];
    rich.dropped_attributes_count = 3;
    rich.events = vec![span::Event {
        time_unix_nano: 5,
        name: "e\u{2028}".into(),
        attributes: vec![attribute("ok", Value::BoolValue(true))],
        dropped_attributes_count: 1,
    }];
    rich.links = vec![span::Link {
        trace_id: vec![2; 16].into(),
        span_id: vec![3; 8].into(),
        ..span::Link::default()
    }];
    rich.status = Some(Status { message: "boom".into(), code: 2 });
    let scope =
        InstrumentationScope { name: "lib".into(), version: "1.0".into(), ..Default::default() };
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope), spans: vec![rich], ..Default::default() }];
    let resource_spans =
        ResourceSpans { resource: Some(resource("api")), scope_spans, ..Default::default() };
    tempopb::Trace { resource_spans: vec![resource_spans] }.encode_to_vec().into()
}

#[test]
fn json_of_a_span_has_the_documented_form() {
    let trace = combine(&[rich_part()]);
    let resource_spans = concat!(
        r#"[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},"#,
        r#""scopeSpans":[{"scope":{"name":"lib","version":"1.0"},"spans":[{"traceId":"ASNFZ4mrze8BI0VniavN7w==","#,
        r#""spanId":"AQIDBAUGBwg=","traceState":"a=b","parentSpanId":"AAAAAAAAAAc=","flags":1,"name":"GET /","#,
        r#""kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000250000000","#,
        r#""attributes":[{"key":"http.status_code","value":{"intValue":"200"}}],"droppedAttributesCount":3,"#,
        r#""events":[{"timeUnixNano":"5","name":"e\u2028","attributes":[{"key":"ok","value":{"boolValue":true}}],"#,
        r#""droppedAttributesCount":1}],"links":[{"traceId":"AgICAgICAgICAgICAgICAg==","spanId":"AwMDAwMDAwM="}],"#,
        r#""status":{"message":"boom","code":"STATUS_CODE_ERROR"}}]}]}]"#
    );
    let v1 = String::from_utf8(trace.clone().into_json_v1().unwrap()).unwrap();
    assert_eq!(v1, format!("{{\"batches\":{resource_spans}}}"));
    let facts = TraceFacts { inspected_bytes: 1234, ..TraceFacts::default() };
    let v2 = String::from_utf8(trace.to_json_v2(&facts).unwrap()).unwrap();
    assert_eq!(
        v2,
        format!(
            "{{\"trace\":{{\"resourceSpans\":{resource_spans}}},\"metrics\":{{\"inspectedBytes\":\"1234\"}}}}"
        )
    );
}

/// A trace of one service with this many scopes. `padding`: bytes of a second attribute of the resource.
fn of_scopes(count: u8, padding: usize) -> CombinedTrace {
    let scope_spans = (1..=count).map(|id| ScopeSpans {
        scope: Some(InstrumentationScope {
            name: format!("lib{id}").into(),
            ..InstrumentationScope::default()
        }),
        spans: vec![span(id, 0, 1, u64::from(id))],
        ..ScopeSpans::default()
    });
    let mut resource = resource("a");
    resource.attributes.push(attribute("k", Value::StringValue("x".repeat(padding).into())));
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: scope_spans.collect(),
        ..ResourceSpans::default()
    };
    combine(&[tempopb::Trace { resource_spans: vec![resource_spans] }.encode_to_vec().into()])
}

#[test]
fn json_of_the_first_version_has_an_entry_for_each_scope() {
    let trace = of_scopes(3, 1_000);
    let json = |text: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&text).unwrap();
    let whole = json(trace.to_json_v2(&TraceFacts::default()).unwrap());
    let whole = whole["trace"]["resourceSpans"].as_array().unwrap();
    let split = json(trace.into_json_v1().unwrap());
    let entries = split["batches"].as_array().unwrap();
    assert_eq!((whole.len(), entries.len()), (1, 3));
    for (number, entry) in entries.iter().enumerate() {
        assert_eq!(entry["resource"], whole[0]["resource"]);
        assert_eq!(entry["scopeSpans"], serde_json::json!([whole[0]["scopeSpans"][number]]));
    }
}

#[test]
fn resource_is_not_repeated_if_that_would_multiply_the_trace() {
    for (scopes, padding, entries) in [(3, 100_000, 1), (2, 100_000, 2), (50, 1_000, 50)] {
        let trace = of_scopes(scopes, padding);
        let (bytes, most, spans) = (trace.bytes(), trace.bytes_by_scope(), trace.spans());
        let split = trace.into_pieces_by_scope(usize::MAX).next().unwrap();
        assert_eq!((split.resources.len(), split.spans()), (entries, spans), "{scopes} {padding}");
        assert!(split.bytes() <= most && most <= 2 * bytes.max(64 << 10), "{scopes} {padding}");
    }
}

#[test]
fn json_leaves_out_zero_values_and_keeps_empty_messages() {
    let mut plain = span(1, 0, 0, 0);
    plain.end_time_unix_nano = 0;
    plain.name = Bytes::new();
    let json = combine(&[part("s", vec![plain])]).into_json_v1().unwrap();
    assert_eq!(
        String::from_utf8(json).unwrap(),
        concat!(
            r#"{"batches":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},"#,
            r#""scopeSpans":[{"scope":{},"spans":[{"traceId":"AQEBAQEBAQEBAQEBAQEBAQ==","spanId":"AAAAAAAAAAE=","status":{}}]}]}]}"#
        )
    );
}

#[test]
fn empty_trace_has_the_documented_bodies() {
    let empty = combine(&[Bytes::new()]);
    let facts = TraceFacts::default();
    assert!(empty.is_empty());
    assert_eq!(empty.to_json_v2(&facts).unwrap(), br#"{"trace":{},"metrics":{}}"#);
    assert_eq!(empty.to_protobuf_v2(&facts), [0x0a, 0, 0x12, 0]);
    assert!(empty.to_protobuf_v1().is_empty());
    assert_eq!(empty.to_llm_json(&facts).unwrap(), br#"{"trace":{},"metrics":{}}"#);
}

#[test]
fn llm_json_is_flat() {
    let json = combine(&[rich_part()]).to_llm_json(&TraceFacts::default()).unwrap();
    assert_eq!(
        String::from_utf8(json).unwrap(),
        concat!(
            r#"{"trace":{"traceId":"0123456789abcdef0123456789abcdef","services":[{"serviceName":"api","resource":{},"#,
            r#""scopes":[{"name":"lib","version":"1.0","spans":[{"spanId":"0102030405060708","name":"GET /","#,
            r#""parentSpanId":"0000000000000007","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1700000000000000000","#,
            r#""endTimeUnixNano":"1700000000250000000","durationMs":250,"attributes":{"http.status_code":200},"#,
            r#""events":[{"name":"e\u2028","timeUnixNano":"5","attributes":{"ok":true}}],"#,
            r#""links":[{"traceId":"02020202020202020202020202020202","spanId":"0303030303030303","attributes":{}}],"#,
            r#""status":{"code":"STATUS_CODE_ERROR","message":"boom"}}]}]}]},"metrics":{}}"#
        )
    );
}

#[test]
fn partial_answer_says_so() {
    let facts = TraceFacts { inspected_bytes: 0, partial: true, message: "cut".into() };
    let trace = combine(&[]);
    let json = String::from_utf8(trace.to_json_v2(&facts).unwrap()).unwrap();
    assert_eq!(json, r#"{"trace":{},"metrics":{},"status":"PARTIAL","message":"cut"}"#);
    let decoded = tempopb::TraceByIdResponse::decode(&trace.to_protobuf_v2(&facts)[..]).unwrap();
    assert_eq!((decoded.status, &*decoded.message), (1, "cut"));
}

#[test]
fn single_part_keeps_its_order_and_several_are_sorted() {
    let one = part("a", vec![span(2, 1, 1, 50), span(1, 0, 1, 10)]);
    let two = part("b", vec![span(3, 1, 1, 5), span(4, 1, 1, 50)]);
    assert_eq!(
        shape(&combine(&[one.clone(), Bytes::new()])),
        [("a".to_owned(), vec![(2, 1), (1, 0)])]
    );
    assert_eq!(
        shape(&combine(&[one, two])),
        [("b".to_owned(), vec![(3, 1), (4, 1)]), ("a".to_owned(), vec![(1, 0), (2, 1)]),]
    );
}

#[test]
fn span_seen_twice_is_kept_once() {
    let mut renamed = span(1, 0, 1, 10);
    renamed.name = "other".into();
    let one = part("a", vec![span(1, 0, 1, 10), span(1, 0, 1, 10), span(2, 1, 1, 20)]);
    let two = part("b", vec![span(2, 1, 1, 20), renamed, span(2, 1, 3, 20)]);
    let trace = combine(&[one, two]);
    assert_eq!(trace.spans(), 4);
    assert_eq!(
        shape(&trace),
        [("a".to_owned(), vec![(1, 0), (2, 1)]), ("b".to_owned(), vec![(1, 0), (2, 1)]),]
    );
}

#[test]
fn shared_ids_of_client_and_server_are_separated() {
    let web = part("web", vec![span(0xb1, 0, 2, 0), span(0xb2, 0xb1, 3, 1)]);
    let backend = part("backend", vec![span(0xb2, 0xb1, 2, 2), span(0xb3, 0xb2, 1, 3)]);
    assert_eq!(
        shape(&combine(&[web.clone(), backend])),
        [
            ("web".to_owned(), vec![(0xb1, 0), (0xb2, 0xb1)]),
            ("backend".to_owned(), vec![(1, 0xb2), (0xb3, 1)]),
        ]
    );
    // The new id must be free, and a root half gets a parent.
    let backend = part("backend", vec![span(1, 0xb2, 1, 4), span(0xb2, 0, 2, 2)]);
    assert_eq!(shape(&combine(&[web.clone(), backend.clone()]))[1].1, [(2, 0xb2), (1, 2)]);
    // Who wants the spans as they are stored gets them.
    let mut combiner = TraceCombiner::new(0, WhenTooLarge::Refuse);
    for part in [web, backend] {
        combiner.add(&part).unwrap();
    }
    let kept = combiner.finish(SharedIds::Kept);
    assert_eq!(shape(&kept)[1].1, [(0xb2, 0), (1, 0xb2)]);
}

#[test]
fn trace_above_the_limit_is_refused_or_cut() {
    let whole = part("a", (1..=50).map(|id| span(id, 0, 1, u64::from(id))).collect());
    let all = combine(std::slice::from_ref(&whole)).span_bytes() as u64;
    let limit = all / 2;
    let mut refusing = TraceCombiner::new(limit, WhenTooLarge::Refuse);
    assert_eq!(refusing.add(&whole), Err(CombineError::TooLarge { max_bytes: limit }));
    let mut cutting = TraceCombiner::new(limit, WhenTooLarge::Cut);
    cutting.add(&whole).unwrap();
    cutting.add(&part("b", vec![span(99, 0, 1, 0)])).unwrap();
    let trace = cutting.finish(SharedIds::Separated);
    assert!(trace.truncated && (20..30).contains(&trace.spans()), "{}", trace.spans());
    assert!(trace.span_bytes() as u64 <= limit);
    let mut fitting = TraceCombiner::new(all, WhenTooLarge::Refuse);
    fitting.add(&whole).unwrap();
    fitting.add(&whole).unwrap();
    assert_eq!(fitting.finish(SharedIds::Separated).to_protobuf_v1(), whole);
}

#[test]
fn malformed_part_is_an_error() {
    let mut combiner = TraceCombiner::new(0, WhenTooLarge::Refuse);
    let error = combiner.add(&Bytes::from_static(&[0x0a, 5, 1])).unwrap_err();
    assert!(matches!(error, CombineError::Malformed(_)));
}

proptest! {
    #[test]
    fn combining_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut combiner = TraceCombiner::new(100, WhenTooLarge::Cut);
        if combiner.add(&bytes.into()).is_ok() {
            let trace = combiner.finish(SharedIds::Separated);
            let _ = trace.to_llm_json(&TraceFacts::default());
            let _ = trace.into_json_v1();
        }
    }

    #[test]
    fn valid_trace_survives_as_protobuf(ids in proptest::collection::hash_set(1u8..255, 0..20)) {
        let spans: Vec<_> = ids.into_iter().map(|id| span(id, 0, 1, u64::from(id))).collect();
        let whole = if spans.is_empty() { Bytes::new() } else { part("a", spans) };
        prop_assert_eq!(combine(std::slice::from_ref(&whole)).to_protobuf_v1(), whole);
    }
}

#[test]
fn spans_that_differ_in_their_names_only_are_combined_one_by_one() {
    let named = |name: usize| Span { name: format!("n{name}").into(), ..span(1, 0, 1, 5) };
    let part = part("a", (0..20_000).map(named).collect());
    let began = std::time::Instant::now();
    let trace = combine(&[part.clone(), part]);
    assert_eq!(trace.spans(), 20_000);
    // Pair by pair it takes minutes.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn few_large_spans_take_as_long_to_write_as_many_small_ones() {
    let of = |spans: usize, name: usize| {
        let named = |number: usize| Span {
            name: format!("{number}{}", "x".repeat(name)).into(),
            ..span(1, 0, 1, 5)
        };
        combine(&[part("a", (0..spans).map(named).collect())]).takes_long()
    };
    assert_eq!([of(1_000, 10), of(1_001, 10), of(1, 300_000)], [false, true, true]);
}

#[test]
fn filtered_trace_has_no_empty_groups() {
    let span = Bytes::from_static;
    let scope = |spans: Vec<Bytes>| ScopeGroup { scope: Bytes::from_static(b"s"), spans };
    let group = |scopes| ResourceGroup { resource: Bytes::from_static(b"rr"), scopes };
    let trace = CombinedTrace {
        resources: vec![
            group(vec![scope(vec![span(b"a"), span(b"bb")]), scope(vec![span(b"bb")])]),
            group(vec![scope(vec![span(b"a")])]),
        ],
        truncated: true,
    };
    assert_eq!(trace.bytes(), 2 * 2 + 3 + 6);
    let part = trace.filtered(|span| span.len() == 2);
    let expected = group(vec![scope(vec![span(b"bb")]), scope(vec![span(b"bb")])]);
    assert_eq!(part, CombinedTrace { resources: vec![expected], truncated: true });
    let spans: Vec<_> = part.spans_by_resource().flat_map(|(_, spans)| spans).collect();
    assert_eq!(spans, [b"bb".as_slice(), b"bb"]);
    let by_scope: Vec<_> = trace.spans_by_scope().map(|(_, _, spans)| spans.len()).collect();
    assert_eq!(by_scope, [2, 1, 1]);
    assert!(trace.filtered(|_| false).is_empty());
}

#[test]
fn answer_in_pieces_reads_as_the_whole() {
    let spans = |ids: std::ops::Range<u8>| ids.map(|id| span(id, 0, 1, u64::from(id))).collect();
    let trace = combine(&[part("a", spans(1..20)), part("b", spans(20..23))]);
    let facts = TraceFacts { inspected_bytes: 7, partial: true, message: "cut".to_owned() };
    let pieces = || trace.clone().into_pieces(100);
    let names = |trace: &tempopb::Trace| {
        let groups = trace.resource_spans.iter();
        let spans = groups.flat_map(|group| {
            let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(|span| (group.resource.clone(), span.clone()))
        });
        spans.collect::<Vec<_>>()
    };
    let v1: Vec<u8> = pieces().flat_map(|piece| piece.to_protobuf_v1()).collect();
    let decoded = tempopb::Trace::decode(&v1[..]).unwrap();
    let whole = tempopb::Trace::decode(&trace.to_protobuf_v1()[..]).unwrap();
    assert!(decoded.resource_spans.len() > whole.resource_spans.len());
    assert_eq!(names(&decoded), names(&whole));
    let mut v2: Vec<u8> = pieces().flat_map(|piece| piece.to_protobuf_v2_part()).collect();
    v2.extend(facts.to_protobuf_end());
    let decoded = tempopb::TraceByIdResponse::decode(&v2[..]).unwrap();
    let whole = tempopb::TraceByIdResponse::decode(&trace.to_protobuf_v2(&facts)[..]).unwrap();
    assert_eq!((decoded.status, &decoded.message), (whole.status, &whole.message));
    assert_eq!(names(&decoded.trace.unwrap()), names(&whole.trace.unwrap()));
    let one = trace.clone().into_pieces(usize::MAX).next().unwrap();
    let elements = String::from_utf8(one.to_json_elements(JsonStyle::Protobuf).unwrap()).unwrap();
    let end = String::from_utf8(facts.to_json_end()).unwrap();
    let json = format!("{{\"trace\":{{\"resourceSpans\":[{elements}]}},{end}");
    assert_eq!(json.as_bytes(), trace.to_json_v2(&facts).unwrap());
}
