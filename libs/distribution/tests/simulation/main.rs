//! Distributors and ingesters on a network that loses, delays and cuts, with processes that crash: what is acknowledged
//! is on a quorum of ingesters, and an origin is the same spans wherever it is.
//!
//! `TACTUS_SIMULATION_SEEDS=500` runs so many seeds, `TACTUS_SIMULATION_SEED=17` that one alone.

mod network;
mod world;

use std::{env, time::Duration};

use world::{Shape, World};

/// Seeds by default: seconds, not minutes.
const SEEDS: u64 = 24;
/// Faults happen until here, in simulated time; then everything is repaired.
const FAULTS: Duration = Duration::from_secs(12);
/// Time to finish what is under way.
const CALM: Duration = Duration::from_secs(10);

fn seeds() -> Vec<u64> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("TACTUS_SIMULATION_SEED"), number("TACTUS_SIMULATION_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (0..count.unwrap_or(SEEDS)).collect(),
    }
}

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

fn run(seed: u64) -> world::Totals {
    let mut random = Random::new(seed);
    let shape = Shape {
        ingesters: 3 + random.below(4) as usize,
        distributors: 1 + random.below(3) as usize,
    };
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(2))
        .simulation_duration(FAULTS + CALM + Duration::from_secs(60))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(1 + random.below(60)))
        .tcp_capacity(4096);
    if random.one_in(3) {
        builder.fail_rate(0.002).repair_rate(0.1);
    }
    let mut sim = builder.build();
    let mut world = World::new(shape, seed);
    world.start(&mut sim);
    while sim.elapsed() < FAULTS {
        sim.step().expect("a host of the simulation failed");
        if random.one_in(250) {
            world.fault(&mut sim, &mut random);
        }
    }
    sim.set_fail_rate(0.0);
    world.heal(&mut sim);
    while sim.elapsed() < FAULTS + CALM {
        sim.step().expect("a host of the simulation failed");
    }
    world.check(seed)
}

#[test]
fn acknowledged_spans_are_on_a_quorum_and_origins_are_whole() {
    let mut totals = world::Totals::default();
    for seed in seeds() {
        let found = run(seed);
        totals.acknowledged += found.acknowledged;
        totals.refused += found.refused;
        totals.faults += found.faults;
    }
    println!("{totals:?}");
    assert!(totals.acknowledged > 0, "nothing came through");
}
