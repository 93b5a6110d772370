//! Streams of server-sent events: what they carry, and that they end with the answer over HTTP.

use serde_json::Value;

use super::*;

const EVENTS: &str = "text/event-stream";
const COMPACT: &str = "application/vnd.tactus.series+json";

/// Names and data of all events.
async fn events(blocks: &Blocks, path: &str, accept: &str) -> Vec<(String, Value)> {
    let answer = blocks.api.get_as(path, "accept", accept).await;
    assert_eq!(answer.headers["content-type"], EVENTS, "{path}");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let parse = |event: &str| {
        // Short ones have a comment in front.
        let comment = event.strip_prefix(':').and_then(|rest| rest.split_once('\n'));
        let event = comment.map_or(event, |(_, event)| event);
        let (name, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    };
    text.split_terminator("\n\n").filter_map(parse).collect()
}

fn seconds(from: u64, to: u64) -> String {
    format!("start={}&end={}", BASE + from, BASE + to)
}

/// Three blocks, one for each interval of a minute.
async fn minutes() -> Blocks {
    let blocks = Blocks::new(eager()).await;
    *blocks.api.recent.series.lock() = response(vec![series(&[], &[(2, 1.0)])]);
    for (number, (seconds, points)) in
        [((101, 150), [(2, 20.0)]), ((50, 90), [(1, 300.0)]), ((0, 30), [(0, 4_000.0)])]
            .into_iter()
            .enumerate()
    {
        let id = blocks.add(number, seconds);
        blocks.querier.series.lock().insert(id, response(vec![series(&[], &points)]));
    }
    blocks
}

/// Times and values of a compact answer.
fn points(answer: &Value) -> Vec<(u64, f64)> {
    let number = |value: &Value| value.as_f64().unwrap();
    let (start, step) = (number(&answer["start"]), number(&answer["step"]));
    let series = answer["series"].as_array().unwrap().iter();
    let values = series.flat_map(|series| series["values"].as_array().unwrap().iter().enumerate());
    let known = values.filter(|(_, value)| !value.is_null());
    known.map(|(at, value)| ((start + step * at as f64) as u64, number(value))).collect()
}

#[tokio::test]
async fn series_come_as_their_intervals_are_done_and_whole_at_the_end() {
    let blocks = minutes().await;
    let path = format!(
        "/api/metrics/query_range?q={}&{}&step=60",
        encoded("{} | count_over_time()"),
        seconds(40, 160)
    );
    for accept in [format!("{EVENTS}, {COMPACT}"), EVENTS.to_owned()] {
        let found = events(&blocks, &path, &accept).await;
        let ((name, last), differences) = found.split_last().unwrap();
        assert_eq!(name, "complete");
        assert!(!differences.is_empty());
        assert!(differences.iter().all(|(name, _)| name == "difference"));
        let form = if accept == EVENTS { "application/json" } else { COMPACT };
        let unary = blocks.api.get_as(&path, "accept", form).await;
        assert_eq!(unary.headers["content-type"], form);
        assert_eq!(*last, serde_json::from_slice::<Value>(&unary.body).unwrap());
        assert_eq!(last["metrics"]["completedJobs"], 4);
        if form == COMPACT {
            let all = points(last);
            let time = |seconds: u64| (BASE + seconds) * 1_000;
            assert_eq!(all, [(time(40), 4_000.0), (time(100), 300.0), (time(160), 21.0)]);
            for (_, difference) in differences {
                assert!(points(difference).iter().all(|point| all.contains(point)));
            }
        }
    }
}

#[tokio::test]
async fn search_is_explained_in_its_last_event() {
    let blocks = Blocks::new(eager()).await;
    let path = format!("/api/search?q={}&{}&explain=true", encoded("{}"), seconds(0, 100));
    let found = events(&blocks, &path, EVENTS).await;
    let (name, last) = found.last().unwrap();
    assert_eq!((name.as_str(), &last["explain"]["query"]), ("complete", &json!("{ true }")));
    assert_eq!(last["explain"], blocks.api.get(&path).await.json()["explain"]);
}

#[tokio::test]
async fn values_of_an_instant_query_grow() {
    let blocks = Blocks::new(eager()).await;
    *blocks.api.recent.series.lock() = response(vec![series(&[], &[(0, 1.0)])]);
    for number in 0..3 {
        let id = blocks.add(number, (50, 90));
        blocks.querier.series.lock().insert(id, response(vec![series(&[], &[(0, 10.0)])]));
    }
    let query = encoded("{} | count_over_time()");
    let path = format!("/api/metrics/query?q={query}&{}", seconds(40, 100));
    for accept in [format!("{EVENTS};q=0.9,{COMPACT}"), EVENTS.to_owned()] {
        let found = events(&blocks, &path, &accept).await;
        let ((name, last), differences) = found.split_last().unwrap();
        assert_eq!(name, "complete");
        assert_eq!(*last, blocks.api.get(&path).await.json());
        let value = |answer: &Value| answer["series"][0]["value"].as_f64().unwrap_or(0.0);
        let grown: Vec<f64> = differences.iter().map(|(_, answer)| value(answer)).collect();
        assert!(!grown.is_empty(), "nothing on the way");
        assert_eq!(value(last), 31.0);
        // A difference that is still being made when the query ends is empty.
        assert!(grown.iter().all(|so_far| *so_far <= 31.0), "{grown:?}");
    }
}

#[tokio::test]
async fn names_and_values_of_tags_come_as_they_are_found() {
    let blocks = Blocks::new(eager()).await;
    let tags = |names: &[&str]| {
        let tags = names.iter().map(|name| (*name).to_owned()).collect();
        let scopes = vec![TagScope { name: "span".into(), tags }];
        TagsResponse { scopes, ..TagsResponse::default() }
    };
    let values = |names: &[&str]| {
        let value = |name: &&str| TagValue { r#type: "string".into(), value: (*name).into() };
        let values = names.iter().map(value).collect();
        TagValuesResponse { values, ..TagValuesResponse::default() }
    };
    *blocks.api.recent.tags.lock() = tags(&["b"]);
    *blocks.api.recent.values.lock() = values(&["b"]);
    for (number, names) in [["b", "a"], ["a", "c"]].iter().enumerate() {
        let id = blocks.add(number, (0, 100 - number as u64));
        blocks.querier.tags.lock().insert(id.clone(), tags(names));
        blocks.querier.values.lock().insert(id, values(names));
    }
    for (path, list) in [
        ("/api/search/tags", "/tagNames"),
        ("/api/v2/search/tags", "/scopes/0/tags"),
        ("/api/search/tag/x/values", "/tagValues"),
        ("/api/v2/search/tag/.x/values", "/tagValues"),
    ] {
        let path = format!("{path}?{}", seconds(0, 100));
        let found = events(&blocks, &path, EVENTS).await;
        let ((name, last), differences) = found.split_last().unwrap();
        assert_eq!(name, "complete");
        assert_eq!(*last, blocks.api.get(&path).await.json(), "{path}");
        let names = |answer: &Value| answer.pointer(list).and_then(Value::as_array).cloned();
        let all = names(last).unwrap();
        assert_eq!(all.len(), 3, "{path}");
        let shown: Vec<Value> =
            differences.iter().filter_map(|(_, answer)| names(answer)).flatten().collect();
        assert!(!shown.is_empty() && shown.len() <= 3, "{path}: {shown:?}");
        assert!(shown.iter().all(|name| all.contains(name)));
    }
}

#[tokio::test]
async fn query_that_cannot_run_is_refused_or_fails_with_its_reason() {
    let blocks = Blocks::new(eager()).await;
    let query = encoded("{} | rate() by (");
    let path = format!("/api/metrics/query_range?q={query}&{}", seconds(40, 160));
    let plain = format!("application/json, {EVENTS}");
    let other = blocks.api.get_as("/api/search/tags", "accept", &plain).await;
    assert_eq!(other.headers["content-type"], "application/json", "preferred");
    let refused = blocks.api.get_as(&path, "accept", EVENTS).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let id = blocks.add(0, (0, 100));
    let malformed = tactus_proto::tactus::v1::MetricsSeries {
        intervals: vec![1],
        ..tactus_proto::tactus::v1::MetricsSeries::default()
    };
    blocks.querier.series.lock().insert(id, response(vec![malformed]));
    let query = encoded("{} | rate()");
    let path = format!("/api/metrics/query_range?q={query}&{}", seconds(40, 160));
    let found = events(&blocks, &path, EVENTS).await;
    let (name, reason) = found.last().unwrap();
    assert_eq!(name, "failed");
    assert!(reason["message"].as_str().unwrap().contains("malformed series"), "{reason}");
}
