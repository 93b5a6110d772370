//! Ingesters that did not answer a query although the others did.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tactus_ring::{Instance, ReadSet, Tolerance};
use tokio::time::Instant;

/// Nobody relies on what such an ingester holds for this long.
const LEFT_OUT_FOR: Duration = Duration::from_secs(10);

/// Those of the last seconds. Another start of one of them was not asked yet.
#[derive(Default)]
pub(super) struct SilentIngesters(Mutex<HashMap<String, Silence>>);

struct Silence {
    since: Instant,
    incarnation: u64,
}

impl SilentIngesters {
    /// These of the ingesters that were asked did not answer.
    pub(super) fn note(&self, asked: &ReadSet, ids: &[String]) {
        let mut silent = self.0.lock();
        silent.retain(|_, silence| silence.since.elapsed() < LEFT_OUT_FOR);
        for instance in asked.instances.iter().filter(|it| ids.iter().any(|id| **id == *it.id)) {
            let silence = Silence { since: Instant::now(), incarnation: instance.incarnation };
            silent.insert(instance.id.to_string(), silence);
        }
    }

    /// It has answered a query for which all were needed. What it holds it may say although it hangs in queries.
    pub(super) fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }

    /// A read set without them, if the others hold everything.
    pub(super) fn leave_out_of(&self, set: ReadSet) -> ReadSet {
        let silent = self.0.lock();
        let is_silent = |it: &&Arc<Instance>| {
            silent.get(&*it.id).is_some_and(|silence| {
                silence.since.elapsed() < LEFT_OUT_FOR && silence.incarnation == it.incarnation
            })
        };
        let ids: HashSet<String> =
            set.instances.iter().filter(is_silent).map(|it| it.id.to_string()).collect();
        let others = without(&set, &ids);
        if others.missing > set.missing { set } else { others }
    }
}

/// A read set without these ingesters, of which fewer may then fail.
pub(super) fn without(set: &ReadSet, ids: &HashSet<String>) -> ReadSet {
    let is_named = |it: &&Arc<Instance>| ids.contains(&*it.id);
    // What is left of a zone is not needed, as long as the other zones hold everything.
    let (has_zones, tolerated) = match set.tolerance {
        Tolerance::Instances(tolerated) => (false, tolerated),
        Tolerance::Zones(tolerated) => (true, tolerated),
    };
    let group = |it: &Arc<Instance>| Arc::clone(if has_zones { &it.zone } else { &it.id });
    let groups: BTreeSet<Arc<str>> = set.instances.iter().filter(is_named).map(group).collect();
    let lacking = groups.len().saturating_sub(tolerated);
    let is_left = |&it: &&Arc<Instance>| {
        if lacking > 0 { !ids.contains(&*it.id) } else { !groups.contains(&group(it)) }
    };
    let left = tolerated.saturating_sub(groups.len());
    ReadSet {
        instances: set.instances.iter().filter(is_left).cloned().collect(),
        tolerance: if has_zones { Tolerance::Zones(left) } else { Tolerance::Instances(left) },
        unhealthy: set.unhealthy.clone(),
        missing: set.missing + lacking,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_without_some_ingesters_says_whether_the_others_hold_everything() {
        let instance = |id: &str| {
            let instance = Instance::active(id, id, vec![1]);
            Arc::new(Instance { zone: id[..1].into(), ..instance })
        };
        let check = |tolerance, ids: &[&str], left: &[&str], expected, missing| {
            let instances = ["a1", "a2", "b1", "b2", "c1"].map(instance).to_vec();
            let set = ReadSet { instances, tolerance, unhealthy: Vec::new(), missing: 0 };
            let set = without(&set, &ids.iter().map(|id| (*id).to_owned()).collect());
            let found: Vec<_> = set.instances.iter().map(|it| &*it.id).collect();
            assert_eq!((&found[..], set.tolerance, set.missing), (left, expected, missing));
        };
        let all = &["a1", "a2", "b1", "b2", "c1"];
        let (one, none) = (Tolerance::Instances(1), Tolerance::Instances(0));
        check(one, &[], all, one, 0);
        check(one, &["z"], all, one, 0);
        check(one, &["b1"], &["a1", "a2", "b2", "c1"], none, 0);
        check(one, &["b1", "c1"], &["a1", "a2", "b2"], none, 1);
        let (one, none) = (Tolerance::Zones(1), Tolerance::Zones(0));
        check(one, &[], all, one, 0);
        check(one, &["b1"], &["a1", "a2", "c1"], none, 0);
        check(one, &["b1", "c1"], &["a1", "a2", "b2"], none, 1);
    }
}
