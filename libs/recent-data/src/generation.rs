//! Generations. A generation consists of all tenants' live spans between two cuts, and the log parts that hold them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex, RwLock};
use tactus_model::{CutTraces, TenantId, TraceId};
use tactus_storage::Uuid;

use crate::{
    decisions::Deciding,
    head::Head,
    large_traces::{Inherited, LargeTraces},
    layout::PartRange,
    origins::{HeldOrigins, KnownOrigins},
    recent_view::{RecentView, SplitTraces},
    segment::{OpenSegment, Segment},
    settings::Settings,
};

/// How long a released block is remembered. By then every process has it in its block list.
pub(crate) const RELEASED_MEMORY: Duration = Duration::from_secs(3600);
/// The same if another tenant does not fit otherwise. Still longer than a query runs, and longer than a distributor
/// retries.
pub(crate) const RELEASED_MEMORY_FOR_ROOM: Duration = Duration::from_secs(300);
/// Most released blocks that are remembered for a tenant.
const MAX_RELEASED: usize = 1_000;

/// The live spans of all tenants since the last cut.
///
/// A push holds a shared lock on the current generation while it appends to a head and to the log. A cut locks it
/// exclusively. So every frame of a log part belongs to the generation that was current when the part was written.
#[derive(Debug)]
pub(crate) struct Generation {
    started: Instant,
    /// When the last push arrived, in milliseconds after `started`, plus one; 0 if there was none.
    last_push: AtomicU64,
    /// When the last push arrived, or of the start, in unix nanoseconds.
    last_push_time: AtomicU64,
    /// True if the spans were read back from the log. Then their arrival time is known only to within the duration of a
    /// block.
    pub(crate) replayed: bool,
    first_push: AtomicU64,
    heads: RwLock<HashMap<TenantId, Arc<Head>>>,
    /// The generation is cut this many milliseconds after its first push, even if the settings say later.
    cut_after: AtomicU64,
    /// The directory with its segments has got its name.
    pub(crate) is_written: AtomicBool,
}

impl Generation {
    pub(crate) fn new(replayed: bool) -> Self {
        Self {
            started: Instant::now(),
            last_push: AtomicU64::new(0),
            last_push_time: AtomicU64::new(unix_nanos_now()),
            replayed,
            first_push: AtomicU64::new(0),
            heads: RwLock::default(),
            cut_after: AtomicU64::new(u64::MAX),
            is_written: AtomicBool::new(false),
        }
    }

    /// Makes sure that the generation is cut at most `period` after its first push.
    pub(crate) fn cut_within(&self, period: Duration) {
        self.cut_after.fetch_min(period.as_millis() as u64, Ordering::Relaxed);
    }

    pub(crate) fn head(&self, tenant: &TenantId) -> Option<Arc<Head>> {
        self.heads.read().get(tenant).cloned()
    }

    /// The tenant's head. `create` makes it for the tenant's first push.
    pub(crate) fn head_or_insert(
        &self,
        tenant: &TenantId,
        create: impl FnOnce() -> Arc<Head>,
    ) -> Arc<Head> {
        if let Some(head) = self.head(tenant) {
            return head;
        }
        Arc::clone(self.heads.write().entry(tenant.clone()).or_insert_with(create))
    }

    pub(crate) fn heads(&self) -> Vec<(TenantId, Arc<Head>)> {
        let heads = self.heads.read();
        heads.iter().map(|(tenant, head)| (tenant.clone(), Arc::clone(head))).collect()
    }

    pub(crate) fn note_push(&self) {
        let now = self.started.elapsed().as_millis() as u64 + 1;
        self.last_push.store(now, Ordering::Relaxed);
        self.last_push_time.store(unix_nanos_now(), Ordering::Relaxed);
        let _ = self.first_push.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// When its youngest spans arrived, in unix nanoseconds.
    pub(crate) fn arrival_time(&self) -> u64 {
        self.last_push_time.load(Ordering::Relaxed)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.heads.read().values().map(|head| head.heap_bytes()).sum()
    }

    /// True if the live spans should become segments now.
    pub(crate) fn is_due(&self, settings: &Settings) -> bool {
        let idle_period = settings.ingester.trace_idle_period.as_std();
        let first = self.first_push.load(Ordering::Relaxed);
        if first == 0 {
            // Traces count even if all of their spans were refused, and only a cut resets the count.
            return self.started.elapsed() >= idle_period && self.nears_limit_of_traces();
        }
        let now = self.started.elapsed().as_millis() as u64 + 1;
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        since(self.last_push.load(Ordering::Relaxed)) >= idle_period
            || since(first) >= settings.ingester.trace_live_period.as_std()
            || now.saturating_sub(first) >= self.cut_after.load(Ordering::Relaxed)
            || self.heap_bytes() >= settings.generation_bytes
            || (since(first) >= idle_period && self.nears_limit_of_traces())
    }

    /// True if a tenant has half of the live traces that its limit allows. A cut now resets the count before any trace
    /// is refused.
    fn nears_limit_of_traces(&self) -> bool {
        self.heads.read().values().any(|head| head.nears_limit_of_traces())
    }
}

/// The state of cuts. A lock around it lets one cut run at a time.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    /// Number of the last log part of the newest generation that was cut.
    pub(crate) sealed_through: u64,
    /// Generations whose segments could not be written yet, the oldest first.
    pub(crate) waiting: Vec<Waiting>,
}

/// A generation that waits to be written.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) generation: Arc<Generation>,
    /// The parts of the log with its spans, at least one. Those of the first run give the directory of its segments the
    /// name. Between two is a part of somebody else, which the next start must not take for one of these.
    pub(crate) parts: Vec<PartRange>,
}

impl Sealing {
    /// True if the spans of a log part are only in memory (and in the log).
    pub(crate) fn is_waiting(&self, part: u64) -> bool {
        self.waiting.iter().flat_map(|waiting| &waiting.parts).any(|run| run.contains(part))
    }
}

fn unix_nanos_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}

/// The spans of one tenant, as queries see them.
#[derive(Debug, Default)]
pub(crate) struct TenantView {
    /// Live spans: those of the current generation, and those that are being written to segments.
    pub(crate) heads: Vec<Arc<Head>>,
    /// Segments that are not yet in a block that queriers know.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Blocks that replaced segments, and when; the oldest first.
    released: VecDeque<(Instant, Uuid)>,
}

/// A tenant and its view. The lock of the view is held only for moments.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    view: RwLock<TenantView>,
    large_traces: Mutex<LargeTraces>,
    /// Cut traces (which lack refused spans) of heads that left no segment. The next segment stores them.
    cut_traces: Mutex<CutTraces>,
    /// Origins whose spans need not be stored again.
    pub(crate) origins: KnownOrigins,
    /// Locked while tail sampling decides, so that one round runs at a time.
    pub(crate) deciding: Mutex<Option<Box<Deciding>>>,
    split: Arc<SplitTraces>,
}

impl Tenant {
    pub(crate) fn heads(&self) -> Vec<Arc<Head>> {
        self.view.read().heads.clone()
    }

    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.view.read().segments.clone()
    }

    /// Segments whose traces are not decided yet, the oldest first.
    pub(crate) fn pending_segments(&self) -> Vec<Arc<Segment>> {
        let view = self.view.read();
        view.segments.iter().filter(|segment| segment.is_pending()).cloned().collect()
    }

    /// Replaces a pending segment by the segment with the traces that tail sampling keeps.
    pub(crate) fn replace_segment(&self, pending: &Arc<Segment>, decided: Option<Arc<Segment>>) {
        if decided.is_none() {
            self.origins.let_go(pending.origins().all());
        }
        let mut view = self.view.write();
        let place = view.segments.iter().position(|segment| Arc::ptr_eq(segment, pending));
        match place {
            Some(place) => drop(view.segments.splice(place..=place, decided)),
            // It was left out since it was read.
            None => view.segments.extend(decided),
        }
    }

    /// Segments whose traces are decided, and whose spans are not in object storage yet.
    pub(crate) fn unflushed_segments(&self) -> Vec<Arc<Segment>> {
        let view = self.view.read();
        let waits = |segment: &&Arc<Segment>| !segment.is_flushed() && !segment.is_pending();
        view.segments.iter().filter(waits).cloned().collect()
    }

    pub(crate) fn add_head(&self, head: Arc<Head>) {
        self.view.write().heads.push(head);
    }

    /// Sizes of traces from generations that were cut within `memory`, and from those that are being cut. Visits all
    /// traces of the latter.
    pub(crate) fn inherited(&self, memory: Duration) -> Inherited {
        let mut being_cut = HashMap::new();
        // Take the heads first: a head that is replaced in the meantime was noted before.
        for head in self.heads() {
            being_cut.extend(head.large_traces());
        }
        self.large_traces.lock().inherited(being_cut, memory)
    }

    /// Forgets the sizes of traces that took no spans for `memory`.
    pub(crate) fn forget_large_traces(&self, memory: Duration) {
        self.large_traces.lock().forget(memory);
    }

    /// Bytes of memory for the sizes of large traces.
    pub(crate) fn large_traces_bytes(&self) -> usize {
        self.large_traces.lock().heap_bytes()
    }

    /// Replaces a head by the segments that were made of it. `memory`: how long sizes of large traces are remembered.
    pub(crate) fn replace_head(
        &self,
        head: &Arc<Head>,
        segments: Vec<Arc<Segment>>,
        memory: Duration,
    ) {
        let seen = head.large_traces();
        self.large_traces.lock().note(seen, memory);
        // Do this before removing the head, so that a reader never sees the trace without the mark that it was cut.
        let mut carried = self.cut_traces.lock();
        if segments.is_empty() {
            carried.add_all(&head.cut_traces());
        } else {
            let is_kept = |trace| segments.iter().any(|it| it.cut_traces().spans(trace) > 0);
            carried.retain(|trace| !is_kept(trace));
        }
        let mut view = self.view.write();
        view.heads.retain(|other| !Arc::ptr_eq(other, head));
        view.segments.extend(segments);
    }

    /// Cut traces that the next segment must store in addition to those of its head.
    pub(crate) fn carried_cut_traces(&self) -> CutTraces {
        self.cut_traces.lock().clone()
    }

    /// Keeps the cut traces for the next segment.
    pub(crate) fn carry_cut_traces(&self, cut: &CutTraces) {
        self.cut_traces.lock().add_all(cut);
    }

    /// At least how many spans of a trace were refused because it was too large.
    pub(crate) fn refused_spans(&self, trace: TraceId) -> u64 {
        let carried = self.cut_traces.lock();
        let view = self.view.read();
        let live = view.heads.iter().map(|head| head.refused_spans(trace));
        let cut = view.segments.iter().map(|segment| segment.cut_traces().spans(trace));
        live.chain(cut).fold(carried.spans(trace), u64::saturating_add)
    }

    /// Adds a segment, unless its block was released while the disk could not read it.
    pub(crate) fn add_segment(&self, segment: Arc<Segment>) {
        self.origins.add(&segment.origins().all());
        let mut view = self.view.write();
        let block = segment.block();
        if !view.released.iter().any(|(_, released)| Some(*released) == block) {
            view.segments.push(segment);
        }
    }

    /// True if nothing of the tenant is stored, and nothing was stored within `memory`.
    pub(crate) fn is_idle(&self, memory: Duration) -> bool {
        let view = self.view.read();
        let is_old = |(released, _): &(Instant, Uuid)| released.elapsed() > memory;
        let decided_lately = self.deciding.try_lock().is_none_or(|deciding| {
            deciding.as_ref().is_some_and(|it| it.decided.elapsed() <= memory)
        });
        view.heads.is_empty()
            && view.segments.is_empty()
            && view.released.iter().all(is_old)
            && !decided_lately
    }

    /// Removes a segment that cannot be read. False if it was removed before.
    pub(crate) fn remove_segment(&self, gone: &Arc<Segment>) -> bool {
        let mut view = self.view.write();
        let before = view.segments.len();
        view.segments.retain(|segment| !Arc::ptr_eq(segment, gone));
        view.segments.len() < before
    }

    /// Heads, segments and released blocks at one moment.
    pub(crate) fn recent_view(&self) -> RecentView {
        let (heads, segments, released) = {
            let view = self.view.read();
            let released = view.released.iter().map(|(_, block)| *block).collect();
            (view.heads.clone(), view.segments.clone(), released)
        };
        let segments = segments.into_iter().map(OpenSegment::new).collect();
        // Take the heads first: spans that are cut in the meantime are still in them.
        let live = heads.iter().map(|head| head.snapshot()).collect();
        RecentView { live, segments, stored: Vec::new(), split: Arc::clone(&self.split), released }
    }

    /// Removes the segments that were replaced by a block in the block list.
    pub(crate) fn release_segments(&self, block: Uuid, gone: &[Arc<Segment>]) {
        let mut origins = HeldOrigins::default();
        gone.iter().for_each(|segment| origins.unite(segment.origins()));
        self.origins.let_go(origins.all());
        let mut view = self.view.write();
        view.segments.retain(|segment| !gone.iter().any(|other| Arc::ptr_eq(other, segment)));
        let is_old = |&(released, _): &(Instant, Uuid)| released.elapsed() > RELEASED_MEMORY;
        while view.released.len() >= MAX_RELEASED || view.released.front().is_some_and(is_old) {
            view.released.pop_front();
        }
        view.released.push_back((Instant::now(), block));
    }
}
