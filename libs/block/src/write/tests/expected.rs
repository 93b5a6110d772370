//! What the columns of a row group must hold, worked out row by row and striped by the schema.

use parquet::schema::types::Type;
use tactus_model::{SpanId, nested_set::NestedSet};

use super::expected_attributes::attribute_list;
use super::expected_columns::{Dedicated, service_column, service_name, service_statistics};
use super::read_back::{Column, Leaf};
use super::samples::{Attributes, SampleSpan, Value, encoded, span_id, trace_id};
use crate::schema::Schema;

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

/// A list: bare, or of three levels, `X (LIST) { repeated list { element } }`.
pub(super) fn list(is_v5: bool, elements: Vec<Node>) -> Node {
    if is_v5 {
        return Node::List(elements);
    }
    let wrapped = elements.into_iter().map(|element| Node::Group(vec![element])).collect();
    Node::Group(vec![Node::List(wrapped)])
}

/// The columns of these traces in one row group.
pub(super) fn columns(
    schema: &Schema,
    traces: &[(u8, Vec<SampleSpan>)],
    dedicated: &Dedicated,
) -> Vec<Column> {
    let mut columns = vec![Column::default(); schema.leaf_count()];
    for (id, spans) in traces {
        let row = row(*id, spans, dedicated);
        let root = schema.descriptor().root_schema_ptr();
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

fn comparable(attributes: &Attributes) -> Vec<(&'static str, Vec<u8>)> {
    attributes.iter().map(|(key, value)| (*key, encoded(value))).collect()
}

type ResourceKey = (String, Vec<(&'static str, Vec<u8>)>);

fn resource_key(span: &SampleSpan, dedicated: &Dedicated) -> ResourceKey {
    let attributes = &span.resource.0;
    // Bit patterns tell NaN and -0.0 apart where equality would not.
    let columns = format!("{:?}", dedicated.resource_values(attributes));
    (columns, comparable(&dedicated.generic_of_resource(attributes)))
}

fn scope_key(span: &SampleSpan) -> String {
    let (name, version, attributes, _) = &span.scope;
    format!("{name}/{version}/{:?}", comparable(attributes))
}

/// Groups by key, in the order of their first spans. Within a group spans stay in order of arrival.
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
    let mut groups: Vec<_> = groups.into_iter().map(|(_, members)| members).collect();
    // Of spans with the same start and id the one that came first.
    let first = |span: &&SampleSpan| (span.start, span.id, std::ptr::from_ref(*span) as usize);
    groups.sort_by_key(|members| members.iter().map(first).min());
    groups
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
    let roots = order.iter().rev().filter(|span| {
        let child_of = ("opentracing.ref_type", Value::Text(b"child_of".to_vec()));
        let is_child = |(trace, _, attributes): &(u8, u8, Attributes)| {
            (*trace == 0 || *trace == id) && attributes.first() == Some(&child_of)
        };
        span.parent == 0 && !span.links.iter().any(is_child)
    });
    // Of equal ones the first.
    let root = roots.max_by_key(|span| (span.start, span.id, span.kind, &span.name));
    let service = |span: &SampleSpan| service_name(&span.resource.0);
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
    Node::Group(vec![
        text(&trace_id(id).0),
        text(trace_id(id).to_hex().trim_start_matches('0').as_bytes()),
        integer(start),
        integer(end),
        integer(end.wrapping_sub(start)),
        text(&root.map(|span| service(span)).unwrap_or_default()),
        text(&root.map(|span| span.name.clone()).unwrap_or_default()),
        service_statistics(dedicated.is_v5, &services),
        list(dedicated.is_v5, resources.collect()),
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

    /// Direct children of a span in the tree.
    fn children(&self, at: usize) -> u32 {
        let left = self.set.left[at];
        self.set.parent.iter().filter(|&&parent| left > 0 && parent == left).count() as u32
    }
}

fn resource_spans(
    id: u8,
    scopes: &[Vec<&SampleSpan>],
    dedicated: &Dedicated,
    numbers: &mut Numbers,
) -> Node {
    let is_v5 = dedicated.is_v5;
    let scope_spans = scopes.iter().map(|spans| {
        let (name, version, attributes, _) = &spans[0].scope;
        let dropped = first_row(spans).scope.3;
        let scope = Node::Group(vec![
            text(name.as_bytes()),
            text(version.as_bytes()),
            attribute_list(is_v5, attributes),
            integer32(dropped),
        ]);
        let nodes = spans.iter().map(|span| span_node(id, span, dedicated, numbers)).collect();
        let mut fields = vec![scope, list(is_v5, nodes)];
        fields.extend(is_v5.then(|| integer32(spans.len() as u32)));
        Node::Group(fields)
    });
    let scope_spans = list(is_v5, scope_spans.collect());
    let all: Vec<&SampleSpan> = scopes.iter().flatten().copied().collect();
    let (attributes, dropped) = &first_row(&all).resource;
    let generic = attribute_list(is_v5, &dedicated.generic_of_resource(attributes));
    let service = text(&service_column(attributes));
    let mut fields = match is_v5 {
        true => vec![service, generic, integer32(*dropped)],
        false => vec![generic, integer32(*dropped), service],
    };
    fields.extend(dedicated.resource_nodes(attributes));
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
    let is_v5 = dedicated.is_v5;
    let parent = if span.parent == 0 { Vec::new() } else { span_id(span.parent).0.to_vec() };
    let events = span.events.iter().map(|(time, name, attributes)| {
        let mut fields = vec![
            integer(time.wrapping_sub(span.start)),
            text(name.as_bytes()),
            attribute_list(is_v5, &dedicated.generic_of_event(attributes)),
            integer32(9),
        ];
        fields.extend(dedicated.event_nodes(attributes));
        Node::Group(fields)
    });
    let links = span.links.iter().map(|(linked, linked_span, attributes)| {
        Node::Group(vec![
            text(&trace_id(if *linked == 0 { id } else { *linked }).0),
            text(&span_id(*linked_span).0),
            text(b"l=1"),
            attribute_list(is_v5, attributes),
            integer32(7),
        ])
    });
    let mut fields = vec![
        text(&span_id(span.id).0),
        text(&parent),
        nested(&numbers.set.parent),
        nested(&numbers.set.left),
        nested(&numbers.set.right),
    ];
    fields.extend(is_v5.then(|| integer32(numbers.children(at))));
    fields.extend([
        text(&span.name),
        integer(u64::from(span.kind)),
        text(span.trace_state.as_bytes()),
        integer(span.start),
        integer(span.duration),
        integer(u64::from(span.status.0)),
        text(span.status.1.as_bytes()),
        attribute_list(is_v5, &dedicated.generic_of_span(&span.attributes)),
        integer32(span.dropped.0),
        list(is_v5, events.collect()),
        integer32(span.dropped.1),
        list(is_v5, links.collect()),
        integer32(span.dropped.2),
    ]);
    fields.extend(dedicated.span_nodes(&span.attributes));
    if is_v5 {
        fields.extend([15u64, 60, 300, 3600].map(|seconds| {
            let nanos = u128::from(seconds) * 1_000_000_000;
            let rounded = u128::from(span.start).div_ceil(nanos);
            integer32(rounded.saturating_sub(1) as u32)
        }));
    }
    Node::Group(fields)
}
