//! Random searches on random traces: the engine answers as the slow evaluator does.

use proptest::prelude::*;
use tactus_model::SpanBatch;
use tactus_traceql::eval::{CompiledQuery, EvaluateError, SearchOptions, TraceMatch, Window};
use tactus_traceql::{RootExpr, parse_and_validate};

use crate::slow::batches::{Group, live_batch, project, stored_batch};
use crate::slow::data::{BASE, groups};
use crate::slow::pipeline::SplitOperand;
use crate::slow::queries::search;
use crate::slow::world::World;

const SECOND: u64 = 1_000_000_000;

fn window() -> impl Strategy<Value = Window> {
    let nanos = |half_seconds: u64| BASE + half_seconds * SECOND / 2;
    prop_oneof![
        5 => Just(Window::default()),
        1 => (0u64..10).prop_map(move |end| Window {
            start_unix_nanos: 0,
            end_unix_nanos: nanos(end),
        }),
        1 => (0u64..10, 0u64..10).prop_map(move |(start, length)| Window {
            start_unix_nanos: nanos(start),
            end_unix_nanos: nanos(start + length),
        }),
    ]
}

fn options() -> impl Strategy<Value = SearchOptions> {
    (prop_oneof![Just(0), 0usize..4], prop_oneof![Just(0), 0usize..4])
        .prop_map(|(limit, spans_per_span_set)| SearchOptions { limit, spans_per_span_set })
}

/// The order of a trace's spansets is left open.
fn in_one_order(mut found: Vec<TraceMatch>) -> Vec<TraceMatch> {
    for trace in &mut found {
        trace.span_sets.sort_by_cached_key(|set| format!("{set:?}"));
    }
    found
}

/// The engine's answer in two passes, each with only the columns it asks for if the batch is stored.
fn engine(
    root: &RootExpr,
    batch: &SpanBatch,
    window: Window,
    options: &SearchOptions,
) -> Result<Vec<TraceMatch>, EvaluateError> {
    let query = CompiledQuery::compile(root).expect("scalar pipelines do not validate");
    let is_stored = batch.traces.summaries.is_some();
    let columns = |projection| if is_stored { project(batch, projection) } else { batch.clone() };
    let matches = query.find_newest(&columns(query.filter_projection()), window, options.limit)?;
    let found: Vec<_> =
        query.assemble(&columns(query.result_projection()), &matches, options).collect();
    Ok(in_one_order(found))
}

/// Two answers are equal by their text: NaN differs from itself, and the sign of a zero sum is left open.
fn text(found: &[TraceMatch]) -> String {
    format!("{found:#?}").replace("-0.0,", "0.0,")
}

fn check(
    query: &str,
    groups: &[Group],
    window: Window,
    options: &SearchOptions,
) -> Result<(), TestCaseError> {
    let Ok(root) = parse_and_validate(query) else { return Ok(()) };
    let is_never = CompiledQuery::compile(&root).is_ok_and(|query| query.is_never());
    let expected = World::new(groups).search(root.search_pipeline(), window, options);
    let live = live_batch(groups);
    let stored = stored_batch(&live);
    for (batch, state) in [(&live, "live"), (&stored, "stored")] {
        let found = engine(&root, batch, window, options);
        match &expected {
            // What cannot match is answered without a look at the data.
            Err(SplitOperand) if is_never => prop_assert_eq!(found, Ok(Vec::new())),
            Err(SplitOperand) => prop_assert_eq!(found, Err(EvaluateError::SplitOperand)),
            Ok(expected) => {
                let found = found.map_err(|error| TestCaseError::fail(error.to_string()))?;
                let expected = in_one_order(expected.clone());
                prop_assert_eq!(text(&found), text(&expected), "{}: {}", state, query);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::slow::cases(1500))]

    #[test]
    fn engine_answers_as_the_slow_evaluator(
        groups in groups(),
        query in search(),
        window in window(),
        options in options(),
    ) {
        check(&query, &groups, window, &options)?;
    }
}

/// The property is worth something only if its queries are valid and find something.
#[test]
fn random_queries_are_mostly_valid_and_often_match() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut valid, mut matching) = (0, 0);
    for _ in 0..400 {
        let query = search().new_tree(&mut runner).expect("no filters").current();
        let groups = groups().new_tree(&mut runner).expect("no filters").current();
        let Ok(root) = parse_and_validate(&query) else { continue };
        valid += 1;
        let options = SearchOptions { limit: 0, spans_per_span_set: 0 };
        let found = World::new(&groups).search(root.search_pipeline(), Window::default(), &options);
        matching += usize::from(found.is_ok_and(|found| !found.is_empty()));
    }
    assert!(valid > 320, "{valid} of 400 are valid");
    assert!(matching > 150, "{matching} of 400 match");
}
