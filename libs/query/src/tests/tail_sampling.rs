//! What policies would keep of the sample blocks.

use serde_json::{Value, json};
use tactus_config::sections::tail_sampling::TailSampling;

use super::*;
use crate::tail_sampling;

const PRESENT: &str = "policies: [{name: all, type: always_sample}]";

async fn dry_run(params: &str, body: &str) -> Answer {
    let mut api = Api::new(Setup::default()).await;
    let present = TailSampling::parse(PRESENT).unwrap().policies;
    let present = Arc::new(move |_: &_| present.clone());
    api.router = tail_sampling::router(Arc::clone(&api.frontend), present);
    let path = format!("/api/tail-sampling/dry-run?{params}");
    api.request(Request::post(path).body(Body::from(body.to_owned())).unwrap()).await
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[tokio::test]
async fn report_tells_what_each_policy_and_all_would_keep() {
    let policies = "
policies:
  - {name: errors, type: traceql, traceql: {query: '{ status = error }'}}
  - {name: none, type: latency, latency: {threshold_ms: 1000000000}}
  - {name: some, type: rate_limiting, rate_limiting: {spans_per_second: 1, burst_capacity: 1}}
";
    let report = dry_run(RANGE, policies).await.json();
    let api = Api::new(Setup::default()).await;
    let errors = api.search("{ status = error }", "&limit=1000").await.json();
    let all = api.search("{ }", "&limit=1000").await.json();
    let count = |found: &Value| found["traces"].as_array().unwrap().len() as u64;
    let (errors, all) = (count(&errors), count(&all));
    assert!(0 < errors && errors < all, "{errors} {all}");
    assert_eq!(number(&report["seen"]["traces"]), all);
    assert!(number(&report["seen"]["spans"]) > all && number(&report["seen"]["bytes"]) > 100 * all);
    let policy = |place: usize| &report["policies"][place];
    assert_eq!(policy(0)["name"], "errors");
    assert_eq!(policy(0)["type"], "traceql");
    assert_eq!(number(&policy(0)["traces"]), errors);
    assert_eq!(policy(0)["share"]["traces"], json!(errors as f64 / all as f64));
    assert_eq!(number(&policy(1)["traces"]), 0);
    assert_eq!((&policy(0)["estimated"], &policy(2)["estimated"]), (&json!(false), &json!(true)));
    assert!(number(&report["kept"]["traces"]) >= errors);
    assert_eq!(report["kept"]["estimated"], true);
    assert_eq!((&report["partial"], &report["limitReached"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn without_a_body_it_is_what_the_tenant_has_now() {
    let report = dry_run(&format!("{RANGE}&limit=2"), "").await.json();
    assert_eq!(report["policies"][0]["name"], "all");
    assert_eq!((number(&report["seen"]["traces"]), number(&report["kept"]["traces"])), (2, 2));
    assert_eq!(report["limitReached"], true);
    assert_eq!(report["kept"]["share"]["bytes"], 1.0);
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    for (params, body, reason) in [
        ("limit=0", "", "limit must be from 1 to 10000"),
        ("limit=10001", "", "limit must be"),
        ("start=2&end=1", "", "end must not be before start"),
        (
            RANGE,
            "policies: [{name: x, type: latency}]",
            "policies: policy \"x\": latency: is not set",
        ),
        (RANGE, "{\"policies\":[{\"nam\":\"x\"}]}", "body: yaml: unmarshal errors"),
        (RANGE, "policy: 1", "field policy not found in type tail_sampling"),
        (RANGE, &" ".repeat(300_000), "body: larger than 262144 bytes"),
    ] {
        let answer = dry_run(params, body).await;
        assert_eq!(answer.status, 400, "{params} {body}");
        assert!(answer.text().contains(reason), "{}", answer.text());
    }
}
