//! Who is in the simulation, what goes wrong, and what must hold at the end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tactus_config::sections::overrides::Limits;
use tactus_distribution::{Distributor, Parts, Settings};
use tactus_model::{
    TenantId,
    walk::span_ids,
    wire::{Reader, put_message_field},
};
use tactus_proto::tactus::v1::{self as proto, ingester_server::Ingester};
use tactus_receivers::TraceSink;
use tactus_ring::{Instance, Ring, RingSettings, State};
use tactus_telemetry::metrics::Registry;
use tonic::{Request, Response, Status};
use turmoil::Sim;

use crate::{
    Random,
    network::{Remote, serve, takes_pushes_only},
};

/// Copies of each span.
const REPLICATION_FACTOR: usize = 3;
/// Of them, those that an acknowledgement promises.
const QUORUM: usize = 2;
/// Exports that a distributor has under way at a time.
const CLIENTS: u64 = 4;

pub(crate) struct Shape {
    pub(crate) ingesters: usize,
    pub(crate) distributors: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) faults: usize,
}

/// What an ingester acknowledged, or is about to: it outlives a crash.
#[derive(Default)]
struct Disk {
    /// Span ids by origin.
    origins: BTreeMap<u64, BTreeSet<u64>>,
    /// What must never happen.
    wrong: Vec<String>,
}

/// What clients know.
#[derive(Default)]
struct Log {
    /// Span ids of exports that succeeded.
    acknowledged: Vec<u64>,
    refused: usize,
}

pub(crate) struct World {
    shape: Shape,
    seed: u64,
    disks: Vec<Arc<Mutex<Disk>>>,
    /// A view of the ring for each distributor: they need not agree.
    rings: Vec<Arc<Ring>>,
    log: Arc<Mutex<Log>>,
    spans: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    down: BTreeSet<usize>,
    faults: usize,
}

/// An ingester that writes after a while.
struct Double {
    disk: Arc<Mutex<Disk>>,
    random: Mutex<Random>,
}

takes_pushes_only!(Double);

impl Double {
    async fn take(
        &self,
        push: proto::PushRequest,
    ) -> Result<Response<proto::PushResponse>, Status> {
        let delay = {
            let mut random = self.random.lock();
            if random.one_in(50) {
                return Err(Status::resource_exhausted("full"));
            }
            if random.one_in(20) { random.below(3_000) } else { random.below(20) }
        };
        // Crashes fall before the write, or between the write and the answer.
        tokio::time::sleep(Duration::from_millis(delay / 2)).await;
        self.disk.lock().store(&push);
        tokio::time::sleep(Duration::from_millis(delay / 2)).await;
        Ok(Response::new(proto::PushResponse::default()))
    }
}

impl Disk {
    fn store(&mut self, push: &proto::PushRequest) {
        let mut origins: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for run in &push.runs {
            let spans = origins.entry(run.origin).or_default();
            let mut reader = Reader::new(&run.scope_spans);
            while let Some((field, value)) = reader.next_field().expect("a valid run") {
                if field != 2 {
                    continue;
                }
                let (_, id) = span_ids(value.bytes(2).expect("a span")).expect("a valid span");
                let id = u64::from_be_bytes(id.try_into().expect("eight bytes"));
                if !spans.insert(id) {
                    self.wrong.push(format!("span {id} twice in a push"));
                }
            }
        }
        for (origin, spans) in origins {
            match self.origins.get(&origin) {
                _ if origin == 0 => self.wrong.push("a push without an origin".to_owned()),
                Some(known) if *known != spans => {
                    self.wrong.push(format!("origin {origin:x} again with other spans"));
                }
                _ => {
                    self.origins.insert(origin, spans);
                }
            }
        }
    }
}

fn ingester_name(number: usize) -> String {
    format!("ingester-{number}")
}

fn distributor_name(number: usize) -> String {
    format!("distributor-{number}")
}

fn member(number: usize) -> Instance {
    let mut random = Random::new(number as u64 + 99);
    let tokens: Vec<u32> = (0..16).map(|_| random.next() as u32).collect();
    Instance::active(&ingester_name(number), &ingester_name(number), tokens)
}

impl World {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        let settings = RingSettings {
            replication_factor: REPLICATION_FACTOR,
            ..RingSettings::new("ingester")
        };
        let members = || (0..shape.ingesters).map(member).collect();
        Self {
            seed,
            disks: (0..shape.ingesters).map(|_| Arc::default()).collect(),
            rings: (0..shape.distributors)
                .map(|_| Ring::fixed(settings.clone(), members()))
                .collect(),
            log: Arc::default(),
            spans: Arc::new(AtomicU64::new(1)),
            stop: Arc::default(),
            down: BTreeSet::new(),
            faults: 0,
            shape,
        }
    }

    pub(crate) fn start(&self, sim: &mut Sim<'_>) {
        for (number, disk) in self.disks.iter().enumerate() {
            let (disk, seed) = (Arc::clone(disk), self.seed);
            let starts = AtomicU64::new(0);
            sim.host(ingester_name(number), move || {
                let start = starts.fetch_add(1, Ordering::Relaxed);
                let random = Mutex::new(Random::new(seed ^ start << 20 ^ (number as u64) << 40));
                serve(Double { disk: Arc::clone(&disk), random })
            });
        }
        for (number, ring) in self.rings.iter().enumerate() {
            let (ring, log) = (Arc::clone(ring), Arc::clone(&self.log));
            let (spans, stop) = (Arc::clone(&self.spans), Arc::clone(&self.stop));
            let seed = self.seed.wrapping_mul(31) + number as u64;
            sim.host(distributor_name(number), move || {
                let distributor = Arc::new(distributor(Arc::clone(&ring)));
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|client| Client {
                        distributor: Arc::clone(&distributor),
                        log: Arc::clone(&log),
                        spans: Arc::clone(&spans),
                        stop: Arc::clone(&stop),
                        random: Random::new(seed << 8 | client),
                    })
                    .collect();
                async move {
                    let run = |client: Client| tokio::spawn(client.run());
                    for client in clients.into_iter().map(run).collect::<Vec<_>>() {
                        client.await?;
                    }
                    Ok(())
                }
            });
        }
    }

    /// Something goes wrong, or right again.
    pub(crate) fn fault(&mut self, sim: &mut Sim<'_>, random: &mut Random) {
        self.faults += 1;
        let ingester = random.below(self.shape.ingesters as u64) as usize;
        let distributor = random.below(self.shape.distributors as u64) as usize;
        let (at, from) = (ingester_name(ingester), distributor_name(distributor));
        match random.below(9) {
            // A minority at a time, mostly.
            0 | 1 if self.down.is_empty() || random.one_in(4) => {
                sim.crash(at);
                self.down.insert(ingester);
            }
            0..=3 => {
                if let Some(number) = self.down.pop_first() {
                    sim.bounce(ingester_name(number));
                }
            }
            4 => sim.partition(from, at),
            5 => sim.hold(from, at),
            6 => {
                for distributor in 0..self.shape.distributors {
                    sim.repair(distributor_name(distributor), at.clone());
                    sim.release(distributor_name(distributor), at.clone());
                }
            }
            7 => {
                sim.crash(from.clone());
                sim.bounce(from);
            }
            _ => self.change_view(distributor, random),
        }
    }

    /// A distributor hears something of the ingesters, true or not.
    fn change_view(&self, distributor: usize, random: &mut Random) {
        let members = (0..self.shape.ingesters).map(|number| {
            let mut member = member(number);
            member.alive = !self.down.contains(&number) || random.one_in(2);
            if random.one_in(8) {
                member.state = State::Leaving;
            }
            member
        });
        self.rings[distributor].replace(members.collect());
    }

    /// Everything works again.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        while let Some(number) = self.down.pop_first() {
            sim.bounce(ingester_name(number));
        }
        for distributor in 0..self.shape.distributors {
            for ingester in 0..self.shape.ingesters {
                sim.repair(distributor_name(distributor), ingester_name(ingester));
                sim.release(distributor_name(distributor), ingester_name(ingester));
            }
        }
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self, seed: u64) -> Totals {
        let disks: Vec<_> = self.disks.iter().map(|disk| disk.lock()).collect();
        let mut copies: HashMap<u64, BTreeSet<usize>> = HashMap::new();
        let mut origins: HashMap<u64, &BTreeSet<u64>> = HashMap::new();
        for (number, disk) in disks.iter().enumerate() {
            assert!(disk.wrong.is_empty(), "seed {seed}, ingester {number}: {:?}", disk.wrong);
            for (origin, spans) in &disk.origins {
                let known = origins.entry(*origin).or_insert(spans);
                assert_eq!(*known, spans, "seed {seed}: origin {origin:x} differs");
                for span in spans {
                    copies.entry(*span).or_default().insert(number);
                }
            }
        }
        let log = self.log.lock();
        for span in &log.acknowledged {
            let on = copies.get(span).map_or(0, BTreeSet::len);
            assert!(on >= QUORUM, "seed {seed}: span {span} was acknowledged and is on {on}");
        }
        Totals { acknowledged: log.acknowledged.len(), refused: log.refused, faults: self.faults }
    }
}

fn distributor(ring: Arc<Ring>) -> Distributor {
    let remotes: Mutex<HashMap<String, Arc<Remote>>> = Mutex::default();
    let mut limits = Limits::built_in();
    limits.ingestion.rate_limit_bytes = 0;
    let limits = Arc::new(limits);
    let parts = Parts {
        settings: Settings { remote_timeout: Duration::from_secs(2), ..Settings::default() },
        limits: Arc::new(move |_| Arc::clone(&limits)),
        ingesters: ring,
        ingester_of: Arc::new(move |instance| {
            let mut remotes = remotes.lock();
            let known = remotes.entry(instance.address.to_string());
            let remote = known.or_insert_with(|| Arc::new(Remote::to(&instance.address)));
            Arc::<Remote>::clone(remote)
        }),
        distributors: None,
    };
    Distributor::new(parts, &Registry::new())
}

/// Sends exports, and what was refused once more.
struct Client {
    distributor: Arc<Distributor>,
    log: Arc<Mutex<Log>>,
    spans: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    random: Random,
}

impl Client {
    async fn run(mut self) {
        let tenants = ["first", "second"].map(|name| TenantId::parse(name).expect("a valid name"));
        while !self.stop.load(Ordering::Relaxed) {
            let (mut scope_spans, mut resource_spans, mut request) = (vec![], vec![], vec![]);
            let first = self.spans.fetch_add(40, Ordering::Relaxed);
            let ids = first..first + 1 + self.random.below(40);
            for id in ids.clone() {
                let mut span = Vec::new();
                let trace = self.random.below(1 << 20) + 1;
                put_message_field(&mut span, 1, &u128::from(trace).to_be_bytes());
                put_message_field(&mut span, 2, &id.to_be_bytes());
                put_message_field(&mut scope_spans, 2, &span);
            }
            put_message_field(&mut resource_spans, 2, &scope_spans);
            put_message_field(&mut request, 1, &resource_spans);
            let tenant = &tenants[self.random.below(2) as usize];
            for _ in 0..3 {
                let result = self.distributor.push(tenant.clone(), request.clone().into()).await;
                let mut log = self.log.lock();
                if result.is_ok() {
                    log.acknowledged.extend(ids);
                    break;
                }
                log.refused += 1;
            }
            let pause = Duration::from_millis(20 + self.random.below(80));
            tokio::time::sleep(pause).await;
        }
    }
}
