//! Queries that run, and those that took long.

use std::time::Duration;

use ::http::StatusCode;
use axum::extract::{Extension, Path};
use serde_json::{Value, json};
use tactus_api::Error;
use tactus_api::explain::Plan;
use tactus_model::TenantId;

use crate::http::{Answer, Answered, Asked};
use crate::query_log::KnownQuery;

/// Queries that are listed of those that run.
const MAX_LISTED: usize = 200;

/// Of the tenants of the request: `running`, the oldest first, and `slow`, the last first. Times in milliseconds.
pub(super) async fn list(Extension(call): Asked) -> Answered {
    let log = &call.frontend.queries;
    let (running, slow) = (log.running(&call.tenants), log.slow(&call.tenants));
    let slow_after = millis(log.settings().slow_after.as_std());
    let listed = running.iter().take(MAX_LISTED).chain(slow.iter().map(|slow| &slow.query));
    let texts = listed.map(|query| query.asked.text.as_str()).collect::<Vec<_>>().concat();
    let listed = call.frontend.parse(&call.tenants, &texts, move || {
        let listed = running.iter().take(MAX_LISTED);
        let listed = listed.map(|query| query_json(query, query.elapsed(), None));
        let slow = slow.into_iter();
        let slow = slow.map(|slow| query_json(&slow.query, slow.took, Some(slow.failure)));
        Ok(json!({
            "runningCount": running.len(),
            "running": listed.collect::<Vec<_>>(),
            "slow": slow.collect::<Vec<_>>(),
            "slowAfterMs": slow_after,
        }))
    });
    Ok(Answer::json(&listed.await?))
}

/// Stops a query of the tenants of the request. 204; 404 if none has this id, also because it ended.
pub(super) async fn stop(Extension(call): Asked, Path(id): Path<String>) -> Answered<StatusCode> {
    if !call.frontend.queries.stop(&id, &call.tenants) {
        return Err(Error::NotFound.into());
    }
    tracing::info!(query = id, "a query was stopped by hand");
    Ok(StatusCode::NO_CONTENT)
}

/// `ended`: the failure of a query that ended, if it has one.
fn query_json(query: &KnownQuery, took: Duration, ended: Option<Option<String>>) -> Value {
    let done = query.progress();
    let asked = &query.asked;
    let (start, end) = asked.range.unwrap_or_default();
    let mut value = json!({
        "id": query.id,
        "tenants": query.tenants.iter().map(TenantId::as_str).collect::<Vec<_>>(),
        "kind": query.kind,
        "query": asked.text,
        "startMs": start / 1_000_000,
        "endMs": end / 1_000_000,
        "beganMs": query.started / 1_000_000,
        "tookMs": millis(took),
        "jobs": done.jobs,
        "doneJobs": done.done_jobs,
        "blocks": done.blocks,
        "inspectedBytes": done.inspected_bytes,
        "plan": plan(&asked.text),
    });
    if let Some(failure) = ended {
        value["failure"] = json!(failure);
    }
    value
}

/// The steps of a query in TraceQL; null for others.
fn plan(text: &str) -> Value {
    let Ok(root) = tactus_traceql::parse_and_validate(text) else { return Value::Null };
    let plan = Plan::of(&root);
    let stages = plan.stages.iter().map(|stage| {
        json!({
            "stage": stage.stage,
            "text": stage.text,
            "pushedDown": stage.pushed_down,
            "spanBySpan": stage.span_by_span,
        })
    });
    json!({
        "readsWholeTraces": plan.reads_whole_traces,
        "stages": stages.collect::<Vec<_>>(),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
