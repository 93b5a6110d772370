//! The tails that are open, and where pushes wait for them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::RwLock;
use tactus_config::sections::ingester::IngesterLiveTail;
use tactus_model::TenantId;
use tactus_proto::tactus::v1::PushRequest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::pushed::Pushed;
use crate::{head::Appended, metrics::Metrics};

/// Pushes that wait for a tail; their bytes are bounded by the settings.
const MAX_WAITING_PUSHES: usize = 4096;

/// The tails of an ingester.
#[derive(Debug)]
pub(crate) struct LiveTails {
    settings: IngesterLiveTail,
    open: AtomicUsize,
    by_tenant: RwLock<HashMap<TenantId, Vec<Arc<Queue>>>>,
    /// Cancelled when the ingester stops.
    pub(super) closing: CancellationToken,
    metrics: Metrics,
}

/// Where pushes wait for a tail.
#[derive(Debug)]
pub(super) struct Queue {
    pushes: mpsc::Sender<Arc<Pushed>>,
    /// Bytes of pushes that wait or are looked at.
    bytes: AtomicUsize,
    max_bytes: usize,
    /// Spans that were not offered for want of room, since this was last told.
    pub(super) skipped: AtomicU64,
    /// Cancelled when a tenant with fewer tails got the place.
    pub(super) displaced: CancellationToken,
}

impl Queue {
    /// False if there is no room.
    fn offer(&self, pushed: &Arc<Pushed>) -> bool {
        let before = self.bytes.fetch_add(pushed.bytes, Ordering::Relaxed);
        // A push alone is taken however large it is: else it would never be shown.
        let fits = before == 0 || before.saturating_add(pushed.bytes) <= self.max_bytes;
        if fits && self.pushes.try_send(Arc::clone(pushed)).is_ok() {
            return true;
        }
        self.bytes.fetch_sub(pushed.bytes, Ordering::Relaxed);
        self.skipped.fetch_add(pushed.spans, Ordering::Relaxed);
        false
    }
}

impl LiveTails {
    pub(crate) fn new(settings: IngesterLiveTail, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            settings,
            open: AtomicUsize::new(0),
            by_tenant: RwLock::default(),
            closing: CancellationToken::new(),
            metrics,
        })
    }

    /// Offers what was stored of a push to the tails of its tenant. Never waits for them.
    pub(crate) fn show(&self, tenant: &TenantId, push: &PushRequest, appended: &Appended) {
        if self.open.load(Ordering::Relaxed) == 0 || appended.spans == 0 {
            return;
        }
        let by_tenant = self.by_tenant.read();
        let Some(queues) = by_tenant.get(tenant) else { return };
        let pushed = Arc::new(Pushed::new(push, appended));
        for queue in queues {
            if !queue.offer(&pushed) {
                self.metrics.tail_skipped_spans.inc_by(pushed.spans);
            }
        }
    }

    /// Adds a tail. Where there are as many as there may be, it gets the place of the newest one of the tenant that has most, so that a
    /// few tenants do not keep all others from looking. Errors: the tenant has as many as it may, or no fewer than others.
    pub(super) fn open(self: &Arc<Self>, tenant: &TenantId) -> Result<Tail, Status> {
        let mut by_tenant = self.by_tenant.write();
        let of_tenant = by_tenant.get(tenant).map_or(0, Vec::len);
        let limits = &self.settings;
        let refuse = |count, whose| {
            Status::resource_exhausted(format!(
                "{count} live tails {whose}are open at an ingester, which is the limit"
            ))
        };
        if of_tenant >= limits.max_tails_per_tenant {
            return Err(refuse(of_tenant, "of the tenant "));
        }
        let all: usize = by_tenant.values().map(Vec::len).sum();
        if all >= limits.max_tails {
            let most = by_tenant.values_mut().max_by_key(|queues| queues.len());
            let newest = most.filter(|queues| queues.len() > of_tenant + 1).and_then(Vec::pop);
            newest.ok_or_else(|| refuse(all, ""))?.displaced.cancel();
        }
        let (pushes, pushed) = mpsc::channel(MAX_WAITING_PUSHES);
        let queue = Arc::new(Queue {
            pushes,
            bytes: AtomicUsize::new(0),
            max_bytes: limits.max_buffer_bytes,
            skipped: AtomicU64::new(0),
            displaced: CancellationToken::new(),
        });
        by_tenant.entry(tenant.clone()).or_default().push(Arc::clone(&queue));
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.metrics.tails.set(open as f64);
        Ok(Tail { tails: Arc::clone(self), tenant: tenant.clone(), queue, pushed })
    }

    /// Ends all tails: the ingester stops.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}

/// An open tail; closed when dropped.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) tails: Arc<LiveTails>,
    tenant: TenantId,
    pub(super) queue: Arc<Queue>,
    pub(super) pushed: mpsc::Receiver<Arc<Pushed>>,
}

impl Tail {
    /// Makes room: these pushes were looked at.
    pub(super) fn done(&self, pushes: &[Arc<Pushed>]) {
        let bytes = pushes.iter().map(|pushed| pushed.bytes).sum();
        self.queue.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut by_tenant = self.tails.by_tenant.write();
        if let Some(queues) = by_tenant.get_mut(&self.tenant) {
            queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if queues.is_empty() {
                by_tenant.remove(&self.tenant);
            }
        }
        let open = self.tails.open.fetch_sub(1, Ordering::Relaxed) - 1;
        self.tails.metrics.tails.set(open as f64);
    }
}
