//! Tag names and values over HTTP.

use std::sync::Arc;

use axum::extract::Extension;
use axum::response::{IntoResponse as _, Response};
use tactus_api::request::{
    RequestedTag, TagValuesQuery, TagsQuery, parse_tag_v1, parse_tag_v2, tag_name,
};
use tactus_api::{Encoding, Result, json};
use tactus_server::http::not_found;

use super::call::{Answer, Answered, Asked, Call};
use crate::metrics::METADATA;
use crate::tags::{TagValuesAnswer, TagsAnswer, written};

const TAG_V1: &str = "/api/search/tag/";
const TAG_V2: &str = "/api/v2/search/tag/";

/// `/api/search/tags`.
pub(super) async fn tags_v1(Extension(call): Asked) -> Answered<Response> {
    let query = call.parsed(METADATA, TagsQuery::parse(&call.params()))?;
    let scope = query.scope;
    if call.wants_events {
        let make = move |found: TagsAnswer| found.into_v1(scope);
        return Ok(call.events().tags(query, make, json::tags_v1));
    }
    let found = call.frontend.tags(&call.tenants, &query).await?;
    let bytes = found.bytes_to_write();
    answer(call, bytes, move |call| {
        call.message(found.partial, &found.into_v1(scope), json::tags_v1)
    })
    .await
}

/// `/api/v2/search/tags`.
pub(super) async fn tags_v2(Extension(call): Asked) -> Answered<Response> {
    let query = call.parsed(METADATA, TagsQuery::parse(&call.params()))?;
    if call.wants_events {
        return Ok(call.events().tags(query, TagsAnswer::into_v2, json::tags_v2));
    }
    let found = call.frontend.tags(&call.tenants, &query).await?;
    let bytes = found.bytes_to_write();
    answer(call, bytes, move |call| call.message(found.partial, &found.into_v2(), json::tags_v2))
        .await
}

/// `/api/search/tag/{name}/values`.
pub(super) async fn tag_values_v1(Extension(call): Asked) -> Answered<Response> {
    let Some(name) = tag_name(call.uri.path(), TAG_V1) else { return Ok(not_found().await) };
    let (tag, query) = call.parsed(METADATA, values_query(&call, parse_tag_v1(&name)))?;
    if call.wants_events {
        let make = TagValuesAnswer::into_v1;
        return Ok(call.events().tag_values((tag, query), false, make, json::tag_values_v1));
    }
    let found = call.frontend.tag_values(&call.tenants, &tag, &query, false).await?;
    let bytes = found.bytes_to_write();
    answer(call, bytes, move |call| {
        call.message(found.partial, &found.into_v1(), json::tag_values_v1)
    })
    .await
}

/// `/api/v2/search/tag/{name}/values`.
pub(super) async fn tag_values_v2(Extension(call): Asked) -> Answered<Response> {
    let Some(name) = tag_name(call.uri.path(), TAG_V2) else { return Ok(not_found().await) };
    let (tag, query) = call.parsed(METADATA, values_query(&call, parse_tag_v2(&name)))?;
    if call.wants_events {
        let make = TagValuesAnswer::into_v2;
        return Ok(call.events().tag_values((tag, query), true, make, json::tag_values_v2));
    }
    let found = call.frontend.tag_values(&call.tenants, &tag, &query, true).await?;
    let bytes = found.bytes_to_write();
    let write = move |call: &Call| {
        let (partial, response) = (found.partial, found.into_v2());
        match call.encoding {
            Encoding::Llm => Answer::new(json::tag_values_llm(&response), Encoding::Llm, partial),
            _ => call.message(partial, &response, json::tag_values_v2),
        }
    };
    answer(call, bytes, write).await
}

fn values_query(call: &Call, tag: Result<RequestedTag>) -> Result<(RequestedTag, TagValuesQuery)> {
    Ok((tag?, TagValuesQuery::parse(&call.params())?))
}

/// The answer that `write` makes; it takes this many bytes until then.
async fn answer(
    call: Call,
    bytes: usize,
    write: impl FnOnce(&Call) -> Answer + Send + 'static,
) -> Answered<Response> {
    let frontend = Arc::clone(&call.frontend);
    let answer = written(&frontend.memory, bytes, move || write(&call));
    Ok(answer.await?.into_response())
}
