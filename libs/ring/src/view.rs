//! An immutable view of a ring, and the lookups on it.

mod read;
mod replicas;
mod shard;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::read::{ReadProgress, ReadSet, Tolerance};
pub use self::replicas::ReplicaSet;
pub use self::shard::LookBack;
use self::shard::ShardCache;
use crate::instance::{Instance, Operation, State};
use crate::settings::RingSettings;

/// The instances of a ring at one moment. Immutable. An index identifies an instance only within this view.
pub struct RingView {
    replication_factor: usize,
    zone_awareness: bool,
    /// By id.
    instances: Vec<Arc<Instance>>,
    /// When each instance last became fit for writes again, as far as the views before this one show it.
    returned: Vec<Option<Instant>>,
    /// Number of the zone of each instance.
    zone_of: Vec<u32>,
    /// Names of the zones that own tokens, ascending.
    zones: Vec<Arc<str>>,
    /// All tokens, ascending; the instance of each is at the same place in `owners`.
    tokens: Vec<u32>,
    owners: Vec<u32>,
    /// Instances that own tokens, and those of them that take writes.
    with_tokens: usize,
    writable: usize,
    shards: Mutex<ShardCache>,
}

impl RingView {
    /// A view of `instances`. Of two with one id the first is taken. Instances that left, and
    /// those of excluded zones, are not in it. A token that several claim goes to the one that is
    /// not leaving, else to the smaller id.
    pub fn new(settings: &RingSettings, instances: Vec<Instance>) -> Self {
        let instances = Self::admitted(settings, instances);
        Self::of(settings.replication_factor.max(1), settings.zone_awareness, instances)
    }

    /// A view of `instances`, unless it would be the same as this one.
    pub(crate) fn renewed(
        &self,
        settings: &RingSettings,
        instances: Vec<Instance>,
    ) -> Option<RingView> {
        let instances = Self::admitted(settings, instances);
        // Sorting the tokens is expensive, and most refreshes find no change.
        if instances == self.instances {
            return None;
        }
        let now = Instant::now();
        let returned = instances.iter().map(|next| self.returned(next, now)).collect();
        let view = Self::of(self.replication_factor, self.zone_awareness, instances);
        Some(Self { returned, ..view })
    }

    /// When an instance of the next view became fit for writes again, if it ever did.
    fn returned(&self, next: &Instance, now: Instant) -> Option<Instant> {
        let is_fit = next.is_healthy(Operation::Write);
        match self.index_of(&next.id) {
            Some(at) if !is_fit || self.instances[at].is_healthy(Operation::Write) => {
                self.returned[at]
            }
            // What the first view shows was not away.
            None if self.instances.is_empty() => None,
            _ => Some(now),
        }
    }

    /// The instances that a view shows, by id.
    fn admitted(settings: &RingSettings, instances: Vec<Instance>) -> Vec<Arc<Instance>> {
        let mut by_id = BTreeMap::new();
        for instance in instances {
            let excluded = settings.excluded_zones.iter().any(|zone| **zone == *instance.zone);
            if instance.state != State::Left && !excluded {
                by_id.entry(Arc::clone(&instance.id)).or_insert_with(|| Arc::new(instance));
            }
        }
        by_id.into_values().collect()
    }

    /// `instances` must be sorted by id.
    fn of(replication_factor: usize, zone_awareness: bool, instances: Vec<Arc<Instance>>) -> Self {
        let mut zones: Vec<Arc<str>> = instances
            .iter()
            .filter(|instance| !instance.tokens.is_empty())
            .map(|instance| Arc::clone(&instance.zone))
            .collect();
        zones.sort_unstable();
        zones.dedup();
        // An instance without tokens is never met on a walk; its zone's number does not matter.
        let zone_of = instances
            .iter()
            .map(|instance| zones.binary_search(&instance.zone).unwrap_or(0) as u32)
            .collect();
        let (tokens, owners) = place_tokens(&instances);
        let owning = || instances.iter().filter(|instance| !instance.tokens.is_empty());
        Self {
            replication_factor,
            zone_awareness,
            with_tokens: owning().count(),
            writable: owning().filter(|instance| !instance.read_only).count(),
            returned: vec![None; instances.len()],
            zone_of,
            zones,
            tokens,
            owners,
            instances,
            shards: Mutex::default(),
        }
    }

    /// All instances, by id.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.instances
    }

    /// The instance at an index that this view gave.
    ///
    /// # Panics
    /// If the index is of another view and too large.
    pub fn instance(&self, index: u32) -> &Arc<Instance> {
        &self.instances[index as usize]
    }

    /// True if an instance is about to enter: which keys it holds is not known yet.
    pub fn has_pending(&self) -> bool {
        let is_pending = |at: &Arc<Instance>| at.state == State::Pending && at.tokens.is_empty();
        self.instances.iter().any(is_pending)
    }

    /// The instance named `id`.
    pub fn find(&self, id: &str) -> Option<&Arc<Instance>> {
        self.index_of(id).map(|at| &self.instances[at])
    }

    fn index_of(&self, id: &str) -> Option<usize> {
        self.instances.binary_search_by(|instance| (*instance.id).cmp(id)).ok()
    }

    /// Copies of each key.
    pub fn replication_factor(&self) -> usize {
        self.replication_factor
    }

    /// Tokens in the ring, each counted once.
    pub(crate) fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// Live instances that serve `operation`. The global rate limit divides by it.
    pub fn healthy_count(&self, operation: Operation) -> usize {
        self.instances.iter().filter(|instance| instance.is_healthy(operation)).count()
    }

    /// Live instances that new keys are written to: healthy, and not read-only.
    pub fn taking_writes(&self) -> usize {
        let takes = |at: &&Arc<Instance>| at.is_healthy(Operation::Write) && !at.read_only;
        self.instances.iter().filter(takes).count()
    }

    /// Share of the keys that each instance is first for, in the order of [`RingView::instances`];
    /// the shares add up to 1 unless the ring has no tokens.
    pub fn ownership(&self) -> Vec<f64> {
        let mut owned = vec![0u64; self.instances.len()];
        let mut previous = self.tokens.last().copied().unwrap_or(0);
        for (token, owner) in self.tokens.iter().zip(&self.owners) {
            let width = token.wrapping_sub(previous);
            // A single token owns everything, though its distance to itself is 0.
            let width = if self.tokens.len() == 1 { 1 << 32 } else { u64::from(width) };
            owned[*owner as usize] += width;
            previous = *token;
        }
        owned.into_iter().map(|width| width as f64 / (1u64 << 32) as f64).collect()
    }

    /// The live and active instance that does the job with this hash (see
    /// [`owns_hash`](crate::owns_hash)): the next one after it that is fit to, so that a dead
    /// instance's jobs go on. `None` only if there is none.
    pub fn owner_of(&self, hash: u32) -> Option<&Arc<Instance>> {
        let start = self.after(hash);
        let fit = |at: &usize| self.instances[*at].is_healthy(Operation::Write);
        let owners = self.owners[start..].iter().chain(&self.owners[..start]);
        owners.map(|owner| *owner as usize).find(fit).map(|at| &self.instances[at])
    }

    /// Whether the instance named `id` does the job with this hash.
    pub fn owns(&self, hash: u32, id: &str) -> bool {
        self.owner_of(hash).is_some_and(|owner| *owner.id == *id)
    }

    /// Place of the first token strictly greater than `key`, wrapping at the end.
    fn after(&self, key: u32) -> usize {
        let at = self.tokens.partition_point(|token| *token <= key);
        if at == self.tokens.len() { 0 } else { at }
    }
}

/// All tokens in order, and the index of the owner of each.
fn place_tokens(instances: &[Arc<Instance>]) -> (Vec<u32>, Vec<u32>) {
    let mut placed: Vec<(u32, bool, u32)> = Vec::new();
    for (index, instance) in instances.iter().enumerate() {
        let leaving = instance.state == State::Leaving;
        placed.extend(instance.tokens.iter().map(|token| (*token, leaving, index as u32)));
    }
    // Of those that claim one token the winner comes first: not leaving, then the smaller id.
    placed.sort_unstable();
    placed.dedup_by_key(|(token, _, _)| *token);
    placed.into_iter().map(|(token, _, owner)| (token, owner)).unzip()
}

impl std::fmt::Debug for RingView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<(&str, State, bool)> = self
            .instances
            .iter()
            .map(|instance| (&*instance.id, instance.state, instance.alive))
            .collect();
        formatter.debug_struct("RingView").field("instances", &ids).finish_non_exhaustive()
    }
}
