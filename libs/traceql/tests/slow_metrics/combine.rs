//! Second stages, and arithmetic between queries.

use std::collections::BTreeMap;

use tactus_traceql::metrics::LabelValue;
use tactus_traceql::{
    ArithmeticOperator, ComparisonOperator, MetricsExpression, SecondStage, Static,
};

use super::functions;
use super::{Intervals, Line, text};
use crate::slow::pipeline::SplitOperand;
use crate::slow::world::World;

pub(crate) enum Operand {
    Number(f64),
    Lines(Vec<Line>),
}

pub(crate) fn evaluate(
    world: &World<'_>,
    expression: &MetricsExpression,
    intervals: Intervals,
) -> Result<Operand, SplitOperand> {
    Ok(match expression {
        MetricsExpression::Query(query) => {
            Operand::Lines(functions::lines(world, query, intervals)?)
        }
        MetricsExpression::Constant(value) => Operand::Number(number(value)),
        MetricsExpression::Binary { operator, left, right } => {
            let left = evaluate(world, left, intervals)?;
            let right = evaluate(world, right, intervals)?;
            binary(*operator, left, right)
        }
        MetricsExpression::SecondStages { expression, stages } => {
            let Operand::Lines(mut lines) = evaluate(world, expression, intervals)? else {
                panic!("a constant has no second stages");
            };
            for stage in stages {
                lines = second_stage(stage, lines, intervals);
                lines.retain(|line| !line.points.is_empty());
            }
            Operand::Lines(lines)
        }
    })
}

fn number(value: &Static) -> f64 {
    match value {
        Static::Int(value) => *value as f64,
        Static::Float(value) => *value,
        Static::Duration(nanos) => *nanos as f64 / 1e9,
        other => panic!("{other:?} is no number"),
    }
}

fn second_stage(stage: &SecondStage, lines: Vec<Line>, intervals: Intervals) -> Vec<Line> {
    match stage {
        SecondStage::TopK(limit) => extremes(lines, *limit as usize, intervals, true),
        SecondStage::BottomK(limit) => extremes(lines, *limit as usize, intervals, false),
        SecondStage::Filter { operator, threshold } => {
            let threshold = number(threshold);
            let holds = |value: f64| match operator {
                ComparisonOperator::Equal => value == threshold,
                ComparisonOperator::NotEqual => value != threshold,
                ComparisonOperator::Less => value < threshold,
                ComparisonOperator::LessEqual => value <= threshold,
                ComparisonOperator::Greater => value > threshold,
                ComparisonOperator::GreaterEqual => value >= threshold,
            };
            let mut lines = lines;
            lines.iter_mut().for_each(|line| line.points.retain(|_, value| holds(*value)));
            lines
        }
    }
}

fn extremes(mut lines: Vec<Line>, limit: usize, intervals: Intervals, largest: bool) -> Vec<Line> {
    let type_of = |value: &LabelValue| match value {
        LabelValue::Nil => 0,
        LabelValue::String(_) => 1,
        LabelValue::Int(_) => 2,
        LabelValue::Float(_) => 3,
        LabelValue::Bool(_) => 4,
    };
    lines.sort_by_cached_key(|line| {
        let labels = line.labels.iter();
        let key = labels.map(|(name, value)| (text(value), name.clone(), type_of(value)));
        key.collect::<Vec<_>>()
    });
    if !largest {
        lines.reverse();
    }
    for interval in intervals.all() {
        // Equal values stay in the order of their labels.
        let mut present: Vec<(f64, usize)> = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            present.extend(line.points.get(&interval).map(|value| (*value, index)));
        }
        present.sort_by(|one, other| match largest {
            true => other.0.total_cmp(&one.0),
            false => one.0.total_cmp(&other.0),
        });
        for (_, dropped) in present.into_iter().skip(limit) {
            lines[dropped].points.remove(&interval);
        }
    }
    lines
}

fn binary(operator: ArithmeticOperator, left: Operand, right: Operand) -> Operand {
    let with_number = |lines: Vec<Line>, result: &dyn Fn(f64) -> Option<f64>| {
        let one = |line: Line| {
            let points = line.points.into_iter();
            let points = points.filter_map(|(at, value)| Some((at, result(value)?))).collect();
            Line { labels: line.labels, points }
        };
        Operand::Lines(lines.into_iter().map(one).collect())
    };
    match (left, right) {
        (Operand::Number(_), Operand::Number(_)) => panic!("constants are folded"),
        (Operand::Lines(lines), Operand::Number(number)) => {
            with_number(lines, &|value| calculate(operator, value, number))
        }
        (Operand::Number(number), Operand::Lines(lines)) => {
            with_number(lines, &|value| calculate(operator, number, value))
        }
        (Operand::Lines(left), Operand::Lines(right)) => {
            Operand::Lines(between(operator, &left, &right))
        }
    }
}

fn calculate(operator: ArithmeticOperator, left: f64, right: f64) -> Option<f64> {
    let result = match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide if right == 0.0 => return None,
        ArithmeticOperator::Divide => left / right,
        other => panic!("{other:?} is not in the grammar"),
    };
    (!result.is_nan()).then_some(result)
}

/// What series are matched by.
fn key(line: &Line) -> String {
    let mut labels: Vec<_> = line.labels.iter().filter(|(name, _)| name != "__name__").collect();
    labels.sort_by_key(|(name, _)| name);
    if labels.is_empty() { String::new() } else { format!("{labels:?}") }
}

fn between(operator: ArithmeticOperator, left: &[Line], right: &[Line]) -> Vec<Line> {
    let find = |lines: &[Line], wanted: &str| -> Option<Line> {
        let exact = lines.iter().find(|line| key(line) == wanted);
        exact.or_else(|| lines.iter().find(|line| key(line).is_empty())).cloned()
    };
    let right_stands_in = right.iter().any(|line| key(line).is_empty());
    let label_sets = if right_stands_in { left } else { right };
    let mut results = Vec::new();
    for wanted in label_sets.iter().map(key) {
        let (Some(one), Some(other)) = (find(left, &wanted), find(right, &wanted)) else {
            continue;
        };
        let mut points = BTreeMap::new();
        for (at, value) in &one.points {
            if let Some(other) = other.points.get(at)
                && let Some(result) = calculate(operator, *value, *other)
            {
                points.insert(*at, result);
            }
        }
        results.push(Line { labels: labels(operator, &one, &other), points });
    }
    results
}

fn labels(operator: ArithmeticOperator, left: &Line, right: &Line) -> Vec<(String, LabelValue)> {
    let name = |line: &Line| {
        let found = line.labels.iter().find(|(name, _)| name == "__name__");
        found.map(|(_, value)| text(value))
    };
    let mut labels = Vec::new();
    if let (Some(left), Some(right)) = (name(left), name(right)) {
        let text = format!("({left} {} {right})", operator.text());
        labels.push(("__name__".to_owned(), LabelValue::String(text.into())));
    }
    for (name, value) in left.labels.iter().chain(&right.labels) {
        if name != "__name__" && labels.iter().all(|(known, _)| known != name) {
            labels.push((name.clone(), value.clone()));
        }
    }
    labels
}
