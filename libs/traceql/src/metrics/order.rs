//! The order of series and of label values.

use std::borrow::Cow;

use super::LabelValue;
use super::lines::Line;
use crate::canonical::format_float;

impl LabelValue {
    /// The text by which values are put in order: strings as they are, numbers in canonical form, `nil`.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            LabelValue::Nil => Cow::Borrowed("nil"),
            LabelValue::String(text) => Cow::Borrowed(text),
            LabelValue::Int(number) => Cow::Owned(number.to_string()),
            LabelValue::Float(number) => Cow::Owned(format_float(*number)),
            LabelValue::Bool(true) => Cow::Borrowed("true"),
            LabelValue::Bool(false) => Cow::Borrowed("false"),
        }
    }

    /// The last resort where texts are equal.
    pub(super) fn type_rank(&self) -> u8 {
        match self {
            LabelValue::Nil => 0,
            LabelValue::String(_) => 1,
            LabelValue::Int(_) => 2,
            LabelValue::Float(_) => 3,
            LabelValue::Bool(_) => 4,
        }
    }
}

/// Puts series into the order of answers.
pub(super) fn sort_lines(lines: &mut [Line]) {
    lines.sort_by_cached_key(|line| {
        let labels = line.labels.iter();
        let keys =
            labels.map(|(name, value)| (name.clone(), value.text().into(), value.type_rank()));
        (line.labels.len(), keys.collect::<Vec<(Box<str>, Box<str>, u8)>>())
    });
}

/// The place of each set of labels in the order that decides between equal values: label by label value, name, type.
pub(super) fn tie_ranks<'l>(labels: impl Iterator<Item = &'l super::answer::Labels>) -> Vec<u32> {
    let keys: Vec<Vec<_>> = labels
        .map(|labels| labels.iter().map(|(name, value)| (value.text(), name, value.type_rank())))
        .map(Iterator::collect)
        .collect();
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|&one, &other| keys[one].cmp(&keys[other]));
    let mut ranks = vec![0; keys.len()];
    for (rank, index) in (0..).zip(order) {
        ranks[index] = rank;
    }
    ranks
}
