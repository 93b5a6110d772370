//! The families of metrics of remote write, under the names of Prometheus.

use tactus_telemetry::metrics::{CounterVec, GaugeVec, HistogramVec, Registry};

const REMOTE: [&str; 3] = ["tenant", "remote_name", "url"];

/// Families of samples, histograms and exemplars.
pub(super) type ByKind<T> = [T; 3];

/// Families of all tenants.
pub(crate) struct Families {
    pub(super) sent: ByKind<CounterVec<3>>,
    pub(super) failed: ByKind<CounterVec<3>>,
    pub(super) retried: ByKind<CounterVec<3>>,
    pub(super) dropped: ByKind<CounterVec<4>>,
    pub(super) pending: ByKind<GaugeVec<3>>,
    pub(super) bytes: CounterVec<3>,
    pub(super) duration: HistogramVec<3>,
    pub(super) shards: GaugeVec<3>,
    pub(super) shards_desired: GaugeVec<3>,
    pub(super) shards_min: GaugeVec<3>,
    pub(super) shards_max: GaugeVec<3>,
    pub(super) shard_capacity: GaugeVec<3>,
    pub(super) max_samples_per_send: GaugeVec<3>,
    pub(super) highest_sent: GaugeVec<3>,
    pub(super) highest: GaugeVec<1>,
    pub(super) appended: CounterVec<2>,
    pub(super) exemplars_appended: CounterVec<1>,
    pub(super) out_of_order: CounterVec<1>,
    pub(super) active_series: GaugeVec<1>,
    pub(super) damaged: CounterVec<1>,
    pub(super) queue_bytes: GaugeVec<1>,
    pub(super) update_failed: CounterVec<1>,
}

impl Families {
    pub(crate) fn register(registry: &Registry) -> Self {
        let counters = |names: [(&'static str, &'static str); 3]| {
            names.map(|(name, help)| registry.counter_vec(name, help, REMOTE))
        };
        let gauge = |name, help| registry.gauge_vec(name, help, REMOTE);
        Self {
            sent: counters([
                ("prometheus_remote_storage_samples_total", "Samples given to a remote."),
                (
                    "prometheus_remote_storage_histograms_total",
                    "Native histograms given to a remote.",
                ),
                ("prometheus_remote_storage_exemplars_total", "Exemplars given to a remote."),
            ]),
            failed: counters([
                (
                    "prometheus_remote_storage_samples_failed_total",
                    "Samples that a remote refused.",
                ),
                (
                    "prometheus_remote_storage_histograms_failed_total",
                    "Native histograms that a remote refused.",
                ),
                (
                    "prometheus_remote_storage_exemplars_failed_total",
                    "Exemplars that a remote refused.",
                ),
            ]),
            retried: counters([
                (
                    "prometheus_remote_storage_samples_retried_total",
                    "Samples that were sent again.",
                ),
                (
                    "prometheus_remote_storage_histograms_retried_total",
                    "Native histograms that were sent again.",
                ),
                (
                    "prometheus_remote_storage_exemplars_retried_total",
                    "Exemplars that were sent again.",
                ),
            ]),
            dropped: [
                ("prometheus_remote_storage_samples_dropped_total", "Samples that were not sent."),
                (
                    "prometheus_remote_storage_histograms_dropped_total",
                    "Native histograms that were not sent.",
                ),
                (
                    "prometheus_remote_storage_exemplars_dropped_total",
                    "Exemplars that were not sent.",
                ),
            ]
            .map(|(name, help)| {
                registry.counter_vec(name, help, ["tenant", "remote_name", "url", "reason"])
            }),
            pending: [
                (
                    "prometheus_remote_storage_samples_pending",
                    "Samples that wait, in memory and on disk.",
                ),
                (
                    "prometheus_remote_storage_histograms_pending",
                    "Native histograms that wait, in memory and on disk.",
                ),
                (
                    "prometheus_remote_storage_exemplars_pending",
                    "Exemplars that wait, in memory and on disk.",
                ),
            ]
            .map(|(name, help)| registry.gauge_vec(name, help, REMOTE)),
            bytes: registry.counter_vec(
                "prometheus_remote_storage_bytes_total",
                "Bytes of requests that were answered, compressed.",
                REMOTE,
            ),
            duration: registry.histogram_vec(
                "prometheus_remote_storage_sent_batch_duration_seconds",
                "Duration of requests.",
                REMOTE,
                &[
                    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0,
                    120.0, 300.0,
                ],
            ),
            shards: gauge("prometheus_remote_storage_shards", "Requests that are sent at once."),
            shards_desired: gauge(
                "prometheus_remote_storage_shards_desired",
                "Requests at once that the rate and the backlog ask for.",
            ),
            shards_min: gauge("prometheus_remote_storage_shards_min", "Fewest requests at once."),
            shards_max: gauge("prometheus_remote_storage_shards_max", "Most requests at once."),
            shard_capacity: gauge(
                "prometheus_remote_storage_shard_capacity",
                "Most samples of a shard in memory.",
            ),
            max_samples_per_send: gauge(
                "prometheus_remote_storage_max_samples_per_send",
                "Most samples of a request.",
            ),
            highest_sent: gauge(
                "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
                "Time of the newest sample that a remote has.",
            ),
            highest: registry.gauge_vec(
                "prometheus_remote_storage_highest_timestamp_in_seconds",
                "Time of the newest sample that is to be sent.",
                ["tenant"],
            ),
            appended: registry.counter_vec(
                "prometheus_agent_samples_appended_total",
                "Samples written to the queue.",
                ["tenant", "type"],
            ),
            exemplars_appended: registry.counter_vec(
                "prometheus_agent_exemplars_appended_total",
                "Exemplars written to the queue.",
                ["tenant"],
            ),
            out_of_order: registry.counter_vec(
                "prometheus_agent_out_of_order_samples_total",
                "Samples not newer than the last one of their series, which are left out.",
                ["tenant"],
            ),
            active_series: registry.gauge_vec(
                "prometheus_agent_active_series",
                "Series that were written to the queue of late.",
                ["tenant"],
            ),
            damaged: registry.counter_vec(
                "prometheus_agent_corruptions_total",
                "Damaged places of the queue that were passed over.",
                ["tenant"],
            ),
            queue_bytes: registry.gauge_vec(
                "tactus_metrics_generator_remote_write_queue_bytes",
                "Size of the queue on disk.",
                ["tenant"],
            ),
            update_failed: registry.counter_vec(
                "tempo_metrics_generator_storage_remote_write_update_failed_total",
                "Changes of a tenant's headers that could not be used.",
                ["tenant"],
            ),
        }
    }
}
