//! The `metrics` section of the shared conformance data, from batches to series.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;

use serde_yaml::Value;
use tactus_model::SpanBatch;
use tactus_traceql::metrics::{
    AnswerOptions, CompiledMetrics, Grid, LabelValue, MetricsCollector, MetricsCombiner,
    MetricsOptions, Series,
};
use tactus_traceql::parse_and_validate;

use crate::eval::dataset::{conformance, list, load, map, text};
use crate::slow::batches::{Group, live_batch, project, stored_batch};

/// Milliseconds after the base -> value.
type Points = BTreeMap<i64, f64>;
/// Name and value, with its type.
type Labels = Vec<(String, String)>;

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// The instant so many seconds after the base, which is a whole number of milliseconds.
fn instant(base: u64, value: &Value) -> u64 {
    base.saturating_add_signed((seconds(value) * 1000.0).round() as i64 * 1_000_000)
}

fn grid(case: &Value, base: u64) -> Grid {
    let (start, end) = (instant(base, &case["start"]), instant(base, &case["end"]));
    match case["instant"].as_bool() {
        Some(true) => Grid::instant(start, end),
        _ => Grid::range(start, end, (seconds(&case["step"]) * 1e9) as u64, None),
    }
}

/// The answer to a query, each of `jobs` collected apart.
fn answer(query: &str, grid: Grid, jobs: &[SpanBatch]) -> Vec<Series> {
    let root = parse_and_validate(query).expect(query);
    let compiled = CompiledMetrics::compile(&root, grid, MetricsOptions::default()).expect(query);
    let mut combiner = MetricsCombiner::new(&root, grid, AnswerOptions::default());
    for batch in jobs {
        let narrow = project(batch, compiled.projection());
        let batch = if batch.traces.summaries.is_some() { &narrow } else { batch };
        let mut collector = MetricsCollector::new(&compiled);
        collector.observe(&compiled, batch, None).expect(query);
        combiner.add(collector.finish(&compiled)).expect(query);
    }
    combiner.finish().unwrap().series
}

fn label(value: &LabelValue) -> String {
    match value {
        LabelValue::Nil => "string nil".to_owned(),
        LabelValue::String(text) => format!("string {text}"),
        LabelValue::Int(value) => format!("int {value}"),
        LabelValue::Float(value) => format!("float {value}"),
        LabelValue::Bool(value) => format!("bool {value}"),
    }
}

fn expected_label(value: &Value) -> String {
    match value {
        Value::Bool(value) => format!("bool {value}"),
        Value::Number(number) if number.is_f64() => format!("float {}", seconds(value)),
        Value::Number(number) => format!("int {number}"),
        other => format!("string {}", text(other)),
    }
}

fn found(series: &[Series], grid: Grid, base: u64) -> BTreeMap<Labels, Points> {
    let at = |interval: u32| grid.timestamp_millis(interval as usize) - (base / 1_000_000) as i64;
    let one = |series: &Series| {
        let labels = series.labels.iter().map(|(name, value)| (name.to_string(), label(value)));
        let points = series.points.iter().map(|(interval, value)| (at(*interval), *value));
        (labels.collect(), points.collect())
    };
    series.iter().map(one).collect()
}

fn expected(series: &Value, grid: Grid, base: u64) -> BTreeMap<Labels, Points> {
    let mut expected = BTreeMap::new();
    for series in list(series) {
        let labels = map(&series["labels"]);
        let labels = labels.iter().map(|(name, value)| (text(name), expected_label(value)));
        let mut points = Points::new();
        if series["fill"].as_str() == Some("zero") {
            let base = (base / 1_000_000) as i64;
            points.extend((0..grid.intervals()).map(|it| (grid.timestamp_millis(it) - base, 0.0)));
        }
        for (at, value) in map(&series["points"]) {
            points.insert((seconds(&at) * 1000.0).round() as i64, seconds(&value));
        }
        expected.insert(labels.collect(), points);
    }
    expected
}

fn is_close(found: &Points, expected: &Points) -> bool {
    let close = |one: f64, other: f64| (one - other).abs() <= 1e-9 * one.abs().max(other.abs());
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(one, other)| one.0 == other.0 && close(*one.1, *other.1))
}

fn check(case: &Value, base: u64, jobs: &[SpanBatch]) -> Result<(), String> {
    let grid = grid(case, base);
    let found = found(&answer(&text(&case["query"]), grid, jobs), grid, base);
    let wanted = if case["series_contains"].is_null() { "series" } else { "series_contains" };
    let expected = expected(&case[wanted], grid, base);
    let all = wanted == "series_contains" || found.len() == expected.len();
    let same =
        |(labels, points)| found.get(labels).is_some_and(|found: &Points| is_close(found, points));
    match all && expected.iter().all(same) {
        true => Ok(()),
        false => Err(format!("  found    {found:?}\n  expected {expected:?}")),
    }
}

/// The spans of one trace.
fn of_trace(groups: &[Group], trace: u128) -> Vec<Group> {
    let mut groups = groups.to_vec();
    groups.iter_mut().for_each(|group| group.spans.retain(|span| span.trace == trace));
    groups
}

#[test]
fn metrics_cases_are_answered_as_recorded() {
    let data = conformance();
    let dataset = load(&data);
    let live = live_batch(&dataset.groups);
    let stored = stored_batch(&live);
    let traces = dataset.trace_refs.keys().map(|&trace| of_trace(&dataset.groups, trace));
    let traces: Vec<_> = traces.map(|groups| live_batch(&groups)).collect();
    let cases = list(&data["metrics"]);
    assert!(cases.len() > 40);
    let mut failures = Vec::new();
    for case in cases {
        let jobs = [("live", vec![live.clone()]), ("stored", vec![stored.clone()])];
        for (kind, jobs) in jobs.into_iter().chain([("a job a trace", traces.clone())]) {
            if let Err(failure) = check(case, dataset.base, &jobs) {
                failures.push(format!("{kind}: {}\n{failure}", text(&case["query"])));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
