//! Names to choose from: services, spans, tags.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tactus_api::request::TagsQuery;
use tactus_api::{Error, RequestedRange, Result};
use tactus_query::Listed;
use tactus_traceql::eval::TagScope;
use tactus_traceql::{Attribute, AttributeScope, parse_attribute};

use super::params::required;
use super::{Answered, Call, matching};
use crate::call::Answer;
use crate::services;

/// With fewer services the list is new to everybody and must not be kept: it grows while one looks.
const FEW_SERVICES: usize = 3;

/// Attributes that are shown as parts of a span other than its tags.
const NO_TAGS: [&str; 6] = [
    "net.host.ip",
    "net.host.port",
    "net.peer.ip",
    "net.peer.port",
    "otel.zipkin.absentField.startTime",
    "peer.service",
];

/// What Zipkin's own pages call their conditions: a tag of that name would take the place of the condition.
const CONDITIONS_OF_LENS: [&str; 6] =
    ["serviceName", "remoteServiceName", "spanName", "minDuration", "maxDuration", "tagQuery"];

pub(super) async fn services(call: Call) -> Answered {
    let window = call.shared.settings.names_window.as_std();
    let names = services::model_names(call.frontend(), &call.tenants, window).await?;
    let names = names.map(lower_case);
    call.shared.services.store(names.list.len(), Ordering::Relaxed);
    answer(&names, names.list.len() > FEW_SERVICES)
}

pub(super) async fn spans(call: Call) -> Answered {
    let name = parse_attribute("name").map_err(|error| Error::Internal(error.to_string()))?;
    names_of_service(&call, name).await
}

pub(super) async fn remote_services(call: Call) -> Answered {
    names_of_service(&call, span("peer.service")).await
}

/// Keys of the tags of spans.
pub(super) async fn tag_keys(call: Call) -> Answered {
    let longest = call.frontend().longest_search(&call.tenants).unwrap_or(Duration::MAX);
    let since = call.shared.settings.names_window.as_std().min(longest);
    let query = TagsQuery {
        scope: Some(TagScope::Span),
        query: String::new(),
        range: RequestedRange { since: Some(since), ..RequestedRange::default() },
        limit: 0,
        max_stale: 0,
    };
    let found = call.frontend().tags(&call.tenants, &query).await?;
    let keys = found.scopes.into_iter().flat_map(|(_, tags)| tags);
    let is_offered = |key: &String| {
        let key = key.as_str();
        // Nobody can ask for the values of an empty key.
        !key.is_empty() && !NO_TAGS.contains(&key) && !CONDITIONS_OF_LENS.contains(&key)
    };
    let keys: BTreeSet<String> = keys.filter(is_offered).collect();
    Ok(Answer::json(&keys)?.partial(found.partial).kept(has_many_services(&call)))
}

/// Values of a tag of spans.
pub(super) async fn tag_values(call: Call) -> Answered {
    let key = required(&call.params(), "key")?.to_owned();
    let values = values(&call, span(&key), String::new()).await?;
    answer(&values, has_many_services(&call))
}

/// A list that browsers may keep if it is complete, and if `may_be_kept`.
fn answer(names: &Listed<BTreeSet<String>>, may_be_kept: bool) -> Answered {
    let answer = Answer::json(&names.list)?.partial(names.partial);
    Ok(answer.kept(may_be_kept && !names.partial))
}

/// The values of an attribute of the spans of the service that the call names.
async fn names_of_service(call: &Call, attribute: Attribute) -> Answered {
    let filter = {
        let params = call.params();
        format!("{{ {} }}", matching::service(required(&params, "serviceName")?))
    };
    let names = values(call, attribute, filter).await?.map(lower_case);
    answer(&names, has_many_services(call))
}

/// Whether lists change so seldom that browsers may keep them.
fn has_many_services(call: &Call) -> bool {
    call.shared.services.load(Ordering::Relaxed) > FEW_SERVICES
}

async fn values(
    call: &Call,
    attribute: Attribute,
    filter: String,
) -> Result<Listed<BTreeSet<String>>> {
    let window = call.shared.settings.names_window.as_std();
    let mut names = call.frontend().names(&call.tenants, attribute, filter, window).await?;
    names.list.remove("");
    Ok(names)
}

fn lower_case(names: BTreeSet<String>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_lowercase()).collect()
}

fn span(name: &str) -> Attribute {
    Attribute::Named { scope: AttributeScope::Span, parent: false, name: name.into() }
}
