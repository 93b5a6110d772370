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
async fn service_of_this_process_is_called_directly_only_as_its_own_instance() {
    let place = place(Duration::ZERO).await;
    let own = Arc::new("own".to_owned());
    let called = place.called(Some(own), |instance: &Instance| Arc::new(instance.id.to_string()));
    let name = |id: &str, address: &str| called(&Instance::active(id, address, [])).to_string();
    assert_eq!(name("a", "a:9095"), "own");
    // A dead instance, whose address this process has now.
    assert_eq!(name("b", "a:9095"), "b");
    assert_eq!(name("b", "b:9095"), "b");
    assert_eq!(name("a", "b:9095"), "a");
    assert_eq!(place.own_name(), "collectors/ingester/a");
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
