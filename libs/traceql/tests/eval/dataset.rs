//! The dataset and the cases of the shared conformance file.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::batches::{Attributes, Event, Group, Link, Span, Stored};

pub(crate) struct Dataset {
    pub(crate) base: u64,
    pub(crate) groups: Vec<Group>,
    /// Names of spans and traces by id.
    pub(crate) span_refs: BTreeMap<u64, String>,
    pub(crate) trace_refs: BTreeMap<u128, String>,
}

pub(crate) fn conformance() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/traceql_queries.yaml");
    let text = std::fs::read_to_string(path).expect("conformance data is beside the repository");
    serde_yaml::from_str(&text).expect("conformance data is YAML")
}

pub(crate) fn load(data: &Value) -> Dataset {
    let dataset = &data["dataset"];
    let mut loaded = Dataset {
        base: dataset["base_unix_nanos"].as_u64().expect("base"),
        groups: Vec::new(),
        span_refs: BTreeMap::new(),
        trace_refs: BTreeMap::new(),
    };
    for trace in list(&dataset["traces"]) {
        let id = u128::from_str_radix(&text(&trace["id"]), 16).expect("hex");
        loaded.trace_refs.insert(id, text(&trace["ref"]));
        for batch in list(&trace["batches"]) {
            let mut group = Group {
                resource: attributes(&batch["resource"]),
                scope_name: text(&batch["scope"]["name"]),
                scope_version: text(&batch["scope"]["version"]),
                scope: attributes(&batch["scope"]["attributes"]),
                spans: Vec::new(),
            };
            for span in list(&batch["spans"]) {
                let read = read_span(span, id, loaded.base);
                loaded.span_refs.insert(read.id, text(&span["ref"]));
                group.spans.push(read);
            }
            loaded.groups.push(group);
        }
    }
    loaded
}

fn read_span(span: &Value, trace: u128, base: u64) -> Span {
    let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
    let statuses = ["unset", "ok", "error"];
    let position = |names: &[&str], value: &Value| {
        names.iter().position(|name| *name == text(value)).expect("a keyword") as u8
    };
    Span {
        trace,
        id: id(&span["id"]),
        parent: id(&span["parent"]),
        name: text(&span["name"]),
        kind: position(&kinds, &span["kind"]),
        status: position(&statuses, &span["status"]),
        message: text(&span["status_message"]),
        start: base + duration(&span["start"]),
        duration: duration(&span["duration"]),
        state: String::new(),
        attributes: attributes(&span["attributes"]),
        events: list(&span["events"])
            .iter()
            .map(|event| Event {
                offset: duration(&event["offset"]),
                name: text(&event["name"]),
                attributes: attributes(&event["attributes"]),
            })
            .collect(),
        links: list(&span["links"])
            .iter()
            .map(|link| Link {
                trace: u128::from_str_radix(&text(&link["trace_id"]), 16).expect("hex"),
                id: id(&link["span_id"]),
                attributes: attributes(&link["attributes"]),
            })
            .collect(),
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_sequence().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

pub(crate) fn map(value: &Value) -> Mapping {
    value.as_mapping().cloned().unwrap_or_default()
}

fn id(value: &Value) -> u64 {
    match text(value).as_str() {
        "" => 0,
        hex => u64::from_str_radix(hex, 16).expect("hex"),
    }
}

fn duration(value: &Value) -> u64 {
    let text = text(value);
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).expect("a unit"));
    let nanos = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        other => panic!("unit {other}"),
    };
    number.parse::<u64>().expect("a number") * nanos
}

fn attributes(value: &Value) -> Attributes {
    map(value).iter().map(|(key, value)| (text(key), stored(value))).collect()
}

fn stored(value: &Value) -> Stored {
    match value {
        Value::Bool(value) => Stored::Bool(*value),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Stored::Float(number.as_f64().unwrap()), Stored::Int)
        }
        Value::Sequence(elements) => Stored::Array(elements.iter().map(stored).collect()),
        other => Stored::String(text(other)),
    }
}
