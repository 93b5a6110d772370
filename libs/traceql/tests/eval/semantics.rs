//! Rules of answers that the conformance file does not pin.

use std::sync::Arc;

use tactus_model::SpanBatch;
use tactus_traceql::eval::{
    AttributeValue, CompiledQuery, EvaluateError, SearchOptions, ServiceStats, SpanMatch,
    TagCollector, TagFilter, TagLimits, TagScope, TagSearch, TagValue, TagValueType, TraceMatch,
    ValueCollector, Window, collect_tag_values, collect_tags, fixed_tag_values, listed_scopes,
    trace_facts,
};
use tactus_traceql::{Attribute, completion, parse_and_validate, parse_attribute};
use tactus_work::memory::{Budget, QueryMemory};
use tactus_work::{Over, Work};

use super::batches::{Attributes, Event, Group, Link, Span, Stored, live_batch, stored_batch};

fn text(value: &str) -> Stored {
    Stored::String(value.to_owned())
}

fn attributes(pairs: &[(&str, Stored)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn service(name: &str, spans: Vec<Span>) -> Group {
    Group { resource: attributes(&[("service.name", text(name))]), spans, ..Group::default() }
}

fn span(trace: u128, id: u64, parent: u64) -> Span {
    Span { trace, id, parent, start: 100 + id, duration: 10, ..Span::default() }
}

fn search(query: &str, batch: &SpanBatch) -> Vec<TraceMatch> {
    let compiled = CompiledQuery::compile(&parse_and_validate(query).unwrap()).unwrap();
    let matches = compiled.find_matches(batch, Window::default()).unwrap();
    let all = SearchOptions { limit: 0, spans_per_span_set: 0 };
    compiled.assemble(batch, &matches, &all).collect()
}

/// The attributes shown of the only span, as `key=value`, then its name if shown.
fn shown(query: &str, span: Span) -> Vec<String> {
    let found = search(query, &live_batch(&[service("shop", vec![span])]));
    let span = &found[0].span_sets[0].spans[0];
    let pairs = span.attributes.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.chain(span.name.clone()).collect()
}

fn rich_span() -> Span {
    Span {
        name: "GET".to_owned(),
        kind: 2,
        status: 2,
        attributes: attributes(&[
            ("n", Stored::Int(5)),
            ("flag", Stored::Bool(true)),
            ("tags", Stored::Array(vec![text("a"), text("b")])),
            ("one", Stored::Array(vec![text("a")])),
        ]),
        events: vec![
            Event { offset: 1, name: "log".to_owned(), attributes: vec![] },
            Event {
                offset: 2,
                name: "exception".to_owned(),
                attributes: attributes(&[("type", text("io"))]),
            },
        ],
        ..span(1, 1, 0)
    }
}

#[test]
fn attribute_is_shown_where_a_comparison_with_a_constant_is_true() {
    assert_eq!(shown("{ status = error || span.n = 4 }", rich_span()), ["status=error"]);
    assert_eq!(shown("{ status = ok || span.n > 4 }", rich_span()), ["n=5"]);
    assert_eq!(shown("{ !(span.n = 4) && name != \"POST\" }", rich_span()), ["GET"]);
    assert_eq!(shown("{ span.x = nil || kind = server }", rich_span()), ["kind=server"]);
}

#[test]
fn attribute_used_as_a_value_is_shown_where_it_is_present() {
    assert_eq!(shown("{ span.flag }", rich_span()), ["flag=true"]);
    assert_eq!(shown("{ span.n - 1 = 4 && .gone = nil }", rich_span()), ["n=5"]);
    assert_eq!(shown("{} | select(.gone, span.n, name, duration)", rich_span()), ["n=5", "GET"]);
    assert_eq!(shown("{ span.n != nil } | by(kind)", rich_span()), ["n=5", "kind=server"]);
    assert_eq!(shown("{} | max(span.n) = 5", rich_span()), ["n=5"]);
}

#[test]
fn arrays_are_shown_whole_and_one_element_as_itself() {
    assert_eq!(shown("{ span.tags = \"b\" }", rich_span()), ["tags=[\"a\", \"b\"]"]);
    assert_eq!(shown("{ span.one = \"a\" }", rich_span()), ["one=a"]);
}

#[test]
fn event_attribute_is_shown_from_the_event_that_satisfies_the_comparison() {
    assert_eq!(shown("{ event:name = \"exception\" }", rich_span()), ["event:name=exception"]);
    assert_eq!(
        shown("{} | select(event:name, event.type)", rich_span()),
        ["event:name=log", "type=io"]
    );
}

#[test]
fn same_attribute_by_two_names_is_shown_once() {
    assert_eq!(shown("{ .n = 5 && span.n = 5 }", rich_span()), ["n=5"]);
}

#[test]
fn alternatives_without_events_hold_for_spans_without_events() {
    let batch = live_batch(&[service("shop", vec![Span { status: 2, ..span(1, 1, 0) }])]);
    let count = |query| search(query, &batch).len();
    assert_eq!(count("{ event:name = \"x\" || status = error }"), 1);
    assert_eq!(count("{ event:name != \"x\" }"), 0);
    assert_eq!(count("{ event.x = nil }"), 0);
    assert_eq!(count("{ !(event:name = \"x\") }"), 0);
}

#[test]
fn negation_of_conditions_on_events_needs_an_event() {
    let numbered = Event { attributes: attributes(&[("n", Stored::Int(1))]), ..Event::default() };
    let spans = vec![
        Span { name: "one".to_owned(), events: vec![numbered], ..span(1, 1, 0) },
        Span { name: "none".to_owned(), ..span(1, 2, 1) },
    ];
    let batch = live_batch(&[service("shop", spans)]);
    let names = |query: &str| -> String {
        let found = search(&format!("{query} | select(name)"), &batch);
        let spans = found.iter().flat_map(|trace| &trace.span_sets[0].spans);
        spans.filter_map(|span| span.name.clone()).collect::<Vec<_>>().join(" ")
    };
    for (query, expected) in [
        ("{ !(event.n = 1 || event:name = \"x\") }", ""),
        ("{ !(event.n = 1) && !(event:name = \"x\") }", ""),
        ("{ !(event.n = 5 && event:name = \"x\") }", "one"),
        ("{ !(event.n = 5) || !(event:name = \"x\") }", "one"),
        ("{ (event.n = 1) = nil }", ""),
        ("{ (event.n = 1 || false) = false }", ""),
        ("{ (event.n = 1) = false }", ""),
        ("{ !(link.n = 1 && true) }", ""),
        // Decided without the event.
        ("{ !(event.n = 5 && false) }", "one none"),
        ("{ !(event.n = 1 || name = \"x\") }", ""),
        ("{ (event.n = 1 || name = \"none\") = true }", "one none"),
        ("{ !(event.n = 1 && link.n = 1) }", ""),
    ] {
        assert_eq!(names(query), expected, "{query}");
    }
}

#[test]
fn sums_and_the_order_of_groups_do_not_depend_on_the_order_of_spans() {
    let of = |id: u64, kind: u8, value: f64| Span {
        kind,
        start: id,
        attributes: attributes(&[("v", Stored::Float(value))]),
        ..span(1, id, 0)
    };
    let spans = [of(1, 2, 1e16), of(2, 4, 1.0), of(3, 1, -1e16)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let spans = order.map(|place| spans[place].clone()).to_vec();
        let batch = live_batch(&[service("shop", spans)]);
        assert_eq!(search("{ } | sum(span.v) > 0.5", &batch).len(), 1, "{order:?}");
        let found = search("{ } | by(kind)", &batch);
        let kinds = found[0].span_sets.iter().map(|set| set.attributes[0].1.to_string());
        assert_eq!(kinds.collect::<Vec<_>>(), ["server", "producer", "internal"], "{order:?}");
    }
}

#[test]
fn event_and_link_conditions_are_tied_together_only_by_one_operand() {
    let linked = Span {
        events: vec![Event::default(), Event { name: "e".to_owned(), ..Event::default() }],
        links: vec![Link { trace: 7, id: 1, attributes: vec![] }],
        ..span(1, 1, 0)
    };
    let batch = live_batch(&[service("shop", vec![linked])]);
    let count = |query| search(query, &batch).len();
    assert_eq!(count("{ event:name = \"e\" && link:traceID = \"7\" }"), 1);
    assert_eq!(count("{ (event:name = \"e\" || link:traceID = \"8\") && event:name = \"\" }"), 0);
    assert_eq!(count("{ (event:name = \"e\" || link:traceID = \"7\") && event:name = \"\" }"), 1);
}

#[test]
fn spans_are_the_earliest_by_start_then_id_and_matched_counts_all() {
    let spans = vec![
        span(1, 3, 1),
        Span { start: 100, ..span(1, 9, 1) },
        span(1, 1, 0),
        Span { start: 100, ..span(1, 2, 1) },
    ];
    let batch = live_batch(&[service("shop", spans)]);
    let compiled = CompiledQuery::compile(&parse_and_validate("{}").unwrap()).unwrap();
    let matches = compiled.find_matches(&batch, Window::default()).unwrap();
    let options = SearchOptions { limit: 1, spans_per_span_set: 3 };
    let found: Vec<_> = compiled.assemble(&batch, &matches, &options).collect();
    let set = &found[0].span_sets[0];
    let ids: Vec<_> = set.spans.iter().map(|span| u64::from_be_bytes(span.span_id.0)).collect();
    assert_eq!((set.matched, ids), (4, vec![2, 9, 1]));
}

#[test]
fn trace_facts_come_from_all_spans_of_the_trace() {
    let root = Span { name: "root".to_owned(), duration: 50, ..span(1, 2, 0) };
    let child = Span { status: 2, start: 90, ..span(1, 1, 2) };
    let batch = live_batch(&[service("shop", vec![child, root]), service("", vec![span(1, 3, 2)])]);
    for batch in [&batch, &stored_batch(&batch)] {
        let found = &search("{ status = error }", batch)[0];
        assert_eq!(
            (found.root_service_name.as_str(), found.root_trace_name.as_str()),
            ("shop", "root")
        );
        assert_eq!((found.start_unix_nanos, found.duration_nanos), (90, 62));
        assert_eq!(found.service_stats["shop"], ServiceStats { spans: 2, errors: 1 });
        assert_eq!(found.service_stats[""], ServiceStats { spans: 1, errors: 0 });
    }
}

#[test]
fn root_is_the_last_span_without_parent_or_child_of_link() {
    let linked = Span {
        name: "linked".to_owned(),
        links: vec![Link {
            trace: 1,
            id: 1,
            attributes: attributes(&[("opentracing.ref_type", text("child_of"))]),
        }],
        ..span(1, 3, 0)
    };
    let named = |name: &str, id| Span { name: name.to_owned(), ..span(1, id, 0) };
    let batch = live_batch(&[service("s", vec![named("first", 1), named("second", 2), linked])]);
    let facts = trace_facts(&batch);
    assert_eq!(batch.strings.display(facts.root_name[0]), "second");
}

#[test]
fn start_of_zero_is_no_start() {
    let batch =
        live_batch(&[service("s", vec![Span { start: 0, ..span(1, 1, 0) }, span(1, 2, 1)])]);
    assert_eq!(trace_facts(&batch).start[0], 102);
}

#[test]
fn span_that_ends_before_it_starts_lasts_no_time() {
    let batch = live_batch(&[service("s", vec![Span { duration: u64::MAX - 4, ..span(1, 1, 0) }])]);
    let found = search("{ duration = 0 }", &batch);
    assert_eq!(found[0].span_sets[0].spans[0].duration_nanos, 0);
}

#[test]
fn structural_operator_on_split_operand_fails() {
    let batch = live_batch(&[service("s", vec![span(1, 1, 0), Span { kind: 2, ..span(1, 2, 1) }])]);
    let run = |query| {
        let compiled = CompiledQuery::compile(&parse_and_validate(query).unwrap()).unwrap();
        compiled.find_matches(&batch, Window::default()).map(|matches| matches.spans())
    };
    assert_eq!(run("({} | by(kind)) > ({} | {})"), Err(EvaluateError::SplitOperand));
    assert_eq!(run("({} | by(kind)) && ({} | {})"), Ok(2));
    assert_eq!(run("({} | by(kind) | coalesce()) > ({} | {})"), Ok(1));
    assert_eq!(run("({} | by(kind) | { kind = server }) < ({} | {})"), Ok(1));
}

#[test]
fn newest_traces_are_those_of_all_matches_cut_to_the_limit() {
    let spans =
        (1..=9).map(|trace| Span { start: 100 + trace % 4, ..span(trace.into(), trace, 0) });
    let batch = live_batch(&[service("s", spans.collect())]);
    let compiled =
        CompiledQuery::compile(&parse_and_validate("{ span:id != \"3\" }").unwrap()).unwrap();
    let all = compiled.find_matches(&batch, Window::default()).unwrap();
    for limit in 1..10 {
        let newest = compiled.find_newest(&batch, Window::default(), limit).unwrap();
        let mut expected = all.clone();
        expected.truncate(limit);
        assert_eq!(newest, expected);
    }
}

fn legacy_count(tags: &[(&str, &str)], durations: (u64, u64), batch: &SpanBatch) -> usize {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let search =
        TagSearch { tags, min_duration_millis: durations.0, max_duration_millis: durations.1 };
    let query = search.compile(&[Attribute::named(tactus_traceql::AttributeScope::Span, "db")]);
    let matches = query.find_matches(batch, Window::default()).unwrap();
    let options = SearchOptions { limit: 0, spans_per_span_set: 0 };
    let found: Vec<_> = query.assemble(batch, &matches, &options).collect();
    assert!(found.iter().all(|it| it.span_sets.is_empty() && it.service_stats.is_empty()));
    found.len()
}

#[test]
fn tag_search_matches_own_columns_by_substring_and_others_exactly() {
    let root = Span {
        name: "GET /cart".to_owned(),
        status: 2,
        duration: 5_000_000,
        attributes: attributes(&[
            ("http.status_code", Stored::Int(200)),
            ("db", text("postgres")),
            ("user", text("u1")),
        ]),
        ..span(1, 1, 0)
    };
    let other = Span { attributes: attributes(&[("region", text("eu"))]), ..span(1, 2, 1) };
    let batch = live_batch(&[service("shop", vec![root]), service("cart", vec![other])]);
    let count = |tags: &[(&str, &str)]| legacy_count(tags, (0, 0), &batch);
    assert_eq!(count(&[("service.name", "car"), ("name", "cart")]), 1);
    assert_eq!(count(&[("service.name", "CAR")]), 0);
    assert_eq!(count(&[("root.name", "GET"), ("root.service.name", "shop")]), 1);
    assert_eq!(count(&[("status.code", "error"), ("http.status_code", "200")]), 1);
    assert_eq!(count(&[("db", "gres")]), 1);
    assert_eq!(count(&[("user", "u")]), 0);
    assert_eq!(count(&[("user", "u1")]), 1);
    // Ordinary keys must meet in one resource.
    assert_eq!(count(&[("user", "u1"), ("region", "eu")]), 0);
    assert_eq!(legacy_count(&[], (5, 5), &batch), 1);
    assert_eq!(legacy_count(&[], (6, 0), &batch), 0);
    assert_eq!(legacy_count(&[], (0, 4), &batch), 0);
}

fn tag_batch() -> SpanBatch {
    let one = Span {
        kind: 2,
        attributes: attributes(&[("n", Stored::Int(1)), ("é\"", text("x"))]),
        events: vec![Event { attributes: attributes(&[("type", text("io"))]), ..Event::default() }],
        ..span(1, 1, 0)
    };
    let two = Span {
        attributes: attributes(&[
            ("n", Stored::Float(1.5)),
            ("list", Stored::Array(vec![text("p"), text("q")])),
        ]),
        ..span(2, 2, 0)
    };
    live_batch(&[service("shop", vec![one]), service("cart", vec![two])])
}

#[test]
fn tag_names_are_those_of_spans_that_pass() {
    let batch = tag_batch();
    let names = |scope, query: &str, limits| {
        let filter = TagFilter::new(&completion(query, None, 100).unwrap());
        let mut collector = TagCollector::new(limits);
        collect_tags(&batch, &listed_scopes(scope, &filter), &filter, &mut collector);
        collector.finish()
    };
    let none = TagLimits::default();
    assert_eq!(
        names(Some(TagScope::Span), "{ kind = server }", none),
        [(TagScope::Span, vec!["n".to_owned(), "é\"".to_owned()])]
    );
    let all = names(None, "", none);
    let scopes: Vec<_> = all.iter().map(|(scope, names)| (scope.text(), names.len())).collect();
    assert_eq!(scopes, [("resource", 1), ("span", 3), ("event", 1)]);
    let listed = |scope, query: &str| {
        let filter = TagFilter::new(&completion(query, None, 100).unwrap());
        listed_scopes(scope, &filter).into_iter().map(TagScope::text).collect::<Vec<_>>().join(" ")
    };
    for (scope, query, expected) in [
        (None, "{}", "resource span event link instrumentation"),
        (None, "{ status = error }", "resource span"),
        (None, "{ event.n = 1 }", "resource span event"),
        (None, "{ name = `a` && link:spanID != nil }", "resource span link"),
        (None, "{ instrumentation:name = `a` }", "resource span instrumentation"),
        (Some(TagScope::Event), "{ status = error }", "event"),
        (Some(TagScope::Intrinsic), "{ status = error }", ""),
    ] {
        assert_eq!(listed(scope, query), expected, "{scope:?} {query}");
    }
    let two = names(Some(TagScope::Span), "", TagLimits { max_count: 2, ..none });
    assert_eq!(two[0].1.len(), 2);
    let bytes = names(Some(TagScope::Span), "", TagLimits { max_bytes: 1, ..none });
    assert_eq!(bytes[0].1, ["n"]);
}

fn values(tag: &str, query: &str, limits: TagLimits) -> Vec<String> {
    let attribute = parse_attribute(tag).unwrap();
    let filter = TagFilter::new(&completion(query, Some(&attribute), 100).unwrap());
    let mut collector = ValueCollector::new(limits);
    collect_tag_values(&tag_batch(), &attribute, &filter, &mut collector);
    let typed = |value: tactus_traceql::eval::TagValue| {
        format!("{} {}", value.value_type.text(), value.text)
    };
    collector.finish().into_iter().map(typed).collect()
}

#[test]
fn tag_values_are_typed_and_sorted() {
    let none = TagLimits::default();
    assert_eq!(values("span.n", "", none), ["float 1.5", "int 1"]);
    assert_eq!(values("span.list", "", none), ["string p", "string q"]);
    assert_eq!(values("event.type", "{ resource.service.name = \"cart\" }", none), [""; 0]);
    assert_eq!(values("kind", "{ span.n = 1 }", none), ["keyword server"]);
    assert_eq!(values("trace:id", "", none), [""; 0]);
    assert_eq!(values(".service.name", "{ span.n > 1 }", none), ["string cart"]);
}

#[test]
fn pinned_tag_value_is_the_answer_without_data() {
    let none = TagLimits::default();
    assert_eq!(values("span.n", "{ span.n = 7 }", none), ["int 7"]);
    assert_eq!(values("span.n", "{ span.n = 7 || kind = server }", none), ["int 1", "int 7"]);
}

#[test]
fn tag_value_limits_stop_silently() {
    let none = TagLimits::default();
    assert_eq!(values("span.list", "", TagLimits { max_count: 1, ..none }), ["string p"]);
    // Type and value count: `string` and `p` are seven bytes, and the sum must stay below.
    assert_eq!(values("span.list", "", TagLimits { max_bytes: 8, ..none }), ["string p"]);
    assert_eq!(values("span.list", "", TagLimits { max_bytes: 7, ..none }), [""; 0]);
    let mut texts = ValueCollector::of_texts(TagLimits { max_bytes: 5, ..none });
    let (int, string) = (TagValueType::Int, TagValueType::String);
    for (value_type, text, is_taken) in
        [(int, "10", true), (string, "10", true), (string, "xy", true), (string, "z", false)]
    {
        assert_eq!(texts.add(TagValue { value_type, text: text.to_owned() }), is_taken, "{text}");
    }
    let texts: Vec<_> = texts.finish().into_iter().map(|it| (it.value_type, it.text)).collect();
    assert_eq!(texts, [(string, "10".to_owned()), (string, "xy".to_owned())]);
    let attribute = parse_attribute("status").unwrap();
    let fixed = fixed_tag_values(&attribute).unwrap();
    let texts: Vec<_> = fixed.iter().map(|value| value.text.as_str()).collect();
    assert_eq!(texts, ["error", "ok", "unset"]);
}

#[test]
fn durations_combine_as_durations_between_aggregates() {
    let spans =
        vec![Span { duration: 100, ..span(1, 1, 0) }, Span { duration: 40, ..span(1, 2, 1) }];
    let batch = live_batch(&[service("s", spans)]);
    for query in [
        "{} | max(duration) - min(duration) = 60ns",
        "{} | min(duration) * 2 = 80ns",
        "{} | count() * 2 = 4",
        "{} | sum(duration) / count() = avg(duration)",
    ] {
        let found = search(query, &batch);
        assert_eq!(found.len(), 1, "{query}");
        assert!(found[0].span_sets[0].attributes.len() <= 3);
    }
    let found = search("{} | max(duration) - min(duration) = 60ns", &batch);
    let text = |value: &str| AttributeValue::String(value.into());
    assert_eq!(
        found[0].span_sets[0].attributes,
        [("max(duration)".into(), text("100ns")), ("min(duration)".into(), text("40ns")),]
    );
}

#[test]
fn array_of_one_is_in_the_group_of_its_element() {
    let tagged = |id, tags| Span { attributes: attributes(&[("tags", tags)]), ..span(1, id, 0) };
    let spans = vec![
        tagged(1, text("a")),
        tagged(2, Stored::Array(vec![text("a")])),
        tagged(3, Stored::Array(vec![text("a"), text("a")])),
        tagged(4, Stored::Array(vec![])),
    ];
    let batch = live_batch(&[service("s", spans)]);
    for batch in [&batch, &stored_batch(&batch)] {
        let sets = search("{} | by(span.tags)", batch).remove(0).span_sets;
        let matched: Vec<_> = sets.iter().map(|set| set.matched).collect();
        assert_eq!(matched, [2, 1, 1]);
    }
}

#[test]
fn spans_without_a_value_and_those_of_the_text_nil_are_two_groups() {
    let named = Span { attributes: attributes(&[("a", text("nil"))]), ..span(1, 1, 0) };
    let batch = live_batch(&[service("s", vec![named, span(1, 2, 0), span(1, 3, 0)])]);
    for batch in [&batch, &stored_batch(&batch)] {
        let sets = search("{} | by(span.a)", batch).remove(0).span_sets;
        let groups: Vec<_> =
            sets.into_iter().map(|set| (set.attributes[0].1.clone(), set.matched)).collect();
        let text = AttributeValue::String("nil".into());
        assert_eq!(groups, [(text, 1), (AttributeValue::Nil, 2)]);
    }
}

#[test]
fn zero_and_minus_zero_are_one_group() {
    let sized = |id, size| Span {
        attributes: attributes(&[("size", Stored::Float(size))]),
        ..span(1, id, 0)
    };
    let batch = live_batch(&[service("s", vec![sized(1, -0.0), sized(2, 0.0)])]);
    let sets = search("{} | by(span.size)", &batch).remove(0).span_sets;
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].attributes[0].1.to_string(), "0.0");
}

#[test]
fn each_stage_shows_what_it_computed_in_order() {
    let timed = |id, parent, duration, name: &str| Span {
        duration,
        name: name.to_owned(),
        ..span(1, id, parent)
    };
    let spans = vec![timed(1, 0, 100, "a"), timed(2, 1, 40, "b"), timed(3, 1, 60, "b")];
    let batch = live_batch(&[service("s", spans)]);
    let shown = |query: &str| {
        let found = search(query, &batch);
        let of_set = |set: &tactus_traceql::eval::SpanSet| {
            let pairs = set.attributes.iter().map(|(key, value)| format!("{key}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        };
        found.iter().flat_map(|trace| &trace.span_sets).map(of_set).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("{} | count() > 1 | by(name) | count() > 1", vec!["count()=3 by(name)=b count()=2"]),
        (
            "{} | count() > 1 | { name = `b` } | count() = 2 | count() < 9",
            vec!["count()=3 count()=2 count()=2"],
        ),
        (
            "{} | max(duration) > 1ns | max(duration) > 10ns",
            vec!["max(duration)=100ns max(duration)=100ns"],
        ),
        ("{} | by(name) | by(name)", vec!["by(name)=a by(name)=a", "by(name)=b by(name)=b"]),
        ("{} | by(name) | count() > 1 | coalesce() | count() > 1", vec!["count()=2"]),
        // Within one comparison an aggregate is computed once.
        ("{} | count() + count() = 6", vec!["count()=3"]),
        ("{} | count() > 2 + 1 / 0", vec![]),
    ] {
        assert_eq!(shown(query), expected, "{query}");
    }
}

#[test]
fn deep_and_long_filters_do_not_overflow_the_stack() {
    let batch = live_batch(&[service("s", vec![rich_span()])]);
    for operand in ["span.n = 4", "event:name = \"x\"", "span.n + 1 = 5"] {
        let mut deep = "span.n = 5".to_owned();
        for level in 0..95 {
            let operator = if level % 2 == 0 { "||" } else { "&& true ||" };
            deep = format!("!(!({operand} {operator} ({deep})))");
        }
        let found = search(&format!("{{ {deep} }}"), &batch);
        assert_eq!(found.len(), 1, "{operand}");
    }
    let long: Vec<_> = (0..5000).map(|key| format!(".key{key} = 1")).collect();
    assert_eq!(search(&format!("{{ {} || .n = 5 }}", long.join(" || ")), &batch).len(), 1);
    let sum: Vec<_> = (0..300).map(|_| "span.n").collect();
    assert_eq!(search(&format!("{{ {} = 1500 }}", sum.join(" + ")), &batch).len(), 1);
}

#[test]
fn texts_that_many_spans_show_are_kept_once_and_count_each_time() {
    let long = "x".repeat(2_000);
    let resource = attributes(&[("long", text(&long))]);
    let spans = (1..=2_000).map(|id| span(1, id, 0)).collect();
    let batch = live_batch(&[Group { resource, spans, ..Group::default() }]);
    let root = parse_and_validate("{} | by(resource.long) | select(resource.long)").unwrap();
    let query = CompiledQuery::compile(&root).unwrap();
    let all = SearchOptions { limit: 0, spans_per_span_set: 0 };
    let assemble = |bytes| {
        let memory = QueryMemory::within(&Budget::new(bytes));
        let work = Work::default().holding(&memory, 7, 1);
        let found = work.run(|| {
            let matches = query.find_matches(&batch, Window::default()).unwrap();
            let mut found = query.assemble(&batch, &matches, &all);
            let before = memory.used();
            let traces: Vec<_> = found.by_ref().collect();
            (before, memory.used(), traces)
        });
        assert_eq!(memory.used(), 0);
        found
    };
    let (before, after, found) = assemble(16 << 20).unwrap();
    assert!(before > 3_000_000 && after < before / 10, "{before} {after}");
    let spans = &found[0].span_sets[0].spans;
    let shown = |span: &SpanMatch| match &span.attributes[0].1 {
        AttributeValue::String(text) => Arc::clone(text),
        other => panic!("{other:?}"),
    };
    assert!(spans.len() == 2_000 && *shown(&spans[0]) == *long);
    assert!(spans.iter().all(|span| Arc::ptr_eq(&shown(span), &shown(&spans[0]))));
    assert_eq!(assemble(2 << 20).unwrap_err(), Over::TooLarge { limit: 2 << 20 });
}

#[test]
fn attributes_that_stages_make_count_as_memory_of_the_query() {
    let spans = (1..=2000).map(|trace| span(trace, trace as u64, 0)).collect();
    let batch = live_batch(&[service("shop", spans)]);
    let memory = QueryMemory::within(&Budget::new(8 << 20));
    let run = |stages: &str| {
        let root = parse_and_validate(&format!("{{}} {stages}")).unwrap();
        let query = CompiledQuery::compile(&root).unwrap();
        let work = Work::default().holding(&memory, 7, 1);
        work.run(|| query.find_matches(&batch, Window::default()).unwrap().traces.len())
    };
    assert_eq!(run("| by(name) | count() > 0"), Ok(2000));
    let long = "x".repeat(6000);
    for stages in ["| by(name)".repeat(60), "| count() > 0".repeat(60), format!("| by(.{long})")] {
        assert_eq!(run(&stages), Err(Over::TooLarge { limit: 8 << 20 }), "{}", &stages[..20]);
    }
    assert_eq!(memory.used(), 0);
}

#[test]
fn results_of_aggregates_count_as_memory_of_the_query() {
    let spans = (1..=4000).map(|trace| span(trace, trace as u64, 0)).collect();
    let batch = live_batch(&[service("shop", spans)]);
    // No spanset is kept.
    let run = |aggregates: Vec<String>| {
        let query = format!("{{}} | {} < 0", aggregates.join(" + "));
        let query = CompiledQuery::compile(&parse_and_validate(&query).unwrap()).unwrap();
        let memory = QueryMemory::within(&Budget::new(1 << 20));
        let work = Work::default().holding(&memory, 7, 1);
        work.run(|| query.find_matches(&batch, Window::default()).unwrap().traces.len())
    };
    assert_eq!(run(vec!["count()".to_owned(); 100]), Ok(0), "it is computed once");
    let different = (0..100).map(|number| format!("max(span.x{number})")).collect();
    assert_eq!(run(different), Err(Over::TooLarge { limit: 1 << 20 }));
}
