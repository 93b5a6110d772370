//! Jobs on the sample blocks, copied into a bucket of their own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use tactus_proto::otlp::Span;
use tactus_proto::tactus::v1::querier_server::Querier as _;
use tactus_proto::tactus::v1::{
    BlockPart, FindTraceInBlocksRequest, FindTraceInBlocksResponse, FindTraceRequest,
    SearchBlockRequest, SearchRequest, SearchResponse, TagValuesInBlockRequest, TagValuesRequest,
    TagsInBlockRequest, TagsRequest, TagsResponse,
};
use tactus_proto::tempopb;
use tactus_storage::block_io::read_meta;
use tactus_storage::{Blocklist, Bucket, BucketSettings, Uuid};
use tactus_telemetry::metrics::Registry;
use tonic::{Code, Request, Status};

use crate::{Querier, Settings};

mod caches;
mod explained;
mod parallel;
mod series;

pub(crate) const TENANT: &str = "single-tenant";
pub(crate) const V4: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const V5: &str = "22222222-2222-4222-8222-222222222222";

struct Sample {
    directory: tempfile::TempDir,
    bucket: Bucket,
    blocklist: Arc<Blocklist>,
    querier: Querier,
}

impl Sample {
    /// Both sample blocks, or a part of them, in one bucket.
    async fn new(blocks: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        for block in blocks {
            copy_block(block, &path);
        }
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let blocklist = Arc::new(Blocklist::new());
        for block in blocks {
            let id = Uuid::parse_str(block).unwrap();
            blocklist.add_block(read_meta(&bucket, TENANT, id).await.unwrap());
        }
        let querier = Querier::new(
            Settings::default(),
            bucket.clone(),
            Arc::clone(&blocklist),
            &Registry::new(),
        );
        Self { directory, bucket, blocklist, querier }
    }

    fn file(&self, block: &str, name: &str) -> PathBuf {
        self.directory.path().join(TENANT).join(block).join(name)
    }

    async fn search(
        &self,
        part: BlockPart,
        search: SearchRequest,
    ) -> Result<SearchResponse, Status> {
        let request = SearchBlockRequest { search: Some(search), part: Some(part) };
        Ok(self.querier.search_block(Request::new(request)).await?.into_inner())
    }

    /// Matched traces and spans.
    async fn matched(&self, part: BlockPart, query: &str) -> (BTreeSet<String>, u32) {
        let answer = self.search(part, traceql(query)).await.unwrap();
        let sets = answer.traces.iter().flat_map(|trace| &trace.span_sets);
        let spans = sets.map(|set| set.matched).sum();
        (answer.traces.into_iter().map(|trace| trace.trace_id).collect(), spans)
    }

    async fn find(&self, id: &str, blocks: &[&str]) -> Result<FindTraceInBlocksResponse, Status> {
        let trace_id = tactus_model::TraceId::from_hex(id).unwrap().0.to_vec().into();
        let find = FindTraceRequest { tenant: TENANT.into(), trace_id, ..Default::default() };
        self.find_part(find, blocks).await
    }

    async fn find_part(
        &self,
        find: FindTraceRequest,
        blocks: &[&str],
    ) -> Result<FindTraceInBlocksResponse, Status> {
        let block_ids = blocks.iter().map(|block| (*block).to_owned()).collect();
        let request = FindTraceInBlocksRequest { find: Some(find), block_ids };
        Ok(self.querier.find_trace_in_blocks(Request::new(request)).await?.into_inner())
    }

    async fn tags(&self, block: &str, scope: &str, query: &str) -> Result<TagsResponse, Status> {
        let tags = TagsRequest {
            tenant: TENANT.into(),
            scope: scope.into(),
            query: query.into(),
            ..TagsRequest::default()
        };
        let request = TagsInBlockRequest { tags: Some(tags), part: Some(whole(block)) };
        Ok(self.querier.tags_in_block(Request::new(request)).await?.into_inner())
    }

    async fn values(&self, block: &str, tag: &str, query: &str) -> Vec<String> {
        let values = TagValuesRequest {
            tenant: TENANT.into(),
            tag: tag.into(),
            query: query.into(),
            ..TagValuesRequest::default()
        };
        let request = TagValuesInBlockRequest { values: Some(values), part: Some(whole(block)) };
        let answer = self.querier.tag_values_in_block(Request::new(request)).await.unwrap();
        let values = answer.into_inner().values.into_iter();
        values.map(|value| format!("{}:{}", value.r#type, value.value)).collect()
    }
}

pub(crate) fn copy_block(block: &str, root: &Path) {
    let version = if block == V4 { "vParquet4" } else { "vParquet5" };
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/blocks")
        .join(version)
        .join(TENANT)
        .join(block);
    let target = root.join(TENANT).join(block);
    fs::create_dir_all(&target).unwrap();
    for entry in fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        // Not `fs::copy`: the samples are read-only, and a test damages its copy.
        fs::write(target.join(path.file_name().unwrap()), fs::read(&path).unwrap()).unwrap();
    }
}

fn whole(block: &str) -> BlockPart {
    BlockPart { block_id: block.into(), first_row_group: 0, row_groups: 0 }
}

fn traceql(query: &str) -> SearchRequest {
    SearchRequest {
        tenant: TENANT.into(),
        query: query.into(),
        limit: 1_000,
        spans_per_span_set: 100,
        ..SearchRequest::default()
    }
}

fn span_count(traces: &[bytes::Bytes]) -> Vec<usize> {
    let decode = |bytes: &bytes::Bytes| tempopb::Trace::decode(&bytes[..]).unwrap();
    let spans = |trace: tempopb::Trace| {
        let scopes = trace.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.map(|scope| scope.spans.len()).sum()
    };
    traces.iter().map(decode).map(spans).collect()
}

fn spans_of(traces: &[Bytes]) -> Vec<Span> {
    let decode = |bytes: &Bytes| tempopb::Trace::decode(&bytes[..]).unwrap().resource_spans;
    let scopes = traces.iter().flat_map(decode).flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Query, traces, spans: the answers that the notes beside the sample blocks list for both.
const ANSWERS: [(&str, usize, u32); 21] = [
    ("{}", 64, 252),
    (r#"{ name="GET /api" }"#, 1, 1),
    ("{ span.http.status_code = 500 }", 1, 1),
    (r#"{ resource.ip="10.0.0.1" }"#, 1, 3),
    (r#"{ span.customer="cust-1" }"#, 12, 48),
    (r#"{ span.strs = "b" }"#, 1, 1),
    (r#"{ event.exception.message="kaboom" }"#, 1, 1),
    ("{ span.n > 1 }", 60, 120),
    ("{ span.n < 1 }", 60, 60),
    ("{ span.int < 0 }", 1, 1),
    ("{ status = error }", 1, 1),
    ("{ nestedSetParent < 0 }", 63, 64),
    ("{ span.bools = false }", 1, 1),
    ("{ duration > 100ms }", 2, 3),
    ("{ span.double > 3.4 }", 1, 1),
    (r#"{ } >> { name = "SELECT" }"#, 1, 1),
    (r#"{ trace:id = "af7651916cd43dd8448eb211c80319c" }"#, 1, 4),
    (r#"{ span:id = "b7ad6b7169203331" }"#, 1, 1),
    (r#"{ instrumentation:name = "otel-go" }"#, 1, 3),
    ("{ kind = client }", 2, 2),
    ("{ traceDuration > 200ms }", 3, 11),
];

#[tokio::test]
async fn sample_queries_have_the_documented_answers() {
    let sample = Sample::new(&[V4, V5]).await;
    for block in [V4, V5] {
        for (query, traces, spans) in ANSWERS {
            let (ids, matched) = sample.matched(whole(block), query).await;
            assert_eq!((ids.len(), matched), (traces, spans), "{block} {query}");
        }
    }
}

#[tokio::test]
async fn parts_of_a_block_add_up_to_the_block() {
    let sample = Sample::new(&[V4]).await;
    for (query, traces, spans) in ANSWERS {
        let (mut ids, mut matched) = (BTreeSet::new(), 0);
        for row_group in 0..4 {
            let part = BlockPart { block_id: V4.into(), first_row_group: row_group, row_groups: 1 };
            let (part_ids, part_matched) = sample.matched(part, query).await;
            assert!(ids.is_disjoint(&part_ids));
            ids.extend(part_ids);
            matched += part_matched;
        }
        assert_eq!((ids.len(), matched), (traces, spans), "{query}");
    }
}

#[tokio::test]
async fn pruned_queries_match_what_others_do() {
    let sample = Sample::new(&[V4]).await;
    for [left, operator, right] in [
        [r#"name = "nothing""#, "&&", "true"],
        [r#".region = "eu""#, "&&", "true"],
        [r#"resource.service.name =~ "svc-1|db""#, "&&", r#"name =~ "SEL.*|op-1""#],
        [r#"name = "SELECT""#, "||", r#"name = "child-1""#],
        ["250ms <= duration", "||", "status = error"],
        ["kind = server", "&&", r#""rpc" = name"#],
        ["true", "!>>", r#"name = "root-2""#],
        [r#"name = "nothing""#, "!>>", r#"name = "root-2""#],
        [r#"name = "root""#, ">>", r#"name = "work""#],
        [r#"name = "nothing""#, "&>>", r#"name = "work""#],
        [r#"statusMessage = """#, "&&", "true"],
        [r#"instrumentation:name =~ ".*""#, "&&", "true"],
        [r#"event.exception.message = "kaboom""#, "&&", "true"],
        [r#"span.http.status_code = "not-an-int""#, "&&", "true"],
        ["span.n != 1", "&&", "span.absent > 0"],
        ["span.absent != nil", "||", "span.int < 0"],
        [".region !~ \"e.*\"", "||", ".absent !~ \"e.*\""],
        [r#"name =~ ".*EL.*""#, "||", r#"name =~ ".*""#],
        [r#".region =~ ".*u.*""#, "&&", r#"name =~ ".*.*""#],
        [r#"name =~ ".*nothing.*""#, "||", r#"span.customer =~ ".*t-1.*""#],
        ["resource.ip != nil", "&&", "event.exception.message != nil"],
        ["link.attr != nil", "||", "instrumentation.absent > 1"],
        ["span.http.status_code >= 500", "||", "span.http.response.status_code = 200"],
        ["span.bools = false", "&&", "span.double != 7"],
    ] {
        let pruned = format!("{{ {left} }} {operator} {{ {right} }}");
        // A double negation means the same, but nothing can be told from it before reading.
        let plain = format!("{{ !(!({left})) }} {operator} {{ !(!({right})) }}");
        let expected = sample.matched(whole(V4), &plain).await;
        assert_eq!(sample.matched(whole(V4), &pruned).await, expected, "{pruned}");
    }
}

#[tokio::test]
async fn query_fails_whatever_the_block_would_not_have_to_be_read_for() {
    let sample = Sample::new(&[V4]).await;
    for query in [
        r#"({} | by(name)) >> ({ name = "nothing" } | {})"#,
        r#"({ name = "nothing" } | {}) &>> ({} | by(name))"#,
        r#"({} | by(name)) !>> ({ name = "nothing" } | {})"#,
    ] {
        let error = sample.search(whole(V4), traceql(query)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{query}: {error}");
    }
    for query in [
        r#"({} | by(name) | coalesce()) >> ({ name = "nothing" } | {})"#,
        r#"({ name = "nothing" } | by(name)) >> ({} | {})"#,
        r#"({ name = "nothing" } | {}) && (({} | by(name)) >> ({} | {}))"#,
    ] {
        assert_eq!(sample.matched(whole(V4), query).await, (BTreeSet::new(), 0), "{query}");
    }
}

#[tokio::test]
async fn pruning_reads_less() {
    let sample = Sample::new(&[V4]).await;
    let inspected = async |query: &str| {
        let answer = sample.search(whole(V4), traceql(query)).await.unwrap();
        answer.metrics.unwrap().inspected_bytes
    };
    // The first search reads the footer as well.
    inspected("{}").await;
    let without = inspected(r#"{ span.customer = "nobody" }"#).await;
    let with = inspected(r#"{ span.customer = "acme" }"#).await;
    assert!(without < with, "{without} {with}");
    assert_eq!(inspected("{ duration > 10h }").await, 0);
}

#[tokio::test]
async fn window_and_limit_bound_a_search() {
    let sample = Sample::new(&[V4]).await;
    let mut request = traceql("{ span.n = 0 }");
    (request.start, request.end) = (1_700_000_010, 1_700_000_012);
    let answer = sample.search(whole(V4), request.clone()).await.unwrap();
    let starts: Vec<_> =
        answer.traces.iter().map(|trace| trace.start_time_unix_nano / 1_000_000_000).collect();
    // A trace that ends in the first second of the window touches it.
    assert_eq!(starts, [1_700_000_012, 1_700_000_011, 1_700_000_010]);
    (request.start, request.end, request.limit) = (0, 0, 5);
    assert_eq!(sample.search(whole(V4), request.clone()).await.unwrap().traces.len(), 5);
    request.most_recent = true;
    let newest = sample.search(whole(V4), request).await.unwrap();
    let starts: Vec<_> =
        newest.traces.iter().map(|trace| trace.start_time_unix_nano / 1_000_000_000).collect();
    assert_eq!(starts, (1_700_000_055..1_700_000_060).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn search_by_tags_shows_traces_only() {
    let sample = Sample::new(&[V4]).await;
    let request = SearchRequest {
        tenant: TENANT.into(),
        limit: 100,
        tags: [("customer".to_owned(), "cust-1".to_owned())].into(),
        max_duration_ms: 100,
        ..SearchRequest::default()
    };
    let answer = sample.search(whole(V4), request).await.unwrap();
    assert_eq!(answer.traces.len(), 12);
    assert!(answer.traces.iter().all(|trace| trace.span_sets.is_empty()));
}

#[tokio::test]
async fn trace_is_found_in_every_block_that_has_it() {
    let sample = Sample::new(&[V4, V5]).await;
    for (id, spans) in [
        ("463ac35c9f6413ad", 4),
        ("af7651916cd43dd8448eb211c80319c", 4),
        ("5b8efff798038103d269b633813fc60c", 1),
        ("ffffffffffffffffffffffffffffffff", 3),
    ] {
        let found = sample.find(id, &[V4, V5]).await.unwrap();
        assert_eq!(span_count(&found.traces), [spans, spans], "{id}");
        assert!(found.inspected_bytes > 0);
    }
    let absent = sample.find("42", &[V4, V5]).await.unwrap();
    assert!(absent.traces.is_empty() && absent.damaged_blocks == 0);
    assert_eq!(absent.inspected_bytes, 0, "the bloom filters are cached");
}

#[tokio::test]
async fn of_a_large_trace_a_block_gives_the_part_that_is_asked_for() {
    let sample = Sample::new(&[V4, V5]).await;
    let id = tactus_model::TraceId::from_hex("463ac35c9f6413ad").unwrap();
    let find = |large_spans, span_ids: Bytes| FindTraceRequest {
        tenant: TENANT.into(),
        trace_id: id.0.to_vec().into(),
        large_spans,
        span_ids,
        ..FindTraceRequest::default()
    };
    let whole = sample.find_part(find(4, Bytes::new()), &[V4, V5]).await.unwrap();
    assert!(!whole.is_part, "four spans are not more than four");
    assert_eq!(whole.traces, sample.find("463ac35c9f6413ad", &[V4, V5]).await.unwrap().traces);
    let heads = sample.find_part(find(3, Bytes::new()), &[V4, V5]).await.unwrap();
    assert!(heads.is_part);
    assert_eq!(span_count(&heads.traces), [4, 4]);
    for (head, whole) in spans_of(&heads.traces).iter().zip(spans_of(&whole.traces)) {
        let id = |span: &Span| (span.span_id.clone(), span.parent_span_id.clone());
        let time = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
        assert_eq!((id(head), time(head)), (id(&whole), time(&whole)));
        assert_eq!((&head.name, head.kind), (&whole.name, whole.kind));
        assert_eq!((head.events.len(), head.links.len()), (whole.events.len(), whole.links.len()));
        assert!(head.attributes.is_empty());
    }
    // Client and server of a call share an id.
    let mut expected = spans_of(&sample.find("463ac35c9f6413ad", &[V4]).await.unwrap().traces);
    let span_id = expected[1].span_id.clone();
    expected.retain(|span| span.span_id == span_id);
    let found = sample.find_part(find(3, span_id), &[V4]).await.unwrap();
    assert_eq!((found.is_part, spans_of(&found.traces)), (true, expected));
    let none = sample.find_part(find(3, Bytes::from_static(&[9; 8])), &[V4]).await.unwrap();
    assert!(none.is_part && none.traces.is_empty());
}

#[tokio::test]
async fn part_of_too_many_bytes_comes_out_of_blocks_in_slices() {
    let sample = Sample::new(&[V4, V5]).await;
    let id = tactus_model::TraceId::from_hex("463ac35c9f6413ad").unwrap();
    let find = |slices, slice, max_part_bytes| FindTraceRequest {
        tenant: TENANT.into(),
        trace_id: id.0.to_vec().into(),
        large_spans: 3,
        query: "{ span.customer != nil && status = error }".into(),
        slices,
        slice,
        max_part_bytes,
        ..FindTraceRequest::default()
    };
    let all = sample.find_part(find(0, 0, 0), &[V4, V5]).await.unwrap();
    assert_eq!(all.part_bytes, all.traces.iter().map(|trace| trace.len() as u64).sum::<u64>());
    // Each alone has fewer.
    let refused = sample.find_part(find(0, 0, all.part_bytes - 1), &[V4, V5]).await.unwrap();
    assert!(refused.is_part && refused.traces.is_empty());
    assert!(refused.part_bytes >= all.part_bytes - 1, "{}", refused.part_bytes);
    let mut found = Vec::new();
    for slice in 0..3 {
        let part = sample.find_part(find(3, slice, all.part_bytes - 1), &[V4, V5]).await.unwrap();
        found.extend(spans_of(&part.traces));
    }
    let mut expected = spans_of(&all.traces);
    let key = |span: &Span| (span.span_id.clone(), span.kind);
    found.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn damaged_block_does_not_hide_the_others() {
    let sample = Sample::new(&[V4, V5]).await;
    let data = sample.file(V4, "data.parquet");
    let bytes = fs::read(&data).unwrap();
    fs::write(&data, &bytes[..bytes.len() / 2]).unwrap();
    let found = sample.find("463ac35c9f6413ad", &[V4, V5]).await.unwrap();
    assert_eq!((span_count(&found.traces), found.damaged_blocks), (vec![4], 1));
    let status = sample.search(whole(V4), traceql("{}")).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    assert!(status.message().starts_with(&format!("block {V4} is damaged: ")), "{status}");
    assert_eq!(sample.tags(V4, "", "").await.unwrap_err().code(), Code::DataLoss);
    assert_eq!(sample.matched(whole(V5), "{}").await.1, 252);
}

#[tokio::test]
async fn damaged_pages_fail_the_job_only() {
    let sample = Sample::new(&[V4]).await;
    let data = sample.file(V4, "data.parquet");
    let mut bytes = fs::read(&data).unwrap();
    bytes[4..50_000].fill(0xa5);
    fs::write(&data, bytes).unwrap();
    let status = sample.search(whole(V4), traceql("{ name != nil }")).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
}

#[tokio::test]
async fn deleted_block_is_as_one_without_spans() {
    let sample = Sample::new(&[V4, V5]).await;
    fs::remove_dir_all(sample.directory.path().join(TENANT).join(V4)).unwrap();
    assert!(sample.blocklist.tenant(TENANT).has_live(Uuid::parse_str(V4).unwrap()));
    let found = sample.find("463ac35c9f6413ad", &[V4, V5]).await.unwrap();
    assert_eq!((span_count(&found.traces), found.damaged_blocks), (vec![4], 0));
    let answer = sample.search(whole(V4), traceql("{}")).await.unwrap();
    assert!(answer.traces.is_empty() && answer.metrics.is_some());
    let unknown = "33333333-3333-4333-8333-333333333333";
    assert!(sample.search(whole(unknown), traceql("{}")).await.unwrap().traces.is_empty());
}

#[tokio::test]
async fn missing_data_of_a_live_block_is_damage() {
    let sample = Sample::new(&[V4]).await;
    fs::remove_file(sample.file(V4, "data.parquet")).unwrap();
    let status = sample.search(whole(V4), traceql("{}")).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
}

#[tokio::test]
async fn block_unknown_to_the_list_is_looked_up_in_the_bucket() {
    let sample = Sample::new(&[V4]).await;
    let querier = Querier::new(
        Settings::default(),
        sample.bucket.clone(),
        Arc::new(Blocklist::new()),
        &Registry::new(),
    );
    let sample = Sample { querier, ..sample };
    assert_eq!(sample.matched(whole(V4), "{}").await.1, 252);
    // Its meta is kept for the other jobs on it.
    fs::remove_file(sample.file(V4, "meta.json")).unwrap();
    assert_eq!(sample.matched(whole(V4), "{}").await.1, 252);
}

#[tokio::test]
async fn tags_are_those_of_the_spans_that_pass() {
    let sample = Sample::new(&[V4, V5]).await;
    for block in [V4, V5] {
        let all = sample.tags(block, "", "").await.unwrap();
        let scopes: Vec<_> = all.scopes.iter().map(|scope| scope.name.as_str()).collect();
        assert_eq!(scopes, ["resource", "span", "event", "link", "instrumentation"]);
        let link = sample.tags(block, "link", "").await.unwrap();
        assert_eq!(link.scopes[0].tags, ["link.attr"]);
        let filtered =
            sample.tags(block, "span", r#"{ resource.service.name = "svc-1" }"#).await.unwrap();
        let tags = &filtered.scopes[0].tags;
        assert!(["customer", "n", "region"].iter().all(|tag| tags.contains(&(*tag).to_owned())));
        assert!(tags.iter().all(|tag| tag != "double" && tag != "strs"), "{tags:?}");
        assert!(sample.tags(block, "intrinsic", "").await.unwrap().scopes.is_empty());
    }
    let status = sample.tags(V4, "nope", "").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn values_are_those_of_the_spans_that_pass() {
    let sample = Sample::new(&[V4, V5]).await;
    for block in [V4, V5] {
        assert_eq!(
            sample.values(block, "span.region", "").await,
            ["string:eu", "string:us-east-1"]
        );
        assert_eq!(sample.values(block, "span.bools", "").await, ["bool:false", "bool:true"]);
        assert_eq!(
            sample.values(block, "span.customer", r#"{ name = "GET /api" }"#).await,
            ["string:acme"]
        );
        assert_eq!(
            sample.values(block, "span.region", r#"{ span.region = "mars" }"#).await,
            ["string:mars"]
        );
        assert_eq!(
            sample.values(block, "instrumentation:name", "").await,
            ["string:", "string:filler", "string:otel-go", "string:otel-java"]
        );
    }
}

#[tokio::test]
async fn bad_jobs_are_refused() {
    let sample = Sample::new(&[V4]).await;
    let mut foreign = traceql("{}");
    foreign.tenant = "a/b".into();
    for (part, request) in
        [(whole("x"), traceql("{}")), (whole(V4), traceql("{")), (whole(V4), foreign)]
    {
        let status = sample.search(part, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
}
