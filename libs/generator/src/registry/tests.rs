//! The registry against what it promises, whatever is done in whatever order.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use tactus_model::TraceId;

use super::observe::Set;
use super::*;
use tactus_remote_write::series::{Exemplar, NativeHistogram, Sink};

const START_MS: i64 = 1_767_268_803_200;

fn registry_of(settings: Settings) -> Registry {
    Registry::new(settings, &SeriesMemory::new(0), START_MS)
}

fn spec(name: &str, kind: Kind) -> MetricSpec {
    let processor = Processor::SpanMetrics;
    MetricSpec { processor, name: name.to_owned(), kind, aliases: Vec::new() }
}

fn set_of_labels(registry: &mut Registry, pairs: &[(&str, &str)]) -> Set {
    let mut labels = Labels::default();
    registry.start(&mut labels);
    pairs.iter().for_each(|(name, value)| labels.set(&(*name).into(), value));
    registry.intern(&mut labels)
}

fn set_of(registry: &mut Registry, value: &str) -> Set {
    set_of_labels(registry, &[("l", value)])
}

fn count(registry: &mut Registry, metric: MetricId, value: &str, now_ms: i64) {
    let set = set_of(registry, value);
    count_set(registry, metric, set, now_ms);
}

fn count_set(registry: &mut Registry, metric: MetricId, set: Set, now_ms: i64) {
    let handle = registry.handle(metric, set, now_ms);
    registry.release(set);
    registry.add(metric, handle, 1.0, now_ms);
}

/// A sample of a series that is no native histogram.
#[derive(Debug)]
struct Sample {
    /// Name, labels and bucket.
    series: String,
    le: Option<String>,
    reference: u64,
    at_ms: i64,
    value: f64,
}

#[derive(Debug, Default)]
struct Samples(Vec<Sample>);

impl Sink for Samples {
    fn float(&mut self, series: &tactus_remote_write::series::Series<'_>, at_ms: i64, value: f64) {
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.0.push(Sample {
            series: format!("{} {} {:?}", series.name, labels.join(","), series.le),
            le: series.le.map(str::to_owned),
            reference: series.reference,
            at_ms,
            value,
        });
    }

    fn histogram(
        &mut self,
        _: &tactus_remote_write::series::Series<'_>,
        _: i64,
        _: &NativeHistogram,
    ) {
    }

    fn exemplar(&mut self, _: &tactus_remote_write::series::Series<'_>, _: &Exemplar<'_>) {}
}

fn samples(registry: &mut Registry, now_ms: i64) -> Vec<Sample> {
    let mut samples = Samples::default();
    let collected = registry.collect(now_ms, &mut samples);
    registry.commit(collected);
    samples.0
}

/// The last value of each series, and its reference.
fn collect(registry: &mut Registry, now_ms: i64) -> HashMap<String, (f64, u64)> {
    let last = |sample: Sample| (sample.series, (sample.value, sample.reference));
    samples(registry, now_ms).into_iter().map(last).collect()
}

#[test]
fn external_labels_win_and_the_last_of_a_name_counts() {
    let pairs = [("l", "x"), ("a", "1"), ("l", "y")];
    let external_labels = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let settings = Settings { external_labels, ..Settings::default() };
    let mut registry = registry_of(settings);
    let metric = registry.metric(spec("m", Kind::Counter));
    count(&mut registry, metric, "own", START_MS);
    let names: Vec<String> = collect(&mut registry, START_MS).into_keys().collect();
    assert_eq!(names, ["m a=1,l=y None"]);
}

#[test]
fn external_label_without_a_value_removes_the_label() {
    let external_labels = vec![("l".to_owned(), String::new()), ("a".to_owned(), "1".to_owned())];
    let mut registry = registry_of(Settings { external_labels, ..Settings::default() });
    let metric = registry.metric(spec("m", Kind::Counter));
    count(&mut registry, metric, "one", START_MS);
    count(&mut registry, metric, "other", START_MS);
    let series = collect(&mut registry, START_MS);
    assert_eq!(series.len(), 1);
    assert_eq!(series["m a=1 None"].0, 2.0);
}

#[test]
fn labels_of_every_series_are_not_cut() {
    let external_labels = vec![("tenant".to_owned(), "team-a".to_owned())];
    let settings = Settings { external_labels, max_label_value_bytes: 4, ..Settings::default() };
    let mut registry = registry_of(settings);
    let metric = registry.metric(spec("m", Kind::Counter));
    count(&mut registry, metric, "long value", START_MS);
    let names: Vec<String> = collect(&mut registry, START_MS).into_keys().collect();
    assert_eq!(names, ["m l=long,tenant=team-a None"]);
}

#[test]
fn buckets_start_anew_with_the_native_histogram_beside_them() {
    let native = NativeSettings { bucket_factor: 2.0, max_buckets: 2, min_reset_ms: 1000 };
    let settings = Settings { histograms: HistogramMode::Both, native, ..Settings::default() };
    let mut registry = registry_of(settings);
    let metric = registry.metric(spec("m", Kind::Histogram([1.0].into())));
    let observe = |registry: &mut Registry, values: &[f64], now_ms: i64| {
        let set = set_of(registry, "a");
        let handle = registry.handle(metric, set, now_ms);
        registry.release(set);
        for value in values {
            registry.observe(metric, handle, (*value, 1.0), TraceId([1; 16]), now_ms);
        }
    };
    let counts = |registry: &mut Registry, now_ms: i64| {
        let seen = collect(registry, now_ms);
        let of = |part: &str| seen[&format!("m_{part}")].0;
        [of("count l=a None"), of("sum l=a None"), of("bucket l=a Some(\"1\")")]
    };
    observe(&mut registry, &[0.5, 2.0, 8.0], START_MS);
    assert_eq!(counts(&mut registry, START_MS + 999), [3.0, 10.5, 1.0]);
    assert_eq!(counts(&mut registry, START_MS + 1000), [0.0; 3], "when it was due");
    observe(&mut registry, &[0.5, 2.0, 8.0], START_MS + 2000);
    assert_eq!(
        counts(&mut registry, START_MS + 2000),
        [1.0, 8.0, 0.0],
        "old enough to reset at once"
    );
}

#[test]
fn label_sets_are_shared_by_metrics_under_the_entity_limit() {
    let settings = Settings { limiter: Limiter::Entity, limit: 1, ..Settings::default() };
    let mut registry = registry_of(settings);
    let first = registry.metric(spec("first", Kind::Counter));
    let second = registry.metric(spec("second", Kind::Histogram([1.0].into())));
    count(&mut registry, first, "a", START_MS);
    let set = set_of(&mut registry, "a");
    let handle = registry.handle(second, set, START_MS);
    registry.observe(second, handle, (0.5, 1.0), TraceId([1; 16]), START_MS);
    assert_eq!(registry.statistics().entities_limited, 0);
    count(&mut registry, first, "b", START_MS);
    count(&mut registry, first, "b", START_MS);
    let statistics = registry.statistics();
    assert_eq!((statistics.active_entities, statistics.entities_limited), (1, 2));
    assert_eq!(statistics.active_series, 5);
}

#[test]
fn label_sets_beyond_the_memory_of_all_tenants_overflow_until_series_end() {
    let memory = SeriesMemory::new(100_000);
    let mut registries = [(); 2].map(|()| Registry::new(Settings::default(), &memory, START_MS));
    let metrics = registries.each_mut().map(|registry| {
        let latency = registry.metric(spec("h", Kind::Histogram([1.0].into())));
        (registry.metric(spec("m", Kind::Counter)), latency)
    });
    for number in 0..1000 {
        for (registry, (calls, latency)) in registries.iter_mut().zip(metrics) {
            let (name, at_ms) = (format!("{number:100}"), START_MS + number);
            count(registry, calls, &name, at_ms);
            let set = set_of(registry, &name);
            let handle = registry.handle(latency, set, at_ms);
            registry.release(set);
            registry.observe(latency, handle, (0.5, 1.0), TraceId([1; 16]), at_ms);
        }
    }
    // No set goes far beyond, and the two of overflow are always there. A ninth is left for another.
    assert!((80_000..110_000).contains(&memory.used()), "{}", memory.used());
    let [one, other] = &mut registries;
    for registry in [&*one, &*other] {
        let statistics = registry.statistics();
        assert!((20..150).contains(&statistics.active_entities), "{statistics:?}");
        assert!(statistics.series_limited > 1000, "{statistics:?}");
    }
    let seen = collect(one, START_MS);
    let counted: f64 =
        seen.iter().filter(|(name, _)| name.starts_with("m ")).map(|(_, seen)| seen.0).sum();
    assert_eq!(counted, 1000.0, "what overflows counts all the same");
    // Those that end make room.
    let used = memory.used();
    one.remove_stale(START_MS + 3_600_000);
    assert!(memory.used() < used * 2 / 3, "{} of {used}", memory.used());
    let entities = other.statistics().active_entities;
    count(other, metrics[1].0, "late", START_MS + 3_600_000);
    assert_eq!(other.statistics().active_entities, entities + 1);
    drop(registries);
    assert_eq!(memory.used(), 0);
}

#[test]
fn names_of_labels_are_memory() {
    let memory = SeriesMemory::new(0);
    let mut registry = Registry::new(Settings::default(), &memory, START_MS);
    let metric = registry.metric(spec("m", Kind::Counter));
    let mut bytes_with = |name: &str| {
        let before = memory.used();
        let set = set_of_labels(&mut registry, &[(name, "v")]);
        count_set(&mut registry, metric, set, START_MS);
        memory.used() - before
    };
    // The first series makes room for others.
    bytes_with("m");
    let short = bytes_with("n");
    assert_eq!(bytes_with(&"n".repeat(1_000)), short + 999);
}

#[test]
fn patterns_of_span_names_are_memory_and_grow_while_there_is_some() {
    let memory = SeriesMemory::new(200_000);
    let settings = Settings { span_names: SpanNames::Sanitized, ..Settings::default() };
    let mut registry = Registry::new(settings, &memory, START_MS);
    let mut labels = Labels::default();
    let mut named = |registry: &mut Registry, name: &str| {
        registry.start(&mut labels);
        labels.set(&"span_name".into(), name);
        registry.adjust(&mut labels, START_MS);
        labels.get("span_name").unwrap().to_owned()
    };
    named(&mut registry, "GET /api/users/123");
    for number in 0..900 {
        let letter = |digit: u8| char::from(digit - b'0' + b'g');
        let word: String = format!("{number}").bytes().map(letter).collect();
        let name = format!("{word}.{word}");
        assert_eq!(named(&mut registry, &name), name);
    }
    assert!((150_000..170_000).contains(&memory.used()), "{}", memory.used());
    assert_eq!(named(&mut registry, "GET /api/users/456"), "GET /api/users/<_>");
    registry.remove_stale(START_MS + 3_600_000);
    assert!(memory.used() < 10_000, "{}", memory.used());
    drop(registry);
    assert_eq!(memory.used(), 0);
}

#[test]
fn demand_goes_beyond_the_limit() {
    let settings = Settings { limit: 10, ..Settings::default() };
    let mut registry = registry_of(settings);
    let metric = registry.metric(spec("m", Kind::Counter));
    (0..1000).for_each(|number| count(&mut registry, metric, &number.to_string(), START_MS));
    assert_eq!(registry.statistics().active_series, 10);
    assert!((850..1150).contains(&registry.series_demand()), "{}", registry.series_demand());
    assert!((850..1150).contains(&registry.entity_demand()), "{}", registry.entity_demand());
}

#[test]
fn different_label_sets_stay_different_under_an_alias() {
    let mut registry = registry_of(Settings::default());
    let alias = Alias { name: "x".to_owned(), thousandfold: false };
    let metric = registry.metric(MetricSpec { aliases: vec![alias], ..spec("m", Kind::Counter) });
    let all = [("__service_name", "a"), ("service", "s"), ("service_name", "b")];
    for labels in [&all[..], &all[1..], &all[1..2], &[("service_name", "s")]] {
        let set = set_of_labels(&mut registry, labels);
        count_set(&mut registry, metric, set, START_MS);
    }
    let series = collect(&mut registry, START_MS).into_keys();
    let mut of_alias: Vec<_> = series.filter(|name| name.starts_with("x ")).collect();
    of_alias.sort_unstable();
    assert_eq!(
        of_alias,
        [
            "x ____service_name=b,__service_name=a,service_name=s None",
            "x __service_name=b,service_name=s None",
            "x __service_name=s None",
            "x service_name=s None",
        ]
    );
}

#[test]
fn new_buckets_begin_with_zero_and_former_ones_end() {
    let settings = Settings { staleness_markers: true, ..Settings::default() };
    let mut registry = registry_of(settings);
    for (second, bounds, zeros, ended) in [
        (0, [0.1, 0.8], &["0.1", "0.8", "+Inf"], &[][..]),
        (60, [0.1, 3.0], &["0.1", "3", "+Inf"], &["0.1", "0.8", "+Inf"]),
    ] {
        let now_ms = START_MS + second * 1_000;
        registry.remove_metrics(Processor::SpanMetrics);
        let metric = registry.metric(spec("h", Kind::Histogram(bounds.into())));
        let set = set_of(&mut registry, "a");
        let handle = registry.handle(metric, set, now_ms);
        registry.release(set);
        registry.observe(metric, handle, (0.5, 1.0), TraceId([1; 16]), now_ms);
        assert_eq!(registry.owes_markers(), !ended.is_empty());
        let all = samples(&mut registry, now_ms);
        let buckets = |wanted: &dyn Fn(&Sample) -> bool| -> Vec<&str> {
            all.iter().filter(|sample| wanted(sample)).filter_map(|it| it.le.as_deref()).collect()
        };
        // The queue leaves out zeros and ends of series that go on: they have a sample of that time or of a later one.
        assert_eq!(buckets(&|sample| sample.at_ms < now_ms && sample.value == 0.0), zeros);
        let stale = tactus_remote_write::series::STALE.to_bits();
        assert_eq!(buckets(&|sample| sample.value.to_bits() == stale), ended);
    }
}

#[test]
fn form_of_histograms_changes_with_the_settings_and_counters_stay() {
    let mut registry = registry_of(Settings::default());
    let counter = registry.metric(spec("c", Kind::Counter));
    let histogram = registry.metric(spec("h", Kind::Histogram([1.0].into())));
    count(&mut registry, counter, "a", START_MS);
    let set = set_of(&mut registry, "a");
    let handle = registry.handle(histogram, set, START_MS);
    registry.observe(histogram, handle, (0.5, 1.0), TraceId([1; 16]), START_MS);
    assert_eq!(registry.statistics().active_series, 5);
    let epoch = registry.epoch();
    let both = Settings { histograms: HistogramMode::Both, ..Settings::default() };
    registry.update(both, START_MS);
    assert!(registry.epoch() > epoch);
    assert_eq!(registry.statistics().active_series, 1);
    let set = set_of(&mut registry, "a");
    registry.handle(histogram, set, START_MS);
    assert_eq!(registry.statistics().active_series, 6);
    assert_eq!(collect(&mut registry, START_MS)["c l=a None"].0, 1.0);
}

proptest! {
    /// Levels are those of a plain model, at any limit, whatever goes stale and comes back.
    #[test]
    fn accounting_is_exact(
        steps in proptest::collection::vec((0..5_u8, 0..8_u8, 0..2_usize), 1..120),
        limit in 0..8_u64,
        entity: bool,
    ) {
        let limiter = if entity { Limiter::Entity } else { Limiter::Series };
        let settings = Settings { limit, limiter, ..Settings::default() };
        let mut registry = registry_of(settings);
        let metrics = ["m", "n"].map(|name| registry.metric(spec(name, Kind::Counter)));
        // When each was updated last, by metric and label, and all that was counted since it began.
        let mut model: HashMap<(usize, u8), (i64, f64)> = HashMap::new();
        let (mut now_ms, mut refused) = (START_MS, 0);
        for (action, label, metric) in steps {
            if action == 0 {
                now_ms += STALE_CHECK_MS;
                registry.remove_stale(now_ms);
                model.retain(|_, (updated, _)| *updated >= now_ms - 15 * 60_000);
                continue;
            }
            let entities: HashSet<u8> = model.keys().map(|key| key.1).collect();
            let known = model.contains_key(&(metric, label));
            let room = limit == 0 || known || match limiter {
                Limiter::Series => (model.len() as u64) < limit,
                Limiter::Entity => entities.contains(&label) || (entities.len() as u64) < limit,
            };
            count(&mut registry, metrics[metric], &format!("v{label}"), now_ms);
            if room {
                let entry = model.entry((metric, label)).or_insert((now_ms, 0.0));
                *entry = (now_ms, entry.1 + 1.0);
            } else {
                refused += 1;
            }
        }
        let entities: HashSet<u8> = model.keys().map(|key| key.1).collect();
        let statistics = registry.statistics().clone();
        prop_assert_eq!(statistics.active_series, model.len() as u64);
        prop_assert_eq!(statistics.active_entities, entities.len() as u64);
        prop_assert_eq!(statistics.series_added - statistics.series_removed, model.len() as u64);
        prop_assert_eq!(statistics.series_limited + statistics.entities_limited, refused);
        let seen = collect(&mut registry, now_ms);
        for ((metric, label), (_, value)) in model {
            let name = format!("{} l=v{label} None", ["m", "n"][metric]);
            prop_assert_eq!(seen.get(&name).map(|seen| seen.0), Some(value));
        }
    }
}
