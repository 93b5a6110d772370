//! What the columns of a row group must hold, worked out row by row and striped by the schema.

use parquet::schema::types::Type;
use tactus_model::{SpanId, nested_set::NestedSet};

use super::expected_attributes::attribute_list;
use super::read_back::{Column, Leaf};
use super::samples::{Attributes, SampleSpan, Value, encoded, span_id, trace_id};
use crate::schema;

/// A value of the schema: the fields of a group in order, the elements of a repeated field, a leaf, or null.
pub(super) enum Node {
    Group(Vec<Node>),
    List(Vec<Node>),
    Leaf(Leaf),
    Null,
}

pub(super) fn text(bytes: &[u8]) -> Node {
    Node::Leaf(Leaf::Bytes(bytes.to_vec()))
}

fn integer(value: u64) -> Node {
    Node::Leaf(Leaf::Integer(value as i64))
}

fn integer32(value: u32) -> Node {
    Node::Leaf(Leaf::Integer(i64::from(value as i32)))
}

/// A three-level list: `X (LIST) { repeated list { element } }`.
pub(super) fn list(elements: Vec<Node>) -> Node {
    let wrapped = elements.into_iter().map(|element| Node::Group(vec![element])).collect();
    Node::Group(vec![Node::List(wrapped)])
}

/// The columns of these traces in one row group.
pub(super) fn columns(traces: &[(u8, Vec<SampleSpan>)], dedicated: &Dedicated) -> Vec<Column> {
    let mut columns = vec![Column::default(); schema::LEAF_COUNT];
    for (id, spans) in traces {
        let row = row(*id, spans, dedicated);
        let root = schema::message_type();
        let (Type::GroupType { fields, .. }, Node::Group(values)) = (root.as_ref(), &row) else {
            panic!("the root is a group");
        };
        let mut leaf = 0;
        for (field, value) in fields.iter().zip(values) {
            stripe(field, Some(value), Levels::default(), &mut leaf, &mut columns);
        }
    }
    columns
}

#[derive(Clone, Copy, Default)]
struct Levels {
    rep: i16,
    def: i16,
    /// Repeated fields on the way here.
    depth: i16,
}

/// Record striping of one value of `field`; `None` below something absent.
fn stripe(
    field: &Type,
    value: Option<&Node>,
    levels: Levels,
    leaf: &mut usize,
    columns: &mut [Column],
) {
    use parquet::basic::Repetition;
    if field.get_basic_info().repetition() == Repetition::REPEATED
        && let Some(Node::List(elements)) = value
    {
        let first = *leaf;
        let inner = Levels { def: levels.def + 1, depth: levels.depth + 1, ..levels };
        if elements.is_empty() {
            return content(field, None, levels, leaf, columns);
        }
        for (number, element) in elements.iter().enumerate() {
            *leaf = first;
            let rep = if number == 0 { levels.rep } else { inner.depth };
            content(field, Some(element), Levels { rep, ..inner }, leaf, columns);
        }
        return;
    }
    let optional = field.get_basic_info().repetition() == Repetition::OPTIONAL;
    let value = value.filter(|value| !matches!(value, Node::Null));
    let def = levels.def + i16::from(optional && value.is_some());
    content(field, value, Levels { def, ..levels }, leaf, columns);
}

fn content(
    field: &Type,
    value: Option<&Node>,
    levels: Levels,
    leaf: &mut usize,
    columns: &mut [Column],
) {
    if let Type::GroupType { fields, .. } = field {
        for (number, field) in fields.iter().enumerate() {
            let value = match value {
                Some(Node::Group(values)) => Some(&values[number]),
                Some(_) => panic!("{} is a group", field.name()),
                None => None,
            };
            stripe(field, value, levels, leaf, columns);
        }
        return;
    }
    let column = &mut columns[*leaf];
    *leaf += 1;
    column.rep.push(levels.rep);
    column.def.push(levels.def);
    if let Some(Node::Leaf(value)) = value {
        column.values.push(value.clone());
    }
}

/// Attributes with a dedicated column, by slot.
pub(super) struct Dedicated {
    pub(super) resource: Vec<&'static str>,
    pub(super) span: Vec<&'static str>,
}

fn is_text(value: &Value) -> bool {
    matches!(value, Value::Text(_))
}

/// The last string under a name.
fn last_text<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a [u8]> {
    attributes.iter().rev().find_map(|(key, value)| match value {
        Value::Text(text) if *key == name => Some(text.as_slice()),
        _ => None,
    })
}

fn optional_text(attributes: &Attributes, name: &str) -> Node {
    last_text(attributes, name).map_or(Node::Null, text)
}

fn dedicated_group(attributes: &Attributes, names: &[&'static str]) -> Node {
    let slot =
        |slot: usize| names.get(slot).map_or(Node::Null, |name| optional_text(attributes, name));
    Node::Group((0..schema::DEDICATED_SLOTS).map(slot).collect())
}

const RESOURCE_NAMES: [&str; 8] = [
    "cluster",
    "namespace",
    "pod",
    "container",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
];

/// A resource with its attributes in the form that blocks compare and store.
fn generic_resource(attributes: &Attributes, dedicated: &Dedicated) -> Attributes {
    let has_column = |(key, value): &&(&'static str, Value)| {
        let named = *key == "service.name"
            || RESOURCE_NAMES.contains(key)
            || dedicated.resource.contains(key);
        !(named && is_text(value))
    };
    let mut generic: Attributes = attributes.iter().filter(has_column).cloned().collect();
    generic.sort_by_key(|(key, _)| *key);
    generic
}

type ResourceKey = (Vec<Option<Vec<u8>>>, String);

fn resource_key(span: &SampleSpan, dedicated: &Dedicated) -> ResourceKey {
    let attributes = &span.resource.0;
    let names = ["service.name"].into_iter().chain(RESOURCE_NAMES);
    let names = names.chain(dedicated.resource.iter().copied());
    let columns = names.map(|name| last_text(attributes, name).map(<[u8]>::to_vec)).collect();
    // Bit patterns tell NaN and -0.0 apart where equality would not.
    (columns, format!("{:?}", comparable(&generic_resource(attributes, dedicated))))
}

fn comparable(attributes: &Attributes) -> Vec<(&'static str, Vec<u8>)> {
    attributes.iter().map(|(key, value)| (*key, encoded(value))).collect()
}

fn scope_key(span: &SampleSpan) -> String {
    let (name, version, attributes, _) = &span.scope;
    format!("{name}/{version}/{:?}", comparable(attributes))
}

/// Groups by key in order of first appearance.
fn group<K: PartialEq>(
    spans: Vec<&SampleSpan>,
    key: impl Fn(&SampleSpan) -> K,
) -> Vec<Vec<&SampleSpan>> {
    let mut groups: Vec<(K, Vec<&SampleSpan>)> = Vec::new();
    for span in spans {
        let wanted = key(span);
        match groups.iter_mut().find(|(key, _)| *key == wanted) {
            Some((_, members)) => members.push(span),
            None => groups.push((wanted, vec![span])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

fn row(id: u8, spans: &[SampleSpan], dedicated: &Dedicated) -> Node {
    let by_resource = group(spans.iter().collect(), |span| resource_key(span, dedicated));
    let grouped: Vec<Vec<Vec<&SampleSpan>>> = by_resource
        .into_iter()
        .map(|resource| {
            let mut scopes = group(resource, scope_key);
            for scope in &mut scopes {
                scope.sort_by_key(|span| (span.start, span.id));
            }
            scopes
        })
        .collect();
    let order: Vec<&SampleSpan> = grouped.iter().flatten().flatten().copied().collect();
    let start = order.iter().map(|span| span.start).filter(|&start| start != 0).min().unwrap_or(0);
    let end = order.iter().map(|span| span.start.wrapping_add(span.duration)).max().unwrap_or(0);
    let root = order.iter().rev().find(|span| {
        let child_of = ("opentracing.ref_type", Value::Text(b"child_of".to_vec()));
        let is_child = |(trace, _, attributes): &(u8, u8, Attributes)| {
            (*trace == 0 || *trace == id) && attributes.first() == Some(&child_of)
        };
        span.parent == 0 && !span.links.iter().any(is_child)
    });
    let service =
        |span: &SampleSpan| last_text(&span.resource.0, "service.name").unwrap_or(b"").to_vec();
    let mut services: Vec<(Vec<u8>, u32, u32)> = Vec::new();
    for span in &order {
        let error = u32::from(span.status.0 == 2);
        match services.iter_mut().find(|entry| entry.0 == service(span)) {
            Some(entry) => {
                entry.1 += 1;
                entry.2 += error;
            }
            None => services.push((service(span), 1, error)),
        }
    }
    services.sort();
    let mut numbers = Numbers::new(&order);
    let resources =
        grouped.iter().map(|scopes| resource_spans(id, scopes, dedicated, &mut numbers));
    let statistics = services.iter().map(|(name, spans, errors)| {
        Node::Group(vec![text(name), Node::Group(vec![integer32(*spans), integer32(*errors)])])
    });
    Node::Group(vec![
        text(&trace_id(id).0),
        text(trace_id(id).to_hex().trim_start_matches('0').as_bytes()),
        integer(start),
        integer(end),
        integer(end.wrapping_sub(start)),
        text(&root.map(|span| service(span)).unwrap_or_default()),
        text(&root.map(|span| span.name.clone()).unwrap_or_default()),
        Node::Group(vec![Node::List(statistics.collect())]),
        list(resources.collect()),
    ])
}

/// Nested-set numbers of the spans of a trace, in order.
struct Numbers {
    set: NestedSet,
    next: usize,
}

impl Numbers {
    fn new(order: &[&SampleSpan]) -> Self {
        let mut set = NestedSet::default();
        let ids: Vec<SpanId> = order.iter().map(|span| span_id(span.id)).collect();
        let parents: Vec<SpanId> = order.iter().map(|span| span_id(span.parent)).collect();
        let kinds: Vec<u8> = order.iter().map(|span| span.kind).collect();
        set.compute(&ids, &parents, &kinds);
        Self { set, next: 0 }
    }
}

fn resource_spans(
    id: u8,
    scopes: &[Vec<&SampleSpan>],
    dedicated: &Dedicated,
    numbers: &mut Numbers,
) -> Node {
    let scope_spans = scopes.iter().map(|spans| {
        let (name, version, attributes, _) = &spans[0].scope;
        let dropped = first_row(spans).scope.3;
        let scope = Node::Group(vec![
            text(name.as_bytes()),
            text(version.as_bytes()),
            attribute_list(attributes),
            integer32(dropped),
        ]);
        let spans = spans.iter().map(|span| span_node(id, span, dedicated, numbers)).collect();
        Node::Group(vec![scope, list(spans)])
    });
    let scope_spans = list(scope_spans.collect());
    let all: Vec<&SampleSpan> = scopes.iter().flatten().copied().collect();
    let (attributes, dropped) = &first_row(&all).resource;
    let mut fields = vec![
        attribute_list(&generic_resource(attributes, dedicated)),
        integer32(*dropped),
        text(last_text(attributes, "service.name").unwrap_or(b"")),
    ];
    fields.extend(RESOURCE_NAMES.iter().map(|name| optional_text(attributes, name)));
    fields.push(dedicated_group(attributes, &dedicated.resource));
    Node::Group(vec![Node::Group(fields), scope_spans])
}

/// The span that came first in the batch: samples lie in memory in that order.
fn first_row<'a>(spans: &[&'a SampleSpan]) -> &'a SampleSpan {
    spans.iter().min_by_key(|span| std::ptr::from_ref::<SampleSpan>(span)).unwrap()
}

fn span_node(id: u8, span: &SampleSpan, dedicated: &Dedicated, numbers: &mut Numbers) -> Node {
    let at = numbers.next;
    numbers.next += 1;
    let nested = |column: &[i32]| Node::Leaf(Leaf::Integer(i64::from(column[at])));
    let status_code = span.attributes.iter().rev().find_map(|(key, value)| match value {
        Value::Int(code) if *key == "http.status_code" => Some(Node::Leaf(Leaf::Integer(*code))),
        _ => None,
    });
    let has_column = |(key, value): &&(&'static str, Value)| {
        let text = ["http.method", "http.url"].contains(key) || dedicated.span.contains(key);
        let number = *key == "http.status_code" && matches!(value, Value::Int(_));
        !(text && is_text(value) || number)
    };
    let generic: Attributes = span.attributes.iter().filter(has_column).cloned().collect();
    let parent = if span.parent == 0 { Vec::new() } else { span_id(span.parent).0.to_vec() };
    let events = span.events.iter().map(|(time, name, attributes)| {
        Node::Group(vec![
            integer(time.wrapping_sub(span.start)),
            text(name.as_bytes()),
            attribute_list(attributes),
            integer32(9),
        ])
    });
    let links = span.links.iter().map(|(linked, linked_span, attributes)| {
        Node::Group(vec![
            text(&trace_id(if *linked == 0 { id } else { *linked }).0),
            text(&span_id(*linked_span).0),
            text(b"l=1"),
            attribute_list(attributes),
            integer32(7),
        ])
    });
    Node::Group(vec![
        text(&span_id(span.id).0),
        text(&parent),
        nested(&numbers.set.parent),
        nested(&numbers.set.left),
        nested(&numbers.set.right),
        text(&span.name),
        integer(u64::from(span.kind)),
        text(span.trace_state.as_bytes()),
        integer(span.start),
        integer(span.duration),
        integer(u64::from(span.status.0)),
        text(span.status.1.as_bytes()),
        attribute_list(&generic),
        integer32(span.dropped.0),
        list(events.collect()),
        integer32(span.dropped.1),
        list(links.collect()),
        integer32(span.dropped.2),
        optional_text(&span.attributes, "http.method"),
        optional_text(&span.attributes, "http.url"),
        status_code.unwrap_or(Node::Null),
        dedicated_group(&span.attributes, &dedicated.span),
    ])
}
