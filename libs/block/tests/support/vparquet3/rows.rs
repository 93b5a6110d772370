//! Traces as rows of the file.

use tactus_model::nested_set::NestedSet;
use tactus_model::wire::{put_bytes_field, put_message_field, put_varint_field};
use tactus_model::{SpanBatch, TraceId, ValueType};
use tactus_storage::meta::ColumnScope;

use super::values::{Attributes, message_of, split, stored_json};
use super::{Node, Settings, list};

/// Resource attributes with a column of their own besides `service.name`.
pub(super) const STATIC_RESOURCE: [(&str, &str); 8] = [
    ("cluster", "Cluster"),
    ("namespace", "Namespace"),
    ("pod", "Pod"),
    ("container", "Container"),
    ("k8s.cluster.name", "K8sClusterName"),
    ("k8s.namespace.name", "K8sNamespaceName"),
    ("k8s.pod.name", "K8sPodName"),
    ("k8s.container.name", "K8sContainerName"),
];

/// A row for each trace of the batch.
pub(super) fn rows<'b>(
    batch: &'b SpanBatch,
    settings: &'b Settings,
) -> impl Iterator<Item = Node> + 'b {
    let offsets = batch.trace_offsets();
    batch.traces.ids.iter().enumerate().map(move |(trace, &id)| {
        let spans: Vec<usize> = (offsets[trace] as usize..offsets[trace + 1] as usize).collect();
        row(batch, settings, id, &spans)
    })
}

/// Scopes of a resource, with their spans.
type Scopes = Vec<(u32, Vec<Node>)>;

fn row(batch: &SpanBatch, settings: &Settings, id: TraceId, rows: &[usize]) -> Node {
    let spans = &batch.spans;
    let mut nested = NestedSet::default();
    nested.compute(
        &rows.iter().map(|&row| spans.span_id[row]).collect::<Vec<_>>(),
        &rows.iter().map(|&row| spans.parent_span_id[row]).collect::<Vec<_>>(),
        &rows.iter().map(|&row| spans.kind[row]).collect::<Vec<_>>(),
    );
    let mut resources: Vec<(u32, Scopes)> = Vec::new();
    for (place, &row) in rows.iter().enumerate() {
        let numbers = [nested.parent[place], nested.left[place], nested.right[place]];
        let span = span(batch, settings, row, numbers);
        let (resource, scope) = (spans.resource[row], spans.scope[row]);
        if !resources.iter().any(|(known, _)| *known == resource) {
            resources.push((resource, Vec::new()));
        }
        let scopes = &mut resources.iter_mut().find(|(known, _)| *known == resource).unwrap().1;
        if !scopes.iter().any(|(known, _)| *known == scope) {
            scopes.push((scope, Vec::new()));
        }
        scopes.iter_mut().find(|(known, _)| *known == scope).unwrap().1.push(span);
    }
    let root = rows.iter().rev().find(|&&row| spans.parent_span_id[row].is_zero());
    let root_name = root.map(|&row| batch.strings.get(spans.name[row]));
    let service_key = batch.strings.find(b"service.name");
    let root_service = root.map(|&row| {
        let service = batch.service_name(spans.resource[row] as usize, service_key);
        batch.strings.get(service)
    });
    let start = rows.iter().map(|&row| spans.start[row]).min().unwrap_or(0);
    let ends = rows.iter().map(|&row| spans.start[row].wrapping_add(spans.duration[row]));
    let end = ends.max().unwrap_or(0);
    let resources = resources.into_iter().map(|(row, scopes)| {
        let scopes = scopes.into_iter().map(|(row, spans)| {
            let name = |codes: &[u32]| bytes(batch.strings.get(codes[row as usize]));
            let scopes = &batch.scopes;
            let scope = Node::Many(vec![name(&scopes.name), name(&scopes.version)]);
            Node::Many(vec![scope, list(spans)])
        });
        Node::Many(vec![resource(batch, settings, row as usize), list(scopes.collect())])
    });
    Node::Many(vec![
        bytes(&id.0),
        bytes(id.to_hex_trimmed().as_bytes()),
        Node::Word(start as i64),
        Node::Word(end as i64),
        Node::Word(end.wrapping_sub(start) as i64),
        bytes(root_service.unwrap_or_default()),
        bytes(root_name.unwrap_or_default()),
        list(resources.collect()),
    ])
}

fn bytes(bytes: &[u8]) -> Node {
    Node::Bytes(bytes.to_vec())
}

fn resource(batch: &SpanBatch, settings: &Settings, row: usize) -> Node {
    let mut attributes = split(batch, &batch.resources.attributes, row);
    let service = attributes.take_string("service.name");
    let service = service.unwrap_or_else(|| bytes(b""));
    let statics: Vec<Node> =
        STATIC_RESOURCE.iter().map(|(key, _)| take_optional(&mut attributes, key)).collect();
    let dedicated = dedicated(settings, ColumnScope::Resource, &mut attributes);
    let mut fields = vec![attributes.generic(), service];
    fields.extend(statics);
    fields.push(dedicated);
    Node::Many(fields)
}

fn take_optional(attributes: &mut Attributes, key: &str) -> Node {
    attributes.take_string(key).unwrap_or(Node::Null)
}

fn dedicated(settings: &Settings, scope: ColumnScope, attributes: &mut Attributes) -> Node {
    let columns = settings.dedicated_columns.iter().filter(|column| column.scope == scope);
    let mut slots: Vec<Node> =
        columns.map(|column| take_optional(attributes, &column.name)).collect();
    assert!(slots.len() <= 10);
    slots.resize_with(10, || Node::Null);
    Node::Many(slots)
}

fn span(batch: &SpanBatch, settings: &Settings, row: usize, numbers: [i32; 3]) -> Node {
    let spans = &batch.spans;
    let text = |codes: &[u32]| bytes(batch.strings.get(codes[row]));
    let parent = spans.parent_span_id[row];
    let mut attributes = split(batch, &batch.span_attributes, row);
    let method = take_optional(&mut attributes, "http.method");
    let url = take_optional(&mut attributes, "http.url");
    let status = attributes.take("http.status_code", ValueType::Int);
    let dedicated = dedicated(settings, ColumnScope::Span, &mut attributes);
    let events = batch.events.range(row).map(|event| {
        let events = &batch.events;
        let attributes = events.attributes.of(event).map(|attribute| {
            let value = match settings.json_events {
                true => stored_json(attribute.value(&batch.strings)).into_bytes(),
                false => message_of(attribute.value(&batch.strings)),
            };
            Node::Many(vec![bytes(batch.strings.get(attribute.key)), Node::Bytes(value)])
        });
        Node::Many(vec![
            Node::Word(events.time[event] as i64),
            bytes(batch.strings.get(events.name[event])),
            list(attributes.collect()),
            Node::Int(events.dropped_attributes[event] as i32),
        ])
    });
    let [parent_number, left, right] = numbers;
    Node::Many(vec![
        bytes(&spans.span_id[row].0),
        bytes(if parent.is_zero() { b"" } else { &parent.0 }),
        Node::Int(parent_number),
        Node::Int(left),
        Node::Int(right),
        text(&spans.name),
        Node::Word(spans.kind[row].into()),
        text(&spans.trace_state),
        Node::Word(spans.start[row] as i64),
        Node::Word(spans.duration[row] as i64),
        Node::Word(spans.status[row].into()),
        text(&spans.status_message),
        attributes.generic(),
        Node::Int(spans.dropped_attributes[row] as i32),
        list(events.collect()),
        Node::Int(spans.dropped_events[row] as i32),
        Node::Bytes(links(batch, row)),
        Node::Int(spans.dropped_links[row] as i32),
        method,
        url,
        status.unwrap_or(Node::Null),
        dedicated,
    ])
}

fn links(batch: &SpanBatch, row: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for link in batch.links.range(row) {
        let links = &batch.links;
        let mut message = Vec::new();
        put_bytes_field(&mut message, 1, &links.trace_id[link].0);
        put_bytes_field(&mut message, 2, &links.span_id[link].0);
        put_bytes_field(&mut message, 3, batch.strings.get(links.trace_state[link]));
        for attribute in links.attributes.of(link) {
            let mut pair = Vec::new();
            put_bytes_field(&mut pair, 1, batch.strings.get(attribute.key));
            put_message_field(&mut pair, 2, &message_of(attribute.value(&batch.strings)));
            put_message_field(&mut message, 4, &pair);
        }
        put_varint_field(&mut message, 5, links.dropped_attributes[link].into());
        put_message_field(&mut all, 1, &message);
    }
    all
}
