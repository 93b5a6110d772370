//! Places traces on the ring: the token of each trace, and the replicas of each token, computed once for each view of
//! the ring.

use std::{collections::HashMap, sync::Arc};

use tactus_ring::{Instance, Operation, RingError, RingView};

/// The replica sets of a view, by token.
pub(crate) struct Placement {
    instances: Vec<Arc<Instance>>,
    /// Ascending bounds of key ranges. Keys from the previous bound up to this one, exclusive, belong to the set at the
    /// same index of `set_at`. Keys from the last bound on belong to the first set.
    bounds: Vec<u32>,
    set_at: Vec<u32>,
    sets: Vec<Replicas>,
    /// How many copies of each span the ring asks for, at least 1.
    replication_factor: usize,
}

/// Instances that hold the same keys.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// Indexes of instances, ascending.
    pub(crate) instances: Vec<u32>,
    /// How many of them must store a span.
    pub(crate) min_success: usize,
    /// Instances that may replace one of them, the next on the ring first.
    pub(crate) next: Vec<u32>,
    /// A replacement must be in the zone of the instance it replaces.
    pub(crate) zone_aware: bool,
    /// The reason why spans cannot be written there.
    pub(crate) error: Option<RingError>,
}

/// How a placement chooses instances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// If an instance is not active, use the next one as well.
    pub(crate) extend: bool,
    /// A replacement must be in the zone of the instance it replaces.
    pub(crate) zone_aware: bool,
}

impl Placement {
    /// Works out all sets. Errors: the ring is empty, or no instance takes writes.
    pub(crate) fn new(view: &RingView, choice: Choice) -> Result<Self, RingError> {
        let operation = choice.operation();
        if view.taking_writes() == 0 {
            // No key has replicas then. Asking for each of them walks the whole ring as often as it has tokens.
            view.replicas(0, operation)?;
        }
        let mut owners: Vec<(u32, u32)> = Vec::new();
        for (index, instance) in view.instances().iter().enumerate() {
            owners.extend(instance.tokens.iter().map(|token| (*token, index as u32)));
        }
        owners.sort_unstable();
        owners.dedup_by_key(|(token, _)| *token);
        if owners.is_empty() {
            return Err(RingError::Empty);
        }
        let spares = Spares::new(view, choice, &owners);
        let mut known: HashMap<(Vec<u32>, usize), u32> = HashMap::new();
        let (mut bounds, mut set_at) = (Vec::new(), Vec::<u32>::new());
        let mut sets = Vec::new();
        for (place, &(token, _)) in owners.iter().enumerate() {
            // The key before a token belongs to that token.
            let (mut instances, min_success, error) =
                match view.replicas(token.wrapping_sub(1), operation) {
                    Ok(set) => (set.instances.to_vec(), set.min_success, None),
                    Err(error) => (Vec::new(), usize::MAX, Some(error)),
                };
            instances.sort_unstable();
            let number = *known.entry((instances, min_success)).or_insert_with_key(|(found, _)| {
                let next = spares.after(place, found);
                let instances = found.clone();
                let zone_aware = choice.zone_aware;
                sets.push(Replicas { instances, min_success, next, zone_aware, error });
                sets.len() as u32 - 1
            });
            match set_at.last() {
                Some(last) if *last == number => *bounds.last_mut().unwrap_or(&mut 0) = token,
                _ => {
                    bounds.push(token);
                    set_at.push(number);
                }
            }
        }
        Ok(Self {
            instances: view.instances().to_vec(),
            bounds,
            set_at,
            sets,
            replication_factor: view.replication_factor(),
        })
    }

    /// All sets; never empty.
    pub(crate) fn sets(&self) -> &[Replicas] {
        &self.sets
    }

    /// The replica set, if all traces have the same one.
    pub(crate) fn only_set(&self) -> Option<usize> {
        (self.sets.len() == 1).then_some(0)
    }

    /// The set of the traces with this token.
    pub(crate) fn set_of(&self, token: u32) -> usize {
        let place = self.bounds.partition_point(|bound| *bound <= token);
        self.set_at[if place == self.bounds.len() { 0 } else { place }] as usize
    }

    pub(crate) fn instance(&self, index: u32) -> &Arc<Instance> {
        &self.instances[index as usize]
    }

    pub(crate) fn instances(&self) -> &[Arc<Instance>] {
        &self.instances
    }

    /// True if spans have copies, which readers must then recognise.
    pub(crate) fn has_replicas(&self) -> bool {
        self.replication_factor > 1
    }

    /// How many copies of each span the ring asks for, at least 1.
    pub(crate) fn replication_factor(&self) -> usize {
        self.replication_factor
    }

    /// A name for a set that stays the same when the ring changes.
    pub(crate) fn name_of(&self, set: usize) -> String {
        let ids = self.sets[set].instances.iter().map(|index| &*self.instance(*index).id);
        ids.collect::<Vec<_>>().join("\n")
    }
}

impl Choice {
    fn operation(self) -> Operation {
        if self.extend { Operation::Write } else { Operation::WriteNoExtend }
    }
}

impl std::fmt::Debug for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sets, instances) = (self.sets.len(), self.instances.len());
        f.debug_struct("Placement").field("instances", &instances).field("sets", &sets).finish()
    }
}

/// The instances that take new writes. They may stand in for others.
struct Spares<'a> {
    zone_aware: bool,
    owners: &'a [(u32, u32)],
    /// For each instance the number of its zone; `None` if it takes no writes. Without zones all are in one.
    zone_of: Vec<Option<usize>>,
    /// How many there are in each zone.
    in_zone: Vec<usize>,
}

impl<'a> Spares<'a> {
    fn new(view: &RingView, choice: Choice, owners: &'a [(u32, u32)]) -> Self {
        let mut zones: HashMap<&str, usize> = HashMap::new();
        let mut zone_of = vec![None; view.instances().len()];
        let mut in_zone = Vec::new();
        for &(_, owner) in owners {
            let instance = view.instance(owner);
            let is_fit = instance.is_healthy(choice.operation()) && !instance.read_only;
            let slot = &mut zone_of[owner as usize];
            if !is_fit || slot.is_some() {
                continue;
            }
            let name = if choice.zone_aware { &*instance.zone } else { "" };
            let (free, zone) = (zones.len(), zones.entry(name));
            let zone = *zone.or_insert(free);
            in_zone.resize(zones.len(), 0);
            in_zone[zone] += 1;
            *slot = Some(zone);
        }
        Self { zone_aware: choice.zone_aware, owners, zone_of, in_zone }
    }

    /// Those after a position on the ring that are not in the set, each once. As many as the set has, or with zones two of
    /// each zone.
    fn after(&self, place: usize, set: &[u32]) -> Vec<u32> {
        let mut wanted = self.in_zone.clone();
        for zone in set.iter().filter_map(|at| self.zone_of[*at as usize]) {
            wanted[zone] -= 1;
        }
        let most = if self.zone_aware { 2 } else { set.len() };
        wanted.iter_mut().for_each(|wanted| *wanted = most.min(*wanted));
        // The walk ends where all are found: of most rings it passes a few tokens only.
        let missing: usize = wanted.iter().sum();
        let mut found = Vec::with_capacity(missing);
        for (_, owner) in self.owners[place..].iter().chain(&self.owners[..place]) {
            if found.len() >= missing {
                break;
            }
            let Some(zone) = self.zone_of[*owner as usize] else { continue };
            if wanted[zone] > 0 && !set.contains(owner) && !found.contains(owner) {
                wanted[zone] -= 1;
                found.push(*owner);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
