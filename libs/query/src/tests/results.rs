use serde_json::Value;

use super::*;

const QUERIES: [&str; 7] = [
    "{}",
    "{ duration > 10ms }",
    "{ resource.service.name =~ \".*\" } | count() > 1",
    "{ name = \"nothing like it\" }",
    "{ status = error } | select(span.foo)",
    "{ kind = server } || { kind = client }",
    "{} with (most_recent=true)",
];

const SERIES: [&str; 4] = [
    "{} | rate()",
    "{} | count_over_time() by (resource.service.name)",
    "{} | quantile_over_time(duration, .5, .9)",
    "{} | avg_over_time(duration)",
];

fn setup(max_bytes: i64) -> Setup {
    let mut settings = Settings::default();
    settings.section.result_cache_bytes = max_bytes;
    // Of one block: which of several answers first is chance.
    Setup { settings, blocks: &[V4], ..Setup::default() }
}

/// Rounds: sums of floats depend on the order of threads.
fn round(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(round),
        Value::Object(entries) => entries.values_mut().for_each(round),
        Value::Number(number) if number.is_f64() => {
            *json = format!("{:.9e}", number.as_f64().unwrap()).into();
        }
        _ => {}
    }
}

/// An answer without what it says of its cost, and without exemplars, which are chosen by chance.
fn content(answer: &Answer) -> Value {
    let mut json = answer.json();
    let answer = json.as_object_mut().unwrap();
    answer.remove("metrics");
    let series = answer.get_mut("series").and_then(Value::as_array_mut);
    for series in series.into_iter().flatten() {
        series.as_object_mut().unwrap().remove("exemplars");
    }
    round(&mut json);
    json
}

fn hits(api: &Api) -> u64 {
    let text = api.registry.encode();
    let lines = text.lines().filter(|line| line.contains("result=\"hit\""));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// Each query many times, by turns over different ranges and limits.
fn requests() -> Vec<String> {
    let windows = [
        (1_699_999_000, 1_700_001_000),
        (1_699_999_001, 1_700_001_000),
        (1_699_000_000, 1_700_090_000),
        (1_699_999_999, 1_700_000_000),
        (1_700_000_000, 1_700_000_001),
        (1_700_000_060, 1_700_000_120),
    ];
    let mut requests = Vec::new();
    for round in 0..2 {
        for (start, end) in windows {
            for query in QUERIES {
                let query = encoded(query);
                for more in ["&limit=1000", "&limit=2", "&limit=1000&spss=1"] {
                    requests.push(format!("/api/search?q={query}&start={start}&end={end}{more}"));
                }
            }
            requests.push(format!(
                "/api/search?tags=foo%3Dbar&minDuration={round}ms&start={start}&end={end}"
            ));
            for query in SERIES {
                let query = encoded(query);
                for more in ["&step=60", "&step=30", "&step=60&exemplars=5"] {
                    let start = start.max(end - 3000) + 60 * round;
                    requests.push(format!(
                        "/api/metrics/query_range?q={query}&start={start}&end={end}{more}"
                    ));
                }
            }
            let filter = encoded("{ kind = server }");
            for more in ["", "&scope=span", &format!("&q={filter}")] {
                requests.push(format!("/api/v2/search/tags?start={start}&end={end}{more}"));
            }
            for more in ["", &format!("&q={filter}")] {
                let tag = "resource.service.name";
                requests
                    .push(format!("/api/v2/search/tag/{tag}/values?start={start}&end={end}{more}"));
                requests.push(format!("/api/search/tag/name/values?start={start}&end={end}{more}"));
            }
        }
    }
    requests
}

#[tokio::test]
async fn kept_answers_are_those_of_the_jobs() {
    let (kept, fresh) = (Api::new(setup(64 << 20)).await, Api::new(setup(0)).await);
    for request in requests() {
        let (first, second) = (kept.get(&request).await, kept.get(&request).await);
        if first.status != 200 {
            assert_eq!(first.status, fresh.get(&request).await.status, "{request}");
            continue;
        }
        let expected = content(&fresh.get(&request).await);
        assert_eq!(content(&first), expected, "{request}");
        assert_eq!(content(&second), expected, "{request}");
    }
    assert!(hits(&kept) > 300, "{}", hits(&kept));
    assert_eq!(hits(&fresh), 0);
}

#[tokio::test]
async fn explanation_tells_kept_answers() {
    let api = Api::new(setup(1 << 20)).await;
    let explain = async || {
        let answer = api.search("{}", "&explain=true").await.json();
        answer["explain"]["totals"].clone()
    };
    let first = explain().await;
    assert_eq!(first["pruned"].get("answer was kept"), None, "{first}");
    let second = explain().await;
    // Those of recent data are read.
    let of_blocks = first["parts"].as_u64().unwrap() - 2;
    assert_eq!(second["pruned"]["answer was kept"], of_blocks, "{second}");
    assert_eq!(second["readBytes"], 100);
    // Wider: no trace is left out by either range.
    let wider = api.get("/api/search?q=%7B%7D&start=1699900000&end=1700100000&limit=1000").await;
    assert_eq!(wider.json()["metrics"]["inspectedBytes"], "10", "of recent data");
}

#[tokio::test]
async fn damaged_and_deleted_blocks_are_never_kept() {
    let api = Api::new(setup(1 << 20)).await;
    let path = api.directory.path().join(TENANT).join(V4).join("data.parquet");
    let whole = fs::read(&path).unwrap();
    api.cut_data(V4);
    let partial = api.search("{}", "").await;
    assert_eq!(partial.headers["x-tactus-partial"], "true");
    fs::write(&path, &whole).unwrap();
    let found = api.search("{}", "").await;
    assert!(found.headers.get("x-tactus-partial").is_none());
    assert!(
        found.json()["traces"].as_array().unwrap().len()
            > partial.json()["traces"].as_array().unwrap().len()
    );
}
