//! Answers that say how their query was run.

use serde_json::json;
use tactus_storage::meta::BlockVersion;

use super::*;

async fn api() -> (Api, Uuid) {
    let querier = Some(Arc::new(BlockData::default()));
    let api = Api::new(Setup { blocks: &[], querier, ..Setup::default() }).await;
    let id = Uuid::from_u128(7);
    for (id, start) in [(id, 1_700_000_050), (Uuid::from_u128(8), 1_500_000_000)] {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, id);
        meta.set_time_range_unix_nanos(start * 1_000_000_000, (start + 9) * 1_000_000_000);
        (meta.size, meta.total_records) = (100, 1);
        api.blocklist.add_block(meta);
    }
    (api, id)
}

fn job(source: &str) -> serde_json::Value {
    json!({
        "source": source,
        "parts": 2,
        "pruned": {"time range": 1},
        "readBytes": 100,
        "decodedBytes": 400,
        "cachedBytes": 50,
        "sharedCacheBytes": 0,
        "inspectedSpans": 7,
        "matchedSpans": 3,
        "seconds": {"filter": 0.0015},
        "filterColumns": ["name"]
    })
}

#[tokio::test]
async fn range_query_is_explained_in_one_more_field() {
    let (api, block) = api().await;
    let query = "{ status = error } | rate() by (name) | topk(3)";
    let plain = api.range(query, "").await.json();
    let mut explained = api.range(query, "&explain=true").await.json();
    let found = explained.as_object_mut().unwrap().remove("explain").unwrap();
    assert_eq!(explained, plain);
    let expected = json!({
        "query": "{ status = error } | rate()by(name) | topk(3)",
        "plan": {
            "readsWholeTraces": false,
            "stages": [
                {"stage": "filter", "text": "{ status = error }", "pushedDown": ["status = error"]},
                {"stage": "series", "text": "rate()by(name)"},
                {"stage": "second stage", "text": "topk(3)"}
            ]
        },
        "window": {
            "start": "2023-11-14T22:13:00Z",
            "end": "2023-11-14T22:16:00Z",
            "stepSeconds": 60,
            "intervals": 3
        },
        "limits": {
            "series": 0,
            "exemplars": 100,
            "seriesBytes": 134_217_728,
            "bytesPerJob": 104_857_600,
            "inspectedBytes": 0
        },
        "totals": {
            "jobs": 2,
            "completedJobs": 2,
            "blocks": 1,
            "skippedBlocks": {"outside the time range": 1},
            "parts": 4,
            "pruned": {"time range": 2},
            "readBytes": 200,
            "decodedBytes": 800,
            "cachedBytes": 100,
            "sharedCacheBytes": 0,
            "inspectedSpans": 14,
            "matchedSpans": 6,
            "seconds": {"filter": 0.003}
        },
        "jobs": [job("recent"), job(&block.to_string())]
    });
    assert_eq!(found, expected);
}

#[tokio::test]
async fn hint_explains_as_the_parameter_does() {
    let (api, _) = api().await;
    let explained = api.range("{} | rate() with (explain=true)", "").await.json();
    assert_eq!(explained["explain"]["query"], "{ true } | rate() with(explain=true)");
    assert!(explained["explain"]["totals"]["jobs"] == 2);
    let path = format!("/api/metrics/query?q={{}}|rate()&{MINUTES}&explain=true");
    let instant = api.get(&path).await.json();
    assert_eq!(instant["explain"]["window"]["intervals"], 1);
    for more in ["&explain=false", "&explain=", "&explain=x"] {
        assert!(api.range("{} | rate()", more).await.json().get("explain").is_none());
    }
    let never = api.range("{ false } | rate()", "&explain=true").await.json();
    assert_eq!(never["explain"]["totals"]["jobs"], 0);
}

#[tokio::test]
async fn search_is_explained_as_json() {
    let (api, block) = api().await;
    let path = format!("/api/search?q={}&{RANGE}&explain=true", encoded("{ span.a = 1 } >> {}"));
    let answer = api.get_as(&path, "accept", "application/protobuf").await.json();
    let found = &answer["explain"];
    assert_eq!(found["query"], "({ span.a = 1 }) >> ({ true })");
    assert_eq!(found["plan"]["readsWholeTraces"], true);
    assert_eq!(found["plan"]["stages"][0]["pushedDown"], json!(["span.a = 1"]));
    assert_eq!(
        found["window"],
        json!({"start": "2023-11-14T21:56:40Z", "end": "2023-11-14T22:30:00Z"})
    );
    assert_eq!(found["limits"]["traces"], 20);
    assert_eq!(found["totals"]["skippedBlocks"], json!({"outside the time range": 1}));
    assert_eq!(found["jobs"], json!([job("recent"), job(&block.to_string())]));
    assert!(api.recent.searches.lock()[0].explain);
    let path = format!("/api/search?tags=a%3Db&minDuration=1s&{RANGE}&explain=true");
    let by_tags = api.get(&path).await.json();
    assert_eq!(by_tags["explain"]["query"], "");
    assert_eq!(
        by_tags["explain"]["plan"]["stages"][0]["pushedDown"],
        json!([".a = \"b\"", "traceDuration >= 1000ms"])
    );
}
