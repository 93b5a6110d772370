//! Converts the conditions of a Jaeger search to TraceQL.
//!
//! A trace matches if one span satisfies all conditions. A filter checks one event of a span at a time. So two tags
//! that two different events of a span have need a filter each; consecutive filters select among the spans.

use tactus_jaeger::adjust::{EMPTY_SERVICE, MISSING_SERVICE, NO_TEXT_SERVICE};
use tactus_jaeger::from_otlp::NO_SERVICE_NAME;
use tactus_query::{attribute, equals_text, quoted};
use tactus_traceql::AttributeScope::{self, Event, Instrumentation, Link, Resource, Span};

use super::types::{TraceFilter, parse_kind};
use crate::not_utf8::not_utf8;
use crate::services::{SERVICE_NAME, may_be_no_text};

const ANYWHERE: [AttributeScope; 5] = [Span, Instrumentation, Resource, Event, Link];

/// Shown in place of the name that a span lacks; a search for it finds such spans.
pub(super) const EMPTY_NAME: &str = "empty-span-name";

/// Shown in place of the name of a span that is not UTF-8.
const INVALID_NAME: &str = "invalid-span-name";

/// What a tag asks for.
enum Condition {
    /// This, of the span.
    Span(String),
    /// This, of the span or of one of its events or links.
    Anywhere(String),
    /// What no span has.
    Never,
}

/// The query of a filter. `service`: the condition of its service. `None`: no span can match.
pub(super) fn traceql(filter: &TraceFilter, service: Option<String>) -> Option<String> {
    let mut conditions = Vec::from_iter(service);
    if !filter.operation.is_empty() {
        conditions.push(operation(&filter.operation));
    }
    if let Some(shortest) = filter.min_duration {
        conditions.push(format!("duration >= {}ns", nanos(shortest)));
    }
    if let Some(longest) = filter.max_duration {
        conditions.push(format!("duration <= {}ns", nanos(longest)));
    }
    spans(conditions, &filter.tags)
}

/// The spans that satisfy these conditions and have these tags. `None`: there are none.
pub(super) fn spans(mut conditions: Vec<String>, tags: &[(String, String)]) -> Option<String> {
    let mut anywhere = Vec::new();
    for (key, value) in tags {
        match tag(key, value) {
            Condition::Span(condition) => conditions.push(condition),
            Condition::Anywhere(condition) => anywhere.push(condition),
            Condition::Never => return None,
        }
    }
    let mut anywhere = anywhere.into_iter();
    conditions.extend(anywhere.next());
    let mut query = format!("{{ {} }}", conditions.join(" && "));
    for condition in anywhere {
        query.push_str(&format!(" | {{ {condition} }}"));
    }
    Some(query)
}

/// Spans of a service.
pub(super) fn service(name: &str) -> String {
    any(of_service(name))
}

/// Spans of a service of this name, or of those that it joins by commas, as the UI does.
pub(super) fn services(names: &str) -> String {
    let parts = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    any(std::iter::once(names).chain(parts).flat_map(of_service).collect())
}

/// Conditions of which spans of a service meet one. Names that stand for those that spans lack find such spans.
fn of_service(name: &str) -> Vec<String> {
    let attribute = attribute(Resource, SERVICE_NAME);
    // TraceQL does not let one ask for its absence.
    let is_missing = || format!("!({attribute} != nil)");
    let is_empty = || format!("{attribute} = {}", quoted(""));
    // Lists of texts are not found: what tells them from texts is of no use in filters of names.
    let is_no_text = || format!("({attribute} != nil && !({attribute} >= ``))");
    let mut alternatives = vec![format!("{attribute} = {}", quoted(name))];
    match name {
        MISSING_SERVICE => alternatives.push(is_missing()),
        EMPTY_SERVICE => alternatives.push(is_empty()),
        NO_TEXT_SERVICE => alternatives.push(is_no_text()),
        NO_SERVICE_NAME => alternatives.extend([is_empty(), is_missing()]),
        name if may_be_no_text(name) => return vec![equals_text(&[Resource], SERVICE_NAME, name)],
        name => alternatives.extend(shown_as_text(&attribute, name)),
    }
    alternatives
}

fn operation(name: &str) -> String {
    let mut alternatives = vec![format!("name = {}", quoted(name))];
    match name {
        EMPTY_NAME => alternatives.push(format!("name = {}", quoted(""))),
        INVALID_NAME => alternatives.push(not_utf8("name", "")),
        name => alternatives.extend(shown_as_text("name", name)),
    }
    any(alternatives)
}

/// The condition of names that are not UTF-8 and may be listed as `name`.
fn shown_as_text(field: &str, name: &str) -> Option<String> {
    let (start, _) = name.split_once(char::REPLACEMENT_CHARACTER)?;
    Some(not_utf8(field, start))
}

fn tag(key: &str, value: &str) -> Condition {
    match (key, value) {
        ("error", "true") => Condition::Span("status = error".to_owned()),
        ("error", "false") => Condition::Span("status != error".to_owned()),
        ("span.kind", kind) => match parse_kind(kind) {
            Some(_) => Condition::Span(format!("kind = {kind}")),
            None => Condition::Never,
        },
        ("span.status", status @ ("unset" | "ok" | "error")) => {
            Condition::Span(format!("status = {status}"))
        }
        ("span.status", _) => Condition::Never,
        ("scope.name", name) => Condition::Span(format!("instrumentation:name = {}", quoted(name))),
        ("scope.version", version) => {
            Condition::Span(format!("instrumentation:version = {}", quoted(version)))
        }
        (key, value) => match key.strip_prefix("resource.") {
            Some(key) => Condition::Span(equals_text(&[Resource], key, value)),
            None => {
                let mut alternatives = vec![equals_text(&ANYWHERE, key, value)];
                alternatives.extend(shown_as(key, value));
                Condition::Anywhere(any(alternatives))
            }
        },
    }
}

/// The part of a span, or of one of its events, that answers show as this tag although it is no attribute.
fn shown_as(key: &str, value: &str) -> Option<String> {
    let field = match (key, value) {
        ("otel.status_code", "ERROR") => return Some("status = error".to_owned()),
        ("otel.status_code", "OK") => return Some("status = ok".to_owned()),
        // A span without a message or a scope shows no tag.
        (_, "") => return None,
        ("otel.status_description", _) => "statusMessage",
        ("otel.scope.name", _) => "instrumentation:name",
        ("otel.scope.version", _) => "instrumentation:version",
        ("event", _) => "event:name",
        _ => return None,
    };
    Some(format!("{field} = {}", quoted(value)))
}

/// Any of these conditions, of which there is one at least.
pub(super) fn any(alternatives: Vec<String>) -> String {
    match alternatives.as_slice() {
        [one] => one.clone(),
        _ => format!("({})", alternatives.join(" || ")),
    }
}

/// Nanoseconds of a duration, as many as TraceQL can tell.
fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
