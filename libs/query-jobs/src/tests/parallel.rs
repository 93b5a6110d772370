//! What a job answers does not depend on the number of its threads.

use std::collections::BTreeMap;

use bytes::Bytes;
use tactus_config::sections::querier::Querier as Section;
use tactus_model::SpanBatch;
use tactus_storage::BlockMeta;
use tactus_storage::block_io::{BlockFiles, ObjectSource, write_block};
use tactus_storage::meta::BlockVersion;

use super::*;
use crate::test_blocks::{batch_of_spans, block_of, traces_of};

pub(super) const BLOCK: &str = "44444444-4444-4444-8444-444444444444";

/// Traces of the block below; each is a row group.
pub(super) const TRACES: u16 = 40;

/// 400 spans, ten a trace.
pub(super) fn spans() -> SpanBatch {
    batch_of_spans(0..400, TRACES)
}

/// A querier of one block with a row group for each trace of a batch.
pub(super) async fn generated(
    batch: &SpanBatch,
    settings: Settings,
) -> (tempfile::TempDir, Querier) {
    generated_with(batch, 1, settings).await
}

/// A querier of one block with row groups of so many traces.
async fn generated_with(
    batch: &SpanBatch,
    traces_each: usize,
    settings: Settings,
) -> (tempfile::TempDir, Querier) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    let traces = batch.traces.ids.len();
    let starts = (0..traces).step_by(traces_each);
    let row_groups: Vec<_> =
        starts.map(|first| traces_of(batch, first..(first + traces_each).min(traces))).collect();
    let (data, summary) = block_of(&row_groups);
    let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, Uuid::parse_str(BLOCK).unwrap());
    (meta.size, meta.footer_size) = (summary.size, summary.footer_size);
    (meta.total_records, meta.bloom_shards) = (summary.row_groups, 1);
    let files = BlockFiles {
        data: ObjectSource::Bytes(data.into()),
        blooms: vec![ObjectSource::Bytes(Bytes::new())],
        index: None,
        summary: None,
        no_compact: false,
    };
    write_block(&bucket, &meta, &files).await.unwrap();
    let blocklist = Arc::new(Blocklist::new());
    blocklist.add_block(meta);
    (directory, Querier::new(settings, bucket, blocklist, &Registry::new()))
}

pub(super) fn with(set: impl FnOnce(&mut Section)) -> Settings {
    let mut settings = Settings::default();
    set(&mut settings.section);
    settings
}

pub(super) fn threads(threads: usize) -> Settings {
    with(|section| section.max_threads = threads)
}

pub(super) async fn search(querier: &Querier, search: SearchRequest) -> SearchResponse {
    let request = SearchBlockRequest { search: Some(search), part: Some(whole(BLOCK)) };
    querier.search_block(Request::new(request)).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_find_the_same_with_any_number_of_threads() {
    let batch = spans();
    let (_one, serial) = generated(&batch, threads(1)).await;
    for count in [2, 5] {
        let (_directory, parallel) = generated(&batch, threads(count)).await;
        for query in [
            "{}",
            "{ span.n % 7 = 3 }",
            "{ span.n > 350 }",
            r#"{ name = "op 1" } | count() > 3"#,
            "{ duration > 390ms }",
            "{ span.n = 9999 }",
        ] {
            for limit in [0, 1, 3, 17, 100] {
                for most_recent in [false, true] {
                    let request = SearchRequest { limit, most_recent, ..traceql(query) };
                    let expected = search(&serial, request.clone()).await.traces;
                    let found = search(&parallel, request).await.traces;
                    assert_eq!(found, expected, "{count} {query} {limit} {most_recent}");
                    if most_recent && limit > 0 {
                        let all = SearchRequest { limit: 0, ..traceql(query) };
                        let mut all = search(&serial, all).await.traces;
                        all.truncate(limit as usize);
                        assert_eq!(expected, all, "{query} {limit}");
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_and_values_are_the_same_with_any_number_of_threads() {
    let batch = spans();
    let (_one, serial) = generated(&batch, threads(1)).await;
    let (_two, parallel) = generated(&batch, threads(4)).await;
    for query in ["", r#"{ name = "op 2" }"#] {
        let mut answers = BTreeMap::new();
        for (number, querier) in [&serial, &parallel].into_iter().enumerate() {
            let (tenant, query) = (TENANT.to_owned(), query.to_owned());
            let tags =
                TagsRequest { tenant: tenant.clone(), query: query.clone(), ..Default::default() };
            let request = TagsInBlockRequest { tags: Some(tags), part: Some(whole(BLOCK)) };
            let tags = querier.tags_in_block(Request::new(request)).await.unwrap().into_inner();
            let tag = "span.n".to_owned();
            let count = if query.is_empty() { 400 } else { 133 };
            let values = TagValuesRequest { tenant, query, tag, ..Default::default() };
            let request =
                TagValuesInBlockRequest { values: Some(values), part: Some(whole(BLOCK)) };
            let values = querier.tag_values_in_block(Request::new(request)).await.unwrap();
            let values = values.into_inner().values;
            assert_eq!(values.len(), count);
            answers.insert(number, (tags.scopes, values));
        }
        assert_eq!(answers[&0], answers[&1], "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_beyond_a_limit_are_cut_with_any_number_of_threads() {
    for count in [1, 4] {
        let (_directory, querier) = generated(&spans(), threads(count)).await;
        let values = TagValuesRequest {
            tenant: TENANT.into(),
            tag: "span.n".into(),
            max_values: 25,
            ..Default::default()
        };
        let request = TagValuesInBlockRequest { values: Some(values), part: Some(whole(BLOCK)) };
        let answer = querier.tag_values_in_block(Request::new(request)).await.unwrap().into_inner();
        assert_eq!((answer.values.len(), answer.truncated), (25, true), "{count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_group_that_needs_more_memory_than_there_is_fails_by_name() {
    let settings = with(|section| section.max_job_memory_bytes = 1_000);
    let (_directory, querier) = generated(&spans(), settings).await;
    let request = SearchBlockRequest { search: Some(traceql("{}")), part: Some(whole(BLOCK)) };
    let status = querier.search_block(Request::new(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("querier.max_job_memory_bytes is 1000"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_want_all_memory_wait_for_each_other() {
    let batch = spans();
    let (_all, querier) = generated(&batch, threads(4)).await;
    let expected = search(&querier, traceql("{}")).await.traces;
    // Enough for one row group at a time, by and large.
    let settings = with(|section| {
        section.max_threads = 4;
        section.max_job_memory_bytes = 200_000;
    });
    let (_directory, querier) = generated(&batch, settings).await;
    let searches = (0..8).map(|_| search(&querier, traceql("{}")));
    for answer in futures_util::future::join_all(searches).await {
        assert_eq!(answer.traces, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_do_not_depend_on_what_is_in_memory() {
    let batch = spans();
    let cold = with(|section| {
        section.max_threads = 1;
        section.column_cache_bytes = 0;
    });
    for traces_each in [1, 20, 40] {
        let (_cold, plain) = generated_with(&batch, traces_each, cold.clone()).await;
        let (_warm, querier) = generated_with(&batch, traces_each, threads(2)).await;
        for round in 0..3 {
            for query in [
                "{ span.n = 77 }",
                r#"{ resource.service.name = "shop" && span.n = 78 }"#,
                r#"{ name = "op 1" && span.n > 395 } | select(span.n, resource.service.name)"#,
                "{ span.n = 5 } && { span.n = 45 }",
                "{ .n = 6 || .absent = 7 }",
            ] {
                let expected = search(&plain, traceql(query)).await.traces;
                assert!(!expected.is_empty(), "{query}");
                let found = search(&querier, traceql(query)).await.traces;
                assert_eq!(found, expected, "{traces_each} {round} {query}");
            }
        }
    }
}
