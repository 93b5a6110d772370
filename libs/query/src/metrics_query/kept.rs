//! Compares which traces ingesters kept after tail sampling dropped some.
//!
//! Usually all of them decided the same. Then any of them counts for all, and they need not be told what the others
//! kept.

use std::collections::{HashMap, HashSet};

use tactus_model::OriginSet;
use tactus_proto::tactus::v1::Holder;

/// Removes from what ingesters kept everything but the origins that they decided differently and that none of them has
/// completely.
pub(super) fn leave_differing(holders: &mut [Holder]) {
    if holders.iter().all(|holder| holder.kept.is_empty()) {
        return;
    }
    let differing = differing(holders);
    for holder in holders {
        holder.kept.retain(|kept| differing.contains(&kept.origin));
    }
}

fn differing(holders: &[Holder]) -> HashSet<u64> {
    let all: Vec<_> = holders.iter().map(Kept::of).collect();
    let origins: HashSet<u64> = all.iter().flat_map(|kept| kept.traces.keys().copied()).collect();
    let is_differing = |&origin: &u64| {
        let is_whole = all.iter().any(|kept| kept.whole.contains(origin));
        let mut thinned = all.iter().filter(|kept| kept.thinned.contains(origin));
        let first = thinned.next().map(|kept| kept.of_origin(origin));
        !is_whole && thinned.any(|kept| Some(kept.of_origin(origin)) != first)
    };
    origins.into_iter().filter(is_differing).collect()
}

/// What one ingester reported.
struct Kept<'h> {
    whole: OriginSet,
    thinned: OriginSet,
    traces: HashMap<u64, &'h [u32]>,
}

impl<'h> Kept<'h> {
    fn of(holder: &'h Holder) -> Self {
        // Invalid bounds count as none here; the ingester refuses them.
        let set = |bounds: &[u64]| OriginSet::from_bounds(bounds).unwrap_or_default();
        let thinned = set(&holder.thinned);
        let traces = holder.kept.iter().map(|kept| (kept.origin, kept.traces.as_slice())).collect();
        Self { whole: set(&holder.complete).without(&thinned), thinned, traces }
    }

    fn of_origin(&self, origin: u64) -> &'h [u32] {
        self.traces.get(&origin).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_proto::tactus::v1::KeptTraces;

    fn holder(complete: &[u64], thinned: &[u64], kept: &[(u64, &[u32])]) -> Holder {
        let kept =
            kept.iter().map(|&(origin, traces)| KeptTraces { origin, traces: traces.to_vec() });
        Holder {
            complete: complete.to_vec(),
            thinned: thinned.to_vec(),
            kept: kept.collect(),
            ..Holder::default()
        }
    }

    #[test]
    fn only_origins_that_ingesters_differ_about_are_left() {
        let mut holders = [
            holder(&[1, 9], &[1, 6], &[(1, &[7, 8]), (2, &[7]), (3, &[5]), (4, &[1]), (6, &[3])]),
            // The same of 1, another trace of 2, nothing of 3, all of 4; it never had 6.
            holder(&[1, 5], &[1, 3], &[(1, &[7, 8]), (2, &[9])]),
        ];
        leave_differing(&mut holders);
        let left = |holder: &Holder| holder.kept.iter().map(|it| it.origin).collect::<Vec<_>>();
        assert_eq!((left(&holders[0]), left(&holders[1])), (vec![2, 3], vec![2]));
    }
}
