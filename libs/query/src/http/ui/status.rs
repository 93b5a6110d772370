//! The state of the cluster: members, rings, tenants, blocks, and the rate of arriving spans.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tactus_api::request::MetricsQuery;
use tactus_api::{Error, QueryParams, Result};
use tactus_model::TenantId;

use crate::frontend::Frontend;
use crate::http::{Answer, Answered, Asked};
use crate::live_tail::LiveTails;

/// The members of the cluster and its rings, as the JSON that is shown: fields `members` and `rings`.
pub type ClusterStatus = Arc<dyn Fn() -> Value + Send + Sync>;

/// The rate of arriving spans is computed from those that started in the last this many seconds.
const INGEST_SECONDS: u64 = 60;
const SECOND: u64 = 1_000_000_000;
/// If the cluster does not answer within this time, the page is shown without the rate.
const INGEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The cluster, and what the tenants of the request have in it.
pub(super) async fn status(
    State((cluster, tails)): State<(ClusterStatus, LiveTails)>,
    Extension(call): Asked,
) -> Answered {
    let mut status = cluster();
    let tenants = call.tenants.iter().map(|tenant| tenant_json(&call.frontend, tenant));
    let tenants = join_all(tenants).await;
    status["version"] = json!(env!("CARGO_PKG_VERSION"));
    status["tenants"] = json!(tenants);
    status["queue"] = call.frontend.queue_status();
    status["liveTails"] = json!(tails.open_tails(&call.tenants));
    Ok(Answer::json(&status))
}

/// Blocks as the list has them now; times in unix seconds, 0 without blocks.
async fn tenant_json(frontend: &Frontend, tenant: &TenantId) -> Value {
    let listed = frontend.blocklist.tenant(tenant.as_str());
    let live = listed.live();
    let oldest = live.iter().map(|meta| meta.start_time.as_second()).min();
    let newest = live.iter().map(|meta| meta.end_time.as_second()).max();
    let ingest = spans_per_second(frontend, tenant).await;
    json!({
        "tenant": tenant.as_str(),
        "blocks": live.len(),
        "bytes": live.iter().map(|meta| meta.size).fold(0, u64::saturating_add),
        "traces": live.iter().map(|meta| meta.total_objects).fold(0, u64::saturating_add),
        "oldest": oldest.unwrap_or_default(),
        "newest": newest.unwrap_or_default(),
        "compactedBlocks": listed.compacted().len(),
        "spansPerSecond": ingest.as_ref().ok(),
        "ingestFailure": ingest.as_ref().err().map(ToString::to_string),
    })
}

/// Spans that started lately, each once however many ingesters have it.
async fn spans_per_second(frontend: &Frontend, tenant: &TenantId) -> Result<f64> {
    let now = tactus_clock::unix_nanos();
    let start = now.saturating_sub(INGEST_SECONDS * SECOND);
    let text = format!("q={{}}|count_over_time()&start={start}&end={now}");
    let tenants = std::slice::from_ref(tenant);
    let limits = frontend.metrics_limits(tenants);
    let query = MetricsQuery::parse_instant(&QueryParams::parse(&text), &limits, now)?;
    let counting = frontend.query_metrics_unlisted(tenants, &query);
    let found = tokio::time::timeout(INGEST_TIMEOUT, counting);
    let found = found.await.unwrap_or(Err(Error::DeadlineExceeded))?;
    let points = found.answer.series.iter().flat_map(|series| &series.points);
    let spans: f64 = points.map(|(_, value)| value).sum();
    Ok(spans / INGEST_SECONDS as f64)
}
