//! Which processors a tenant has.

use std::collections::BTreeSet;

use tactus_telemetry::log_limited;

/// A name in a tenant's list of processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Processor {
    /// Edges between services.
    ServiceGraphs,
    /// All three metrics of spans.
    SpanMetrics,
    /// Calls alone.
    SpanMetricsCount,
    /// Durations alone.
    SpanMetricsLatency,
    /// Bytes alone.
    SpanMetricsSize,
    /// Hosts.
    HostInfo,
}

impl Processor {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::ServiceGraphs,
        Self::SpanMetrics,
        Self::SpanMetricsCount,
        Self::SpanMetricsLatency,
        Self::SpanMetricsSize,
        Self::HostInfo,
    ];

    /// As limits and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceGraphs => "service-graphs",
            Self::SpanMetrics => "span-metrics",
            Self::SpanMetricsCount => "span-metrics-count",
            Self::SpanMetricsLatency => "span-metrics-latency",
            Self::SpanMetricsSize => "span-metrics-size",
            Self::HostInfo => "host-info",
        }
    }
}

/// The processors of a list. Names that mean nothing are left out and logged.
pub(crate) fn named(tenant: &str, list: &[String]) -> BTreeSet<Processor> {
    let mut found = BTreeSet::new();
    for name in list {
        match Processor::ALL.into_iter().find(|known| known.as_str() == name) {
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
