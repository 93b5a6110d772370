//! The metrics of the Monitor tab.

use tactus_proto::tactus::v1::MetricsSeries;

use super::*;
use crate::tests::doubles::{response, series, string};

/// Four steps of a minute, of which the first two come before the range that is shown.
const STEPS: &str = "service=svc&endTs=1700000160000&lookback=60000&step=60000&ratePer=120000";

fn values(answer: &Answer) -> Vec<Value> {
    let family = answer.json();
    let points = family["metrics"][0]["metricPoints"].as_array().unwrap();
    points.iter().map(|point| point["gaugeValue"]["doubleValue"].clone()).collect()
}

#[tokio::test]
async fn calls_are_a_rate_over_the_window_before_each_point() {
    let api = api().await;
    let counts = [(1, 60.0), (2, 30.0), (3, 30.0)];
    *api.recent.series.lock() = response(vec![series(&["svc"], &counts)]);
    let answer = api.get(&format!("/api/metrics/calls?{STEPS}")).await;
    let expected = [
        r#"{"name":"service_call_rate","type":"GAUGE","help":"calls/sec, grouped by service","metrics":[{"#,
        r#""labels":[{"name":"service_name","value":"svc"}],"metricPoints":["#,
        r#"{"gaugeValue":{"doubleValue":0.75},"timestamp":"2023-11-14T22:15:00Z"},"#,
        r#"{"gaugeValue":{"doubleValue":0.5},"timestamp":"2023-11-14T22:16:00Z"}]}]}"#,
    ];
    let request = api.recent.metrics_requests.lock().pop().unwrap();
    assert_eq!(
        request.query,
        "{ resource.service.name = `svc` && kind = server } | count_over_time() by (resource.service.name)"
    );
    assert_eq!((request.start_nanos, request.step_nanos), (1_699_999_920 * SECOND, 60 * SECOND));
    assert_eq!(request.intervals, 4);
    assert_eq!(answer.text(), expected.concat());
}

#[tokio::test]
async fn last_point_is_of_the_time_up_to_the_end() {
    let api = api().await;
    *api.recent.series.lock() = response(vec![series(&["svc"], &[(3, 60.0), (4, 30.0)])]);
    let asked = STEPS.replace("endTs=1700000160000", "endTs=1700000190000");
    let answer = api.get(&format!("/api/metrics/calls?{asked}")).await;
    // Half of the last minute is still to come.
    assert_eq!(values(&answer), [json!(0.5), json!(1.0)]);
    assert!(
        answer.text().contains(r#"{"doubleValue":1.0},"timestamp":"2023-11-14T22:16:30Z"}"#),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn labels_are_the_names_that_traces_show() {
    let api = api().await;
    let of = |label: AnyValue, count| MetricsSeries {
        labels: vec![label],
        ..series(&[], &[(3, count)])
    };
    let value = |value| AnyValue { value: Some(value) };
    *api.recent.series.lock() = response(vec![
        of(AnyValue::default(), 120.0),
        of(value(any_value::Value::IntValue(5)), 240.0),
        of(value(any_value::Value::BoolValue(true)), 360.0),
        of(string(""), 480.0),
    ]);
    let answer = api.get(&format!("/api/metrics/calls?{STEPS}")).await.json();
    let shown = |series: &Value| {
        let last = series["metricPoints"].as_array().unwrap().last().unwrap();
        json!([series["labels"][0]["value"], last["gaugeValue"]["doubleValue"]])
    };
    let shown: Vec<_> = answer["metrics"].as_array().unwrap().iter().map(shown).collect();
    let expected = json!([
        ["empty-service-name", 4.0],
        ["missing-service-name", 1.0],
        ["service-name-wrong-type", 5.0],
    ]);
    assert_eq!(json!(shown), expected);
}

#[tokio::test]
async fn errors_are_a_part_of_the_calls() {
    let api = api().await;
    let ok = series(&["svc", "op", "ok"], &[(0, 3.0), (2, 3.0)]);
    let failed = series(&["svc", "op", "error"], &[(2, 1.0)]);
    *api.recent.series.lock() = response(vec![failed, ok.clone()]);
    let path = format!("/api/metrics/errors?groupByOperation=true&{STEPS}");
    let answer = api.get(&path).await;
    assert_eq!(values(&answer), [json!(0.25), json!(0.25)]);
    let family = answer.json();
    assert_eq!(family["name"], "service_operation_error_rate");
    assert_eq!(
        family["help"],
        "error rate, computed as a fraction of errors/sec over calls/sec, grouped by service & operation"
    );
    assert_eq!(
        family["metrics"][0]["labels"],
        json!([{"name": "service_name", "value": "svc"}, {"name": "operation", "value": "op"}])
    );
    let query = api.recent.metrics_requests.lock().pop().unwrap().query;
    assert!(query.ends_with("| count_over_time() by (resource.service.name, name, status)"));
    // Calls without errors, and a window without calls.
    *api.recent.series.lock() = response(vec![series(&["svc", "op", "ok"], &[(0, 3.0)])]);
    assert_eq!(values(&api.get(&path).await), [json!(0.0), json!(0.0)]);
}

#[tokio::test]
async fn latencies_are_milliseconds() {
    let api = api().await;
    let bucket = |bucket, points: &[(u32, f64)]| MetricsSeries {
        bucket: Some(bucket),
        ..series(&["svc"], points)
    };
    *api.recent.series.lock() =
        response(vec![bucket(4 * 27, &[(3, 9.0)]), bucket(4 * 23, &[(3, 1.0)])]);
    // In the gap between the two buckets there is none.
    let within = 134.217728 * (-8.0 / 9.0 / 4.0f64).exp2();
    for (quantile, expected) in [("0.1", 8.388608), ("0.2", within), ("1", 134.217728)] {
        let path = format!("/api/metrics/latencies?quantile={quantile}&{STEPS}");
        let answer = api.get(&path).await;
        let found = values(&answer);
        assert_eq!((found.len(), &found[0]), (2, &json!("NaN")));
        assert!((found[1].as_f64().unwrap() - expected).abs() < 1e-9, "{found:?}");
        let family = answer.json();
        assert_eq!(family["name"], "service_latencies");
        let help = family["help"].as_str().unwrap();
        assert!(help.ends_with("0th quantile latency, grouped by service"), "{help}");
    }
    let query = api.recent.metrics_requests.lock().pop().unwrap().query;
    let stage = "| histogram_over_time(duration) by (resource.service.name) with(buckets=4)";
    assert!(query.ends_with(stage), "{query}");
}

#[tokio::test]
async fn spans_are_chosen_by_services_kinds_and_tags() {
    let api = api().await;
    let more = "service=b&spanKind=client&spanKind=unspecified&tag=resource.zone:a&tag=error:true";
    let answer = api.get(&format!("/api/metrics/calls?{STEPS}&{more}")).await;
    assert_eq!(answer.json()["metrics"], json!([]));
    let query = api.recent.metrics_requests.lock().pop().unwrap().query;
    assert_eq!(
        query,
        "{ (resource.service.name = `svc` || resource.service.name = `b`) && (kind = client || kind = unspecified) \
         && (resource.zone = `a`) && status = error } | count_over_time() by (resource.service.name)"
    );
    let never = api.get(&format!("/api/metrics/calls?{STEPS}&tag=span.kind:x")).await;
    assert_eq!(never.json()["metrics"], json!([]));
    assert!(api.recent.metrics_requests.lock().is_empty());
}

#[tokio::test]
async fn stored_spans_are_measured() {
    let api = api_with(Setup::default(), JaegerApis::default()).await;
    let (service, _) = api.sample_trace().await;
    let range = "endTs=1700001000000&lookback=1200000&step=60000&ratePer=60000";
    let kinds = "spanKind=server&spanKind=client&spanKind=internal&spanKind=unspecified";
    let path = format!("/api/metrics/calls?service={}&{kinds}&{range}", encoded(&service));
    let rates = values(&api.get(&path).await);
    assert_eq!(rates.len(), 21);
    assert!(rates.iter().any(|rate| rate.as_f64().unwrap() > 0.0), "{rates:?}");
}

#[tokio::test]
async fn large_answer_is_whole_and_one_that_would_be_too_large_is_refused() {
    let api = api().await;
    let of_operations = |count: usize| {
        let operation = |number| series(&["svc", &format!("op-{number:03}")], &[(3, 60.0)]);
        response((0..count).map(operation).collect())
    };
    let ask = async |lookback: u64, more: &str| {
        let path =
            "/api/metrics/calls?groupByOperation=true&service=svc&endTs=1700000000000&step=1000";
        api.get(&format!("{path}&ratePer=60000&lookback={lookback}{more}")).await
    };
    *api.recent.series.lock() = of_operations(3);
    let family = ask(2_000_000, "").await.json();
    let shown = |series: &Value| {
        let points = series["metricPoints"].as_array().unwrap();
        (series["labels"][1]["value"].clone(), points.len())
    };
    let shown: Vec<_> = family["metrics"].as_array().unwrap().iter().map(shown).collect();
    let expected = ["op-000", "op-001", "op-002"].map(|name| (json!(name), 2_001));
    assert_eq!(shown, expected);
    let pretty = ask(2_000_000, "&prettyPrint=true").await;
    assert!(pretty.text().starts_with("{\n    \"name\": "), "{}", &pretty.text()[..100]);
    assert_eq!(pretty.json(), family);
    *api.recent.series.lock() = of_operations(120);
    let refused = message(&ask(9_000_000, "").await, 400);
    assert!(refused.contains("points, more than 1000000: use a longer 'step'"), "{refused}");
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let api = api().await;
    for (query, expected) in [
        (
            "calls?",
            "unable to parse param 'service': please provide at least one service name".to_owned(),
        ),
        (
            "latencies?service=svc",
            "unable to parse param 'quantile': strconv.ParseFloat: parsing \"\": invalid syntax"
                .to_owned(),
        ),
        (
            "latencies?service=svc&quantile=2",
            "unable to parse param 'quantile': must be between 0 and 1".to_owned(),
        ),
        (
            "calls?service=svc&spanKind=x",
            "unable to parse param 'spanKind': unsupported span kind: 'x'".to_owned(),
        ),
        (
            "calls?service=svc&step=0",
            "'step' and 'ratePer' must be greater than 0".to_owned(),
        ),
        (
            "calls?service=svc&step=1&lookback=3600000",
            "'step' of 1 ms is too small: 'lookback' and 'ratePer' would have more than 10000 steps"
                .to_owned(),
        ),
        (
            "calls?service=svc&lookback=999999999999999",
            "'lookback' is longer than the 604800 s that a query may cover".to_owned(),
        ),
        (
            "calls?service=svc&tag=x",
            "malformed 'tag' parameter, expecting key:value, received: x".to_owned(),
        ),
    ] {
        let answer = api.get(&format!("/api/metrics/{query}")).await;
        assert_eq!(message(&answer, 400), expected, "{query}");
    }
}

#[tokio::test]
async fn shortest_step_stands_in_an_envelope() {
    let answer = api().await.get("/api/metrics/minstep").await;
    assert_eq!(answer.text(), r#"{"data":1,"total":0,"limit":0,"offset":0,"errors":null}"#);
}
