//! What is wrong with a query, before it runs.

use ::http::{HeaderMap, Uri};
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tactus_api::{Error, Result};

use super::Shared;
use crate::http::answer;

/// `{kind, canonical}` of a query that is accepted, else `{error: {message, line, column}}`: from 1 in characters, and
/// without a place if the query as a whole makes no sense.
pub(super) async fn check(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    answer(shared.frontend, uri, headers, async |call| {
        let params = call.params();
        let text = params.get("q").unwrap_or_default();
        let limit = call.frontend.settings.max_query_expression_size_bytes;
        if limit > 0 && text.len() > limit {
            return Err(Error::Invalid(format!("the query is longer than {limit} bytes")));
        }
        Ok(super::json(&verdict(text)?))
    })
    .await
}

fn verdict(text: &str) -> Result<Value> {
    match tactus_traceql::parse_and_validate(text) {
        Ok(root) => {
            let kind = if root.metrics().is_some() { "metrics" } else { "search" };
            Ok(json!({ "kind": kind, "canonical": root.to_string() }))
        }
        Err(tactus_traceql::Error::Parse(error)) if error.line > 0 => Ok(json!({
            "error": { "message": error.message, "line": error.line, "column": error.column },
        })),
        Err(error) => Ok(json!({ "error": { "message": error.to_string() } })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_an_error_is_told_where_there_is_one() {
        let metrics = verdict("{ status = error } | rate()").unwrap();
        assert_eq!(metrics["kind"], "metrics");
        assert_eq!(verdict("{name=\"a\"}").unwrap()["kind"], "search");
        let error = &verdict("{ name = \n = }").unwrap()["error"];
        assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(2), Some(2)));
        let error = &verdict("{ name = 3 }").unwrap()["error"];
        assert!(error["message"].is_string() && error.get("line").is_none(), "{error}");
    }
}
