//! The replicas of a key.

use smallvec::SmallVec;

use super::RingView;
use crate::error::RingError;
use crate::instance::Operation;

/// Most instances that an error about the whole ring names.
const MAX_NAMED: usize = 10;

/// The live instances that hold a key, and how many of them must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Indexes for [`RingView::instance`], distinct, in the order of the walk.
    pub instances: SmallVec<[u32; 8]>,
    /// Instances that must succeed; at most as many as there are.
    pub min_success: usize,
}

impl RingView {
    /// The live replicas of `key`.
    ///
    /// The walk starts at the first token strictly greater than the key and takes distinct
    /// instances, one (or replication factor / zones) of each zone if zones count. Replicas in a
    /// state that extends the set are replaced by a further one; dead ones are not. Read-only
    /// instances are passed over by writes, and where there is one copy only, dead ones as well: another
    /// instance takes what is written meanwhile. Costs a binary search and no allocation.
    ///
    /// Errors: [`RingError::Empty`]; [`RingError::NoneTakesWrites`] if all are passed over; or
    /// [`RingError::TooFewReplicas`] if fewer than a majority (one, at a replication factor of 2) are live.
    pub fn replicas(&self, key: u32, operation: Operation) -> Result<ReplicaSet, RingError> {
        let mut instances = self.walk(key, operation);
        let total = instances.len();
        if total == 0 {
            return Err(self.none(operation));
        }
        let min_success = self.min_success(total);
        instances.retain(|index| self.instance(*index).is_healthy(operation));
        if instances.len() < min_success {
            return Err(self.too_few(key, operation, min_success, instances.len()));
        }
        Ok(ReplicaSet { instances, min_success })
    }

    /// Why a key has no replicas, dead or alive.
    #[cold]
    fn none(&self, operation: Operation) -> RingError {
        if self.with_tokens == 0 {
            return RingError::Empty;
        }
        let owning = self.instances.iter().filter(|instance| !instance.tokens.is_empty());
        let unhealthy = owning.filter(|instance| !instance.is_healthy(operation)).take(MAX_NAMED);
        RingError::NoneTakesWrites {
            instances: self.with_tokens,
            read_only: self.with_tokens - self.writable,
            unhealthy: unhealthy.map(|instance| instance.address.to_string()).collect(),
        }
    }

    #[cold]
    fn too_few(&self, key: u32, operation: Operation, required: usize, found: usize) -> RingError {
        let walked = self.walk(key, operation).into_iter().map(|index| self.instance(index));
        let unhealthy = walked.filter(|instance| !instance.is_healthy(operation));
        RingError::TooFewReplicas {
            required,
            found,
            across_zones: self.zone_awareness,
            unhealthy: unhealthy.map(|instance| instance.address.to_string()).collect(),
        }
    }

    /// A majority of the set, or of the replication factor if that is larger. Two copies need one
    /// success only: they are eventually consistent.
    fn min_success(&self, total: usize) -> usize {
        if self.replication_factor <= 2 {
            return 1;
        }
        self.replication_factor.max(total) / 2 + 1
    }

    /// The replicas of a key, dead or alive.
    fn walk(&self, key: u32, operation: Operation) -> SmallVec<[u32; 8]> {
        let mut taken: SmallVec<[u32; 8]> = SmallVec::new();
        let skips_read_only = operation.writes();
        let skips_dead = operation == Operation::Write && self.replication_factor == 1;
        let reachable = if skips_read_only { self.writable } else { self.with_tokens };
        let mut zones = ZoneRoom::new(self);
        let mut wanted = self.replication_factor;
        let start = self.after(key);
        for owner in self.owners[start..].iter().chain(&self.owners[..start]) {
            if taken.len() >= wanted.min(reachable) || zones.is_full() {
                break;
            }
            let instance = &self.instances[*owner as usize];
            let zone = self.zone_of[*owner as usize] as usize;
            let skip = (skips_read_only && instance.read_only)
                || (skips_dead && !instance.is_healthy(operation));
            if skip || taken.contains(owner) || !zones.has_room(zone) {
                continue;
            }
            taken.push(*owner);
            if operation.extends(instance.state) {
                wanted += 1;
            } else {
                zones.take(zone);
            }
        }
        taken
    }
}

/// How many instances of each zone may still be taken.
struct ZoneRoom {
    /// Empty if zones do not count.
    left: SmallVec<[u32; 8]>,
    open: usize,
}

impl ZoneRoom {
    fn new(view: &RingView) -> Self {
        if !view.zone_awareness || view.zones.is_empty() {
            return Self { left: SmallVec::new(), open: 1 };
        }
        let each = (view.replication_factor / view.zones.len()).max(1);
        Self { left: SmallVec::from_elem(each as u32, view.zones.len()), open: view.zones.len() }
    }

    fn is_full(&self) -> bool {
        self.open == 0
    }

    fn has_room(&self, zone: usize) -> bool {
        self.left.get(zone).is_none_or(|left| *left > 0)
    }

    fn take(&mut self, zone: usize) {
        if let Some(left) = self.left.get_mut(zone) {
            *left -= 1;
            self.open -= usize::from(*left == 0);
        }
    }
}
