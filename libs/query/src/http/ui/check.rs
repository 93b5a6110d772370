//! Checks a query before it runs: what is wrong with it, or how much it would read.

use std::sync::Arc;

use axum::extract::Extension;
use serde_json::{Value, json};
use tactus_api::explain::Plan;
use tactus_api::request::{MetricsQuery, SearchQuery};
use tactus_api::{Error, QueryParams, Result};
use tactus_model::TenantId;
use tactus_traceql::RootExpr;

use crate::frontend::Frontend;
use crate::http::{Answer, Answered, Asked};
use crate::work::Cost;

/// `{kind, canonical, plan, estimate}` of a query that is accepted, else `{error: {message, line, column}}`: from 1 in
/// characters, and without a place if the query as a whole makes no sense.
///
/// `estimate` is there if the other parameters are those that the query would have, and it may run: `{blocks, bytes,
/// jobs}`, the most of what is stored that it may read; `ofBlocks`, `ofBytes`: all that is stored. Recent spans are not
/// in it.
pub(super) async fn check(Extension(call): Asked) -> Answered {
    let (frontend, tenants) = (Arc::clone(&call.frontend), call.tenants.clone());
    let verdict = call.parse(move |params| verdict(&frontend, &tenants, params)).await?;
    Ok(Answer::json(&verdict))
}

fn verdict(frontend: &Frontend, tenants: &[TenantId], params: &QueryParams<'_>) -> Result<Value> {
    let text = params.get("q").unwrap_or_default();
    let limit = frontend.settings.section.max_query_expression_size_bytes;
    if limit > 0 && text.len() > limit {
        return Err(Error::Invalid(format!("the query is longer than {limit} bytes")));
    }
    Ok(match tactus_traceql::parse_and_validate(text) {
        Ok(root) => {
            let mut verdict = accepted(&root);
            if let Some(cost) = cost(frontend, tenants, params, &root) {
                verdict["estimate"] = estimate(&cost);
            }
            verdict
        }
        Err(error) => refused(&error),
    })
}

fn accepted(root: &RootExpr) -> Value {
    let Plan { reads_whole_traces, .. } = Plan::of(root);
    json!({
        "kind": if root.metrics().is_some() { "metrics" } else { "search" },
        "canonical": root.to_string(),
        "plan": { "readsWholeTraces": reads_whole_traces },
    })
}

fn refused(error: &tactus_traceql::Error) -> Value {
    match error {
        tactus_traceql::Error::Parse(error) if error.line > 0 => json!({
            "error": { "message": error.message, "line": error.line, "column": error.column },
        }),
        tactus_traceql::Error::Pattern { line, column, error } => json!({
            "error": { "message": error.to_string(), "line": line, "column": column },
        }),
        error => json!({ "error": { "message": error.to_string() } }),
    }
}

/// `None` if the query would be refused for its range.
fn cost(
    frontend: &Frontend,
    tenants: &[TenantId],
    params: &QueryParams<'_>,
    root: &RootExpr,
) -> Option<Cost> {
    if root.metrics().is_some() {
        let limits = frontend.metrics_limits(tenants);
        let query = MetricsQuery::parse_range(params, &limits, tactus_clock::unix_nanos()).ok()?;
        return frontend.metrics_cost(tenants, &query).ok();
    }
    let query = SearchQuery::parse(params, &frontend.settings.search_limits()).ok()?;
    frontend.search_cost(tenants, &query).ok()
}

fn estimate(cost: &Cost) -> Value {
    json!({
        "blocks": cost.blocks,
        "bytes": cost.bytes,
        "jobs": cost.jobs,
        "ofBlocks": cost.of_blocks,
        "ofBytes": cost.of_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Value {
        match tactus_traceql::parse_and_validate(text) {
            Ok(root) => accepted(&root),
            Err(error) => refused(&error),
        }
    }

    #[test]
    fn place_of_an_error_is_told_where_there_is_one() {
        assert_eq!(verdict("{ status = error } | rate()")["kind"], "metrics");
        assert_eq!(verdict("{name=\"a\"}")["kind"], "search");
        let error = &verdict("{ name = \n = }")["error"];
        assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(2), Some(2)));
        let error = &verdict("{ name = 3 }")["error"];
        assert!(error["message"].is_string() && error.get("line").is_none(), "{error}");
        let error = &verdict("{ name =~ `a` ||\n name !~ `(` }")["error"];
        assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(2), Some(10)));
        assert_eq!(error["message"], "invalid regex: `(`");
    }

    #[test]
    fn plan_tells_whether_whole_traces_are_read() {
        assert_eq!(verdict("{ status = error }")["plan"]["readsWholeTraces"], false);
        assert_eq!(verdict("{ } >> { status = error }")["plan"]["readsWholeTraces"], true);
    }
}
