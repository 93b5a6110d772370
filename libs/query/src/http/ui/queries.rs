//! Queries that run, and those that took long.

use std::time::Duration;

use ::http::StatusCode;
use axum::extract::{Extension, Path};
use serde_json::{Value, json};
use tactus_api::Error;
use tactus_api::explain::Plan;
use tactus_model::TenantId;
use tactus_traceql::parse_and_validate;
use tactus_work::is_over;

use crate::http::{Answer, Answered, Asked};
use crate::query_log::KnownQuery;

/// Queries that are listed of those that run.
const MAX_LISTED: usize = 200;

/// Bytes of all plans of a list, about: those of the further queries are left out.
const MAX_PLAN_BYTES: usize = 4 << 20;
/// Of a stage of a plan, besides its texts.
const STAGE_BYTES: usize = 100;

/// Of the tenants of the request: `running`, the oldest first, and `slow`, the last first. Times in milliseconds.
pub(super) async fn list(Extension(call): Asked) -> Answered {
    let log = &call.frontend.queries;
    let (running, slow) = (log.running(&call.tenants), log.slow(&call.tenants));
    let slow_after = millis(log.settings().slow_after.as_std());
    let listed = running.iter().take(MAX_LISTED).chain(slow.iter().map(|slow| &slow.query));
    let texts = listed.map(|query| query.asked.text.as_str()).collect::<Vec<_>>().concat();
    let listed = call.frontend.parse(&call.tenants, &texts, move || {
        let mut plans = Plans::default();
        let listed = running.iter().take(MAX_LISTED);
        let listed: Vec<_> =
            listed.map(|query| query_json(query, query.elapsed(), None, &mut plans)).collect();
        let slow = slow.into_iter();
        let slow: Vec<_> = slow
            .map(|slow| query_json(&slow.query, slow.took, Some(slow.failure), &mut plans))
            .collect();
        Ok(Answer::json(&json!({
            "runningCount": running.len(),
            "running": listed,
            "slow": slow,
            "slowAfterMs": slow_after,
        })))
    });
    Ok(listed.await?)
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
fn query_json(
    query: &KnownQuery,
    took: Duration,
    ended: Option<Option<String>>,
    plans: &mut Plans,
) -> Value {
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
    });
    plans.add_to(&mut value, &asked.text);
    if let Some(failure) = ended {
        value["failure"] = json!(failure);
    }
    value
}

/// The plans of a list.
#[derive(Default)]
struct Plans {
    /// Of those so far.
    bytes: usize,
}

impl Plans {
    /// Adds the `plan` to a query. It is null for one that is not TraceQL; also where earlier plans take all the room, which
    /// `planLeftOut` says.
    fn add_to(&mut self, query: &mut Value, text: &str) {
        query["plan"] = Value::Null;
        if is_over() {
            return;
        }
        let Ok(root) = parse_and_validate(text) else { return };
        if self.bytes >= MAX_PLAN_BYTES {
            query["planLeftOut"] = json!(true);
            return;
        }
        let plan = Plan::of(&root);
        self.bytes += bytes_of(&plan);
        query["plan"] = plan_json(&plan);
    }
}

fn bytes_of(plan: &Plan) -> usize {
    let stages = plan.stages.iter().map(|stage| {
        let conditions = stage.pushed_down.iter().chain(&stage.span_by_span);
        STAGE_BYTES + stage.text.len() + conditions.map(String::len).sum::<usize>()
    });
    stages.sum()
}

fn plan_json(plan: &Plan) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_a_list_have_a_few_megabytes() {
        let long = format!("{{ name = `{}` }}", "x".repeat(15_000));
        let mut plans = Plans::default();
        let mut add = |text: &str| {
            let mut query = json!({});
            plans.add_to(&mut query, text);
            query
        };
        let listed: Vec<_> = (0..300).map(|_| add(&long)).collect();
        let (first, last) = (&listed[0], &listed[299]);
        assert_eq!(first["plan"]["stages"][0]["stage"], "filter");
        assert!(first.get("planLeftOut").is_none());
        assert_eq!(*last, json!({ "plan": null, "planLeftOut": true }));
        assert!(json!(listed).to_string().len() < 2 * MAX_PLAN_BYTES);
        assert_eq!(add("the id of a trace"), json!({ "plan": null }), "it has none");
    }
}
