//! From the series of `service_graph()` to edges.

use std::collections::BTreeMap;

use tactus_traceql::metrics::{LabelValue, MetricsAnswer, Series, quantile_within_bucket};

use super::{ConnectionType, Edge, Latency};

/// Counts of durations by upper bound, in seconds.
type Buckets = Vec<(f64, f64)>;

/// What the series tell of one edge.
#[derive(Default)]
struct Parts {
    calls: f64,
    errors: f64,
    client: Buckets,
    server: Buckets,
}

/// The edges that an answer of one interval tells of, by client, server and connection type.
pub(super) fn edges(answer: MetricsAnswer) -> Vec<Edge> {
    let mut found: BTreeMap<(String, String, ConnectionType), Parts> = BTreeMap::new();
    for series in answer.series {
        let Some(value) = series.points.first().map(|(_, value)| *value) else { continue };
        let text = |name| label(&series, name).map(|value| value.text().into_owned());
        let (Some(client), Some(server)) = (text("client"), text("server")) else { continue };
        let connection_type = connection_type(&series);
        let parts = found.entry((client, server, connection_type)).or_default();
        let bound = match label(&series, "__bucket") {
            Some(LabelValue::Float(bound)) => *bound,
            _ => 0.0,
        };
        match text("__measure").as_deref() {
            Some("calls") => parts.calls += value,
            Some("errors") => parts.errors += value,
            Some("client_latency") => parts.client.push((bound, value)),
            Some("server_latency") => parts.server.push((bound, value)),
            _ => {}
        }
    }
    let edge = |((client, server, connection_type), parts): (_, Parts)| Edge {
        client,
        server,
        connection_type,
        calls: parts.calls,
        errors: parts.errors,
        client_latency: latency(parts.client),
        server_latency: latency(parts.server),
    };
    found.into_iter().map(edge).collect()
}

fn label<'s>(series: &'s Series, name: &str) -> Option<&'s LabelValue> {
    series.labels.iter().find(|(other, _)| &**other == name).map(|(_, value)| value)
}

fn connection_type(series: &Series) -> ConnectionType {
    let text = |name| label(series, name).map(LabelValue::text);
    match text("connection_type").as_deref() {
        Some("messaging_system") => ConnectionType::MessagingSystem,
        Some("database") => ConnectionType::Database,
        Some("virtual_node") if text("virtual_node").as_deref() == Some("client") => {
            ConnectionType::VirtualClient
        }
        Some("virtual_node") => ConnectionType::VirtualServer,
        _ => ConnectionType::Direct,
    }
}

fn latency(mut buckets: Buckets) -> Option<Latency> {
    buckets.retain(|(_, count)| *count > 0.0);
    buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let quantile = |q| quantile_within_bucket(&buckets, q, 1);
    (!buckets.is_empty()).then(|| Latency {
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_lies_in_the_bucket_of_its_call() {
        let found = latency(vec![(2.0, 2.0), (0.002, 1.0), (0.5, 0.0)]).unwrap();
        for quantile in [found.p50, found.p90, found.p99] {
            assert!((1.0..=2.0).contains(&quantile), "{quantile}");
        }
        assert!(latency(vec![(0.5, 0.0)]).is_none());
    }
}
