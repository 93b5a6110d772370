//! Series of a block against those of the engine over all of its spans.

use tactus_api::job::MetricsJob;
use tactus_api::metrics::from_message;
use tactus_model::SpanBatch;
use tactus_proto::tactus::v1::{MetricsInBlockRequest, MetricsRequest, MetricsResponse};
use tactus_traceql::metrics::{
    AnswerOptions, MetricsAnswer, MetricsCollector, MetricsCombiner, PartialSeries,
};

use super::parallel::{BLOCK, TRACES, generated, spans, threads};
use super::*;

const SECOND: u64 = 1_000_000_000;

/// 30 intervals of ten seconds: the spans of the first 50 seconds and the last 50 are outside.
fn request(query: &str) -> MetricsRequest {
    MetricsRequest {
        tenant: TENANT.into(),
        query: query.into(),
        start_nanos: 50 * SECOND,
        step_nanos: 10 * SECOND,
        intervals: 30,
        ..MetricsRequest::default()
    }
}

async fn metrics(querier: &Querier, request: MetricsRequest) -> Result<MetricsResponse, Status> {
    let (metrics, part) = (Some(request), Some(whole(BLOCK)));
    let request = MetricsInBlockRequest { metrics, part, ..MetricsInBlockRequest::default() };
    Ok(querier.metrics_in_block(Request::new(request)).await?.into_inner())
}

fn combine(job: &MetricsJob, parts: Vec<PartialSeries>) -> MetricsAnswer {
    let options = AnswerOptions::default();
    let mut combiner = MetricsCombiner::new(&job.root, job.query.grid(), options);
    combiner.add(parts).unwrap();
    combiner.finish().unwrap()
}

fn expected(request: &MetricsRequest, batch: &SpanBatch) -> MetricsAnswer {
    let job = MetricsJob::compile(request).unwrap();
    let mut collector = MetricsCollector::new(&job.query);
    collector.observe(&job.query, batch, None).unwrap();
    combine(&job, collector.finish(&job.query))
}

fn answered(request: &MetricsRequest, response: MetricsResponse) -> MetricsAnswer {
    let job = MetricsJob::compile(request).unwrap();
    let parts = response.series.into_iter().map(|series| from_message(series).unwrap());
    combine(&job, parts.collect())
}

/// Equal but for the order in which fractions were added.
fn assert_same(found: &MetricsAnswer, expected: &MetricsAnswer, context: &str) {
    assert_eq!(found.series.len(), expected.series.len(), "{context}");
    for (found, expected) in found.series.iter().zip(&expected.series) {
        assert_eq!(found.labels, expected.labels, "{context}");
        assert_eq!(found.points.len(), expected.points.len(), "{context}");
        for (&(at, value), &(expected_at, expected)) in found.points.iter().zip(&expected.points) {
            let close = (value - expected).abs() <= expected.abs() * 1e-12;
            assert!(at == expected_at && close, "{context}: {value} {expected}");
        }
    }
}

const QUERIES: [&str; 12] = [
    "{ } | rate()",
    "{ } | rate() by (name)",
    "{ span.n % 3 = 1 } | count_over_time() by (resource.service.name, span.n)",
    "{ duration > 100ms } | min_over_time(duration) by (name)",
    "{ } | max_over_time(span.n)",
    "{ } | sum_over_time(duration) by (name)",
    "{ } | avg_over_time(duration)",
    "{ } | quantile_over_time(duration, .5, .99) by (name)",
    "{ } | histogram_over_time(duration)",
    "{ } | compare({ span.n > 200 })",
    r#"{ } | count() > 3 | rate()"#,
    r#"({ name = "op 1" } | rate()) / ({ } | rate())"#,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_of_a_block_are_those_of_its_spans() {
    let batch = spans();
    for count in [1, 2, 5] {
        let (_directory, querier) = generated(&batch, threads(count)).await;
        for query in QUERIES {
            let request = request(query);
            let response = metrics(&querier, request.clone()).await.unwrap();
            let counts = response.metrics.unwrap();
            assert_eq!((counts.inspected_traces, counts.inspected_spans), (40, 400), "{query}");
            assert!(response.explanations.is_empty());
            let expected = expected(&request, &batch);
            assert!(!expected.series.is_empty(), "{query}");
            assert_same(&answered(&request, response), &expected, query);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_block_add_up_to_its_series() {
    let batch = spans();
    let (_directory, querier) = generated(&batch, threads(2)).await;
    for query in QUERIES {
        let request = request(query);
        let mut all = MetricsResponse::default();
        for (first_row_group, row_groups) in [(0, 7), (7, 1), (8, 30), (38, 0)] {
            let part = Some(BlockPart { block_id: BLOCK.into(), first_row_group, row_groups });
            let metrics = Some(request.clone());
            let job = MetricsInBlockRequest { metrics, part, ..Default::default() };
            let answer = querier.metrics_in_block(Request::new(job)).await.unwrap().into_inner();
            all.series.extend(answer.series);
        }
        assert_same(&answered(&request, all), &expected(&request, &batch), query);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_groups_that_nothing_is_counted_of_are_not_read() {
    let batch = spans();
    let (_directory, querier) = generated(&batch, threads(2)).await;
    for (query, reason) in [
        (r#"{ name = "nothing" } | rate()"#, "dictionary of name"),
        (
            r#"({ name = "nothing" } | rate()) + ({ duration > 1h } | rate())"#,
            "dictionary of name, bounds of duration",
        ),
    ] {
        let request = MetricsRequest { explain: true, ..request(query) };
        let answer = metrics(&querier, request).await.unwrap();
        assert!(answer.series.is_empty());
        let explanation = &answer.explanations[0];
        assert_eq!((explanation.parts, explanation.inspected_spans), (TRACES.into(), 0), "{query}");
        assert_eq!(explanation.pruned[0].reason, reason);
        assert_eq!(explanation.pruned[0].parts, u32::from(TRACES));
    }
    // Trace `i` starts at `i` seconds; its last span starts 360 seconds later.
    let late =
        MetricsRequest { start_nanos: 389 * SECOND, explain: true, ..request("{} | rate()") };
    let answer = metrics(&querier, late.clone()).await.unwrap();
    let explanation = &answer.explanations[0];
    assert_eq!(
        (explanation.pruned[0].reason.as_str(), explanation.pruned[0].parts),
        ("time range", 30)
    );
    assert_eq!((explanation.inspected_spans, explanation.matched_spans), (100, 10));
    assert_same(&answered(&late, answer), &expected(&late, &batch), "late");
    let either = r#"({ name = "nothing" } | rate()) + ({ name = "op 1" } | rate())"#;
    let answer = metrics(&querier, request(either)).await.unwrap();
    assert_eq!(answer.metrics.unwrap().inspected_spans, 400, "one of two can be counted");
}

#[tokio::test]
async fn bad_metrics_jobs_are_refused() {
    let (_directory, querier) = generated(&spans(), threads(1)).await;
    for query in ["{", "{ }", ""] {
        let status = metrics(&querier, request(query)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{query}: {status}");
    }
    let small = MetricsRequest { max_series_bytes: 100, ..request("{ } | rate() by (span.n)") };
    let status = metrics(&querier, small).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

#[tokio::test]
async fn metrics_of_a_deleted_block_are_not_complete() {
    let (directory, querier) = generated(&spans(), threads(1)).await;
    fs::remove_dir_all(directory.path().join(TENANT).join(BLOCK)).unwrap();
    let status = metrics(&querier, request("{ } | rate()")).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss, "{status}");
}

#[tokio::test]
async fn spans_that_another_block_counts_are_left_out() {
    let batch = spans();
    let (_directory, querier) = generated(&batch, threads(2)).await;
    let gone = "55555555-5555-4555-8555-555555555555";
    for (others, spans) in [(vec![gone], 300.0), (vec![BLOCK], 300.0)] {
        let metrics = Some(request("{ } | count_over_time()"));
        let counted_block_ids = others.into_iter().map(str::to_owned).collect();
        let job = MetricsInBlockRequest { metrics, part: Some(whole(BLOCK)), counted_block_ids };
        let answer = querier.metrics_in_block(Request::new(job)).await.unwrap().into_inner();
        let counted: f64 = answer.series.iter().flat_map(|series| &series.values).sum();
        assert_eq!(counted, spans);
    }
}
