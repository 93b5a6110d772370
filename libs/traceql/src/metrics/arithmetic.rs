//! Arithmetic between series, and between series and numbers.

use std::collections::{HashMap, HashSet};

use super::LabelValue;
use super::answer::Labels;
use super::answer_series::{Line, NAME_LABEL};
use crate::ArithmeticOperator;
use tactus_work::tick;

/// What a part of the expression yields.
pub(super) enum Operand {
    Number(f64),
    Lines(Vec<Line>),
}

/// Applies an operator. If the result is not a number, for example after a division by zero, there is no point.
pub(super) fn apply(operator: ArithmeticOperator, left: Operand, right: Operand) -> Operand {
    Operand::Lines(match (left, right) {
        (Operand::Number(left), Operand::Number(right)) => {
            return Operand::Number(calculate(operator, left, right));
        }
        (Operand::Lines(lines), Operand::Number(right)) => {
            with_number(lines, |value| calculate(operator, value, right))
        }
        (Operand::Number(left), Operand::Lines(lines)) => {
            with_number(lines, |value| calculate(operator, left, value))
        }
        (Operand::Lines(left), Operand::Lines(right)) => between(operator, left, right),
    })
}

fn calculate(operator: ArithmeticOperator, left: f64, right: f64) -> f64 {
    match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide if right != 0.0 => left / right,
        // The grammar has no others between series.
        ArithmeticOperator::Divide | ArithmeticOperator::Modulo | ArithmeticOperator::Power => {
            f64::NAN
        }
    }
}

fn with_number(mut lines: Vec<Line>, result: impl Fn(f64) -> f64) -> Vec<Line> {
    for line in &mut lines {
        if tick(line.values.len() as u32) {
            break;
        }
        line.values.iter_mut().for_each(|value| *value = result(*value));
        line.exemplars.retain_mut(|exemplar| {
            exemplar.value = exemplar.value.map(&result);
            exemplar.value.is_none_or(|value| !value.is_nan())
        });
    }
    lines
}

/// The labels by which series are matched: without the name, sorted.
type MatchKey = Vec<(Box<str>, LabelValue)>;

fn match_key(labels: &Labels) -> MatchKey {
    let mut key: MatchKey =
        labels.iter().filter(|(name, _)| &**name != NAME_LABEL).cloned().collect();
    key.sort_by(|(one, _), (other, _)| one.cmp(other));
    key
}

fn between(operator: ArithmeticOperator, left: Vec<Line>, right: Vec<Line>) -> Vec<Line> {
    let index = |lines: &[Line]| -> HashMap<MatchKey, usize> {
        lines.iter().map(|line| match_key(&line.labels)).zip(0..).collect()
    };
    let (left_index, right_index) = (index(&left), index(&right));
    let no_labels = MatchKey::new();
    let (left_any, right_any) = (left_index.get(&no_labels), right_index.get(&no_labels));
    let keys = if right_any.is_some() { &left_index } else { &right_index };
    let mut results = Vec::with_capacity(keys.len());
    for key in keys.keys() {
        let (own_left, own_right) = (left_index.get(key), right_index.get(key));
        let (Some(&one), Some(&other)) = (own_left.or(left_any), own_right.or(right_any)) else {
            continue;
        };
        let (one, other) = (&left[one], &right[other]);
        if tick(one.values.len() as u32) {
            break;
        }
        let pairs = one.values.iter().zip(&other.values);
        let values = pairs.map(|(one, other)| calculate(operator, *one, *other)).collect();
        let mut exemplars = Vec::new();
        // If one series is matched with several others, its exemplars would be shown with each of them.
        for (own, line) in [(own_left, one), (own_right, other)] {
            if own.is_some() {
                exemplars.extend_from_slice(&line.exemplars);
            }
        }
        // A second stage gave them the value of one side. They are to show that of the result.
        for exemplar in exemplars.iter_mut().filter(|exemplar| exemplar.of_series) {
            exemplar.value = None;
        }
        results.push(Line {
            labels: labels(operator, &one.labels, &other.labels),
            values,
            exemplars,
        });
    }
    results
}

/// The left labels, followed by right ones that are not among them. The name is kept only if both sides have one.
fn labels(operator: ArithmeticOperator, left: &Labels, right: &Labels) -> Labels {
    let name = |labels: &Labels| {
        let found = labels.iter().find(|(name, _)| &**name == NAME_LABEL);
        found.map(|(_, value)| value.text().into_owned())
    };
    let mut labels = Labels::new();
    if let (Some(left), Some(right)) = (name(left), name(right)) {
        let text = format!("({left} {} {right})", operator.text());
        labels.push((NAME_LABEL.into(), LabelValue::String(text.into())));
    }
    let mut names: HashSet<&str> = HashSet::from([NAME_LABEL]);
    for (name, value) in left.iter().chain(right) {
        if names.insert(name) {
            labels.push((name.clone(), value.clone()));
        }
    }
    labels
}
