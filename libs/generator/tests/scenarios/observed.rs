//! What was collected, in the form in which the scenarios expect it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};
use tactus_remote_write::series::{Exemplar, NativeHistogram, Series, Sink};

/// Labels of the harness and of the host.
const DROPPED: [&str; 2] = ["scenario", "__metrics_gen_instance"];

/// Collects the series of one tenant.
#[derive(Default)]
pub(crate) struct Observed {
    tenant_label: Option<String>,
    now_ms: i64,
    last_seen_ms: HashMap<String, i64>,
    references: HashMap<u64, String>,
    series: BTreeMap<String, Map<String, Value>>,
    /// Cumulated counts by bound.
    buckets: BTreeMap<String, Vec<(String, f64)>>,
    bounds: BTreeMap<String, BTreeSet<String>>,
    exemplars: BTreeMap<String, BTreeMap<String, Value>>,
    seen_exemplars: BTreeSet<String>,
}

fn labels_of(series: &Series<'_>) -> BTreeMap<String, String> {
    let names: Vec<&str> = series.labels.iter().map(|label| &*label.0).collect();
    assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    assert!(series.labels.iter().all(|label| !label.1.is_empty()));
    let kept = series.labels.iter().filter(|label| !DROPPED.contains(&&*label.0));
    kept.map(|label| (label.0.to_string(), label.1.to_string())).collect()
}

fn key(name: &str, labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", json!(value))).collect();
    format!("{name}{{{}}}", pairs.join(","))
}

fn family(name: &str) -> (&str, &str) {
    for suffix in ["_bucket", "_sum", "_count"] {
        if let Some(family) = name.strip_suffix(suffix) {
            return (family, suffix);
        }
    }
    (name, "")
}

fn bound(text: &str) -> f64 {
    if text == "+Inf" { f64::INFINITY } else { text.parse().unwrap() }
}

impl Observed {
    pub(crate) fn new(tenant_label: Option<&str>) -> Self {
        Self { tenant_label: tenant_label.map(str::to_owned), ..Self::default() }
    }

    /// A collection begins.
    pub(crate) fn begin(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// The key of a series; a reference must always name the same one.
    fn key(&mut self, series: &Series<'_>) -> String {
        let whole = format!("{}{:?}{:?}", series.name, series.le, series.labels);
        let known = self.references.entry(series.reference).or_insert_with(|| whole.clone());
        assert_eq!(*known, whole, "reference {}", series.reference);
        let (family, suffix) = family(series.name);
        let name = if suffix.is_empty() { series.name } else { family };
        let key = key(name, &labels_of(series));
        self.last_seen_ms.insert(key.clone(), self.now_ms);
        key
    }

    /// Adds what was seen.
    pub(crate) fn results(
        mut self,
        series: &mut BTreeMap<String, Value>,
        bounds: &mut BTreeMap<String, Value>,
        exemplars: &mut BTreeMap<String, Value>,
    ) {
        for (key, mut cumulated) in self.buckets {
            cumulated.sort_by(|a, b| bound(&a.0).total_cmp(&bound(&b.0)));
            let (mut sparse, mut last) = (Map::new(), 0.0);
            for (le, count) in cumulated {
                if count != last {
                    sparse.insert(le, json!(count));
                    last = count;
                }
            }
            self.series.entry(key).or_default().insert("buckets".to_owned(), Value::Object(sparse));
        }
        for (key, mut value) in self.series {
            if self.last_seen_ms[&key] < self.now_ms {
                value.insert("gone".to_owned(), json!(true));
            }
            series.insert(key, Value::Object(value));
        }
        for (family, found) in self.bounds {
            let mut found: Vec<String> = found.into_iter().collect();
            found.sort_by(|a, b| bound(a).total_cmp(&bound(b)));
            bounds.insert(family, json!(found));
        }
        exemplars.extend(self.exemplars.into_iter().map(|(key, slots)| (key, json!(slots))));
    }
}

impl Sink for Observed {
    fn float(&mut self, series: &Series<'_>, timestamp_ms: i64, value: f64) {
        assert!(!value.is_nan(), "a staleness marker");
        let key = self.key(series);
        if timestamp_ms < self.now_ms {
            assert_eq!(value, 0.0, "a new series starts at zero");
            assert_eq!(timestamp_ms, self.now_ms - self.now_ms.rem_euclid(60_000) - 1000);
            return;
        }
        let (name, suffix) = family(series.name);
        let fields = self.series.entry(key.clone()).or_default();
        let Some(le) = series.le else {
            let field = if suffix.is_empty() { "value" } else { &suffix[1..] };
            fields.insert(field.to_owned(), json!(value));
            return;
        };
        let counts = self.buckets.entry(key).or_default();
        match counts.iter_mut().find(|count| count.0 == le) {
            Some(count) => count.1 = value,
            None => counts.push((le.to_owned(), value)),
        }
        let labels = labels_of(series);
        let tenant = self.tenant_label.as_ref().and_then(|label| labels.get_key_value(label));
        let family = match tenant {
            Some((label, value)) => {
                self::key(name, &BTreeMap::from([(label.clone(), value.clone())]))
            }
            None => name.to_owned(),
        };
        self.bounds.entry(family).or_default().insert(le.to_owned());
    }

    fn histogram(&mut self, series: &Series<'_>, timestamp_ms: i64, value: &NativeHistogram) {
        let key = self.key(series);
        if timestamp_ms < self.now_ms {
            assert_eq!((value.count, value.spans.len()), (0.0, 0));
            return;
        }
        let mut shown = Vec::new();
        if value.zero_count > 0.0 {
            shown.push(json!([-value.zero_threshold, value.zero_threshold, value.zero_count]));
        }
        let upper = |index: i32| (f64::from(index) * f64::from(-value.schema).exp2()).exp2();
        let (mut index, mut counts) = (0, value.buckets.iter());
        for span in &value.spans {
            index += span.offset;
            for _ in 0..span.length {
                let count = *counts.next().unwrap();
                if count > 0.0 {
                    shown.push(json!([upper(index - 1), upper(index), count]));
                }
                index += 1;
            }
        }
        let native = json!({"count": value.count, "sum": value.sum, "buckets": shown});
        self.series.entry(key).or_default().insert("native".to_owned(), native);
    }

    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar<'_>) {
        assert_eq!(exemplar.timestamp_ms, self.now_ms);
        let key = self.key(series);
        let slot = series.le.unwrap_or("native").to_owned();
        let text = format!("{key} {slot} {} {}", exemplar.trace_id, exemplar.value);
        assert!(self.seen_exemplars.insert(text.clone()), "twice: {text}");
        self.exemplars.entry(key).or_default().insert(slot, json!([exemplar.label]));
    }
}

/// The generator's own metrics that the engine counts.
const OWN: &[&str] = &[
    "spans_discarded_total",
    "metrics_generation_skipped_processor_pushes_total",
    "registry_series_limited_total",
    "registry_entities_limited_total",
    "processor_service_graphs_edges",
    "processor_service_graphs_expired_edges",
    "processor_service_graphs_dropped_spans",
    "registry_active_series",
    "registry_max_active_series",
    "registry_active_entities",
    "registry_max_active_entities",
    "active_processors",
];

pub(crate) fn is_of_the_engine(name: &str) -> bool {
    let (metric, labels) = name.split_once('{').unwrap();
    OWN.contains(&metric) && !labels.contains("outside_metrics_ingestion_slack")
}

/// What the engine counted of itself and is not zero.
pub(crate) fn own(text: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("tempo_metrics_generator_")) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
        labels.sort_unstable();
        let series = format!("{name}{{{}}}", labels.join(","));
        let value: f64 = value.parse().unwrap();
        if value != 0.0 && is_of_the_engine(&series) {
            found.insert(series, json!(value));
        }
    }
    found
}
