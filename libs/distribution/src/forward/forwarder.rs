//! One forwarder: leaves out what it is not to send, and offers the rest to each endpoint.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tactus_drop_rules::{SpanFilter, without};
use tactus_model::TenantId;
use tactus_work::{Line, SlotLimits, Slots};
use tokio_util::task::TaskTracker;

use super::{
    client::Client,
    endpoint::{Endpoint, Place},
};
use crate::metrics::QueueMetrics;

/// How a forwarder is set up.
#[derive(Debug)]
pub(super) struct ForwarderSettings {
    pub(super) name: String,
    /// Bytes of requests that wait or are on their way. Each endpoint has an equal part.
    pub(super) max_bytes: u64,
    /// Requests of a tenant sent to an endpoint at a time.
    pub(super) workers: usize,
    /// Spans that match any are left out.
    pub(super) leaves_out: Vec<SpanFilter>,
}

/// A forwarder.
pub(super) struct Forwarder {
    filter: Arc<Filter>,
    endpoints: Vec<Arc<Endpoint>>,
    /// Those that send. It is closed when no more requests are taken.
    pub(super) tasks: TaskTracker,
}

impl Forwarder {
    /// `clients`: one of each endpoint.
    pub(super) fn new(
        settings: ForwarderSettings,
        clients: Vec<Client>,
        metrics: &QueueMetrics,
    ) -> Self {
        let ForwarderSettings { name, max_bytes, workers, leaves_out } = settings;
        let max_bytes = max_bytes / clients.len().max(1) as u64;
        let endpoint =
            |client| Arc::new(Endpoint::new(&name, client, metrics.clone(), max_bytes, workers));
        Self {
            filter: Arc::new(Filter {
                leaves_out,
                turns: Slots::new(SlotLimits::of_turns(workers)),
            }),
            endpoints: clients.into_iter().map(endpoint).collect(),
            tasks: TaskTracker::new(),
        }
    }

    /// Queues a request for each endpoint that has room.
    pub(super) fn offer(&self, tenant: &TenantId, request: &Bytes, has_bad_ids: bool) {
        let (bytes, is_open) = (request.len() as u64, !self.tasks.is_closed());
        let place = |endpoint: &Arc<Endpoint>| endpoint.place(tenant, bytes, is_open);
        let places: Vec<Place> = self.endpoints.iter().filter_map(place).collect();
        if places.is_empty() {
            return;
        }
        let leaves_out = has_bad_ids || !self.filter.leaves_out.is_empty();
        let filter = leaves_out.then(|| Arc::clone(&self.filter));
        self.tasks.spawn(send(tenant.clone(), request.clone(), filter, places));
    }
}

/// Sends a request to endpoints, which share its bytes.
async fn send(
    tenant: TenantId,
    mut request: Bytes,
    filter: Option<Arc<Filter>>,
    places: Vec<Place>,
) {
    if let Some(filter) = filter {
        match filter.apply(&tenant, request).await {
            Some(left) => request = left,
            None => return,
        }
    }
    join_all(places.into_iter().map(|place| place.send(&tenant, request.clone()))).await;
}

/// Leaves spans out of requests.
struct Filter {
    leaves_out: Vec<SpanFilter>,
    turns: Slots,
}

impl Filter {
    /// The request without spans that match, or have invalid ids. `None`: there is no other.
    async fn apply(self: Arc<Self>, tenant: &TenantId, request: Bytes) -> Option<Bytes> {
        let _turn = self.turns.turn(Line::of(tenant.as_str(), &[]).tenant).await;
        let this = Arc::clone(&self);
        let left = move || without(&request, &this.leaves_out);
        match tokio::task::spawn_blocking(left).await {
            Ok(Ok((request, spans))) if spans > 0 => Some(request),
            // It was stored, so that it can be read.
            _ => None,
        }
    }
}
