//! Corrects times for differences between the clocks of hosts.
//!
//! A child on another host than its parent should be inside of the parent's time. If it is not, it is moved, together
//! with its descendants on the same host.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tactus_model::{SpanId, format_duration};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{ResourceSpans, Span};

use super::{spans, spans_mut, warn};

/// Attributes of a resource that tell its host, the first of them that it has.
const HOST_KEYS: [&str; 3] = ["host.id", "host.ip", "host.name"];

/// What the rules need to know of a span.
struct Node {
    id: SpanId,
    parent: SpanId,
    /// Empty if it is not known.
    host: Bytes,
    start: i128,
    end: i128,
}

/// A span whose times are to be looked at, with the difference that its parent's host has.
struct Step {
    row: usize,
    parent: usize,
    delta: i128,
}

/// Moves spans by `max` at most. Zero moves none; those that would be moved get a warning, as do spans of which it
/// cannot be said.
pub(super) fn adjust(trace: &mut [ResourceSpans], max: Duration) {
    let mut nodes = nodes(trace);
    let mut rows: HashMap<SpanId, usize> = HashMap::with_capacity(nodes.len());
    let mut warnings: Vec<(usize, String)> = Vec::new();
    for (row, node) in nodes.iter().enumerate() {
        if *rows.entry(node.id).or_insert(row) != row {
            let text = "duplicate span IDs; skipping clock skew adjustment";
            warnings.push((row, text.to_owned()));
        }
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut steps = Vec::new();
    for (row, node) in nodes.iter().enumerate() {
        if node.parent.is_zero() {
            steps.push(Step { row, parent: row, delta: 0 });
        } else if let Some(&parent) = rows.get(&node.parent) {
            if let Some(children) = children.get_mut(parent) {
                children.push(row);
            }
        } else {
            warnings.push((
                row,
                format!(
                    "parent span ID={} is not in the trace; skipping clock skew adjustment",
                    node.parent.to_hex()
                ),
            ));
            steps.push(Step { row, parent: row, delta: 0 });
        }
    }
    // Spans that are their own ancestors have no root above them, and are not reached.
    let mut moved: Vec<i128> = vec![0; nodes.len()];
    while let Some(step) = steps.pop() {
        let delta = delta(&nodes, &step);
        if delta != 0 {
            match applied(delta, max) {
                Ok(text) => {
                    if let (Some(node), Some(by)) =
                        (nodes.get_mut(step.row), moved.get_mut(step.row))
                    {
                        (node.start, node.end, *by) = (node.start + delta, node.end + delta, delta);
                    }
                    warnings.push((step.row, text));
                }
                Err(text) => warnings.push((step.row, text)),
            }
        }
        let below = children.get(step.row).into_iter().flatten();
        steps.extend(below.map(|&row| Step { row, parent: step.row, delta }));
    }
    apply(trace, &moved, warnings);
}

fn nodes(trace: &[ResourceSpans]) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(spans(trace).count());
    for resource in trace {
        let host = host(resource);
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            nodes.push(Node {
                id: SpanId::from_slice(&span.span_id),
                parent: SpanId::from_slice(&span.parent_span_id),
                host: host.clone(),
                start: span.start_time_unix_nano.into(),
                end: span.end_time_unix_nano.into(),
            });
        }
    }
    nodes
}

fn host(resource: &ResourceSpans) -> Bytes {
    let attributes = || resource.resource.iter().flat_map(|resource| &resource.attributes);
    let mut known = HOST_KEYS.iter().filter_map(|key| {
        let attribute = attributes().find(|attribute| attribute.key == *key)?;
        match attribute.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) if !text.is_empty() => Some(text.clone()),
            Value::ArrayValue(_) => attribute.value.as_ref().map(crate::from_otlp::text_of),
            _ => None,
        }
    });
    known.next().unwrap_or_default()
}

/// By how much the span of a step is off.
fn delta(nodes: &[Node], step: &Step) -> i128 {
    let (Some(node), Some(parent)) = (nodes.get(step.row), nodes.get(step.parent)) else {
        return 0;
    };
    if step.row == step.parent {
        return 0;
    }
    if !node.host.is_empty() && node.host == parent.host {
        return step.delta;
    }
    let (length, parent_length) = (node.end - node.start, parent.end - parent.start);
    if length > parent_length {
        return if node.start < parent.start { parent.start - node.start } else { 0 };
    }
    if node.start >= parent.start && node.end <= parent.end {
        return 0;
    }
    parent.start + (parent_length - length) / 2 - node.start
}

/// What there is to say of a span that is moved; an error if it is not moved.
fn applied(delta: i128, max: Duration) -> Result<String, String> {
    // Jaeger's durations have 64 bits as well.
    let shown = |nanos: i128| {
        format_duration(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    };
    if max.is_zero() {
        return Err(format!(
            "clock skew adjustment disabled; not applying calculated delta of {}",
            shown(delta)
        ));
    }
    if delta.unsigned_abs() > max.as_nanos() {
        let max = shown(i128::try_from(max.as_nanos()).unwrap_or(i128::MAX));
        return Err(format!(
            "max clock skew adjustment delta of {max} exceeded; not applying calculated delta of {}",
            shown(delta)
        ));
    }
    Ok(format!("This span's timestamps were adjusted by {}", shown(delta)))
}

fn apply(trace: &mut [ResourceSpans], moved: &[i128], mut warnings: Vec<(usize, String)>) {
    warnings.sort_by_key(|(row, _)| *row);
    let mut warnings = warnings.into_iter().peekable();
    for ((row, span), &delta) in spans_mut(trace).enumerate().zip(moved) {
        if delta != 0 {
            shift(span, delta);
        }
        while let Some((_, warning)) = warnings.next_if(|(of, _)| *of == row) {
            warn(span, warning);
        }
    }
}

fn shift(span: &mut Span, delta: i128) {
    let shifted = |time: u64| {
        let time = (i128::from(time) + delta).clamp(0, i128::from(u64::MAX));
        u64::try_from(time).unwrap_or_default()
    };
    span.start_time_unix_nano = shifted(span.start_time_unix_nano);
    span.end_time_unix_nano = shifted(span.end_time_unix_nano);
    for event in &mut span.events {
        event.time_unix_nano = shifted(event.time_unix_nano);
    }
}
