//! Live tails: those who look at spans as they are pushed.
//!
//! A push that was stored is offered to the tails of its tenant: a clone of its slices, put into a bounded queue that it
//! never waits for. What a queue has no room for is counted. While nobody looks a push reads one number for it. A task of
//! each tail converts what came, filters it, and sends what matched.

mod pushed;
mod run;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::RwLock;
use tactus_api::live_tail::{SpanRate, compile_filter};
use tactus_config::sections::ingester::IngesterLiveTail;
use tactus_model::{BuilderLimits, TenantId};
use tactus_proto::tactus::v1::{
    PushRequest, TailRequest, TailResponse, live_tail_server::LiveTail as Protocol,
};
use tactus_rpc::QueryContext;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{head::Appended, ingester::Ingester, metrics::Metrics};
use pushed::{Filter, Pushed};

/// Pushes that wait for a tail; their bytes are bounded by the settings.
const MAX_WAITING_PUSHES: usize = 4096;

/// The tails of an ingester.
#[derive(Debug)]
pub(crate) struct LiveTails {
    settings: IngesterLiveTail,
    open: AtomicUsize,
    by_tenant: RwLock<HashMap<TenantId, Vec<Arc<Queue>>>>,
    /// Cancelled when the ingester stops.
    closing: CancellationToken,
    metrics: Metrics,
}

/// Where pushes wait for a tail.
#[derive(Debug)]
struct Queue {
    pushes: mpsc::Sender<Arc<Pushed>>,
    /// Bytes of pushes that wait or are looked at.
    bytes: AtomicUsize,
    max_bytes: usize,
    /// Spans that were not offered for want of room, since this was last told.
    skipped: AtomicU64,
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

    /// Adds a tail. Errors: there are as many as there may be.
    fn open(self: &Arc<Self>, tenant: &TenantId) -> Result<Tail, Status> {
        let mut by_tenant = self.by_tenant.write();
        let of_tenant = by_tenant.get(tenant).map_or(0, Vec::len);
        let limits = &self.settings;
        for (count, limit, whose) in [
            (of_tenant, limits.max_tails_per_tenant, "of the tenant "),
            (self.open.load(Ordering::Relaxed), limits.max_tails, ""),
        ] {
            if count >= limit {
                return Err(Status::resource_exhausted(format!(
                    "{count} live tails {whose}are open at an ingester, which is the limit"
                )));
            }
        }
        let (pushes, pushed) = mpsc::channel(MAX_WAITING_PUSHES);
        let queue = Arc::new(Queue {
            pushes,
            bytes: AtomicUsize::new(0),
            max_bytes: limits.max_buffer_bytes,
            skipped: AtomicU64::new(0),
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
struct Tail {
    tails: Arc<LiveTails>,
    tenant: TenantId,
    queue: Arc<Queue>,
    pushed: mpsc::Receiver<Arc<Pushed>>,
}

impl Tail {
    /// Makes room: these pushes were looked at.
    fn done(&self, pushes: &[Arc<Pushed>]) {
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

#[tonic::async_trait]
impl Protocol for Ingester {
    type TailStream = BoxStream<TailResponse>;

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let context = QueryContext::of(request.metadata());
        let request = request.into_inner();
        let invalid = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        let tenant = TenantId::parse(&request.tenant).map_err(|error| invalid(&error))?;
        let filter = request.query;
        // Patterns take long to compile.
        let query = self.query(tenant.as_str(), context, move |_| compile_filter(&filter));
        let query = query.await?.map_err(|error| invalid(&error))?;
        let max_attribute_bytes = self.settings.limits.of(&tenant).max_attribute_bytes;
        let limits = BuilderLimits { max_attribute_bytes };
        let tail = self.live_tails.open(&tenant)?;
        let rate = SpanRate::new(request.spans_per_second, Instant::now());
        let (sender, mut responses) = mpsc::channel(1);
        let filter = Arc::new(Filter { tenant, query, limits });
        tokio::spawn(run::run(tail, self.weak(), filter, rate, sender));
        let responses = futures_util::stream::poll_fn(move |context| responses.poll_recv(context));
        Ok(Response::new(Box::pin(responses)))
    }
}
