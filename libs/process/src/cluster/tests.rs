use tactus_ring::{MembershipSettings, RingSettings, WatchSettings};

use super::*;

/// Waits until the ring shows instance `a` like that.
async fn shows(ring: &Ring, holds: impl Fn(&Instance) -> bool) {
    let mut changes = ring.changes();
    while !ring.view().find("a").is_some_and(|found| holds(found)) {
        changes.changed().await.expect("the ring is there");
    }
}

#[tokio::test]
async fn what_is_asked_of_an_ingester_on_its_way_into_the_ring_is_done() {
    for read_only in [true, false] {
        let alone = MembershipSettings {
            registry: None,
            ..MembershipSettings::alone("p", SelfDescription::default())
        };
        let membership = Membership::start(alone).await.unwrap();
        let watched = WatchSettings::new(RingSettings::new("ingester"));
        let settings = LifecyclerSettings {
            join_after: Duration::from_millis(100),
            ..LifecyclerSettings::new("a", "a:9095")
        };
        let place = Place::new(&membership, (watched, settings), true).await;
        let ring = place.ring();
        place.set_read_only(!read_only);
        let joining = place.join();
        tokio::pin!(joining);
        tokio::select! {
            biased;
            () = shows(&ring, |_| true) => {}
            () = &mut joining => panic!("it is not active at once"),
        }
        assert!(!place.has_joined());
        place.set_read_only(read_only);
        joining.await;
        assert!(place.has_joined());
        let expected = (State::Active, read_only);
        shows(&ring, |found| (found.state, found.read_only) == expected).await;
    }
}
