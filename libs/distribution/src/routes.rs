//! The route of each tenant's traces: their placement, and the origins (`SpanRun.origin`) of spans that are sent to the
//! same replicas together.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
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

/// The routes of tenants that sent something recently.
pub(crate) struct Routes {
    ring: Arc<Ring>,
    choice: Choice,
    by_tenant: RwLock<HashMap<TenantId, Arc<Route>>>,
    /// The placement of all tenants that use the whole ring, with the view of the ring it was made for.
    whole: Mutex<Option<(Arc<RingView>, Arc<Placement>)>>,
    streams: Arc<AtomicUsize>,
    started: Instant,
}

/// The route of a tenant's traces for one view of the ring.
pub(crate) struct Route {
    view: Arc<RingView>,
    shard_size: usize,
    pub(crate) placement: Arc<Placement>,
    pub(crate) tokens: TokenHasher,
    /// By set; made at first use.
    streams: Box<[OnceLock<Arc<Stream>>]>,
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
        }
    }

    /// The current route. `shard_size` is the number of ingesters that the tenant uses; 0: all.
    pub(crate) fn of(&self, tenant: &TenantId, shard_size: usize) -> Result<Arc<Route>, RingError> {
        let view = self.ring.view();
        let now = self.started.elapsed().as_secs();
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
            streams: streams_like(known.as_deref(), &placement),
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
        let stream = self.streams[set].get_or_init(|| Stream::counted(&self.all_streams));
        stream.next()
    }
}

/// One slot for each set's stream. Streams of sets that existed before are kept.
fn streams_like(known: Option<&Route>, placement: &Placement) -> Box<[OnceLock<Arc<Stream>>]> {
    let mut by_name = HashMap::new();
    for (set, stream) in known.iter().flat_map(|route| route.streams.iter().enumerate()) {
        if let (Some(route), Some(stream)) = (known, stream.get()) {
            by_name.insert(route.placement.name_of(set), stream);
        }
    }
    let take = |set: usize| {
        let known = if by_name.is_empty() { None } else { by_name.get(&placement.name_of(set)) };
        known.map_or_else(OnceLock::new, |stream| OnceLock::from(Arc::clone(stream)))
    };
    (0..placement.sets().len()).map(take).collect()
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
