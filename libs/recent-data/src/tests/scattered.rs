//! The traces that lie in several places are the same whether they are looked for anew or kept from query to query.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::{collection::vec, prelude::*};
use tactus_model::TraceId;
use tactus_storage::Uuid;

use super::*;
use crate::recent_view::{Place, RecentView};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<u16>),
    Seal,
    Flush,
    /// Half of the blocks are read by the query.
    Look(bool),
}

/// Where each trace lies: live, in segments, in stored segments, and in how many blocks of these.
fn expected(view: &RecentView) -> (BTreeSet<TraceId>, Vec<BTreeSet<TraceId>>) {
    let mut live: BTreeSet<TraceId> = BTreeSet::new();
    view.live_batches().for_each(|batch| live.extend(batch.traces.ids.iter()));
    let mut segments: BTreeMap<TraceId, usize> = BTreeMap::new();
    for segment in &view.segments {
        segment.batch().traces.ids.iter().for_each(|&id| *segments.entry(id).or_default() += 1);
    }
    let mut blocks: BTreeMap<TraceId, BTreeSet<Uuid>> = BTreeMap::new();
    for segment in &view.stored {
        for &id in segment.batch().traces.ids.iter() {
            blocks.entry(id).or_default().extend(segment.block());
        }
    }
    let all: BTreeSet<TraceId> =
        live.iter().chain(segments.keys()).chain(blocks.keys()).copied().collect();
    let count = |id: &TraceId| segments.get(id).copied().unwrap_or(0);
    let in_blocks = |id: &TraceId| blocks.get(id).map_or(0, BTreeSet::len);
    let is_scattered = |id: &TraceId| live.contains(id) || count(id) + in_blocks(id) > 1;
    let scattered: BTreeSet<TraceId> = all.into_iter().filter(is_scattered).collect();
    let stored = view.stored.iter().map(|segment| {
        let batch = segment.batch();
        batch.traces.ids.iter().filter(|id| scattered.contains(id)).copied().collect()
    });
    let stored = stored.collect();
    (scattered, stored)
}

fn check(view: &RecentView) {
    let (traces, stored) = expected(view);
    let scattered = view.scattered();
    assert_eq!(scattered.count(), traces.len());
    assert!(traces.iter().all(|&id| scattered.contains(id)));
    for (number, expected) in stored.into_iter().enumerate() {
        let found = scattered.of_stored(number);
        assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected);
        assert_eq!(found.len(), expected.len(), "each once");
    }
    for (number, segment) in view.segments.iter().enumerate() {
        let batch = segment.batch();
        let holds = batch.traces.ids.iter().any(|id| traces.contains(id));
        assert_eq!(scattered.touches(Place::Segment(number)), holds);
    }
}

async fn run(steps: Vec<Step>) {
    let bench = Bench::new();
    let settings = Settings { hold_flushed: HOUR, fsync_interval: None, ..bench.settings() };
    let ingester = bench.open_with(settings).unwrap();
    let mut next = 0;
    for step in steps {
        match step {
            Step::Push(traces) => {
                let spans: Vec<_> = traces
                    .into_iter()
                    .map(|trace| {
                        next += 1;
                        span(trace, next, u64::from(next) * 1_000)
                    })
                    .collect();
                ingester.push(&push_of("t1", &spans), &tenant()).unwrap();
            }
            Step::Seal => ingester.seal().await.unwrap(),
            Step::Flush => ingester.flush_all().await.unwrap(),
            Step::Look(reads_blocks) => {
                let blocks = bench.blocklist.tenant("t1");
                let blocks = blocks.live().iter().map(|meta| meta.block_id);
                let read: HashSet<Uuid> =
                    blocks.enumerate().filter(|(at, _)| at % 2 == 0).map(|(_, id)| id).collect();
                let view = ingester.recent_view(&tenant());
                check(&if reads_blocks { view.without_stored(&read) } else { view });
            }
        }
    }
    check(&ingester.recent_view(&tenant()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn scattered_traces_are_found_whatever_was_cut_and_flushed_meanwhile(
        steps in vec(prop_oneof![
            4 => vec(0u16..200, 1..40).prop_map(Step::Push),
            3 => Just(Step::Seal),
            1 => Just(Step::Flush),
            3 => any::<bool>().prop_map(Step::Look),
        ], 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.unwrap().block_on(run(steps));
    }
}

/// Segments that were there before a process began are all new to it.
#[tokio::test]
async fn traces_of_very_many_segments_are_found_at_once() {
    let mut steps = Vec::new();
    for first in 0..30 {
        steps.push(Step::Push((first * 7..first * 7 + 12).collect()));
        steps.push(Step::Seal);
    }
    run(steps).await;
}

#[tokio::test]
async fn trace_whose_spans_are_days_apart_is_found_by_any_of_them() {
    let (bench, day) = (Bench::new(), 86_400_000_000_000);
    let ingester = bench.open();
    for (id, at) in [(1, day), (2, 4 * day)] {
        ingester.push(&push_of("t1", &[span(1, id, at)]), &tenant()).unwrap();
        ingester.seal().await.unwrap();
    }
    // Live, both in one push.
    ingester.push(&push_of("t1", &[span(2, 1, day), span(2, 2, 4 * day)]), &tenant()).unwrap();
    let found = async |query: &str, days: std::ops::Range<u32>| {
        let request = tactus_proto::tactus::v1::SearchRequest {
            tenant: "t1".into(),
            query: query.into(),
            start: days.start * 86_400 - 60,
            end: days.end * 86_400 - 30,
            ..Default::default()
        };
        let answer = Protocol::search(&*ingester, tonic::Request::new(request)).await.unwrap();
        answer.into_inner().traces.len()
    };
    for query in ["{ }", "{ span.n = 1 }", "{ span.n = 2 }"] {
        // Around the last, between both, around the first; before and after all of them.
        let windows = [4..5, 2..3, 1..2];
        for window in windows {
            assert_eq!(found(query, window.clone()).await, 2, "{query} {window:?}");
        }
        assert_eq!((found(query, 6..7).await, found("{ span.n = 3 }", 1..5).await), (0, 0));
    }
}

#[tokio::test]
async fn search_looks_at_segments_within_its_window_only() {
    let bench = Bench::new();
    let ingester = bench.open();
    let second = 1_000_000_000;
    for (trace, at) in [(1, 100), (2, 200), (3, 300)] {
        ingester.push(&push_of("t1", &[span(trace, trace, at * second)]), &tenant()).unwrap();
        ingester.seal().await.unwrap();
    }
    // Of a trace in two segments one is outside, and matches nevertheless.
    ingester.push(&push_of("t1", &[span(1, 4, 310 * second)]), &tenant()).unwrap();
    ingester.seal().await.unwrap();
    let search = async |query: &str| {
        let request = tactus_proto::tactus::v1::SearchRequest {
            tenant: "t1".into(),
            query: query.into(),
            start: 250,
            end: 400,
            explain: true,
            ..Default::default()
        };
        let found = Protocol::search(&*ingester, tonic::Request::new(request)).await.unwrap();
        let found = found.into_inner();
        let mut ids: Vec<_> = found.traces.iter().map(|trace| trace.trace_id.clone()).collect();
        ids.sort_unstable();
        (ids.len(), found.explanations)
    };
    assert_eq!(search("{ span.n = 1 }").await.0, 1);
    assert_eq!(search("{ span.n = 2 }").await.0, 0);
    let (found, explanations) = search("{ }").await;
    let [explanation] = &explanations[..] else { panic!("one") };
    let pruned: Vec<_> =
        explanation.pruned.iter().map(|it| (it.reason.as_str(), it.parts)).collect();
    assert_eq!((found, pruned), (2, vec![("outside the time range", 1)]));
    assert_eq!((explanation.parts, explanation.inspected_spans), (4, 3));
}
