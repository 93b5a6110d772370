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
    SearchBlockRequest, SearchRequest, SearchResponse, SelectBlocksRequest,
    TagValuesInBlockRequest, TagValuesRequest, TagsInBlockRequest, TagsRequest, TagsResponse,
};
use tactus_proto::tempopb;
use tactus_storage::block_io::read_meta;
use tactus_storage::{Blocklist, Bucket, BucketSettings, Uuid};
use tactus_telemetry::metrics::Registry;
use tonic::{Code, Request, Status};

use crate::{Querier, Settings};

mod caches;
mod damage;
mod explained;
mod parallel;
mod series;
mod tags;
mod traces;

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

#[tokio::test]
async fn patterns_are_compiled_by_the_threads_of_jobs() {
    let sample = Sample::new(&[]).await;
    let query = "{ .a =~ `x+` }";
    let select = async || {
        let (search, block_ids) = (Some(traceql(query)), Bytes::new());
        let request = Request::new(SelectBlocksRequest { search, block_ids });
        sample.querier.select_blocks(request).await
    };
    let find = async |query: &str| {
        let find = FindTraceRequest {
            tenant: TENANT.into(),
            trace_id: vec![1; 16].into(),
            large_spans: 1,
            query: query.into(),
            ..FindTraceRequest::default()
        };
        sample.find_part(find, &[]).await
    };
    select().await.unwrap();
    find(query).await.unwrap();
    // From now on they do nothing.
    sample.querier.end().await;
    assert_eq!(select().await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(find(query).await.unwrap_err().code(), Code::Cancelled);
    find("").await.unwrap();
}
