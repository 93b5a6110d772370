use std::net::SocketAddr;

use super::*;
use crate::testing::{Node, place, settings, until, watch_settings};
use crate::{Membership, MembershipSettings, SelfDescription};

async fn alone() -> (Membership, Arc<Ring>) {
    let settings = MembershipSettings {
        registry: None,
        ..MembershipSettings::alone("p", SelfDescription::default())
    };
    let membership = Membership::start(settings).await.unwrap();
    let ring = membership.watch(watch_settings()).await;
    (membership, ring)
}

#[tokio::test]
async fn process_alone_is_a_ring_of_one() {
    let (membership, ring) = alone().await;
    let lifecycler = membership.enter(&ring, place("a"));
    lifecycler.shown().await;
    assert_eq!(lifecycler.state(), State::Active);
    assert_eq!(ring.view().find("a").unwrap().tokens.len(), 128);
    assert_eq!(lifecycler.readiness(), Ok(()));
    assert_eq!(membership.page_html(), "This instance doesn't use memberlist.");
    assert_eq!(lifecycler.leave().await, Confirmed { seen: 0, of: 0 });
    assert!(ring.view().instances().is_empty());
    assert_eq!(lifecycler.readiness(), Ok(()), "once ready, always ready");
    membership.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn instance_goes_through_its_states_and_becomes_ready() {
    let (membership, ring) = alone().await;
    let settings = LifecyclerSettings {
        join_after: Duration::from_secs(10),
        min_ready_duration: Duration::from_secs(15),
        ..place("a")
    };
    let lifecycler = membership.enter(&ring, settings);
    lifecycler.shown().await;
    assert_eq!(lifecycler.state(), State::Pending);
    assert_eq!(lifecycler.readiness().unwrap_err(), "no tokens in ring");
    let began = Instant::now();
    lifecycler.wait_active().await;
    assert_eq!((lifecycler.state(), began.elapsed().as_secs()), (State::Active, 10));
    membership.shared().refresh().await;
    assert_eq!(lifecycler.readiness().unwrap_err(), "waiting for 15s after being ready");
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(lifecycler.readiness(), Ok(()));
}

#[tokio::test]
async fn instance_is_ready_once_the_others_show_it() {
    // No round of gossip tells them by chance.
    let slow = |id: &str, seeds: &[SocketAddr]| {
        let mut settings = settings(id, seeds);
        settings.gossip.as_mut().unwrap().interval = Duration::from_secs(10);
        settings
    };
    let a = Node::start_with(slow("a", &[]), watch_settings(), place("a")).await;
    let b = Node::start_with(slow("b", &[a.address()]), watch_settings(), place("b")).await;
    let readiness = || b.lifecycler.readiness();
    until(|| format!("{:?}", readiness()), || readiness().is_ok()).await;
    let view = a.ring.view();
    assert_eq!(view.find("b").map(|found| found.state), Some(State::Active));
}

#[tokio::test]
async fn tokens_file_makes_an_instance_active_with_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let tokens: Vec<u32> = (0..200).map(|number| number * 7).collect();
    std::fs::write(&path, serde_json::json!({ "tokens": tokens }).to_string()).unwrap();
    let settings = LifecyclerSettings {
        tokens_file: Some(path.clone()),
        join_after: Duration::from_secs(3600),
        ..place("a")
    };
    let (membership, ring) = alone().await;
    let lifecycler = membership.enter(&ring, settings);
    lifecycler.shown().await;
    assert_eq!(lifecycler.state(), State::Active);
    assert_eq!(*ring.view().find("a").unwrap().tokens, tokens[..128]);
    assert_eq!(Tokens::load(&path), Some(Tokens::Listed(tokens[..128].to_vec())));
}
