use proptest::prelude::*;
use prost::Message as _;
use tactus_proto::otlp::{ArrayValue, any_value::Value};
use tactus_traceql::metrics::{Grid, MetricsAnswer, Series};

use super::*;
use crate::json;

fn label() -> impl Strategy<Value = LabelValue> {
    prop_oneof![
        Just(LabelValue::Nil),
        "\\PC{0,8}".prop_map(|text| LabelValue::String(text.into())),
        any::<i64>().prop_map(LabelValue::Int),
        any::<f64>().prop_map(LabelValue::Float),
        any::<bool>().prop_map(LabelValue::Bool),
    ]
}

fn key() -> impl Strategy<Value = SeriesKey> {
    let side = prop_oneof![Just(ComparedSide::Baseline), Just(ComparedSide::Selection)];
    prop_oneof![
        (proptest::collection::vec(label(), 0..4), proptest::option::of(any::<u8>()))
            .prop_map(|(values, bucket)| SeriesKey::Group { values, bucket }),
        (side, "\\PC{0,8}", proptest::option::of(label())).prop_map(|(side, attribute, value)| {
            SeriesKey::Compared { side, attribute: attribute.into(), value }
        }),
    ]
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    let weight = prop_oneof![Just(1.0), 1.0..9.0];
    let points = proptest::collection::btree_map(any::<u32>(), (-1e9..1e9, weight), 0..6);
    points.prop_map(|points| {
        let point = |(interval, (value, weight))| Point { interval, value, weight };
        points.into_iter().map(point).collect()
    })
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let labels = proptest::collection::vec(("\\PC{0,8}".prop_map(Box::from), label()), 0..3);
    let one = (labels, proptest::option::of(-1e9..1e9), any::<u64>());
    let one = one.prop_map(|(labels, value, start_unix_nanos)| Exemplar {
        labels,
        value,
        of_series: false,
        start_unix_nanos,
    });
    proptest::collection::vec(one, 0..3)
}

proptest! {
    #[test]
    fn series_survives_the_way_between_services(
        leaf in any::<u32>(),
        key in key(),
        points in points(),
        exemplars in exemplars(),
    ) {
        let series = PartialSeries { leaf, key, points, exemplars };
        let bytes = to_message(series.clone()).encode_to_vec();
        let message = MetricsSeries::decode(&bytes[..]).unwrap();
        prop_assert_eq!(from_message(message), Ok(series));
    }

    #[test]
    fn any_bytes_are_a_series_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(message) = MetricsSeries::decode(&bytes[..]) {
            let _ = from_message(message);
        }
    }
}

#[test]
fn malformed_series_are_refused() {
    let of_labels = |labels| MetricsSeries { labels, ..MetricsSeries::default() };
    let of_points = |intervals: &[u32], values: &[f64], weights: &[f64]| MetricsSeries {
        intervals: intervals.to_vec(),
        values: values.to_vec(),
        weights: weights.to_vec(),
        ..MetricsSeries::default()
    };
    let array = AnyValue { value: Some(Value::ArrayValue(ArrayValue::default())) };
    let two = vec![AnyValue::default(); 2];
    for message in [
        of_points(&[1], &[], &[]),
        of_points(&[1, 2], &[1.0, 2.0], &[1.0]),
        of_points(&[2, 1], &[1.0, 2.0], &[]),
        of_points(&[1, 1], &[1.0, 2.0], &[]),
        of_labels(vec![array]),
        MetricsSeries { bucket: Some(256), ..MetricsSeries::default() },
        MetricsSeries { side: Some(9), ..MetricsSeries::default() },
        MetricsSeries { side: Some(1), ..of_labels(two) },
    ] {
        let error = from_message(message.clone()).unwrap_err();
        assert!(error.to_string().starts_with("malformed series: "), "{message:?}");
    }
}

fn series(name: &str, points: &[(u32, f64)]) -> Series {
    let labels = vec![("a".into(), LabelValue::String(name.into()))];
    Series { labels, points: points.to_vec(), exemplars: Vec::new() }
}

#[test]
fn values_without_a_number_are_strings_and_zero_is_left_out() {
    let grid = Grid::from_parts(0, 1_000_000_000, 4);
    let points = [(0, f64::INFINITY), (1, 0.0), (2, f64::NEG_INFINITY), (3, 1e21)];
    let answer = MetricsAnswer { series: vec![series("<b>", &points)], truncated: false };
    let response = range_response(answer, &grid, MetricsFacts::default());
    assert_eq!(
        String::from_utf8(json::range_response(&response, None)).unwrap(),
        concat!(
            r#"{"series":[{"labels":[{"key":"a","value":{"stringValue":"\u003cb\u003e"}}],"samples":["#,
            r#"{"timestampMs":"1000","value":"Infinity"},{"timestampMs":"2000"},"#,
            r#"{"timestampMs":"3000","value":"-Infinity"},{"timestampMs":"4000","value":1e+21}]}],"metrics":{}}"#
        )
    );
}

#[test]
fn answers_take_no_more_than_was_said() {
    let text = |text: &str| LabelValue::String(text.into());
    let labels = || vec![("<k>".into(), text("<<<<&&&&")), ("n".into(), LabelValue::Int(i64::MIN))];
    let exemplar = Exemplar {
        labels: labels(),
        value: Some(-1.5e-300),
        of_series: false,
        start_unix_nanos: u64::MAX / 2,
    };
    let one = Series {
        labels: labels(),
        points: vec![(0, -1.234_567_890_123_456_7e-300), (999, f64::INFINITY)],
        exemplars: vec![exemplar; 3],
    };
    let answer = MetricsAnswer { series: vec![one; 100], truncated: false };
    let said = written_bytes(&answer);
    let grid = Grid::from_parts(1_700_000_000_000_000_000, 1_000_000_000, 1_000);
    let response = range_response(answer.clone(), &grid, MetricsFacts::default());
    for written in [
        json::range_response(&response, None),
        json::compact_series(&response, grid.step(), None),
        json::instant_response(&instant_response(answer, MetricsFacts::default()), None),
    ] {
        assert!(written.len() < said, "{} of {said}", written.len());
    }
}

#[test]
fn cut_answer_is_partial_in_both_forms() {
    let grid = Grid::from_parts(0, 1_000_000_000, 1);
    let answer = MetricsAnswer { series: vec![series("b", &[(0, 1.0)])], truncated: true };
    let facts = MetricsFacts { max_series: 1, ..MetricsFacts::default() };
    let end = r#""metrics":{},"status":"PARTIAL","message":"Response exceeds maximum series limit of 1, a partial response is returned. Warning: the accuracy of each individual value is not guaranteed."}"#;
    let range = range_response(answer.clone(), &grid, facts.clone());
    assert!(String::from_utf8(json::range_response(&range, None)).unwrap().ends_with(end));
    let instant = instant_response(answer, facts);
    assert_eq!(
        String::from_utf8(json::instant_response(&instant, None)).unwrap(),
        format!(
            r#"{{"series":[{{"labels":[{{"key":"a","value":{{"stringValue":"b"}}}}],"value":1}}],{end}"#
        )
    );
}
