//! What an operator can set of Jaeger's query APIs.

use std::time::Duration;

use tactus_query::LookupSettings;

/// Settings of Jaeger's query APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JaegerSettings {
    /// What stands before the paths of the HTTP API.
    pub base_path: String,
    /// Highest number of traces that a search may ask for; 0 is no limit but that of searches.
    pub max_limit: u32,
    /// Services and operations are those of recent data, and of blocks that reach back so far.
    pub names_window: Duration,
    /// Spans of a trace that are shown at most; 0 is no limit.
    pub max_spans_per_trace: usize,
    /// Longest time by which spans are moved to make up for clocks that differ; zero moves none.
    pub max_clock_skew_adjust: Duration,
    /// How whole traces are fetched.
    pub lookup: LookupSettings,
}

impl Default for JaegerSettings {
    fn default() -> Self {
        Self {
            base_path: "/".to_owned(),
            max_limit: 10_000,
            names_window: Duration::from_secs(48 * 3600),
            max_spans_per_trace: 0,
            max_clock_skew_adjust: Duration::ZERO,
            lookup: LookupSettings::default(),
        }
    }
}
