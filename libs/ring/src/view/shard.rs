//! Shuffle sharding: each tenant gets a few instances of its own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::RingView;
use crate::hash::{SplitMix64, shuffle_seed};
use crate::instance::{Instance, Operation};

/// Most shards kept by one view; a further tenant's is computed anew each time.
const MAX_CACHED_SHARDS: usize = 10_000;

/// Shards by tenant and size. It lives as long as its view, so that it never goes stale.
#[derive(Default)]
pub(super) struct ShardCache(HashMap<Arc<str>, (usize, Arc<RingView>)>);

/// Which instances a reader asks in addition to the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookBack {
    /// Instances registered, or made read-only, at or after this time; Unix seconds.
    pub since: i64,
    /// Instances that others stood in for within this time.
    pub period: Duration,
}

impl RingView {
    /// The part of the ring that takes the writes of `tenant`: `size` instances, spread evenly over the zones. The
    /// whole ring if `size` is 0 or reaches all instances. Read-only instances are not in a shard. A tenant keeps its
    /// instances when others come and go, except for the few that they replace.
    ///
    /// Where there is one copy only, instances that cannot take writes now (dead, leaving, joining) are not in a shard
    /// either: others stand in for them. If no instance takes writes, this is the whole ring, which tells why.
    ///
    /// The algorithm (changing it would move every tenant): for each zone in order of name, or once if zones do not
    /// count, take SplitMix64 seeded with the shuffle seed of tenant and zone. For each of the `ceil(size / zones)`
    /// wanted instances, draw a token (the upper half of the next value), start at the first token of the zone strictly
    /// greater than it, and take the next instance that was not taken yet and may be in a shard.
    pub fn shuffle_shard(self: &Arc<Self>, tenant: &str, size: usize) -> Arc<RingView> {
        if size == 0 || size >= self.writable {
            return Arc::clone(self);
        }
        if let Some((cached, shard)) = self.shards.lock().0.get(tenant)
            && *cached == size
        {
            return Arc::clone(shard);
        }
        let chosen = self.choose(tenant, size, None);
        if chosen.is_empty() {
            return Arc::clone(self);
        }
        let shard = Arc::new(self.part(&chosen));
        let mut cache = self.shards.lock();
        if cache.0.len() < MAX_CACHED_SHARDS || cache.0.contains_key(tenant) {
            cache.0.insert(tenant.into(), (size, Arc::clone(&shard)));
        }
        shard
    }

    /// The part of the ring that may hold data of `tenant`: its shard, plus every instance that joined or became
    /// read-only within the look-back, so that data in an earlier shard is found. Where there is one copy only, plus
    /// those that others stand in for, or did within the look-back: so both they and their stand-ins are in it. The
    /// whole ring if `size` is 0 or reaches all instances.
    ///
    /// Only this process's own views tell when others stood in. What a writer gave to a stand-in is not found if the
    /// instance was never away for this process, because the two judge the silence of an instance by themselves.
    pub fn shuffle_shard_with_look_back(
        self: &Arc<Self>,
        tenant: &str,
        size: usize,
        look_back: LookBack,
    ) -> Arc<RingView> {
        if size == 0 || size >= self.with_tokens {
            return Arc::clone(self);
        }
        Arc::new(self.part(&self.choose(tenant, size, Some(look_back))))
    }

    fn choose(&self, tenant: &str, size: usize, look_back: Option<LookBack>) -> BTreeSet<u32> {
        let mut chosen = BTreeSet::new();
        if !self.zone_awareness {
            let walk = Walk { view: self, zone: None, look_back };
            walk.choose(shuffle_seed(tenant, None), size, &mut chosen);
            return chosen;
        }
        let each = size.div_ceil(self.zones.len().max(1));
        for (number, zone) in self.zones.iter().enumerate() {
            let walk = Walk { view: self, zone: Some(number as u32), look_back };
            walk.choose(shuffle_seed(tenant, Some(zone)), each, &mut chosen);
        }
        chosen
    }

    fn part(&self, chosen: &BTreeSet<u32>) -> RingView {
        let instances = chosen.iter().map(|index| Arc::clone(self.instance(*index))).collect();
        Self::of(self.replication_factor, self.zone_awareness, instances)
    }
}

struct Walk<'view> {
    view: &'view RingView,
    zone: Option<u32>,
    look_back: Option<LookBack>,
}

impl Walk<'_> {
    fn choose(&self, seed: i64, size: usize, chosen: &mut BTreeSet<u32>) {
        let mut random = SplitMix64::new(seed as u64);
        for _ in 0..size {
            if !self.choose_one(random.next_u32(), chosen) {
                return;
            }
        }
    }

    /// Takes one more instance, and those that the look-back adds on the way to it; false if the
    /// zone has none left.
    fn choose_one(&self, key: u32, chosen: &mut BTreeSet<u32>) -> bool {
        let start = self.view.after(key);
        let owners = &self.view.owners;
        for owner in owners[start..].iter().chain(&owners[..start]) {
            let of_zone = self.zone.is_none_or(|zone| self.view.zone_of[*owner as usize] == zone);
            if !of_zone || chosen.contains(owner) {
                continue;
            }
            let instance = self.view.instance(*owner);
            if self.adds(*owner) {
                chosen.insert(*owner);
            } else if !instance.read_only && !self.is_away(instance) {
                chosen.insert(*owner);
                return true;
            }
        }
        false
    }

    /// Whether the look-back takes the instance without counting it.
    fn adds(&self, owner: u32) -> bool {
        let Some(LookBack { since, period }) = self.look_back else { return false };
        let instance = self.view.instance(owner);
        instance.registered >= since
            || instance.read_only_updated >= since
            || self.is_away(instance)
            || self.was_away(owner, period)
    }

    /// Whether another instance stands in for this one. With more copies nobody does: the other copies take its writes.
    fn is_away(&self, instance: &Instance) -> bool {
        self.view.replication_factor == 1 && !instance.is_healthy(Operation::Write)
    }

    /// Whether another instance stood in for this one within `period`.
    fn was_away(&self, owner: u32, period: Duration) -> bool {
        let returned = self.view.returned[owner as usize];
        self.view.replication_factor == 1 && returned.is_some_and(|at| at.elapsed() < period)
    }
}
