//! The open live tails, and the queue of pushes for each.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use tactus_config::sections::ingester::IngesterLiveTail;
use tactus_model::TenantId;
use tactus_proto::tactus::v1::PushRequest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{head::Appended, metrics::Metrics};

pub(crate) mod pushed;

use pushed::Pushed;

/// Most pushes that wait for a tail. The settings bound their bytes.
const MAX_WAITING_PUSHES: usize = 4096;

/// The tails of an ingester.
#[derive(Debug)]
pub(crate) struct LiveTails {
    settings: IngesterLiveTail,
    open: AtomicUsize,
    by_tenant: RwLock<ByTenant>,
    /// Cancelled when the ingester stops.
    pub(crate) closing: CancellationToken,
    metrics: Metrics,
}

/// The pushes that wait for a tail.
#[derive(Debug)]
pub(crate) struct Queue {
    pushes: mpsc::Sender<Arc<Pushed>>,
    /// Bytes of pushes that wait or are being evaluated.
    bytes: AtomicUsize,
    max_bytes: usize,
    /// Spans that did not fit, since the reader was last told.
    pub(crate) skipped: AtomicU64,
    opened: Instant,
    /// Cancelled when a tenant with fewer tails takes this tail's place.
    pub(crate) displaced: CancellationToken,
}

type ByTenant = HashMap<TenantId, Vec<Arc<Queue>>>;

impl Queue {
    /// False if there is no room.
    fn offer(&self, pushed: &Arc<Pushed>) -> bool {
        let before = self.bytes.fetch_add(pushed.bytes, Ordering::Relaxed);
        // A single push is accepted whatever its size, because otherwise it would never be shown.
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

    /// Offers the stored part of a push to the tails of its tenant. Never waits for them.
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

    /// Adds a tail. If the limit is reached, it replaces the newest tail of the tenant that has the most. If this
    /// tenant has none yet, it may also replace the tail that has been open longest. So neither a few tenants nor many
    /// can keep others from watching. Errors: the tenant has as many as it may have, or there is no tail that can be
    /// replaced.
    pub(crate) fn open(self: &Arc<Self>, tenant: &TenantId) -> Result<Tail, Status> {
        let mut by_tenant = self.by_tenant.write();
        let of_tenant = by_tenant.get(tenant).map_or(0, Vec::len);
        let limits = &self.settings;
        let refuse = |count, whose, key| {
            Status::resource_exhausted(format!(
                "{count} live tails {whose}are open at an ingester, which is the limit (ingester.live_tail.{key})"
            ))
        };
        if of_tenant >= limits.max_tails_per_tenant {
            return Err(refuse(of_tenant, "of the tenant ", "max_tails_per_tenant"));
        }
        let all: usize = by_tenant.values().map(Vec::len).sum();
        if all >= limits.max_tails {
            let mut gives_way = take_newest_of_most(&mut by_tenant, of_tenant + 1);
            if gives_way.is_none() && of_tenant == 0 {
                gives_way = take_oldest(&mut by_tenant, limits.gives_way_after.as_std());
            }
            gives_way.ok_or_else(|| refuse(all, "", "max_tails"))?.displaced.cancel();
        }
        let (pushes, pushed) = mpsc::channel(MAX_WAITING_PUSHES);
        let queue = Arc::new(Queue {
            pushes,
            bytes: AtomicUsize::new(0),
            max_bytes: limits.max_buffer_bytes,
            skipped: AtomicU64::new(0),
            opened: Instant::now(),
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

/// The newest tail of the tenant with the most tails, if that has more than `count`.
fn take_newest_of_most(by_tenant: &mut ByTenant, count: usize) -> Option<Arc<Queue>> {
    let most = by_tenant.values_mut().max_by_key(|queues| queues.len());
    most.filter(|queues| queues.len() > count).and_then(Vec::pop)
}

/// The tail that has been open longest, if that is at least `age`; none for an age of zero.
fn take_oldest(by_tenant: &mut ByTenant, age: Duration) -> Option<Arc<Queue>> {
    let is_old = |queue: &Arc<Queue>| !age.is_zero() && queue.opened.elapsed() >= age;
    // The tails of each tenant are in the order in which they were opened.
    let firsts = by_tenant.values_mut().filter(|queues| queues.first().is_some_and(is_old));
    firsts.min_by_key(|queues| queues.first().map(|it| it.opened)).map(|queues| queues.remove(0))
}

/// An open tail; closed when dropped.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) tails: Arc<LiveTails>,
    tenant: TenantId,
    pub(crate) queue: Arc<Queue>,
    pub(crate) pushed: mpsc::Receiver<Arc<Pushed>>,
}

impl Tail {
    /// Makes room: these pushes were evaluated.
    pub(crate) fn done(&self, pushes: &[Arc<Pushed>]) {
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
