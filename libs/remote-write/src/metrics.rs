//! Metrics of remote write, under Prometheus' names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Url;
use tactus_telemetry::metrics::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec};

use super::entry::Counts;
use super::queue::{DropReason, Loss};
use super::settings::Remote;

/// Metrics of one tenant.
pub(crate) struct TenantMetrics {
    families: Arc<Families>,
    tenant: String,
    highest: Gauge,
    appended: [Counter; 2],
    exemplars_appended: Counter,
    out_of_order: Counter,
    active_series: Gauge,
    damaged: Counter,
    queue_bytes: Gauge,
    remotes: Vec<RemoteMetrics>,
}

/// Metrics of one remote of a tenant.
pub(crate) struct RemoteMetrics {
    families: Arc<Families>,
    labels: [String; 3],
    sent: ByKind<Counter>,
    failed: ByKind<Counter>,
    retried: ByKind<Counter>,
    pending: ByKind<Gauge>,
    pub(super) bytes: Counter,
    pub(super) duration: Histogram,
    pub(super) shards: Gauge,
    pub(super) shards_desired: Gauge,
    highest_sent: Gauge,
    /// Everything that was ever to be sent, for the rate of it.
    pub(super) incoming: AtomicU64,
}

impl TenantMetrics {
    pub(super) fn new(families: &Arc<Families>, tenant: &str, remotes: &[Arc<Remote>]) -> Self {
        let of = |remote: &Arc<Remote>| RemoteMetrics::new(families, tenant, remote);
        Self {
            families: Arc::clone(families),
            tenant: tenant.to_owned(),
            highest: families.highest.with([tenant]),
            appended: ["float", "histogram"].map(|kind| families.appended.with([tenant, kind])),
            exemplars_appended: families.exemplars_appended.with([tenant]),
            out_of_order: families.out_of_order.with([tenant]),
            active_series: families.active_series.with([tenant]),
            damaged: families.damaged.with([tenant]),
            queue_bytes: families.queue_bytes.with([tenant]),
            remotes: remotes.iter().map(of).collect(),
        }
    }

    pub(super) fn remote(&self, index: usize) -> Option<&RemoteMetrics> {
        self.remotes.get(index)
    }

    /// A collection is about to be seen by the remotes.
    pub(super) fn committed(&self, counts: Counts, highest_ms: i64) {
        self.highest.set((highest_ms as f64 / 1e3).max(self.highest.get()));
        for remote in &self.remotes {
            remote.expect(counts);
        }
    }

    /// A collection is in the queue.
    pub(super) fn appended(&self, counts: Counts, out_of_order: u64, queue_bytes: u64) {
        let [floats, histograms, exemplars] = counts.by_kind();
        self.appended[0].inc_by(floats);
        self.appended[1].inc_by(histograms);
        self.exemplars_appended.inc_by(exemplars);
        self.out_of_order.inc_by(out_of_order);
        self.set_queue_bytes(queue_bytes);
    }

    pub(super) fn set_series(&self, series: usize) {
        self.active_series.set(series as f64);
    }

    pub(super) fn set_queue_bytes(&self, bytes: u64) {
        self.queue_bytes.set(bytes as f64);
    }

    pub(super) fn damaged(&self, places: u64) {
        self.damaged.inc_by(places);
    }

    /// A change of headers cannot be used.
    pub(super) fn update_failed(&self) {
        self.families.update_failed.with([&self.tenant]).inc();
    }

    /// The queue's limits cost a remote samples that it had not got.
    pub(super) fn dropped(&self, loss: &Loss) {
        let Some(remote) = self.remotes.get(loss.remote) else { return };
        let reason = match loss.reason {
            DropReason::QueueFull => "queue_full",
            DropReason::TooOld => "too_old",
        };
        let [samples, histograms, exemplars] = loss.counts.by_kind();
        tracing::error!(
            tenant = self.tenant,
            remote_name = remote.labels[1],
            reason,
            samples,
            histograms,
            exemplars,
            "remote-write queue over its limit: oldest samples dropped"
        );
        remote.drop_unsent(loss.counts, reason);
    }

    /// A remote is configured no more, and so much that it had not got is dropped.
    pub(super) fn removed(&self, counts: Counts) {
        if counts.total() == 0 {
            return;
        }
        let [samples, histograms, exemplars] = counts.by_kind();
        tracing::warn!(
            tenant = self.tenant,
            samples,
            histograms,
            exemplars,
            "a remote is configured no more: what waited for it in the remote-write queue is dropped"
        );
        for (family, count) in self.families.dropped().iter().zip(counts.by_kind()) {
            if count > 0 {
                // Its name and URL went with its configuration.
                family.with([&self.tenant, "", "", "remote_removed"]).inc_by(count);
            }
        }
    }

    /// The gauges of the tenant go: it is no longer there.
    pub(super) fn forget(&self) {
        let families = &self.families;
        let others = |labels: [&str; 1]| labels[0] != self.tenant;
        families.highest.retain(others);
        families.active_series.retain(others);
        families.queue_bytes.retain(others);
        let others = |labels: [&str; 3]| labels[0] != self.tenant;
        families.pending().iter().for_each(|family| family.retain(others));
        let gauges = [
            &families.shards,
            &families.shards_desired,
            &families.shards_min,
            &families.shards_max,
            &families.shard_capacity,
            &families.max_samples_per_send,
            &families.highest_sent,
        ];
        gauges.iter().for_each(|family| family.retain(others));
    }
}

impl RemoteMetrics {
    fn new(families: &Arc<Families>, tenant: &str, remote: &Remote) -> Self {
        let url = without_secrets(&remote.url);
        let labels = [tenant, &remote.name, &url];
        families.shards_min.with(labels).set(remote.queue.min_shards as f64);
        families.shards_max.with(labels).set(remote.queue.max_shards as f64);
        families.shard_capacity.with(labels).set(remote.queue.capacity as f64);
        families.max_samples_per_send.with(labels).set(remote.queue.max_samples_per_send as f64);
        let counters = |of: ByKind<&CounterVec<3>>| of.map(|family| family.with(labels));
        Self {
            sent: counters(families.sent()),
            failed: counters(families.failed()),
            retried: counters(families.retried()),
            pending: families.pending().map(|family| family.with(labels)),
            bytes: families.bytes.with(labels),
            duration: families.duration.with(labels),
            shards: families.shards.with(labels),
            shards_desired: families.shards_desired.with(labels),
            highest_sent: families.highest_sent.with(labels),
            incoming: AtomicU64::new(0),
            families: Arc::clone(families),
            labels: labels.map(str::to_owned),
        }
    }

    /// So much is to be sent from now on.
    pub(super) fn expect(&self, counts: Counts) {
        self.incoming.fetch_add(counts.total(), Ordering::Relaxed);
        for (gauge, count) in self.pending.iter().zip(counts.by_kind()) {
            gauge.add(count as f64);
        }
    }

    fn settle(&self, counts: Counts) {
        for (gauge, count) in self.pending.iter().zip(counts.by_kind()) {
            gauge.add(-(count as f64));
        }
    }

    pub(super) fn pending(&self) -> f64 {
        self.pending.iter().map(Gauge::get).sum::<f64>().max(0.0)
    }

    pub(super) fn sending(&self, counts: Counts) {
        add(&self.sent, counts);
    }

    pub(super) fn retrying(&self, counts: Counts) {
        add(&self.retried, counts);
    }

    pub(super) fn delivered(&self, counts: Counts, newest_ms: i64) {
        self.settle(counts);
        self.highest_sent.set((newest_ms as f64 / 1e3).max(self.highest_sent.get()));
    }

    pub(super) fn refused(&self, counts: Counts) {
        self.settle(counts);
        add(&self.failed, counts);
    }

    /// Of what was delivered the receiver says that it did not take so much.
    pub(super) fn not_written(&self, counts: Counts) {
        add(&self.failed, counts);
    }

    pub(super) fn drop_unsent(&self, counts: Counts, reason: &str) {
        self.settle(counts);
        let [tenant, name, url] = &self.labels;
        for (family, count) in self.families.dropped().iter().zip(counts.by_kind()) {
            if count > 0 {
                family.with([tenant, name, url, reason]).inc_by(count);
            }
        }
    }

    pub(super) fn observe(&self, duration: Duration) {
        self.duration.observe_duration(duration);
    }
}

/// As Prometheus shows it, but without what its query says either, which may be a token.
fn without_secrets(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    if url.password().is_none() && url.query().is_none() {
        return text.to_owned();
    }
    if url.password().is_some() {
        // Only addresses without a host refuse a password.
        let _ = url.set_password(Some("xxxxx"));
    }
    if url.query().is_some() {
        url.set_query(Some("xxxxx"));
    }
    url.to_string()
}

fn add(counters: &ByKind<Counter>, counts: Counts) {
    for (counter, count) in counters.iter().zip(counts.by_kind()) {
        counter.inc_by(count);
    }
}

const REMOTE: [&str; 3] = ["tenant", "remote_name", "url"];
const DROPPED: [&str; 4] = ["tenant", "remote_name", "url", "reason"];

/// Families of samples, histograms and exemplars.
type ByKind<T> = [T; 3];

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
        bytes: CounterVec<3> = "prometheus_remote_storage_bytes_total",
            "Bytes of requests that were answered, compressed.", REMOTE;
        duration: HistogramVec<3> = "prometheus_remote_storage_sent_batch_duration_seconds",
            "Duration of requests.", REMOTE, &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0];
        shards: GaugeVec<3> = "prometheus_remote_storage_shards", "Requests that are sent at once.", REMOTE;
        shards_desired: GaugeVec<3> = "prometheus_remote_storage_shards_desired",
            "Requests at once that the rate and the backlog ask for.", REMOTE;
        shards_min: GaugeVec<3> = "prometheus_remote_storage_shards_min", "Fewest requests at once.", REMOTE;
        shards_max: GaugeVec<3> = "prometheus_remote_storage_shards_max", "Most requests at once.", REMOTE;
        shard_capacity: GaugeVec<3> = "prometheus_remote_storage_shard_capacity", "Most samples of a shard in memory.", REMOTE;
        max_samples_per_send: GaugeVec<3> = "prometheus_remote_storage_max_samples_per_send",
            "Most samples of a request.", REMOTE;
        highest_sent: GaugeVec<3> = "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
            "Time of the newest sample that a remote has.", REMOTE;
        highest: GaugeVec<1> = "prometheus_remote_storage_highest_timestamp_in_seconds",
            "Time of the newest sample that is to be sent.", ["tenant"];
        appended: CounterVec<2> = "prometheus_agent_samples_appended_total", "Samples written to the queue.", ["tenant", "type"];
        exemplars_appended: CounterVec<1> = "prometheus_agent_exemplars_appended_total",
            "Exemplars written to the queue.", ["tenant"];
        out_of_order: CounterVec<1> = "prometheus_agent_out_of_order_samples_total",
            "Samples not newer than the last one of their series, which are left out.", ["tenant"];
        active_series: GaugeVec<1> = "prometheus_agent_active_series",
            "Series that were written to the queue of late.", ["tenant"];
        damaged: CounterVec<1> = "prometheus_agent_corruptions_total",
            "Damaged places of the queue that were passed over.", ["tenant"];
        queue_bytes: GaugeVec<1> = "tactus_metrics_generator_remote_write_queue_bytes", "Size of the queue on disk.", ["tenant"];
        update_failed: CounterVec<1> = "tempo_metrics_generator_storage_remote_write_update_failed_total",
            "Changes of a tenant's headers that could not be used.", ["tenant"];
    }
}

/// The families of each kind, in the order of [`ByKind`].
macro_rules! by_kind {
    ($( $name:ident: $family:ty = $samples:ident, $histograms:ident, $exemplars:ident; )*) => {
        impl Families {
            $( fn $name(&self) -> ByKind<&$family> {
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
