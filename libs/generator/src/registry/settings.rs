//! The settings of a registry, and its own metrics.

use tactus_config::is_trace_id_label;

use super::histograms::NativeSettings;

/// Milliseconds between removals of stale series, and a period of the estimates.
pub(crate) const STALE_CHECK_MS: i64 = 5 * 60_000;

/// The form of histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum HistogramMode {
    /// Series of `_bucket`, `_sum` and `_count`.
    #[default]
    Classic,
    /// One series of native histograms.
    Native,
    /// Both.
    Both,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Limiter {
    /// Series.
    #[default]
    Series,
    /// Label sets, which the metrics of a tenant share.
    Entity,
}

/// How variable parts of span names are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SpanNames {
    /// Kept.
    #[default]
    AsTheyAre,
    /// Kept, but the names that would change are counted.
    DryRun,
    /// Replaced by `<_>`.
    Sanitized,
}

/// How a registry works. [`Registry::update`] changes it at any time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Labels of every series. They replace labels of processors with the same name, or remove them if their value is empty; the
    /// last of a name counts. Fixed by [`Registry::new`].
    pub external_labels: Vec<(String, String)>,
    /// A series that was not updated for this many milliseconds is removed.
    pub stale_after_ms: i64,
    /// Most bytes of a label name; longer ones are cut. 0 is no limit.
    pub max_label_name_bytes: usize,
    /// Most bytes of a label value; longer ones are cut. 0 is no limit.
    pub max_label_value_bytes: usize,
    /// What `limit` counts.
    pub limiter: Limiter,
    /// Most series or label sets; 0 is no limit.
    pub limit: u64,
    /// The form of histograms.
    pub histograms: HistogramMode,
    /// Shape of native histograms.
    pub native: NativeSettings,
    /// Label of exemplars. A name that is no label of Prometheus, or is reserved, becomes `traceID`.
    pub trace_id_label: String,
    /// Sends a staleness marker when a series is removed.
    pub staleness_markers: bool,
    /// Most values of a label; further ones become `__cardinality_overflow__`. 0 is no limit.
    pub max_cardinality_per_label: u64,
    /// How span names are handled.
    pub span_names: SpanNames,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            external_labels: Vec::new(),
            stale_after_ms: 15 * 60_000,
            max_label_name_bytes: 1024,
            max_label_value_bytes: 2048,
            limiter: Limiter::Series,
            limit: 0,
            histograms: HistogramMode::Classic,
            native: NativeSettings::default(),
            trace_id_label: String::new(),
            staleness_markers: false,
            max_cardinality_per_label: 0,
            span_names: SpanNames::AsTheyAre,
        }
    }
}

/// Counters and gauges of a registry, for the generator's own metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Series, without those of overflow.
    pub active_series: u64,
    /// Label sets that have a series, without that of overflow.
    pub active_entities: u64,
    /// Series created since the start.
    pub series_added: u64,
    /// Series removed since the start.
    pub series_removed: u64,
    /// Series that refused observations would have needed, counted for each observation.
    pub series_limited: u64,
    /// Label sets that got their first series.
    pub entities_added: u64,
    /// Label sets that lost their last series.
    pub entities_removed: u64,
    /// Observations refused because their label set was beyond the limit.
    pub entities_limited: u64,
    /// Spans whose name was sanitised, or would have been.
    pub spans_sanitized: u64,
}

/// Periods that estimates look back: as long as a series may live without an update.
pub(super) fn windows(settings: &Settings) -> usize {
    (settings.stale_after_ms.max(0) / STALE_CHECK_MS) as usize + 1
}

pub(super) fn valid_trace_id_label(name: &str) -> String {
    if is_trace_id_label(name) { name } else { "traceID" }.to_owned()
}
