//! Slow, obvious metrics: span by span, maps of plain series, written from the language's rules.
//!
//! Filters and pipelines are those of the slow search; nothing is shared with the library's metrics but the types of
//! the answer.

pub(crate) mod combine;
pub(crate) mod functions;
pub(crate) mod graph;
pub(crate) mod queries;

use std::collections::BTreeMap;

use tactus_traceql::metrics::LabelValue;
use tactus_traceql::{RootExpr, format_float};

use super::slow::pipeline::SplitOperand;
use super::slow::world::World;

/// The intervals of a query, and how finely it measures in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intervals {
    /// Left edge of the first, unix nanoseconds.
    pub(crate) start: u64,
    pub(crate) step: u64,
    pub(crate) count: u64,
    /// Buckets of a doubling of what is measured.
    pub(crate) buckets: u8,
}

impl Intervals {
    /// Open on the left, closed on the right.
    pub(crate) fn of(&self, instant: u64) -> Option<u64> {
        let edge = |number| self.start + number * self.step;
        (0..self.count).find(|&number| edge(number) < instant && instant <= edge(number + 1))
    }

    pub(crate) fn all(&self) -> std::ops::Range<u64> {
        0..self.count
    }
}

/// One series: labels in order, and the points there are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) labels: Vec<(String, LabelValue)>,
    pub(crate) points: BTreeMap<u64, f64>,
}

/// The series of a query in the order of answers.
pub(crate) fn answer(
    world: &World<'_>,
    root: &RootExpr,
    intervals: Intervals,
) -> Result<Vec<Line>, SplitOperand> {
    let expression = root.metrics().expect("a metrics query");
    let mut lines = match combine::evaluate(world, expression, intervals)? {
        combine::Operand::Lines(lines) => lines,
        combine::Operand::Number(_) => Vec::new(),
    };
    lines.retain(|line| !line.points.is_empty());
    lines.sort_by_cached_key(|line| {
        let labels = line.labels.iter().map(|(name, value)| (name.clone(), text(value)));
        (line.labels.len(), labels.collect::<Vec<_>>())
    });
    Ok(lines)
}

/// The text that decides about order.
pub(crate) fn text(value: &LabelValue) -> String {
    match value {
        LabelValue::Nil => "nil".to_owned(),
        LabelValue::String(text) => text.to_string(),
        LabelValue::Int(value) => value.to_string(),
        LabelValue::Float(value) => format_float(*value),
        LabelValue::Bool(value) => value.to_string(),
    }
}
