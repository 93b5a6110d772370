//! The ingester: its state, pushes, start and stop.

mod capacity;

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tactus_model::TenantId;
use tactus_proto::tactus::v1::PushRequest;
use tactus_rpc::QueryContext;
use tactus_storage::Bucket;
use tactus_telemetry::metrics::Registry;
use tactus_wal::Wal;
use tactus_work::{Line, Slot};
use tokio::sync::Notify;
use tonic::Status;

use crate::{
    begun_blocks::Flushes,
    disk::{Disk, DiskHangs},
    error::PushError,
    expansion::check_expansion,
    frame::FrameSlices,
    generation::{Generation, RELEASED_MEMORY_FOR_ROOM, Sealing, Tenant},
    head::{Appended, Head, NEW_HEAD_BYTES},
    large_traces::Inherited,
    layout::Layout,
    metrics::Metrics,
    notes::Notes,
    open_tails::LiveTails,
    pushes::{Pushes, Size, bytes_of},
    queries::Queries,
    segment::SegmentCache,
    settings::Settings,
    so_far::FoundSoFar,
    unreadable::Unreadable,
    written::BlockWritten,
};

/// When another tenant does not fit, idle tenants are searched for at most this often.
const LOOK_FOR_IDLE_AGAIN: Duration = Duration::from_secs(5);

/// Queries of a tenant that run at the same time.
const CONCURRENT_QUERIES: usize = 8;

/// An ingester. There is one for each process and directory.
#[derive(Debug)]
pub struct Ingester {
    pub(crate) settings: Settings,
    pub(crate) layout: Layout,
    pub(crate) wal: Wal,
    pub(crate) bucket: Bucket,
    pub(crate) written: BlockWritten,
    pub(crate) metrics: Metrics,
    /// Locked for reading while a push appends, and for writing while the generation is replaced.
    pub(crate) current: RwLock<Arc<Generation>>,
    pub(crate) tenants: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    pub(crate) sealing: Arc<tokio::sync::Mutex<Sealing>>,
    pub(crate) flushes: Flushes,
    /// Wakes the background loop early.
    pub(crate) wake: Notify,
    /// Bytes of live spans: measured from time to time, plus what was pushed since.
    live_bytes: AtomicUsize,
    stopping: AtomicBool,
    /// How many syncs of the log had failed when all spans that were live then had been cut.
    pub(crate) cut_after_failed_syncs: AtomicU64,
    /// A generation could not be written and waits.
    pub(crate) has_waiting_cuts: AtomicBool,
    /// True if some tenant may have segments whose traces are not decided yet.
    pub(crate) has_pending: AtomicBool,
    /// Locked while traces are decided early because too much waits.
    pub(crate) deciding_early: tokio::sync::Mutex<()>,
    /// When a push last had all live spans measured.
    measured: Mutex<Option<Instant>>,
    /// When a new tenant last had idle ones looked for.
    looked_for_idle: Mutex<Option<Instant>>,
    pub(crate) segment_cache: SegmentCache,
    pub(crate) unreadable: Unreadable,
    pub(crate) notes: Notes,
    pub(crate) live_tails: Arc<LiveTails>,
    pub(crate) queries: Queries,
    pub(crate) found_so_far: FoundSoFar,
    pub(crate) pushes: Pushes,
    pub(crate) disk: Disk,
    itself: Weak<Self>,
}

impl Ingester {
    /// An ingester with a log and a directory, and no spans yet.
    pub(crate) fn new(
        settings: Settings,
        (wal, layout): (Wal, Layout),
        (bucket, written): (Bucket, BlockWritten),
        registry: &Registry,
    ) -> Arc<Self> {
        let root = settings.directory.clone();
        let metrics = Metrics::new(registry);
        let live_tails = LiveTails::new(settings.ingester.live_tail.clone(), metrics.clone());
        let disk_timeout = settings.ingester.disk_timeout.non_zero().unwrap_or(Duration::MAX);
        Arc::new_cyclic(|itself| Self {
            flushes: Flushes::new(settings.ingester.concurrent_flushes),
            wal,
            bucket,
            written,
            metrics,
            live_tails,
            current: RwLock::new(Arc::new(Generation::new(false))),
            tenants: RwLock::default(),
            sealing: Arc::default(),
            wake: Notify::new(),
            live_bytes: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            cut_after_failed_syncs: AtomicU64::new(0),
            has_waiting_cuts: AtomicBool::new(false),
            has_pending: AtomicBool::new(false),
            deciding_early: tokio::sync::Mutex::default(),
            measured: Mutex::default(),
            looked_for_idle: Mutex::default(),
            segment_cache: SegmentCache::new(
                settings.ingester.max_mapped_segments,
                settings.ingester.max_segment_column_bytes,
            ),
            unreadable: Unreadable::default(),
            notes: Notes::new(
                Layout::notes(&root),
                layout.segments(),
                settings.fsync_interval.is_some(),
            ),
            layout,
            queries: Queries::new(CONCURRENT_QUERIES, Arc::clone(&settings.query_memory), registry),
            found_so_far: FoundSoFar::default(),
            pushes: Pushes::new(settings.ingester.max_push_threads, disk_timeout),
            disk: Disk::new(&root, settings.ingester.min_free_disk_bytes),
            itself: Weak::clone(itself),
            settings,
        })
    }

    /// Stores a push as [`Self::push_in_turn`] does, on a thread of its own, and waits at most `disk_timeout`.
    ///
    /// After [`PushError::TimedOut`] its spans may be stored nevertheless.
    pub(crate) async fn store(
        &self,
        push: PushRequest,
        tenant: TenantId,
    ) -> Result<Appended, PushError> {
        let result = self.store_in_time(push, tenant).await;
        if let Err(error @ (PushError::DiskHangs(_) | PushError::TimedOut(_))) = &result {
            // The other errors were counted where the push was refused.
            self.metrics.refused_pushes.with([error.reason()]).inc();
        }
        result
    }

    async fn store_in_time(
        &self,
        push: PushRequest,
        tenant: TenantId,
    ) -> Result<Appended, PushError> {
        self.disk_answers().map_err(PushError::DiskHangs)?;
        let Some(ingester) = self.weak().upgrade() else {
            return Err(PushError::NotRunning("shutting down"));
        };
        let size = Size { tenant: Line::of(tenant.as_str(), &[]).tenant, bytes: bytes_of(&push) };
        let store = move |turn| ingester.push_in_turn(&push, &tenant, turn);
        self.pushes.run(size, store, || self.disk_hangs()).await
    }

    /// The directory of log and segments.
    pub fn directory(&self) -> &Path {
        &self.settings.directory
    }

    /// Errors: the disk of the log does not respond. Never waits for it.
    pub fn disk_answers(&self) -> Result<(), DiskHangs> {
        match self.wal.longest_wait() {
            Some(wait) if wait.age >= self.pushes.timeout() => Err(self.disk_hangs()),
            _ => Ok(()),
        }
    }

    /// Errors: the log failed to take the last push, a moment ago. The text is the reason.
    pub fn log_takes_pushes(&self) -> Result<(), String> {
        self.disk.log_takes_pushes()
    }

    fn disk_hangs(&self) -> DiskHangs {
        let timeout = self.pushes.timeout();
        let wait = self.wal.longest_wait().filter(|wait| wait.age >= timeout / 2);
        DiskHangs { directory: self.disk.directory().to_owned(), wait, timeout }
    }

    /// Runs a query as [`Queries::run`] does.
    pub(crate) async fn query<R: Send + 'static>(
        &self,
        tenant: &str,
        context: QueryContext,
        run: impl FnOnce(&Ingester) -> R + Send + 'static,
    ) -> Result<R, Status> {
        let ingester = self.handle()?;
        self.queries.run(tenant, context, move || run(&ingester)).await
    }

    /// Stores a push. When this returns, its spans are in the write-ahead log and can be queried.
    ///
    /// Blocks for some microseconds for each kilobyte. Then it waits for the disk, without the `turn`. Refused spans are in
    /// the result; an error refuses all.
    pub(crate) fn push_in_turn(
        &self,
        push: &PushRequest,
        tenant: &TenantId,
        turn: Option<Slot>,
    ) -> Result<Appended, PushError> {
        let result = self.try_push(push, tenant, turn);
        if let Err(error) = &result {
            self.metrics.refused_pushes.with([error.reason()]).inc();
        }
        result
    }

    /// As [`Self::push_in_turn`], without a turn.
    #[cfg(test)]
    pub(crate) fn push(
        &self,
        push: &PushRequest,
        tenant: &TenantId,
    ) -> Result<Appended, PushError> {
        self.push_in_turn(push, tenant, None)
    }

    fn try_push(
        &self,
        push: &PushRequest,
        tenant: &TenantId,
        turn: Option<Slot>,
    ) -> Result<Appended, PushError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(PushError::NotRunning("shutting down"));
        }
        let bytes = bytes_of(push);
        self.check_room(tenant, bytes)?;
        let state = self.admit(tenant)?;
        let claim = state.origins.claim(push);
        let new_part = claim.as_ref().and_then(|claim| claim.new_part(push));
        let push = new_part.as_ref().unwrap_or(push);
        if push.runs.is_empty() {
            return Ok(Appended::default());
        }
        check_expansion(push)?;
        let generation = self.current.read();
        // The last cut may have come before the lock. There is no other one.
        if self.stopping.load(Ordering::Acquire) {
            return Err(PushError::NotRunning("shutting down"));
        }
        let mut new_bytes = 0;
        let head = generation.head(tenant).unwrap_or_else(|| {
            // Not while heads are locked, because it visits all traces of those that are being cut.
            let inherited = state.inherited(self.large_traces_memory());
            generation.head_or_insert(tenant, || {
                new_bytes = NEW_HEAD_BYTES;
                if let Some(tail_sampling) = self.settings.tail_sampling.of(tenant) {
                    generation.cut_within(tail_sampling.cut_period());
                }
                self.new_head(tenant, inherited)
            })
        });
        let appended = head.append(push, |appended| {
            let frame = FrameSlices::new(push, &appended.refused_spans);
            drop(turn);
            let result = self.wal.append(&frame.slices());
            self.disk.note_log(&result);
            result.map(|_| ()).map_err(|error| match error {
                tactus_wal::Error::FrameTooLarge { .. } => PushError::TooLarge(error),
                _ if error.is_full() => PushError::DiskFull(error.to_string()),
                _ => PushError::Wal(error),
            })
        })?;
        if appended.spans > 0 {
            generation.note_push();
        }
        if let Some(claim) = claim {
            claim.store(&appended.origins);
        }
        drop(generation);
        self.live_tails.show(tenant, push, &appended);
        if self.add_live_bytes(bytes + new_bytes) >= self.settings.generation_bytes {
            self.wake.notify_one();
        }
        self.metrics.bytes_received.with([tenant.as_str(), "trace"]).inc_by(bytes as u64);
        if appended.truncated_attributes > 0 {
            let truncated = self.metrics.attributes_truncated.with([tenant.as_str()]);
            truncated.inc_by(appended.truncated_attributes);
        }
        Ok(appended)
    }

    fn new_head(&self, tenant: &TenantId, inherited: Inherited) -> Arc<Head> {
        let limits = self.settings.limits.of(tenant);
        let head = Arc::new(Head::new(limits, self.settings.chunk_spans, inherited));
        self.tenant_or_insert(tenant).add_head(Arc::clone(&head));
        head
    }

    /// How long the size of a large trace is remembered after its last spans.
    pub(crate) fn large_traces_memory(&self) -> Duration {
        self.settings.ingester.max_block_duration.as_std()
    }

    /// The tenant's state, if it ever pushed anything.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.read().get(tenant).cloned()
    }

    pub(crate) fn tenant_or_insert(&self, tenant: &TenantId) -> Arc<Tenant> {
        if let Some(known) = self.tenant(tenant) {
            return known;
        }
        Arc::clone(self.tenants.write().entry(tenant.clone()).or_default())
    }

    pub(crate) fn all_tenants(&self) -> Vec<(TenantId, Arc<Tenant>)> {
        let tenants = self.tenants.read();
        tenants.iter().map(|(id, tenant)| (id.clone(), Arc::clone(tenant))).collect()
    }

    /// The tenant's state. Errors: the tenant is new, and the limit of tenants is reached.
    fn admit(&self, tenant: &TenantId) -> Result<Arc<Tenant>, PushError> {
        if let Some(known) = self.tenant(tenant) {
            return Ok(known);
        }
        let limit = self.settings.ingester.max_tenants;
        let is_full = || limit > 0 && self.tenants.read().len() >= limit;
        if is_full() {
            let mut looked = self.looked_for_idle.lock();
            if looked.is_none_or(|at| at.elapsed() >= LOOK_FOR_IDLE_AGAIN) {
                *looked = Some(Instant::now());
                self.forget_idle_tenants(RELEASED_MEMORY_FOR_ROOM);
                // Making blocks makes room.
                self.wake.notify_one();
            }
            drop(looked);
            if is_full() {
                return Err(PushError::TooManyTenants { limit });
            }
        }
        Ok(self.tenant_or_insert(tenant))
    }

    /// Forgets tenants that have nothing stored, and had nothing stored within `memory`. Otherwise their number would
    /// grow without limit.
    fn forget_idle_tenants(&self, memory: Duration) {
        let mut gone = Vec::new();
        self.tenants.write().retain(|id, tenant| {
            // Whoever is about to add something has a clone, and nobody can get one while the map is locked. A tenant
            // also stays if it has a block in progress, even if its segments cannot be read.
            let stays = Arc::strong_count(tenant) > 1
                || !tenant.is_idle(memory)
                || self.flushes.has_pending(id);
            if !stays {
                gone.push(id.clone());
            }
            stays
        });
        for id in gone {
            self.flushes.forget(&id);
            self.metrics.live_traces.remove([id.as_str()]);
            self.metrics.live_trace_bytes.remove([id.as_str()]);
            self.metrics.tail_sampling.forget(&id);
            // This fails while the directory is not empty.
            let _ = fs::remove_dir(self.layout.flushing().join(id.as_str()));
        }
    }

    /// A handle for work on another thread.
    pub(crate) fn handle(&self) -> Result<Arc<Self>, Status> {
        self.itself.upgrade().ok_or_else(|| Status::unavailable("Ingester is shutting down"))
    }

    /// A weak reference, for tasks that must not keep the ingester alive.
    pub(crate) fn weak(&self) -> Weak<Self> {
        Weak::clone(&self.itself)
    }

    /// Refuses pushes from now on, and ends live tails.
    pub(crate) fn stop_pushes(&self) {
        self.stopping.store(true, Ordering::Release);
        self.live_tails.close();
    }
}
