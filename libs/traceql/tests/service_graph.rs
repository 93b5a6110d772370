//! `service_graph()` call by call: which spans make an edge, and what is counted of it.

use std::collections::BTreeMap;

use tactus_model::SpanBatch;
use tactus_traceql::metrics::{
    AnswerOptions, CompiledMetrics, Grid, MetricsCollector, MetricsCombiner, MetricsOptions,
};
use tactus_traceql::parse_and_validate;

use crate::slow::batches::{
    Attributes, Group, Link, Span, Stored, live_batch, project, stored_batch,
};

const MS: u64 = 1_000_000;
const BASE: u64 = 1_767_268_800_000_000_000;
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;

fn text(value: &str) -> Stored {
    Stored::String(value.to_owned())
}

fn pairs(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect()
}

/// A span of trace 1 that starts with the time and lasts 10 ms.
fn span(id: u64, parent: u64, kind: u8) -> Span {
    Span { trace: 1, id, parent, kind, start: BASE, duration: 10 * MS, ..Span::default() }
}

fn service(name: &str, spans: Vec<Span>) -> Group {
    let resource =
        if name.is_empty() { Attributes::new() } else { pairs(&[("service.name", name)]) };
    Group { resource, spans, ..Group::default() }
}

/// Values by labels; an instant query unless there is a step in seconds.
fn ask(batch: &SpanBatch, query: &str, grid: Grid) -> BTreeMap<String, Vec<f64>> {
    let root = parse_and_validate(query).expect(query);
    let compiled = CompiledMetrics::compile(&root, grid, MetricsOptions::default()).expect(query);
    assert!(compiled.reads_whole_trace());
    let read = project(batch, compiled.projection());
    let mut collector = MetricsCollector::new(&compiled);
    collector.observe(&compiled, &read, None).expect("fits");
    let mut combiner = MetricsCombiner::new(&root, grid, AnswerOptions::default());
    combiner.add(collector.finish(&compiled)).expect("fits");
    let series = combiner.finish().expect("fits").series.into_iter().map(|series| {
        let labels = series.labels.iter();
        let labels = labels.map(|(name, value)| format!("{name}={}", value.text()));
        let values = series.points.iter().map(|(_, value)| *value).collect();
        (labels.collect::<Vec<_>>().join(" "), values)
    });
    series.collect()
}

fn found(groups: &[Group], query: &str) -> Vec<(String, f64)> {
    let grid = Grid::instant(BASE - 1, BASE + 60_000 * MS);
    let live = live_batch(groups);
    let of_live = ask(&live, query, grid);
    assert_eq!(of_live, ask(&stored_batch(&live), query, grid), "{query}");
    of_live.into_iter().map(|(labels, values)| (labels, values[0])).collect()
}

fn check(groups: &[Group], query: &str, expected: &[(&str, f64)]) {
    let expected: Vec<_> =
        expected.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect();
    assert_eq!(found(groups, query), expected, "{query}");
}

/// Calls of the whole data.
fn calls(groups: &[Group], expected: &[(&str, f64)]) {
    check(groups, "{ } | service_graph(calls)", expected);
}

/// A shop that reads a cart, publishes an order and charges a card.
fn shop() -> Vec<Group> {
    let at = |id, parent, kind, from: u64, to: u64| Span {
        start: BASE + from * MS,
        duration: (to - from) * MS,
        ..span(id, parent, kind)
    };
    let select =
        pairs(&[("db.system", "postgresql"), ("db.name", "carts"), ("server.address", "pg-0")]);
    vec![
        service(
            "shop",
            vec![
                at(0xa1, 0, SERVER, 2000, 2150),
                at(0xa2, 0xa1, CLIENT, 2010, 2110),
                at(0xa3, 0xa1, PRODUCER, 2120, 2130),
                Span {
                    attributes: pairs(&[("peer.service", "stripe")]),
                    ..at(0xa4, 0xa1, CLIENT, 2131, 2141)
                },
            ],
        ),
        service(
            "cart",
            vec![
                Span { status: 2, ..at(0xb1, 0xa2, SERVER, 2020, 2100) },
                Span { attributes: select, ..at(0xb2, 0xb1, CLIENT, 2030, 2050) },
            ],
        ),
        service("mail", vec![at(0xc1, 0xa3, CONSUMER, 2200, 2260)]),
    ]
}

const CART: &str = "client=shop server=cart";
const DATABASE: &str = "client=cart server=pg-0 connection_type=database";
const MAIL: &str = "client=shop server=mail connection_type=messaging_system";
const STRIPE: &str = "client=shop server=stripe connection_type=virtual_node virtual_node=server";
const USER: &str = "client=user server=shop connection_type=virtual_node virtual_node=client";

#[test]
fn every_kind_of_edge_is_found_once() {
    let all = [(DATABASE, 1.0), (CART, 1.0), (MAIL, 1.0), (STRIPE, 1.0), (USER, 1.0)];
    calls(&shop(), &all);
    check(&shop(), "{ } | service_graph(errors)", &[(CART, 1.0)]);
    check(&shop(), "({ } | service_graph(errors)) / ({ } | service_graph(calls))", &[(CART, 1.0)]);
    check(&shop(), "{ } | service_graph(calls) | topk(1)", &[(DATABASE, 1.0)]);
}

#[test]
fn latencies_are_those_of_the_sides_that_have_spans() {
    let bound = |power: u32| f64::from(power).exp2() / 1e9;
    // 100 ms and 80 ms, 20 ms, 10 ms and 60 ms, 10 ms, 150 ms.
    let client = [(DATABASE, bound(25)), (CART, bound(27)), (MAIL, bound(24)), (STRIPE, bound(24))];
    let server = [(DATABASE, bound(25)), (CART, bound(27)), (MAIL, bound(26)), (USER, bound(28))];
    for (measure, expected) in [("client_latency", client), ("server_latency", server)] {
        let quantiles = expected.map(|(edge, bound)| (format!("{edge} p=0.5"), bound));
        assert_eq!(found(&shop(), &format!("{{ }} | service_graph({measure}, 0.5)")), quantiles);
        let buckets = found(&shop(), &format!("{{ }} | service_graph({measure})"));
        assert_eq!(buckets.len(), expected.len());
        assert!(buckets.iter().all(|(_, count)| *count == 1.0));
    }
    let all = found(&shop(), "{ } | service_graph()");
    assert_eq!(all.len(), 5 + 1 + 4 + 4);
    assert!(all.iter().all(|(labels, value)| labels.contains("__measure=") && *value == 1.0));
}

#[test]
fn filter_asks_for_one_of_the_two_spans() {
    check(
        &shop(),
        r#"{ resource.service.name = "cart" } | service_graph(calls)"#,
        &[(DATABASE, 1.0), (CART, 1.0)],
    );
    check(&shop(), "{ kind = producer } | service_graph(calls)", &[(MAIL, 1.0)]);
    check(
        &shop(),
        "{ kind = server } >> { kind = consumer } | service_graph(calls)",
        &[(MAIL, 1.0)],
    );
    check(&shop(), "{ false } | service_graph(calls)", &[]);
}

#[test]
fn rate_is_per_second_of_each_interval() {
    let grid = Grid::range(BASE, BASE + 4_000 * MS, 2_000 * MS, None);
    let found = ask(&live_batch(&shop()), "{ } | service_graph(rate)", grid);
    // The called span decides: at 2020 ms.
    assert_eq!(found[CART], [0.0, 0.0, 0.5]);
    assert_eq!(found[USER], [0.0, 0.5, 0.0]);
}

#[test]
fn spans_of_other_kinds_call_where_services_differ() {
    calls(
        &[
            service("a", vec![span(1, 0, INTERNAL), span(2, 1, INTERNAL)]),
            service("b", vec![span(3, 2, 0), span(4, 3, SERVER)]),
            service("c", vec![span(5, 3, SERVER), span(6, 99, SERVER)]),
            service("", vec![span(7, 1, SERVER)]),
        ],
        &[("client=a server=b", 1.0), ("client=b server=c", 1.0)],
    );
    // Not a client: what its latency would be is not known.
    check(
        &[service("a", vec![span(1, 0, INTERNAL)]), service("b", vec![span(2, 1, SERVER)])],
        "{ } | service_graph(client_latency)",
        &[],
    );
}

#[test]
fn service_that_calls_itself_is_an_edge_if_the_kinds_say_so() {
    let spans =
        vec![span(1, 0, INTERNAL), span(2, 1, CLIENT), span(3, 2, SERVER), span(4, 3, INTERNAL)];
    calls(&[service("a", spans)], &[("client=a server=a", 1.0)]);
}

#[test]
fn spans_that_share_an_id_are_one_call() {
    let shared = [
        service("a", vec![span(1, 0, SERVER), span(2, 1, CLIENT)]),
        service("b", vec![span(2, 1, SERVER), span(3, 2, CLIENT)]),
        service("c", vec![span(3, 2, SERVER), span(4, 3, INTERNAL)]),
    ];
    let user = "client=user server=a connection_type=virtual_node virtual_node=client";
    calls(&shared, &[("client=a server=b", 1.0), ("client=b server=c", 1.0), (user, 1.0)]);
}

#[test]
fn child_of_a_shared_id_is_below_the_half_of_its_own_service() {
    let shared = [
        service("a", vec![span(1, 0, INTERNAL), span(2, 1, CLIENT), span(3, 2, INTERNAL)]),
        service("b", vec![span(2, 1, SERVER), span(4, 2, INTERNAL)]),
        service("c", vec![span(5, 2, INTERNAL)]),
    ];
    calls(&shared, &[("client=a server=b", 1.0), ("client=b server=c", 1.0)]);
}

#[test]
fn consumer_is_called_by_each_producer_it_links_to() {
    let link = |trace, id| Link { trace, id, attributes: Attributes::new() };
    let edge = "client=a server=b connection_type=messaging_system";
    let batch = Span {
        links: vec![link(1, 2), link(1, 3), link(1, 3), link(9, 2)],
        ..span(5, 0, CONSUMER)
    };
    let producers = vec![span(2, 0, PRODUCER), span(3, 0, PRODUCER), span(4, 0, CLIENT)];
    calls(&[service("a", producers.clone()), service("b", vec![batch.clone()])], &[(edge, 2.0)]);
    // By parent and by link is one call; whose links lead to other traces is nobody's first.
    let both = Span { parent: 2, ..batch };
    calls(&[service("a", producers), service("b", vec![both])], &[(edge, 2.0)]);
    let elsewhere = Span { links: vec![link(9, 2)], ..span(5, 0, CONSUMER) };
    calls(&[service("b", vec![elsewhere])], &[]);
}

#[test]
fn peers_are_named_by_their_attributes() {
    let one = |kind, attributes: &[(&str, &str)]| {
        vec![service("a", vec![Span { attributes: pairs(attributes), ..span(1, 99, kind) }])]
    };
    let database = |name: &str| format!("client=a server={name} connection_type=database");
    let node = |name: &str| {
        format!("client=a server={name} connection_type=virtual_node virtual_node=server")
    };
    for (attributes, expected) in [
        (&[("db.system", "redis")][..], database("redis")),
        (&[("db.system", "redis"), ("db.namespace", "0")], database("0")),
        (&[("db.system", "redis"), ("net.peer.name", "r-1")], database("r-1")),
        (
            &[("db.system", ""), ("db.system.name", "redis"), ("server.address", "")],
            database("redis"),
        ),
        (&[("db.name", "x"), ("network.peer.address", "10.0.0.1")], database("10.0.0.1")),
        (
            &[("network.peer.port", "1"), ("db.name", "x"), ("network.peer.address", "h")],
            database("h:1"),
        ),
        (&[("server.address", "api"), ("peer.service", "stripe")], node("stripe")),
        (&[("net.peer.name", "api.example.com")], node("api.example.com")),
        (
            &[("messaging.system", "kafka"), ("messaging.destination.name", "orders")],
            node("orders"),
        ),
    ] {
        calls(&one(CLIENT, attributes), &[(&expected, 1.0)]);
    }
    calls(&one(CLIENT, &[("network.peer.address", "10.0.0.1")]), &[]);
    // A server whose caller is not in the trace was called by somebody, but nobody knows by whom.
    calls(&one(SERVER, &[("peer.service", "b")]), &[]);
    let root =
        Span { parent: 0, attributes: pairs(&[("peer.service", "b")]), ..span(1, 0, SERVER) };
    let edge = "client=b server=a connection_type=virtual_node virtual_node=client";
    calls(&[service("a", vec![root])], &[(edge, 1.0)]);
}

#[test]
fn adjusted_call_counts_for_the_rarer_of_its_spans() {
    let kept = |probability, span: Span| Span {
        attributes: vec![("sampling.probability".to_owned(), Stored::Float(probability))],
        ..span
    };
    let groups = [
        service("a", vec![kept(0.5, span(1, 99, CLIENT)), span(3, 99, CLIENT)]),
        service("b", vec![span(2, 1, SERVER), kept(0.1, Span { status: 2, ..span(4, 3, SERVER) })]),
    ];
    calls(&groups, &[("client=a server=b", 2.0)]);
    let edge = "client=a server=b";
    check(&groups, "{ } | service_graph(calls) with(adjusted=true)", &[(edge, 12.0)]);
    check(&groups, "{ } | service_graph(errors) with(adjusted=true)", &[(edge, 10.0)]);
}

#[test]
fn sample_is_one_of_calls_with_both_their_sides() {
    let call = |trace: u128| {
        let at = |id, parent, kind| Span { trace, ..span(id, parent, kind) };
        [service("a", vec![at(1, 99, CLIENT)]), service("b", vec![at(2, 1, SERVER)])]
    };
    let groups: Vec<Group> = (1..=8).flat_map(call).collect();
    for hint in ["trace_sample=0.5", "sample=0.25"] {
        let query = format!("{{ }} | service_graph(calls) with({hint})");
        check(&groups, &query, &[("client=a server=b", 8.0)]);
    }
}

#[test]
fn trace_of_spans_with_one_id_takes_no_time() {
    let link = Link { trace: 1, id: 1, attributes: Attributes::new() };
    let consumer = Span { links: vec![link; 3], ..span(1, 1, CONSUMER) };
    let spans = |span: Span| vec![span; 20_000];
    let groups = [service("a", spans(span(1, 1, PRODUCER))), service("b", spans(consumer))];
    let grid = Grid::instant(BASE - 1, BASE + 60_000 * MS);
    let found = ask(&live_batch(&groups), "{ } | service_graph(calls)", grid);
    assert!(found.contains_key("client=a server=b connection_type=messaging_system"));
}

#[test]
fn wrong_measures_are_refused() {
    let error = |query: &str| parse_and_validate(query).expect_err(query).to_string();
    assert!(error("{ } | service_graph(latency)").contains("expecting calls or rate or errors"));
    assert!(error("{ } | service_graph(calls, 0.5)").contains("unexpected ,"));
    assert_eq!(
        error("{ } | service_graph(client_latency, 2)"),
        "quantile must be between 0 and 1: 2"
    );
    let mixed = "`service_graph()` needs a measure to be used with second stage functions";
    assert_eq!(error("{ } | service_graph() | topk(1)"), mixed);
    assert_eq!(error("({ } | service_graph()) * 2"), mixed);
}

#[test]
fn canonical_text_parses_to_itself() {
    for query in [
        "{ true } | service_graph()",
        "{ true } | service_graph(rate)",
        "{ true } | service_graph(client_latency,0.50000,0.90000)",
    ] {
        assert_eq!(parse_and_validate(query).expect(query).to_string(), query);
    }
}
