//! Metrics queries: what clients see.

use serde_json::{Value, json};
use tactus_proto::otlp::{AnyValue, KeyValue};
use tactus_proto::tactus::v1::{MetricsExemplar, MetricsSeries};

use super::*;

pub(super) use doubles::{response, series, string};

async fn api() -> Api {
    Api::new(Setup { blocks: &[], ..Setup::default() }).await
}

const BY_SERVICE: &str = "{} | count_over_time() by (resource.service.name)";
const SUMS: &str =
    r#""metrics":{"inspectedBytes":"345","completedJobs":1,"totalJobs":1,"inspectedSpans":"88"}"#;

#[tokio::test]
async fn range_response_has_the_documented_form() {
    let api = api().await;
    let label = |key: &'static str, value| KeyValue { key: key.into(), value: Some(string(value)) };
    let exemplar = MetricsExemplar {
        labels: vec![
            label("resource.service.name", "api"),
            label("trace:id", "2f3e0cee77ae5dc9c17ade3689eb2e54"),
        ],
        value: None,
        start_nanos: 1_700_000_033_123_456_789,
    };
    let mut api_series = series(&["api"], &[(0, 1.5), (2, 2.0)]);
    api_series.exemplars = vec![exemplar];
    let missing = MetricsSeries { labels: vec![AnyValue::default()], ..series(&[], &[(1, 7.0)]) };
    *api.recent.series.lock() = response(vec![missing, api_series]);
    let path = format!("/api/metrics/query_range?q={}&{MINUTES}&step=60", encoded(BY_SERVICE));
    let answer = api.get_as(&path, "accept", "application/protobuf").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let expected = [
        r#"{"series":[{"labels":[{"key":"resource.service.name","value":{"stringValue":"api"}}],"#,
        r#""samples":[{"timestampMs":"1700000040000","value":1.5},{"timestampMs":"1700000100000"},{"timestampMs":"1700000160000","value":2}],"#,
        r#""exemplars":[{"labels":[{"key":"resource.service.name","value":{"stringValue":"api"}},{"key":"trace:id","value":{"stringValue":"2f3e0cee77ae5dc9c17ade3689eb2e54"}}],"#,
        r#""value":1.5,"timestampMs":"1700000033123"}]},"#,
        r#"{"labels":[{"key":"resource.service.name","value":{"stringValue":"nil"}}],"#,
        r#""samples":[{"timestampMs":"1700000040000"},{"timestampMs":"1700000100000","value":7},{"timestampMs":"1700000160000"}]}],"#,
        SUMS,
        "}",
    ];
    assert_eq!(answer.text(), expected.concat());
}

#[tokio::test]
async fn instant_response_has_the_documented_form() {
    let api = api().await;
    *api.recent.series.lock() = response(vec![series(&["api"], &[(0, 2.5)])]);
    let get = async |query: &str| {
        api.get(&format!("/api/metrics/query?q={}&{MINUTES}", encoded(query))).await
    };
    assert_eq!(
        get(BY_SERVICE).await.text(),
        format!(
            r#"{{"series":[{{"labels":[{{"key":"resource.service.name","value":{{"stringValue":"api"}}}}],"value":2.5}}],{SUMS}}}"#
        )
    );
    let request = api.recent.metrics_requests.lock().pop().unwrap();
    assert_eq!((request.start_nanos, request.step_nanos), (1_700_000_040 * SECOND, 120 * SECOND));
    assert_eq!((request.intervals, request.exemplars), (1, 0));
    *api.recent.series.lock() = response(vec![]);
    assert_eq!(get(BY_SERVICE).await.text(), format!("{{{SUMS}}}"));
    assert_eq!(
        get("{} | count_over_time()").await.text(),
        format!(
            r#"{{"series":[{{"labels":[{{"key":"__name__","value":{{"stringValue":"count_over_time"}}}}]}}],{SUMS}}}"#
        )
    );
}

const SECOND: u64 = 1_000_000_000;

fn samples(json: &Value) -> Vec<Vec<f64>> {
    let value = |sample: &Value| sample["value"].as_f64().unwrap_or_default();
    let series = json["series"].as_array().unwrap().iter();
    let samples =
        |series: &Value| series["samples"].as_array().unwrap().iter().map(value).collect();
    series.map(samples).collect()
}

#[tokio::test]
async fn nothing_found_is_a_zero_series_or_none() {
    let api = api().await;
    let zeros = api.range("{} | rate()", "").await.json();
    assert_eq!(
        zeros["series"],
        json!([{
            "labels": [{"key": "__name__", "value": {"stringValue": "rate"}}],
            "samples": [
                {"timestampMs": "1700000040000"},
                {"timestampMs": "1700000100000"},
                {"timestampMs": "1700000160000"}
            ]
        }])
    );
    let none = api.range(BY_SERVICE, "").await;
    assert_eq!(none.text(), r#"{"series":[],"metrics":{"completedJobs":1,"totalJobs":1}}"#);
}

#[tokio::test]
async fn constant_false_asks_nobody() {
    let api = Api::new(Setup::default()).await;
    let answer = api.range("{ false } | rate()", "").await;
    assert_eq!(answer.text(), r#"{"series":[],"metrics":{}}"#);
    let answer = api.get("/api/metrics/query?q={false}|rate()").await;
    assert_eq!(answer.text(), r#"{"metrics":{}}"#);
    assert!(api.recent.metrics_requests.lock().is_empty());
}

#[tokio::test]
async fn filter_that_no_span_satisfies_counts_zero_without_asking() {
    let api = Api::new(Setup::default()).await;
    for filter in ["{ .a = 1 && false }", "{ .a = 1 } && { false }", "{ 1 / 0 = 1 }"] {
        let json = api.range(&format!("{filter} | count_over_time()"), "").await.json();
        assert_eq!(samples(&json), [[0.0, 0.0, 0.0]], "{filter}");
        let json = api.range(&format!("{filter} | rate() by (name)"), "").await.json();
        assert_eq!(json["series"], json!([]), "{filter}");
    }
    assert!(api.recent.metrics_requests.lock().is_empty());
}

#[tokio::test]
async fn unaligned_range_shows_every_interval_it_touches() {
    let api = api().await;
    let range = "start=1700000050&end=1700000170&step=60";
    let json = api.get(&format!("/api/metrics/query_range?q={{}}|rate()&{range}")).await.json();
    let times: Vec<_> = json["series"][0]["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| sample["timestampMs"].as_str().unwrap())
        .collect();
    assert_eq!(times, ["1700000040000", "1700000100000", "1700000160000", "1700000220000"]);
}

#[tokio::test]
async fn too_many_series_are_cut_and_said_so() {
    let mut settings = Settings::default();
    settings.section.metrics.max_response_series = 3;
    let api = Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await;
    let parts = |names: &[&str]| names.iter().map(|name| series(&[name], &[(0, 1.0)])).collect();
    *api.recent.series.lock() = response(parts(&["d", "b", "a", "c"]));
    let message = |limit: u32| {
        format!(
            "Response exceeds maximum series limit of {limit}, a partial response is returned. Warning: the accuracy of each individual value is not guaranteed."
        )
    };
    for (more, limit) in [("", 3), ("&maxSeries=2", 2), ("&maxSeries=9", 3)] {
        let json = api.range(BY_SERVICE, more).await.json();
        assert_eq!(
            (&json["status"], &json["message"]),
            (&json!("PARTIAL"), &json!(message(limit)))
        );
        assert_eq!(json["series"].as_array().unwrap().len(), limit as usize);
        assert_eq!(json["series"][1]["labels"][0]["value"]["stringValue"], "b");
    }
    *api.recent.series.lock() = response(parts(&["a", "b", "c"]));
    let json = api.range(BY_SERVICE, "").await.json();
    assert!(json.get("status").is_none() && json.get("message").is_none());
    let path = format!("/api/metrics/query?q={}&{MINUTES}&maxSeries=1", encoded(BY_SERVICE));
    assert_eq!(api.get(&path).await.json()["status"], "PARTIAL");
}

#[tokio::test]
async fn tenants_are_added_together() {
    let tenancy = Tenancy::by_header(true);
    let api = Api::new(Setup { tenancy, blocks: &[], ..Setup::default() }).await;
    *api.recent.series.lock() = response(vec![series(&["api"], &[(0, 1.0), (1, 2.0)])]);
    let path = format!("/api/metrics/query_range?q={}&{MINUTES}&step=60", encoded(BY_SERVICE));
    let json = api.get_as(&path, "X-Scope-OrgID", "b|a").await.json();
    assert_eq!(samples(&json), [[2.0, 4.0, 0.0]]);
    assert_eq!(json["metrics"]["totalJobs"], 2);
    let asked = api.recent.metrics_requests.lock();
    let tenants: Vec<_> = asked.iter().map(|request| request.tenant.as_str()).collect();
    assert_eq!(tenants, ["a", "b"]);
}

#[tokio::test]
async fn window_ends_before_the_cutoff() {
    let mut settings = Settings::default();
    settings.section.query_end_cutoff = Duration::from_secs(3_600).into();
    let api = Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await;
    let now = tactus_clock::unix_nanos() / SECOND;
    for path in ["query_range", "query"] {
        let path = format!("/api/metrics/{path}?q={{}}|rate()&start={}&end={now}", now - 600);
        let answer = api.get(&path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (400, "query window falls entirely within query_end_cutoff")
        );
    }
    let path = |path: &str| {
        format!("/api/metrics/{path}?q={{}}|rate()&start={}&end={now}&step=60", now - 7_200)
    };
    api.get(&path("query_range")).await.json();
    api.get(&path("query")).await.json();
    let asked = api.recent.metrics_requests.lock();
    let end = |index: usize| {
        let request = &asked[index];
        request.start_nanos + request.step_nanos * u64::from(request.intervals)
    };
    // The whole minute before the cutoff, and the cutoff itself.
    assert_eq!(end(0) % (60 * SECOND), 0);
    let late = (now - 3_600) * SECOND;
    assert!(end(0) > late - 60 * SECOND && end(0) <= late + 60 * SECOND, "{}", end(0));
    assert!(end(1) >= late && end(1) < late + 60 * SECOND, "{}", end(1));
}

#[tokio::test]
async fn exemplars_are_as_many_as_asked_for() {
    let api = api().await;
    for (query, more, expected) in [
        ("{} | rate()", "", 100),
        ("{} | rate()", "&exemplars=5", 5),
        ("{} | rate()", "&exemplars=500", 100),
        ("{} | rate() with (exemplars=7)", "&exemplars=5", 7),
        ("{} | rate() with (exemplars=false)", "", 0),
        ("{} | rate() with (exemplars=true)", "&exemplars=5", 5),
    ] {
        api.range(query, more).await.json();
        let request = api.recent.metrics_requests.lock().pop().unwrap();
        assert_eq!(request.exemplars, expected, "{query} {more}");
    }
}

/// Spans that a query counts in the sample blocks.
async fn counted(api: &Api, query: &str) -> f64 {
    let path = format!("/api/metrics/query_range?q={}&{RANGE}&step=60", encoded(query));
    samples(&api.get(&path).await.json()).iter().flatten().sum()
}

#[tokio::test]
async fn spans_of_blocks_are_counted_once() {
    let mut small = Settings::default();
    small.section.metrics.target_bytes_per_job = 1;
    for (settings, blocks) in
        [(Settings::default(), &[V4][..]), (small, &[V4]), (Settings::default(), &[V4, V5])]
    {
        let api = Api::new(Setup { settings, blocks, ..Setup::default() }).await;
        for (query, spans) in [
            ("{} | count_over_time()", 252.0),
            ("{ span.n > 1 } | count_over_time() by (span.customer)", 120.0),
            ("{ status = error } | count_over_time()", 1.0),
            ("{ kind = client } | count_over_time() by (status)", 2.0),
            ("{ traceDuration > 200ms } | count_over_time()", 11.0),
            ("{ nestedSetParent < 0 } | count_over_time()", 64.0),
            ("{ name = `nothing` } | count_over_time()", 0.0),
        ] {
            assert_eq!(counted(&api, query).await, spans, "{query} {blocks:?}");
        }
        let path = format!("/api/metrics/query?q={}&{RANGE}", encoded("{} | count_over_time()"));
        assert_eq!(api.get(&path).await.json()["series"][0]["value"], 252.0);
    }
}
