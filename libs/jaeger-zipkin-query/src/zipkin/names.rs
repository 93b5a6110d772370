//! Names to choose from: services, spans, tags.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::http::{HeaderMap, Uri};
use axum::extract::State;
use axum::response::Response;
use tactus_api::request::TagsQuery;
use tactus_api::{Error, RequestedRange, Result};
use tactus_traceql::eval::TagScope;
use tactus_traceql::{Attribute, AttributeScope, parse_attribute};

use super::answer::Answer;
use super::matching;
use super::params::required;
use super::{Call, Shared, run};

/// Attributes that are shown as parts of a span other than its tags.
const NO_TAGS: [&str; 6] = [
    "net.host.ip",
    "net.host.port",
    "net.peer.ip",
    "net.peer.port",
    "otel.zipkin.absentField.startTime",
    "peer.service",
];

pub(super) async fn services(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, uri, headers, async |call: Call| {
        let names = lower_case(values(&call, resource("service.name"), String::new()).await?);
        call.shared.services.store(names.len(), Ordering::Relaxed);
        Ok(Answer::json(&names)?.kept_among(names.len()))
    })
    .await
}

pub(super) async fn spans(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    run(shared, uri, headers, async |call: Call| {
        let name = parse_attribute("name").map_err(|error| Error::Internal(error.to_string()))?;
        names_of_service(&call, name).await
    })
    .await
}

pub(super) async fn remote_services(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, uri, headers, async |call: Call| {
        names_of_service(&call, span("peer.service")).await
    })
    .await
}

/// Keys of the tags of spans.
pub(super) async fn tag_keys(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, uri, headers, async |call: Call| {
        let longest = call.frontend().longest_search(&call.tenants).unwrap_or(Duration::MAX);
        let since = call.shared.settings.names_window.min(longest);
        let query = TagsQuery {
            scope: Some(TagScope::Span),
            query: String::new(),
            range: RequestedRange { since: Some(since), ..RequestedRange::default() },
            limit: 0,
            max_stale: 0,
        };
        let found = call.frontend().tags(&call.tenants, &query).await?;
        let keys = found.scopes.into_iter().flat_map(|(_, tags)| tags);
        let keys: BTreeSet<String> = keys.filter(|key| !NO_TAGS.contains(&key.as_str())).collect();
        let services = call.shared.services.load(Ordering::Relaxed);
        Ok(Answer::json(&keys)?.partial(found.partial).kept_among(services))
    })
    .await
}

/// Values of a tag of spans.
pub(super) async fn tag_values(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, uri, headers, async |call: Call| {
        let key = required(&call.params(), "key")?.to_owned();
        let values = values(&call, span(&key), String::new()).await?;
        let services = call.shared.services.load(Ordering::Relaxed);
        Ok(Answer::json(&values)?.kept_among(services))
    })
    .await
}

/// The values of an attribute of the spans of the service that the call names.
async fn names_of_service(call: &Call, attribute: Attribute) -> Result<Answer> {
    let filter = {
        let params = call.params();
        format!("{{ {} }}", matching::service(required(&params, "serviceName")?))
    };
    let names = lower_case(values(call, attribute, filter).await?);
    let services = call.shared.services.load(Ordering::Relaxed);
    Ok(Answer::json(&names)?.kept_among(services))
}

async fn values(call: &Call, attribute: Attribute, filter: String) -> Result<BTreeSet<String>> {
    let window = call.shared.settings.names_window;
    call.frontend().names(&call.tenants, attribute, filter, window).await
}

fn lower_case(names: BTreeSet<String>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_lowercase()).collect()
}

fn resource(name: &str) -> Attribute {
    Attribute::Named { scope: AttributeScope::Resource, parent: false, name: name.into() }
}

fn span(name: &str) -> Attribute {
    Attribute::Named { scope: AttributeScope::Span, parent: false, name: name.into() }
}
