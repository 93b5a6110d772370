//! Random metrics queries on random traces: batches, collectors and the combiner answer as the slow evaluator does,
//! however the spans are split into jobs.

#[path = "slow/slow.rs"]
#[expect(dead_code, reason = "searches use the rest")]
mod slow;
#[path = "slow_metrics/slow_metrics.rs"]
mod slow_metrics;

use proptest::prelude::*;
use proptest::sample::select;
use tactus_model::SpanBatch;
use tactus_traceql::eval::Bitmap;
use tactus_traceql::metrics::{
    AnswerOptions, CompiledMetrics, Grid, MetricsCollector, MetricsCombiner, MetricsError,
    MetricsOptions, Series,
};
use tactus_traceql::{RootExpr, parse_and_validate};

use slow::batches::{Group, live_batch, project, stored_batch};
use slow::data::{BASE, groups, without_repeated_keys};
use slow::world::World;
use slow_metrics::queries::{compare, metrics};
use slow_metrics::{Intervals, Line};

const MILLISECOND: u64 = 1_000_000;

fn grid() -> impl Strategy<Value = Grid> {
    let at = |hundreds: u64| BASE + hundreds * 100 * MILLISECOND;
    let step = select(vec![100u64, 250, 700, 1000, 5000]);
    prop_oneof![
        4 => (0u64..30, 0u64..40, step).prop_map(move |(start, length, step)| {
            Grid::range(at(start), at(start + length), step * MILLISECOND, None)
        }),
        1 => (0u64..20, 0u64..50)
            .prop_map(move |(start, length)| Grid::instant(at(start), at(start + length))),
    ]
}

fn intervals(grid: &Grid) -> Intervals {
    Intervals { start: grid.start(), step: grid.step(), count: grid.intervals() as u64 }
}

/// A batch and the spans of it that count, if not all.
type Job<'b> = (&'b SpanBatch, Option<Bitmap>);

fn engine(root: &RootExpr, grid: Grid, jobs: &[Job<'_>]) -> Result<Vec<Series>, MetricsError> {
    let query = CompiledMetrics::compile(root, grid, MetricsOptions::default())
        .expect("scalar pipelines do not validate");
    let mut combiner = MetricsCombiner::new(root, grid, AnswerOptions::default());
    for (batch, counted) in jobs {
        let is_stored = batch.traces.summaries.is_some();
        let narrow = is_stored.then(|| project(batch, query.projection()));
        let mut collector = MetricsCollector::new(&query);
        collector.observe(&query, narrow.as_ref().unwrap_or(batch), counted.as_ref())?;
        combiner.add(collector.finish(&query))?;
    }
    Ok(combiner.finish().series)
}

/// Whether a job may see some spans of a trace without the others.
fn reads_whole_trace(root: &RootExpr, grid: Grid) -> bool {
    let query = CompiledMetrics::compile(root, grid, MetricsOptions::default());
    query.expect("scalar pipelines do not validate").reads_whole_trace()
}

fn plain(series: &[Series]) -> Vec<Line> {
    let one = |series: &Series| Line {
        labels: series.labels.iter().map(|(name, it)| (name.to_string(), it.clone())).collect(),
        points: series.points.iter().map(|(at, value)| (u64::from(*at), *value)).collect(),
    };
    series.iter().map(one).collect()
}

fn same(found: &[Line], expected: &[Line]) -> bool {
    let close = |one: f64, other: f64| {
        one == other || (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
    };
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            let points = || found.points.iter().zip(&expected.points);
            found.labels == expected.labels
                && found.points.len() == expected.points.len()
                && points().all(|(one, other)| one.0 == other.0 && close(*one.1, *other.1))
        })
}

/// The spans for which `keep` holds, in the same groups.
fn some(groups: &[Group], keep: impl Fn(usize, u128) -> bool) -> Vec<Group> {
    let mut number = 0;
    let mut kept = groups.to_vec();
    for group in &mut kept {
        group.spans.retain(|span| {
            number += 1;
            keep(number, span.trace)
        });
    }
    kept
}

fn check(query: &str, groups: &[Group], grid: Grid) -> Result<(), TestCaseError> {
    let Ok(root) = parse_and_validate(query) else { return Ok(()) };
    let Ok(expected) = slow_metrics::answer(&World::new(groups), &root, intervals(&grid)) else {
        // A split operand. Whether the engine has to look at it is left open.
        return Ok(());
    };
    let whole = live_batch(groups);
    let stored = stored_batch(&whole);
    let by_trace = [0, 1].map(|rest| {
        let traces = World::new(groups).traces();
        let place = |trace| traces.iter().position(|it| *it == trace).unwrap_or(0);
        live_batch(&some(groups, |_, trace| place(trace) % 2 == rest))
    });
    let stored_by_trace = by_trace.each_ref().map(stored_batch);
    let half = |rest| Bitmap::from_fn(whole.len(), |row| row % 2 == rest);
    let mut splits: Vec<(&str, Vec<Job<'_>>)> = vec![
        ("live", vec![(&whole, None)]),
        ("stored", vec![(&stored, None)]),
        ("traces apart", by_trace.iter().map(|batch| (batch, None)).collect()),
        ("stored apart", stored_by_trace.iter().map(|batch| (batch, None)).collect()),
        ("half counted", vec![(&whole, Some(half(0))), (&whole, Some(half(1)))]),
    ];
    let by_span = [0, 1].map(|rest| live_batch(&some(groups, |number, _| number % 2 == rest)));
    if !reads_whole_trace(&root, grid) {
        splits.push(("spans apart", by_span.iter().map(|batch| (batch, None)).collect()));
    }
    for (split, jobs) in splits {
        let found = engine(&root, grid, &jobs);
        let found = found.map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
        let found = plain(&found);
        prop_assert!(
            same(&found, &expected),
            "{split}: {query}\n  {grid:?}\n  found    {found:?}\n  expected {expected:?}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(slow::cases(800))]

    #[test]
    fn engine_and_combiner_answer_as_the_slow_evaluator(
        groups in groups(),
        query in metrics(),
        grid in grid(),
    ) {
        check(&query, &groups, grid)?;
    }

    #[test]
    fn compare_answers_as_the_slow_evaluator(
        groups in groups(),
        query in compare(),
        grid in grid(),
    ) {
        check(&query, &without_repeated_keys(groups), grid)?;
    }
}

/// The properties are worth something only if their queries are valid and find something.
#[test]
fn random_queries_are_mostly_valid_and_often_have_points() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut valid, mut counting) = (0, 0);
    for _ in 0..300 {
        let query = metrics().new_tree(&mut runner).expect("no filters").current();
        let groups = groups().new_tree(&mut runner).expect("no filters").current();
        let grid = grid().new_tree(&mut runner).expect("no filters").current();
        let Ok(root) = parse_and_validate(&query) else { continue };
        valid += 1;
        let answer = slow_metrics::answer(&World::new(&groups), &root, intervals(&grid));
        let is_something = |line: &Line| line.points.values().any(|value| *value != 0.0);
        counting += usize::from(answer.is_ok_and(|lines| lines.iter().any(is_something)));
    }
    assert!(valid > 200, "{valid} of 300 are valid");
    assert!(counting > 80, "{counting} of 300 count something");
}
