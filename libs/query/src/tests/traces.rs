//! Trace by id.

use futures_util::future::join_all;
use parking_lot::Mutex;
use prost::Message as _;
use tactus_api::{Error, Result};
use tactus_config::sections::query_apis::TraceLookups;
use tactus_model::{TenantId, TraceId};
use tactus_proto::opentelemetry::proto::common::v1::InstrumentationScope;
use tactus_proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use tactus_proto::tempopb;
use tactus_work::Over;
use tonic::Status;

use super::*;
use crate::current_query::as_part_of_query;

const SAMPLE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn tenants_take_turns_with_slices_of_large_traces() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let (api, order) = (&api, &Mutex::new(Vec::new()));
    let slices = ["a", "a", "a", "a", "b"].map(|name| async move {
        let tenants = [TenantId::parse(name).unwrap()];
        let slice = api.frontend.slice(&tenants, async {
            tokio::task::yield_now().await;
            order.lock().push(name);
            Result::Ok(())
        });
        as_part_of_query(&tenants, slice).await
    });
    assert!(join_all(slices).await.iter().all(Result::is_ok));
    assert_eq!(*order.lock(), ["a", "a", "b", "a", "a"]);
}

#[tokio::test]
async fn trace_that_needs_too_much_memory_is_left_out_of_others() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let spans = vec![Span { span_id: vec![1; 8].into(), ..Span::default() }];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    *api.recent.trace.lock() = TracesData { resource_spans }.encode_to_vec().into();
    let (tenants, settings) = ([TenantId::parse(TENANT).unwrap()], TraceLookups::default());
    let ids = [1, 2, 3].map(|number| TraceId([number; 16]));
    let find = async |ids: &[TraceId]| api.frontend.whole_traces(&tenants, ids, &settings).await;
    let fail = |text: String| api.recent.failures.lock().push(Status::resource_exhausted(text));
    let too_large = Over::TooLarge { limit: 5 }.to_string();
    fail(too_large.clone());
    let found = find(&ids).await.unwrap();
    let shown: Vec<_> = found.traces.iter().map(|trace| trace.id).collect();
    assert_eq!((&shown[..], found.partial), (&ids[1..], true));
    fail(too_large);
    let alone = find(&ids[..1]).await.unwrap_err();
    assert_eq!(alone.http_status(), 422);
    assert!(alone.to_string().contains("/api/v2/traces"), "{alone}");
    fail("more than 5 bytes".to_owned());
    assert_eq!(find(&ids).await, Err(Error::LimitExceeded("more than 5 bytes".to_owned())));
}

#[tokio::test]
async fn absent_trace_has_the_documented_answers() {
    let api = Api::new(Setup::default()).await;
    let v1 = api.get("/api/traces/42").await;
    assert_eq!((v1.status.as_u16(), v1.text()), (404, ""));
    let v2 = api.get("/api/v2/traces/42").await;
    // The bloom filter of the block was read by the first request.
    assert_eq!(
        (v2.status.as_u16(), v2.text()),
        (200, r#"{"trace":{},"metrics":{"inspectedBytes":"1"}}"#)
    );
    let v2 = api.get_as("/api/v2/traces/42", "accept", "application/protobuf").await;
    assert_eq!(v2.headers["content-type"], "application/protobuf");
    assert_eq!(&v2.body[..], [0x0a, 0x00, 0x12, 0x02, 0x08, 0x01]);
}

#[tokio::test]
async fn trace_has_the_documented_json() {
    let api = Api::new(Setup::default()).await;
    let v1 = api.get(&format!("/api/traces/{SAMPLE}")).await;
    assert!(v1.text().starts_with(r#"{"batches":[{"resource":{"attributes":["#), "{}", v1.text());
    assert!(v1.text().contains(
        r#""traceId":"CvdlGRbNQ92ESOshHIAxnA==","spanId":"t61rcWkgMzE=","traceState":"a=b""#
    ));
    assert!(
        v1.text()
            .contains(r#""kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1700000000000000000""#)
    );
    assert!(v1.text().contains(r#""status":{"message":"boom","code":"STATUS_CODE_ERROR"}"#));
    let v2 = api.get(&format!("/api/v2/traces/{SAMPLE}")).await;
    assert!(v2.text().starts_with(r#"{"trace":{"resourceSpans":["#));
    let json = v2.json();
    assert!(json.get("status").is_none() && json["metrics"]["inspectedBytes"].is_string());
    assert_eq!(json["trace"]["resourceSpans"].as_array().unwrap().len(), 2);
    let short = api.get("/api/traces/463ac35c9f6413ad").await;
    let long = api.get("/api/traces/0000000000000000463AC35C9F6413AD").await;
    assert_eq!((short.status.as_u16(), &short.body), (200, &long.body));
}

#[tokio::test]
async fn first_version_in_json_has_an_entry_for_each_scope() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    // The larger trace is written in pieces, of which the second has two scopes.
    for state_bytes in [1, 1 << 20] {
        let of_scope = |id: u8, state_bytes: usize| {
            let span = Span {
                trace_id: vec![7; 16].into(),
                span_id: vec![id; 8].into(),
                trace_state: "x".repeat(state_bytes).into(),
                start_time_unix_nano: id.into(),
                ..Span::default()
            };
            let name = format!("lib{id}").into();
            let scope = Some(InstrumentationScope { name, ..InstrumentationScope::default() });
            ScopeSpans { scope, spans: vec![span], ..ScopeSpans::default() }
        };
        let scope_spans = vec![of_scope(1, state_bytes), of_scope(2, 1), of_scope(3, 1)];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        *api.recent.trace.lock() = TracesData { resource_spans }.encode_to_vec().into();
        let json = api.get(&format!("/api/traces/{}", "07".repeat(16))).await.json();
        let mut names = Vec::new();
        for batch in json["batches"].as_array().unwrap() {
            let scopes = batch["scopeSpans"].as_array().unwrap();
            assert_eq!(scopes.len(), 1, "{state_bytes}");
            names.push(scopes[0]["scope"]["name"].as_str().unwrap());
        }
        assert_eq!(names, ["lib1", "lib2", "lib3"], "{state_bytes}");
    }
}

#[tokio::test]
async fn trace_is_read_as_protobuf_and_llm_json() {
    let api = Api::new(Setup::default()).await;
    let v1 = api.get_as(&format!("/api/traces/{SAMPLE}"), "accept", "application/protobuf").await;
    let trace = tempopb::Trace::decode(v1.body).unwrap();
    let v2 =
        api.get_as(&format!("/api/v2/traces/{SAMPLE}"), "accept", "application/protobuf").await;
    let answer = tempopb::TraceByIdResponse::decode(v2.body).unwrap();
    assert_eq!(answer.trace.unwrap(), trace);
    let llm = "application/vnd.grafana.llm";
    let answer = api.get_as(&format!("/api/v2/traces/{SAMPLE}"), "accept", llm).await;
    assert_eq!(answer.headers["content-type"], "application/vnd.grafana.llm+json");
    assert!(answer.text().starts_with(&format!(r#"{{"trace":{{"traceId":"{SAMPLE}","services""#)));
    let v1 = api.get_as(&format!("/api/traces/{SAMPLE}"), "accept", llm).await;
    assert_eq!(v1.headers["content-type"], "application/json");
}

#[tokio::test]
async fn spans_of_several_sources_are_combined_once() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    let protobuf = "application/protobuf";
    let answer = api.get_as("/api/traces/463ac35c9f6413ad", "accept", protobuf).await;
    let both = answer.body.clone();
    *api.recent.trace.lock() = both.clone();
    let trace = tempopb::Trace::decode(both).unwrap();
    let spans: Vec<_> = trace
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .map(|span| (span.span_id.last().copied(), span.parent_span_id.last().copied()))
        .collect();
    // The server half of the shared id has an id of its own.
    assert_eq!(
        spans,
        [
            (Some(0xb1), None),
            (Some(0xb2), Some(0xb1)),
            (Some(1), Some(0xb2)),
            (Some(0xb3), Some(1)),
        ]
    );
    let absent = api.get("/api/v2/traces/463ac35c9f6413ad?mode=blocks&start=1&end=2").await;
    assert_eq!(absent.text(), r#"{"trace":{},"metrics":{}}"#);
    let recent = api.get("/api/v2/traces/463ac35c9f6413ad?mode=ingesters").await;
    assert_eq!(recent.json()["metrics"]["inspectedBytes"], "1");
}

#[tokio::test]
async fn span_in_a_block_and_in_recent_data_is_there_once() {
    let api = Api::new(Setup::default()).await;
    let protobuf = "application/protobuf";
    let path = format!("/api/v2/traces/{SAMPLE}");
    let get = async |path: &str| {
        let answer = api.get_as(path, "accept", protobuf).await;
        tempopb::TraceByIdResponse::decode(answer.body).unwrap().trace.unwrap()
    };
    let ids = |trace: &tempopb::Trace| {
        let scopes = trace.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let spans = scopes.flat_map(|scope| &scope.spans);
        let mut ids: Vec<_> = spans.map(|span| span.span_id.clone()).collect();
        ids.sort_unstable();
        ids
    };
    let stored = get(&path).await;
    assert_eq!(ids(&stored).len(), 4);
    // One span that the block has as well, and one that only the ingester has.
    let mut recent = stored.clone();
    recent.resource_spans.truncate(1);
    let spans = &mut recent.resource_spans[0].scope_spans;
    spans.truncate(1);
    spans[0].spans.truncate(1);
    let mut new = spans[0].spans[0].clone();
    new.span_id = vec![0xee; 8].into();
    new.start_time_unix_nano -= 1;
    spans[0].spans.push(new.clone());
    *api.recent.trace.lock() = recent.encode_to_vec().into();
    let both = get(&path).await;
    let mut expected = ids(&stored);
    expected.push(new.span_id.clone());
    expected.sort_unstable();
    assert_eq!(ids(&both), expected);
    // Sorted: the earliest span comes first, in the resource and scope that it shares with the block's.
    assert_eq!(both.resource_spans.len(), stored.resource_spans.len());
    assert_eq!(both.resource_spans[0].scope_spans[0].spans[0], new);
    assert_eq!(ids(&get(&format!("{path}?mode=ingesters")).await).len(), 2);
    assert_eq!(get(&format!("{path}?mode=blocks")).await, stored);
}

#[tokio::test]
async fn trace_above_the_limit_is_refused_or_cut() {
    let limits = limits_with(|limits| limits.global.max_bytes_per_trace = 600);
    let api = Api::new(Setup { limits, ..Setup::default() }).await;
    let v1 = api.get(&format!("/api/traces/{SAMPLE}")).await;
    assert_eq!((v1.status.as_u16(), v1.text()), (422, "trace exceeds max size (max bytes: 600)"));
    let v2 = api.get(&format!("/api/v2/traces/{SAMPLE}")).await;
    assert!(v2.text().ends_with(
        r#","status":"PARTIAL","message":"Trace exceeds maximum size of 600 bytes, a partial trace is returned"}"#
    ), "{}", v2.text());
}

#[tokio::test]
async fn damaged_block_makes_an_answer_partial() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    api.cut_data(V4);
    let v1 = api.get(&format!("/api/traces/{SAMPLE}")).await;
    assert_eq!(
        (v1.status.as_u16(), &v1.headers["x-tactus-partial"]),
        (200, &"true".parse().unwrap())
    );
    let v2 = api.get(&format!("/api/v2/traces/{SAMPLE}")).await.json();
    assert_eq!(
        (v2["status"].as_str(), v2["message"].as_str()),
        (Some("PARTIAL"), Some("1 damaged blocks could not be read"))
    );
    api.cut_data(V5);
    let v1 = api.get("/api/traces/5b8efff798038103d269b633813fc60c").await;
    assert_eq!(v1.status, 500);
}

#[tokio::test]
async fn block_that_appears_while_the_ingester_answers_is_read() {
    let api = Api::new(Setup::default()).await;
    let meta = api.blocklist.tenant(TENANT).live()[0].as_ref().clone();
    let remove = tactus_storage::blocklist::BlockChanges {
        remove: vec![meta.block_id],
        ..Default::default()
    };
    api.blocklist.change(TENANT, remove);
    assert_eq!(api.get(&format!("/api/traces/{SAMPLE}")).await.status, 404);
    let list = Arc::clone(&api.blocklist);
    *api.recent.meanwhile.lock() = Some(Box::new(move || list.add_block(meta.clone())));
    assert_eq!(api.get(&format!("/api/traces/{SAMPLE}")).await.status, 200);
}

#[tokio::test]
async fn routes_work_below_a_path_prefix() {
    let mut api = Api::new(Setup::default()).await;
    api.router = tactus_server::http::with_path_prefix("/tempo/", api.router.clone());
    assert_eq!(api.get(&format!("/tempo/api/traces/{SAMPLE}")).await.status, 200);
    let values = api.get(&format!("/tempo/api/v2/search/tag/span.region/values?{RANGE}")).await;
    assert_eq!(values.json()["tagValues"][0]["value"], "eu");
    assert_eq!(api.get("/api/traces/42").await.status, 404);
}
