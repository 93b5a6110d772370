//! Metrics of tail sampling, named as in OpenTelemetry collectors.

use std::time::Duration;

use tactus_model::{SpanBatch, TenantId};
use tactus_tail_sampling::{Decisions, Policies, spans_per_trace};
use tactus_telemetry::metrics::{
    CounterVec, GaugeVec, Histogram, HistogramVec, exponential_buckets,
};
use tactus_traceql::eval::Bitmap;

/// The reason label in `tempo_discarded_spans_total`.
const REASON: &str = "tail_sampling";

tactus_telemetry::metrics! {
    /// Handles of all metrics; cheap to clone.
    #[derive(Debug, Clone)]
    pub(crate) struct TailSamplingMetrics {
        traces_by_policy: CounterVec<3> = "tactus_tail_sampling_count_traces_sampled",
            "Traces that a policy sampled, or not; those that it dropped count as not.", ["tenant", "policy", "sampled"];
        spans_by_policy: CounterVec<3> = "tactus_tail_sampling_count_spans_sampled",
            "Spans of traces that a policy sampled, or not.", ["tenant", "policy", "sampled"];
        traces: CounterVec<2> = "tactus_tail_sampling_global_count_traces_sampled",
            "Final decisions over all policies: traces that are kept or dropped.", ["tenant", "sampled"];
        judged: CounterVec<1> = "tactus_tail_sampling_new_trace_id_received", "Traces that were judged.", ["tenant"];
        failures: CounterVec<2> = "tactus_tail_sampling_sampling_policy_evaluation_error",
            "Traces on which a policy could not be evaluated.", ["tenant", "policy"];
        decision_latency: HistogramVec<2> = "tactus_tail_sampling_sampling_decision_latency",
            "Microseconds that a policy takes for a batch of traces.", ["tenant", "policy"], &exponential_buckets(10.0, 4.0, 10);
        round_latency: Histogram = "tactus_tail_sampling_sampling_decision_timer_latency",
            "Milliseconds of a round of decisions for a tenant.", &exponential_buckets(1.0, 4.0, 9);
        late_spans: CounterVec<2> = "tactus_tail_sampling_early_releases_from_cache_decision",
            "Traces with spans that follow an earlier decision.", ["tenant", "sampled"];
        late_age: HistogramVec<1> = "tactus_tail_sampling_sampling_late_span_age",
            "Seconds from the decision about a trace until later spans of it follow.", ["tenant"], &exponential_buckets(1.0, 3.0, 9);
        dropped_too_early: CounterVec<1> = "tactus_tail_sampling_sampling_trace_dropped_too_early",
            "Traces decided before their time, because more than num_traces wait.", ["tenant"];
        undecided: GaugeVec<1> = "tactus_tail_sampling_sampling_traces_on_memory",
            "Traces that were cut to disk and are not decided.", ["tenant"];
        discarded_spans: CounterVec<2> = "tempo_discarded_spans_total",
            "Spans that were not stored, by reason and tenant.", ["reason", "tenant"];
    }
}

impl TailSamplingMetrics {
    /// Counts the policies' decisions on the traces of a batch.
    pub(crate) fn decided(
        &self,
        tenant: &TenantId,
        policies: &Policies,
        batch: &SpanBatch,
        decisions: &Decisions,
    ) {
        let (tenant, traces) = (tenant.as_str(), batch.traces.ids.len() as u64);
        let spans = spans_per_trace(batch);
        let all_spans: u64 = spans.iter().sum();
        let count = |rows: &Bitmap| {
            let of_rows = rows.rows().map(|row| spans.get(row).copied().unwrap_or(0));
            (rows.count() as u64, of_rows.sum::<u64>())
        };
        self.judged.with([tenant]).inc_by(traces);
        let (kept, _) = count(&decisions.kept);
        self.traces.with([tenant, "true"]).inc_by(kept);
        self.traces.with([tenant, "false"]).inc_by(traces - kept);
        for (place, (name, said)) in policies.names().zip(&decisions.policies).enumerate() {
            let (found, failed) = (count(&said.sampled), count(&said.failed));
            let not_found = (traces - found.0 - failed.0, all_spans - found.1 - failed.1);
            let (sampled, not_sampled) = match policies.drops(place) {
                // What a `drop` policy does not match is decided by the other policies.
                true => ((0, 0), found),
                false => (found, not_found),
            };
            for (label, (traces, spans)) in [("true", sampled), ("false", not_sampled)] {
                self.traces_by_policy.with([tenant, name, label]).inc_by(traces);
                self.spans_by_policy.with([tenant, name, label]).inc_by(spans);
            }
            if failed.0 > 0 {
                self.failures.with([tenant, name]).inc_by(failed.0);
            }
            let micros = said.elapsed.as_secs_f64() * 1e6;
            self.decision_latency.with([tenant, name]).observe(micros);
        }
    }

    /// Notes a round.
    pub(crate) fn round(&self, elapsed: Duration) {
        self.round_latency.observe(elapsed.as_secs_f64() * 1e3);
    }

    /// Counts a trace with late spans, whose decision was made this many seconds ago.
    pub(crate) fn late(&self, tenant: &TenantId, sampled: bool, age_seconds: u64) {
        let label = if sampled { "true" } else { "false" };
        self.late_spans.with([tenant.as_str(), label]).inc();
        self.late_age.with([tenant.as_str()]).observe(age_seconds as f64);
    }

    pub(crate) fn dropped_too_early(&self, tenant: &TenantId, traces: usize) {
        if traces > 0 {
            self.dropped_too_early.with([tenant.as_str()]).inc_by(traces as u64);
        }
    }

    pub(crate) fn undecided(&self, tenant: &TenantId, traces: usize) {
        self.undecided.with([tenant.as_str()]).set(traces as f64);
    }

    /// Counts spans that do not stay.
    pub(crate) fn discarded(&self, tenant: &TenantId, spans: u64) {
        self.discarded_spans.with([REASON, tenant.as_str()]).inc_by(spans);
    }

    /// Drops the gauges of a tenant that is forgotten.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        self.undecided.remove([tenant.as_str()]);
    }
}
