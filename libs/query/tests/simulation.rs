//! Query-frontends and queriers on a network that loses messages, is cut in parts and whose hosts crash.
//!
//! Whatever happens, a query is answered rightly or fails; in the end no job runs for nobody, every slot can be used, and
//! no tenant waits behind all jobs of another.
//!
//! `TACTUS_SIMULATION_SEEDS` sets how many worlds are run, `TACTUS_SIMULATION_FIRST_SEED` the first.

#![expect(clippy::unwrap_used, reason = "a broken promise stops the test")]

#[path = "simulation/services.rs"]
mod services;
#[path = "simulation/wire.rs"]
mod wire;

use std::collections::HashMap;
use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tactus_config::GoDuration;
use tactus_config::sections::{querier::Querier as Section, query_frontend::QueryFrontend};
use tactus_proto::tactus::v1::FindTraceRequest;
use tactus_query::JobQueue;
use tactus_query_jobs::Worker;
use tactus_rpc::jobs::JobServices;
use tactus_server::bodies::Bodies;
use tactus_telemetry::metrics::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use turmoil::Sim;

use services::{Random, Services};

const FRONTENDS: [&str; 2] = ["frontend-0", "frontend-1"];
const QUERIERS: [&str; 3] = ["querier-0", "querier-1", "querier-2"];
const SLOTS: usize = 4;

/// Things go wrong for so long, and are well for as long afterwards as everything takes to recover.
const TROUBLE: Duration = Duration::from_secs(30);
const RECOVERY: Duration = Duration::from_secs(60);

/// What a test sees of all hosts.
#[derive(Default)]
struct World {
    /// The queue of each frontend that is up.
    queues: Mutex<HashMap<&'static str, JobQueue>>,
    /// Jobs that run on each querier; a crash starts anew.
    running: Mutex<HashMap<&'static str, Arc<AtomicUsize>>>,
    answered: AtomicUsize,
    failed: AtomicUsize,
    given_up: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    /// Frontends that came to their end.
    done: AtomicUsize,
    /// No more trouble from now on.
    calm: AtomicUsize,
    /// Longest wait of the small tenant while it is calm.
    longest_small: Mutex<Duration>,
}

#[test]
fn queries_survive_whatever_happens_to_the_network() {
    let number = |name: &str, default| {
        env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first: u64 = number("TACTUS_SIMULATION_FIRST_SEED", 1);
    let count: u64 = number("TACTUS_SIMULATION_SEEDS", 24);
    for seed in first..first + count {
        simulate(seed);
    }
}

fn simulate(seed: u64) {
    let world = Arc::new(World::default());
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(5))
        .simulation_duration(Duration::from_secs(600))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .build();
    for (at, name) in FRONTENDS.into_iter().enumerate() {
        let world = Arc::clone(&world);
        sim.host(name, move || frontend(name, seed + at as u64, Arc::clone(&world)));
    }
    for (at, name) in QUERIERS.into_iter().enumerate() {
        let world = Arc::clone(&world);
        sim.host(name, move || querier(name, seed + 100 * at as u64, Arc::clone(&world)));
    }
    make_trouble(&mut sim, seed);
    world.calm.store(1, Ordering::Relaxed);
    advance(&mut sim, RECOVERY);
    check(&world, seed);
}

fn advance(sim: &mut Sim<'_>, time: Duration) {
    let end = sim.elapsed() + time;
    while sim.elapsed() < end {
        sim.step().expect("hosts do not fail");
    }
}

/// Cuts, holds and crashes by chance, and makes everything whole again.
fn make_trouble(sim: &mut Sim<'_>, seed: u64) {
    let random = Random::new(seed);
    let hosts: Vec<_> = FRONTENDS.into_iter().chain(QUERIERS).collect();
    let end = sim.elapsed() + TROUBLE;
    while sim.elapsed() < end {
        advance(sim, Duration::from_millis(200 + random.below(2_000)));
        let frontend = FRONTENDS[random.below(2) as usize];
        let querier = QUERIERS[random.below(3) as usize];
        match random.below(8) {
            0 => sim.partition(frontend, querier),
            1 => sim.partition_oneway(frontend, querier),
            2 => sim.partition_oneway(querier, frontend),
            3 => sim.hold(frontend, querier),
            4 => sim.set_link_fail_rate(frontend, querier, 0.2),
            5 => sim.bounce(hosts[random.below(5) as usize]),
            _ => {
                sim.release(frontend, querier);
                sim.repair(frontend, querier);
            }
        }
    }
    for frontend in FRONTENDS {
        for querier in QUERIERS {
            sim.set_link_fail_rate(frontend, querier, 0.0);
            sim.release(frontend, querier);
            sim.repair(frontend, querier);
        }
    }
}

fn check(world: &World, seed: u64) {
    let wrong = world.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!(count(&world.done), FRONTENDS.len(), "seed {seed}: a query hangs");
    assert!(count(&world.answered) > 500, "seed {seed}: {} answers", count(&world.answered));
    assert!(count(&world.given_up) > 10, "seed {seed}: {} given up", count(&world.given_up));
    let longest = *world.longest_small.lock().unwrap();
    assert!(longest > Duration::ZERO, "seed {seed}: the small tenant asked nothing");
    assert!(longest < Duration::from_secs(3), "seed {seed}: the small tenant waited {longest:?}");
    for (name, queue) in &*world.queues.lock().unwrap() {
        assert_eq!(queue.outstanding(), 0, "seed {seed}: jobs at {name}");
        assert_eq!(queue.slots(), QUERIERS.len() * SLOTS / 2, "seed {seed}: slots of {name}");
    }
    for (name, running) in &*world.running.lock().unwrap() {
        assert_eq!(count(running), 0, "seed {seed}: jobs on {name} that nobody waits for");
    }
}

/// A frontend and its clients.
async fn frontend(name: &'static str, seed: u64, world: Arc<World>) -> turmoil::Result {
    let queue = JobQueue::new(&QueryFrontend::default(), &Registry::new());
    world.queues.lock().unwrap().insert(name, queue.clone());
    let server = tokio::spawn(wire::serve(queue.service(1 << 20, Bodies::unbounded())));
    let mut clients = Vec::new();
    for at in 0..6 {
        let tenant = if at == 0 { "small" } else { "large" };
        let random = Random::new(seed * 1_000 + at);
        clients.push(tokio::spawn(ask_all(tenant, queue.clone(), random, Arc::clone(&world))));
    }
    for client in clients {
        client.await?;
    }
    use_every_slot(&queue, &world).await;
    world.done.fetch_add(1, Ordering::Relaxed);
    server.await?.map_err(Into::into)
}

/// Queries of a client, one after the other, until all has been calm for a while.
async fn ask_all(tenant: &'static str, queue: JobQueue, random: Random, world: Arc<World>) {
    let mut calm_since = None;
    loop {
        if world.calm.load(Ordering::Relaxed) == 1 {
            let since = *calm_since.get_or_insert_with(Instant::now);
            // Streams that hang are given up by now.
            let is_settled = since.elapsed() > Duration::from_secs(25);
            if since.elapsed() > Duration::from_secs(40) {
                return;
            }
            let started = Instant::now();
            ask(tenant, &queue, &random, &world).await;
            if tenant == "small" && is_settled {
                let mut longest = world.longest_small.lock().unwrap();
                *longest = started.elapsed().max(*longest);
            }
        } else {
            ask(tenant, &queue, &random, &world).await;
        }
        sleep(Duration::from_millis(random.below(100))).await;
    }
}

/// One query of one job, or of many at a time, that the client may give up.
async fn ask(tenant: &'static str, queue: &JobQueue, random: &Random, world: &World) {
    let jobs = if tenant == "large" { 1 + random.below(20) } else { 1 };
    let hangs = tenant == "large" && random.below(10) == 0;
    let id = || if hangs { services::HANG.to_vec() } else { random.next().to_be_bytes().to_vec() };
    let ids: Vec<_> = (0..jobs).map(|_| id()).collect();
    let calls = ids.into_iter().map(|id| find(tenant, queue, id, world));
    let patience = match random.below(4) {
        _ if hangs => Duration::from_millis(random.below(1_000)),
        0 if tenant == "large" => Duration::from_millis(random.below(500)),
        _ => Duration::from_secs(120),
    };
    let query = futures_util::future::join_all(calls);
    let counter = match timeout(patience, query).await {
        Err(_) if patience > Duration::from_secs(1) => {
            let text = format!("a query of {tenant} hangs");
            return world.wrong.lock().unwrap().push(text);
        }
        Err(_) => &world.given_up,
        Ok(results) if results.iter().all(Result::is_ok) => &world.answered,
        Ok(_) => &world.failed,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

async fn find(tenant: &str, queue: &JobQueue, id: Vec<u8>, world: &World) -> Result<(), Status> {
    let request = FindTraceRequest {
        tenant: tenant.to_owned(),
        trace_id: id.clone().into(),
        ..Default::default()
    };
    let answer = queue.ask(request).await?.into_inner();
    if answer.trace != services::answer_to(&id) {
        world.wrong.lock().unwrap().push(format!("another answer to {id:?}"));
    }
    Ok(())
}

/// As many jobs as there are slots, each of which waits for all others to run.
async fn use_every_slot(queue: &JobQueue, world: &World) {
    let slots = queue.slots();
    let calls = (0..slots).map(|_| {
        let request = FindTraceRequest {
            tenant: "slots".to_owned(),
            trace_id: services::SLOW.to_vec().into(),
            ..Default::default()
        };
        queue.ask(request)
    });
    let all = futures_util::future::join_all(calls);
    match timeout(services::SLOW_TIME + Duration::from_secs(1), all).await {
        Ok(results) if results.iter().all(Result::is_ok) => {}
        Ok(results) => world.wrong.lock().unwrap().push(format!("slow jobs fail: {results:?}")),
        Err(_) => world.wrong.lock().unwrap().push(format!("not all of {slots} slots are free")),
    }
}

/// A querier whose jobs take some time, fail now and then, and sometimes hang until they are dropped.
async fn querier(name: &'static str, seed: u64, world: Arc<World>) -> turmoil::Result {
    let running = Arc::new(AtomicUsize::new(0));
    world.running.lock().unwrap().insert(name, Arc::clone(&running));
    let services = Services::new(seed, running);
    let jobs = JobServices { querier: Arc::new(services.clone()), ingester: Arc::new(services) };
    let mut section = Section { max_concurrent_queries: SLOTS, ..Section::default() };
    section.search.query_timeout = GoDuration::seconds(5);
    section.frontend_worker.id = name.to_owned();
    section.frontend_worker.grpc_client_config.max_recv_msg_size = 1 << 20;
    section.frontend_worker.grpc_client_config.max_send_msg_size = 1 << 20;
    let addresses = FRONTENDS.map(|name| format!("{name}:{}", wire::PORT)).to_vec();
    let (_addresses, receiver) = watch::channel(addresses);
    let worker = Worker::new(section, jobs, Bodies::unbounded(), wire::dial(), &Registry::new());
    worker.run(receiver, CancellationToken::new()).await;
    Ok(())
}
