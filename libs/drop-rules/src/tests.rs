use std::{ops::Range, sync::Arc};

use parking_lot::Mutex;
use proptest::prelude::*;
use prost::Message;
use tactus_config::sections::overrides::Limits;
use tactus_model::{TenantId, hashed_text};
use tactus_proto::otlp::{
    AnyValue, ExportTraceServiceRequest, InstrumentationLibrarySpans, KeyValue, Resource,
    ResourceSpans, ScopeSpans, Span, any_value::Value, span,
};
use tactus_telemetry::metrics::Registry;
use tactus_work::Stop;

use super::*;
use crate::spans::SPANS_AT_A_TIME;

fn rule(name: &str, query: &str, action: &str, attributes: &[&str]) -> DropRule {
    DropRule {
        name: name.to_owned(),
        query: query.to_owned(),
        action: action.to_owned(),
        attributes: attributes.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: Bytes::copy_from_slice(key.as_bytes()), value }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(Bytes::copy_from_slice(value.as_bytes())))
}

fn span_of(number: u8, name: &str, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![number + 1; 16].into(),
        span_id: vec![number + 1; 8].into(),
        name: Bytes::copy_from_slice(name.as_bytes()),
        start_time_unix_nano: 1,
        end_time_unix_nano: 1_000_001,
        attributes,
        ..Span::default()
    }
}

fn resource_spans(attributes: Vec<KeyValue>, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, schema_url: "s".into(), ..ScopeSpans::default() }],
        schema_url: "r".into(),
        ..ResourceSpans::default()
    }
}

fn encoded(resource_spans: Vec<ResourceSpans>) -> Bytes {
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

fn decoded(request: &Bytes) -> Vec<ResourceSpans> {
    ExportTraceServiceRequest::decode(request.clone()).unwrap().resource_spans
}

fn apply(rules: &[DropRule], request: &Bytes) -> Applied {
    RuleSet::compile(rules).unwrap().apply(request).unwrap()
}

/// The result of a rule that could be evaluated.
fn did(spans: u64) -> RuleResult {
    RuleResult { spans, unknown: 0 }
}

#[test]
fn spans_that_match_are_dropped_and_all_else_stays_as_it_was() {
    let stays = span_of(1, "GET /", vec![text("a", "b")]);
    let health = || span_of(2, "/healthz", vec![]);
    let request = encoded(vec![
        resource_spans(vec![text("service.name", "x")], vec![health(), stays.clone(), health()]),
        resource_spans(vec![text("service.name", "y")], vec![health()]),
    ]);
    let applied = apply(&[rule("health", "{ name = \"/healthz\" }", "drop", &[])], &request);
    let expected = vec![resource_spans(vec![text("service.name", "x")], vec![stays])];
    assert_eq!(applied.request, encoded(expected));
    assert_eq!((applied.dropped, applied.by_rule), (3, vec![did(3)]));
}

#[test]
fn request_that_no_rule_touches_is_the_same_bytes() {
    let request = encoded(vec![resource_spans(vec![], vec![span_of(1, "x", vec![])])]);
    let rules = [
        rule("a", "{ name = \"y\" }", "drop", &[]),
        rule("b", "{ span.k = 1 }", "remove_attributes", &["span.k"]),
    ];
    let applied = apply(&rules, &request);
    assert_eq!(applied.request.as_ptr(), request.as_ptr());
    assert_eq!(applied.by_rule, [did(0), did(0)]);
}

#[test]
fn attributes_are_removed_where_the_rule_says() {
    let all = || vec![text("email", "a@b"), text("keep", "x")];
    let kept = || vec![text("keep", "x")];
    let mut span = span_of(1, "x", all());
    span.events = vec![span::Event { attributes: all(), ..span::Event::default() }];
    span.links = vec![span::Link { attributes: all(), ..span::Link::default() }];
    let request = encoded(vec![resource_spans(all(), vec![span])]);
    for (target, kept_by) in [
        ("span.email", [all(), kept(), all(), all()]),
        ("resource.email", [kept(), all(), all(), all()]),
        ("event.email", [all(), all(), kept(), all()]),
        ("link.email", [all(), all(), all(), kept()]),
        (".email", [kept(), kept(), all(), all()]),
        ("span.other", [all(), all(), all(), all()]),
    ] {
        let rule = rule("r", "{ }", "remove_attributes", &[target]);
        let request = decoded(&apply(&[rule], &request).request);
        let span = &request[0].scope_spans[0].spans[0];
        let resource = request[0].resource.as_ref().unwrap().attributes.clone();
        let found =
            [&resource, &span.attributes, &span.events[0].attributes, &span.links[0].attributes];
        assert_eq!(found, kept_by.each_ref(), "{target}");
    }
}

#[test]
fn hash_is_that_of_redaction_whatever_the_type() {
    let hash = |text: &str| hashed_text(text.as_bytes()).unwrap();
    let done = hash("done");
    let values = [
        (Value::StringValue("bob".into()), hash("bob")),
        (Value::IntValue(-7), hash("-7")),
        (Value::DoubleValue(1.5), hash("1.5")),
        (Value::BoolValue(true), hash("true")),
        (Value::StringValue(done.clone().into()), done),
    ];
    for (value, expected) in values {
        let span = span_of(1, "x", vec![attribute("user", value)]);
        let request = encoded(vec![resource_spans(vec![], vec![span])]);
        let applied = apply(&[rule("r", "{ }", "hash_attributes", &["span.user"])], &request);
        let request = decoded(&applied.request);
        assert_eq!(request[0].scope_spans[0].spans[0].attributes, [text("user", &expected)]);
    }
}

#[test]
fn spans_that_cannot_be_evaluated_are_edited_and_not_dropped() {
    let spans = (0..5).map(|number| span_of(number, "x", vec![text("k", "v")])).collect();
    let request = encoded(vec![resource_spans(vec![text("k", "v")], spans)]);
    let rules = [
        rule("drop", "{ span.k = \"v\" }", "drop", &[]),
        rule("remove", "{ span.k = \"other\" }", "remove_attributes", &[".k"]),
        rule("every", "{ }", "hash_attributes", &["span.k"]),
    ];
    let over = || {
        let (stop, _stop_on_drop) = Stop::new();
        stop.stop();
        Work::default().stopped_by(stop)
    };
    let applied = RuleSet::compile(&rules).unwrap().apply_within(&request, over).unwrap();
    let spans = (0..5).map(|number| span_of(number, "x", vec![])).collect();
    assert_eq!(decoded(&applied.request), [resource_spans(vec![], spans)]);
    assert_eq!(applied.dropped, 0);
    let unknown = |spans| RuleResult { spans, unknown: 5 };
    assert_eq!(applied.by_rule, [unknown(0), unknown(5), did(5)]);
}

#[test]
fn large_request_is_evaluated_in_parts() {
    let count = 2 * SPANS_AT_A_TIME + 10;
    let name = |number: usize| if number.is_multiple_of(7) { "a" } else { "b" };
    let span = |number: usize| Span {
        span_id: (number as u64 + 1).to_be_bytes().to_vec().into(),
        ..span_of(0, name(number), vec![])
    };
    let part = |spans: Range<usize>| {
        resource_spans(vec![text("service.name", "x")], spans.map(span).collect())
    };
    let request = encoded(vec![part(0..5), part(5..count)]);
    let applied =
        apply(&[rule("r", "{ name = \"a\" && .service.name = \"x\" }", "drop", &[])], &request);
    let spans: Vec<_> = decoded(&applied.request)
        .into_iter()
        .flat_map(|it| it.scope_spans)
        .flat_map(|it| it.spans)
        .collect();
    let expected: Vec<_> = (0..count).filter(|number| number % 7 != 0).map(span).collect();
    assert_eq!(spans, expected);
    assert_eq!(applied.dropped as usize, count - expected.len());
    let spans = RequestSpans::read(&request, true).unwrap();
    let filter = SpanFilter::compile("{ name = \"a\" }").unwrap();
    assert_eq!(spans.find(&filter, &limits()).matching.len(), count - expected.len());
}

#[test]
fn resource_is_changed_if_a_span_that_stays_matches() {
    let attributes = || vec![text("user", "bob")];
    let spans = || vec![span_of(1, "a", vec![]), span_of(2, "b", vec![])];
    let request = encoded(vec![
        resource_spans(attributes(), spans()),
        resource_spans(attributes(), vec![span_of(3, "c", vec![])]),
    ]);
    let remove = |query: &str| rule("remove", query, "remove_attributes", &["resource.user"]);
    let changed = |rules: &[DropRule]| -> Vec<bool> {
        let request = decoded(&apply(rules, &request).request);
        request.iter().map(|it| it.resource.as_ref().unwrap().attributes.is_empty()).collect()
    };
    assert_eq!(changed(&[remove("{ name = \"a\" }")]), [true, false]);
    assert_eq!(changed(&[remove("{ }")]), [true, true]);
    let drop = rule("drop", "{ name = \"a\" }", "drop", &[]);
    assert_eq!(changed(&[remove("{ name = \"a\" }"), drop]), [false, false]);
}

#[test]
fn removal_outweighs_a_hash_and_a_dropped_span_counts_once() {
    let span = || span_of(1, "x", vec![text("k", "v")]);
    let request = encoded(vec![resource_spans(vec![], vec![span()])]);
    let rules = [
        rule("hash", "{ }", "hash_attributes", &["span.k"]),
        rule("remove", "{ span.k = \"v\" }", "remove_attributes", &["span.k"]),
    ];
    let applied = apply(&rules, &request);
    assert!(decoded(&applied.request)[0].scope_spans[0].spans[0].attributes.is_empty());
    assert_eq!(applied.by_rule, [did(1), did(1)]);
    let rules = [
        rules[0].clone(),
        rule("one", "{ }", "drop", &[]),
        rule("two", "{ name = \"x\" }", "drop", &[]),
    ];
    let applied = apply(&rules, &request);
    assert!(applied.request.is_empty());
    let expected = [did(0), did(1), did(0)];
    assert_eq!((applied.dropped, applied.by_rule.as_slice()), (1, &expected[..]));
}

#[test]
fn spans_with_bad_ids_are_left_to_those_who_refuse_them() {
    let bad = Span { span_id: Bytes::new(), ..span_of(1, "x", vec![]) };
    let spans = vec![bad.clone(), Span::default(), span_of(2, "x", vec![])];
    let request = encoded(vec![resource_spans(vec![], spans)]);
    for query in ["{ }", "{ name = \"x\" }"] {
        let applied = apply(&[rule("r", query, "drop", &[])], &request);
        let left = &decoded(&applied.request)[0].scope_spans[0].spans;
        assert_eq!(*left, [bad.clone(), Span::default()]);
    }
    let (forwarded, left) = without(&request, &[]).unwrap();
    assert_eq!(left, 1);
    assert_eq!(decoded(&forwarded)[0].scope_spans[0].spans, [span_of(2, "x", vec![])]);
}

#[test]
fn spans_of_old_senders_are_found() {
    let library = |spans| ResourceSpans {
        instrumentation_library_spans: vec![InstrumentationLibrarySpans {
            spans,
            ..InstrumentationLibrarySpans::default()
        }],
        ..ResourceSpans::default()
    };
    let request = encoded(vec![library(vec![span_of(1, "a", vec![]), span_of(2, "b", vec![])])]);
    let applied = apply(&[rule("r", "{ name = \"a\" }", "drop", &[])], &request);
    assert_eq!(applied.request, encoded(vec![library(vec![span_of(2, "b", vec![])])]));
}

#[test]
fn rules_that_cannot_be_are_refused_by_name_and_key() {
    let refused = |rule: DropRule| RuleSet::compile(&[rule]).unwrap_err();
    for (rule, expected) in [
        (rule("", "{ }", "drop", &[]), "drop_rules[0] (\"\"): name: is empty"),
        (rule("a", "{ name = }", "drop", &[]), "drop_rules[0] (\"a\"): query: "),
        (rule("a", "{ } >> { }", "drop", &[]), "query: { } >> { }: only a filter on single spans"),
        (
            rule("a", "{ traceDuration > 1s }", "drop", &[]),
            "query: { traceDuration > 1s }: traceDuration depends on other spans",
        ),
        (rule("a", "{ }", "keep", &[]), "action: \"keep\" is none of drop, remove_attributes, "),
        (rule("a", "{ }", "drop", &["span.x"]), "attributes: have no meaning for action drop"),
        (rule("a", "{ }", "hash_attributes", &[]), "attributes: none is named"),
        (rule("a", "{ }", "hash_attributes", &["name"]), "\"name\" is no attribute that can be"),
        (rule("a", "{ }", "hash_attributes", &["parent.x"]), "is no attribute that can be"),
        (rule("a", "{ }", "hash_attributes", &["x"]), "attributes: \"x\" is none of span.x"),
    ] {
        let error = refused(rule);
        assert!(error.contains(expected), "{error}");
    }
    let twice = [rule("a", "{ }", "drop", &[]), rule("a", "{ }", "drop", &[])];
    let error = RuleSet::compile(&twice).unwrap_err();
    assert_eq!(error, "drop_rules[1] (\"a\"): name: another rule has it");
}

#[test]
fn rules_are_compiled_once_and_again_when_they_change() {
    let limits =
        |rules: &[DropRule]| Arc::new(Limits { drop_rules: rules.to_vec(), ..Limits::default() });
    let one = rule("one", "{ }", "drop", &[]);
    let current = Arc::new(Mutex::new(limits(std::slice::from_ref(&one))));
    let shown = Arc::clone(&current);
    let book = RuleBook::new(
        vec![rule("all", "{ }", "drop", &[])],
        Arc::new(move |_| Arc::clone(&shown.lock())),
        &Registry::new(),
    );
    let book = book.unwrap();
    let names = |set: &RuleSet| set.names().map(str::to_owned).collect::<Vec<_>>();
    let tenant = TenantId::single();
    let first = book.of(&tenant).unwrap();
    assert_eq!(names(&first), ["all", "one"]);
    assert!(Arc::ptr_eq(&first, &book.of(&tenant).unwrap()));
    for number in 0..200 {
        *current.lock() = limits(&[rule(&format!("r{number}"), "{ }", "drop", &[])]);
        assert_eq!(names(&book.of(&tenant).unwrap()), ["all".to_owned(), format!("r{number}")]);
    }
    *current.lock() = limits(&[]);
    assert_eq!(names(&book.of(&tenant).unwrap()), ["all"]);
    let none = RuleBook::new(vec![], Arc::new(|_| Arc::default()), &Registry::new()).unwrap();
    assert!(none.of(&tenant).is_none());
    let refused = RuleBook::new(
        vec![rule("a", "{", "drop", &[])],
        Arc::new(|_| Arc::default()),
        &Registry::new(),
    );
    assert!(refused.unwrap_err().starts_with("drop_rules[0] (\"a\"): query: "));
}

/// What rules do, said on decoded messages.
mod expected {
    use super::*;

    fn has(attributes: &[KeyValue], wanted: &KeyValue) -> bool {
        attributes.contains(wanted)
    }

    /// Drops spans named `a`, removes `k` of spans with `m` = "1" and of their resources.
    pub(super) fn of(mut request: Vec<ResourceSpans>) -> Vec<ResourceSpans> {
        let marker = text("m", "1");
        request.retain_mut(|resource_spans| {
            let mut remove_from_resource = false;
            for scope_spans in &mut resource_spans.scope_spans {
                scope_spans.spans.retain(|span| span.name != "a");
                for span in &mut scope_spans.spans {
                    if has(&span.attributes, &marker) {
                        remove_from_resource = true;
                        span.attributes.retain(|attribute| attribute.key != "k");
                    }
                }
            }
            let had = !resource_spans.scope_spans.is_empty();
            resource_spans.scope_spans.retain(|scope_spans| !scope_spans.spans.is_empty());
            if remove_from_resource && let Some(resource) = &mut resource_spans.resource {
                resource.attributes.retain(|attribute| attribute.key != "k");
            }
            !(had && resource_spans.scope_spans.is_empty())
        });
        request
    }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let one = prop_oneof![
        Just(text("k", "v")),
        Just(attribute("k", Value::IntValue(3))),
        Just(text("other", "v")),
    ];
    (
        prop::collection::vec(one, 0..3),
        prop::option::of(prop_oneof![Just(text("m", "1")), Just(text("m", "2")),]),
    )
        .prop_map(|(mut all, marker)| {
            all.extend(marker);
            all
        })
}

fn requests() -> impl Strategy<Value = Vec<ResourceSpans>> {
    let span = (0u8..9, prop_oneof![Just("a"), Just("b"), Just("")], attributes())
        .prop_map(|(number, name, attributes)| span_of(number, name, attributes));
    let scope_spans = prop::collection::vec(span, 1..4)
        .prop_map(|spans| ScopeSpans { spans, ..ScopeSpans::default() });
    let resource = (attributes(), prop::collection::vec(scope_spans, 1..3));
    let resource_spans = resource.prop_map(|(attributes, scope_spans)| ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans,
        schema_url: "r".into(),
        ..ResourceSpans::default()
    });
    prop::collection::vec(resource_spans, 0..4)
}

proptest! {
    #[test]
    fn rules_do_to_bytes_what_they_say_and_nothing_else(request in requests()) {
        let rules = [
            rule("drop", "{ name = \"a\" }", "drop", &[]),
            rule("remove", "{ span.m = \"1\" }", "remove_attributes", &[".k"]),
        ];
        let applied = apply(&rules, &encoded(request.clone()));
        prop_assert_eq!(&applied.request, &encoded(expected::of(request)));
    }

    #[test]
    fn rules_that_match_nothing_change_nothing(request in requests()) {
        let rules = [
            rule("drop", "{ name = \"none\" }", "drop", &[]),
            rule("hash", "{ span.m = \"9\" }", "hash_attributes", &[".k", "event.k"]),
        ];
        let request = encoded(request);
        let applied = apply(&rules, &request);
        prop_assert_eq!(applied.request.as_ptr(), request.as_ptr());
        prop_assert_eq!(applied.dropped, 0);
    }

    #[test]
    fn damage_is_an_error_or_stays(
        request in requests(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let rules = [
            rule("drop", "{ name = \"a\" }", "drop", &[]),
            rule("hash", "{ }", "hash_attributes", &[".k", "event.k", "link.k"]),
        ];
        let rules = RuleSet::compile(&rules).unwrap();
        let mut bytes = encoded(request).to_vec();
        if bytes.is_empty() {
            return Ok(());
        }
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = rules.apply(&bytes.clone().into());
        bytes.truncate(cut.index(bytes.len()));
        let _ = rules.apply(&bytes.into());
    }
}
