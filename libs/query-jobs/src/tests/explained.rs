//! What a job says it did.

use tactus_proto::tactus::v1::JobExplanation;

use super::parallel::{BLOCK, TRACES, generated, search, spans, threads, with};
use super::*;

async fn explain(querier: &Querier, request: SearchRequest) -> JobExplanation {
    let answer = search(querier, SearchRequest { explain: true, ..request }).await;
    let [explanation] = answer.explanations.try_into().unwrap();
    assert_eq!(explanation.source, BLOCK);
    assert_eq!(explanation.read_bytes, answer.metrics.unwrap().inspected_bytes);
    explanation
}

fn pruned(explanation: &JobExplanation) -> Vec<(&str, u32)> {
    explanation.pruned.iter().map(|pruned| (pruned.reason.as_str(), pruned.parts)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_an_explanation_add_up() {
    for count in [1, 3] {
        let (_directory, querier) = generated(&spans(), threads(count)).await;
        let all = explain(&querier, traceql("{ span.n < 100 }")).await;
        assert_eq!((all.parts, pruned(&all).len()), (u32::from(TRACES), 0));
        assert_eq!((all.inspected_spans, all.matched_spans), (400, 100));
        assert!(all.decoded_bytes > 0 && all.read_bytes > 0);
        assert!(all.filter_columns.contains(&"span.n".to_owned()), "{:?}", all.filter_columns);
        assert!(all.result_columns.contains(&"span:id".to_owned()), "{:?}", all.result_columns);
        assert!(!all.result_columns.iter().any(|name| all.filter_columns.contains(name)));
        let phases: Vec<_> = all.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(phases, ["prune", "filter", "evaluate", "results"]);
        assert!(all.phases.iter().all(|phase| phase.nanos > 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruned_row_groups_are_told_with_their_reasons() {
    let (_directory, querier) = generated(&spans(), threads(2)).await;
    let traces = u32::from(TRACES);
    for (query, reason) in [
        (r#"{ name = "nothing" }"#, "dictionary of name"),
        (r#"{ resource.service.name = "x" && span.n > 1 }"#, "dictionary of resource.service.name"),
        ("{ duration > 1h }", "bounds of duration"),
        ("{ span.m != 7 && span.n = 1 }", "no value of span.m"),
        (r#"{ .env !~ "a.*" }"#, "no value of .env"),
        ("{ event.level != nil }", "no value of event.level"),
        (r#"{ duration > 1h || name =~ "x+" }"#, "bounds of duration, dictionary of name"),
    ] {
        let explanation = explain(&querier, traceql(query)).await;
        assert_eq!(pruned(&explanation), [(reason, traces)], "{query}");
        assert_eq!((explanation.parts, explanation.inspected_spans), (traces, 0), "{query}");
        assert!(explanation.filter_columns.is_empty() && explanation.decoded_bytes == 0);
    }
    // Only the trace of span 399 lasts until then.
    let request = SearchRequest { start: 399, end: 500, ..traceql("{}") };
    let explanation = explain(&querier, request).await;
    assert_eq!(pruned(&explanation), [("time range", traces - 1)]);
    assert_eq!(explanation.inspected_spans, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_answer_reads_few_row_groups() {
    let (_directory, querier) = generated(&spans(), threads(4)).await;
    let request = SearchRequest { limit: 1, ..traceql("{}") };
    assert_eq!(explain(&querier, request.clone()).await.parts, 1);
    let answer = search(&querier, SearchRequest { limit: 3, ..request.clone() }).await;
    assert_eq!(answer.metrics.unwrap().inspected_traces, 3);
    let newest = SearchRequest { most_recent: true, ..request };
    assert_eq!(explain(&querier, newest).await.parts, u32::from(TRACES));
}

#[tokio::test]
async fn columns_in_memory_are_told_from_those_read() {
    for column_cache_bytes in [0, 1 << 20] {
        let settings = with(|section| {
            section.max_threads = 2;
            section.column_cache_bytes = column_cache_bytes;
        });
        let (_directory, querier) = generated(&spans(), settings).await;
        // Reads the footer.
        search(&querier, traceql("{ duration > 1h }")).await;
        let first = explain(&querier, traceql("{ span.n < 100 }")).await;
        let again = explain(&querier, traceql("{ span.n < 100 }")).await;
        assert_eq!(again.matched_spans, first.matched_spans);
        let is_cached = again.read_bytes < first.read_bytes / 2;
        let has_cache = column_cache_bytes > 0;
        assert_eq!((again.cached_bytes > first.cached_bytes, is_cached), (has_cache, has_cache));
    }
}

#[tokio::test]
async fn nothing_is_explained_unasked() {
    let (_directory, querier) = generated(&spans(), threads(1)).await;
    assert!(search(&querier, traceql("{}")).await.explanations.is_empty());
    let never = explain(&querier, traceql("{ false }")).await;
    assert_eq!((never.parts, never.inspected_spans), (0, 0));
}

#[tokio::test]
async fn values_that_read_as_others_are_found() {
    let mut batch = spans();
    let (columns, count) = (&mut batch.spans, 400);
    (columns.kind, columns.status) = (vec![9; count].into(), vec![7; count].into());
    // Every one of them ends a millisecond before it starts.
    columns.duration = vec![0u64.wrapping_sub(1_000_000); count].into();
    let (_directory, querier) = generated(&batch, threads(1)).await;
    for (query, found) in [
        ("{ duration = 0s }", 400),
        ("{ duration < 1ms }", 400),
        ("{ duration <= 0ns }", 400),
        ("{ duration > 1ms }", 0),
        ("{ kind = unspecified }", 400),
        ("{ kind = server }", 0),
        ("{ status = unset }", 400),
        ("{ status = error }", 0),
    ] {
        assert_eq!(explain(&querier, traceql(query)).await.matched_spans, found, "{query}");
    }
}
