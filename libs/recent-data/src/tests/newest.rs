//! A search for few traces finds the newest of all that match, wherever they lie.

use proptest::{collection::vec, prelude::*};
use tactus_api::job::SearchJob;
use tactus_proto::tactus::v1::SearchRequest;
use tactus_traceql::eval::{SearchOptions, TraceMatch};

use super::*;
use crate::recent_view::RecentView;

/// Nanoseconds between times of these tests.
const UNIT: u64 = 1_000;

fn found(ingester: &Ingester, window: Window, limit: usize) -> Vec<(TraceId, u64, u64)> {
    let request = SearchRequest { query: "{ }".into(), ..SearchRequest::default() };
    let job = SearchJob::compile(&request, &[]).unwrap();
    let options = SearchOptions { limit, spans_per_span_set: 3 };
    let search = |view: RecentView| view.search_recent(&job.query, (window, options), &|_| {});
    let found = ingester.read_recent(&tenant(), search).unwrap().unwrap();
    let facts = |it: &TraceMatch| (it.trace_id, it.start_unix_nanos, it.duration_nanos);
    found.traces.iter().map(facts).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn search_for_few_traces_finds_the_newest_of_all(
        cuts in vec(vec((0u16..60, 1u64..40), 0..25), 1..6), ends_live in any::<bool>(), limit in 1usize..30,
        (from, to) in (0u64..50, 0u64..50),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bench = Bench::new();
        let ingester = bench.open();
        let mut next = 0;
        for (cut, traces) in cuts.iter().enumerate() {
            let spans: Vec<_> = traces.iter().map(|&(trace, at)| {
                next += 1;
                span(trace, next, at * UNIT)
            }).collect();
            ingester.push(&push_of("t1", &spans), &tenant()).unwrap();
            if cut + 1 < cuts.len() || !ends_live {
                runtime.block_on(ingester.seal()).unwrap();
            }
        }
        let bounded = Window { start_unix_nanos: from * UNIT, end_unix_nanos: to * UNIT };
        for window in [Window::default(), bounded] {
            let mut expected = found(&ingester, window, 0);
            expected.truncate(limit);
            prop_assert_eq!(found(&ingester, window, limit), expected);
        }
    }
}
