//! The third version.

use tactus_proto::tempopb::TraceSearchMetadata;

use super::*;

const WINDOW: &str =
    "query.startTimeMin=2023-11-14T22:00:00Z&query.startTimeMax=2023-11-14T22:30:00.5Z";

/// The message of an answer that says what is wrong.
fn refused(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["error"]["httpCode"], status);
    json["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn trace_is_otlp() {
    let api = api().await;
    recent_spans(&api, vec![check_span()]);
    let answer = api.get(&format!("/api/v3/traces/{SPAN_TRACE}")).await;
    let expected = [
        r#"{"result":{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"svc"}}]},"#,
        r#""scopeSpans":[{"scope":{},"spans":[{"traceId":"00000000000000010000000000000002","spanId":"0000000000000003","name":"op","#,
        r#""kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000001500000","status":{"code":2}}]}]}]}}"#,
    ];
    assert_eq!(answer.text(), expected.concat());
    assert_eq!(answer.headers["content-type"], "application/json");
    message_free(
        &api.get(&format!(
            "/api/v3/traces/{SPAN_TRACE}?rawTraces=true&startTime=2023-11-14T22:00:00Z"
        ))
        .await,
    );
    assert!(
        refused(&api.get("/api/v3/traces/xyz!").await, 400)
            .starts_with("malformed parameter trace_id: ")
    );
    assert!(
        refused(&api.get("/api/v3/traces/ff?endTime=x").await, 400)
            .starts_with("malformed parameter endTime: ")
    );
}

fn message_free(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn nothing_found_is_an_error() {
    let api = api().await;
    for path in [
        "/api/v3/traces/ff".to_owned(),
        format!("/api/v3/traces/{}", "0".repeat(32)),
        format!("/api/v3/traces?query.serviceName=svc&{WINDOW}"),
    ] {
        let answer = api.get(&path).await;
        assert_eq!(
            answer.text(),
            "{\"error\":{\"httpCode\":404,\"message\":\"No traces found\"}}\n"
        );
        assert_eq!(answer.status, 404);
    }
    let summaries = api.get(&format!("/api/v3/trace-summaries?{WINDOW}")).await;
    assert_eq!(summaries.text(), r#"{"summaries":[]}"#);
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let api = api().await;
    let required = "query.startTimeMin and query.startTimeMax are required";
    for (query, expected) in [
        ("query.serviceName=svc".to_owned(), required),
        ("query.serviceName=svc&query.startTimeMin=2023-11-14T22:00:00Z".to_owned(), required),
        (
            "query.startTimeMin=2023-11-14T22:00:00Z&query.startTimeMax=2023-11-14T22:00:00Z"
                .to_owned(),
            "query.startTimeMin must be before query.startTimeMax",
        ),
        (
            format!("{WINDOW}&query.searchDepth=x"),
            "malformed parameter query.searchDepth: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            format!("{WINDOW}&query.num_traces=-1"),
            "malformed parameter query.num_traces: must not be negative",
        ),
        (
            format!("{WINDOW}&query.rawTraces=x"),
            "malformed parameter query.rawTraces: not a boolean",
        ),
        (
            format!("{WINDOW}&query.durationMin=x"),
            "malformed parameter query.durationMin: time: invalid duration \"x\"",
        ),
        (
            format!("{WINDOW}&query.duration_min=2s&query.duration_max=1s"),
            "query.durationMax should be greater than query.durationMin",
        ),
        (format!("{WINDOW}&query.filter={{}}"), "query.filter is not supported"),
    ] {
        for route in ["traces", "trace-summaries"] {
            let answer = api.get(&format!("/api/v3/{route}?{}", query.replace('{', "%7b"))).await;
            assert_eq!(refused(&answer, 400), expected, "{query}");
        }
    }
}

#[tokio::test]
async fn conditions_become_one_query() {
    let api = api().await;
    let attributes = encoded(r#"{"http.status_code":"500"}"#);
    let more = format!(
        "query.service_name=svc&query.operationName=op&query.durationMin=1ms&query.search_depth=3&query.attributes={attributes}"
    );
    assert_eq!(api.get(&format!("/api/v3/trace-summaries?{WINDOW}&{more}")).await.status, 200);
    let search = api.recent.searches.lock().pop().unwrap();
    assert_eq!((search.start, search.end, search.limit), (1_699_999_200, 1_700_001_001, 3));
    assert!(search.query.starts_with("{ resource.service.name = `svc` && name = `op` && duration >= 1000000ns && (span.http.status_code = `500` || span.http.status_code = 500 || "), "{}", search.query);
    // Without a service every span may match.
    assert_eq!(api.get(&format!("/api/v3/trace-summaries?{WINDOW}")).await.status, 200);
    assert_eq!(api.recent.searches.lock().pop().unwrap().query, "{  } with (most_recent=true)");
}

#[tokio::test]
async fn summary_tells_of_a_trace() {
    let api = api().await;
    let child = |id: u8, parent: u8| Span {
        span_id: vec![id; 8].into(),
        parent_span_id: vec![parent; 8].into(),
        start_time_unix_nano: 1_700_000_001 * SECOND,
        end_time_unix_nano: 1_700_000_002 * SECOND,
        status: None,
        ..check_span()
    };
    recent_spans(
        &api,
        vec![child(5, 4), child(4, 9), Span { span_id: vec![4; 8].into(), ..check_span() }],
    );
    let found = TraceSearchMetadata {
        trace_id: "10000000000000002".into(),
        start_time_unix_nano: 1_700_000_000 * SECOND,
        ..TraceSearchMetadata::default()
    };
    *api.recent.traces.lock() = vec![found];
    let answer = api.get(&format!("/api/v3/trace-summaries?query.serviceName=svc&{WINDOW}")).await;
    assert_eq!(
        answer.json(),
        json!({"summaries": [{
            "traceId": SPAN_TRACE, "rootServiceName": "svc", "rootOperationName": "op",
            "minStartTimeUnixNano": "1700000000000000000", "maxEndTimeUnixNano": "1700000002000000000",
            "spanCount": 3, "errorSpanCount": 1, "orphanSpanCount": 1,
            "services": [{"name": "svc", "spanCount": 3, "errorSpanCount": 1}],
        }]})
    );
    let traces = api.get(&format!("/api/v3/traces?query.serviceName=svc&{WINDOW}")).await.json();
    assert_eq!(
        traces["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len(),
        3
    );
}

#[tokio::test]
async fn names_stand_without_an_envelope() {
    let api = api().await;
    assert_eq!(api.get("/api/v3/services").await.text(), r#"{"services":[]}"#);
    recent_values(&api, &["svc"]);
    assert_eq!(
        api.get("/api/v3/services").await.text(),
        r#"{"services":["missing-service-name","svc"]}"#
    );
    let operations = api.get("/api/v3/operations?service=svc&span_kind=unspecified").await;
    assert_eq!(operations.text(), r#"{"operations":[{"name":"svc","spanKind":"internal"}]}"#);
    assert_eq!(
        refused(&api.get("/api/v3/operations").await, 400),
        "parameter 'service' is required"
    );
}

#[tokio::test]
async fn dependencies_have_counts_as_texts() {
    let api = api_with(Setup::default(), JaegerApis::default()).await;
    let path = "/api/v3/dependencies?startTime=2023-11-14T22:00:00Z&endTime=2023-11-14T22:30:00Z";
    let answer = api.get(path).await.json();
    for link in answer["dependencies"].as_array().unwrap() {
        assert!(link["callCount"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    }
    for (query, expected) in [
        ("", "startTime is required"),
        ("startTime=2023-11-14T22:00:00Z", "endTime is required"),
        (
            "startTime=2023-11-14T22:00:00Z&endTime=2023-11-14T22:00:00Z",
            "endTime must be after startTime",
        ),
    ] {
        assert_eq!(
            refused(&api.get(&format!("/api/v3/dependencies?{query}")).await, 400),
            expected
        );
    }
}
