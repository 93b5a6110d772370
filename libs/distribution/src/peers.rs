//! Tracks each ingester: its calls in flight, and whether it is reliable.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use tactus_proto::tactus::v1::{PushRequest, PushResponse, ingester_server::Ingester};
use tactus_ring::Instance;
use tactus_rpc::IngesterOf;
use tactus_telemetry::{log_limited, metrics::Counter};
use tokio::time::timeout;
use tonic::{Request, Status};

use crate::{metrics::Metrics, votes::is_unfit};

/// An ingester is suspect after this many failed or late calls in a row.
const SUSPECT_AFTER: u32 = 3;
/// Calls that a suspect ingester may have in flight.
const MAX_SUSPECT_CALLS: u64 = 256;

/// The settings of calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallSettings {
    /// The time a call may take.
    pub(crate) remote_timeout: Duration,
    /// A call that takes longer is late.
    pub(crate) late_after: Duration,
    /// Bytes of calls that a suspect ingester may have in flight.
    pub(crate) max_suspect_bytes: u64,
}

/// The ingesters of the ring.
pub(crate) struct Peers {
    settings: CallSettings,
    ingester_of: IngesterOf,
    by_address: RwLock<HashMap<Arc<str>, Arc<Peer>>>,
    /// How many of them are suspect.
    suspects: Arc<AtomicUsize>,
}

/// One ingester.
#[derive(Debug)]
pub(crate) struct Peer {
    address: Arc<str>,
    calls: AtomicU64,
    bytes: AtomicU64,
    failed_in_row: AtomicU32,
    late_in_row: AtomicU32,
    /// True while it counts as one of `suspects`.
    counts: AtomicBool,
    suspects: Arc<AtomicUsize>,
    /// Calls that were answered in time.
    answered: AtomicU64,
    appends: Counter,
    failures: Counter,
}

/// A call in flight.
struct InFlight {
    peer: Arc<Peer>,
    bytes: u64,
    /// `Peer.answered` when it began.
    answered: u64,
}

impl Peers {
    pub(crate) fn new(settings: CallSettings, ingester_of: IngesterOf) -> Self {
        Self { settings, ingester_of, by_address: RwLock::default(), suspects: Arc::default() }
    }

    /// The peer of an instance.
    pub(crate) fn of(&self, instance: &Instance, metrics: &Metrics) -> Arc<Peer> {
        if let Some(peer) = self.by_address.read().get(&instance.address) {
            return Arc::clone(peer);
        }
        let mut by_address = self.by_address.write();
        let peer = by_address.entry(Arc::clone(&instance.address)).or_insert_with(|| {
            let (appends, failures) = metrics.of_ingester(&instance.address);
            Arc::new(Peer {
                address: Arc::clone(&instance.address),
                calls: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                failed_in_row: AtomicU32::new(0),
                late_in_row: AtomicU32::new(0),
                counts: AtomicBool::new(false),
                suspects: Arc::clone(&self.suspects),
                answered: AtomicU64::new(0),
                appends,
                failures,
            })
        });
        let peer = Arc::clone(peer);
        metrics.ingester_clients.set(by_address.len() as f64);
        peer
    }

    /// Forgets ingesters that are not in `instances`.
    pub(crate) fn retain(&self, instances: &[Arc<Instance>], metrics: &Metrics) {
        let mut by_address = self.by_address.write();
        by_address.retain(|address, _| {
            let stays = instances.iter().any(|instance| instance.address == *address);
            if !stays {
                metrics.forget_ingester(address);
            }
            stays
        });
        metrics.ingester_clients.set(by_address.len() as f64);
    }

    /// Number of ingesters.
    pub(crate) fn len(&self) -> usize {
        self.by_address.read().len()
    }

    /// True if any ingester is suspect.
    pub(crate) fn has_suspects(&self) -> bool {
        self.suspects.load(Ordering::Relaxed) > 0
    }

    /// Pushes in the caller's task.
    pub(crate) async fn push(
        &self,
        peer: &Peer,
        instance: &Instance,
        push: PushRequest,
    ) -> Result<PushResponse, Status> {
        let ingester = (self.ingester_of)(instance);
        let call = ingester.push(Request::new(push));
        let result = timeout(self.settings.remote_timeout, call).await;
        let result = result.unwrap_or_else(|_| Err(overdue()));
        peer.count(result.as_ref().err());
        result.map(tonic::Response::into_inner)
    }

    /// Starts a push. Poll the future to its end; memory that `held` counts is given back then.
    pub(crate) fn start(
        &self,
        peer: Arc<Peer>,
        instance: &Instance,
        push: Request<PushRequest>,
        bytes: u64,
        held: impl Send + 'static,
    ) -> impl Future<Output = Result<PushResponse, Status>> + Send + 'static {
        let settings = self.settings;
        // One call is always allowed, because it shows when the ingester works again.
        let (calls, held_bytes) =
            (peer.calls.load(Ordering::Relaxed), peer.bytes.load(Ordering::Relaxed));
        let is_full = calls >= MAX_SUSPECT_CALLS || held_bytes + bytes > settings.max_suspect_bytes;
        let is_over = calls > 0 && is_full && peer.is_suspect();
        let in_flight = InFlight::new(peer, bytes);
        let ingester = (self.ingester_of)(instance);
        async move {
            let _held = held;
            let result = if is_over {
                Err(Status::unavailable("too many calls to this ingester are in flight"))
            } else {
                call(&*ingester, push, &in_flight, settings).await
            };
            in_flight.peer.count(result.as_ref().err());
            result
        }
    }
}

async fn call(
    ingester: &dyn Ingester,
    push: Request<PushRequest>,
    in_flight: &InFlight,
    settings: CallSettings,
) -> Result<PushResponse, Status> {
    let mut call = ingester.push(push);
    let late_after = settings.late_after.min(settings.remote_timeout);
    let (result, in_time) = match timeout(late_after, &mut call).await {
        Ok(result) => (result, true),
        Err(_) => {
            in_flight.count_in_row(&in_flight.peer.late_in_row);
            let rest = settings.remote_timeout.saturating_sub(late_after);
            (timeout(rest, call).await.unwrap_or_else(|_| Err(overdue())), false)
        }
    };
    // A client that sends invalid or too much OTLP must not make an ingester suspect.
    match &result {
        Err(status) if !is_unfit(status) => {
            in_flight.count_in_row(&in_flight.peer.failed_in_row);
        }
        _ if in_time => in_flight.peer.answered_in_time(),
        _ => {}
    }
    result.map(tonic::Response::into_inner)
}

fn overdue() -> Status {
    Status::deadline_exceeded("the ingester did not answer in time")
}

impl Peer {
    /// True if its calls failed or were late several times in a row.
    pub(crate) fn is_suspect(&self) -> bool {
        self.failed_in_row.load(Ordering::Relaxed) >= SUSPECT_AFTER
            || self.late_in_row.load(Ordering::Relaxed) >= SUSPECT_AFTER
    }

    fn answered_in_time(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.failed_in_row.store(0, Ordering::Relaxed);
        self.late_in_row.store(0, Ordering::Relaxed);
        self.counts_no_more();
    }

    fn counts_no_more(&self) {
        if self.counts.load(Ordering::Relaxed) && self.counts.swap(false, Ordering::Relaxed) {
            self.suspects.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn count(&self, error: Option<&Status>) {
        self.appends.inc();
        if let Some(status) = error {
            self.failures.inc();
            let (ingester, code, error) = (&*self.address, status.code(), status.message());
            log_limited!(warn, ingester, ?code, error, "push to ingester failed");
        }
    }
}

impl InFlight {
    fn new(peer: Arc<Peer>, bytes: u64) -> Self {
        peer.calls.fetch_add(1, Ordering::Relaxed);
        peer.bytes.fetch_add(bytes, Ordering::Relaxed);
        let answered = peer.answered.load(Ordering::Relaxed);
        Self { peer, bytes, answered }
    }

    /// Counts the failed or late call, unless another call was answered in time since it began: a call that hung before
    /// an ingester came back says nothing about the ingester now.
    fn count_in_row(&self, in_row: &AtomicU32) {
        if self.peer.answered.load(Ordering::Relaxed) == self.answered {
            in_row.fetch_add(1, Ordering::Relaxed);
        }
        let peer = &self.peer;
        if peer.is_suspect() && !peer.counts.swap(true, Ordering::Relaxed) {
            peer.suspects.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.counts_no_more();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.peer.calls.fetch_sub(1, Ordering::Relaxed);
        self.peer.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

tactus_telemetry::debug_of!(Peers { settings });
