//! What queues of copies count, those of forwarders and those before metrics generators, under Tempo's names.

use tactus_telemetry::metrics::{CounterVec, Gauge, GaugeVec};

tactus_telemetry::metrics! {
    /// The counts of all queues. Failures begin at 0 with what may fail: of a counter that begins with the first one, a rate does not
    /// see it.
    #[derive(Clone)]
    pub(crate) struct QueueMetrics {
        length: GaugeVec<2> = "tempo_distributor_queue_length", "Requests that wait for a forwarder.", ["name", "tenant"];
        offered: CounterVec<2> = "tempo_distributor_queue_pushes_total", "Requests for a forwarder.", ["name", "tenant"];
        refused: CounterVec<2> = "tempo_distributor_queue_pushes_failures_total",
            "Requests for a forwarder that found its queue full.", ["name", "tenant"];
        /// Requests that were sent, by tenant.
        pub(crate) sent: CounterVec<1> = "tempo_distributor_forwarder_pushes_total", "Requests sent by forwarders.", ["tenant"];
        /// Those that were not taken.
        pub(crate) failed: CounterVec<1> = "tempo_distributor_forwarder_pushes_failures_total",
            "Requests sent by forwarders that an endpoint did not take.", ["tenant"];
    }
}

impl QueueMetrics {
    /// Counts a request of a tenant for the queue called `queue`.
    pub(crate) fn offered(&self, queue: &str, tenant: &str) {
        self.offered.with([queue, tenant]).inc();
        self.refused.with([queue, tenant]);
    }

    /// Counts a request that found no room.
    pub(crate) fn refused(&self, queue: &str, tenant: &str) {
        self.refused.with([queue, tenant]).inc();
    }

    /// Requests of the tenant that wait.
    pub(crate) fn length(&self, queue: &str, tenant: &str) -> Gauge {
        self.length.with([queue, tenant])
    }

    /// Nothing of the tenant waits any more.
    pub(crate) fn forget_length(&self, queue: &str, tenant: &str) {
        self.length.remove([queue, tenant]);
    }
}
