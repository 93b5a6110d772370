use std::sync::Arc;

use super::*;
use crate::placement::Choice;
use tactus_ring::{Instance, Ring, RingSettings};

fn placement(ingesters: u32, replication_factor: usize, zones: &[&str]) -> Placement {
    let zone_aware = !zones.is_empty();
    let settings = RingSettings {
        replication_factor,
        zone_awareness: zone_aware,
        ..RingSettings::new("ingester")
    };
    let member = |n: u32| {
        let mut member = Instance::active(&n.to_string(), &n.to_string(), [n * 10]);
        if let Some(zone) = zones.get(n as usize) {
            member.zone = Arc::from(*zone);
        }
        member
    };
    let view = Ring::fixed(settings, (0..ingesters).map(member).collect()).view();
    Placement::new(&view, Choice { extend: true, zone_aware }).unwrap()
}

fn refused(spans: u64) -> Result<PushResponse, Status> {
    let (reason, message) = ("too_large".to_owned(), "TOO_LARGE".to_owned());
    let refusals = vec![Refusal { reason, spans, message }];
    Ok(PushResponse { refusals: if spans == 0 { vec![] } else { refusals } })
}

fn told(votes: &Votes<'_>) -> Vec<u64> {
    votes.refusals().iter().map(|refusal| refusal.spans).collect()
}

#[test]
fn two_of_three_replies_decide() {
    let placement = placement(3, 3, &[]);
    // By the replies of two: whether that is enough, and what is told then.
    for (first, second, settled) in [(0, 0, true), (4, 4, true), (0, 4, false), (4, 0, false)] {
        let mut votes = Votes::new(&placement, [(0, 9)].into_iter());
        assert_eq!(votes.first_sends().len(), 3);
        votes.replied(0, refused(first));
        assert!(!votes.is_quorum());
        votes.replied(1, refused(second));
        assert!(votes.is_quorum());
        assert_eq!(votes.is_settled(), settled);
        let worst = first.max(second);
        assert_eq!(told(&votes), if worst > 0 { vec![worst] } else { vec![] });
    }
    for (replies, expected) in [([0, 4, 0], vec![]), ([0, 4, 3], vec![3]), ([5, 4, 0], vec![4])] {
        let mut votes = Votes::new(&placement, [(0, 9)].into_iter());
        votes.first_sends();
        for (call, spans) in replies.into_iter().enumerate() {
            votes.replied(call, refused(spans));
        }
        assert!(votes.is_settled());
        assert_eq!(told(&votes), expected);
    }
}

#[test]
fn minority_of_one_ingester_refuses_nothing_of_any_set() {
    let placement = placement(4, 3, &[]);
    let groups: Vec<(usize, u64)> = (0..placement.sets().len()).map(|set| (set, 10)).collect();
    let mut votes = Votes::new(&placement, groups.iter().copied());
    let sends = votes.first_sends();
    assert_eq!(sends.len(), 4);
    for send in &sends {
        votes.replied(send.call, refused(if send.instance == 2 { 15 } else { 0 }));
    }
    assert!(votes.is_settled());
    assert!(told(&votes).is_empty());
}

#[test]
fn what_all_replicas_refuse_is_told_about_once() {
    let placement = placement(4, 3, &[]);
    let groups: Vec<(usize, u64)> = (0..placement.sets().len()).map(|set| (set, 10)).collect();
    let mut votes = Votes::new(&placement, groups.iter().copied());
    for send in votes.first_sends() {
        votes.replied(send.call, refused(10 * send.groups.len() as u64));
    }
    assert_eq!(told(&votes), [10 * groups.len() as u64]);
}

#[test]
fn stand_ins_fill_the_seats_of_failed_replicas() {
    let placement = placement(5, 3, &[]);
    let mut votes = Votes::new(&placement, [(0, 1)].into_iter());
    let down = || Err(Status::unavailable("down"));
    assert_eq!(votes.first_sends().len(), 3);
    votes.replied(0, down());
    assert!(votes.stand_ins(|_| false, |_| false).is_empty(), "two are still enough");
    votes.replied(1, down());
    let sends = votes.stand_ins(|_| false, |_| false);
    assert_eq!(sends.len(), 1);
    assert!(!placement.sets()[0].instances.contains(&sends[0].instance));
    assert!(votes.failure().is_none());
    votes.replied(sends[0].call, down());
    let more = votes.stand_ins(|_| false, |_| false);
    assert_eq!(more.len(), 1);
    assert_ne!(more[0].instance, sends[0].instance);
    votes.replied(2, refused(0));
    assert!(!votes.is_quorum());
    votes.replied(more[0].call, refused(0));
    assert!(votes.is_quorum() && votes.is_settled());
}

#[test]
fn failure_is_known_when_nobody_is_left() {
    let placement = placement(4, 3, &[]);
    let mut votes = Votes::new(&placement, [(0, 1)].into_iter());
    votes.first_sends();
    votes.replied(0, Err(Status::resource_exhausted("full")));
    votes.replied(1, Err(Status::unavailable("down")));
    let sends = votes.stand_ins(|_| false, |_| false);
    votes.replied(sends[0].call, Err(Status::resource_exhausted("full")));
    assert!(votes.stand_ins(|_| false, |_| false).is_empty());
    assert_eq!(votes.failure().unwrap().code(), Code::ResourceExhausted);
}

#[test]
fn suspect_instances_stand_in_last() {
    let placement = placement(5, 3, &[]);
    let suspect = placement.sets()[0].next[0];
    let mut votes = Votes::new(&placement, [(0, 1)].into_iter());
    votes.first_sends();
    let is_suspect = |at: u32| at == suspect;
    let sends = votes.stand_ins(|_| true, is_suspect);
    // Two are needed, but the replicas may still answer.
    assert_eq!(sends.iter().map(|send| send.instance == suspect).collect::<Vec<_>>(), [false]);
    assert!(votes.stand_ins(|_| true, is_suspect).is_empty(), "each seat is hedged once");
    votes.replied(1, Err(Status::unavailable("down")));
    let sends = votes.stand_ins(|_| true, is_suspect);
    assert_eq!(sends.iter().map(|send| send.instance).collect::<Vec<_>>(), [suspect]);
}

#[test]
fn stand_in_is_of_the_same_zone_where_zones_count() {
    let placement = placement(6, 3, &["x", "y", "z", "x", "y", "z"]);
    let mut votes = Votes::new(&placement, [(0, 1)].into_iter());
    votes.first_sends();
    let zone = |at: u32| placement.instance(at).zone.to_string();
    let sends = votes.stand_ins(|_| true, |_| false);
    assert!(!sends.is_empty());
    for send in sends {
        let (group, seat) = votes.calls[send.call].members[0];
        assert_eq!(zone(votes.groups[group].seats[seat].instance), zone(send.instance));
    }
}
