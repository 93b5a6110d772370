use std::collections::{BTreeMap, BTreeSet};

use tactus_model::{Attribute, DictionaryBuilder, SpanBatch, TraceId, ValueType};
use tactus_work::Work;
use tactus_work::memory::{Budget, QueryMemory};

use crate::eval::Bitmap;
use crate::metrics::{
    ComparedSide, CompiledMetrics, Grid, LabelValue, MetricsCollector, MetricsError,
    MetricsOptions, PartialSeries, SeriesKey,
};
use crate::parse_and_validate;

const SECOND: u64 = 1_000_000_000;

/// A span of one of three services; `n` is its attribute.
#[derive(Clone, Copy)]
struct Span {
    trace: u8,
    /// In seconds.
    start: u64,
    service: u32,
    n: Option<i64>,
    state: &'static [u8],
}

fn span(trace: u8, start: u64) -> Span {
    Span { trace, start, service: u32::from(trace % 3), n: Some(start as i64), state: b"" }
}

/// Spans of 1 s each.
fn batch(spans: &[Span]) -> SpanBatch {
    let mut strings = DictionaryBuilder::default();
    let mut batch = SpanBatch::default();
    let (service_name, n) = (strings.intern(b"service.name"), strings.intern(b"n"));
    for service in ["a", "b", "c"] {
        let payload = u64::from(strings.intern(service.as_bytes()));
        let attribute = Attribute { key: service_name, value_type: ValueType::String, payload };
        batch.resources.attributes.push(attribute);
        batch.resources.attributes.end_owner();
        batch.resources.dropped_attributes.push(0);
    }
    batch.scopes.name.push(0);
    batch.scopes.version.push(0);
    batch.scopes.attributes.end_owner();
    let traces: BTreeSet<u8> = spans.iter().map(|span| span.trace).collect();
    let traces: Vec<u8> = traces.into_iter().collect();
    batch.traces.ids = traces.iter().map(|&trace| TraceId([trace; 16])).collect();
    for span in spans {
        let columns = &mut batch.spans;
        let row = traces.iter().position(|&trace| trace == span.trace).unwrap_or(0);
        columns.trace.push(row as u32);
        columns.resource.push(span.service);
        columns.scope.push(0);
        columns.start.push(span.start * SECOND);
        columns.duration.push(SECOND);
        columns.name.push(strings.intern(format!("at {}", span.start % 2).as_bytes()));
        columns.kind.push(2);
        columns.status.push((span.start % 3) as u8);
        columns.status_message.push(0);
        columns.trace_state.push(strings.intern(span.state));
        if let Some(value) = span.n {
            // Twice, of which the first counts.
            for payload in [value as u64, 99] {
                let attribute = Attribute { key: n, value_type: ValueType::Int, payload };
                batch.span_attributes.push(attribute);
            }
        }
        batch.span_attributes.end_owner();
    }
    batch.strings = strings.finish();
    batch
}

fn compile(query: &str, grid: Grid, exemplars: usize) -> CompiledMetrics {
    let root = parse_and_validate(query).expect(query);
    let options = MetricsOptions { exemplars, max_bytes: 0 };
    CompiledMetrics::compile(&root, grid, options).expect(query)
}

fn collect_all(query: &CompiledMetrics, batches: &[SpanBatch]) -> Vec<PartialSeries> {
    let mut collector = MetricsCollector::new(query);
    for batch in batches {
        collector.observe(query, batch, None).expect("fits");
    }
    collector.finish(query)
}

fn text(value: &LabelValue) -> String {
    match value {
        LabelValue::Nil => "nil".to_owned(),
        LabelValue::String(text) => text.to_string(),
        LabelValue::Int(number) => number.to_string(),
        LabelValue::Float(number) => number.to_string(),
        LabelValue::Bool(flag) => flag.to_string(),
    }
}

/// Series key as text -> interval -> value and weight.
fn points(series: &[PartialSeries]) -> BTreeMap<String, Vec<(u32, f64, f64)>> {
    let key = |series: &PartialSeries| match &series.key {
        SeriesKey::Group { values, bucket } => {
            let mut key: Vec<String> = values.iter().map(text).collect();
            key.extend(bucket.map(|bucket| format!("<{bucket}>")));
            format!("{}:{}", series.leaf, key.join(","))
        }
        SeriesKey::Compared { side, attribute, value } => {
            let value = value.as_ref().map_or("total".to_owned(), text);
            format!("{side:?} {attribute} {value}")
        }
    };
    let points = |series: &PartialSeries| {
        series.points.iter().map(|point| (point.interval, point.value, point.weight)).collect()
    };
    series.iter().map(|series| (key(series), points(series))).collect()
}

fn grid() -> Grid {
    Grid::from_parts(0, 10 * SECOND, 10)
}

#[test]
fn series_of_all_functions_have_their_points() {
    let spans: Vec<Span> = (1..=30).map(|at| span(1, at)).collect();
    let batches = [batch(&spans[..12]), batch(&spans[12..])];
    let found = |query: &str| points(&collect_all(&compile(query, grid(), 0), &batches));
    let one = |key: &str, points: [(u32, f64, f64); 3]| {
        BTreeMap::from([(key.to_owned(), points.to_vec())])
    };
    let ten = [(0, 10.0, 1.0), (1, 10.0, 1.0), (2, 10.0, 1.0)];
    assert_eq!(found("{ } | rate()"), one("0:", ten));
    assert_eq!(
        found("{ } | rate() by (resource.service.name, resource.service.name)"),
        one("0:b", ten)
    );
    assert_eq!(found("{ } | rate() by (kind, duration)"), one("0:server,1s", ten));
    let sums = [(0, 55.0, 1.0), (1, 155.0, 1.0), (2, 255.0, 1.0)];
    assert_eq!(found("{ } | sum_over_time(span.n)"), one("0:", sums));
    let means = [(0, 5.5, 10.0), (1, 15.5, 10.0), (2, 25.5, 10.0)];
    assert_eq!(found("{ } | avg_over_time(.n)"), one("0:", means));
    let least = [(0, 1.0, 1.0), (1, 11.0, 1.0), (2, 21.0, 1.0)];
    assert_eq!(found("{ } | min_over_time(span.n) by (span.missing)"), one("0:nil", least));
    let seconds = [(0, 1.0, 1.0), (1, 1.0, 1.0), (2, 1.0, 1.0)];
    assert_eq!(found("{ } | max_over_time(duration)"), one("0:", seconds));
    assert_eq!(found("{ } | histogram_over_time(duration)"), one("0:<30>", ten));
    let buckets = found("{ } | quantile_over_time(span.n, .5) by (name)");
    assert_eq!(buckets["0:at 1,<4>"], [(0, 1.0, 1.0), (1, 3.0, 1.0)]);
    assert_eq!(buckets["0:at 0,<1>"], [(0, 1.0, 1.0)]);
    assert!(found("{ } | max_over_time(name)").is_empty());
    assert!(found("{ span.n > 100 } | rate()").is_empty());
    let two = found("({ } | rate()) / ({ name = `at 1` } | count_over_time())");
    assert_eq!(two["1:"], [(0, 5.0, 1.0), (1, 5.0, 1.0), (2, 5.0, 1.0)]);
    assert_eq!(two.len(), 2);
}

#[test]
fn only_counted_spans_are_counted_and_the_others_take_part() {
    let batch = batch(&[span(1, 1), span(1, 2), span(2, 3)]);
    let query = compile("{ } | count() > 1 | count_over_time()", grid(), 0);
    let counted = Bitmap::from_fn(3, |row| row != 0);
    let mut collector = MetricsCollector::new(&query);
    collector.observe(&query, &batch, Some(&counted)).expect("fits");
    assert_eq!((collector.inspected_spans(), collector.matched_spans()), (2, 1));
    assert_eq!(points(&collector.finish(&query))["0:"], [(0, 1.0, 1.0)]);
}

#[test]
fn sampling_hints_scale_what_is_counted() {
    let spans: Vec<Span> = (1..=20).map(|at| span(at as u8, at)).collect();
    let batches = [batch(&spans[..8]), batch(&spans[8..])];
    let found = |query: &str| points(&collect_all(&compile(query, grid(), 0), &batches));
    let counts = [(0, 10.0, 1.0), (1, 10.0, 1.0)];
    for sampling in ["sample=true", "sample=0.5", "span_sample=0.5", "trace_sample=0.5"] {
        assert_eq!(found(&format!("{{ }} | rate() with ({sampling})"))["0:"], counts);
    }
    // Every second span: those with odd numbers or those with even ones, by batch.
    let value = |query: &str, place: usize| found(query)["0:"][place].1;
    let sum = value("{ } | sum_over_time(span.n) with (sample=0.5)", 0);
    assert!((50.0..=60.0).contains(&sum), "{sum}");
    let smallest = value("{ } | min_over_time(span.n) with (sample=0.5)", 1);
    assert!([11.0, 12.0].contains(&smallest), "{smallest}");
    let average = found("{ } | avg_over_time(span.n) with (sample=0.5)")["0:"][0];
    assert!((5.0..=6.0).contains(&average.1) && average.2 == 10.0, "{average:?}");
}

#[test]
fn extrapolation_weighs_spans_by_their_trace_state() {
    let of = |state| Span { state, ..span(1, 4) };
    let batches = [batch(&[of(b""), of(b"ot=th:8"), of(b"ot=th:c")])];
    let found = |query: &str| {
        let query = compile(query, grid(), 0);
        assert!(query.projection().trace_state);
        points(&collect_all(&query, &batches))
    };
    assert_eq!(found("{ } | rate() with (extrapolate=true)")["0:"], [(0, 7.0, 1.0)]);
    assert_eq!(
        found("{ } | sum_over_time(span.n) with (extrapolate=true)")["0:"],
        [(0, 28.0, 1.0)]
    );
    assert_eq!(found("{ } | max_over_time(span.n) with (extrapolate=true)")["0:"], [(0, 4.0, 1.0)]);
    assert_eq!(found("{ } | avg_over_time(span.n) with (extrapolate=true)")["0:"], [(0, 4.0, 7.0)]);
    assert_eq!(
        found("{ } | histogram_over_time(span.n) with (extrapolate=true)")["0:<2>"],
        [(0, 7.0, 1.0)]
    );
}

#[test]
fn too_many_series_are_refused() {
    let root = parse_and_validate("{ } | rate() by (span.n)").expect("valid");
    let options = MetricsOptions { exemplars: 0, max_bytes: 5_000 };
    let query = CompiledMetrics::compile(&root, grid(), options).expect("known");
    let mut collector = MetricsCollector::new(&query);
    let of = |from: i64| -> Vec<Span> {
        (from..from + 10).map(|n| Span { n: Some(n), ..span(1, 5) }).collect()
    };
    collector.observe(&query, &batch(&of(0)), None).expect("fits");
    let before = collector.heap_bytes();
    assert!((1_000..5_000).contains(&before), "{before}");
    collector.observe(&query, &batch(&of(0)), None).expect("the same series again");
    assert_eq!(collector.heap_bytes(), before);
    let refused = collector.observe(&query, &batch(&of(10)), None);
    assert_eq!(refused, Err(MetricsError::TooLarge { limit_bytes: 5_000 }));
}

#[test]
fn exemplars_are_one_a_trace_and_spread_over_the_range() {
    let spans: Vec<Span> =
        (0..4000).map(|number| span((number / 20) as u8, 1 + number * 100 / 4001)).collect();
    let batches: Vec<SpanBatch> = spans.chunks(1500).map(batch).collect();
    for most in [1, 2, 5, 10, 40] {
        let query = compile("{ } | rate() by (resource.service.name)", grid(), most);
        let series = collect_all(&query, &batches);
        let found: Vec<_> = series.iter().flat_map(|series| &series.exemplars).collect();
        let traces: BTreeSet<String> =
            found.iter().filter_map(|it| it.labels.last()).map(|(_, id)| text(id)).collect();
        assert_eq!(traces.len(), found.len());
        assert!(found.len() <= most && found.len() > most / 2, "{most}: {}", found.len());
        let length = 100 * SECOND / (most as u64 / 2).max(1);
        let mut parts = BTreeMap::new();
        for exemplar in found {
            assert_eq!(exemplar.value, None);
            let count = parts.entry((exemplar.start_unix_nanos - 1) / length).or_insert(0);
            *count += 1;
            assert!(*count <= 2, "{most}");
        }
        for series in &series {
            let SeriesKey::Group { values, .. } = &series.key else { continue };
            for exemplar in &series.exemplars {
                let names: Vec<&str> = exemplar.labels.iter().map(|(name, _)| &**name).collect();
                assert_eq!(names, ["resource.service.name", "trace:id"]);
                assert_eq!(exemplar.labels[0].1, values[0]);
            }
        }
    }
}

#[test]
fn exemplar_is_any_span_of_its_trace() {
    let spans: Vec<Span> = (1..=8).map(|start| span(7, start)).collect();
    let batches: Vec<SpanBatch> = spans.chunks(4).map(batch).collect();
    let mut starts = BTreeSet::new();
    // Each span is missing with a probability of 8 * (7/8)^400, less than 1e-22.
    for _ in 0..400 {
        let series = collect_all(&compile("{ } | rate()", grid(), 1), &batches);
        starts.extend(series[0].exemplars.iter().map(|it| it.start_unix_nanos / SECOND));
    }
    assert_eq!(starts, (1..=8).collect());
}

#[test]
fn exemplars_carry_values_and_all_attributes_of_the_query() {
    let batches = [batch(&[span(7, 3)])];
    let only = |query: &str| {
        let series = collect_all(&compile(query, grid(), 8), &batches);
        let mut exemplars = series.into_iter().flat_map(|series| series.exemplars);
        let exemplar = exemplars.next().expect(query);
        assert!(exemplars.next().is_none());
        let labels: Vec<String> =
            exemplar.labels.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
        (exemplar.value, labels.join(" "))
    };
    let id = "trace:id=7070707070707070707070707070707";
    let found = only("{ kind = server && span.no = nil } | select(name) | avg_over_time(span.n)");
    assert_eq!(found, (Some(3.0), format!("kind=server name=at 1 span.n=3 {id}")));
    let found = only("{ } | quantile_over_time(duration, .5) by (status)");
    assert_eq!(found, (Some(1.0), format!("duration=1s status=unset {id}")));
    assert_eq!(only("{ } | max_over_time(duration)").0, Some(1.0));
    assert_eq!(only("{ } | histogram_over_time(span.n)").0, None);
    let query = compile("({ } | rate()) / ({ } | rate())", grid(), 1);
    let series = collect_all(&query, &batches);
    assert!(series.iter().all(|series| series.exemplars.len() == 1) && series.len() == 2);
}

#[test]
fn projection_has_what_the_query_reads_and_nothing_else() {
    let projection =
        |query: &str, exemplars| compile(query, grid(), exemplars).projection().clone();
    let mut expected = tactus_model::Projection { start: true, ..Default::default() };
    assert_eq!(projection("{ } | rate()", 9), expected);
    expected.resource_attributes.add(b"service.name");
    expected.status = true;
    let query = "{ status = error } | select(span.x) | rate() by (resource.service.name)";
    assert_eq!(projection(query, 0), expected);
    expected.span_attributes.add(b"x");
    assert_eq!(projection(query, 1), expected);
    assert!(projection("{ } | rate() by (rootName)", 0).trace_roots);
    assert!(projection("{ } | max_over_time(duration)", 0).duration);
    assert!(projection("{ } | compare({ kind = server })", 0).trace_summary);
}

#[test]
fn whole_traces_are_asked_for_where_spans_depend_on_each_other() {
    let cases = [
        ("{ } | rate()", false),
        ("{ status = error } | { name = `x` } | select(.a) | rate() by (.a)", false),
        ("{ .a = 1 } || { .b = 1 } | max_over_time(duration)", false),
        ("{ .a = 1 } && { .b = 1 } | rate()", true),
        ("{ .a = 1 } >> { .b = 1 } | rate()", true),
        ("{ } | count() > 1 | rate()", true),
        ("{ } | by(.a) | rate()", true),
        ("{ parent.a = 1 } | rate()", true),
        ("{ rootName = `x` } | rate()", true),
        ("{ } | rate() by (rootServiceName)", true),
        ("{ } | max_over_time(trace:duration)", true),
        ("{ } | compare({ status = error })", true),
    ];
    for (query, expected) in cases {
        assert_eq!(compile(query, grid(), 0).reads_whole_trace(), expected, "{query}");
    }
}

#[test]
fn queries_without_counted_spans_are_never_run() {
    assert!(compile("{ false } | rate()", grid(), 0).is_never());
    assert!(!compile("({ false } | rate()) + ({ } | rate())", grid(), 0).is_never());
    assert!(compile("{ } | rate()", Grid::from_parts(0, 1, 0), 0).is_never());
    assert!(compile("{ .a = 1 }", grid(), 0).is_never());
}

#[test]
fn candidates_are_traces_that_may_have_counted_spans() {
    let batch = batch(&[span(1, 1), span(2, 200), span(3, 3)]);
    let candidates = |query: &str| -> Vec<u8> {
        let found = compile(query, grid(), 0).find_candidates(&batch);
        found.iter().map(|trace| trace.0[0]).collect()
    };
    assert_eq!(candidates("{ span.n = 3 } && { span.n = 1 } | rate()"), [1, 3]);
    assert_eq!(candidates("{ rootName = `x` } | rate()"), [1, 3]);
    assert_eq!(candidates("{ span.n = 200 } >> { span.n = 1 } | rate()"), [1, 2]);
    assert!(candidates("{ false } | rate()").is_empty());
}

#[test]
fn comparison_counts_each_attribute_of_each_span_once() {
    let mut spans: Vec<Span> = (1..=6).map(|at| span(at as u8, at)).collect();
    spans[5].n = None;
    let batches = [batch(&spans[..3]), batch(&spans[3..])];
    let grid = Grid::instant(0, 10 * SECOND);
    let found = |query: &str| points(&collect_all(&compile(query, grid, 0), &batches));
    let counted = found("{ } | compare({ span.n > 3 })");
    let value = |key: &str| counted.get(key).map_or(0.0, |points| points[0].1);
    assert_eq!(value("Baseline span.n 1"), 1.0);
    assert_eq!(value("Selection span.n 4"), 1.0);
    assert_eq!(value("Baseline span.n 99"), 0.0);
    assert_eq!((value("Baseline span.n total"), value("Selection span.n total")), (3.0, 2.0));
    assert_eq!((value("Baseline kind server"), value("Selection kind total")), (4.0, 2.0));
    assert_eq!(value("Baseline resource.service.name a"), 2.0);
    assert_eq!(value("Selection resource.service.name total"), 2.0);
    assert_eq!(value("Selection name at 0") + value("Selection name at 1"), 2.0);
    assert!(!counted.keys().any(|key| key.contains("statusMessage") || key.contains("nil")));
    let windowed = found("{ } | compare({ span.n > 3 }, 10, 4000000000, 5000000000)");
    assert_eq!(windowed["Selection kind total"][0].1, 1.0);
    assert_eq!(windowed["Selection span.n 5"][0].1, 1.0);
    let over_time = compile("{ } | compare({ span.n > 3 })", super::tests::grid(), 0);
    assert_eq!(points(&collect_all(&over_time, &batches))["Baseline kind server"][0].1, 4.0);
}

#[test]
fn comparison_shows_exemplars_at_the_totals_of_their_attributes() {
    let batches = [batch(&[span(1, 1)])];
    let query = compile("{ } | compare({ span.n = 1 })", grid(), 4);
    for series in collect_all(&query, &batches) {
        let SeriesKey::Compared { side, value, .. } = &series.key else {
            assert!(matches!(series.key, SeriesKey::Compared { .. }));
            continue;
        };
        assert_eq!(*side, ComparedSide::Selection);
        assert_eq!(series.exemplars.len(), usize::from(value.is_none()));
    }
}

#[test]
fn comparison_forgets_rare_values_and_keeps_totals() {
    let spans: Vec<Span> = (0..140_000i64)
        .map(|n| Span { n: Some(if n % 2 == 0 { -1 } else { n }), ..span((n % 50) as u8, 5) })
        .collect();
    let query = compile("{ } | compare({ status = error })", grid(), 0);
    let series = collect_all(&query, &[batch(&spans)]);
    let found = points(&series);
    assert_eq!(found["Selection span.n -1"][0].1, 70_000.0);
    assert_eq!(found["Selection span.n total"][0].1, 140_000.0);
    assert!(found.len() < 1100, "{}", found.len());
}

#[test]
fn comparison_keeps_what_is_frequent_among_few_selected_spans() {
    // Of 100 000 spans every third value is the only one of its kind, others come five times; of those selected ten come twice.
    let value = |n: i64| if n % 3 == 0 { n } else { -(n % 20_000) };
    let others = (1..100_000i64).map(|n| Span { n: Some(value(n)), ..span((n % 50) as u8, 4) });
    let failed = |n: i64| Span { n: Some(1_000_000 + n / 2), ..span(7, 5) };
    let mut spans: Vec<Span> = others.collect();
    (0..20).for_each(|n| spans.insert(n as usize * 5_000, failed(n)));
    let query = compile("{ } | compare({ status = error })", grid(), 0);
    let batches: Vec<_> = spans.chunks(20_000).map(batch).collect();
    let mut collector = MetricsCollector::new(&query);
    for batch in &batches {
        collector.observe(&query, batch, None).unwrap();
    }
    assert!(collector.heap_bytes() < 5 << 20, "{}", collector.heap_bytes());
    let found = points(&collector.finish(&query));
    assert_eq!(found["Selection span.n total"][0].1, 20.0);
    for n in 0..10 {
        assert_eq!(found[&format!("Selection span.n {}", 1_000_000 + n)][0].1, 2.0);
    }
}

#[test]
fn grid_with_more_intervals_than_can_be_told_apart_is_refused() {
    let query = compile("{ } | rate()", Grid::from_parts(0, 1, usize::MAX), 0);
    let mut collector = MetricsCollector::new(&query);
    let refused = collector.observe(&query, &batch(&[span(1, 5)]), None);
    assert_eq!(refused, Err(MetricsError::TooLarge { limit_bytes: 0 }));
}

#[test]
fn labels_of_exemplars_count_as_memory_of_the_query() {
    let spans: Vec<Span> = (1..=250).map(|at| span(at as u8, at)).collect();
    let batch = batch(&spans);
    let text = "{ .n > 0 && span.n > 0 && name != `x` && kind != client && .service.name != `x` \
                && resource.service.name != `x` } | compare({ duration > 0s })";
    let run = |exemplars| {
        let query = compile(text, Grid::from_parts(0, 300 * SECOND, 1), exemplars);
        let memory = QueryMemory::within(&Budget::new(1_000));
        let work = Work::default().holding(&memory, 7, 1);
        work.run(|| collect_all(&query, std::slice::from_ref(&batch)).len()).is_ok()
    };
    assert!(run(0));
    assert!(!run(1_000), "each series of a total has a copy");
}
