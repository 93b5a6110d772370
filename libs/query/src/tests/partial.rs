//! Answers that lack something say so, of every kind of query.

use std::sync::atomic::Ordering;

use super::metrics::{response, series};
use super::*;
use tactus_storage::{Bucket, BucketSettings, Poller, PollerSettings};

/// Each kind of query over the time of the sample blocks.
const PATHS: [&str; 8] = [
    // More than there are: an answer that is full need not look further.
    "/api/search?q={}&limit=10000",
    "/api/search/tags?",
    "/api/v2/search/tags?",
    "/api/search/tag/region/values?",
    "/api/v2/search/tag/span.region/values?",
    "/api/metrics/query_range?q={}|rate()&step=60",
    "/api/metrics/query?q={}|rate()",
    "/api/traces/0af7651916cd43dd8448eb211c80319c?",
];

fn is_partial(answer: &Answer) -> bool {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.headers.get("x-tactus-partial").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn too_few_ingesters_make_every_answer_partial() {
    let api = Api::new(Setup::default()).await;
    for path in PATHS {
        let path = format!("{path}&{RANGE}");
        for partial in [false, true] {
            api.recent.partial.store(partial, Ordering::Relaxed);
            assert_eq!(is_partial(&api.get(&path).await), partial, "{path}");
        }
    }
    let v2 = api.get("/api/v2/traces/0af7651916cd43dd8448eb211c80319c").await;
    assert!(is_partial(&v2));
    assert_eq!(v2.json()["status"], "PARTIAL");
    assert_eq!(v2.json()["message"], "too few ingesters answered, recent spans may be missing");
    // "Not found" would be a lie.
    assert_eq!(api.get("/api/traces/42").await.status, 500);
    assert!(is_partial(&api.get("/api/v2/traces/42").await));
}

#[tokio::test]
async fn damaged_block_makes_every_answer_partial() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    api.cut_data(V4);
    for path in PATHS {
        assert!(is_partial(&api.get(&format!("{path}&{RANGE}")).await), "{path}");
    }
}

#[tokio::test]
async fn partial_series_say_so_in_the_message() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    *api.recent.series.lock() = response(vec![series(&[], &[(0, 1.0)])]);
    api.recent.partial.store(true, Ordering::Relaxed);
    for path in ["/api/metrics/query_range?q={}|rate()&step=60", "/api/metrics/query?q={}|rate()"] {
        let json = api.get(&format!("{path}&{MINUTES}")).await.json();
        assert_eq!(json["status"], "PARTIAL");
        assert_eq!(
            json["message"],
            "Some data could not be read, a partial response is returned. Warning: values may be too small."
        );
    }
}

#[tokio::test]
async fn trace_that_was_cut_when_it_came_says_so() {
    let api = Api::new(Setup { blocks: &[V4], ..Setup::default() }).await;
    let id = "0af7651916cd43dd8448eb211c80319c";
    assert!(!is_partial(&api.get(&format!("/api/v2/traces/{id}")).await));
    api.recent.refused_spans.store(91_064, Ordering::Relaxed);
    let v2 = api.get(&format!("/api/v2/traces/{id}")).await;
    assert!(is_partial(&v2));
    assert_eq!(v2.json()["status"], "PARTIAL");
    let message = "Trace exceeded its maximum size (max_bytes_per_trace) when it was received or merged: \
                   91064 spans or more were left out, a partial trace is returned";
    assert_eq!(v2.json()["message"], message);
    assert!(is_partial(&api.get(&format!("/api/traces/{id}")).await));
    // Nothing of it is stored: there is nothing that could be cut.
    assert_eq!(api.get("/api/traces/42").await.status, 404);
}

#[tokio::test]
async fn block_without_room_in_the_list_makes_every_answer_partial() {
    let api = Api::new(Setup { blocks: &[V4], ..Setup::default() }).await;
    copy_block(V5, api.directory.path());
    let path = api.directory.path().to_owned();
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    let known = api.blocklist.tenant(TENANT).live().iter().map(|meta| meta.memory_bytes()).sum();
    for (max_bytes, partial) in [(known, true), (10 * known, false)] {
        let settings = PollerSettings { max_bytes, ..PollerSettings::default() };
        let list = Arc::clone(&api.blocklist);
        Poller::reader(bucket.clone(), list, settings).poll_once().await.unwrap();
        for path in PATHS {
            let answer = api.get(&format!("{path}&{RANGE}")).await;
            assert_eq!(is_partial(&answer), partial, "{path}");
        }
    }
}
