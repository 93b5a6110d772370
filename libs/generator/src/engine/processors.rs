//! Which processors a tenant has.

use std::collections::BTreeSet;

use tactus_telemetry::log_limited;

tactus_model::words! {
    /// A name in a tenant's list of processors.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Processor: as_str {
        /// Edges between services.
        ServiceGraphs = "service-graphs",
        /// All three metrics of spans.
        SpanMetrics = "span-metrics",
        /// Calls alone.
        SpanMetricsCount = "span-metrics-count",
        /// Durations alone.
        SpanMetricsLatency = "span-metrics-latency",
        /// Bytes alone.
        SpanMetricsSize = "span-metrics-size",
        /// Hosts.
        HostInfo = "host-info",
    }
}

/// The processors of a list. Names that mean nothing are left out and logged.
pub(crate) fn named(tenant: &str, list: &[String]) -> BTreeSet<Processor> {
    let mut found = BTreeSet::new();
    for name in list {
        match Processor::from_text(name) {
            Some(known) => {
                found.insert(known);
            }
            None if name == "local-blocks" => log_limited!(
                warn,
                tenant,
                "ignoring processor local-blocks: ingesters answer queries about recent spans"
            ),
            None => {
                let name = name.as_str();
                log_limited!(warn, tenant, name, "ignoring unknown metrics-generator processor");
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_and_local_blocks_are_left_out() {
        let list = ["span-metrics", "no-such", "local-blocks", "host-info", "span-metrics"];
        let found = named("t", &list.map(str::to_owned));
        let expected = [Processor::SpanMetrics, Processor::HostInfo];
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }
}
