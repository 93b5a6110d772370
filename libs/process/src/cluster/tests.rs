use futures_util::FutureExt;
use tactus_ring::{MembershipSettings, RingSettings, WatchSettings};

use super::*;

/// Waits until the ring shows instance `a` like that.
async fn shows(ring: &Ring, holds: impl Fn(&Instance) -> bool) {
    let mut changes = ring.changes();
    while !ring.view().find("a").is_some_and(|found| holds(found)) {
        changes.changed().await.expect("the ring is there");
    }
}

/// The place of instance `a`, which is active after `join_after`.
async fn place(join_after: Duration) -> Place {
    let alone = MembershipSettings {
        registry: None,
        ..MembershipSettings::alone("p", SelfDescription::default())
    };
    let membership = Membership::start(alone).await.unwrap();
    let watched = WatchSettings::new(RingSettings::new("ingester"));
    let settings = LifecyclerSettings { join_after, ..LifecyclerSettings::new("a", "a:9095") };
    Place::new(&membership, (watched, settings), true).await
}

#[tokio::test]
async fn place_whose_start_was_given_up_is_given_up() {
    for join_after in [Duration::ZERO, Duration::from_secs(3600)] {
        let place = place(join_after).await;
        assert!(place.join().now_or_never().is_none(), "it is not active at once");
        place.leave().await;
        assert!(place.ring().view().find("a").is_none());
    }
}

#[tokio::test]
async fn what_is_asked_of_an_ingester_on_its_way_into_the_ring_is_done() {
    for read_only in [true, false] {
        let place = place(Duration::from_millis(100)).await;
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
