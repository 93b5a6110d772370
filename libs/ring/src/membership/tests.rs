use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::testing::{Node, SUSPECT, any_port, cluster, place, settings, until, watch_settings};
use crate::{Error, Operation, RingSettings, State};

#[tokio::test]
async fn members_find_each_other_and_form_one_ring() {
    let nodes = cluster(3).await;
    for node in &nodes {
        node.shows(&["a:ACTIVE", "b:ACTIVE", "c:ACTIVE"]).await;
        let set = node.ring.view().replicas(7, Operation::Write).unwrap();
        assert_eq!((set.instances.len(), set.min_success), (3, 2));
    }
    let members = nodes[2].membership.members();
    assert_eq!(members.iter().filter(|member| member.is_self).count(), 1);
    let of_a = members.iter().find(|member| member.name == "a").unwrap();
    assert_eq!(
        (of_a.description.targets.join(","), of_a.description.grpc_address.as_str()),
        ("ingester".into(), "a:9095")
    );
    let views: Vec<_> = nodes.iter().map(|node| node.ring.view()).collect();
    assert!(views.iter().all(|view| view.instances() == views[0].instances()));
}

#[tokio::test]
async fn goodbye_is_seen_by_all_when_it_returns() {
    let nodes = cluster(3).await;
    let confirmed = nodes[1].lifecycler.leaving().await;
    assert_eq!(confirmed, Confirmed { seen: 2, of: 2 });
    for node in &nodes {
        assert_eq!(node.shown(), ["a:ACTIVE", "b:LEAVING", "c:ACTIVE"]);
    }
    nodes[1].lifecycler.leave().await;
    for node in &nodes {
        assert_eq!(node.shown(), ["a:ACTIVE", "c:ACTIVE"]);
    }
    nodes[1].membership.shutdown().await;
    for node in [&nodes[0], &nodes[2]] {
        assert_eq!(node.membership.members().len(), 2);
    }
}

#[tokio::test]
async fn instance_that_stays_registered_is_leaving_until_it_returns() {
    let mut nodes = cluster(2).await;
    nodes.pop();
    let stays = LifecyclerSettings { unregister: false, ..place("s") };
    let seeds = [nodes[0].address()];
    let node = Node::start_with(settings("s", &seeds), watch_settings(), stays).await;
    let tokens = node.ring.view().find("s").unwrap().tokens.clone();
    node.lifecycler.leave().await;
    node.membership.shutdown().await;
    assert!(nodes[0].shown().contains(&"s:LEAVING!".to_owned()), "it said goodbye");
    drop(node);
    let again = Node::start("s", &seeds).await;
    assert_eq!(again.lifecycler.state(), State::Active);
    let shows = || nodes[0].ring.view().find("s").cloned().filter(|at| at.state == State::Active);
    until(|| "s is back".into(), || shows().is_some_and(|back| back.tokens == tokens)).await;
}

#[tokio::test]
async fn killed_instance_is_unhealthy_then_back_under_the_same_id() {
    let mut nodes = cluster(3).await;
    let before = nodes[0].ring.view().find("c").unwrap().clone();
    nodes.pop();
    nodes[0].shows(&["a:ACTIVE", "b:ACTIVE", "c:ACTIVE!"]).await;
    let read = nodes[0].ring.view().read_set();
    assert_eq!((read.instances.len(), read.missing), (2, 0));
    until(|| "c is no member".into(), || nodes[0].membership.members().len() == 2).await;

    // Its clock went back by five minutes meanwhile.
    let mut settings = settings("c", &[nodes[0].address()]);
    let clock = Arc::clone(&settings.clock);
    settings.clock = Arc::new(move || clock() - Duration::from_secs(300));
    let again = Node::start_with(settings, watch_settings(), place("c")).await;
    for node in nodes.iter().chain([&again]) {
        node.shows(&["a:ACTIVE", "b:ACTIVE", "c:ACTIVE"]).await;
        let back = node.ring.view().find("c").unwrap().clone();
        assert_eq!((&back.tokens, back.registered), (&before.tokens, before.registered));
    }
}

#[tokio::test]
async fn member_with_a_wrong_clock_is_healthy() {
    let nodes = cluster(1).await;
    for (id, behind) in [("early", false), ("late", true)] {
        let mut settings = settings(id, &[nodes[0].address()]);
        let clock = Arc::clone(&settings.clock);
        let skew = Duration::from_secs(300);
        settings.clock = Arc::new(move || if behind { clock() - skew } else { clock() + skew });
        let skewed = Node::start_with(settings, watch_settings(), place(id)).await;
        let expected = ["a:ACTIVE".to_owned(), format!("{id}:ACTIVE")];
        until(|| format!("{:?}", nodes[0].shown()), || nodes[0].shown() == expected).await;
        until(|| format!("{:?}", skewed.shown()), || skewed.shown() == expected).await;
        skewed.lifecycler.leave().await;
    }
}

#[tokio::test]
async fn silent_instance_is_forgotten_by_itself() {
    let watch = || crate::WatchSettings { forget_after: Some(SUSPECT * 2), ..watch_settings() };
    let a = Node::start_with(settings("a", &[]), watch(), place("a")).await;
    let seeds = [a.address()];
    let b = Node::start_with(settings("b", &seeds), watch(), place("b")).await;
    a.shows(&["a:ACTIVE", "b:ACTIVE"]).await;
    drop(b);
    a.shows(&["a:ACTIVE", "b:ACTIVE!"]).await;
    a.shows(&["a:ACTIVE"]).await;
    // Whoever comes later is told.
    let c = Node::start_with(settings("c", &seeds), watch(), place("c")).await;
    until(|| format!("{:?}", c.shown()), || c.shown() == ["a:ACTIVE", "c:ACTIVE"]).await;
}

#[tokio::test]
async fn nothing_is_forgotten_when_too_many_are_silent() {
    let watch = || crate::WatchSettings {
        forget_after: Some(SUSPECT * 2),
        forget_at_most: Some(1),
        ..watch_settings()
    };
    let a = Node::start_with(settings("a", &[]), watch(), place("a")).await;
    let seeds = [a.address()];
    let b = Node::start_with(settings("b", &seeds), watch(), place("b")).await;
    let c = Node::start_with(settings("c", &seeds), watch(), place("c")).await;
    a.shows(&["a:ACTIVE", "b:ACTIVE", "c:ACTIVE"]).await;
    drop((b, c));
    a.shows(&["a:ACTIVE", "b:ACTIVE!", "c:ACTIVE!"]).await;
    tokio::time::sleep(SUSPECT * 2).await;
    assert_eq!(a.shown().len(), 3);
}

#[tokio::test]
async fn forgotten_instance_is_gone_everywhere_and_a_live_one_stays() {
    let mut nodes = cluster(3).await;
    nodes.pop();
    nodes[0].shows(&["a:ACTIVE", "b:ACTIVE", "c:ACTIVE!"]).await;
    assert!(nodes[0].ring.forget("c"));
    assert!(!nodes[0].ring.forget("unknown"));
    for node in &nodes {
        node.shows(&["a:ACTIVE", "b:ACTIVE"]).await;
    }
    let before =
        nodes[1].membership.shared().record.own_claim("claim/collectors/ingester/b").unwrap();
    assert!(nodes[0].ring.forget("b"));
    let claim =
        || nodes[1].membership.shared().record.own_claim("claim/collectors/ingester/b").unwrap();
    until(|| "b registers again".into(), || claim().incarnation > before.incarnation).await;
    for node in &nodes {
        assert_eq!(node.shown(), ["a:ACTIVE", "b:ACTIVE"]);
    }
}

#[tokio::test]
async fn read_only_instance_is_passed_over_by_writers_everywhere() {
    let nodes = cluster(2).await;
    nodes[1].lifecycler.set_read_only(true);
    let is_read_only = || nodes[0].ring.view().find("b").is_some_and(|found| found.read_only);
    until(|| "b is read-only".into(), is_read_only).await;
    assert!(nodes[0].ring.view().find("b").unwrap().read_only_updated > 0);
}

#[tokio::test]
async fn foreign_bytes_on_the_gossip_port_do_no_harm() {
    let nodes = cluster(1).await;
    // The first bytes of a HashiCorp memberlist, of HTTP, of our gossip with nonsense behind.
    let samples: [&[u8]; 4] =
        [&[6, 0, 0, 1, 2, 3], b"GET / HTTP/1.1\r\n\r\n", b"TACTUSg\x01\x00\x00\x03abc", b""];
    for sample in samples {
        let mut stream = TcpStream::connect(nodes[0].address()).await.unwrap();
        stream.write_all(sample).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
    // A frame that is too long, and one that is no message, after a proper greeting.
    for frame in [&[0xff; 8][..], &[0, 0, 0, 2, 9, 9]] {
        let mut stream = TcpStream::connect(nodes[0].address()).await.unwrap();
        stream.write_all(b"TACTUSg\x01\x00\x00\x09127.0.0.1").await.unwrap();
        let _ = stream.write_all(frame).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }
    let other = Node::start("z", &[nodes[0].address()]).await;
    until(|| format!("{:?}", other.shown()), || other.shown() == ["a:ACTIVE", "z:ACTIVE"]).await;
}

async fn labelled(id: &str, seeds: &[SocketAddr], label: &str, any: bool) -> Node {
    let mut settings = settings(id, seeds);
    let gossip = settings.gossip.as_mut().unwrap();
    gossip.transport.label = label.to_owned();
    gossip.transport.any_label = any;
    Node::start_with(settings, watch_settings(), place(id)).await
}

#[tokio::test]
async fn other_cluster_label_is_kept_out_unless_any_is_let_in() {
    let a = labelled("a", &[], "one", false).await;
    let seeds = [a.address()];
    let b = labelled("b", &seeds, "two", false).await;
    let c = labelled("c", &seeds, "one", false).await;
    until(|| format!("{:?}", a.shown()), || a.shown() == ["a:ACTIVE", "c:ACTIVE"]).await;
    assert_eq!(b.shown(), ["b:ACTIVE"]);
    c.shows(&["a:ACTIVE", "c:ACTIVE"]).await;

    // While a label is rolled out, both sides let anybody in.
    let d = labelled("d", &[], "one", true).await;
    let e = labelled("e", &[d.address()], "", true).await;
    e.shows(&["d:ACTIVE", "e:ACTIVE"]).await;
}

async fn knowing(id: &str, seeds: &[SocketAddr], secret: Option<&'static str>) -> Node {
    let mut settings = settings(id, seeds);
    let gossip = settings.gossip.as_mut().unwrap();
    gossip.transport.secret =
        secret.map(|secret| Arc::new(move || secret.to_owned()) as crate::Secret);
    Node::start_with(settings, watch_settings(), place(id)).await
}

#[tokio::test]
async fn only_members_that_know_the_secret_take_part() {
    let a = knowing("a", &[], Some("secret")).await;
    let seeds = [a.address()];
    let without = knowing("without", &seeds, None).await;
    let wrong = knowing("wrong", &seeds, Some("other")).await;
    let c = knowing("c", &seeds, Some("secret")).await;
    // Seeds are told again and again: those who are refused were refused many times by now.
    a.shows(&["a:ACTIVE", "c:ACTIVE"]).await;
    c.shows(&["a:ACTIVE", "c:ACTIVE"]).await;
    assert_eq!(without.shown(), ["without:ACTIVE"]);
    assert_eq!(wrong.shown(), ["wrong:ACTIVE"]);
    // Nor does a member with a secret join a cluster without one.
    let late = knowing("late", &[without.address()], Some("secret")).await;
    let plain = knowing("plain", &[without.address()], None).await;
    plain.shows(&["plain:ACTIVE", "without:ACTIVE"]).await;
    assert_eq!(late.shown(), ["late:ACTIVE"]);
    // Goodbyes are confirmed by probes, which are sealed too.
    c.lifecycler.leave().await;
    a.shows(&["a:ACTIVE"]).await;
}

#[tokio::test]
async fn members_begin_to_demand_the_secret_one_by_one() {
    let plain = knowing("plain", &[], None).await;
    let offers = |id: &'static str, seed, secret| async move {
        let mut settings = settings(id, &[seed]);
        let transport = &mut settings.gossip.as_mut().unwrap().transport;
        transport.secret = Some(Arc::new(move || String::from(secret)));
        transport.demands_proof = false;
        Node::start_with(settings, watch_settings(), place(id)).await
    };
    // Who only offers a proof talks to those who have no secret, and to those who have another.
    let first = offers("first", plain.address(), "secret").await;
    let other = offers("other", first.address(), "another").await;
    let all = ["first:ACTIVE", "other:ACTIVE", "plain:ACTIVE"];
    for node in [&plain, &first, &other] {
        node.shows(&all).await;
    }
    for node in [plain, other] {
        node.lifecycler.leave().await;
        node.membership.shutdown().await;
    }
    first.shows(&["first:ACTIVE"]).await;
    // And to those who demand it.
    let demands = knowing("demands", &[first.address()], Some("secret")).await;
    for node in [&first, &demands] {
        node.shows(&["demands:ACTIVE", "first:ACTIVE"]).await;
    }
}

#[tokio::test]
async fn seed_that_comes_up_later_is_joined() {
    let free = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    let later = free.local_addr().unwrap();
    drop(free);
    let early = Node::start("early", &[later]).await;
    assert_eq!(early.shown(), ["early:ACTIVE"], "a process that finds nobody is a ring of one");
    let mut settings = settings("later", &[]);
    settings.gossip.as_mut().unwrap().listen = vec![later];
    let later = Node::start_with(settings, watch_settings(), place("later")).await;
    early.shows(&["early:ACTIVE", "later:ACTIVE"]).await;
    later.shows(&["early:ACTIVE", "later:ACTIVE"]).await;
}

#[tokio::test]
async fn join_fails_only_if_the_settings_say_so() {
    let free = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let mut strict = settings("a", &[nobody]);
    strict.gossip.as_mut().unwrap().abort_unless_reached = Some(1);
    let error = Membership::start(strict).await.err().unwrap();
    assert!(matches!(error, Error::JoinFailed { reached: 0, wanted: 1 }));

    let mut patient = settings("a", &[nobody]);
    patient.gossip.as_mut().unwrap().abort_after_attempts = Some(3);
    let membership = Membership::start(patient).await.unwrap();
    let error = membership.failed().await.to_string();
    assert!(error.contains("no other member found in 3 attempts"), "{error}");
}

#[tokio::test]
async fn member_that_has_joined_goes_on_when_it_is_alone_later() {
    let first = Node::start("a", &[]).await;
    let mut second = settings("b", &[first.address()]);
    second.gossip.as_mut().unwrap().abort_after_attempts = Some(2);
    let second = Node::start_with(second, watch_settings(), place("b")).await;
    second.shows(&["a:ACTIVE", "b:ACTIVE"]).await;
    first.lifecycler.leave().await;
    first.membership.shutdown().await;
    let members = || second.membership.members().len();
    until(|| format!("{} members", members()), || members() == 1).await;
    // Ten attempts at least.
    let ended = tokio::time::timeout(Duration::from_secs(2), second.membership.failed()).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn port_that_is_taken_is_an_error_that_names_it() {
    let taken = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    let mut settings = settings("a", &[]);
    settings.gossip.as_mut().unwrap().listen = vec![taken.local_addr().unwrap()];
    let error = Membership::start(settings).await.err().unwrap().to_string();
    assert_eq!(error, format!("cannot listen for gossip on {}", taken.local_addr().unwrap()));
}

#[tokio::test]
async fn pages_show_rings_and_members() {
    let nodes = cluster(2).await;
    nodes[0].shows(&["a:ACTIVE", "b:ACTIVE"]).await;
    let ring: serde_json::Value = serde_json::from_str(&nodes[0].ring.page_json()).unwrap();
    assert_eq!(ring["shards"].as_array().unwrap().len(), 2);
    assert_eq!(ring["shards"][1]["tokens"].as_array().unwrap().len(), 128);
    let members: serde_json::Value =
        serde_json::from_str(&nodes[0].membership.page_json()).unwrap();
    assert_eq!(members["members"][1]["name"], "b");
    assert!(nodes[0].membership.page_html().contains("b:9095"));
}

#[tokio::test]
async fn members_with_tls_talk_and_others_are_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let (certificate_path, key_path) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate_path, certificate.pem()).unwrap();
    std::fs::write(&key_path, key.serialize_pem()).unwrap();
    let file = |path: &std::path::Path| tactus_tls::Pem::file("m.pem", path);
    let server = tactus_tls::ServerTlsSettings::new("m", file(&certificate_path), file(&key_path));
    let server = tactus_tls::ServerTls::load(server).unwrap();
    let mut client = tactus_tls::ClientTlsSettings::new("m");
    client.ca = Some(file(&certificate_path));
    let client = tactus_tls::ClientTls::load(client).unwrap();
    let secure = |id: &str, seeds: &[SocketAddr]| {
        let mut settings = settings(id, seeds);
        let transport = &mut settings.gossip.as_mut().unwrap().transport;
        transport.server_tls = Some(Arc::clone(&server));
        transport.client_tls = Some(Arc::clone(&client));
        settings
    };
    let a = Node::start_with(secure("a", &[]), watch_settings(), place("a")).await;
    let seeds = [a.address()];
    let plain = Node::start("plain", &seeds).await;
    let b = Node::start_with(secure("b", &seeds), watch_settings(), place("b")).await;
    a.shows(&["a:ACTIVE", "b:ACTIVE"]).await;
    b.shows(&["a:ACTIVE", "b:ACTIVE"]).await;
    assert_eq!(plain.shown(), ["plain:ACTIVE"]);
    assert_eq!(b.lifecycler.leave().await, Confirmed { seen: 1, of: 1 });
}

/// Of an instance that remembers the ring in a file.
fn remembering(
    id: &str,
    seeds: &[SocketAddr],
    folder: &std::path::Path,
) -> crate::MembershipSettings {
    let ring = watch_settings().key;
    let path = folder.join(format!("{id}.json"));
    let ring_file = Some(crate::RingFile { ring, id: id.to_owned(), path });
    crate::MembershipSettings { ring_file, ..settings(id, seeds) }
}

async fn start_remembering(id: &str, seeds: &[SocketAddr], folder: &std::path::Path) -> Node {
    Node::start_with(remembering(id, seeds, folder), watch_settings(), place(id)).await
}

async fn three_that_remember(folder: &std::path::Path) -> [Node; 3] {
    let a = start_remembering("a", &[], folder).await;
    let seeds = [a.address()];
    let b = start_remembering("b", &seeds, folder).await;
    let c = start_remembering("c", &seeds, folder).await;
    [a, b, c]
}

/// Waits until the file of an instance names these.
async fn knows(folder: &std::path::Path, id: &str, expected: &[&str]) {
    let names = || {
        let text = std::fs::read_to_string(folder.join(format!("{id}.json"))).unwrap_or_default();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let claims = file["claims"].as_array().cloned().unwrap_or_default();
        claims.iter().map(|at| at["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until(|| format!("{:?}", names()), || names() == expected).await;
}

#[tokio::test]
async fn after_all_were_killed_those_that_are_not_back_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [a, b, c] = three_that_remember(folder).await;
    for id in ["a", "b", "c"] {
        knows(folder, id, &["a", "b", "c"]).await;
    }
    let tokens = b.ring.view().find("c").unwrap().tokens.clone();
    drop((a, b, c));

    let b = start_remembering("b", &[], folder).await;
    // The others may start only when it is ready.
    let readiness = || b.lifecycler.readiness();
    until(|| format!("{:?}", readiness()), || readiness().is_ok()).await;
    b.shows(&["a:ACTIVE!", "b:ACTIVE", "c:ACTIVE!"]).await;
    let querier = Membership::start(settings("querier", &[b.address()])).await.unwrap();
    let one_copy = WatchSettings { ring: RingSettings::new("ingester"), ..watch_settings() };
    let ring = querier.watch(one_copy).await;
    let missing = || ring.view().read_set().missing;
    until(|| missing().to_string(), || missing() == 2).await;
    assert_eq!(ring.view().find("c").unwrap().tokens, tokens);
    knows(folder, "b", &["a", "b", "c"]).await;

    let c = start_remembering("c", &[b.address()], folder).await;
    for node in [&b, &c] {
        node.shows(&["a:ACTIVE!", "b:ACTIVE", "c:ACTIVE"]).await;
    }
    assert!(ring.forget("a"));
    for node in [&b, &c] {
        node.shows(&["b:ACTIVE", "c:ACTIVE"]).await;
    }
    for id in ["b", "c"] {
        knows(folder, id, &["b", "c"]).await;
    }
    // One that leaves in good order misses nobody who is there.
    c.lifecycler.leave().await;
    knows(folder, "c", &[]).await;
    knows(folder, "b", &["b"]).await;
}

#[tokio::test]
async fn instance_that_was_away_asks_those_that_were_there_who_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [a, b, c] = three_that_remember(folder).await;
    knows(folder, "b", &["a", "b", "c"]).await;
    drop(b);
    c.lifecycler.leave().await;
    drop(c);
    let b = start_remembering("b", &[a.address()], folder).await;
    for node in [&a, &b] {
        node.shows(&["a:ACTIVE", "b:ACTIVE"]).await;
    }
    knows(folder, "b", &["a", "b"]).await;
}

#[tokio::test]
async fn instance_with_another_name_takes_the_place_of_the_one_that_had_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let a = start_remembering("a", &[], folder).await;
    let seeds = [a.address()];
    let b = start_remembering("b", &seeds, folder).await;
    knows(folder, "b", &["a", "b"]).await;
    drop(b);
    std::fs::rename(folder.join("b.json"), folder.join("d.json")).unwrap();
    let d = start_remembering("d", &seeds, folder).await;
    for node in [&a, &d] {
        node.shows(&["a:ACTIVE", "d:ACTIVE"]).await;
    }
}
