use super::*;
use crate::metrics::{ComparedSide, Exemplar, Point};
use crate::parse_and_validate;

const SECOND: u64 = 1_000_000_000;

/// Four intervals of 10 s, after 100 s up to 140 s.
fn grid() -> Grid {
    Grid::from_parts(100 * SECOND, 10 * SECOND, 4)
}

fn text(text: &str) -> LabelValue {
    LabelValue::String(text.into())
}

fn points(values: &[(u32, f64)]) -> Vec<Point> {
    values.iter().map(|&(interval, value)| Point { interval, value, weight: 1.0 }).collect()
}

fn group(values: &[LabelValue], at: &[(u32, f64)]) -> PartialSeries {
    let key = SeriesKey::Group { values: values.to_vec(), bucket: None };
    PartialSeries { leaf: 0, key, points: points(at), exemplars: Vec::new() }
}

fn bucket(values: &[LabelValue], power: u8, at: &[(u32, f64)]) -> PartialSeries {
    let key = SeriesKey::Group { values: values.to_vec(), bucket: Some(power) };
    PartialSeries { key, ..group(&[], at) }
}

fn compared(
    side: ComparedSide,
    attribute: &str,
    value: Option<LabelValue>,
    count: f64,
) -> PartialSeries {
    let key = SeriesKey::Compared { side, attribute: attribute.into(), value };
    PartialSeries { key, ..group(&[], &[(0, count)]) }
}

fn of_leaf(leaf: u32, part: PartialSeries) -> PartialSeries {
    PartialSeries { leaf, ..part }
}

fn exemplar(trace: &str, seconds: u64, value: Option<f64>) -> Exemplar {
    let labels = vec![("trace:id".into(), text(trace))];
    Exemplar { labels, value, of_series: false, start_unix_nanos: seconds * SECOND }
}

fn with_exemplars(part: PartialSeries, exemplars: Vec<Exemplar>) -> PartialSeries {
    PartialSeries { exemplars, ..part }
}

fn answer_with(options: AnswerOptions, query: &str, parts: Vec<PartialSeries>) -> MetricsAnswer {
    let root = parse_and_validate(query).expect(query);
    let mut combiner = MetricsCombiner::new(&root, grid(), options);
    for part in parts {
        combiner.add(vec![part]).expect("no limit");
    }
    combiner.finish().unwrap()
}

fn answer(query: &str, parts: Vec<PartialSeries>) -> Vec<Series> {
    let options = AnswerOptions { exemplars: 100, ..AnswerOptions::default() };
    answer_with(options, query, parts).series
}

/// `a=1 b=x: 0:2 3:1`
fn shown(series: &[Series]) -> Vec<String> {
    let one = |series: &Series| {
        let labels = series.labels.iter().map(|(name, value)| format!("{name}={}", value.text()));
        let points = series.points.iter().map(|(interval, value)| format!("{interval}:{value}"));
        let (labels, points) = (labels.collect::<Vec<_>>(), points.collect::<Vec<_>>());
        format!("{}: {}", labels.join(" "), points.join(" "))
    };
    series.iter().map(one).collect()
}

fn shown_exemplars(series: &Series) -> Vec<(String, u64, Option<f64>)> {
    let one = |exemplar: &Exemplar| {
        let id = exemplar.labels[0].1.text().into_owned();
        (id, exemplar.start_unix_nanos / SECOND, exemplar.value)
    };
    series.exemplars.iter().map(one).collect()
}

#[test]
fn counts_of_all_jobs_are_added_and_other_intervals_are_zero() {
    let parts = vec![group(&[], &[(0, 2.0), (3, 1.0)]), group(&[], &[(3, 4.0)])];
    let found = answer("{} | count_over_time()", parts.clone());
    assert_eq!(shown(&found), ["__name__=count_over_time: 0:2 1:0 2:0 3:5"]);
    assert_eq!(shown(&answer("{} | rate()", parts)), ["__name__=rate: 0:0.2 1:0 2:0 3:0.5"]);
}

#[test]
fn ungrouped_count_without_spans_is_one_series_of_zeros() {
    assert_eq!(shown(&answer("{} | rate()", vec![])), ["__name__=rate: 0:0 1:0 2:0 3:0"]);
    for query in [
        "{ false } | rate()",
        "{} | rate() by(name)",
        "{} | sum_over_time(.x)",
        "{} | histogram_over_time(.x)",
        "{} | quantile_over_time(.x, .5)",
        "{} | compare({ status = error })",
        "{ name = \"x\" }",
    ] {
        assert!(answer(query, vec![]).is_empty(), "{query}");
    }
}

#[test]
fn missing_label_is_dropped_unless_all_are_missing() {
    let parts = || {
        vec![
            group(&[LabelValue::Nil, LabelValue::Nil], &[(0, 1.0)]),
            group(&[text("nil"), LabelValue::Nil], &[(0, 2.0)]),
            group(&[LabelValue::Nil, text("x")], &[(1, 1.0)]),
            group(&[LabelValue::Int(7), text("x")], &[(2, 1.0)]),
        ]
    };
    let found = answer("{} | count_over_time() by(.a, name, .a)", parts());
    assert_eq!(
        shown(&found),
        [".a=nil: 0:3 1:0 2:0 3:0", "name=x: 0:0 1:1 2:0 3:0", ".a=7 name=x: 0:0 1:0 2:1 3:0"]
    );
    assert_eq!(found[0].labels, [(".a".into(), LabelValue::Nil)]);
    let found = answer("{} | max_over_time(.b) by(.a, name)", parts());
    assert_eq!(shown(&found), [".a=nil: 0:2", "name=x: 1:1", ".a=7 name=x: 2:1"]);
}

#[test]
fn extremes_and_sums_have_points_only_where_spans_have_values() {
    let parts = || vec![group(&[], &[(0, 2.0), (2, -1.0)]), group(&[], &[(0, 0.5)])];
    let found = |function: &str| shown(&answer(&format!("{{}} | {function}"), parts()));
    assert_eq!(found("min_over_time(.x)"), ["__name__=min_over_time: 0:0.5 2:-1"]);
    assert_eq!(found("max_over_time(.x)"), ["__name__=max_over_time: 0:2 2:-1"]);
    assert_eq!(found("sum_over_time(.x)"), ["__name__=sum_over_time: 0:2.5 2:-1"]);
}

#[test]
fn sums_keep_what_rounding_takes() {
    let parts = [1e100, 1.0, -1e100, 2.0].map(|value| group(&[], &[(0, value)]));
    let found = answer("{} | sum_over_time(.x)", parts.to_vec());
    assert_eq!(found[0].points, [(0, 3.0)]);
    let parts = [1.0, f64::INFINITY, 1.0].map(|value| group(&[], &[(0, value)]));
    let found = answer("{} | sum_over_time(.x)", parts.to_vec());
    assert_eq!(found[0].points, [(0, f64::INFINITY)]);
}

#[test]
fn infinities_of_both_signs_have_no_sum_in_any_order() {
    let numbers = [f64::INFINITY, 100.0, f64::NEG_INFINITY, 7.0];
    for first in 0..4 {
        for function in ["sum_over_time", "avg_over_time"] {
            let parts = (0..4).map(|place| group(&[], &[(0, numbers[(first + place) % 4])]));
            let found = answer(&format!("{{}} | {function}(.x)"), parts.collect());
            assert!(found.is_empty(), "{function} from {first}: {found:?}");
        }
    }
    // As a source that has both itself.
    for parts in [[f64::NAN, 100.0], [100.0, f64::NAN]] {
        let parts = parts.map(|value| group(&[], &[(0, value)]));
        assert!(answer("{} | sum_over_time(.x)", parts.to_vec()).is_empty());
    }
}

#[test]
fn means_are_weighted_by_their_spans() {
    let part = |value, weight| {
        let mut part = group(&[], &[(1, value)]);
        part.points[0].weight = weight;
        part
    };
    let found = answer("{} | avg_over_time(.x)", vec![part(4.0, 1.0), part(1.0, 3.0)]);
    assert_eq!(shown(&found), ["__name__=avg_over_time: 1:1.75"]);
}

#[test]
fn histogram_is_labelled_by_upper_bounds() {
    let parts = || vec![bucket(&[LabelValue::Nil], 27, &[(0, 1.0)])];
    let found = answer("{} | histogram_over_time(duration) by(.x)", parts());
    assert_eq!(shown(&found), ["__bucket=0.134217728: 0:1 1:0 2:0 3:0"]);
    let found = answer("{} | histogram_over_time(.size) by(.x)", parts());
    assert_eq!(shown(&found), ["__bucket=1.34217728e+08: 0:1 1:0 2:0 3:0"]);
    let parts = vec![bucket(&[text("a")], 2, &[(0, 1.0)]), bucket(&[text("a")], 2, &[(0, 1.0)])];
    let found = answer("{} | histogram_over_time(.size) by(.x)", parts);
    assert_eq!(shown(&found), [".x=a __bucket=4.0: 0:2 1:0 2:0 3:0"]);
}

#[test]
fn quantiles_are_zero_in_intervals_without_spans() {
    let parts = vec![
        bucket(&[text("a")], 2, &[(0, 1.0), (2, 1.0)]),
        bucket(&[text("a")], 3, &[(2, 1.0)]),
        bucket(&[LabelValue::Nil], 1, &[(3, 1.0)]),
    ];
    let found = answer("{} | quantile_over_time(.size, 1, .5) by(.x)", parts);
    assert_eq!(
        shown(&found),
        [
            "p=0.5: 0:0 1:0 2:0 3:2",
            "p=1.0: 0:0 1:0 2:0 3:2",
            ".x=a p=0.5: 0:4 1:0 2:4 3:0",
            ".x=a p=1.0: 0:4 1:0 2:8 3:0",
        ]
    );
}

#[test]
fn compare_keeps_the_most_frequent_values_and_all_totals() {
    use ComparedSide::{Baseline, Selection};
    let parts = vec![
        compared(Selection, "span.x", None, 9.0),
        compared(Selection, "span.x", Some(text("b")), 2.0),
        compared(Selection, "span.x", Some(text("c")), 2.0),
        compared(Selection, "span.x", Some(LabelValue::Int(1)), 2.0),
        compared(Selection, "span.x", Some(text("rare")), 1.0),
        compared(Selection, "span.x", Some(text("rare")), 2.0),
        compared(Baseline, "span.x", Some(text("c")), 1.0),
    ];
    let found = answer("{} | compare({ status = error }, 2)", parts);
    assert_eq!(
        shown(&found),
        [
            "__meta_type=baseline span.x=c: 0:1 1:0 2:0 3:0",
            "__meta_type=selection span.x=1: 0:2 1:0 2:0 3:0",
            "__meta_type=selection span.x=rare: 0:3 1:0 2:0 3:0",
            "__meta_type=selection_total span.x=nil: 0:9 1:0 2:0 3:0",
        ]
    );
}

#[test]
fn largest_keep_the_earlier_and_smallest_the_later_of_equal_values() {
    let parts = || {
        vec![
            group(&[text("chunk")], &[(1, 1.0)]),
            group(&[text("leaf")], &[(1, 1.0), (2, 2.0)]),
            group(&[text("step")], &[(2, 2.0), (3, 5.0)]),
        ]
    };
    let top = answer("{} | count_over_time() by(name) | topk(1)", parts());
    assert_eq!(shown(&top), ["name=chunk: 0:0 1:1", "name=leaf: 2:2", "name=step: 3:5"]);
    let bottom = answer("{} | count_over_time() by(name) | bottomk(1)", parts());
    assert_eq!(shown(&bottom), ["name=chunk: 2:0", "name=leaf: 3:0", "name=step: 0:0 1:0"]);
    let all = answer("{} | count_over_time() by(name) | topk(3)", parts());
    assert_eq!(all.iter().map(|series| series.points.len()).sum::<usize>(), 12);
    let absent = answer("{} | max_over_time(.x) by(name) | bottomk(1)", parts());
    assert_eq!(shown(&absent), ["name=leaf: 1:1", "name=step: 2:2 3:5"]);
}

#[test]
fn filters_and_chains_apply_in_order() {
    let parts = || {
        vec![
            group(&[text("a")], &[(0, 3.0), (1, 9.0)]),
            group(&[text("b")], &[(0, 2.0), (1, 1.0)]),
            group(&[text("c")], &[(0, 1.0)]),
        ]
    };
    let found =
        |stages| shown(&answer(&format!("{{}} | count_over_time() by(name) {stages}"), parts()));
    assert_eq!(found("> 1"), ["name=a: 0:3 1:9", "name=b: 0:2"]);
    assert_eq!(found("| topk(1) < 5"), ["name=a: 0:3 2:0 3:0"]);
    assert_eq!(found("< 5 | topk(1)"), ["name=a: 0:3 2:0 3:0", "name=b: 1:1"]);
    assert_eq!(found("!= 0 >= 1000ms <= 1"), ["name=b: 1:1", "name=c: 0:1"]);
}

#[test]
fn arithmetic_matches_series_by_labels() {
    let parts = || {
        vec![
            group(&[text("a")], &[(0, 3.0)]),
            group(&[text("b")], &[(0, 1.0)]),
            of_leaf(1, group(&[text("a")], &[(0, 4.0), (1, 5.0)])),
            of_leaf(1, group(&[text("c")], &[(0, 4.0)])),
        ]
    };
    let both = "({} | count_over_time() by(name)) / ({} | count_over_time() by(name))";
    assert_eq!(shown(&answer(both, parts())), ["name=a: 0:0.75 1:0"]);
    let hundred = format!("{both} * 100 > 5");
    assert_eq!(shown(&answer(&hundred, parts())), ["name=a: 0:75"]);
    let swapped = "100 - ({} | count_over_time() by(name)) - ({} | count_over_time() by(name))";
    assert_eq!(shown(&answer(swapped, parts())), ["name=a: 0:93 1:95 2:100 3:100"]);
}

#[test]
fn series_without_labels_stands_in_for_every_label_set() {
    let parts = |grouped: u32| {
        vec![
            of_leaf(grouped, group(&[text("a")], &[(0, 2.0)])),
            of_leaf(grouped, group(&[text("b")], &[(0, 3.0)])),
            of_leaf(1 - grouped, group(&[], &[(0, 4.0)])),
        ]
    };
    let left = "({} | count_over_time() by(name)) / ({} | count_over_time())";
    assert_eq!(shown(&answer(left, parts(0))), ["name=a: 0:0.5", "name=b: 0:0.75"]);
    let right = "({} | count_over_time()) - ({} | count_over_time() by(name))";
    assert_eq!(
        shown(&answer(right, parts(1))),
        ["name=a: 0:2 1:0 2:0 3:0", "name=b: 0:1 1:0 2:0 3:0"]
    );
}

#[test]
fn names_of_both_sides_become_one() {
    let parts = || vec![group(&[], &[(0, 2.0)]), of_leaf(1, group(&[], &[(0, 4.0)]))];
    let found = answer("({} | rate()) / ({} | count_over_time())", parts());
    assert_eq!(shown(&found), ["__name__=(rate / count_over_time): 0:0.05"]);
    let found = answer("({} | rate()) * 2", parts());
    assert_eq!(shown(&found), ["__name__=rate: 0:0.4 1:0 2:0 3:0"]);
    let sum = answer("({} | sum_over_time(.x)) + ({} | sum_over_time(.y))", parts());
    assert_eq!(shown(&sum), ["__name__=(sum_over_time + sum_over_time): 0:6"]);
}

#[test]
fn placeholder_exemplars_take_the_value_of_their_interval() {
    let exemplars = vec![
        exemplar("1", 105, None),
        exemplar("2", 131, None),
        exemplar("3", 141, None),
        exemplar("1", 107, None),
    ];
    let parts = vec![with_exemplars(group(&[], &[(0, 5.0)]), exemplars)];
    let found = answer("{} | rate()", parts.clone());
    let expected = [("1".to_owned(), 105, Some(0.5)), ("2".to_owned(), 131, Some(0.0))];
    assert_eq!(shown_exemplars(&found[0]), expected);
    let found = answer("{} | rate() > 0", parts.clone());
    assert_eq!(shown_exemplars(&found[0]), expected[..1]);
    let instant = AnswerOptions { exemplars: 9, is_instant: true, ..AnswerOptions::default() };
    assert!(answer_with(instant, "{} | rate()", parts).series[0].exemplars.is_empty());
}

#[test]
fn exemplars_where_the_series_has_no_point_are_dropped() {
    let exemplars = vec![exemplar("1", 105, Some(7.0)), exemplar("2", 115, Some(8.0))];
    let parts = vec![with_exemplars(group(&[], &[(0, 9.0)]), exemplars)];
    let found = answer("{} | max_over_time(.x)", parts.clone());
    assert_eq!(shown_exemplars(&found[0]), [("1".to_owned(), 105, Some(7.0))]);
    let doubled = answer("({} | max_over_time(.x)) * 2", parts);
    assert_eq!(shown_exemplars(&doubled[0]), [("1".to_owned(), 105, Some(14.0))]);
}

#[test]
fn kept_series_keep_their_exemplars() {
    let exemplars = vec![exemplar("1", 105, None), exemplar("2", 115, None)];
    let parts = vec![
        with_exemplars(group(&[text("a")], &[(0, 9.0), (1, 1.0)]), exemplars),
        group(&[text("b")], &[(1, 2.0)]),
    ];
    let found = answer("{} | count_over_time() by(name) | topk(1)", parts);
    assert_eq!(found[0].points, [(0, 9.0), (2, 0.0), (3, 0.0)]);
    assert_eq!(found[0].exemplars.len(), 2);
}

#[test]
fn exemplars_behind_a_second_stage_show_the_result_of_arithmetic() {
    let exemplars = vec![exemplar("1", 105, None), exemplar("2", 115, None)];
    let parts = vec![
        with_exemplars(group(&[text("a")], &[(0, 9.0), (1, 1.0)]), exemplars),
        of_leaf(1, group(&[text("a")], &[(0, 3.0)])),
    ];
    let query = "({} | count_over_time() by(name) > 0) / ({} | count_over_time() by(name) > 0)";
    let found = answer(query, parts);
    assert_eq!(found[0].points, [(0, 3.0)]);
    // There is no result where the other trace starts.
    assert_eq!(shown_exemplars(&found[0]), [("1".to_owned(), 105, Some(3.0))]);
}

#[test]
fn exemplars_are_spread_over_the_range() {
    let all = (0..40).map(|second| exemplar(&second.to_string(), 101 + second, Some(1.0)));
    let parts = vec![with_exemplars(group(&[], &[(0, 1.0)]), all.clone().collect())];
    let starts = |wanted| {
        let options = AnswerOptions { exemplars: wanted, ..AnswerOptions::default() };
        let found = answer_with(options, "{} | count_over_time()", parts.clone());
        let exemplars = found.series[0].exemplars.iter();
        exemplars.map(|exemplar| exemplar.start_unix_nanos / SECOND).collect::<Vec<_>>()
    };
    assert_eq!(starts(0), []);
    assert_eq!(starts(1), [101]);
    assert_eq!(starts(3), [101, 102]);
    assert_eq!(starts(4), [101, 102, 121, 122]);
    assert_eq!(starts(8), [101, 102, 111, 112, 121, 122, 131, 132]);
    assert_eq!(starts(100).len(), 40);
}

#[test]
fn quantile_exemplar_goes_to_the_nearest_quantile() {
    let exemplars = vec![exemplar("1", 105, Some(3.0)), exemplar("2", 105, Some(900.0))];
    let parts =
        vec![with_exemplars(bucket(&[], 2, &[(0, 10.0)]), exemplars), bucket(&[], 10, &[(0, 1.0)])];
    let found = answer("{} | quantile_over_time(.size, .5, 1)", parts);
    assert_eq!(shown_exemplars(&found[0]), [("1".to_owned(), 105, Some(3.0))]);
    assert_eq!(shown_exemplars(&found[1]), [("2".to_owned(), 105, Some(900.0))]);
}

#[test]
fn compare_shows_an_exemplar_with_every_attribute_of_its_span() {
    let total = |attribute, seconds| {
        let part = compared(ComparedSide::Selection, attribute, None, 3.0);
        with_exemplars(part, vec![exemplar("1", seconds, None)])
    };
    let parts = vec![total("name", 105), total("kind", 105), total("status", 106)];
    let found = answer("{} | compare({ status = error })", parts);
    let counts: Vec<_> = found.iter().map(|series| series.exemplars.len()).collect();
    assert_eq!(counts, [1, 1, 0]);
    assert_eq!(found[0].exemplars[0].value, Some(3.0));
}

#[test]
fn arithmetic_keeps_the_exemplars_of_series_that_are_not_spread() {
    let with = |trace, part| with_exemplars(part, vec![exemplar(trace, 105, None)]);
    let parts = |values: &[LabelValue]| {
        vec![with("1", group(&[], &[(0, 2.0)])), of_leaf(1, with("2", group(values, &[(0, 4.0)])))]
    };
    let found = answer("({} | rate()) / ({} | rate())", parts(&[]));
    let values: Vec<_> = shown_exemplars(&found[0]).into_iter().map(|shown| shown.2).collect();
    assert_eq!(values, [Some(0.5), Some(0.5)]);
    let found = answer("({} | rate()) / ({} | rate() by(name))", parts(&[text("a")]));
    assert_eq!(shown_exemplars(&found[0]), [("2".to_owned(), 105, Some(0.5))]);
}

#[test]
fn series_past_the_limit_are_cut_in_order() {
    let parts = ["c", "a", "b"].map(|name| group(&[text(name)], &[(0, 1.0)])).to_vec();
    let options = AnswerOptions { max_series: 2, ..AnswerOptions::default() };
    let found = answer_with(options, "{} | max_over_time(.x) by(name)", parts.clone());
    assert!(found.truncated);
    assert_eq!(shown(&found.series), ["name=a: 0:1", "name=b: 0:1"]);
    let options = AnswerOptions { max_series: 3, ..AnswerOptions::default() };
    assert!(!answer_with(options, "{} | max_over_time(.x) by(name)", parts).truncated);
}

#[test]
fn series_past_the_memory_limit_fail_the_query() {
    let root = parse_and_validate("{} | quantile_over_time(.x, .5) by(name)").expect("valid");
    let options = AnswerOptions { max_bytes: 1500, ..AnswerOptions::default() };
    let mut combiner = MetricsCombiner::new(&root, grid(), options);
    let part = |name| vec![bucket(&[text(name)], 1, &[(0, 1.0)])];
    for name in ["a", "b", "a", "b"] {
        assert_eq!(combiner.add(part(name)), Ok(()));
    }
    assert!(combiner.heap_bytes() > 1000);
    assert_eq!(combiner.add(part("c")), Err(MetricsError::TooLarge { limit_bytes: 1500 }));
}

#[test]
fn rare_values_of_a_comparison_are_forgotten_before_they_take_all_memory() {
    let root = parse_and_validate("{} | compare({ status = error }, 3)").expect("valid");
    let options = AnswerOptions { max_bytes: 64 << 20, ..AnswerOptions::default() };
    let mut combiner = MetricsCombiner::new(&root, grid(), options);
    for job in 0..1_000 {
        let of_job = |n| compared(ComparedSide::Baseline, "span.x", Some(LabelValue::Int(n)), 1.0);
        let frequent = (0..4).map(of_job);
        let rare = (0..400).map(|n| of_job(1_000 * (job + 1) + n));
        let total = compared(ComparedSide::Baseline, "span.x", None, 404.0);
        assert_eq!(combiner.add(frequent.chain(rare).chain([total])), Ok(()));
    }
    assert!(combiner.heap_bytes() < 33 << 20);
    let found = combiner.finish().unwrap().series;
    let value = |n: i64| format!("__meta_type=baseline span.x={n}: 0:1000 1:0 2:0 3:0");
    let total = "__meta_type=baseline_total span.x=nil: 0:404000 1:0 2:0 3:0".to_owned();
    assert_eq!(shown(&found), [value(0), value(1), value(2), total]);
}

#[test]
fn parts_that_the_query_cannot_have_are_ignored() {
    let parts = vec![
        of_leaf(1, group(&[], &[(0, 1.0)])),
        group(&[text("a")], &[(0, 1.0)]),
        bucket(&[], 3, &[(0, 1.0)]),
        compared(ComparedSide::Baseline, "name", None, 1.0),
        group(&[], &[(4, 1.0), (u32::MAX, 1.0)]),
    ];
    assert_eq!(
        shown(&answer("{} | count_over_time()", parts)),
        ["__name__=count_over_time: 0:0 1:0 2:0 3:0"]
    );
    let parts = vec![bucket(&[], 65, &[(0, 1.0)])];
    assert!(answer("{} | histogram_over_time(.x)", parts).is_empty());
}

#[test]
fn answer_that_takes_too_much_to_write_is_refused_after_second_stages() {
    // 40 series of 4 points: the rows need some kilobytes, the answer 15.
    let parts = || (0..40).map(|i| group(&[text(&format!("{i:02}"))], &[(0, f64::from(i))]));
    let finish = |query: &str| {
        let root = parse_and_validate(query).expect(query);
        let options = AnswerOptions { max_bytes: 14_000, ..AnswerOptions::default() };
        let mut combiner = MetricsCombiner::new(&root, grid(), options);
        combiner.add(parts()).expect("the rows fit");
        combiner.finish()
    };
    let refused = finish("{ } | count_over_time() by (name)").unwrap_err();
    assert_eq!(refused, MetricsError::TooLarge { limit_bytes: 14_000 });
    assert_eq!(finish("{ } | count_over_time() by (name) | topk(3)").unwrap().series.len(), 6);
}
