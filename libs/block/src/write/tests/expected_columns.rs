//! Which attributes go to columns of their own, worked out one by one.

use super::expected::{Node, text};
use super::read_back::Leaf;
use super::samples::{Attributes, Value};

/// Attributes with a dedicated column, by slot.
#[derive(Default)]
pub(super) struct Dedicated {
    pub(super) is_v5: bool,
    pub(super) resource: Slots,
    pub(super) span: Slots,
    pub(super) event: Slots,
}

#[derive(Default)]
pub(super) struct Slots {
    pub(super) strings: Vec<&'static str>,
    pub(super) ints: Vec<&'static str>,
}

/// A column: its attribute, true for integers, true if it takes arrays.
type Taker = (&'static str, bool, bool);

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

const SPAN_NAMES: [(&str, bool); 3] =
    [("http.method", false), ("http.url", false), ("http.status_code", true)];

/// What a column takes of an attribute of its name: nothing, or all.
fn taken_by((name, is_int, arrays): Taker, value: &Value) -> Option<Vec<Leaf>> {
    // The column of service names cannot tell an empty one from none.
    let is_empty = matches!(value, Value::Text(text) if text.is_empty());
    if name == "service.name" && is_empty { None } else { taken(value, is_int, arrays) }
}

fn taken(value: &Value, is_int: bool, arrays: bool) -> Option<Vec<Leaf>> {
    match value {
        Value::Text(text) if !is_int => Some(vec![Leaf::Bytes(text.clone())]),
        Value::Int(number) if is_int => Some(vec![Leaf::Integer(*number)]),
        Value::Array(elements) if arrays && elements.len() > 1 => {
            let leaves = elements.iter().map(|element| taken(element, is_int, false));
            leaves.collect::<Option<Vec<_>>>().map(|leaves| leaves.concat())
        }
        _ => None,
    }
}

/// The value that an attribute has, if it is there once.
fn only_value<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a Value> {
    let mut same_name = attributes.iter().filter(|(key, _)| *key == name);
    same_name.next().filter(|_| same_name.next().is_none()).map(|(_, value)| value)
}

/// The values of the column of an attribute: what it takes of an attribute that is there once.
fn column_values(attributes: &Attributes, taker: Taker) -> Vec<Leaf> {
    let only = only_value(attributes, taker.0);
    only.and_then(|value| taken_by(taker, value)).unwrap_or_default()
}

/// The service name of a resource; empty if it has none.
pub(super) fn service_name(resource: &Attributes) -> Vec<u8> {
    match resource.iter().find(|(key, _)| *key == "service.name") {
        Some((_, Value::Text(name))) => name.clone(),
        _ => Vec::new(),
    }
}

/// What stands in the column of service names.
pub(super) fn service_column(resource: &Attributes) -> Vec<u8> {
    match column_values(resource, ("service.name", false, false)).pop() {
        Some(Leaf::Bytes(name)) => name,
        _ => Vec::new(),
    }
}

fn optional(attributes: &Attributes, name: &'static str, is_int: bool) -> Node {
    column_values(attributes, (name, is_int, false)).pop().map_or(Node::Null, Node::Leaf)
}

impl Dedicated {
    fn of_slots(&self, slots: &Slots) -> Vec<Taker> {
        let strings = slots.strings.iter().map(|name| (*name, false, self.is_v5));
        strings.chain(slots.ints.iter().map(|name| (*name, true, self.is_v5))).collect()
    }

    fn resource_takers(&self) -> Vec<Taker> {
        let mut takers = vec![("service.name", false, false)];
        if !self.is_v5 {
            takers.extend(RESOURCE_NAMES.map(|name| (name, false, false)));
        }
        takers.extend(self.of_slots(&self.resource));
        takers
    }

    fn span_takers(&self) -> Vec<Taker> {
        let mut takers = Vec::new();
        if !self.is_v5 {
            takers.extend(SPAN_NAMES.map(|(name, is_int)| (name, is_int, false)));
        }
        takers.extend(self.of_slots(&self.span));
        takers
    }

    /// The values that make resources differ besides generic attributes.
    pub(super) fn resource_values(&self, attributes: &Attributes) -> Vec<Vec<Leaf>> {
        self.resource_takers().into_iter().map(|taker| column_values(attributes, taker)).collect()
    }

    /// The generic attributes of a resource, in the order in which blocks have them.
    pub(super) fn generic_of_resource(&self, attributes: &Attributes) -> Attributes {
        let mut generic = rest(attributes, &self.resource_takers());
        generic.sort_by_key(|(key, _)| *key);
        generic
    }

    pub(super) fn generic_of_span(&self, attributes: &Attributes) -> Attributes {
        rest(attributes, &self.span_takers())
    }

    pub(super) fn generic_of_event(&self, attributes: &Attributes) -> Attributes {
        rest(attributes, &self.of_slots(&self.event))
    }

    /// The static and dedicated columns of a resource, without the service name.
    pub(super) fn resource_nodes(&self, attributes: &Attributes) -> Vec<Node> {
        let mut nodes = Vec::new();
        if !self.is_v5 {
            nodes.extend(RESOURCE_NAMES.map(|name| optional(attributes, name, false)));
        }
        nodes.extend(self.group(attributes, &self.resource));
        nodes
    }

    /// The static and dedicated columns of a span.
    pub(super) fn span_nodes(&self, attributes: &Attributes) -> Vec<Node> {
        let mut nodes = Vec::new();
        if !self.is_v5 {
            nodes.extend(SPAN_NAMES.map(|(name, is_int)| optional(attributes, name, is_int)));
        }
        nodes.extend(self.group(attributes, &self.span));
        nodes
    }

    /// The dedicated columns of an event.
    pub(super) fn event_nodes(&self, attributes: &Attributes) -> Option<Node> {
        self.is_v5.then(|| self.group(attributes, &self.event)).flatten()
    }

    fn group(&self, attributes: &Attributes, slots: &Slots) -> Option<Node> {
        if !self.is_v5 {
            let slot = |slot: usize| {
                slots.strings.get(slot).map_or(Node::Null, |name| optional(attributes, name, false))
            };
            return Some(Node::Group((0..10).map(slot).collect()));
        }
        let nodes = self.of_slots(slots).into_iter().map(|taker| {
            Node::List(column_values(attributes, taker).into_iter().map(Node::Leaf).collect())
        });
        let nodes: Vec<Node> = nodes.collect();
        (!nodes.is_empty()).then_some(Node::Group(nodes))
    }
}

fn rest(attributes: &Attributes, takers: &[Taker]) -> Attributes {
    let stays = |(key, value): &&(&'static str, Value)| {
        only_value(attributes, key).is_none()
            || takers.iter().all(|taker| taker.0 != *key || taken_by(*taker, value).is_none())
    };
    attributes.iter().filter(stays).cloned().collect()
}

/// The service statistics of a trace: name, spans, errors.
pub(super) fn service_statistics(is_v5: bool, services: &[(Vec<u8>, u32, u32)]) -> Node {
    let count = |count: u32| Node::Leaf(Leaf::Integer(count.into()));
    let entries = services.iter().map(|(name, spans, errors)| match is_v5 {
        true => Node::Group(vec![text(name), count(*spans), count(*errors)]),
        false => Node::Group(vec![text(name), Node::Group(vec![count(*spans), count(*errors)])]),
    });
    let entries = Node::List(entries.collect());
    if is_v5 { entries } else { Node::Group(vec![entries]) }
}
