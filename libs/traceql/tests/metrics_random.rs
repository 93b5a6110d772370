//! Random metrics queries on random traces: batches, collectors and the combiner answer as the slow evaluator does,
//! however the spans are split into jobs.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use tactus_model::SpanBatch;
use tactus_traceql::eval::Bitmap;
use tactus_traceql::metrics::{
    AnswerOptions, CompiledMetrics, Exemplar, Grid, LabelValue, MetricsCollector, MetricsCombiner,
    MetricsError, MetricsOptions, Series,
};
use tactus_traceql::{MetricsFunction, MetricsStage, RootExpr, parse_and_validate};

use crate::slow::batches::{Attributes, Group, Span, Stored, live_batch, project, stored_batch};
use crate::slow::data::{BASE, groups, without_repeated_keys};
use crate::slow::world::World;
use crate::slow_metrics::functions::measured;
use crate::slow_metrics::queries::{adjustable, compare, graph, metrics, one_function};
use crate::slow_metrics::{Intervals, Line};

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

fn intervals(grid: &Grid, root: &RootExpr) -> Intervals {
    let (start, step, count) = (grid.start(), grid.step(), grid.intervals() as u64);
    Intervals { start, step, count, buckets: root.hints.buckets() }
}

/// A batch and the spans of it that count, if not all.
type Job<'b> = (&'b SpanBatch, Option<Bitmap>);

fn compile(root: &RootExpr, grid: Grid, exemplars: usize) -> CompiledMetrics {
    let options = MetricsOptions { exemplars, max_bytes: 0 };
    CompiledMetrics::compile(root, grid, options).expect("scalar pipelines do not validate")
}

fn engine(
    root: &RootExpr,
    grid: Grid,
    exemplars: usize,
    jobs: &[Job<'_>],
) -> Result<Vec<Series>, MetricsError> {
    let query = compile(root, grid, exemplars);
    let options = AnswerOptions { exemplars, ..AnswerOptions::default() };
    let mut combiner = MetricsCombiner::new(root, grid, options);
    for (batch, counted) in jobs {
        let is_stored = batch.traces.summaries.is_some();
        let mut narrow = is_stored.then(|| project(batch, query.projection()));
        if query.reads_spans_alone() {
            narrow = Some(without_rows(narrow.unwrap_or_else(|| SpanBatch::clone(batch))));
        }
        let mut collector = MetricsCollector::new(&query);
        collector.observe(&query, narrow.as_ref().unwrap_or(batch), counted.as_ref())?;
        combiner.add(collector.finish(&query))?;
    }
    Ok(combiner.finish()?.series)
}

/// The batch with spans of no trace, resource or scope: it panics if somebody looks for one.
fn without_rows(mut batch: SpanBatch) -> SpanBatch {
    let rows = vec![u32::MAX; batch.len()];
    let spans = &mut batch.spans;
    (spans.trace, spans.resource, spans.scope) =
        (rows.clone().into(), rows.clone().into(), rows.into());
    batch
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
    let Ok(expected) =
        crate::slow_metrics::answer(&World::new(groups), &root, intervals(&grid, &root))
    else {
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
    let compiled = compile(&root, grid, 0);
    let named: BTreeSet<u128> = by_span
        .iter()
        .flat_map(|batch| compiled.find_candidates(batch))
        .map(|id| u128::from_be_bytes(id.0))
        .collect();
    let candidates = live_batch(&some(groups, |_, trace| named.contains(&trace)));
    splits.push(("candidates", vec![(&candidates, None)]));
    if !compiled.reads_whole_trace() {
        splits.push(("spans apart", by_span.iter().map(|batch| (batch, None)).collect()));
    }
    for (split, jobs) in splits {
        let found = engine(&root, grid, 0, &jobs);
        let found = found.map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
        let found = plain(&found);
        prop_assert!(
            same(&found, &expected),
            "{split}: {query}\n  {grid:?}\n  found    {found:?}\n  expected {expected:?}"
        );
    }
    Ok(())
}

/// Exemplars of a query with one function: counted spans, spread, with the values that they should have.
fn check_exemplars(
    query: &str,
    groups: &[Group],
    grid: Grid,
    wanted: usize,
) -> Result<(), TestCaseError> {
    let Ok(root) = parse_and_validate(query) else { return Ok(()) };
    let world = World::new(groups);
    let Ok(expected) = crate::slow_metrics::answer(&world, &root, intervals(&grid, &root)) else {
        return Ok(());
    };
    let batches = [0, 1].map(|rest| {
        let traces = world.traces();
        let place = |trace| traces.iter().position(|it| *it == trace).unwrap_or(0);
        live_batch(&some(groups, |_, trace| place(trace) % 2 == rest))
    });
    let jobs: Vec<Job<'_>> = batches.iter().map(|batch| (batch, None)).collect();
    let found = engine(&root, grid, wanted, &jobs).expect("the slow evaluator has an answer");
    prop_assert!(same(&plain(&found), &expected), "{query}: exemplars change the answer");
    let stage = &root.metrics().and_then(|it| it.first_leaf()).expect("a function").stage;
    let (mut spans, mut traces) = (BTreeSet::new(), BTreeSet::new());
    for series in &found {
        for exemplar in &series.exemplars {
            let interval = grid.interval_of(exemplar.start_unix_nanos);
            let point = series.points.iter().find(|point| Some(point.0 as usize) == interval);
            let trace = trace_of(exemplar);
            prop_assert!(
                point.is_some_and(|point| is_value(&world, stage, exemplar, trace, point.1)),
                "{query}: {exemplar:?} in {series:?}"
            );
            spans.insert((trace, exemplar.start_unix_nanos));
            traces.insert(trace);
        }
    }
    let shown: usize = found.iter().map(|series| series.exemplars.len()).sum();
    let is_compare = matches!(stage, MetricsStage::Compare(_));
    prop_assert!(is_compare || shown == spans.len(), "{query}: a span is shown twice");
    prop_assert!(spans.len() == traces.len() && spans.len() <= wanted, "{query}: {spans:?}");
    let counts = expected.iter().flat_map(|line| line.points.values()).any(|count| *count != 0.0);
    let has_spans = match stage {
        MetricsStage::Compare(_) | MetricsStage::ServiceGraph(_) => counts,
        MetricsStage::Series { function, .. } => match function {
            MetricsFunction::Rate | MetricsFunction::CountOverTime => counts,
            _ => !expected.is_empty(),
        },
    };
    prop_assert_eq!(has_spans && wanted > 0, !spans.is_empty(), "{}", query);
    Ok(())
}

fn trace_of(exemplar: &Exemplar) -> u128 {
    let label = exemplar.labels.iter().find(|(name, _)| &**name == "trace:id");
    match label {
        Some((_, LabelValue::String(id))) => u128::from_str_radix(id, 16).unwrap_or(0),
        _ => 0,
    }
}

/// Whether a span of the trace that starts then may have this value.
fn is_value(
    world: &World<'_>,
    stage: &MetricsStage,
    exemplar: &Exemplar,
    trace: u128,
    of_series: f64,
) -> bool {
    let mut rows = world.rows(trace);
    rows.retain(|&row| world.spans[row].span.start == exemplar.start_unix_nanos);
    let own = |function| {
        let values = rows.iter().filter_map(|&row| measured(world, function, row));
        // Quantiles are in seconds, whatever the duration.
        values.flat_map(|value| [value, value / 1e9]).any(|value| exemplar.value == Some(value))
    };
    match stage {
        MetricsStage::Series { function, .. } => match function {
            MetricsFunction::Rate
            | MetricsFunction::CountOverTime
            | MetricsFunction::HistogramOverTime(_) => {
                !rows.is_empty() && exemplar.value == Some(of_series)
            }
            _ => own(function),
        },
        MetricsStage::Compare(_) => !rows.is_empty() && exemplar.value == Some(of_series),
        MetricsStage::ServiceGraph(_) => false,
    }
}

/// The same spans, each as often as it stands for spans of the sender. Copies have ids of their own, which stand to those of
/// other spans as the id of the span does: of two roots the one with the higher id names the trace.
fn as_sent(groups: &[Group]) -> Vec<Group> {
    let mut sent = groups.to_vec();
    for (group, sent) in groups.iter().zip(&mut sent) {
        sent.spans.clear();
        for span in &group.spans {
            for copy in 0..weight(group, span) {
                let (id, parent) = (span.id * 1000 + copy, span.parent * 1000);
                sent.spans.push(Span { id, parent, state: String::new(), ..span.clone() });
            }
        }
    }
    sent
}

fn weight(group: &Group, span: &Span) -> u64 {
    for (state, weight) in [("ot=th:0", 1), ("ot=th:8", 2), ("a=b,ot=rv:00000000000000;th:c", 4)] {
        if span.state == state {
            return weight;
        }
    }
    let find = |list: &Attributes| {
        let found = list.iter().find(|(key, _)| key == "sampling.probability");
        found.map(|(_, value)| value.clone())
    };
    match find(&span.attributes).or_else(|| find(&group.resource)) {
        Some(Stored::Float(0.5)) => 2,
        Some(Stored::Float(0.25)) => 4,
        _ => 1,
    }
}

/// Buckets of a doubling; what is out of range changes nothing.
fn hint() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "",
        "",
        "",
        " with(buckets=2)",
        " with(buckets=4)",
        " with(buckets=5)",
    ])
}

proptest! {
    #![proptest_config(crate::slow::cases(250))]

    #[test]
    fn adjusted_spans_count_as_often_as_they_stand_for(
        groups in groups().prop_map(without_repeated_keys),
        query in adjustable(),
        grid in grid(),
    ) {
        let root = parse_and_validate(&query).expect("valid");
        let expected = crate::slow_metrics::answer(&World::new(&as_sent(&groups)), &root, intervals(&grid, &root));
        let expected = expected.unwrap_or_default();
        let root = parse_and_validate(&format!("{query} with(adjusted=true)")).expect("valid");
        let live = live_batch(&groups);
        for batch in [&live, &stored_batch(&live)] {
            let found = engine(&root, grid, 0, &[(batch, None)]).expect("fits");
            let found = plain(&found);
            prop_assert!(same(&found, &expected), "{query}: {found:?}\n  expected {expected:?}");
        }
    }

    #[test]
    fn engine_and_combiner_answer_as_the_slow_evaluator(
        groups in groups(),
        query in metrics(),
        hint in hint(),
        grid in grid(),
    ) {
        check(&format!("{query}{hint}"), &groups, grid)?;
    }

    #[test]
    fn compare_answers_as_the_slow_evaluator(
        groups in groups(),
        query in compare(),
        grid in grid(),
    ) {
        check(&query, &without_repeated_keys(groups), grid)?;
    }

    #[test]
    fn service_graph_answers_as_the_slow_evaluator(
        groups in groups(),
        query in graph(),
        hint in hint(),
        grid in grid(),
    ) {
        check(&format!("{query}{hint}"), &groups, grid)?;
    }

    #[test]
    fn exemplars_are_counted_spans(
        groups in groups(),
        query in prop_oneof![3 => one_function(), 1 => compare()],
        grid in grid(),
        wanted in prop_oneof![0usize..10, Just(100)],
    ) {
        check_exemplars(&query, &without_repeated_keys(groups), grid, wanted)?;
    }
}

/// The properties are worth something only if their queries are valid and find something.
#[test]
fn random_queries_are_mostly_valid_and_often_have_points() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut valid, mut counting) = (0, 0);
    for _ in 0..300 {
        let queries = prop_oneof![2 => metrics(), 1 => graph()];
        let query = queries.new_tree(&mut runner).expect("no filters").current();
        let groups = groups().new_tree(&mut runner).expect("no filters").current();
        let grid = grid().new_tree(&mut runner).expect("no filters").current();
        let Ok(root) = parse_and_validate(&query) else { continue };
        valid += 1;
        let answer =
            crate::slow_metrics::answer(&World::new(&groups), &root, intervals(&grid, &root));
        let is_something = |line: &Line| line.points.values().any(|value| *value != 0.0);
        counting += usize::from(answer.is_ok_and(|lines| lines.iter().any(is_something)));
    }
    assert!(valid > 200, "{valid} of 300 are valid");
    assert!(counting > 80, "{counting} of 300 count something");
}
