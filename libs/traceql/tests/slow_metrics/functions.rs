//! The functions over time.

use std::collections::{BTreeMap, BTreeSet};

use tactus_traceql::metrics::LabelValue;
use tactus_traceql::{
    Attribute, Compare, FieldExpression, Intrinsic, MetricsFunction, MetricsQuery, MetricsStage,
    Static,
};

use super::{Intervals, Line, graph, text};
use crate::slow::batches::Attributes;
use crate::slow::pipeline::SplitOperand;
use crate::slow::value::Value;
use crate::slow::world::World;

type Labels = Vec<(String, LabelValue)>;

/// A span that is counted.
#[derive(Clone, Copy)]
struct Counted {
    row: usize,
    interval: u64,
}

pub(crate) fn lines(
    world: &World<'_>,
    query: &MetricsQuery,
    intervals: Intervals,
) -> Result<Vec<Line>, SplitOperand> {
    let mut counted = Vec::new();
    for trace in world.traces() {
        for spanset in world.run(&query.pipeline, trace)? {
            for row in spanset.rows {
                if let Some(interval) = intervals.of(world.spans[row].span.start) {
                    counted.push(Counted { row, interval });
                }
            }
        }
    }
    Ok(match &query.stage {
        MetricsStage::ServiceGraph(measure) => {
            let mut matched = BTreeSet::new();
            for trace in world.traces() {
                let found = world.run(&query.pipeline, trace)?;
                matched.extend(found.into_iter().flat_map(|spanset| spanset.rows));
            }
            graph::lines(world, measure, &matched, intervals)
        }
        MetricsStage::Compare(compare) => compared(world, compare, &counted, intervals),
        MetricsStage::Series { function, by } => {
            let mut lines = grouped(world, function, by, &counted, intervals);
            let counts = matches!(function, MetricsFunction::Rate | MetricsFunction::CountOverTime);
            if counts && by.is_empty() && lines.is_empty() && !query.pipeline.is_constant_false() {
                let labels = with_name(Vec::new(), by, function);
                lines.push(Line { labels, points: zeros(intervals) });
            }
            lines
        }
    })
}

fn zeros(intervals: Intervals) -> BTreeMap<u64, f64> {
    intervals.all().map(|interval| (interval, 0.0)).collect()
}

/// Spans with the same values of the `by` attributes, by a text that tells types apart.
fn grouped(
    world: &World<'_>,
    function: &MetricsFunction,
    by: &[Attribute],
    counted: &[Counted],
    intervals: Intervals,
) -> Vec<Line> {
    let mut groups: BTreeMap<String, (Labels, Vec<Counted>)> = BTreeMap::new();
    for &span in counted {
        let mut labels = Labels::new();
        for attribute in by {
            let name = attribute.to_string();
            if labels.iter().all(|(known, _)| *known != name) {
                labels.push((name, label(&attribute_value(world, attribute, span.row))));
            }
        }
        let key = format!("{labels:?}");
        groups.entry(key).or_insert((labels, Vec::new())).1.push(span);
    }
    let mut lines = Vec::new();
    for (mut labels, spans) in groups.into_values() {
        labels.retain(|(_, value)| *value != LabelValue::Nil);
        lines.extend(of_group(world, function, by, labels, &spans, intervals));
    }
    lines
}

fn of_group(
    world: &World<'_>,
    function: &MetricsFunction,
    by: &[Attribute],
    labels: Labels,
    spans: &[Counted],
    intervals: Intervals,
) -> Vec<Line> {
    let values = |interval: u64| -> Vec<f64> {
        let there = spans.iter().filter(|span| span.interval == interval);
        there.filter_map(|span| measured(world, function, span.row)).collect()
    };
    let buckets = |interval: u64| -> Vec<f64> {
        let there = spans.iter().filter(|span| span.interval == interval);
        there.filter_map(|span| bucket(world, function, span.row, intervals.buckets)).collect()
    };
    let where_values = |result: &dyn Fn(&[f64]) -> f64| -> Vec<Line> {
        let points = intervals.all().map(|interval| (interval, values(interval)));
        let points = points.filter(|(_, values)| !values.is_empty());
        let points = points.map(|(interval, values)| (interval, result(&values))).collect();
        vec![Line { labels: with_name(labels.clone(), by, function), points }]
    };
    let everywhere = |labels: Labels, result: &dyn Fn(u64) -> f64| -> Line {
        let points = intervals.all().map(|interval| (interval, result(interval))).collect();
        Line { labels, points }
    };
    let count = |interval: u64| spans.iter().filter(|span| span.interval == interval).count();
    match function {
        MetricsFunction::CountOverTime => {
            let labels = with_name(labels, by, function);
            vec![everywhere(labels, &|interval| count(interval) as f64)]
        }
        MetricsFunction::Rate => {
            let labels = with_name(labels, by, function);
            let seconds = intervals.step as f64 / 1e9;
            vec![everywhere(labels, &|interval| count(interval) as f64 / seconds)]
        }
        MetricsFunction::MinOverTime(_) => {
            where_values(&|values| values.iter().copied().fold(f64::INFINITY, f64::min))
        }
        MetricsFunction::MaxOverTime(_) => {
            where_values(&|values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        MetricsFunction::SumOverTime(_) => where_values(&|values| values.iter().sum()),
        MetricsFunction::AvgOverTime(_) => {
            where_values(&|values| values.iter().sum::<f64>() / values.len() as f64)
        }
        MetricsFunction::HistogramOverTime(_) => {
            let mut bounds: Vec<f64> = intervals.all().flat_map(buckets).collect();
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            let line = |bound: f64| {
                let mut labels = labels.clone();
                labels.push(("__bucket".to_owned(), LabelValue::Float(bound)));
                everywhere(labels, &|interval| {
                    buckets(interval).iter().filter(|it| **it == bound).count() as f64
                })
            };
            bounds.into_iter().map(line).collect()
        }
        MetricsFunction::QuantileOverTime { quantiles, .. } => {
            if intervals.all().all(|interval| buckets(interval).is_empty()) {
                return Vec::new();
            }
            let line = |q: &f64| {
                let mut labels = labels.clone();
                labels.push(("p".to_owned(), LabelValue::Float(*q)));
                everywhere(labels, &|interval| quantile(buckets(interval), *q, intervals.buckets))
            };
            quantiles.iter().map(line).collect()
        }
    }
}

/// What stands in if no label is left.
fn with_name(mut labels: Labels, by: &[Attribute], function: &MetricsFunction) -> Labels {
    if labels.is_empty() {
        labels.push(match by.first() {
            Some(first) => (first.to_string(), LabelValue::Nil),
            None => ("__name__".to_owned(), LabelValue::String(function.name().into())),
        });
    }
    labels
}

/// A value for each span, its bucket's upper bound: the rule of the language word by word.
pub(crate) fn quantile(mut values: Vec<f64>, q: f64, per_doubling: u8) -> f64 {
    values.sort_by(f64::total_cmp);
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for value in &values {
        match buckets.last_mut() {
            Some((bound, count)) if bound == value => *count += 1.0,
            _ => buckets.push((*value, 1.0)),
        }
    }
    if buckets.is_empty() {
        return 0.0;
    }
    let mut wanted = (q * values.len() as f64).ceil();
    if wanted == 0.0 {
        wanted = 1.0;
    }
    let (mut passed, mut at) = (0.0, 0);
    for (index, (bound, count)) in buckets.iter().enumerate() {
        at = index;
        if passed + count > wanted {
            break;
        }
        passed += count;
        if passed == wanted {
            return *bound;
        }
    }
    let high = buckets[at].0.log2();
    let low = if per_doubling > 1 {
        high - 1.0 / f64::from(per_doubling)
    } else if at > 0 {
        buckets[at - 1].0.log2()
    } else {
        high - 1.0
    };
    (low + (high - low) * ((wanted - passed) / buckets[at].1)).exp2()
}

fn attribute_value(world: &World<'_>, attribute: &Attribute, row: usize) -> Value {
    world.value(&FieldExpression::Attribute(attribute.clone()), row)
}

fn label(value: &Value) -> LabelValue {
    let string = |text: String| LabelValue::String(text.into());
    match value {
        Value::NoRow | Value::Nil => LabelValue::Nil,
        Value::Many(elements) => string(array_text(elements)),
        Value::One(Static::Int(value)) => LabelValue::Int(*value),
        Value::One(Static::Float(value)) => LabelValue::Float(*value),
        Value::One(Static::Bool(value)) => LabelValue::Bool(*value),
        Value::One(Static::Duration(nanos)) => string(tactus_model::format_duration(*nanos)),
        Value::One(Static::Status(status)) => string(status.text().to_owned()),
        Value::One(Static::Kind(kind)) => string(kind.text().to_owned()),
        Value::One(Static::String(text)) => string(String::from_utf8_lossy(text).into_owned()),
        Value::One(other) => panic!("{other:?} is no scalar"),
    }
}

fn array_text(elements: &[Static]) -> String {
    let element = |element: &Static| match element {
        Static::String(text) => format!("{:?}", String::from_utf8_lossy(text)),
        other => other.to_string(),
    };
    format!("[{}]", elements.iter().map(element).collect::<Vec<_>>().join(", "))
}

/// The number that min, max, sum and avg see. Durations are in seconds, those of traces and events in nanoseconds.
pub(crate) fn measured(world: &World<'_>, function: &MetricsFunction, row: usize) -> Option<f64> {
    let attribute = function.attribute()?;
    match attribute_value(world, attribute, row) {
        Value::One(Static::Int(value)) => Some(value as f64),
        Value::One(Static::Float(value)) => Some(value).filter(|value| !value.is_nan()),
        Value::One(Static::Duration(nanos)) => match attribute {
            Attribute::Intrinsic(Intrinsic::Duration) => Some(nanos as f64 / 1e9),
            _ => Some(nanos as f64),
        },
        _ => None,
    }
}

/// The upper bound of a value's bucket, as shown.
fn bucket(
    world: &World<'_>,
    function: &MetricsFunction,
    row: usize,
    per_doubling: u8,
) -> Option<f64> {
    let (value, scale) = match attribute_value(world, function.attribute()?, row) {
        Value::One(Static::Int(value)) => (value, 1.0),
        Value::One(Static::Duration(nanos)) => (nanos, 1e9),
        _ => return None,
    };
    if value < 2 {
        return None;
    }
    Some(bound(value, per_doubling)? / scale)
}

/// The upper bound of the bucket of a value above 1.
pub(crate) fn bound(value: i64, per_doubling: u8) -> Option<f64> {
    let bound = |number: u32| (f64::from(number) / f64::from(per_doubling)).exp2();
    (0..).map(bound).find(|bound| *bound as u128 >= value as u128)
}

fn compared(
    world: &World<'_>,
    compare: &Compare,
    counted: &[Counted],
    intervals: Intervals,
) -> Vec<Line> {
    let mut counts: BTreeMap<String, Line> = BTreeMap::new();
    for span in counted {
        let start = world.spans[span.row].span.start as i64;
        let in_time = (compare.start == 0 && compare.end == 0)
            || (compare.start < start && start <= compare.end);
        let is_selected = in_time && world.holds(&compare.selection.expression, span.row);
        let side = if is_selected { "selection" } else { "baseline" };
        for (name, value) in attributes(world, span.row) {
            let total = (format!("{side}_total"), LabelValue::Nil);
            for (side, value) in [(side.to_owned(), value), total] {
                let labels = vec![
                    ("__meta_type".to_owned(), LabelValue::String(side.into())),
                    (name.clone(), value),
                ];
                let key = format!("{labels:?}");
                let empty = || Line { labels, points: zeros(intervals) };
                let line = counts.entry(key).or_insert_with(empty);
                *line.points.get_mut(&span.interval).expect("every interval") += 1.0;
            }
        }
    }
    let all: Vec<Line> = counts.into_values().collect();
    let place = |line: &Line| (line.points.values().sum::<f64>(), text(&line.labels[1].1));
    let is_before = |one: &Line, other: &Line| {
        let (one, other) = (place(one), place(other));
        one.0 > other.0 || (one.0 == other.0 && one.1 < other.1)
    };
    let same_kind = |one: &Line, other: &Line| {
        one.labels[0] == other.labels[0] && one.labels[1].0 == other.labels[1].0
    };
    let is_kept = |line: &&Line| {
        let better = all.iter().filter(|it| same_kind(it, line) && is_before(it, line));
        better.count() < compare.top_n as usize
    };
    all.iter().filter(is_kept).cloned().collect()
}

/// Everything that is compared, by label name.
fn attributes(world: &World<'_>, row: usize) -> Vec<(String, LabelValue)> {
    let known = &world.spans[row];
    let span = known.span;
    let mut found = Vec::new();
    let lists: [(&str, &Attributes); 3] = [
        ("resource", &known.group.resource),
        ("span", &span.attributes),
        ("instrumentation", &known.group.scope),
    ];
    for (scope, list) in lists {
        for (key, value) in list {
            let value = label(&Value::of_stored(value));
            found.push((format!("{scope}.{key}"), value));
        }
    }
    let intrinsics = [
        Intrinsic::Name,
        Intrinsic::Status,
        Intrinsic::StatusMessage,
        Intrinsic::Kind,
        Intrinsic::TraceRootName,
        Intrinsic::TraceRootService,
        Intrinsic::InstrumentationName,
        Intrinsic::InstrumentationVersion,
    ];
    for intrinsic in intrinsics {
        let attribute = Attribute::Intrinsic(intrinsic);
        let value = label(&attribute_value(world, &attribute, row));
        // An empty text is how absence is stored, but every span has a name, and every trace a root's.
        let named = [Intrinsic::Name, Intrinsic::TraceRootName, Intrinsic::TraceRootService];
        if named.contains(&intrinsic) || value != LabelValue::String("".into()) {
            found.push((attribute.to_string(), value));
        }
    }
    found.retain(|(_, value)| *value != LabelValue::Nil);
    found
}
