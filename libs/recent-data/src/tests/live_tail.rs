//! Spans shown while they are pushed.

use futures_util::StreamExt as _;
use tactus_config::GoDuration;
use tactus_proto::tactus::v1::{
    SpanRun, TailRequest, TailResponse, TailSpan, live_tail_server::LiveTail as Protocol,
};
use tonic::{Code, Request, Status, codegen::BoxStream};

use super::*;

async fn try_open(
    ingester: &Ingester,
    tenant: &str,
    query: &str,
    spans_per_second: u32,
) -> Result<BoxStream<TailResponse>, Status> {
    let (tenant, query) = (tenant.to_owned(), query.to_owned());
    let request = TailRequest { tenant, query, spans_per_second };
    Ok(ingester.tail(Request::new(request)).await?.into_inner())
}

/// An open tail that said hello.
async fn open(ingester: &Ingester, query: &str, spans_per_second: u32) -> BoxStream<TailResponse> {
    let mut tail = try_open(ingester, "t1", query, spans_per_second).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap(), TailResponse::default());
    tail
}

async fn next(tail: &mut BoxStream<TailResponse>) -> Result<TailResponse, Status> {
    let next = tokio::time::timeout(Duration::from_secs(20), tail.next()).await;
    next.expect("it says something every 2 seconds").unwrap_or_else(|| Err(Status::cancelled("")))
}

#[derive(Debug, Default)]
struct Seen {
    spans: Vec<TailSpan>,
    matched: u64,
    skipped: u64,
}

/// Reads until so many spans matched or were skipped.
async fn read(tail: &mut BoxStream<TailResponse>, spans: u64) -> Seen {
    let mut seen = Seen::default();
    while seen.matched + seen.skipped < spans {
        let response = next(tail).await.unwrap();
        seen.skipped += response.skipped_spans;
        for run in response.runs {
            seen.matched += run.matched_spans;
            seen.spans.extend(run.spans);
        }
    }
    seen
}

#[tokio::test]
async fn tail_shows_what_matches_as_it_was_pushed() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..50);
    let query = "{ span.n >= 100 && span.n < 103 } | select(span.text, resource.service.name)";
    let mut tail = open(&ingester, query, 1_000).await;
    let other = TenantId::parse("t2").unwrap();
    ingester.push(&push_of("t2", &[span(1, 100, 5)]), &other).unwrap();
    push_all(&ingester, 90..120);
    let seen = read(&mut tail, 3).await;
    let ids: Vec<_> = seen.spans.iter().map(|span| span.span_id[7]).collect();
    assert_eq!(ids, [100, 101, 102], "in the order in which they came");
    let first = &seen.spans[0];
    assert_eq!((first.service.as_str(), first.name.as_str()), ("shop", "operation 2"));
    assert_eq!((first.start_nanos, first.duration_nanos), (100, 1_000));
    assert_eq!((first.trace_id.len(), first.span_id.len()), (16, 8));
    let shown: Vec<_> =
        first.attributes.iter().map(|it| (it.key.as_str(), it.value.as_str())).collect();
    assert_eq!(shown, [("n", "100"), ("text", "value 100"), ("service.name", "shop")]);
    assert_eq!(held(&ingester)[&100], 1, "they are stored like others");
}

#[tokio::test]
async fn spans_with_one_id_show_each_its_own_attributes() {
    let bench = Bench::new();
    let ingester = bench.open();
    let mut tail = open(&ingester, "{ } | select(span.text)", 1_000).await;
    // The later one comes first. The id of each is that of the other, its attributes are not.
    let mut spans = [span(1, 7, 500), span(1, 8, 100)];
    let ids = spans[0][18..28].to_vec();
    spans[1][18..28].copy_from_slice(&ids);
    ingester.push(&push_of("t1", &spans), &tenant()).unwrap();
    let seen = read(&mut tail, 2).await;
    assert_eq!(seen.spans[0].span_id, seen.spans[1].span_id);
    let shown: Vec<_> = seen
        .spans
        .iter()
        .map(|span| (span.start_nanos, span.attributes[0].value.as_str()))
        .collect();
    assert_eq!(shown, [(500, "value 7"), (100, "value 8")]);
}

#[tokio::test]
async fn spans_that_are_not_stored_are_not_shown() {
    let bench = Bench::new();
    let limits = Limits { max_live_traces: 1, ..Limits::default() };
    let settings = Settings { limits: OfTenant::all(limits), ..bench.settings() };
    let ingester = bench.open_with(settings).unwrap();
    let mut tail = open(&ingester, "", 1_000).await;
    let spans = [span(1, 1, 5), span(2, 2, 5), span(1, 3, 5)];
    assert_eq!(ingester.push(&push_of("t1", &spans), &tenant()).unwrap().spans, 2);
    let seen = read(&mut tail, 2).await;
    let ids: Vec<_> = seen.spans.iter().map(|span| span.span_id[7]).collect();
    assert_eq!((ids, seen.matched), (vec![1, 3], 2));
}

#[tokio::test]
async fn spans_beyond_the_rate_are_counted() {
    let bench = Bench::new();
    let ingester = bench.open();
    let mut tail = open(&ingester, "{ }", 10).await;
    push_all(&ingester, 0..200);
    let seen = read(&mut tail, 200).await;
    assert_eq!((seen.matched, seen.skipped), (200, 0));
    assert!((10..=60).contains(&seen.spans.len()), "{}", seen.spans.len());
}

#[tokio::test]
async fn reader_that_does_not_read_costs_a_bounded_buffer() {
    let bench = Bench::new();
    let settings = bench.settings_with(|it| it.ingester.live_tail.max_buffer_bytes = 4_000);
    let ingester = bench.open_with(settings).unwrap();
    let mut tail = try_open(&ingester, "t1", "{ }", 10_000).await.unwrap();
    push_all(&ingester, 0..2_000);
    let seen = read(&mut tail, 2_000).await;
    assert_eq!(seen.matched + seen.skipped, 2_000, "{} {}", seen.matched, seen.skipped);
    assert!(seen.skipped > 1_000 && seen.matched >= 10, "{} {}", seen.matched, seen.skipped);
    assert_eq!(ingester.metrics.tail_skipped_spans.get(), seen.skipped);
    // And goes on.
    push_all(&ingester, 2_000..2_010);
    assert_eq!(read(&mut tail, 10).await.matched, 10);
}

#[tokio::test]
async fn push_of_several_origins_is_told_by_origin() {
    let bench = Bench::new();
    let ingester = bench.open();
    let mut tail = open(&ingester, "{ span.n != 4 }", 1).await;
    let mut push = push_of("t1", &[span(1, 1, 5), span(1, 2, 5)]);
    push.runs[0].origin = 71;
    let other = push_of("t1", &[span(2, 3, 5), span(2, 4, 5)]).runs.remove(0);
    push.runs.push(SpanRun { origin: 72, ..other });
    ingester.push(&push, &tenant()).unwrap();
    let response = next(&mut tail).await.unwrap();
    let runs: Vec<_> =
        response.runs.iter().map(|run| (run.origin, run.matched_spans, run.spans.len())).collect();
    assert_eq!(runs, [(71, 2, 1), (72, 1, 0)]);
    // Sent again it is not stored again, and so not shown.
    ingester.push(&push, &tenant()).unwrap();
    push_all(&ingester, 50..60);
    assert_eq!(read(&mut tail, 10).await.matched, 10);
}

#[tokio::test]
async fn tails_are_as_many_as_there_may_be() {
    let bench = Bench::new();
    let settings = bench.settings_with(|it| {
        let live_tail = &mut it.ingester.live_tail;
        (live_tail.max_tails_per_tenant, live_tail.max_tails) = (2, 3);
    });
    let ingester = bench.open_with(settings).unwrap();
    let code = async |tenant: &str| match try_open(&ingester, tenant, "{ }", 1).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    };
    let first = open(&ingester, "{ }", 1).await;
    let mut second = open(&ingester, "{ }", 1).await;
    assert_eq!(code("t1").await, Code::ResourceExhausted);
    let _third = try_open(&ingester, "t2", "{ }", 1).await.unwrap();
    let are_open = async |count: f64| {
        while ingester.metrics.tails.get() != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    are_open(3.0).await;
    // A tenant with two makes room for one with none, and nobody with one does.
    let fourth = try_open(&ingester, "t3", "{ }", 1).await.unwrap();
    assert_eq!(next(&mut second).await.unwrap_err().code(), Code::ResourceExhausted);
    are_open(3.0).await;
    for tenant in ["t1", "t4"] {
        assert_eq!(code(tenant).await, Code::ResourceExhausted, "{tenant}");
    }
    drop((first, fourth));
    are_open(1.0).await;
    drop(open(&ingester, "{ }", 1).await);
    assert_eq!(code("t3").await, Code::Ok);
    for wrong in ["{", "{ } >> { }", "{ } | rate()"] {
        let status = try_open(&ingester, "t1", wrong, 1).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{wrong}");
    }
}

#[tokio::test]
async fn tenants_with_one_tail_each_leave_room_for_another_after_a_while() {
    let settings = |bench: &Bench, millis| {
        bench.settings_with(|it| {
            let live_tail = &mut it.ingester.live_tail;
            live_tail.max_tails = 3;
            live_tail.gives_way_after = GoDuration::millis(millis);
        })
    };
    for millis in [0, 3_600_000] {
        let bench = Bench::new();
        let ingester = bench.open_with(settings(&bench, millis)).unwrap();
        let mut open = Vec::new();
        for tenant in ["a", "b", "c"] {
            open.push(try_open(&ingester, tenant, "{ }", 1).await.unwrap());
        }
        let refused = try_open(&ingester, "d", "{ }", 1).await.err().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("ingester.live_tail.max_tails)"), "{refused}");
    }
    let bench = Bench::new();
    let ingester = bench.open_with(settings(&bench, 1)).unwrap();
    let mut open = Vec::new();
    for tenant in ["a", "b", "c", "d", "e"] {
        open.push(try_open(&ingester, tenant, "{ }", 1).await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A tenant that has one does not get the place of another.
    let refused = try_open(&ingester, "e", "{ }", 1).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    for (number, tail) in open.iter_mut().enumerate() {
        let mut told = next(tail).await;
        if told.is_ok() {
            told = next(tail).await;
        }
        let is_displaced = told.is_err_and(|status| status.code() == Code::ResourceExhausted);
        assert_eq!(is_displaced, number < 2, "the oldest gave way: {number}");
    }
}

#[tokio::test]
async fn tail_ends_when_the_ingester_stops() {
    let bench = Bench::new();
    let ingester = bench.open();
    let mut tail = open(&ingester, "{ }", 1).await;
    ingester.stop_pushes();
    assert_eq!(next(&mut tail).await.unwrap_err().code(), Code::Unavailable);
    assert!(tail.next().await.is_none());
}
