//! Converts the conditions of a Zipkin search to TraceQL.
//!
//! Conditions apply to a span in Zipkin's model, where status, kind and scope are tags.

use tactus_jaeger::from_otlp::NO_SERVICE_NAME;
use tactus_query::{attribute, equals_text, quoted};
use tactus_traceql::AttributeScope::{Instrumentation, Resource, Span};

use super::params::TraceConditions;
use crate::not_utf8::not_utf8;
use crate::services::{SERVICE_NAME, may_be_no_text};

/// Where the tags of a span come from.
const SCOPES: [tactus_traceql::AttributeScope; 3] = [Span, Instrumentation, Resource];

/// The query whose spans satisfy all conditions.
///
/// A filter looks at one event of a span at a time, so that each condition that may be about an event is a filter of its
/// own; filters one after the other choose among the spans.
pub(super) fn traceql(conditions: &TraceConditions) -> String {
    let mut of_span = Vec::new();
    of_span.extend(conditions.service.as_deref().map(service));
    of_span.extend(conditions.remote_service.as_deref().map(remote_service));
    of_span.extend(conditions.span_name.as_deref().map(|name| equals_any_case("name", name)));
    of_span.extend(
        conditions.min_duration.map(|micros| format!("duration >= {}ns", shortest(micros))),
    );
    of_span
        .extend(conditions.max_duration.map(|micros| format!("duration < {}ns", beyond(micros))));
    let mut of_events = Vec::new();
    for (key, value) in &conditions.annotations {
        match value {
            Some(value) => of_span.push(tag(key, value)),
            None => of_events.push(tag_or_event(key)),
        }
    }
    let mut query = format!("{{ {} }}", of_span.join(" && "));
    for condition in of_events {
        query.push_str(&format!(" | {{ {condition} }}"));
    }
    query
}

/// Spans of a service, whose name may be a number or a boolean.
pub(super) fn service(name: &str) -> String {
    let service = attribute(Resource, SERVICE_NAME);
    let named = equals_any_case(&service, name);
    if name.eq_ignore_ascii_case(NO_SERVICE_NAME) {
        return format!("({named} || {service} = `` || !({service} != nil))");
    }
    if may_be_no_text(name) {
        return format!("({named} || {})", equals_text(&[Resource], SERVICE_NAME, name));
    }
    named
}

fn remote_service(name: &str) -> String {
    equals_any_case(&attribute(Span, "peer.service"), name)
}

/// Names are shown in lower case whatever they are in, and with U+FFFD in place of bytes that are not UTF-8.
fn equals_any_case(field: &str, name: &str) -> String {
    let has_case = |character: char| character.is_lowercase() || character.is_uppercase();
    let equal = match name.chars().any(has_case) {
        true => format!("{field} =~ {}", quoted(&any_case(name))),
        false => format!("{field} = {}", quoted(name)),
    };
    match name.contains(char::REPLACEMENT_CHARACTER) {
        // The case of how the name begins is not known.
        true => format!("({equal} || {})", not_utf8(field, "")),
        false => equal,
    }
}

/// The pattern of a name in whatever case.
fn any_case(name: &str) -> String {
    // U+0130 is two characters in lower case, which patterns do not take for it.
    let name = regex::escape(name).replace("i\u{307}", "(?:i\u{307}|\u{130})");
    format!("(?i){name}")
}

/// A tag of this text, which may stand for a part of the span that is no attribute.
fn tag(key: &str, value: &str) -> String {
    if key == "error" {
        return error_tag(value);
    }
    let other = match (key, value) {
        ("otel.status_code", "STATUS_CODE_ERROR") => Some("status = error".to_owned()),
        ("otel.status_code", "STATUS_CODE_OK") => Some("status = ok".to_owned()),
        ("otel.status_description", _) => Some(format!("statusMessage = {}", quoted(value))),
        ("span.kind", "internal") => Some("kind = internal".to_owned()),
        ("otel.library.name", _) => Some(format!("instrumentation:name = {}", quoted(value))),
        ("otel.library.version", _) => Some(format!("instrumentation:version = {}", quoted(value))),
        _ => None,
    };
    let equal = equals_text(&SCOPES, key, value);
    other.map_or_else(|| equal.clone(), |other| format!("({equal} || {other})"))
}

/// The tag `error`, which only failed spans show: with the text of the attribute, or `true` where that says nothing.
fn error_tag(value: &str) -> String {
    match value {
        "true" => {
            let says_nothing =
                ["", "true", "false"].map(|text| equals_text(&[Span], "error", text));
            format!("(status = error && (!(span.error != nil) || {}))", says_nothing.join(" || "))
        }
        "" | "false" => "false".to_owned(),
        _ => format!("(status = error && {})", equals_text(&[Span], "error", value)),
    }
}

/// A tag with this key, or an event with this name.
fn tag_or_event(key: &str) -> String {
    if key == "error" {
        return "(status = error || event:name = `error`)".to_owned();
    }
    let mut alternatives: Vec<_> =
        SCOPES.iter().map(|scope| format!("{} != nil", attribute(*scope, key))).collect();
    alternatives.push(format!("event:name = {}", quoted(key)));
    match key {
        "otel.status_code" => alternatives.push("status != unset".to_owned()),
        "otel.status_description" => alternatives.push("statusMessage != \"\"".to_owned()),
        "otel.library.name" => alternatives.push("instrumentation:name != \"\"".to_owned()),
        "otel.library.version" => alternatives.push("instrumentation:version != \"\"".to_owned()),
        "span.kind" => alternatives.push("kind = internal".to_owned()),
        _ => {}
    }
    format!("({})", alternatives.join(" || "))
}

/// Nanoseconds that are shown as this many microseconds at least: durations are rounded, but never to 0.
fn shortest(micros: u64) -> i64 {
    match micros {
        0 => 0,
        1 => 1,
        micros => nanos(micros).saturating_sub(500),
    }
}

/// Nanoseconds that are shown as more than this many microseconds.
fn beyond(micros: u64) -> i64 {
    match micros {
        0 => 1,
        micros => nanos(micros).saturating_add(500),
    }
}

fn nanos(micros: u64) -> i64 {
    i64::try_from(micros.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_api::request::parse_traceql;
    use tactus_traceql::eval::CompiledQuery;

    use super::*;
    use crate::not_utf8::tests::is_met;

    fn of_annotations(annotations: &[(&str, Option<&str>)]) -> TraceConditions {
        let owned = annotations.iter();
        let owned = owned.map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)));
        TraceConditions { annotations: owned.collect(), ..TraceConditions::default() }
    }

    #[track_caller]
    fn check(conditions: &TraceConditions, expected: &str) {
        let query = traceql(conditions);
        assert_eq!(query, expected);
        CompiledQuery::compile(&parse_traceql(&query, 0).unwrap()).unwrap();
    }

    #[test]
    fn no_condition_finds_all() {
        check(&TraceConditions::default(), "{  }");
    }

    #[test]
    fn names_are_compared_without_case() {
        let conditions = TraceConditions {
            service: Some("api.v1".to_owned()),
            remote_service: Some("42".to_owned()),
            span_name: Some("get \"/\"".to_owned()),
            min_duration: Some(2),
            max_duration: Some(3),
            ..TraceConditions::default()
        };
        check(
            &conditions,
            r#"{ resource.service.name =~ `(?i)api\.v1` && span.peer.service = `42` && name =~ `(?i)get "/"` && duration >= 1500ns && duration < 3500ns }"#,
        );
        let none = service("OTLPResourceNoServiceName");
        let missing = "|| resource.service.name = `` || !(resource.service.name != nil))";
        assert!(none.ends_with(missing), "{none}");
    }

    #[test]
    fn names_are_found_as_they_are_listed() {
        for name in ["Stra\u{df}e", "\u{130}ST", "D\u{130}YAR (\u{130})", "\u{39f}\u{3a3}"] {
            for asked in [name, &name.to_lowercase()] {
                assert!(is_met(&equals_any_case("name", asked), name.as_bytes()), "{asked}");
            }
        }
        assert!(!is_met(&equals_any_case("name", "i\u{307}x"), b"ix"));
        let listed = String::from_utf8_lossy(b"CAF\xe9").to_lowercase();
        assert!(is_met(&equals_any_case("name", &listed), b"CAF\xe9"));
        assert!(!is_met(&equals_any_case("name", &listed), b"CAF"));
    }

    #[test]
    fn services_are_found_by_numbers_and_booleans() {
        let conditions = |service: &str| TraceConditions {
            service: Some(service.to_owned()),
            ..TraceConditions::default()
        };
        check(
            &conditions("5"),
            "{ (resource.service.name = `5` || (resource.service.name = `5` || resource.service.name = 5)) }",
        );
        check(
            &conditions("true"),
            "{ (resource.service.name =~ `(?i)true` || (resource.service.name = `true` || resource.service.name = true)) }",
        );
    }

    #[test]
    fn short_durations_are_never_nothing() {
        assert_eq!((shortest(0), shortest(1), beyond(0)), (0, 1, 1));
        assert_eq!((shortest(u64::MAX), beyond(u64::MAX)), (i64::MAX - 500, i64::MAX));
    }

    #[test]
    fn annotations_are_tags_events_or_parts_of_the_span() {
        check(
            &of_annotations(&[("error", Some("true")), ("retry", None), ("cs", None)]),
            "{ (status = error && (!(span.error != nil) || (span.error = ``) || (span.error = `true` || span.error = true) || (span.error = `false` || span.error = false))) } | { (span.retry != nil || instrumentation.retry != nil || resource.retry != nil || event:name = `retry`) } | { (span.cs != nil || instrumentation.cs != nil || resource.cs != nil || event:name = `cs`) }",
        );
        for key in [
            "error",
            "otel.status_code",
            "otel.status_description",
            "otel.library.name",
            "span.kind",
        ] {
            for value in [None, Some("STATUS_CODE_OK"), Some("internal")] {
                let query = traceql(&of_annotations(&[(key, value)]));
                CompiledQuery::compile(&parse_traceql(&query, 0).unwrap()).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_query(key in "\\PC{1,12}", value in "\\PC{1,12}", service in "\\PC{1,12}") {
            let mut conditions =
                of_annotations(&[(key.as_str(), Some(value.as_str())), (value.as_str(), None)]);
            conditions.service = Some(service.clone());
            conditions.span_name = Some(service);
            let query = traceql(&conditions);
            let root = parse_traceql(&query, 0).unwrap();
            prop_assert!(CompiledQuery::compile(&root).is_ok(), "{}", query);
        }
    }
}
