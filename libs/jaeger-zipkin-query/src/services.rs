//! Names of services, of spans without a name for their service too, or with one that is no text.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use tactus_api::request::{RequestedTag, TagValuesQuery};
use tactus_api::{RequestedRange, Result};
use tactus_jaeger::adjust::{EMPTY_SERVICE, MISSING_SERVICE, NO_TEXT_SERVICE};
use tactus_jaeger::from_otlp::NO_SERVICE_NAME;
use tactus_model::TenantId;
use tactus_query::{Frontend, Listed, attribute};
use tactus_traceql::eval::{TagValue, TagValueType};
use tactus_traceql::{Attribute, AttributeScope, Intrinsic};

/// The attribute of a resource that names the service.
pub(crate) const SERVICE_NAME: &str = "service.name";

type Names = Listed<BTreeSet<String>>;

/// The names of services, those that are no text as their texts, and perhaps an empty one: of all recent data, and of
/// the blocks of the last `window`.
pub(crate) async fn stored_names(
    frontend: &Frontend,
    tenants: &[TenantId],
    window: Duration,
) -> Result<Names> {
    frontend.names(tenants, service_name(), String::new(), window).await
}

/// The names of services in the models of Jaeger and Zipkin.
pub(crate) async fn model_names(
    frontend: &Frontend,
    tenants: &[TenantId],
    window: Duration,
) -> Result<Names> {
    let mut names = stored_names(frontend, tenants, window).await?;
    if names.list.remove("") {
        names.list.insert(NO_SERVICE_NAME.to_owned());
        return Ok(names);
    }
    add_unnamed(&mut names, NO_SERVICE_NAME, frontend, tenants).await?;
    Ok(names)
}

/// The names of services in adjusted traces.
pub(crate) async fn adjusted_names(
    frontend: &Frontend,
    tenants: &[TenantId],
    window: Duration,
) -> Result<Names> {
    let mut names = stored_names(frontend, tenants, window).await?;
    if names.list.remove("") {
        names.list.insert(EMPTY_SERVICE.to_owned());
    }
    if names.list.iter().any(|name| may_be_no_text(name)) {
        let (typed, partial) = typed_names(frontend, tenants, window).await?;
        names.partial |= partial;
        replace_no_texts(&mut names.list, typed);
    }
    add_unnamed(&mut names, MISSING_SERVICE, frontend, tenants).await?;
    Ok(names)
}

/// True if a number or a boolean may have this text.
pub(crate) fn may_be_no_text(name: &str) -> bool {
    matches!(name, "true" | "false") || name.parse::<f64>().is_ok()
}

/// The names with their types, and whether some may be missing.
async fn typed_names(
    frontend: &Frontend,
    tenants: &[TenantId],
    window: Duration,
) -> Result<(Vec<TagValue>, bool)> {
    let since = window.min(frontend.longest_search(tenants).unwrap_or(Duration::MAX));
    let query = TagValuesQuery {
        query: String::new(),
        range: RequestedRange { since: Some(since), ..RequestedRange::default() },
        limit: 0,
        max_stale: 0,
    };
    let tag = RequestedTag::Stored(vec![service_name()]);
    let found = frontend.tag_values(tenants, &tag, &query, true).await?;
    Ok((found.values, found.partial))
}

/// Puts [`NO_TEXT_SERVICE`] in place of names that no service has as text.
fn replace_no_texts(names: &mut BTreeSet<String>, values: Vec<TagValue>) {
    let (texts, others): (Vec<_>, Vec<_>) =
        values.into_iter().partition(|value| value.value_type == TagValueType::String);
    let texts: HashSet<String> = texts.into_iter().map(|value| value.text).collect();
    for other in others {
        names.insert(NO_TEXT_SERVICE.to_owned());
        if !texts.contains(&other.text) {
            names.remove(&other.text);
        }
    }
}

/// Adds `name` if recent data have spans without a name for their service. Summaries of blocks do not tell of those, and columns
/// of all blocks would have to be read each time that somebody opens Jaeger's page.
async fn add_unnamed(
    names: &mut Names,
    name: &str,
    frontend: &Frontend,
    tenants: &[TenantId],
) -> Result<()> {
    let unnamed = format!("{{ !({} != nil) }}", attribute(AttributeScope::Resource, SERVICE_NAME));
    // Spans have few kinds.
    let kind = Attribute::Intrinsic(Intrinsic::Kind);
    // Not at the same time as the names: a tenant may have few queries at a time.
    let kinds = frontend.recent_names(tenants, kind.to_string(), &unnamed).await?;
    names.partial |= kinds.partial;
    if !kinds.list.is_empty() {
        names.list.insert(name.to_owned());
    }
    Ok(())
}

fn service_name() -> Attribute {
    let (scope, name) = (AttributeScope::Resource, SERVICE_NAME.into());
    Attribute::Named { scope, parent: false, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_booleans_are_not_mistaken_for_texts() {
        for name in ["5", "-1", "2.5", "1e+21", "NaN", "true", "false"] {
            assert!(may_be_no_text(name), "{name}");
        }
        for name in ["", "shop", "v5", "5xx", "True", "1.2.3"] {
            assert!(!may_be_no_text(name), "{name}");
        }
    }

    #[test]
    fn names_that_are_no_text_have_one_in_their_place() {
        let value = |value_type, text: &str| TagValue { value_type, text: text.to_owned() };
        let mut names = BTreeSet::from(["5", "6", "7", "shop", "true"].map(str::to_owned));
        let values = vec![
            value(TagValueType::Bool, "true"),
            value(TagValueType::Int, "5"),
            value(TagValueType::Int, "6"),
            value(TagValueType::String, "6"),
            value(TagValueType::String, "shop"),
        ];
        replace_no_texts(&mut names, values);
        // 7 is only in recent data of older spans, whose types nobody tells.
        assert_eq!(Vec::from_iter(names), ["6", "7", "service-name-wrong-type", "shop"]);
    }
}
