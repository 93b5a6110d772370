//! Rings in a simulated network, over many seeds: messages are late or lost, hosts are cut off,
//! crash and come back, clocks are wrong. When that ends, all must agree again.
//!
//! `TACTUS_RING_SEEDS` is the number of seeds (default 24), `TACTUS_RING_SEED` one seed to play. A
//! seed fixes what happens to the network and the hosts; whom the gossip picks is drawn anew, so
//! that a seed that failed may need a few runs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken promise stops the test")]

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tactus_ring::{
    Connection, GossipSettings, LifecyclerSettings, Listener, Membership, MembershipSettings,
    Network, Operation, Ring, RingSettings, RingView, Seed, SelfDescription, State, WatchSettings,
    token_for,
};
use turmoil::net::{TcpListener, TcpStream};
use turmoil::{Builder, Sim};

const PORT: u16 = 7946;
const CHAOS: Duration = Duration::from_secs(150);
const HEALING: Duration = Duration::from_secs(150);
const REPLICAS: usize = 3;

struct Simulated;

#[async_trait]
impl Network for Simulated {
    async fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        Ok(Box::new(TcpStream::connect(address).await?))
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(SimulatedListener(TcpListener::bind(address).await?)))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![(turmoil::lookup(host), port).into()])
    }
}

struct SimulatedListener(TcpListener);

#[async_trait]
impl Listener for SimulatedListener {
    async fn accept(&self) -> io::Result<(Connection, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        Ok((Box::new(stream), from))
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Xorshift, so that a seed means the same everywhere.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// The ring as each host that runs sees it.
type Views = Arc<Mutex<BTreeMap<String, Arc<Ring>>>>;

async fn host(name: String, seeds: Vec<String>, skew: i64, views: Views) -> turmoil::Result {
    let address = SocketAddr::new(turmoil::lookup(name.as_str()), PORT);
    let mut gossip = GossipSettings::new(([0, 0, 0, 0], PORT).into(), address.ip());
    gossip.network = Arc::new(Simulated);
    gossip.join = seeds.iter().map(|seed| Seed::parse(seed, PORT).unwrap()).collect();
    gossip.rejoin_interval = Duration::from_secs(10);
    gossip.join_backoff = (Duration::from_secs(1), Duration::from_secs(10));
    let settings = MembershipSettings {
        gossip: Some(gossip),
        registry: None,
        clock: Arc::new(move || {
            let elapsed = turmoil::sim_elapsed().unwrap_or_default();
            Duration::from_millis((1_000_000_000 + skew + elapsed.as_millis() as i64) as u64)
        }),
        ..MembershipSettings::alone(&name, SelfDescription::default())
    };
    let membership = Membership::start(settings).await?;
    let ring = RingSettings { replication_factor: REPLICAS, ..RingSettings::new("ingester") };
    let watch = WatchSettings {
        heartbeat_timeout: Duration::from_secs(15),
        forget_after: Some(Duration::from_secs(40)),
        forget_at_most: Some(1),
        ..WatchSettings::new(ring)
    };
    let ring = membership.watch(watch).await;
    let settings = LifecyclerSettings {
        num_tokens: 16,
        min_ready_duration: Duration::ZERO,
        ..LifecyclerSettings::new(&name, &format!("{name}:9095"))
    };
    let lifecycler = membership.enter(&ring, settings);
    lifecycler.shown().await;
    lifecycler.wait_active().await;
    views.lock().unwrap().insert(name, ring);
    let error = membership.failed().await;
    Err(error.into())
}

struct Play<'sim> {
    sim: Sim<'sim>,
    names: Vec<String>,
    down: HashSet<String>,
    views: Views,
    dice: Dice,
    seed: u64,
}

impl Play<'_> {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let sim = Builder::new()
            .rng_seed(seed)
            .tick_duration(Duration::from_millis(50))
            .simulation_duration(CHAOS + HEALING + Duration::from_secs(60))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(150))
            .build();
        let names: Vec<String> = (0..5 + dice.below(3)).map(|at| format!("node-{at}")).collect();
        let views = Views::default();
        let mut play = Play { sim, names, down: HashSet::new(), views, dice, seed };
        for name in play.names.clone() {
            let seeds: Vec<String> =
                play.names[..2].iter().map(|seed| format!("dns+{seed}:{PORT}")).collect();
            let (views, host_name) = (Arc::clone(&play.views), name.clone());
            // Up to five minutes off, and differently at each start.
            let skews: Vec<i64> =
                (0..64).map(|_| play.dice.below(600_000) as i64 - 300_000).collect();
            let starts = Arc::new(Mutex::new(0usize));
            play.sim.host(name.as_str(), move || {
                let start = {
                    let mut starts = starts.lock().unwrap();
                    *starts += 1;
                    *starts
                };
                let skew = skews[start % skews.len()];
                host(host_name.clone(), seeds.clone(), skew, Arc::clone(&views))
            });
        }
        play
    }

    fn step_for(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            self.sim.step().unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        }
    }

    fn crash(&mut self, name: &str) {
        self.sim.crash(name);
        self.views.lock().unwrap().remove(name);
        self.down.insert(name.to_owned());
    }

    fn trouble(&mut self) {
        let names = self.names.clone();
        let (one, other) = (self.dice.pick(&names).clone(), self.dice.pick(&names).clone());
        match self.dice.below(8) {
            // Most of the ring stays up: nothing is said about a ring that is gone.
            0 | 1 if self.down.len() < 2 => self.crash(&one),
            2 => {
                let down: Vec<String> = self.down.drain().collect();
                for name in down {
                    self.sim.bounce(name.as_str());
                }
            }
            3 if one != other => self.sim.partition(one.as_str(), other.as_str()),
            4 if one != other => self.sim.partition_oneway(one.as_str(), other.as_str()),
            5 => {
                for name in names.iter().filter(|name| **name != one) {
                    self.sim.partition(one.as_str(), name.as_str());
                }
            }
            6 => self.sim.set_fail_rate(0.002),
            _ => self.repair(),
        }
    }

    fn repair(&mut self) {
        self.sim.set_fail_rate(0.0);
        for (at, one) in self.names.iter().enumerate() {
            for other in &self.names[..at] {
                self.sim.repair(one.as_str(), other.as_str());
            }
        }
    }

    /// What holds at any time, whatever happens.
    fn check_views(&self) {
        for (name, ring) in self.views.lock().unwrap().iter() {
            let view = ring.view();
            let own = view.find(name);
            assert!(own.is_some_and(|own| own.alive), "seed {}: {name} misses itself", self.seed);
            for key in keys() {
                assert!(view.owner_of(key).is_some(), "seed {}: {name}: no owner", self.seed);
                if let Ok(set) = view.replicas(key, Operation::Write) {
                    let distinct: HashSet<_> = set.instances.iter().collect();
                    assert_eq!(distinct.len(), set.instances.len());
                }
            }
        }
    }

    fn has_converged(&self) -> bool {
        let views = self.views.lock().unwrap();
        let whole = |view: &RingView| {
            view.instances().len() == self.names.len()
                && view.instances().iter().all(|at| at.alive && at.state == State::Active)
        };
        let views: Vec<Arc<RingView>> = views.values().map(|ring| ring.view()).collect();
        views.len() == self.names.len()
            && views.iter().all(|view| whole(view) && view.instances() == views[0].instances())
    }

    fn shown(&self) -> String {
        let views = self.views.lock().unwrap();
        views.iter().map(|(name, ring)| format!("{name}: {:?}\n", ring.view())).collect()
    }
}

fn keys() -> impl Iterator<Item = u32> {
    (0..16u8).map(|number| token_for("tenant", &[number; 16]))
}

fn play(seed: u64) -> Duration {
    let mut play = Play::new(seed);
    play.step_for(Duration::from_secs(10));
    while play.sim.elapsed() < CHAOS {
        play.trouble();
        let pause = Duration::from_millis(500 + play.dice.below(6000));
        play.step_for(pause);
        play.check_views();
    }
    play.repair();
    let down: Vec<String> = play.down.drain().collect();
    for name in down {
        play.sim.bounce(name.as_str());
    }
    let healed = play.sim.elapsed();
    while !play.has_converged() {
        assert!(
            play.sim.elapsed() < healed + HEALING,
            "seed {seed}: no agreement after healing:\n{}",
            play.shown()
        );
        play.step_for(Duration::from_millis(500));
    }
    let took = play.sim.elapsed() - healed;
    // It stays so: no tombstone of the bad times takes a live instance away.
    play.step_for(Duration::from_secs(20));
    assert!(play.has_converged(), "seed {seed}: agreement was lost again:\n{}", play.shown());
    let views: Vec<Arc<RingView>> =
        play.views.lock().unwrap().values().map(|ring| ring.view()).collect();
    for key in keys() {
        let sets: HashSet<Vec<String>> = views
            .iter()
            .map(|view| {
                let set = view.replicas(key, Operation::Write).unwrap();
                set.instances.iter().map(|at| view.instance(*at).id.to_string()).collect()
            })
            .collect();
        assert_eq!(sets.len(), 1, "seed {seed}: all place a key alike");
        let set: HashSet<&String> = sets.iter().next().unwrap().iter().collect();
        assert_eq!(set.len(), REPLICAS, "seed {seed}: distinct replicas");
    }
    took
}

#[test]
fn views_agree_after_loss_partitions_crashes_and_wrong_clocks() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("TACTUS_RING_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TACTUS_RING_SEEDS").unwrap_or(24)).collect(),
    };
    let longest = seeds.iter().map(|seed| (play(*seed), *seed)).max().unwrap();
    println!("{} seeds, longest healing {:?} (seed {})", seeds.len(), longest.0, longest.1);
}
