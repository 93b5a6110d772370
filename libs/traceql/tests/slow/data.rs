//! Random traces: few, small, and odd: several roots or none, missing parents, cycles, the same names and ids
//! everywhere, ids shared by a client and a server span, values of every type under one key.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::batches::{Attributes, Event, Group, Link, Span, Stored};

const MILLISECOND: u64 = 1_000_000;
/// Start of time for all spans, unix nanoseconds.
pub(crate) const BASE: u64 = 1_700_000_000_000_000_000;

/// A span before its trace is known.
#[derive(Clone, Debug)]
struct Seed {
    span: Span,
    parent: Parent,
    /// Takes the id of the span before it; the two become client and server.
    shares_id: bool,
    resource: Index,
    scope: Index,
}

#[derive(Clone, Debug)]
enum Parent {
    Root,
    Earlier(Index),
    /// Also itself, or in a circle.
    Any(Index),
    Missing,
}

fn text(value: &str) -> Stored {
    Stored::String(value.to_owned())
}

fn value() -> impl Strategy<Value = Stored> {
    let texts = select(vec!["", "x", "y", "xy", "GET", "("]);
    prop_oneof![
        6 => texts.clone().prop_map(text),
        5 => select(vec![-1i64, 0, 1, 2, 3, 200]).prop_map(Stored::Int),
        3 => select(vec![-0.5, 0.5, 1.0, 2.0, 3.0]).prop_map(Stored::Float),
        3 => any::<bool>().prop_map(Stored::Bool),
        2 => prop::collection::vec(texts.prop_map(text), 0..3).prop_map(Stored::Array),
        1 => prop::collection::vec((0i64..3).prop_map(Stored::Int), 1..3).prop_map(Stored::Array),
        1 => prop::collection::vec(select(vec![0.5, 2.0]).prop_map(Stored::Float), 1..3)
            .prop_map(Stored::Array),
        1 => prop::collection::vec(any::<bool>().prop_map(Stored::Bool), 1..3)
            .prop_map(Stored::Array),
        1 => Just(Stored::Array(vec![text("x"), Stored::Int(1)])),
    ]
}

/// The second of two attributes with one key is never found.
fn attributes(most: usize) -> impl Strategy<Value = Attributes> {
    let keys = vec!["a", "a", "b", "b", "c", "service.name", "http.method", "http.status_code"];
    let common = (select(keys).prop_map(str::to_owned), value());
    // Doubles cannot hold these; sums of them would depend on the order.
    let large = select(vec![i64::MAX, i64::MIN, (1 << 53) + 1, 1 << 53]);
    let large = (Just("large".to_owned()), large.prop_map(Stored::Int));
    prop::collection::vec(prop_oneof![12 => common, 1 => large], 0..=most)
}

/// Attributes that name the other side of a call, and how likely a span was kept.
fn peers() -> impl Strategy<Value = Attributes> {
    let names = select(vec!["shop", "pg", "", "10.0.0.1"]).prop_map(text);
    let keys = select(vec![
        "peer.service",
        "server.address",
        "net.peer.name",
        "db.name",
        "db.system",
        "network.peer.address",
        "messaging.system",
    ]);
    let port = (Just("network.peer.port"), Just(Stored::Int(5432)));
    let named = prop_oneof![6 => (keys, names), 1 => port];
    let named = named.prop_map(|(key, value)| (key.to_owned(), value));
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(named, 1..4)]
}

/// What tells how many spans of the sender one stands for: once, twice or four times.
fn sampled() -> impl Strategy<Value = (String, Attributes)> {
    let states =
        select(vec!["", "", "ot=th:0", "ot=th:8", "a=b,ot=rv:00000000000000;th:c", "ot=th:x"]);
    let values = select(vec![
        Stored::Float(0.5),
        Stored::Float(0.25),
        Stored::Int(1),
        Stored::Float(0.0),
        Stored::Float(1.5),
        text("half"),
    ]);
    let attribute = prop::option::weighted(0.3, values);
    (states, attribute).prop_map(|(state, value)| {
        let attribute = value.map(|value| ("sampling.probability".to_owned(), value));
        (state.to_owned(), attribute.into_iter().collect())
    })
}

fn resource() -> impl Strategy<Value = Attributes> {
    let service = prop_oneof![
        6 => select(vec!["shop", "cart", ""]).prop_map(|name| Some(text(name))),
        1 => Just(None),
    ];
    let database = prop_oneof![
        9 => Just(None),
        1 => Just(Some(("db.name".to_owned(), text("orders")))),
    ];
    let sampled = prop_oneof![4 => Just(Attributes::new()), 1 => sampled().prop_map(|it| it.1)];
    let rest = (attributes(2), database, sampled);
    (service, rest).prop_map(|(service, (mut attributes, database, sampled))| {
        attributes.extend(database);
        attributes.extend(sampled);
        if let Some(service) = service {
            attributes.insert(0, ("service.name".to_owned(), service));
        }
        attributes
    })
}

fn event() -> impl Strategy<Value = Event> {
    (0u64..4, select(vec!["e", "f", ""]), attributes(2)).prop_map(|(offset, name, attributes)| {
        Event { offset: offset * MILLISECOND, name: name.to_owned(), attributes }
    })
}

fn link() -> impl Strategy<Value = Link> {
    let trace = select(vec![1u128, 2, 0xab << 64]);
    (trace, select(vec![1u64, 2, 0xa0 << 56]), attributes(1))
        .prop_map(|(trace, id, attributes)| Link { trace, id, attributes })
}

fn seed() -> impl Strategy<Value = Seed> {
    let names = select(vec!["x", "x", "y", "xy", ""]);
    let facts = (names.clone(), 0u8..6, 0u8..3, names, 0u64..50, 0u64..6);
    let lists = (
        attributes(3),
        prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(event(), 1..3)],
        prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(link(), 1..3)],
    );
    let parent = prop_oneof![
        2 => Just(Parent::Root),
        8 => any::<Index>().prop_map(Parent::Earlier),
        1 => any::<Index>().prop_map(Parent::Any),
        1 => Just(Parent::Missing),
    ];
    let places = (parent, prop::bool::weighted(0.08), any::<Index>(), any::<Index>());
    (facts, lists, places, (peers(), sampled())).prop_map(
        |(
            (name, kind, status, message, start, duration),
            (mut attributes, events, links),
            (parent, shares_id, resource, scope),
            (peers, (state, sampled)),
        )| {
            attributes.extend(peers);
            attributes.extend(sampled);
            let span = Span {
                name: name.to_owned(),
                kind,
                status,
                message: message.to_owned(),
                start: BASE + start * 100 * MILLISECOND,
                duration: duration * MILLISECOND,
                state,
                attributes,
                events,
                links,
                ..Span::default()
            };
            Seed { span, parent, shares_id, resource, scope }
        },
    )
}

/// Two to six traces of one to eight spans, spread over a few resources and scopes.
pub(crate) fn groups() -> impl Strategy<Value = Vec<Group>> {
    let resources = prop::collection::vec(resource(), 1..4);
    let scopes = prop::collection::vec(
        (select(vec!["", "lib"]), select(vec!["", "1"]), attributes(1)),
        1..3,
    );
    let traces = prop::collection::vec(prop::collection::vec(seed(), 1..=8), 2..=6);
    (resources, scopes, traces).prop_map(|(resources, scopes, traces)| {
        let mut groups = Vec::new();
        for resource in &resources {
            for (name, version, attributes) in &scopes {
                groups.push(Group {
                    resource: resource.clone(),
                    scope_name: (*name).to_owned(),
                    scope_version: (*version).to_owned(),
                    scope: attributes.clone(),
                    spans: Vec::new(),
                });
            }
        }
        for (number, seeds) in traces.into_iter().enumerate() {
            let places: Vec<usize> = seeds
                .iter()
                .map(|it| {
                    it.resource.index(resources.len()) * scopes.len() + it.scope.index(scopes.len())
                })
                .collect();
            for (span, place) in finish_trace(number, seeds).into_iter().zip(places) {
                groups[place].spans.push(span);
            }
        }
        groups
    })
}

fn finish_trace(number: usize, seeds: Vec<Seed>) -> Vec<Span> {
    // Some ids begin with zeros.
    let trace = (number as u128 + 1) << if number.is_multiple_of(2) { 0 } else { 80 };
    let count = seeds.len();
    let mut spans: Vec<Span> = Vec::new();
    for (place, seed) in seeds.into_iter().enumerate() {
        let mut span = Span { trace, id: place as u64 + 1, ..seed.span };
        let earlier = |index: Index| index.index(place.max(1)) as u64 + 1;
        span.parent = match seed.parent {
            Parent::Root => 0,
            Parent::Earlier(_) if place == 0 => 0,
            Parent::Earlier(index) => earlier(index),
            Parent::Any(index) => index.index(count) as u64 + 1,
            Parent::Missing => 99,
        };
        let before = spans.last_mut().filter(|before| before.id == place as u64);
        if let Some(before) = before.filter(|_| seed.shares_id) {
            (before.kind, span.kind) = (3, 2);
            span.id = before.id;
            span.start = before.start + MILLISECOND;
        }
        spans.push(span);
    }
    spans
}

/// The same data with one value for each key: what is stored of more is left open.
pub(crate) fn without_repeated_keys(mut groups: Vec<Group>) -> Vec<Group> {
    let clean = |attributes: &mut Attributes| {
        let mut seen = Vec::new();
        attributes.retain(|(key, _)| {
            let is_new = !seen.contains(key);
            seen.push(key.clone());
            is_new
        });
    };
    for group in &mut groups {
        clean(&mut group.resource);
        clean(&mut group.scope);
        for span in &mut group.spans {
            clean(&mut span.attributes);
            span.events.iter_mut().for_each(|event| clean(&mut event.attributes));
            span.links.iter_mut().for_each(|link| clean(&mut link.attributes));
        }
    }
    groups
}
