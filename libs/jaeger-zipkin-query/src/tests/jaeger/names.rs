//! Services and operations to choose from.

use tactus_config::GoDuration;
use tactus_proto::tactus::v1::TagValuesRequest;

use super::*;

#[tokio::test]
async fn services_are_those_of_recent_data_of_any_age_and_of_blocks() {
    let api = api().await;
    let empty = api.get("/api/services").await;
    assert_eq!(empty.text(), r#"{"data":[],"total":0,"limit":0,"offset":0,"errors":null}"#);
    recent_values(&api, &["svc", "", "a"]);
    let answer = api.get("/api/services").await;
    // Whatever they are asked for, recent data have these values: also if it is for kinds of spans without a service.
    assert_eq!(
        answer.text(),
        r#"{"data":["a","empty-service-name","missing-service-name","svc"],"total":4,"limit":0,"offset":0,"errors":null}"#
    );
    let requests = api.recent.values_requests.lock().clone();
    let (named, unnamed): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|request| request.tag == "resource.service.name");
    assert!(named.iter().all(|request| request.query.is_empty()));
    let unnamed_query = "{ !(resource.service.name != nil) }";
    assert!(
        unnamed.iter().all(|request| request.tag == "kind" && request.query == unnamed_query),
        "{unnamed:?}"
    );
    // Only recent data are asked for spans without a service.
    let unbounded = |request: &&TagValuesRequest| (request.start, request.end) == (0, 0);
    assert!(unnamed.iter().all(|request| unbounded(&request)));
    assert!(named.iter().any(|request| unbounded(&request)));
    let seconds: Vec<_> = named
        .iter()
        .filter(|request| !unbounded(request))
        .map(|request| request.end - request.start)
        .collect();
    assert_eq!(seconds.len(), 2);
    let window = 48 * 3600..=48 * 3600 + 1;
    assert!(seconds.iter().all(|length| window.contains(length)), "{seconds:?}");
}

#[tokio::test]
async fn services_that_are_no_text_are_listed_by_the_name_that_traces_show() {
    let api = api().await;
    let value = |(kind, text): (&str, &str)| TagValue { r#type: kind.into(), value: text.into() };
    let values = [("int", "5"), ("bool", "true"), ("string", "7"), ("string", "svc")];
    let values = values.map(value).into();
    *api.recent.values.lock() = TagValuesResponse { values, ..TagValuesResponse::default() };
    let services = api.get("/api/services").await.json();
    let expected = ["7", "missing-service-name", "service-name-wrong-type", "svc"];
    assert_eq!(services["data"], json!(expected));
}

#[tokio::test]
async fn names_of_blocks_reach_back_as_far_as_is_set_and_allowed() {
    let settings =
        JaegerApis { names_window: GoDuration::hours(20 * 365 * 24), ..JaegerApis::default() };
    let mut of_queries = Settings::default();
    of_queries.section.search.max_duration = GoDuration::ZERO;
    let api = api_with(Setup { settings: of_queries, ..Setup::default() }, settings.clone()).await;
    let services = api.get("/api/services").await.json();
    let services: Vec<&str> =
        services["data"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(services.len() > 1 && services.is_sorted(), "{services:?}");
    let mut operations = 0;
    for service in &services {
        let names = api.get(&format!("/api/services/{}/operations", encoded(service))).await.json();
        let of_kinds =
            api.get(&format!("/api/operations?service={}", encoded(service))).await.json();
        let of_kinds = of_kinds["data"].as_array().unwrap();
        let mut unique: Vec<&Value> = of_kinds.iter().map(|operation| &operation["name"]).collect();
        unique.dedup();
        assert_eq!(json!(unique), names["data"]);
        assert_eq!(names["total"], unique.len());
        operations += unique.len();
    }
    assert!(operations > services.len());
    let api = api_with(Setup::default(), settings).await;
    assert_eq!(api.get("/api/services").await.json()["data"], json!([]));
}

#[tokio::test]
async fn operations_are_asked_for_by_service_and_kind() {
    let api = api().await;
    assert_eq!(message(&api.get("/api/operations").await, 400), "parameter 'service' is required");
    recent_values(&api, &["op"]);
    let answer = api.get("/api/operations?service=a%22b&spanKind=server").await;
    assert_eq!(
        answer.text(),
        r#"{"data":[{"name":"op","spanKind":"server"}],"total":1,"limit":0,"offset":0,"errors":null}"#
    );
    let requests = std::mem::take(&mut *api.recent.values_requests.lock());
    assert!(requests.iter().all(|request| request.tag == "name"));
    assert_eq!(requests[0].query, "{ resource.service.name = `a\"b` && kind = server }");
    // The kinds that there are, and the names.
    recent_values(&api, &["client", "unspecified"]);
    let all = api.get("/api/operations?service=svc").await.json();
    let shown = |operation: &Value| json!([operation["name"], operation["spanKind"]]);
    let shown: Vec<_> = all["data"].as_array().unwrap().iter().map(shown).collect();
    let expected = json!([
        ["client", ""],
        ["client", "client"],
        ["unspecified", ""],
        ["unspecified", "client"]
    ]);
    assert_eq!(json!(shown), expected);
    let requests = std::mem::take(&mut *api.recent.values_requests.lock());
    let mut asked: Vec<_> = requests.into_iter().map(|it| (it.tag, it.query)).collect();
    asked.dedup();
    let asked_for = |tag: &str, more: &str| {
        (tag.to_owned(), format!("{{ resource.service.name = `svc`{more} }}"))
    };
    let expected = [
        asked_for("kind", ""),
        asked_for("name", " && kind = client"),
        asked_for("name", " && kind = unspecified"),
    ];
    assert_eq!(asked, expected);
    recent_values(&api, &["op"]);
    let none = api.get("/api/operations?service=svc&spanKind=other").await.json();
    assert_eq!(none["data"], json!([]));
    let names = api.get("/api/services/a%2Fb%20c/operations").await;
    assert_eq!(names.text(), r#"{"data":["op"],"total":1,"limit":0,"offset":0,"errors":null}"#);
    let query = api.recent.values_requests.lock().last().unwrap().query.clone();
    assert_eq!(query, "{ resource.service.name = `a/b c` }");
}

#[tokio::test]
async fn unknown_kinds_are_internal_in_the_third_version() {
    let api = api().await;
    recent_values(&api, &["server", "unspecified"]);
    let operations = async |kind: &str| {
        let answer = api.get(&format!("/api/v3/operations?service=svc{kind}")).await.json();
        let list = answer["operations"].as_array().unwrap().clone();
        list.iter().map(|it| it["spanKind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(operations("").await, ["internal", "server", "internal", "server"]);
    api.recent.values_requests.lock().clear();
    assert_eq!(operations("&spanKind=internal").await, ["internal", "internal"]);
    let asked = std::mem::take(&mut *api.recent.values_requests.lock());
    assert!(asked.iter().any(|request| request.query.contains("kind = unspecified")));
    assert_eq!(operations("&spanKind=server").await, ["server", "server"]);
}

#[tokio::test]
async fn comma_joins_services_unless_one_has_it_in_its_name() {
    let api = api().await;
    recent_values(&api, &["a", "a,b"]);
    let (one, joined) = (
        "{ resource.service.name = `a,b`",
        "{ (resource.service.name = `b,a` || resource.service.name = `b` || resource.service.name = `a`)",
    );
    for (services, expected) in [("a%2Cb", one), ("b%2Ca", joined)] {
        assert_eq!(api.get(&format!("/api/traces?service={services}")).await.status, 200);
        let search = api.recent.searches.lock().pop().unwrap().query;
        assert_eq!(search, format!("{expected} }} with (most_recent=true)"));
        assert_eq!(api.get(&format!("/api/services/{services}/operations")).await.status, 200);
        let names = api.recent.values_requests.lock().pop().unwrap().query;
        assert_eq!(names, format!("{expected} }}"));
        assert_eq!(api.get(&format!("/api/metrics/calls?service={services}")).await.status, 200);
        let calls = api.recent.metrics_requests.lock().pop().unwrap().query;
        assert!(calls.starts_with(&format!("{expected} && kind = server }}")), "{calls}");
    }
}
