//! Tag names and values over HTTP.

use ::http::{HeaderMap, Uri};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use prost::Message as _;
use tactus_api::request::{
    RequestedTag, TagValuesQuery, TagsQuery, parse_tag_v1, parse_tag_v2, tag_name,
};
use tactus_api::{Encoding, Result, json};
use tactus_server::http::not_found;

use super::{Answer, Call, Shared, answer, plain};
use crate::tags::{TagValuesAnswer, TagsAnswer};

const TAG_V1: &str = "/api/search/tag/";
const TAG_V2: &str = "/api/v2/search/tag/";

/// `/api/search/tags`.
pub(super) async fn tags_v1(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let query = TagsQuery::parse(&call.params())?;
        let scope = query.scope;
        if call.wants_events {
            let make = move |found: TagsAnswer| found.into_v1(scope);
            return Ok(call.events().tags(query, make, json::tags_v1));
        }
        let found = call.frontend.tags(&call.tenants, &query).await?;
        let (partial, response) = (found.partial, found.into_v1(scope));
        let encoding = plain(call.encoding);
        let body = match encoding {
            Encoding::Protobuf => response.encode_to_vec(),
            _ => json::tags_v1(&response),
        };
        Ok(Answer { body, encoding, partial }.into_response())
    })
    .await
}

/// `/api/v2/search/tags`.
pub(super) async fn tags_v2(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let query = TagsQuery::parse(&call.params())?;
        if call.wants_events {
            return Ok(call.events().tags(query, TagsAnswer::into_v2, json::tags_v2));
        }
        let found = call.frontend.tags(&call.tenants, &query).await?;
        let (partial, response) = (found.partial, found.into_v2());
        let encoding = plain(call.encoding);
        let body = match encoding {
            Encoding::Protobuf => response.encode_to_vec(),
            _ => json::tags_v2(&response),
        };
        Ok(Answer { body, encoding, partial }.into_response())
    })
    .await
}

/// `/api/search/tag/{name}/values`.
pub(super) async fn tag_values_v1(
    State(frontend): Shared,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(name) = tag_name(uri.path(), TAG_V1) else { return not_found().await };
    answer(frontend, uri, headers, async move |call: Call| {
        let (tag, query) = (parse_tag_v1(&name)?, TagValuesQuery::parse(&call.params())?);
        if call.wants_events {
            let make = TagValuesAnswer::into_v1;
            return Ok(call.events().tag_values((tag, query), false, make, json::tag_values_v1));
        }
        let found = tag_values(&call, &tag, &query, false).await?;
        let (partial, response) = (found.partial, found.into_v1());
        let encoding = plain(call.encoding);
        let body = match encoding {
            Encoding::Protobuf => response.encode_to_vec(),
            _ => json::tag_values_v1(&response),
        };
        Ok(Answer { body, encoding, partial }.into_response())
    })
    .await
}

/// `/api/v2/search/tag/{name}/values`.
pub(super) async fn tag_values_v2(
    State(frontend): Shared,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(name) = tag_name(uri.path(), TAG_V2) else { return not_found().await };
    answer(frontend, uri, headers, async move |call: Call| {
        let (tag, query) = (parse_tag_v2(&name)?, TagValuesQuery::parse(&call.params())?);
        if call.wants_events {
            let make = TagValuesAnswer::into_v2;
            return Ok(call.events().tag_values((tag, query), true, make, json::tag_values_v2));
        }
        let found = tag_values(&call, &tag, &query, true).await?;
        let (partial, response) = (found.partial, found.into_v2());
        let body = match call.encoding {
            Encoding::Protobuf => response.encode_to_vec(),
            Encoding::Json => json::tag_values_v2(&response),
            Encoding::Llm => json::tag_values_llm(&response),
        };
        Ok(Answer { body, encoding: call.encoding, partial }.into_response())
    })
    .await
}

async fn tag_values(
    call: &Call,
    tag: &RequestedTag,
    query: &TagValuesQuery,
    typed: bool,
) -> Result<TagValuesAnswer> {
    call.frontend.tag_values(&call.tenants, tag, query, typed).await
}
