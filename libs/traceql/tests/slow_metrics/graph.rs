//! `service_graph()`, rule by rule.

use std::collections::{BTreeMap, BTreeSet};

use tactus_traceql::GraphMeasure;
use tactus_traceql::metrics::LabelValue;

use super::functions::{bound, quantile};
use super::{Intervals, Line};
use crate::slow::batches::Stored;
use crate::slow::world::{World, service};

const PARTS: [&str; 4] = ["calls", "errors", "client_latency", "server_latency"];

/// One call; its owner decides when it was and whether it counts.
struct Call {
    /// Client, server, connection type, virtual side.
    edge: [String; 4],
    owner: usize,
    other: usize,
    client: Option<usize>,
    server: Option<usize>,
}

/// The series of calls of which a span is among `matched`.
pub(crate) fn lines(
    world: &World<'_>,
    measure: &GraphMeasure,
    matched: &BTreeSet<usize>,
    intervals: Intervals,
) -> Vec<Line> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    let mut add = |labels: Vec<(String, LabelValue)>, interval: u64| {
        let zeros = intervals.all().map(|interval| (interval, 0.0)).collect();
        let key = format!("{labels:?}");
        let line = lines.entry(key).or_insert(Line { labels, points: zeros });
        *line.points.entry(interval).or_default() += 1.0;
    };
    let mut latencies: BTreeMap<[String; 4], Vec<(u64, f64)>> = BTreeMap::new();
    for trace in world.traces() {
        for call in calls(world, &world.rows(trace)) {
            let is_matched = matched.contains(&call.owner) || matched.contains(&call.other);
            let interval = intervals.of(world.spans[call.owner].span.start);
            let (true, Some(interval)) = (is_matched, interval) else { continue };
            for part in PARTS {
                let name = match measure {
                    GraphMeasure::Rate => "calls",
                    measure => measure.name(),
                };
                if *measure != GraphMeasure::All && name != part {
                    continue;
                }
                let sides = [call.client, call.server].into_iter().flatten();
                let mut labels = labels(&call.edge);
                if *measure == GraphMeasure::All {
                    labels.push(("__measure".to_owned(), LabelValue::String(part.into())));
                }
                let latency = match part {
                    "calls" => {
                        add(labels, interval);
                        continue;
                    }
                    "errors" => {
                        if sides.into_iter().any(|row| world.spans[row].span.status == 2) {
                            add(labels, interval);
                        }
                        continue;
                    }
                    "client_latency" => call.client,
                    _ => call.server,
                };
                let Some(row) = latency else { continue };
                let nanos = (world.spans[row].span.duration as i64).max(2);
                let Some(bound) = bound(nanos, intervals.buckets) else { continue };
                let bound = bound / 1e9;
                if measure.quantiles().is_empty() {
                    labels.push(("__bucket".to_owned(), LabelValue::Float(bound)));
                    add(labels, interval);
                } else {
                    latencies.entry(call.edge.clone()).or_default().push((interval, bound));
                }
            }
        }
    }
    let mut lines: Vec<Line> = lines.into_values().collect();
    if *measure == GraphMeasure::Rate {
        let values = lines.iter_mut().flat_map(|line| line.points.values_mut());
        values.for_each(|value| *value /= intervals.step as f64 / 1e9);
    }
    for (edge, values) in latencies {
        for q in measure.quantiles() {
            let mut labels = labels(&edge);
            labels.push(("p".to_owned(), LabelValue::Float(*q)));
            let at = |interval| {
                let there = values.iter().filter(|value| value.0 == interval);
                (interval, quantile(there.map(|value| value.1).collect(), *q, intervals.buckets))
            };
            lines.push(Line { labels, points: intervals.all().map(at).collect() });
        }
    }
    lines
}

fn labels(edge: &[String; 4]) -> Vec<(String, LabelValue)> {
    let names = ["client", "server", "connection_type", "virtual_node"];
    let pairs = names.into_iter().zip(edge).filter(|(_, text)| !text.is_empty());
    pairs.map(|(name, text)| (name.to_owned(), LabelValue::String(text.as_str().into()))).collect()
}

/// The calls between the spans of a trace, and to and from outside of it.
fn calls(world: &World<'_>, rows: &[usize]) -> Vec<Call> {
    let name = |row: usize| service(world.spans[row].group);
    let span = |row: usize| world.spans[row].span;
    let is_client = |row: usize| [3, 4].contains(&span(row).kind);
    let is_server = |row: usize| [2, 5].contains(&span(row).kind);
    let named = || rows.iter().copied().filter(|&row| !name(row).is_empty());
    let mut calls = Vec::new();
    let mut answered = BTreeSet::new();
    for row in named() {
        let mut callers = Vec::new();
        if let Some(caller) = caller(world, rows, row)
            && !name(caller).is_empty()
            && ((is_client(caller) && is_server(row)) || name(caller) != name(row))
        {
            callers.push(caller);
        }
        let called = !callers.is_empty();
        if span(row).kind == 5 {
            for link in &span(row).links {
                let is_there = |other: &usize| {
                    (span(*other).trace, span(*other).id) == (link.trace, link.id)
                        && span(*other).kind == 4
                        && link.trace == span(row).trace
                };
                let producers = named().filter(is_there);
                callers.extend(producers.filter(|it| !callers.contains(it)).collect::<Vec<_>>());
            }
        }
        for &caller in &callers {
            answered.insert(caller);
            let is_message = span(row).kind == 5 || span(caller).kind == 4;
            let connection = if is_message { "messaging_system" } else { "" };
            calls.push(Call {
                edge: [name(caller), name(row), connection.to_owned(), String::new()],
                owner: row,
                other: caller,
                client: is_client(caller).then_some(caller),
                server: Some(row),
            });
        }
        let is_linked = span(row).kind == 5 && !span(row).links.is_empty();
        let is_root = span(row).parent == 0 && !called;
        if is_server(row) && is_root && callers.is_empty() && !is_linked {
            let peer = first(world, row, &["peer.service"], false);
            let peer = peer.unwrap_or_else(|| "user".to_owned());
            calls.push(Call {
                edge: [peer, name(row), "virtual_node".to_owned(), "client".to_owned()],
                owner: row,
                other: row,
                client: None,
                server: Some(row),
            });
        }
    }
    for row in named().filter(|row| is_client(*row) && !answered.contains(row)) {
        let database =
            first(world, row, &["db.namespace", "db.name", "db.system", "db.system.name"], true);
        let (peer, connection, side, server) = match database {
            Some(database) => {
                let address = || {
                    let address = first(world, row, &["network.peer.address"], true)?;
                    let port = first(world, row, &["network.peer.port"], true);
                    Some(port.map_or(address.clone(), |port| format!("{address}:{port}")))
                };
                let keys = ["peer.service", "server.address", "net.peer.name"];
                let peer = first(world, row, &keys, true).or_else(address);
                (peer.unwrap_or(database), "database", "", Some(row))
            }
            None => {
                let keys = [
                    "peer.service",
                    "server.address",
                    "net.peer.name",
                    "messaging.destination.name",
                    "messaging.system",
                ];
                let Some(peer) = first(world, row, &keys, false) else { continue };
                (peer, "virtual_node", "server", None)
            }
        };
        calls.push(Call {
            edge: [name(row), peer, connection.to_owned(), side.to_owned()],
            owner: row,
            other: row,
            client: Some(row),
            server,
        });
    }
    calls
}

fn caller(world: &World<'_>, rows: &[usize], row: usize) -> Option<usize> {
    let span = |row: usize| world.spans[row].span;
    let is_client = |row: &usize| [3, 4].contains(&span(*row).kind);
    let is_server = |row: &usize| [2, 5].contains(&span(*row).kind);
    let with_id = |id: u64| -> Vec<usize> {
        rows.iter().copied().filter(|&other| other != row && span(other).id == id).collect()
    };
    if is_server(&row)
        && let Some(shared) = with_id(span(row).id).into_iter().find(|other| is_client(other))
    {
        return Some(shared);
    }
    if span(row).parent == 0 {
        return None;
    }
    let above = with_id(span(row).parent);
    let name = |row: usize| service(world.spans[row].group);
    let own = |other: &usize| !is_server(&row) && name(*other) == name(row);
    let half = |other: &usize| match is_server(&row) {
        true => is_client(other),
        false => is_server(other),
    };
    let fitting = above.iter().copied().find(own).or_else(|| above.iter().copied().find(half));
    if above.len() > 1 && fitting.is_some() { fitting } else { above.first().copied() }
}

/// The first of these attributes with a text.
fn first(world: &World<'_>, row: usize, keys: &[&str], in_resource: bool) -> Option<String> {
    let known = &world.spans[row];
    let resource = in_resource.then_some(&known.group.resource);
    let mut lists = resource.into_iter().chain([&known.span.attributes]);
    let value = |key: &str, list: &[(String, Stored)]| {
        let found = list.iter().find(|(name, _)| name == key);
        match &found?.1 {
            Stored::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Stored::Int(number) => Some(number.to_string()),
            other => unreachable!("no peer is {other:?}"),
        }
    };
    let lists: Vec<_> = lists.by_ref().collect();
    keys.iter().find_map(|key| lists.iter().find_map(|list| value(key, list)))
}
