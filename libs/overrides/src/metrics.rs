//! Limits and their sources as metrics.

use tactus_config::sections::overrides::Limits;
use tactus_telemetry::metrics::{Counter, CounterVec, GaugeVec};

use crate::snapshot::Snapshot;

/// The value of the label `config`.
const CONFIG: &str = "overrides";

tactus_telemetry::metrics! {
    #[derive(Debug)]
    pub(crate) struct Metrics {
        overrides: GaugeVec<2> = "tempo_limits_overrides", "Limits of tenants with an entry of their own.", ["limit_name", "user"];
        defaults: GaugeVec<1> = "tempo_limits_defaults", "Limits of all other tenants.", ["limit_name"];
        reload_successful: GaugeVec<1> = "tempo_runtime_config_last_reload_successful",
            "1 if the file of per-tenant overrides could be read, 0 if not; absent without a file.", ["config"];
        hash: GaugeVec<2> = "tempo_runtime_config_hash",
            "Always 1; the label is the hash of the per-tenant overrides.", ["config", "sha256"];
        pub(crate) user_reload_failed: Counter = "tempo_overrides_user_configurable_overrides_reload_failed_total",
            "Rounds in which limits set by tenants could not all be read.";
        pub(crate) user_list: Counter = "tempo_overrides_user_configurable_overrides_list_total", "Listings of limits set by tenants.";
        pub(crate) user_fetch: CounterVec<1> = "tempo_overrides_user_configurable_overrides_fetch_total",
            "Reads of limits set by tenants.", ["tenant"];
        pub(crate) user_fetch_failed: CounterVec<1> = "tempo_overrides_user_configurable_overrides_fetch_failed_total",
            "Failed reads of limits set by tenants.", ["tenant"];
    }
}

impl Metrics {
    pub(crate) fn file_read(&self, sha256: &str) {
        self.reload_successful.with([CONFIG]).set(1.0);
        self.hash.retain(|[_, hash]| hash == sha256);
        self.hash.with([CONFIG, sha256]).set(1.0);
    }

    pub(crate) fn file_refused(&self) {
        self.reload_successful.with([CONFIG]).set(0.0);
    }

    /// Shows the limits of the file; what tenants set by the API has no such metric.
    pub(crate) fn show(&self, snapshot: &Snapshot) {
        for (name, value) in values(&snapshot.defaults) {
            self.defaults.with([name]).set(value);
        }
        let read = &snapshot.defaults.read;
        for (name, value) in [
            ("max_bytes_per_tag_values_query", read.max_bytes_per_tag_values_query),
            ("max_blocks_per_tag_values_query", read.max_blocks_per_tag_values_query),
        ] {
            self.defaults.with([name]).set(value as f64);
        }
        self.overrides.retain(|[_, user]| snapshot.own_entry(user).is_some());
        for (tenant, limits) in snapshot.file.entries() {
            for (name, value) in values(limits) {
                self.overrides.with([name, tenant]).set(value);
            }
            let dry_run = ["metrics_generator_dry_run_enabled", tenant];
            if limits.metrics_generator.disable_collection {
                self.overrides.with(dry_run).set(1.0);
            } else {
                self.overrides.remove(dry_run);
            }
        }
    }
}

fn values(limits: &Limits) -> [(&'static str, f64); 7] {
    let ingestion = &limits.ingestion;
    [
        ("max_local_traces_per_user", ingestion.max_traces_per_user as f64),
        ("max_global_traces_per_user", ingestion.max_global_traces_per_user as f64),
        ("max_bytes_per_trace", limits.global.max_bytes_per_trace as f64),
        ("ingestion_rate_limit_bytes", ingestion.rate_limit_bytes as f64),
        ("ingestion_burst_size_bytes", ingestion.burst_size_bytes as f64),
        // Nanoseconds, as the dashboards divide it.
        ("block_retention", limits.compaction.block_retention.as_nanos() as f64),
        ("metrics_generator_max_active_series", limits.metrics_generator.max_active_series as f64),
    ]
}
