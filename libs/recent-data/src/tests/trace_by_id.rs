//! A trace by id: its spans, parts of a large one, and what is said of spans that were refused.

use bytes::Bytes;
use prost::Message as _;
use tactus_model::wire::put_bytes_field;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::tactus::v1::FindTraceRequest;
use tactus_work::memory::{Budget, QueryMemory};

use super::*;
use crate::{head::Head, large_traces::Inherited};

/// How many spans were refused of trace 1, as whoever asks for the trace is told.
async fn refused_spans(ingester: &Ingester) -> u64 {
    refused_spans_of(ingester, 1).await
}

async fn refused_spans_of(ingester: &Ingester, trace: u16) -> u64 {
    let trace_id = trace_id(trace).0.to_vec().into();
    let find = FindTraceRequest { tenant: "t1".into(), trace_id, ..Default::default() };
    let found = ingester.find_trace(tonic::Request::new(find)).await.unwrap().into_inner();
    found.refused_spans
}

#[tokio::test]
async fn of_a_large_trace_the_part_is_given_that_is_asked_for() {
    let bench = Bench::new();
    let ingester = bench.open();
    ingester
        .push(&push_of("t1", &[span(1, 1, 1), span(2, 9, 1), span(1, 2, 1)]), &tenant())
        .unwrap();
    ingester.seal().await.unwrap();
    ingester.push(&push_of("t1", &[span(1, 3, 1)]), &tenant()).unwrap();
    let find = async |large_spans, span_ids: Bytes| {
        let trace_id = trace_id(1).0.to_vec().into();
        let find = FindTraceRequest {
            tenant: "t1".into(),
            trace_id,
            large_spans,
            span_ids,
            ..Default::default()
        };
        let found = ingester.find_trace(tonic::Request::new(find)).await.unwrap().into_inner();
        let spans = TracesData::decode(found.trace).unwrap().resource_spans;
        let spans = spans.into_iter().flat_map(|resource| resource.scope_spans);
        let spans: Vec<_> = spans.flat_map(|scope| scope.spans).collect();
        let attributes = spans.iter().map(|span| span.attributes.len()).collect::<Vec<_>>();
        (found.is_part, attributes, spans)
    };
    for large_spans in [0, 3] {
        let (is_part, attributes, _) = find(large_spans, Bytes::new()).await;
        assert_eq!((is_part, attributes), (false, vec![2, 2, 2]), "{large_spans}");
    }
    let (is_part, attributes, heads) = find(2, Bytes::new()).await;
    assert_eq!((is_part, attributes), (true, vec![0, 0, 0]));
    assert!(heads.iter().all(|span| !span.name.is_empty() && span.end_time_unix_nano == 1_001));
    let wanted = [heads[2].span_id.clone(), heads[0].span_id.clone()].concat();
    let (is_part, attributes, spans) = find(2, wanted.into()).await;
    assert_eq!((is_part, attributes), (true, vec![2, 2]));
    assert_eq!(spans[0].span_id, heads[0].span_id);
    assert!(find(2, Bytes::from_static(&[7; 8])).await.1.is_empty());
}

#[tokio::test]
async fn part_of_too_many_bytes_is_left_out_and_comes_in_slices() {
    let bench = Bench::new();
    let ingester = bench.open();
    let spans: Vec<_> = (0..200).map(|id| span(1, id, 1)).collect();
    ingester.push(&push_of("t1", &spans[..150]), &tenant()).unwrap();
    ingester.seal().await.unwrap();
    ingester.push(&push_of("t1", &spans[150..]), &tenant()).unwrap();
    let find = async |request: FindTraceRequest| {
        let trace_id = trace_id(1).0.to_vec().into();
        let find = FindTraceRequest { tenant: "t1".into(), trace_id, ..request };
        ingester.find_trace(tonic::Request::new(find)).await.unwrap().into_inner()
    };
    let count = |trace: Bytes| {
        let spans = TracesData::decode(trace).unwrap().resource_spans;
        let scopes = spans.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.map(|scope| scope.spans.len()).sum::<usize>()
    };
    for (large_spans, query) in [(0, ""), (100, ""), (100, "{ span.number = 1 }"), (1_000, "")] {
        let request =
            FindTraceRequest { large_spans, query: query.into(), ..FindTraceRequest::default() };
        let whole = find(request.clone()).await;
        assert_eq!(whole.part_bytes, whole.trace.len() as u64);
        assert_eq!(whole.is_part, large_spans == 100);
        // A trace that is not large by its spans is large by its bytes.
        let slices = 7;
        let request = FindTraceRequest { max_part_bytes: 4_000, ..request };
        let (refused, mut found) = (find(request.clone()).await, 0);
        let bytes = refused.part_bytes as f64 / whole.part_bytes as f64;
        assert!(refused.trace.is_empty() && refused.is_part);
        assert!((0.3..1.2).contains(&bytes), "about so many: {bytes}");
        for slice in 0..slices {
            let request = FindTraceRequest { slices, slice, max_part_bytes: 0, ..request.clone() };
            let part = find(request).await;
            assert!(part.is_part && part.part_bytes == part.trace.len() as u64);
            found += count(part.trace);
        }
        assert_eq!(found, 200);
    }
}

#[tokio::test]
async fn trace_of_few_large_spans_comes_in_slices_where_queries_have_no_memory_for_all_of_it() {
    let bench = Bench::new();
    let memory = Budget::new(2_000_000);
    let settings = Settings { query_memory: QueryMemory::within(&memory), ..bench.settings() };
    let ingester = bench.open_with(settings).unwrap();
    for id in 0..60 {
        let mut large = span(1, id, 1);
        // Its trace state.
        put_bytes_field(&mut large, 3, format!("{id:050000}").as_bytes());
        ingester.push(&push_of("t1", &[large]), &tenant()).unwrap();
    }
    let find = async |slices, slice| {
        let find = FindTraceRequest {
            tenant: "t1".into(),
            trace_id: trace_id(1).0.to_vec().into(),
            max_part_bytes: if slices == 0 { 600_000 } else { 0 },
            slices,
            slice,
            ..FindTraceRequest::default()
        };
        ingester.find_trace(tonic::Request::new(find)).await.unwrap().into_inner()
    };
    for moment in ["live", "in segments"] {
        let whole = find(0, 0).await;
        assert!(whole.is_part && whole.trace.is_empty(), "{moment}");
        assert!((2_000_000..4_000_000).contains(&whole.part_bytes), "{moment}");
        let mut found = 0;
        for slice in 0..16 {
            let spans = TracesData::decode(find(16, slice).await.trace).unwrap().resource_spans;
            let scopes = spans.iter().flat_map(|resource| &resource.scope_spans);
            found += scopes.map(|scope| scope.spans.len()).sum::<usize>();
        }
        assert_eq!((found, memory.used()), (60, 0), "{moment}");
        ingester.seal().await.unwrap();
    }
}

fn with_trace_limit(bench: &Bench, bytes: u64) -> Settings {
    let mut settings = bench.settings();
    settings.limits = OfTenant::all(Limits { max_bytes_per_trace: bytes, ..Limits::default() });
    settings
}

#[tokio::test]
async fn trace_that_was_cut_stays_known_live_replayed_in_segments_and_in_the_block() {
    let bench = Bench::new();
    let ingester = bench.open_with(with_trace_limit(&bench, 1_000)).unwrap();
    let mut refused = 0;
    for id in 0..40 {
        // One span a push: those that are refused come alone.
        let appended = ingester.push(&push_of("t1", &[span(1, id, 1)]), &tenant()).unwrap();
        refused += appended.refused.too_large;
    }
    ingester.push(&push_of("t1", &[span(2, 100, 1)]), &tenant()).unwrap();
    assert!(refused > 20);
    assert_eq!(refused_spans(&ingester).await, refused);
    drop(ingester);
    // Of the pushes that stored nothing the first one is in the log.
    let ingester = bench.open_with(with_trace_limit(&bench, 1_000)).unwrap();
    assert_eq!(refused_spans(&ingester).await, 1);
    let kept = held(&ingester);
    ingester.seal().await.unwrap();
    drop(ingester);
    let ingester = bench.open_with(with_trace_limit(&bench, 1_000)).unwrap();
    assert_eq!((refused_spans(&ingester).await, held(&ingester)), (1, kept));
    ingester.flush_all().await.unwrap();
    assert_eq!(refused_spans(&ingester).await, 0, "the block says it now");
    let blocks = bench.blocklist.tenant("t1");
    let cut: Vec<_> = blocks.live()[0].cut_traces().iter().collect();
    assert_eq!(cut, [(trace_id(1), 1)]);
}

#[tokio::test]
async fn trace_that_was_one_too_many_is_not_taken_for_one_that_was_cut() {
    let bench = Bench::new();
    let mut settings = bench.settings();
    let limits = Limits { max_live_traces: 1, max_bytes_per_trace: 1_000, ..Limits::default() };
    settings.limits = OfTenant::all(limits);
    let ingester = bench.open_with(settings.clone()).unwrap();
    ingester.push(&push_of("t1", &[span(1, 0, 1)]), &tenant()).unwrap();
    let both: Vec<_> = (1..40).flat_map(|id| [span(1, id, 1), span(2, 100 + id, 1)]).collect();
    let refused = ingester.push(&push_of("t1", &both), &tenant()).unwrap().refused;
    assert!(refused.too_large > 20 && refused.too_many_traces == 39, "{refused:?}");
    let kept = held(&ingester);
    drop(ingester);
    let ingester = bench.open_with(settings).unwrap();
    assert_eq!((refused_spans(&ingester).await, held(&ingester)), (refused.too_large, kept));
    assert_eq!(refused_spans_of(&ingester, 2).await, 0);
    let again = ingester.push(&push_of("t1", &[span(2, 101, 1)]), &tenant()).unwrap();
    assert_eq!(again.spans, 1);
    ingester.flush_all().await.unwrap();
    assert_eq!(refused_spans_of(&ingester, 2).await, 0);
    let blocks = bench.blocklist.tenant("t1");
    let live = blocks.live();
    let cut: Vec<_> = live.iter().flat_map(|block| block.cut_traces().iter()).collect();
    assert_eq!(cut, [(trace_id(1), refused.too_large)]);
}

#[test]
fn frame_of_a_release_that_does_not_say_why_counts_refused_spans_as_cut() {
    let spans: Vec<_> = (0..3).map(|id| span(id, id, 1)).collect();
    let push = push_of("t1", &spans);
    let head = Head::new(Limits::default(), 100, Inherited::default());
    head.append_replayed(&push, &[0, 1, 1], |_| false).unwrap();
    assert_eq!([0, 1, 2].map(|trace| head.refused_spans(trace_id(trace))), [1, 0, 0]);
}

#[tokio::test]
async fn refusals_without_a_segment_of_their_own_go_along_with_the_next_one() {
    let bench = Bench::new();
    let ingester = bench.open_with(with_trace_limit(&bench, 150)).unwrap();
    let push = |id| ingester.push(&push_of("t1", &[span(1, id, 1)]), &tenant()).unwrap();
    assert_eq!(push(1).spans, 1);
    ingester.seal().await.unwrap();
    assert_eq!(push(2).refused.too_large, 1);
    ingester.seal().await.unwrap();
    assert_eq!(refused_spans(&ingester).await, 1);
    push(3);
    ingester.push(&push_of("t1", &[span(2, 4, 1)]), &tenant()).unwrap();
    ingester.seal().await.unwrap();
    assert_eq!(refused_spans(&ingester).await, 2);
    let segments = ingester.recent_view(&tenant()).segments;
    let noted: Vec<_> = segments.iter().map(|it| it.cut_traces().spans(trace_id(1))).collect();
    assert_eq!(noted, [0, 2]);
}
