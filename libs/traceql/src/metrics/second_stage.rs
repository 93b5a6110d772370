//! Second stages, which work on series: the largest, the smallest, and comparisons.

use std::cmp::Ordering;

use super::answer_series::{Line, tie_ranks};
use crate::{ComparisonOperator, SecondStage, Static};
use tactus_work::{is_over, tick};

/// Which values of an interval are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extreme {
    Largest,
    Smallest,
}

/// Applies a stage to series whose exemplars have values. Series without points are dropped.
pub(super) fn apply(stage: &SecondStage, lines: &mut Vec<Line>) {
    // There may be many stages, and each looks at all series.
    if is_over() {
        return;
    }
    match stage {
        SecondStage::TopK(limit) => keep(Extreme::Largest, *limit, lines),
        SecondStage::BottomK(limit) => keep(Extreme::Smallest, *limit, lines),
        SecondStage::Filter { operator, threshold } => filter(*operator, threshold, lines),
    }
    lines.retain(|line| line.values.iter().any(|value| !value.is_nan()));
}

fn keep(extreme: Extreme, limit: i64, lines: &mut [Line]) {
    let limit = usize::try_from(limit).unwrap_or(0);
    if limit >= lines.len() {
        return;
    }
    let ranks = tie_ranks(lines.iter().map(|line| &line.labels));
    let before = |one: &(f64, usize), other: &(f64, usize)| -> Ordering {
        let order = one.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal).reverse();
        let order = order.then(ranks[one.1].cmp(&ranks[other.1]));
        // Among equal values, `topk` keeps the first series and `bottomk` the last, because one order is the reverse of
        // the other.
        if extreme == Extreme::Largest { order } else { order.reverse() }
    };
    let intervals = lines.first().map_or(0, |line| line.values.len());
    let mut present = Vec::with_capacity(lines.len());
    for interval in 0..intervals {
        if tick(lines.len() as u32) {
            return;
        }
        present.clear();
        let column = lines.iter().map(|line| line.values[interval]).zip(0..);
        present.extend(column.filter(|(value, _)| !value.is_nan()));
        if present.len() <= limit {
            continue;
        }
        present.select_nth_unstable_by(limit, before);
        for &(_, dropped) in &present[limit..] {
            lines[dropped].values[interval] = f64::NAN;
        }
    }
}

fn filter(operator: ComparisonOperator, threshold: &Static, lines: &mut [Line]) {
    let threshold = match threshold {
        Static::Duration(nanoseconds) => *nanoseconds as f64 / 1e9,
        other => other.as_number().unwrap_or(f64::NAN),
    };
    let holds = |value: f64| operator.holds(value.partial_cmp(&threshold));
    for line in lines {
        if tick(line.values.len() as u32) {
            return;
        }
        for value in &mut line.values {
            if !holds(*value) {
                *value = f64::NAN;
            }
        }
        line.exemplars.retain(|exemplar| exemplar.value.is_some_and(holds));
    }
}

#[cfg(test)]
mod tests {
    use tactus_work::{Over, Work, end};

    use super::*;

    fn lines() -> Vec<Line> {
        let line = |value| Line { labels: Vec::new(), values: vec![value], exemplars: Vec::new() };
        [f64::NAN, 1.0, 2.0].map(line).into()
    }

    #[test]
    fn stage_does_nothing_once_the_query_is_over() {
        let (mut kept, mut untouched) = (lines(), lines());
        apply(&SecondStage::TopK(1), &mut kept);
        assert_eq!(kept.len(), 1);
        let ended = Work::default().run(|| {
            end(Over::Cancelled);
            apply(&SecondStage::TopK(1), &mut untouched);
        });
        assert_eq!((untouched.len(), ended), (3, Err(Over::Cancelled)));
    }
}
