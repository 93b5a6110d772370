//! One endpoint of a forwarder: what waits for it, and whose turn it is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tactus_model::TenantId;
use tactus_telemetry::{log_limited, metrics::Gauge};
use tactus_work::{Line, SlotLimits, Slots};
use tonic::Status;

use super::{
    client::Client,
    room::{Room, Taken},
};
use crate::metrics::QueueMetrics;

/// An endpoint. One that hangs, and a tenant whose requests hang there, do not hold up others.
pub(super) struct Endpoint {
    forwarder: String,
    client: Client,
    metrics: QueueMetrics,
    room: Arc<Room>,
    /// For requests that are sent.
    turns: Slots,
    /// True if the last request failed. Only the change is logged, not each failure. An endpoint that fails every other
    /// request is logged now and then.
    is_failing: AtomicBool,
}

/// The place of a request in the queue of an endpoint.
pub(super) struct Place {
    endpoint: Arc<Endpoint>,
    waiting: Waiting,
    taken: Taken,
}

/// Counts a request while it waits.
struct Waiting(Gauge);

impl Waiting {
    fn new(length: Gauge) -> Self {
        length.inc();
        Self(length)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Endpoint {
    /// An endpoint of the forwarder of this name. `workers`: requests of a tenant that are sent at a time.
    pub(super) fn new(
        forwarder: &str,
        client: Client,
        metrics: QueueMetrics,
        max_bytes: u64,
        workers: usize,
    ) -> Self {
        Self {
            forwarder: forwarder.to_owned(),
            client,
            metrics,
            room: Room::new(max_bytes),
            turns: Slots::new(SlotLimits {
                per_tenant: workers,
                total: workers,
                // As many of other tenants, one of each, are sent while those of few tenants hang.
                newcomers: workers,
                // Their bytes are bounded.
                waiting_per_tenant: usize::MAX,
            }),
            is_failing: AtomicBool::new(false),
        }
    }

    /// A place for a request of so many bytes; `None` if there is no room. `is_open`: false if no more requests are taken.
    pub(super) fn place(
        self: &Arc<Self>,
        tenant: &TenantId,
        bytes: u64,
        is_open: bool,
    ) -> Option<Place> {
        let (metrics, forwarder) = (&self.metrics, self.forwarder.as_str());
        metrics.offered(forwarder, tenant.as_str());
        let taken = if is_open { self.room.take(tenant, bytes) } else { None };
        let Some(taken) = taken else {
            metrics.refused(forwarder, tenant.as_str());
            return None;
        };
        let waiting = Waiting::new(metrics.length(forwarder, tenant.as_str()));
        Some(Place { endpoint: Arc::clone(self), waiting, taken })
    }

    fn note(&self, result: Result<(), Status>) {
        let (forwarder, endpoint) = (self.forwarder.as_str(), self.client.address());
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Ok(()) if was_failing => {
                log_limited!(info, forwarder, endpoint, "forwarding works again");
            }
            Err(status) if !was_failing => {
                let (code, error) = (status.code(), status.message());
                log_limited!(warn, forwarder, endpoint, ?code, error, "spans are not forwarded");
            }
            _ => {}
        }
    }
}

impl Place {
    /// Sends the request when it is its tenant's turn.
    pub(super) async fn send(self, tenant: &TenantId, request: Bytes) {
        let Self { endpoint, waiting, taken } = self;
        let _turn = endpoint.turns.turn(Line::of(tenant.as_str(), &[]).tenant).await;
        drop(waiting);
        let sent = endpoint.metrics.sent.with([tenant.as_str()]);
        let failed = endpoint.metrics.failed.with([tenant.as_str()]);
        let result = endpoint.client.export(tenant.as_str(), &request).await;
        let counter = if result.is_ok() { sent } else { failed };
        counter.inc();
        endpoint.note(result);
        drop((request, taken));
    }
}
