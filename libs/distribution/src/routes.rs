//! The route of each tenant's traces: their placement, and the origins (`SpanRun.origin`) of spans that are sent to the
//! same replicas together.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::{Mutex, RwLock};
use tactus_model::TenantId;
use tactus_ring::{Ring, RingError, RingView, TokenHasher};

use crate::placement::{Choice, Placement};

/// Tenants whose route is kept.
const MAX_TENANTS: usize = 10_000;
/// Streams that are kept for all tenants together. A single tenant may have more.
const MAX_STREAMS: usize = 200_000;
/// Routes for a former view of the ring are dropped if they were not used for so many seconds: each view takes megabytes.
const IDLE_SECONDS: u64 = 60;

/// The routes of tenants that sent something recently.
pub(crate) struct Routes {
    ring: Arc<Ring>,
    choice: Choice,
    by_tenant: RwLock<HashMap<TenantId, Arc<Route>>>,
    /// The placement of all tenants that use the whole ring, with the view of the ring it was made for.
    whole: Mutex<Option<(Arc<RingView>, Arc<Placement>)>>,
    streams: Arc<AtomicUsize>,
    started: Instant,
    /// Seconds since the start, when former routes were dropped last.
    swept: AtomicU64,
}

/// The route of a tenant's traces for one view of the ring.
pub(crate) struct Route {
    view: Arc<RingView>,
    shard_size: usize,
    pub(crate) placement: Arc<Placement>,
    pub(crate) tokens: TokenHasher,
    /// Of the sets that spans were sent to.
    streams: Mutex<HashMap<usize, Arc<Stream>>>,
    all_streams: Arc<AtomicUsize>,
    /// Seconds since the start, at the last use.
    used: AtomicU64,
}

impl Routes {
    pub(crate) fn new(ring: Arc<Ring>, extend: bool) -> Self {
        let zone_aware = ring.settings().zone_awareness;
        Self {
            ring,
            choice: Choice { extend, zone_aware },
            by_tenant: RwLock::default(),
            whole: Mutex::default(),
            streams: Arc::default(),
            started: Instant::now(),
            swept: AtomicU64::new(0),
        }
    }

    /// The current route. `shard_size` is the number of ingesters that the tenant uses; 0: all.
    pub(crate) fn of(&self, tenant: &TenantId, shard_size: usize) -> Result<Arc<Route>, RingError> {
        let view = self.ring.view();
        let now = self.started.elapsed().as_secs();
        self.sweep(&view, now);
        let known = self.by_tenant.read().get(tenant).cloned();
        if let Some(route) = &known
            && Arc::ptr_eq(&route.view, &view)
            && route.shard_size == shard_size
        {
            route.used.store(now, Ordering::Relaxed);
            return Ok(Arc::clone(route));
        }
        let placement = self.placement(&view, tenant, shard_size)?;
        let route = Arc::new(Route {
            view,
            shard_size,
            streams: Mutex::new(streams_like(known.as_deref(), &placement)),
            placement,
            tokens: TokenHasher::new(tenant.as_str()),
            all_streams: Arc::clone(&self.streams),
            used: AtomicU64::new(now),
        });
        let mut by_tenant = self.by_tenant.write();
        let is_full =
            by_tenant.len() >= MAX_TENANTS || self.streams.load(Ordering::Relaxed) >= MAX_STREAMS;
        if is_full && known.is_none() {
            forget_half(&mut by_tenant);
        }
        by_tenant.insert(tenant.clone(), Arc::clone(&route));
        Ok(route)
    }

    /// Drops former routes that are idle, now and then.
    fn sweep(&self, view: &Arc<RingView>, now: u64) {
        let swept = self.swept.load(Ordering::Relaxed);
        let relaxed = Ordering::Relaxed;
        if now < swept + IDLE_SECONDS
            || self.swept.compare_exchange(swept, now, relaxed, relaxed).is_err()
        {
            return;
        }
        self.by_tenant.write().retain(|_, route| {
            let used = route.used.load(Ordering::Relaxed);
            now < used + IDLE_SECONDS || Arc::ptr_eq(&route.view, view)
        });
    }

    fn placement(
        &self,
        view: &Arc<RingView>,
        tenant: &TenantId,
        shard_size: usize,
    ) -> Result<Arc<Placement>, RingError> {
        if shard_size > 0 && shard_size < view.instances().len() {
            let shard = view.shuffle_shard(tenant.as_str(), shard_size);
            return Placement::new(&shard, self.choice).map(Arc::new);
        }
        let mut whole = self.whole.lock();
        if let Some((of, placement)) = &*whole
            && Arc::ptr_eq(of, view)
        {
            return Ok(Arc::clone(placement));
        }
        let placement = Arc::new(Placement::new(view, self.choice)?);
        *whole = Some((Arc::clone(view), Arc::clone(&placement)));
        Ok(placement)
    }
}

impl Route {
    /// The origin of spans that are sent to a set now; 0 if spans have no copies.
    pub(crate) fn next_origin(&self, set: usize) -> u64 {
        if !self.placement.has_replicas() {
            return 0;
        }
        let mut streams = self.streams.lock();
        streams.entry(set).or_insert_with(|| Stream::counted(&self.all_streams)).next()
    }
}

/// The streams of sets that existed before.
fn streams_like(known: Option<&Route>, placement: &Placement) -> HashMap<usize, Arc<Stream>> {
    let Some(known) = known else { return HashMap::new() };
    let streams = known.streams.lock();
    let named = streams.iter().map(|(set, stream)| (known.placement.name_of(*set), stream));
    let by_name: HashMap<String, &Arc<Stream>> = named.collect();
    if by_name.is_empty() {
        return HashMap::new();
    }
    let take = |set| Some((set, Arc::clone(by_name.get(&placement.name_of(set))?)));
    (0..placement.sets().len()).filter_map(take).collect()
}

/// Drops the half of the tenants that were not used for the longest time.
fn forget_half(by_tenant: &mut HashMap<TenantId, Arc<Route>>) {
    let mut used: Vec<u64> =
        by_tenant.values().map(|route| route.used.load(Ordering::Relaxed)).collect();
    let half = used.len() / 2;
    if half == 0 {
        by_tenant.clear();
        return;
    }
    let (_, &mut limit, _) = used.select_nth_unstable(half);
    // Of tenants that were last used in the same second, some are dropped and some stay.
    let mut to_drop = half;
    by_tenant.retain(|_, route| {
        let drops = to_drop > 0 && route.used.load(Ordering::Relaxed) <= limit;
        to_drop -= usize::from(drops);
        !drops
    });
}

tactus_telemetry::debug_of!(it: Routes { view = it.ring.view() });

/// Bits of the number within a stream.
const NUMBER_BITS: u32 = 24;

/// Hands out the origins for one tenant and one replica set.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The origin given last; 0 before the first.
    last: Mutex<u64>,
    /// How many streams there are.
    count: Arc<AtomicUsize>,
}

impl Stream {
    /// A stream that counts in `count` as long as it exists.
    pub(crate) fn counted(count: &Arc<AtomicUsize>) -> Arc<Self> {
        count.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { last: Mutex::default(), count: Arc::clone(count) })
    }

    /// A unique origin. After 2^24 - 1 of them a new stream begins.
    pub(crate) fn next(&self) -> u64 {
        let mut last = self.last.lock();
        let numbers = (1 << NUMBER_BITS) - 1;
        if *last & numbers == numbers || *last == 0 {
            *last = new_stream();
        }
        *last += 1;
        *last
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// 40 random bits, not all zero, above a sequence number of 0.
fn new_stream() -> u64 {
    let random = (uuid::Uuid::new_v4().as_u128() >> 88) as u64;
    random.max(1) << NUMBER_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_ring::{Instance, RingSettings};

    #[test]
    fn former_routes_of_idle_tenants_are_dropped() {
        let members = |count: u32| (0..count).map(|n| Instance::active(&n.to_string(), "", [n]));
        let ring = Ring::fixed(RingSettings::new("ingester"), members(3).collect());
        let routes = Routes::new(Arc::clone(&ring), true);
        let route = |tenant: &str| routes.of(&TenantId::parse(tenant).unwrap(), 0).unwrap();
        let former = Arc::downgrade(&route("idle").placement);
        assert!(ring.replace(members(4).collect()));
        let used = route("used");
        let count = || routes.by_tenant.read().len();
        routes.sweep(&used.view, IDLE_SECONDS - 1);
        assert_eq!((count(), former.upgrade().is_some()), (2, true));
        routes.sweep(&used.view, IDLE_SECONDS * 2);
        assert_eq!((count(), former.upgrade().is_some()), (1, false));
    }

    #[test]
    fn only_sets_in_use_have_streams() {
        let members = (0..9u32).map(|n| Instance::active(&n.to_string(), "", [n]));
        let settings = RingSettings { replication_factor: 3, ..RingSettings::new("ingester") };
        let routes = Routes::new(Ring::fixed(settings, members.collect()), true);
        let route = routes.of(&TenantId::single(), 0).unwrap();
        assert_eq!(route.placement.sets().len(), 9);
        let first = route.next_origin(4);
        assert_eq!(route.next_origin(4), first + 1);
        assert_ne!(route.next_origin(5) >> NUMBER_BITS, first >> NUMBER_BITS);
        assert_eq!((route.streams.lock().len(), routes.streams.load(Ordering::Relaxed)), (2, 2));
    }

    #[test]
    fn numbers_count_up_and_a_new_stream_follows_the_last() {
        let count = Arc::default();
        let stream = Stream::counted(&count);
        let first = stream.next();
        assert_eq!(first & 0xff_ffff, 1);
        assert_eq!(stream.next(), first + 1);
        *stream.last.lock() = first | 0xff_ffff;
        let other = stream.next();
        assert_eq!(other & 0xff_ffff, 1);
        assert_ne!(other >> 24, first >> 24);
        assert_ne!(first >> 24, 0);
        drop(stream);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}
