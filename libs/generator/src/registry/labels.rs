//! Builds label sets, and cuts them to the limits.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::quality::FixedState;

/// Up to this many labels a name is looked for one by one. The attributes of a resource may be many more.
const FEW: usize = 32;

/// A label: its name and its value.
pub(crate) type Label = (Arc<str>, Arc<str>);

/// The name with `__` before it if it is `__name__` or `le`, which series have anyway, or `metric_overflow`, which tells the
/// series of what is beyond a limit from all others. Receivers refuse a whole request for one series that has a label twice.
pub(crate) fn free_name(name: &str) -> Arc<str> {
    match name {
        "__name__" | "le" | "metric_overflow" => format!("__{name}").into(),
        free => free.into(),
    }
}

/// The start of a text, at most `limit` bytes of it and whole characters only; 0 is no limit.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if limit == 0 { text } else { &text[..text.floor_char_boundary(limit)] }
}

/// A bound of a bucket as `le` shows it: the shortest decimal that reads back, never with an exponent.
pub(crate) fn bound_text(bound: f64) -> String {
    if bound == f64::INFINITY { "+Inf".to_owned() } else { bound.to_string() }
}

/// A bound in a unit a thousand times smaller, as its exact decimal.
pub(crate) fn thousandfold(bound: f64) -> f64 {
    format!("{bound}e3").parse().unwrap_or(bound * 1000.0)
}

/// A label set that is being written. Kept between spans, so that it costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    entries: Vec<Entry>,
    text: String,
    max_value_bytes: usize,
    /// The place of each name, if there are more than a few; else empty.
    places: HashMap<Arc<str>, usize>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: Arc<str>,
    start: usize,
    end: usize,
}

/// The value is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidUtf8;

impl Labels {
    /// No labels; values will be cut to this many bytes, 0 for never.
    pub(crate) fn clear(&mut self, max_value_bytes: usize) {
        self.entries.clear();
        self.places.clear();
        self.text.clear();
        self.max_value_bytes = max_value_bytes;
    }

    /// Sets a label. A later value of the same name replaces it; an empty value is ignored.
    pub(crate) fn set(&mut self, name: &Arc<str>, value: &str) {
        let value = cut(value, self.max_value_bytes);
        if !value.is_empty() {
            self.set_whole(name, value);
        }
    }

    /// As [`Self::set`], but the value is not cut, and an empty one removes the label. For labels of every series, which tell
    /// tenants or generators apart.
    pub(crate) fn set_whole(&mut self, name: &Arc<str>, value: &str) {
        if name.is_empty() {
            return;
        }
        if value.is_empty() {
            self.places.clear();
            return self.entries.retain(|entry| entry.name != *name);
        }
        let start = self.text.len();
        self.text.push_str(value);
        let end = self.text.len();
        let entry = Entry { name: Arc::clone(name), start, end };
        match self.place(name) {
            Some(place) => self.entries[place] = entry,
            None => self.entries.push(entry),
        }
    }

    fn place(&mut self, name: &Arc<str>) -> Option<usize> {
        if self.entries.len() <= FEW {
            return self.entries.iter().position(|entry| entry.name == *name);
        }
        let known = self.places.len();
        let new = self.entries.iter().enumerate().skip(known);
        self.places.extend(new.map(|(place, entry)| (Arc::clone(&entry.name), place)));
        self.places.get(name).copied()
    }

    /// As [`Self::set`], of bytes.
    pub(crate) fn set_bytes(&mut self, name: &Arc<str>, value: &[u8]) -> Result<(), InvalidUtf8> {
        let value = std::str::from_utf8(value).map_err(|_| InvalidUtf8)?;
        self.set(name, value);
        Ok(())
    }

    /// Number of labels.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts the labels into the order of their names.
    pub(crate) fn sort(&mut self) {
        self.places.clear();
        self.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    }

    /// Names and values, in order once sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.entries.iter().map(|entry| (&entry.name, &self.text[entry.start..entry.end]))
    }

    /// The value of a label.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| *entry.name == *name)?;
        Some(&self.text[entry.start..entry.end])
    }

    /// True if these labels, which are sorted, equal those of a set.
    pub(crate) fn equals(&self, set: &[Label]) -> bool {
        self.len() == set.len()
            && self
                .iter()
                .zip(set)
                .all(|((name, value), other)| *value == *other.1 && *name == other.0)
    }

    /// Hash of the set, the same in every run. The labels must be sorted.
    pub(crate) fn hash(&self) -> u64 {
        hash_labels(self.iter().map(|(name, value)| (&**name, value)))
    }

    /// A copy to keep. The labels must be sorted.
    pub(crate) fn to_set(&self) -> Box<[Label]> {
        self.iter().map(|(name, value)| (Arc::clone(name), Arc::from(value))).collect()
    }
}

/// Hash of labels in order of their names.
pub(crate) fn hash_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    for (name, value) in labels {
        hasher.write(name.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_series_have_themselves_are_made_others() {
        assert_eq!(
            ["le", "__name__", "metric_overflow", "level"].map(|n| free_name(n).to_string()),
            ["__le", "____name__", "__metric_overflow", "level"]
        );
    }

    #[test]
    fn text_is_cut_between_characters() {
        let text = format!("a{}", "é".repeat(1500));
        assert_eq!(cut(&text, 2048).len(), 2047);
        assert_eq!(cut(&"a".repeat(3000), 2048).len(), 2048);
        assert_eq!(cut(&text, 0), text);
    }

    #[test]
    fn last_value_of_a_name_stays_and_an_empty_one_changes_nothing() {
        let mut labels = Labels::default();
        let (b, a): (Arc<str>, Arc<str>) = ("b".into(), "a".into());
        labels.clear(3);
        labels.set(&b, "1");
        labels.set(&a, "long");
        labels.set(&b, "2");
        labels.set(&b, "");
        labels.sort();
        assert_eq!(
            labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(),
            ["a=lon", "b=2"]
        );
        assert!(labels.equals(&labels.to_set()));
        assert_eq!(labels.set_bytes(&a, b"\xff"), Err(InvalidUtf8));
        labels.set_whole(&b, "whole");
        assert_eq!(labels.get("b"), Some("whole"));
        labels.set_whole(&b, "");
        assert_eq!((labels.get("b"), labels.get("a")), (None, Some("lon")));
    }

    #[test]
    fn very_many_labels_have_each_name_once() {
        let mut labels = Labels::default();
        let names: Vec<Arc<str>> = (0..50_000).map(|n| format!("l{n}").into()).collect();
        for value in ["1", "2"] {
            names.iter().for_each(|name| labels.set(name, value));
        }
        labels.set_whole(&names[7], "");
        labels.set(&names[49_999], "3");
        assert_eq!(
            (labels.len(), labels.get("l7"), labels.get("l49999")),
            (49_999, None, Some("3"))
        );
        labels.sort();
        labels.set(&names[8], "4");
        assert_eq!(
            (labels.len(), labels.get("l8"), labels.get("l9")),
            (49_999, Some("4"), Some("2"))
        );
        labels.clear(0);
        labels.set(&names[40], "5");
        assert_eq!((labels.len(), labels.get("l40")), (1, Some("5")));
    }

    #[test]
    fn bounds_show_the_shortest_decimal() {
        assert_eq!(bound_text(0.002), "0.002");
        assert_eq!(bound_text(1e21), "1000000000000000000000");
        assert_eq!(bound_text(f64::INFINITY), "+Inf");
        let bounds = [0.002, 0.064, 0.1, 1.024, 16.384].map(|b| bound_text(thousandfold(b)));
        assert_eq!(bounds, ["2", "64", "100", "1024", "16384"]);
    }
}
