use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tactus_config::sections::overrides::Limits;
use tactus_proto::tactus::v1::{
    GenerateRequest, GenerateResponse, metrics_generator_server::MetricsGenerator,
};
use tactus_receivers::TraceSink;
use tactus_ring::{Instance, RingSettings, State};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::*;
use crate::tests::doubles::{Cluster, GOOD, export, instance, span_ids};

/// A generator that records, and takes each push when it is let.
struct Double {
    taken: Mutex<Vec<GenerateRequest>>,
    lets: Semaphore,
    refuses: AtomicUsize,
}

#[async_trait::async_trait]
impl MetricsGenerator for Double {
    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        self.lets.acquire().await.unwrap().forget();
        if self.refuses.load(Ordering::SeqCst) > 0 {
            return Err(Status::unavailable("not now"));
        }
        self.taken.lock().push(request.into_inner());
        Ok(Response::new(GenerateResponse::default()))
    }
}

struct World {
    cluster: Cluster,
    doubles: Vec<Arc<Double>>,
    generators: Generators,
    limits: Arc<Mutex<Limits>>,
}

/// Three at the second place is the number of pushes that each double takes by itself.
fn world(members: Vec<Instance>, lets: usize, max_bytes: u64) -> World {
    let double = |_| {
        let (taken, refuses) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Double { taken, lets: Semaphore::new(lets), refuses })
    };
    let doubles: Vec<_> = (0..members.len()).map(double).collect();
    let mut defaults = Limits::built_in();
    defaults.metrics_generator.processors = vec!["span-metrics".to_owned()];
    let limits = Arc::new(Mutex::new(defaults));
    let (reached, of_tenants) = (doubles.clone(), Arc::clone(&limits));
    let cluster = Cluster::new(1, 1);
    let parts = GeneratorParts {
        ring: Ring::fixed(RingSettings::new("metrics-generator"), members),
        generator_of: Arc::new(move |instance| {
            let number: usize = instance.address.parse().unwrap();
            Arc::<Double>::clone(&reached[number])
        }),
        limits_of: Arc::new(move |_| Arc::new(of_tenants.lock().clone())),
        remote_timeout: Duration::from_secs(5),
        max_bytes,
    };
    let generators = Generators::new(parts, &cluster.registry);
    let Cluster { doubles: ingesters, ring, distributor, registry, limits: rates } = cluster;
    let distributor = distributor.with_generators(Some(generators.clone()));
    let cluster = Cluster { doubles: ingesters, ring, distributor, registry, limits: rates };
    World { cluster, doubles, generators, limits }
}

impl World {
    fn new(generators: usize) -> Self {
        world((0..generators).map(instance).collect(), 10_000, 1 << 20)
    }

    async fn push(&self, request: Bytes) {
        self.cluster.distributor.push(TenantId::single(), request).await.unwrap();
    }

    /// The pushes of each generator, once the queues are empty.
    async fn taken(&self) -> Vec<Vec<GenerateRequest>> {
        self.generators.stop().await;
        self.doubles.iter().map(|double| std::mem::take(&mut *double.taken.lock())).collect()
    }

    fn queue(&self, metric: &str) -> f64 {
        let labels = "name=\"metrics-generator\",tenant=\"single-tenant\"";
        self.cluster.metric(&format!("tempo_distributor_queue_{metric}{{{labels}}}"))
    }
}

fn traces(count: u8) -> Bytes {
    let ids: Vec<([u8; 16], [u8; 8])> = (1..=count)
        .flat_map(|trace| [([trace; 16], [trace; 8]), ([trace; 16], [!trace; 8])])
        .collect();
    let spans: Vec<(&[u8], &[u8])> =
        ids.iter().map(|(trace, span)| (trace.as_slice(), span.as_slice())).collect();
    export(&spans)
}

#[tokio::test]
async fn stored_spans_reach_the_only_generator_as_slices_of_the_request() {
    let world = World::new(1);
    let request = export(&[GOOD, (&[1; 8], &[2; 8])]);
    world.push(request.clone()).await;
    let good = export(&[GOOD]);
    world.push(good.clone()).await;
    let taken = world.taken().await;
    assert_eq!(taken[0].len(), 2);
    let spans = taken[0][0].spans.as_ref().unwrap();
    assert_eq!((spans.tenant.as_str(), span_ids(spans).len()), ("single-tenant", 1));
    let run = &taken[0][1].spans.as_ref().unwrap().runs[0];
    assert!(good.as_ptr_range().contains(&run.scope_spans.as_ptr()));
    assert!(!taken[0][0].skip);
    assert_eq!((world.queue("pushes_total"), world.queue("length")), (2.0, 0.0));
}

#[tokio::test]
async fn traces_stay_whole_and_go_where_the_ring_says() {
    let world = World::new(3);
    world.push(traces(60)).await;
    world.push(traces(60)).await;
    let taken = world.taken().await;
    let mut place_of: HashMap<u64, usize> = HashMap::new();
    let mut seen = 0;
    for (place, pushes) in taken.iter().enumerate() {
        // One push a request.
        assert!((1..=2).contains(&pushes.len()), "{}", pushes.len());
        for push in pushes {
            for id in span_ids(push.spans.as_ref().unwrap()) {
                // Both spans of a trace, in both requests.
                let trace = id.min(!id);
                assert_eq!(*place_of.entry(trace).or_insert(place), place);
                seen += 1;
            }
        }
    }
    assert_eq!((seen, place_of.len()), (240, 60));
}

#[tokio::test]
async fn shard_of_a_tenant_is_all_that_it_uses() {
    let world = World::new(5);
    world.limits.lock().metrics_generator.ring_size = 2;
    world.push(traces(100)).await;
    let taken = world.taken().await;
    assert_eq!(taken.iter().filter(|pushes| !pushes.is_empty()).count(), 2);
}

#[tokio::test]
async fn tenant_without_processors_has_no_queue() {
    let world = World::new(1);
    world.limits.lock().metrics_generator.processors.clear();
    world.push(export(&[GOOD])).await;
    assert_eq!(world.queue("pushes_total"), 0.0);
    assert!(world.taken().await[0].is_empty());
}

#[tokio::test]
async fn client_can_ask_for_no_series() {
    let world = World::new(1);
    let pushed = world.cluster.distributor.push_uncounted(TenantId::single(), export(&[GOOD]));
    pushed.await.unwrap();
    assert!(world.taken().await[0][0].skip);
}

#[tokio::test]
async fn spans_that_were_not_stored_are_not_counted() {
    let world = World::new(1);
    world.cluster.doubles[0].behaves(crate::tests::doubles::Behaviour::Fail(tonic::Code::Internal));
    assert!(world.cluster.distributor.push(TenantId::single(), export(&[GOOD])).await.is_err());
    assert!(world.taken().await[0].is_empty());
}

#[tokio::test(start_paused = true)]
async fn full_queue_drops_and_counts_and_the_client_does_not_notice() {
    let world = world(vec![instance(0)], 0, 1 << 20);
    world.limits.lock().metrics_generator.forwarder.queue_size = 3;
    world.limits.lock().metrics_generator.forwarder.workers = 1;
    for _ in 0..10 {
        world.push(export(&[GOOD])).await;
        world.cluster.settle().await;
    }
    // One is with the worker.
    assert_eq!(world.queue("length"), 3.0);
    assert_eq!(world.queue("pushes_failures_total"), 6.0);
    world.doubles[0].lets.add_permits(100);
    assert_eq!(world.taken().await[0].len(), 4);
    let sent = "tempo_distributor_forwarder_pushes_total{tenant=\"single-tenant\"}";
    assert_eq!(world.cluster.metric(sent), 4.0);
}

#[tokio::test(start_paused = true)]
async fn bytes_of_all_queues_together_are_bounded() {
    let size = export(&[GOOD]).len() as u64;
    let world = world(vec![instance(0)], 0, 5 * size);
    for _ in 0..9 {
        world.push(export(&[GOOD])).await;
    }
    assert_eq!(world.queue("pushes_failures_total"), 4.0);
    world.doubles[0].lets.add_permits(100);
    assert_eq!(world.taken().await[0].len(), 5);
    assert_eq!(world.generators.0.budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn generator_that_hangs_or_refuses_costs_its_part_only() {
    let world = World::new(2);
    world.doubles[0].refuses.store(1, Ordering::SeqCst);
    world.push(traces(50)).await;
    let taken = world.taken().await;
    assert!(taken[0].is_empty() && taken[1].len() == 1);
    let failed = |address: &str| {
        let name = "tempo_distributor_metrics_generator_pushes_failures_total";
        world.cluster.metric(&format!("{name}{{metrics_generator=\"{address}\"}}"))
    };
    assert_eq!((failed("0"), failed("1")), (1.0, 0.0));
    let not_sent = "tempo_distributor_forwarder_pushes_failures_total{tenant=\"single-tenant\"}";
    let sent = "tempo_distributor_forwarder_pushes_total{tenant=\"single-tenant\"}";
    assert_eq!((world.cluster.metric(not_sent), world.cluster.metric(sent)), (1.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn stop_gives_up_after_a_while() {
    let world = world(vec![instance(0)], 0, 1 << 20);
    for _ in 0..20 {
        world.push(export(&[GOOD])).await;
    }
    let started = tokio::time::Instant::now();
    assert!(world.taken().await[0].is_empty());
    assert!(started.elapsed() <= STOP_GRACE + Duration::from_secs(1));
    // Nothing is queued any more.
    let before = world.queue("pushes_failures_total");
    world.push(export(&[GOOD])).await;
    assert_eq!(world.queue("pushes_failures_total"), before + 1.0);
}

#[tokio::test(start_paused = true)]
async fn changed_settings_replace_the_queue_without_loss() {
    let world = world(vec![instance(0)], 0, 1 << 20);
    world.push(export(&[GOOD])).await;
    world.limits.lock().metrics_generator.forwarder.queue_size = 1;
    // Known settings are looked at again after a while; std's clock stands still here.
    for known in world.generators.0.queues.lock().values_mut() {
        known.looked = Instant::now().checked_sub(LOOK_AGAIN).unwrap();
    }
    for _ in 0..10 {
        world.push(export(&[GOOD])).await;
    }
    let sizes: Vec<_> =
        world.generators.0.queues.lock().values().map(|known| known.queue.settings()).collect();
    assert_eq!(sizes, [QueueSettings { requests: 1, workers: WORKERS }]);
    assert!(world.queue("pushes_failures_total") > 0.0);
    world.doubles[0].lets.add_permits(100);
    let expected = 11.0 - world.queue("pushes_failures_total");
    assert_eq!(world.taken().await[0].len() as f64, expected);
}

#[tokio::test]
async fn ring_without_a_healthy_generator_fails_the_request_alone() {
    let leaving = Instance { state: State::Leaving, ..instance(0) };
    for members in [Vec::new(), vec![leaving]] {
        let world = world(members, 100, 1 << 20);
        world.push(export(&[GOOD])).await;
        world.generators.stop().await;
        let failed = "tempo_distributor_forwarder_pushes_failures_total{tenant=\"single-tenant\"}";
        assert_eq!(world.cluster.metric(failed), 1.0);
    }
}
