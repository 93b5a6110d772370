//! The families of metrics of remote write, under the names of Prometheus.

use tactus_telemetry::metrics::{CounterVec, GaugeVec, HistogramVec};

const REMOTE: [&str; 3] = ["tenant", "remote_name", "url"];
const DROPPED: [&str; 4] = ["tenant", "remote_name", "url", "reason"];

/// Families of samples, histograms and exemplars.
pub(super) type ByKind<T> = [T; 3];

tactus_telemetry::metrics! {
    /// Families of all tenants.
    pub(crate) struct Families {
        samples_sent: CounterVec<3> = "prometheus_remote_storage_samples_total", "Samples given to a remote.", REMOTE;
        histograms_sent: CounterVec<3> = "prometheus_remote_storage_histograms_total", "Native histograms given to a remote.", REMOTE;
        exemplars_sent: CounterVec<3> = "prometheus_remote_storage_exemplars_total", "Exemplars given to a remote.", REMOTE;
        samples_failed: CounterVec<3> = "prometheus_remote_storage_samples_failed_total", "Samples that a remote refused.", REMOTE;
        histograms_failed: CounterVec<3> = "prometheus_remote_storage_histograms_failed_total",
            "Native histograms that a remote refused.", REMOTE;
        exemplars_failed: CounterVec<3> = "prometheus_remote_storage_exemplars_failed_total", "Exemplars that a remote refused.", REMOTE;
        samples_retried: CounterVec<3> = "prometheus_remote_storage_samples_retried_total", "Samples that were sent again.", REMOTE;
        histograms_retried: CounterVec<3> = "prometheus_remote_storage_histograms_retried_total",
            "Native histograms that were sent again.", REMOTE;
        exemplars_retried: CounterVec<3> = "prometheus_remote_storage_exemplars_retried_total", "Exemplars that were sent again.", REMOTE;
        samples_dropped: CounterVec<4> = "prometheus_remote_storage_samples_dropped_total", "Samples that were not sent.", DROPPED;
        histograms_dropped: CounterVec<4> = "prometheus_remote_storage_histograms_dropped_total",
            "Native histograms that were not sent.", DROPPED;
        exemplars_dropped: CounterVec<4> = "prometheus_remote_storage_exemplars_dropped_total", "Exemplars that were not sent.", DROPPED;
        samples_pending: GaugeVec<3> = "prometheus_remote_storage_samples_pending", "Samples that wait, in memory and on disk.", REMOTE;
        histograms_pending: GaugeVec<3> = "prometheus_remote_storage_histograms_pending",
            "Native histograms that wait, in memory and on disk.", REMOTE;
        exemplars_pending: GaugeVec<3> = "prometheus_remote_storage_exemplars_pending",
            "Exemplars that wait, in memory and on disk.", REMOTE;
        pub(super) bytes: CounterVec<3> = "prometheus_remote_storage_bytes_total",
            "Bytes of requests that were answered, compressed.", REMOTE;
        pub(super) duration: HistogramVec<3> = "prometheus_remote_storage_sent_batch_duration_seconds",
            "Duration of requests.", REMOTE, &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0];
        pub(super) shards: GaugeVec<3> = "prometheus_remote_storage_shards", "Requests that are sent at once.", REMOTE;
        pub(super) shards_desired: GaugeVec<3> = "prometheus_remote_storage_shards_desired",
            "Requests at once that the rate and the backlog ask for.", REMOTE;
        pub(super) shards_min: GaugeVec<3> = "prometheus_remote_storage_shards_min", "Fewest requests at once.", REMOTE;
        pub(super) shards_max: GaugeVec<3> = "prometheus_remote_storage_shards_max", "Most requests at once.", REMOTE;
        pub(super) shard_capacity: GaugeVec<3> = "prometheus_remote_storage_shard_capacity", "Most samples of a shard in memory.", REMOTE;
        pub(super) max_samples_per_send: GaugeVec<3> = "prometheus_remote_storage_max_samples_per_send",
            "Most samples of a request.", REMOTE;
        pub(super) highest_sent: GaugeVec<3> = "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
            "Time of the newest sample that a remote has.", REMOTE;
        pub(super) highest: GaugeVec<1> = "prometheus_remote_storage_highest_timestamp_in_seconds",
            "Time of the newest sample that is to be sent.", ["tenant"];
        pub(super) appended: CounterVec<2> = "prometheus_agent_samples_appended_total", "Samples written to the queue.", ["tenant", "type"];
        pub(super) exemplars_appended: CounterVec<1> = "prometheus_agent_exemplars_appended_total",
            "Exemplars written to the queue.", ["tenant"];
        pub(super) out_of_order: CounterVec<1> = "prometheus_agent_out_of_order_samples_total",
            "Samples not newer than the last one of their series, which are left out.", ["tenant"];
        pub(super) active_series: GaugeVec<1> = "prometheus_agent_active_series",
            "Series that were written to the queue of late.", ["tenant"];
        pub(super) damaged: CounterVec<1> = "prometheus_agent_corruptions_total",
            "Damaged places of the queue that were passed over.", ["tenant"];
        pub(super) queue_bytes: GaugeVec<1> = "tactus_metrics_generator_remote_write_queue_bytes", "Size of the queue on disk.", ["tenant"];
        pub(super) update_failed: CounterVec<1> = "tempo_metrics_generator_storage_remote_write_update_failed_total",
            "Changes of a tenant's headers that could not be used.", ["tenant"];
    }
}

/// The families of each kind, in the order of [`ByKind`].
macro_rules! by_kind {
    ($( $name:ident: $family:ty = $samples:ident, $histograms:ident, $exemplars:ident; )*) => {
        impl Families {
            $( pub(super) fn $name(&self) -> ByKind<&$family> {
                [&self.$samples, &self.$histograms, &self.$exemplars]
            } )*
        }
    };
}

by_kind! {
    sent: CounterVec<3> = samples_sent, histograms_sent, exemplars_sent;
    failed: CounterVec<3> = samples_failed, histograms_failed, exemplars_failed;
    retried: CounterVec<3> = samples_retried, histograms_retried, exemplars_retried;
    dropped: CounterVec<4> = samples_dropped, histograms_dropped, exemplars_dropped;
    pending: GaugeVec<3> = samples_pending, histograms_pending, exemplars_pending;
}
