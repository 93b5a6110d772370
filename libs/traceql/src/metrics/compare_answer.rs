//! The series of `compare`: the most frequent values of each attribute, and how many spans have it.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::gather::Row;
use super::lines::Line;
use super::{ComparedSide, LabelValue, SeriesKey};
use crate::Compare;

const META_LABEL: &str = "__meta_type";

pub(super) fn lines(compare: &Compare, rows: HashMap<SeriesKey, Row>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut values: HashMap<_, Vec<(f64, Line)>> = HashMap::new();
    for (key, mut row) in rows {
        let SeriesKey::Compared { side, attribute, value } = key else { continue };
        let is_total = value.is_none();
        let shown = value.unwrap_or(LabelValue::Nil);
        let side_name = LabelValue::String(side_name(side, is_total).into());
        let labels = vec![(META_LABEL.into(), side_name), (attribute.clone(), shown)];
        let line = Line { labels, values: row.take_values(), exemplars: row.exemplars };
        if is_total {
            lines.push(line);
        } else {
            let sum = line.values.iter().sum();
            values.entry((side, attribute)).or_default().push((sum, line));
        }
    }
    let limit = usize::try_from(compare.top_n).unwrap_or(usize::MAX);
    for mut of_attribute in values.into_values() {
        if of_attribute.len() > limit {
            of_attribute.sort_by_cached_key(|(sum, line)| {
                // The label after the side's is the attribute's.
                let value = line.labels.last().map(|(_, value)| value);
                let text = value.map(|value| (value.text().into_owned(), value.type_rank()));
                // Sums are counts; not negative, so their bits are in order.
                (Reverse(sum.max(0.0).to_bits()), text)
            });
            of_attribute.truncate(limit);
        }
        lines.extend(of_attribute.into_iter().map(|(_, line)| line));
    }
    lines
}

fn side_name(side: ComparedSide, is_total: bool) -> &'static str {
    match (side, is_total) {
        (ComparedSide::Baseline, false) => "baseline",
        (ComparedSide::Baseline, true) => "baseline_total",
        (ComparedSide::Selection, false) => "selection",
        (ComparedSide::Selection, true) => "selection_total",
    }
}
