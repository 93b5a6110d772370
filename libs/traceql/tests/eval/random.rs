//! Random filters on random traces: columns and the slow evaluator agree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;
use tactus_model::SpanBatch;
use tactus_traceql::eval::{CompiledQuery, MatchedSpanSet, Matches, TagSearch, Window};
use tactus_traceql::{PipelineStage, parse_and_validate};

use super::batches::{
    Attributes, Event, Group, Link, Span, Stored, live_batch, project, stored_batch,
};
use super::reference::World;

fn value() -> impl Strategy<Value = Stored> {
    prop_oneof![
        4 => select(vec!["", "x", "y", "xy"]).prop_map(|text| Stored::String(text.to_owned())),
        4 => (-1i64..4).prop_map(Stored::Int),
        2 => select(vec![0.5, 2.0, 3.0]).prop_map(Stored::Float),
        3 => any::<bool>().prop_map(Stored::Bool),
        1 => proptest::collection::vec(select(vec!["x", "y"]), 0..3).prop_map(|texts| {
            Stored::Array(texts.iter().map(|text| Stored::String((*text).to_owned())).collect())
        }),
        1 => proptest::collection::vec(0i64..3, 1..3)
            .prop_map(|numbers| Stored::Array(numbers.into_iter().map(Stored::Int).collect())),
    ]
}

fn attributes(most: usize) -> impl Strategy<Value = Attributes> {
    let keys = select(vec!["a", "b", "c", "service.name"]).prop_map(str::to_owned);
    proptest::collection::vec((keys, value()), 0..=most)
}

fn event() -> impl Strategy<Value = Event> {
    (0u64..4, select(vec!["e", "f"]), attributes(2)).prop_map(|(offset, name, attributes)| Event {
        offset,
        name: name.to_owned(),
        attributes,
    })
}

fn link() -> impl Strategy<Value = Link> {
    (1u128..4, 1u64..4, attributes(2)).prop_map(|(trace, id, attributes)| Link {
        trace,
        id,
        attributes,
    })
}

fn span() -> impl Strategy<Value = Span> {
    let fields = (1u128..4, 0u64..6, select(vec!["x", "y", ""]), 0u8..6, 0u8..3);
    let times = (1u64..50, 0u64..5);
    let lists = (
        attributes(3),
        proptest::collection::vec(event(), 0..3),
        proptest::collection::vec(link(), 0..3),
    );
    (fields, times, lists).prop_map(
        |((trace, parent, name, kind, status), (start, duration), (attributes, events, links))| {
            Span {
                trace,
                id: 0,
                parent,
                name: name.to_owned(),
                kind,
                status,
                message: name.to_owned(),
                start,
                duration,
                state: String::new(),
                attributes,
                events,
                links,
            }
        },
    )
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let group = (attributes(3), attributes(1), proptest::collection::vec(span(), 0..6));
    proptest::collection::vec(group, 1..4).prop_map(|groups| {
        let mut id = 0;
        groups
            .into_iter()
            .map(|(resource, scope, mut spans)| {
                for span in &mut spans {
                    id += 1;
                    span.id = id;
                }
                Group {
                    resource,
                    scope_name: "lib".to_owned(),
                    scope_version: String::new(),
                    scope,
                    spans,
                }
            })
            .collect()
    })
}

fn attribute() -> impl Strategy<Value = String> {
    let scopes = vec![
        ".",
        ".",
        "span.",
        "span.",
        "resource.",
        "event.",
        "event.",
        "link.",
        "instrumentation.",
        "parent.",
        "parent.resource.",
    ];
    let keys = vec!["a", "b", "c", "service.name", "missing"];
    (select(scopes), select(keys)).prop_map(|(scope, key)| format!("{scope}{key}"))
}

fn literal() -> impl Strategy<Value = &'static str> {
    select(vec!["\"x\"", "\"\"", "\"y\"", "0", "1", "2", "2.0", "0.5", "true", "false", "2ns"])
}

fn comparison_operator() -> impl Strategy<Value = &'static str> {
    select(vec!["=", "!=", "<", "<=", ">", ">="])
}

fn number() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => attribute(),
        1 => Just("duration".to_owned()),
        1 => Just("event:timeSinceStart".to_owned()),
        2 => select(vec!["1", "2", "0.5", "0"]).prop_map(str::to_owned),
    ];
    (leaf.clone(), select(vec![" + ", " - ", " * ", " / ", " % ", " ^ "]), leaf)
        .prop_map(|(left, operator, right)| format!("({left}{operator}{right})"))
}

fn condition() -> impl Strategy<Value = String> {
    let intrinsics = select(vec![
        "name = \"x\"",
        "name != \"x\"",
        "name > \"\"",
        "name =~ \"x|y\"",
        "\"x\" = name",
        "status = error",
        "status != ok",
        "kind = server",
        "kind != client",
        "duration > 2ns",
        "duration <= 1",
        "2.5 > duration",
        "duration = 2.0",
        "trace:duration > 20ns",
        "rootName = \"x\"",
        "rootServiceName != \"\"",
        "statusMessage = \"\"",
        "trace:id = \"01\"",
        "trace:id != \"2\"",
        "trace:id < \"3\"",
        "span:id = \"3\"",
        "span:id != \"0003\"",
        "span:id > \"0000000000000004\"",
        "span:parentID = \"\"",
        "span:childCount > 0",
        "nestedSetParent = -1",
        "nestedSetLeft > 2",
        "nestedSetRight = 0",
        "parent = nil",
        "parent != nil",
        "event:name = \"e\"",
        "event:name != \"e\"",
        "event:name =~ \"e.*\"",
        "event:timeSinceStart >= 2ns",
        "link:traceID = \"2\"",
        "link:traceID != \"02\"",
        "link:spanID = \"2\"",
        "link:spanID =~ \".*1\"",
        "instrumentation:name = \"lib\"",
        "instrumentation:version != \"\"",
        "true",
        "false",
    ])
    .prop_map(str::to_owned);
    let pair = (attribute(), comparison_operator(), attribute());
    prop_oneof![
        3 => intrinsics,
        6 => (attribute(), comparison_operator(), literal())
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        2 => (literal(), comparison_operator(), attribute())
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        2 => (attribute(), select(vec!["=~", "!~"]), select(vec!["x", ".*", "x|y", ""]))
            .prop_map(|(left, operator, pattern)| format!("{left} {operator} \"{pattern}\"")),
        1 => (attribute(), select(vec!["=~", "!~"]), attribute())
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        2 => (attribute(), select(vec!["= nil", "!= nil"]))
            .prop_map(|(left, test)| format!("{left} {test}")),
        1 => pair.prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        2 => (number(), comparison_operator(), literal())
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        1 => (number(), select(vec!["= nil", "!= nil"]))
            .prop_map(|(left, test)| format!("{left} {test}")),
        1 => (attribute(), comparison_operator(), literal())
            .prop_map(|(left, operator, right)| format!("-{left} {operator} {right}")),
        2 => attribute(),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    condition().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            3 => proptest::collection::vec(inner.clone(), 2..4)
                .prop_map(|operands| format!("({})", operands.join(" && "))),
            3 => proptest::collection::vec(inner.clone(), 2..4)
                .prop_map(|operands| format!("({})", operands.join(" || "))),
            2 => inner.clone().prop_map(|operand| format!("!({operand})")),
            1 => (inner.clone(), inner).prop_map(|(left, right)| format!("(({left}) = ({right}))")),
        ]
    })
}

fn query() -> impl Strategy<Value = String> {
    let filter = expression().prop_map(|expression| format!("{{ {expression} }}"));
    let operators = select(vec![
        "&&", "||", "&&", "||", ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>",
        "&>>", "&<", "&<<", "&~",
    ]);
    filter.prop_recursive(2, 3, 2, move |inner| {
        (inner.clone(), operators.clone(), inner)
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})"))
    })
}

fn pipeline() -> impl Strategy<Value = String> {
    let stages = vec![
        "",
        "",
        " | count() > 1",
        " | max(duration) > 2ns",
        " | by(span.a) | count() = 1 | coalesce()",
        " | { span.a != nil } | select(span.b)",
        " | by(resource.a) | { duration > 1ns && .b = 1 } | avg(span.a) >= 1",
    ];
    (query(), select(stages)).prop_map(|(query, stages)| format!("{query}{stages}"))
}

/// What a search of a stored batch finds if each step reads its own columns only.
fn found_in_steps(compiled: &CompiledQuery, stored: &SpanBatch, window: Window) -> Matches {
    let mut search = compiled.staged(window, 2);
    for _ in 0..10 {
        let batch = project(stored, search.projection());
        if let Some(matches) = search.advance(&batch).expect("no by() in an operand") {
            return matches;
        }
    }
    panic!("does not end");
}

/// Spansets by trace: their attributes and span ids, in no order.
fn found_sets(compiled: &CompiledQuery, batch: &SpanBatch) -> BTreeMap<u128, Vec<String>> {
    let matches = compiled.find_matches(batch, Window::default()).expect("no by() in an operand");
    let mut found = BTreeMap::new();
    for trace in &matches.traces {
        let text = |set: &MatchedSpanSet| {
            let ids: BTreeSet<_> =
                set.rows.iter().map(|&row| batch.spans.span_id[row as usize].0).collect();
            format!("{:?} {ids:?}", set.attributes)
        };
        let mut sets: Vec<String> = trace.span_sets.iter().map(text).collect();
        sets.sort_unstable();
        found.insert(u128::from_be_bytes(trace.trace_id.0), sets);
    }
    found
}

fn found(compiled: &CompiledQuery, batch: &SpanBatch) -> BTreeSet<(u128, u64)> {
    let matches = compiled.find_matches(batch, Window::default()).expect("no by() is generated");
    let mut found = BTreeSet::new();
    for trace in &matches.traces {
        for &row in trace.span_sets.iter().flat_map(|set| &set.rows) {
            let id = u64::from_be_bytes(batch.spans.span_id[row as usize].0);
            found.insert((u128::from_be_bytes(trace.trace_id.0), id));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn columns_and_the_slow_evaluator_agree(groups in groups(), query in query()) {
        let Ok(root) = parse_and_validate(&query) else { return Ok(()) };
        let [PipelineStage::Spanset(spanset)] = &root.search_pipeline().stages[..] else {
            return Ok(());
        };
        let compiled = CompiledQuery::compile(&root).expect("only filters are generated");
        let expected = World::new(&groups).search(spanset);
        let live = live_batch(&groups);
        prop_assert_eq!(&found(&compiled, &live), &expected, "live: {}", query);
        let mut columns = compiled.filter_projection().clone();
        columns.span_id = true;
        let stored = project(&stored_batch(&live), &columns);
        prop_assert_eq!(&found(&compiled, &stored), &expected, "stored: {}", query);
    }

    #[test]
    fn steps_find_what_all_columns_at_once_give(
        groups in groups(),
        query in pipeline(),
        end in select(vec![0u64, 20]),
    ) {
        let Ok(root) = parse_and_validate(&query) else { return Ok(()) };
        let compiled = CompiledQuery::compile(&root).expect("nothing unknown is generated");
        let window = Window { start_unix_nanos: 0, end_unix_nanos: end };
        let stored = stored_batch(&live_batch(&groups));
        let at_once = project(&stored, compiled.filter_projection());
        let expected = compiled.find_newest(&at_once, window, 2).expect("no by() in an operand");
        prop_assert_eq!(found_in_steps(&compiled, &stored, window), expected, "{}", query);
    }

    #[test]
    fn order_of_spans_does_not_matter(groups in groups(), query in pipeline()) {
        let Ok(root) = parse_and_validate(&query) else { return Ok(()) };
        let compiled = CompiledQuery::compile(&root).expect("nothing unknown is generated");
        let live = live_batch(&groups);
        let expected = found_sets(&compiled, &live);
        prop_assert_eq!(found_sets(&compiled, &stored_batch(&live)), expected, "{}", query);
    }

    #[test]
    fn tag_search_in_steps_finds_what_all_columns_at_once_give(
        groups in groups(),
        tags in proptest::collection::vec(
            (select(vec!["a", "b", "service.name", "name", "status.code"]), select(vec!["x", "y", "", "ok"])),
            0..3,
        ),
        shortest in select(vec![0u64, 0, 1]),
    ) {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let search = TagSearch { tags: tags.collect(), min_duration_millis: shortest, max_duration_millis: 0 };
        let compiled = search.compile(&[]);
        let stored = stored_batch(&live_batch(&groups));
        let at_once = project(&stored, compiled.filter_projection());
        let expected = compiled.find_newest(&at_once, Window::default(), 2).expect("filters only");
        prop_assert_eq!(found_in_steps(&compiled, &stored, Window::default()), expected);
    }
}
