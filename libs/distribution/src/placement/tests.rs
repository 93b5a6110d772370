use super::*;
use proptest::prelude::*;
use tactus_ring::{Ring, RingSettings, State};

const CHOICE: Choice = Choice { extend: true, zone_aware: false };

fn view(replication_factor: usize, instances: Vec<Instance>) -> Arc<RingView> {
    let settings = RingSettings { replication_factor, ..RingSettings::new("ingester") };
    Ring::fixed(settings, instances).view()
}

fn member(id: &str, tokens: &[u32]) -> Instance {
    Instance::active(id, id, tokens)
}

fn names(placement: &Placement, indexes: &[u32]) -> String {
    indexes.iter().map(|index| placement.instance(*index).id.to_string()).collect()
}

#[test]
fn key_belongs_to_the_first_token_above_it() {
    let members = vec![member("A", &[10]), member("B", &[20]), member("C", &[30])];
    let placement = Placement::new(&view(1, members), CHOICE).unwrap();
    let owner = |key| names(&placement, &placement.sets()[placement.set_of(key)].instances);
    assert_eq!([5, 10, 29, 30, 31, u32::MAX].map(owner), ["A", "B", "C", "A", "A", "A"]);
}

#[test]
fn placement_agrees_with_the_ring_everywhere() {
    let tokens =
        |n: u32| (0..20).map(|t| (t * 7 + n).wrapping_mul(0x9e37_79b9)).collect::<Vec<_>>();
    let mut members: Vec<_> = (0..6).map(|n| member(&n.to_string(), &tokens(n))).collect();
    members[1].state = State::Leaving;
    members[4].alive = false;
    members[5].tokens = vec![0, u32::MAX].into();
    let view = view(3, members);
    let placement = Placement::new(&view, CHOICE).unwrap();
    let edges = view.instances().iter().flat_map(|member| member.tokens.to_vec());
    for key in edges.flat_map(|token| [token.wrapping_sub(1), token, token.wrapping_add(1)]) {
        let set = &placement.sets()[placement.set_of(key)];
        match view.replicas(key, Operation::Write) {
            Ok(found) => {
                let mut instances = found.instances.to_vec();
                instances.sort_unstable();
                assert_eq!((&set.instances, set.min_success), (&instances, found.min_success));
                assert!(set.next.iter().all(|next| !instances.contains(next)));
            }
            Err(_) => assert!(set.error.is_some()),
        }
    }
}

#[test]
fn quorum_is_that_of_the_checks() {
    let healthy: Vec<_> = (0..4u32).map(|n| member(&n.to_string(), &[n * 10])).collect();
    let set = |members: Vec<Instance>| {
        let placement = Placement::new(&view(3, members), CHOICE).unwrap();
        let set = &placement.sets()[placement.set_of(0)];
        (set.instances.len(), set.min_success)
    };
    assert_eq!(set(healthy.clone()), (3, 2));
    let mut leaving = healthy.clone();
    leaving[1].state = State::Leaving;
    assert_eq!(set(leaving), (3, 3));
    let mut stale = healthy;
    stale[1].alive = false;
    assert_eq!(set(stale), (2, 2));
}

#[test]
fn as_many_instances_as_copies_are_one_set() {
    let members: Vec<_> = (0..3u32).map(|n| member(&n.to_string(), &[n, n + 50, n + 9])).collect();
    let placement = Placement::new(&view(3, members), CHOICE).unwrap();
    assert_eq!(placement.only_set(), Some(0));
    assert!(placement.sets()[0].next.is_empty());
    assert!(matches!(Placement::new(&view(3, vec![]), CHOICE), Err(RingError::Empty)));
}

#[test]
fn stand_ins_are_known_for_each_zone() {
    let mut members: Vec<_> = (0..6u32).map(|n| member(&n.to_string(), &[n * 10])).collect();
    for (number, member) in members.iter_mut().enumerate() {
        member.zone = ["x", "y", "z"][number % 3].into();
    }
    let settings = RingSettings {
        replication_factor: 3,
        zone_awareness: true,
        ..RingSettings::new("ingester")
    };
    let view = Ring::fixed(settings, members).view();
    let placement = Placement::new(&view, Choice { zone_aware: true, ..CHOICE }).unwrap();
    let set = &placement.sets()[placement.set_of(5)];
    assert_eq!(names(&placement, &set.instances), "123");
    assert_eq!(names(&placement, &set.next), "450");
}

/// What [`Spares::after`] finds, by a walk of the whole ring.
fn walked(
    view: &RingView,
    choice: Choice,
    owners: &[(u32, u32)],
    place: usize,
    set: &[u32],
) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    for (_, owner) in owners[place..].iter().chain(&owners[..place]) {
        let instance = view.instance(*owner);
        let is_fit = instance.is_healthy(choice.operation()) && !instance.read_only;
        let is_of_zone = |at: &&u32| view.instance(**at).zone == instance.zone;
        let has_room = match choice.zone_aware {
            true => found.iter().filter(is_of_zone).count() < 2,
            false => found.len() < set.len(),
        };
        if is_fit && has_room && !set.contains(owner) && !found.contains(owner) {
            found.push(*owner);
        }
    }
    found
}

proptest! {
    #[test]
    fn stand_ins_are_those_of_a_walk_of_the_whole_ring(
        zone_aware: bool,
        replication_factor in 1usize..4,
        members in prop::collection::vec(
            (0usize..6, 0u8..8, 0u8..8, 0u8..4, prop::collection::vec(any::<u32>(), 0..6)),
            1..16,
        ),
    ) {
        let made = members.into_iter().enumerate().map(|(n, (state, dead, read_only, zone, tokens))| {
            let mut made = member(&n.to_string(), &tokens);
            made.state = *[State::Leaving, State::Pending].get(state).unwrap_or(&State::Active);
            (made.alive, made.read_only) = (dead > 0, read_only == 0);
            made.zone = format!("z{zone}").into();
            made
        });
        let settings = RingSettings {
            replication_factor,
            zone_awareness: zone_aware,
            ..RingSettings::new("ingester")
        };
        let view = Ring::fixed(settings, made.collect()).view();
        let choice = Choice { zone_aware, ..CHOICE };
        let mut owners: Vec<(u32, u32)> = Vec::new();
        for (index, instance) in view.instances().iter().enumerate() {
            owners.extend(instance.tokens.iter().map(|token| (*token, index as u32)));
        }
        owners.sort_unstable();
        owners.dedup_by_key(|(token, _)| *token);
        let spares = Spares::new(&view, choice, &owners);
        for (place, (token, _)) in owners.iter().enumerate() {
            let Ok(set) = view.replicas(token.wrapping_sub(1), choice.operation()) else { continue };
            let expected = walked(&view, choice, &owners, place, &set.instances);
            prop_assert_eq!(spares.after(place, &set.instances), expected);
        }
    }
}
