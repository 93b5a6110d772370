//! Searches of v1.

use tactus_proto::tempopb::{self, TraceSearchMetadata};

use super::*;
use tactus_config::sections::query_apis::TraceLookups;

fn ids(answer: &Answer) -> Vec<String> {
    let traces = answer.json()["data"].as_array().unwrap().clone();
    traces.iter().map(|trace| trace["traceID"].as_str().unwrap().to_owned()).collect()
}

fn found(id: &str, start: u64) -> TraceSearchMetadata {
    TraceSearchMetadata {
        trace_id: id.to_owned(),
        start_time_unix_nano: start,
        duration_ms: 1,
        ..TraceSearchMetadata::default()
    }
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let api = api().await;
    for (query, expected) in [
        ("limit=5", "parameter 'service' is required"),
        ("service=", "parameter 'service' is required"),
        ("service=svc&tag=x", "malformed 'tag' parameter, expecting key:value, received: x"),
        ("service=svc&tag=", "malformed 'tag' parameter, expecting key:value, received: "),
        (
            "service=svc&minDuration=2s&maxDuration=1s",
            "'maxDuration' should be greater than 'minDuration'",
        ),
        (
            "service=svc&start=x",
            "unable to parse param 'start': strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        ("service=svc&end=-1", "unable to parse param 'end': must not be negative"),
        ("service=svc&limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("service=svc&limit=-1", "unable to parse param 'limit': must not be negative"),
        ("service=svc&limit=10001", "limit 10001 exceeds max limit 10000"),
        (
            "service=svc&limit=99999999999",
            "strconv.ParseInt: parsing \"99999999999\": value out of range",
        ),
        (
            "service=svc&minDuration=x",
            "unable to parse param 'minDuration': time: invalid duration \"x\"",
        ),
        (
            "service=svc&raw=x",
            "unable to parse param 'raw': strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        ("traceID=xyz!", "cannot parse traceID param: cannot parse trace ID \"xyz!\""),
    ] {
        assert_eq!(
            message(&api.get(&format!("/api/traces?{query}")).await, 400),
            expected,
            "{query}"
        );
    }
    for tags in ["{", "[]", r#"{"a":["b"]}"#, r#"{"a":null}"#] {
        let answer = api.get(&format!("/api/traces?service=svc&tags={}", encoded(tags))).await;
        assert!(
            message(&answer, 400)
                .starts_with("malformed 'tags' parameter, cannot unmarshal JSON: "),
            "{tags}"
        );
    }
    // A week in whole microseconds is a week, although the last of them has nanoseconds.
    let week = "start=1700000000000000&end=1700604800000000";
    assert_eq!(api.get(&format!("/api/traces?service=svc&{week}")).await.status, 200);
    for (more, expected) in [
        (
            "start=x",
            "unable to parse param 'start': strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        ("end=-1", "unable to parse param 'end': must not be negative"),
    ] {
        assert_eq!(message(&api.get(&format!("/api/traces/ff?{more}")).await, 400), expected);
    }
    let long = api.get("/api/traces?service=svc&lookback=200h").await;
    assert!(message(&long, 400).starts_with("range specified by start and end exceeds 168h0m0s"));
}

#[tokio::test]
async fn conditions_become_one_query() {
    let api = api().await;
    let query = async |params: &str| {
        let answer = api.get(&format!("/api/traces?{params}")).await;
        assert_eq!(answer.status, 200, "{params}: {}", answer.text());
        api.recent.searches.lock().drain(..).next_back().map(|search| search.query)
    };
    let newest = |query: &str| Some(format!("{query} with (most_recent=true)"));
    let svc = "resource.service.name = `svc`";
    let anywhere = |key: &str, value: &str| {
        let scopes = ["span", "instrumentation", "resource", "event", "link"];
        let alternatives = scopes.map(|scope| format!("{scope}.{key} = `{value}`"));
        format!("({})", alternatives.join(" || "))
    };
    for (params, expected) in [
        ("service=svc".to_owned(), format!("{{ {svc} }}")),
        ("service=svc&operation=GET%20/".to_owned(), format!("{{ {svc} && name = `GET /` }}")),
        (
            "service=svc&minDuration=1.2s&maxDuration=1m".to_owned(),
            format!("{{ {svc} && duration >= 1200000000ns && duration <= 60000000000ns }}"),
        ),
        (
            format!("service=svc&tags={}", encoded(r#"{"error":"true","span.kind":"client"}"#)),
            format!("{{ {svc} && status = error && kind = client }}"),
        ),
        ("service=svc&tag=error:false".to_owned(), format!("{{ {svc} && status != error }}")),
        ("service=svc&tag=span.status:unset".to_owned(), format!("{{ {svc} && status = unset }}")),
        (
            "service=svc&tag=scope.name:a&tag=scope.version:1".to_owned(),
            format!("{{ {svc} && instrumentation:name = `a` && instrumentation:version = `1` }}"),
        ),
        ("service=svc&tag=resource.zone:a:b".to_owned(), format!("{{ {svc} && (resource.zone = `a:b`) }}")),
        (
            "service=svc&tag=resource.n:5".to_owned(),
            format!("{{ {svc} && (resource.n = `5` || resource.n = 5) }}"),
        ),
        (
            "service=svc&tag=a:true".to_owned(),
            format!(
                "{{ {svc} && (span.a = `true` || span.a = true || instrumentation.a = `true` || instrumentation.a = true \
                || resource.a = `true` || resource.a = true || event.a = `true` || event.a = true || link.a = `true` || link.a = true) }}"
            ),
        ),
        (
            "service=svc&tag=otel.status_code:OK".to_owned(),
            format!("{{ {svc} && ({} || status = ok) }}", anywhere("otel.status_code", "OK")),
        ),
        (
            "service=svc&tag=otel.status_code:FINE".to_owned(),
            format!("{{ {svc} && {} }}", anywhere("otel.status_code", "FINE")),
        ),
        (
            "service=svc&tag=otel.status_description:no".to_owned(),
            format!("{{ {svc} && ({} || statusMessage = `no`) }}", anywhere("otel.status_description", "no")),
        ),
        (
            "service=svc&tag=otel.scope.name:lib".to_owned(),
            format!("{{ {svc} && ({} || instrumentation:name = `lib`) }}", anywhere("otel.scope.name", "lib")),
        ),
        (
            "service=svc&tag=otel.scope.version:v".to_owned(),
            format!("{{ {svc} && ({} || instrumentation:version = `v`) }}", anywhere("otel.scope.version", "v")),
        ),
        (
            "service=svc&tag=event:exception".to_owned(),
            format!("{{ {svc} && ({} || event:name = `exception`) }}", anywhere("event", "exception")),
        ),
        ("service=svc&tag=event:".to_owned(), format!("{{ {svc} && {} }}", anywhere("event", ""))),
        (
            "service=a,b".to_owned(),
            "{ (resource.service.name = `a,b` || resource.service.name = `a` || resource.service.name = `b`) }".to_owned(),
        ),
        (
            "service=missing-service-name".to_owned(),
            "{ (resource.service.name = `missing-service-name` || !(resource.service.name != nil)) }".to_owned(),
        ),
        (
            "service=OTLPResourceNoServiceName".to_owned(),
            "{ (resource.service.name = `OTLPResourceNoServiceName` || resource.service.name = `` || !(resource.service.name != nil)) }".to_owned(),
        ),
        (
            format!("service={}", encoded("caf\u{fffd} 2")),
            "{ (resource.service.name = `caf\u{fffd} 2` || (resource.service.name >= `caf` && resource.service.name < `cag` && !(resource.service.name =~ `.*`))) }".to_owned(),
        ),
        (
            "service=svc&operation=invalid-span-name".to_owned(),
            format!("{{ {svc} && (name = `invalid-span-name` || (name >= `` && !(name =~ `.*`))) }}"),
        ),
        (
            format!("service=svc&operation={}", encoded("\u{fffd}")),
            format!("{{ {svc} && (name = `\u{fffd}` || (name >= `` && !(name =~ `.*`))) }}"),
        ),
        ("service=5".to_owned(), "{ (resource.service.name = `5` || resource.service.name = 5) }".to_owned()),
        ("service=svc&minDuration=0s&maxDuration=0s".to_owned(), format!("{{ {svc} }}")),
        (
            "service=service-name-wrong-type".to_owned(),
            "{ (resource.service.name = `service-name-wrong-type` || (resource.service.name != nil && !(resource.service.name >= ``))) }"
                .to_owned(),
        ),
    ] {
        assert_eq!(query(&params).await, newest(&expected), "{params}");
    }
    // Two tags that any event may have need not be of the same event.
    let two = query("service=svc&tag=a:x&tag=b:y").await.unwrap();
    assert_eq!(two.matches(" | {").count(), 1, "{two}");
    for tag in ["span.kind:other", "span.status:other"] {
        assert_eq!(query(&format!("service=svc&tag={tag}")).await, None, "{tag}");
    }
}

#[tokio::test]
async fn window_is_completed() {
    let api = api().await;
    let window = async |params: &str| {
        assert_eq!(api.get(&format!("/api/traces?service=svc{params}")).await.status, 200);
        let search = api.recent.searches.lock().pop().unwrap();
        (search.start, search.end, search.limit)
    };
    assert_eq!(
        window("&start=1700000000000000&end=1700000060000000").await,
        (1_700_000_000, 1_700_000_061, 100)
    );
    assert_eq!(
        window("&lookback=1h&end=1700003600000000&limit=7").await,
        (1_700_000_000, 1_700_003_601, 7)
    );
    assert_eq!(
        window("&lookback=2d&start=1700000000000000&end=1700000001000000").await.0,
        1_700_000_000
    );
    for lookback in ["", "&lookback=custom", "&lookback=2d"] {
        let (start, end, _) = window(lookback).await;
        assert!((2 * 86_400..=2 * 86_400 + 1).contains(&(end - start)), "{lookback}");
    }
}

#[tokio::test]
async fn stored_spans_match_as_documented() {
    for blocks in [&[V4], &[V5]] {
        let api = api_with(Setup { blocks, ..Setup::default() }, JaegerApis::default()).await;
        let sample = api.sample_trace().await;
        let service = &sample.0;
        let count = async |more: &str| {
            let path =
                format!("/api/traces?service={}&limit=1000&{MICROS}{more}", encoded(service));
            let answer = api.get(&path).await;
            ids(&answer).iter().filter(|id| **id == sample.1).count()
        };
        for (more, expected) in [
            ("", 1),
            ("&tag=http.status_code:500", 1),
            ("&tag=http.status_code:500.0", 0),
            ("&tag=http.status_code:404", 0),
            ("&tag=resource.http.status_code:500", 0),
            ("&operation=nothing", 0),
            ("&minDuration=1h", 0),
            ("&maxDuration=1h", 1),
            ("&tag=error:true&tag=error:false", 1),
        ] {
            assert_eq!(count(more).await, expected, "{more}");
        }
    }
}

#[tokio::test]
async fn every_span_is_found_by_the_tags_and_log_fields_that_it_shows() {
    let api = api_with(Setup::default(), JaegerApis::default()).await;
    let (service, _) = api.sample_trace().await;
    let path = format!("/api/traces?service={}&limit=1000&{MICROS}", encoded(&service));
    let all = api.get(&path).await.json();
    let mut seen = std::collections::BTreeSet::new();
    for trace in all["data"].as_array().unwrap() {
        for span in trace["spans"].as_array().unwrap() {
            let process = &trace["processes"][span["processID"].as_str().unwrap()];
            let logs = span["logs"].as_array().unwrap().iter().map(|log| &log["fields"]);
            let pairs = [&span["tags"], &process["tags"]].into_iter().chain(logs);
            for pair in pairs.flat_map(|pairs| pairs.as_array().unwrap()) {
                let key = pair["key"].as_str().unwrap();
                let value =
                    pair["value"].as_str().map_or_else(|| pair["value"].to_string(), str::to_owned);
                // Arrays and objects are texts only here, and TraceQL knows nothing of the trace state.
                if value.contains(['[', '{'])
                    || key == "w3c.tracestate"
                    || !seen.insert(key.to_owned())
                {
                    continue;
                }
                let name = process["serviceName"].as_str().unwrap();
                let operation = span["operationName"].as_str().unwrap();
                let path = format!(
                    "/api/traces?service={}&operation={}&tag={}&limit=1000&{MICROS}",
                    encoded(name),
                    encoded(operation),
                    encoded(&format!("{key}:{value}")),
                );
                let found = ids(&api.get(&path).await);
                let id = trace["traceID"].as_str().unwrap();
                assert!(found.iter().any(|found| found == id), "{key}={value} of {span}");
            }
        }
    }
    for shown in ["otel.scope.name", "otel.status_code", "event", "span.kind"] {
        assert!(seen.contains(shown), "{shown} in {seen:?}");
    }
}

#[tokio::test]
async fn traces_are_whole_and_the_newest_come_first() {
    let api = api_with(Setup::default(), JaegerApis::default()).await;
    let all = api.get(&format!("/api/traces?service=nobody&{MICROS}")).await;
    assert_eq!(all.text(), r#"{"data":[],"total":0,"limit":0,"offset":0,"errors":null}"#);
    let (service, _) = api.sample_trace().await;
    let path = format!("/api/traces?service={}&limit=5&{MICROS}", encoded(&service));
    let answer = api.get(&path).await.json();
    let traces = answer["data"].as_array().unwrap();
    assert!(!traces.is_empty());
    let starts: Vec<_> = traces.iter().map(|trace| trace["startTime"].as_u64().unwrap()).collect();
    assert!(starts.is_sorted_by(|one, next| one >= next), "{starts:?}");
    for trace in traces {
        let one =
            api.get(&format!("/api/traces/{}", trace["traceID"].as_str().unwrap())).await.json();
        assert_eq!(&one["data"][0], trace);
    }
}

#[tokio::test]
async fn span_must_start_within_the_window() {
    let api = api().await;
    recent_spans(&api, vec![check_span()]);
    let spans = |start: u64| tempopb::SpanSet {
        spans: vec![tempopb::Span { start_time_unix_nano: start, ..tempopb::Span::default() }],
        matched: 1,
        ..tempopb::SpanSet::default()
    };
    let trace = TraceSearchMetadata {
        span_sets: vec![spans(1_700_000_000 * SECOND + 5_000)],
        ..found(SPAN_TRACE, 1_699_999_990 * SECOND)
    };
    *api.recent.traces.lock() = vec![trace];
    for (start, end, expected) in [(0, 5, 1), (5, 5, 1), (6, 9, 0), (0, 4, 0)] {
        let micros = 1_700_000_000_000_000_u64;
        let path = format!("/api/traces?service=svc&start={}&end={}", micros + start, micros + end);
        assert_eq!(ids(&api.get(&path).await).len(), expected, "{start} to {end}");
    }
}

#[tokio::test]
async fn traces_by_their_ids_tell_which_are_missing() {
    let api = api_with(Setup::default(), JaegerApis::default()).await;
    let path = "/api/traces?traceID=0af7651916cd43dd8448eb211c80319c&traceID=463ac35c9f6413ad&traceID=ff&limit=x";
    let answer = api.get(path).await;
    assert_eq!(ids(&answer), ["0af7651916cd43dd8448eb211c80319c", "463ac35c9f6413ad"]);
    assert_eq!(
        answer.json()["errors"],
        json!([{"msg": "trace not found", "traceID": "00000000000000ff"}])
    );
}

#[tokio::test]
async fn answer_is_bounded() {
    let lookup = TraceLookups { concurrent_traces: 2, max_answer_bytes: 1 };
    let api = api_with(Setup::default(), JaegerApis { lookup, ..JaegerApis::default() }).await;
    let path = "/api/traces?traceID=0af7651916cd43dd8448eb211c80319c&traceID=463ac35c9f6413ad";
    let answer = api.get(path).await;
    assert_eq!(ids(&answer), ["0af7651916cd43dd8448eb211c80319c"]);
    assert_eq!(answer.headers["x-tactus-partial"], "true");
}

#[tokio::test]
async fn search_counts_as_one_query_at_a_time() {
    let limits = limits_with(|limits| limits.read.max_concurrent_queries = 1);
    let api = api_with(Setup { limits, ..Setup::default() }, JaegerApis::default()).await;
    let path =
        "/api/traces?traceID=0af7651916cd43dd8448eb211c80319c&traceID=463ac35c9f6413ad&traceID=ff";
    assert_eq!(api.get(path).await.status, 200);
}
