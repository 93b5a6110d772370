use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::error::RingError;
use crate::ring::Ring;
use crate::tokens::Tokens;

fn settings(replication_factor: usize, zone_awareness: bool) -> RingSettings {
    RingSettings { replication_factor, zone_awareness, ..RingSettings::new("ingester") }
}

fn instance(number: u64, tokens: u32, zones: u64) -> Instance {
    let id = format!("ingester-{number}");
    let tokens = Tokens::Seed { seed: number, count: tokens }.resolve().to_vec();
    let mut instance = Instance::active(&id, &format!("10.0.0.{number}:9095"), tokens);
    if zones > 0 {
        instance.zone = format!("zone-{}", number % zones).into();
    }
    instance
}

fn ring_of(count: u64, replication_factor: usize, zones: u64) -> Arc<RingView> {
    let instances = (0..count).map(|number| instance(number, 32, zones)).collect();
    Arc::new(RingView::new(&settings(replication_factor, zones > 0), instances))
}

/// `count` instances of which those listed are changed.
fn ring_with(
    count: u64,
    replication_factor: usize,
    zones: u64,
    changed: &[u64],
    change: impl Fn(&mut Instance),
) -> Arc<RingView> {
    let instances = (0..count)
        .map(|number| {
            let mut made = instance(number, 32, zones);
            if changed.contains(&number) {
                change(&mut made);
            }
            made
        })
        .collect();
    Arc::new(RingView::new(&settings(replication_factor, zones > 0), instances))
}

fn ids(view: &RingView, set: &ReplicaSet) -> Vec<String> {
    set.instances.iter().map(|index| view.instance(*index).id.to_string()).collect()
}

fn names(view: &RingView) -> Vec<String> {
    view.instances().iter().map(|found| found.id.to_string()).collect()
}

fn number_of(name: &str) -> u64 {
    name.trim_start_matches("ingester-").parse().unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);
const LOOK_BACK: LookBack = LookBack { since: 50, period: MINUTE };

/// Failures that still leave a success.
fn max_errors(set: &ReplicaSet) -> usize {
    set.instances.len() - set.min_success
}

#[test]
fn key_belongs_to_first_token_strictly_greater() {
    let view = RingView::new(
        &settings(1, false),
        vec![
            Instance::active("A", "a:1", [10]),
            Instance::active("B", "b:1", [20]),
            Instance::active("C", "c:1", [30]),
        ],
    );
    let owner = |key| ids(&view, &view.replicas(key, Operation::Write).unwrap()).join("");
    assert_eq!([5, 10, 29, 30, 31].map(owner), ["A", "B", "C", "A", "A"]);
}

#[test]
fn three_healthy_replicas_allow_one_error() {
    let view = ring_of(5, 3, 0);
    let set = view.replicas(7, Operation::Write).unwrap();
    assert_eq!((set.instances.len(), set.min_success, max_errors(&set)), (3, 2, 1));
}

#[test]
fn leaving_replica_is_replaced_and_raises_the_quorum() {
    let whole = ring_of(6, 3, 0);
    let first = whole.replicas(7, Operation::Write).unwrap().instances[0];
    let view = ring_with(6, 3, 0, &[u64::from(first)], |found| found.state = State::Leaving);
    let set = view.replicas(7, Operation::Write).unwrap();
    assert_eq!((set.instances.len(), set.min_success, max_errors(&set)), (3, 3, 0));
    let read = view.replicas(7, Operation::Read).unwrap();
    assert_eq!((read.instances.len(), read.min_success), (3, 2));
}

#[test]
fn stale_replica_is_dropped_and_not_replaced() {
    let whole = ring_of(6, 3, 0);
    let first = whole.replicas(7, Operation::Write).unwrap().instances[0];
    let view = ring_with(6, 3, 0, &[u64::from(first)], |found| found.alive = false);
    let set = view.replicas(7, Operation::Write).unwrap();
    assert_eq!((set.instances.len(), set.min_success, max_errors(&set)), (2, 2, 0));
}

#[test]
fn too_few_live_replicas_is_an_error_that_names_them() {
    let view = ring_with(3, 3, 0, &[0, 1], |found| found.alive = false);
    let error = view.replicas(7, Operation::Write).unwrap_err();
    let RingError::TooFewReplicas { unhealthy, .. } = &error else { panic!("{error:?}") };
    assert_eq!(unhealthy.len(), 2);
    assert!(error.to_string().starts_with(
        "at least 2 live replicas required, could only find 1 - unhealthy instances: 10.0.0."
    ));
    let zoned = ring_with(3, 3, 3, &[0, 1], |found| found.alive = false);
    assert!(zoned.replicas(7, Operation::Write).unwrap_err().to_string().starts_with(
        "at least 2 live replicas required across different availability zones, could only find 1 - "
    ));
    assert_eq!(ring_of(0, 3, 0).replicas(7, Operation::Write).unwrap_err(), RingError::Empty);
}

#[test]
fn two_copies_need_one_success() {
    let view = ring_with(2, 2, 0, &[0], |found| found.alive = false);
    let set = view.replicas(7, Operation::Write).unwrap();
    assert_eq!((set.instances.len(), set.min_success), (1, 1));
}

#[test]
fn read_only_instance_takes_no_writes_and_is_read() {
    let view = ring_with(4, 3, 0, &[2], |found| found.read_only = true);
    for key in (0..u32::MAX).step_by(1 << 24) {
        let set = view.replicas(key, Operation::Write).unwrap();
        assert_eq!(set.instances.len(), 3);
        assert!(!set.instances.contains(&2));
    }
    assert_eq!(view.read_set().instances.len(), 4);
    assert_eq!((view.healthy_count(Operation::Write), view.taking_writes()), (4, 3));
}

#[test]
fn token_claimed_twice_goes_to_the_smaller_id_unless_it_leaves() {
    let claim = |state_of_a| {
        let mut a = Instance::active("a", "a:1", [7]);
        a.state = state_of_a;
        let view = RingView::new(&settings(1, false), vec![Instance::active("b", "b:1", [7]), a]);
        ids(&view, &view.replicas(0, Operation::Read).unwrap()).join("")
    };
    assert_eq!(claim(State::Active), "a");
    assert_eq!(claim(State::Leaving), "b");
}

#[test]
fn read_set_tolerates_half_the_replication_factor() {
    let one = ring_with(5, 1, 0, &[3], |found| found.alive = false).read_set();
    assert_eq!((one.missing, one.instances.len(), one.unhealthy.len()), (1, 4, 1));

    let whole = ring_of(10, 3, 0).read_set();
    assert_eq!((whole.missing, whole.tolerance), (0, Tolerance::Instances(1)));
    let short = ring_with(10, 3, 0, &[4], |found| found.alive = false).read_set();
    assert_eq!((short.missing, short.tolerance), (0, Tolerance::Instances(0)));
    let broken = ring_with(10, 3, 0, &[4, 5], |found| found.alive = false).read_set();
    assert_eq!(broken.missing, 1);
}

#[test]
fn joining_instance_is_not_asked_but_may_have_spans() {
    let joining = |found: &mut Instance| found.state = State::Joining;
    let set = ring_with(5, 1, 0, &[3], joining).read_set();
    assert_eq!((set.missing, set.instances.len(), set.unhealthy.len()), (1, 4, 1));
    let set = ring_with(5, 3, 0, &[3], joining).read_set();
    assert_eq!((set.missing, set.tolerance), (0, Tolerance::Instances(0)));
}

#[test]
fn read_set_with_zones_tolerates_a_zone_in_full() {
    let set = ring_of(9, 3, 3).read_set();
    assert_eq!((set.tolerance, set.missing), (Tolerance::Zones(1), 0));
    let zone_down = ring_with(9, 3, 3, &[0, 3, 6], |found| found.alive = false).read_set();
    assert_eq!((zone_down.tolerance, zone_down.missing), (Tolerance::Zones(0), 0));
    let one_down = ring_with(9, 3, 3, &[0], |found| found.alive = false).read_set();
    assert_eq!(one_down.instances.len(), 6, "the rest of the zone is not asked");
    let two_zones = ring_with(9, 3, 3, &[0, 1], |found| found.alive = false).read_set();
    assert_eq!((two_zones.missing, two_zones.instances.len()), (1, 7));
}

#[test]
fn read_is_enough_when_all_but_the_tolerated_answered() {
    let mut progress = ring_of(4, 3, 0).read_set().progress();
    progress.succeeded(0);
    progress.failed(1);
    assert!(!progress.is_enough() && !progress.is_partial());
    progress.succeeded(2);
    progress.succeeded(3);
    assert!(progress.is_enough());

    let mut zones = ring_of(6, 3, 3).read_set().progress();
    for at in [0, 3, 1] {
        zones.succeeded(at);
    }
    assert!(!zones.is_enough(), "the second zone has answered in part");
    zones.failed(2);
    zones.succeeded(4);
    assert!(zones.is_enough() && !zones.is_partial());
    zones.failed(1);
    assert!(zones.is_partial());
}

#[test]
fn job_of_a_dead_owner_goes_to_the_next_instance() {
    let whole = ring_of(3, 1, 0);
    let owner = whole.owner_of(99).unwrap().id.to_string();
    assert!(whole.owns(99, &owner));
    let number: u64 = owner.trim_start_matches("ingester-").parse().unwrap();
    let view = ring_with(3, 1, 0, &[number], |found| found.alive = false);
    let heir = view.owner_of(99).unwrap();
    assert!(*heir.id != *owner && view.owns(99, &heir.id) && !view.owns(99, &owner));
}

#[test]
fn ownership_adds_up_to_one() {
    let shares = ring_of(7, 3, 0).ownership();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && shares.iter().all(|at| *at > 0.0));
    let single = RingView::new(&settings(1, false), vec![Instance::active("a", "a:1", [9])]);
    assert_eq!(single.ownership(), [1.0]);
}

#[test]
fn excluded_zones_and_left_instances_are_not_in_a_view() {
    let mut left = instance(1, 4, 3);
    left.state = State::Left;
    let instances = vec![instance(0, 4, 3), left, instance(2, 4, 3)];
    let settings = RingSettings { excluded_zones: vec!["zone-2".into()], ..settings(1, true) };
    let view = RingView::new(&settings, instances);
    assert_eq!(view.instances().len(), 1);
    assert!(view.find("ingester-0").is_some() && view.find("ingester-1").is_none());
}

#[test]
fn shard_of_a_tenant_is_fixed() {
    let view = ring_of(10, 3, 0);
    assert_eq!(
        names(&view.shuffle_shard("tenant-a", 3)),
        ["ingester-0", "ingester-1", "ingester-7"],
        "changing the choice moves every tenant"
    );
    assert!(Arc::ptr_eq(&view.shuffle_shard("tenant-a", 0), &view));
    assert!(Arc::ptr_eq(&view.shuffle_shard("tenant-a", 10), &view));
    let again = view.shuffle_shard("tenant-a", 3);
    assert!(Arc::ptr_eq(&again, &view.shuffle_shard("tenant-a", 3)), "kept while the view lives");
}

#[test]
fn shard_is_spread_over_the_zones() {
    let shard = ring_of(12, 3, 3).shuffle_shard("tenant-a", 4);
    let mut zones: Vec<_> = shard.instances().iter().map(|found| &*found.zone).collect();
    zones.sort_unstable();
    assert_eq!(zones, ["zone-0", "zone-0", "zone-1", "zone-1", "zone-2", "zone-2"]);
}

#[test]
fn look_back_adds_what_joined_since() {
    let old = ring_of(10, 1, 0);
    let shard = old.shuffle_shard("tenant-a", 3);
    for joined in 0..10 {
        let view = ring_with(10, 1, 0, &[joined], |found| found.registered = 100);
        let wide = view.shuffle_shard_with_look_back("tenant-a", 3, LOOK_BACK);
        let held = |id: &str| wide.find(id).is_some();
        // Whoever held the tenant's data while the new instance was not there is in the shard.
        let without = (0..10).filter(|at| *at != joined).map(|at| instance(at, 32, 0)).collect();
        let before = Arc::new(RingView::new(&settings(1, false), without));
        let before = before.shuffle_shard("tenant-a", 3);
        assert!(before.instances().iter().all(|found| held(&found.id)), "{joined}");
        assert!(shard.instances().iter().all(|found| held(&found.id)), "{joined}");
    }
}

#[test]
fn others_stand_in_for_an_instance_of_a_shard_that_is_away_if_there_is_one_copy() {
    let shard = names(&ring_of(10, 1, 0).shuffle_shard("tenant-a", 3));
    let changes: [fn(&mut Instance); 2] =
        [|instance| instance.alive = false, |instance| instance.state = State::Leaving];
    for (away, change) in shard.iter().flat_map(|away| changes.map(|change| (away, change))) {
        let view = ring_with(10, 1, 0, &[number_of(away)], change);
        let writes = names(&view.shuffle_shard("tenant-a", 3));
        assert!(writes.len() == 3 && !writes.contains(away), "{writes:?}");
        assert!(shard.iter().all(|held| held == away || writes.contains(held)), "{writes:?}");
        let reads = names(&view.shuffle_shard_with_look_back("tenant-a", 3, LOOK_BACK));
        assert!(reads.len() == 4 && shard.iter().chain(&writes).all(|held| reads.contains(held)));
        let copied = ring_with(10, 3, 0, &[number_of(away)], change);
        let copied = names(&copied.shuffle_shard("tenant-a", 3));
        assert_eq!(copied, shard, "the other copies take its writes");
    }
}

#[tokio::test(start_paused = true)]
async fn stand_in_is_read_until_the_look_back_after_the_instance_is_back_has_passed() {
    let instances = || (0..10).map(|number| instance(number, 32, 0)).collect::<Vec<_>>();
    let ring = Ring::fixed(settings(1, false), instances());
    let writes = || names(&ring.view().shuffle_shard("tenant-a", 3));
    let reads = || names(&ring.view().shuffle_shard_with_look_back("tenant-a", 3, LOOK_BACK));
    let shard = writes();
    assert_eq!(reads(), shard);
    let away = number_of(&shard[0]) as usize;
    let mut without = instances();
    without[away].alive = false;
    ring.replace(without);
    let stand_ins = writes();
    ring.replace(instances());
    assert_eq!(writes(), shard);
    tokio::time::advance(MINUTE / 2).await;
    let mut changed = instances();
    changed[away].registered = 7;
    ring.replace(changed);
    tokio::time::advance(MINUTE / 2 - Duration::from_secs(1)).await;
    assert!(reads().len() == 4 && stand_ins.iter().all(|held| reads().contains(held)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(reads(), shard);
}

#[test]
fn ring_without_an_instance_for_writes_says_which_are_missing() {
    let refusal = |view: Arc<RingView>| {
        let shard = view.shuffle_shard("tenant-a", 1);
        shard.replicas(7, Operation::Write).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(ring_with(3, 1, 0, &[0, 1, 2], |instance| instance.alive = false)),
        "empty ring: none of 3 instances takes writes, 0 of them read-only - \
         unhealthy instances: 10.0.0.0:9095,10.0.0.1:9095,10.0.0.2:9095"
    );
    assert_eq!(
        refusal(ring_with(3, 3, 0, &[0, 1, 2], |instance| instance.read_only = true)),
        "empty ring: none of 3 instances takes writes, 3 of them read-only"
    );
    assert_eq!(refusal(ring_of(0, 1, 0)), "empty ring");
}

proptest! {
    #[test]
    fn every_key_has_distinct_replicas_in_distinct_zones(
        count in 3u64..20, key: u32, zones in prop_oneof![Just(0u64), Just(3u64)],
    ) {
        let view = ring_of(count, 3, zones);
        let set = view.replicas(key, Operation::Write).unwrap();
        let distinct: HashSet<_> = set.instances.iter().collect();
        prop_assert_eq!(distinct.len(), 3);
        if zones > 0 {
            let zones: HashSet<_> =
                set.instances.iter().map(|index| view.instance(*index).zone.clone()).collect();
            prop_assert_eq!(zones.len(), 3);
        }
    }

    #[test]
    fn new_instance_takes_keys_from_others_and_moves_nothing_between_them(
        count in 1u64..15, keys in prop::collection::vec(any::<u32>(), 200),
    ) {
        let (before, after) = (ring_of(count, 1, 0), ring_of(count + 1, 1, 0));
        let new = format!("ingester-{count}");
        for key in keys {
            let was = ids(&before, &before.replicas(key, Operation::Write).unwrap());
            let is = ids(&after, &after.replicas(key, Operation::Write).unwrap());
            prop_assert!(was == is || is == [new.clone()]);
        }
    }

    #[test]
    fn shard_changes_by_at_most_one_when_one_instance_joins(
        count in 5u64..20, size in 1usize..5, tenant in "[a-z]{1,8}", zoned: bool,
    ) {
        let zones = if zoned { 3 } else { 0 };
        let names = |view: Arc<RingView>| -> HashSet<String> {
            view.shuffle_shard(&tenant, size).instances().iter().map(|at| at.id.to_string()).collect()
        };
        let (before, after) = (names(ring_of(count, 3, zones)), names(ring_of(count + 1, 3, zones)));
        prop_assert!(before.difference(&after).count() <= 1);
    }

    #[test]
    fn lookups_never_panic(
        states in prop::collection::vec((0u8..5, any::<bool>(), any::<bool>(), 0u64..4, 0u32..6), 0..12),
        key: u32, replication_factor in 1usize..6, zoned: bool,
    ) {
        let states = states.into_iter().enumerate().map(|(number, (state, alive, read_only, zone, tokens))| {
            let mut made = instance(number as u64, tokens, 0);
            made.zone = format!("z{zone}").into();
            made.state = [State::Active, State::Leaving, State::Pending, State::Joining, State::Left][state as usize];
            (made.alive, made.read_only) = (alive, read_only);
            made
        });
        let view = Arc::new(RingView::new(&settings(replication_factor, zoned), states.collect()));
        for operation in [Operation::Write, Operation::WriteNoExtend, Operation::Read, Operation::Reporting] {
            if let Ok(set) = view.replicas(key, operation) {
                let distinct: HashSet<_> = set.instances.iter().collect();
                prop_assert_eq!(distinct.len(), set.instances.len());
                prop_assert!(set.min_success >= 1 && set.min_success <= set.instances.len());
                prop_assert!(set.instances.iter().all(|at| view.instance(*at).is_healthy(operation)));
            }
        }
        view.read_set().progress().is_enough();
        view.owner_of(key);
        view.ownership();
        view.shuffle_shard("t", 2).read_set();
        view.shuffle_shard_with_look_back("t", 2, LookBack { since: 0, ..LOOK_BACK });
    }
}
