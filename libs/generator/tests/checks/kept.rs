//! All samples of a collection.

use std::collections::BTreeMap;

use tactus_remote_write::series::{Exemplar, NativeHistogram, Series, Sink};

/// A sink that keeps all samples of a collection.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Times and values by series.
    pub(crate) samples: BTreeMap<String, Vec<(i64, f64)>>,
    /// Series, and what its exemplar shows.
    pub(crate) exemplars: Vec<(String, String)>,
}

fn name(series: &Series<'_>) -> String {
    let labels = series.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let labels = labels.chain(series.le.map(|le| format!("le={le}"))).collect::<Vec<_>>();
    format!("{}{{{}}}", series.name, labels.join(","))
}

impl Kept {
    /// Samples of a time.
    pub(crate) fn at(&self, timestamp_ms: i64) -> usize {
        self.samples.values().flatten().filter(|sample| sample.0 == timestamp_ms).count()
    }

    /// Samples.
    pub(crate) fn len(&self) -> usize {
        self.samples.values().map(Vec::len).sum()
    }

    /// The last value of the only series that has this in its name.
    pub(crate) fn value_with(&self, part: &str) -> f64 {
        let found: Vec<_> = self.samples.iter().filter(|(name, _)| name.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part}: {found:?}");
        found[0].1.last().unwrap().1
    }
}

impl Sink for Kept {
    fn float(&mut self, series: &Series<'_>, timestamp_ms: i64, value: f64) {
        self.samples.entry(name(series)).or_default().push((timestamp_ms, value));
    }

    fn histogram(&mut self, series: &Series<'_>, timestamp_ms: i64, value: &NativeHistogram) {
        self.samples.entry(name(series)).or_default().push((timestamp_ms, value.count));
    }

    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar<'_>) {
        let Exemplar { label, trace_id, value, .. } = exemplar;
        self.exemplars.push((name(series), format!("{label}={trace_id} {value}")));
    }
}
