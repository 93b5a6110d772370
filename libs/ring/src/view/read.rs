//! Reads that ask the whole ring.

use std::sync::Arc;

use super::RingView;
use crate::instance::{Instance, Operation};

/// How many of the instances asked may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// This many instances.
    Instances(usize),
    /// This many zones; one failed instance counts as its whole zone.
    Zones(usize),
}

/// The live instances of the ring to ask, and what their answers are worth.
#[derive(Clone, Debug)]
pub struct ReadSet {
    /// Instances to ask, by id.
    pub instances: Vec<Arc<Instance>>,
    /// How many may fail without a gap in the answer.
    pub tolerance: Tolerance,
    /// Instances of the ring that are not asked because they are not healthy, by id.
    pub unhealthy: Vec<Arc<Instance>>,
    /// How many instances (or zones) the ring lacks. If it is above 0, data may be missing even if all instances
    /// answer, and the answer must be marked partial.
    pub missing: usize,
}

impl ReadSet {
    /// Counts the answers.
    pub fn progress(&self) -> ReadProgress {
        let groups = match self.tolerance {
            Tolerance::Instances(_) => (0..self.instances.len()).collect(),
            Tolerance::Zones(_) => {
                let mut zones: Vec<&str> = self.instances.iter().map(|at| &*at.zone).collect();
                zones.sort_unstable();
                zones.dedup();
                let number = |at: &Arc<Instance>| zones.binary_search(&&*at.zone).unwrap_or(0);
                self.instances.iter().map(number).collect()
            }
        };
        ReadProgress::new(groups, self.tolerance, self.missing)
    }
}

/// Counts the answers of a read of the whole ring.
///
/// Instances form groups: the zones, or each instance by itself. A group has answered when all of
/// its instances have, and failed when one of them has.
#[derive(Clone, Debug)]
pub struct ReadProgress {
    group_of: Vec<usize>,
    waiting: Vec<usize>,
    failed: Vec<bool>,
    tolerated: usize,
    missing: usize,
}

impl ReadProgress {
    fn new(group_of: Vec<usize>, tolerance: Tolerance, missing: usize) -> Self {
        let groups = group_of.iter().max().map_or(0, |last| last + 1);
        let mut waiting = vec![0; groups];
        for group in &group_of {
            waiting[*group] += 1;
        }
        let (Tolerance::Instances(tolerated) | Tolerance::Zones(tolerated)) = tolerance;
        Self { group_of, waiting, failed: vec![false; groups], tolerated, missing }
    }

    /// Instance number `at` of [`ReadSet::instances`] answered. Call once for each.
    pub fn succeeded(&mut self, at: usize) {
        if let Some(group) = self.group_of.get(at) {
            self.waiting[*group] = self.waiting[*group].saturating_sub(1);
        }
    }

    /// Instance number `at` of [`ReadSet::instances`] failed.
    pub fn failed(&mut self, at: usize) {
        if let Some(group) = self.group_of.get(at) {
            self.failed[*group] = true;
        }
    }

    /// Whether the answers so far hold all that the ring can give: the others may be cancelled.
    pub fn is_enough(&self) -> bool {
        let answered = (0..self.failed.len())
            .filter(|group| !self.failed[*group] && self.waiting[*group] == 0)
            .count();
        self.missing == 0 && answered + self.tolerated >= self.failed.len()
    }

    /// Whether the answer will have gaps whatever the others say. The caller then waits for all of
    /// them, to give as much as there is, and marks the answer partial.
    pub fn is_partial(&self) -> bool {
        let failed = self.failed.iter().filter(|failed| **failed).count();
        self.missing > 0 || failed > self.tolerated
    }
}

impl RingView {
    /// The instances to ask for something that any of them may hold.
    ///
    /// Every key is on a majority of its replicas, so all but `replication factor / 2` instances together hold
    /// everything; with zones, all instances of all but a minority of the zones do. Unlike in Tempo, too many unhealthy
    /// instances are not an error: `missing` says how many the ring lacks. Instances that never took a write are not
    /// included: those without tokens that do not answer. A joining one is not asked, but may have spans of its former start.
    pub fn read_set(&self) -> ReadSet {
        let counts =
            |found: &&Arc<Instance>| found.is_healthy(Operation::Read) || !found.tokens.is_empty();
        let (healthy, unhealthy): (Vec<_>, Vec<_>) =
            (self.instances.iter().filter(counts).cloned())
                .partition(|found| found.is_healthy(Operation::Read));
        if self.zone_awareness && self.zones.len() > 1 {
            return self.read_zones(healthy, unhealthy);
        }
        let total = healthy.len() + unhealthy.len();
        let required = total.max(self.replication_factor) - self.replication_factor / 2;
        ReadSet {
            tolerance: Tolerance::Instances(healthy.len().saturating_sub(required)),
            missing: required.saturating_sub(healthy.len()),
            instances: healthy,
            unhealthy,
        }
    }

    fn read_zones(&self, healthy: Vec<Arc<Instance>>, unhealthy: Vec<Arc<Instance>>) -> ReadSet {
        let zones = self.zones.len().min(self.replication_factor);
        let tolerated = (zones / 2 + 1).saturating_sub(1);
        let mut failed: Vec<&str> = unhealthy.iter().map(|found| &*found.zone).collect();
        failed.sort_unstable();
        failed.dedup();
        if failed.len() > tolerated {
            return ReadSet {
                missing: failed.len() - tolerated,
                tolerance: Tolerance::Zones(0),
                instances: healthy,
                unhealthy,
            };
        }
        // The other zones hold everything; what is left of a failed one would only cost time.
        let is_whole = |found: &Arc<Instance>| failed.binary_search(&&*found.zone).is_err();
        let tolerance = Tolerance::Zones(tolerated - failed.len());
        let instances = healthy.into_iter().filter(is_whole).collect();
        ReadSet { instances, tolerance, missing: 0, unhealthy }
    }
}
