use tactus_cache::answer::{AnswerScope, Times};
use tactus_cache::{Cache, Caches, Role};
use tactus_rpc::jobs::ANSWER_SCOPE;
use tactus_storage::BlockMeta;
use tokio::runtime::Handle;

use super::*;

const ROLES: [Role; 4] =
    [Role::Bloom, Role::ParquetFooter, Role::ParquetOffsetIndex, Role::ParquetPage];

/// The sample with a shared cache, which other queriers may have as well.
struct Shared {
    sample: Sample,
    registry: Registry,
    caches: Caches,
}

impl Shared {
    async fn new() -> Self {
        let (sample, registry) = (Sample::new(&[V4]).await, Registry::new());
        let cache = Cache::in_memory(&registry, &Handle::current());
        let with = |caches: Caches, role| caches.with(role, cache.clone());
        let caches = ROLES.into_iter().fold(Caches::default(), with);
        let mut shared = Self { sample, registry, caches };
        shared.restart();
        shared
    }

    /// A querier with nothing in memory.
    fn restart(&mut self) {
        let settings = Settings { caches: self.caches.clone(), ..Settings::default() };
        let (bucket, blocklist) = (self.sample.bucket.clone(), Arc::clone(&self.sample.blocklist));
        self.sample.querier = Querier::new(settings, bucket, blocklist, &Registry::new());
    }

    /// Waits until all writes are done.
    async fn written(&self) {
        let waiting = "tempo_cache_background_queue_length{name=\"memory\"} 0\n";
        while !self.registry.encode().contains(waiting) {
            tokio::task::yield_now().await;
        }
    }

    async fn explained(&self) -> (SearchResponse, u64, u64) {
        let request = SearchRequest { explain: true, ..traceql("{}") };
        let mut answer = self.sample.search(whole(V4), request).await.unwrap();
        let explanation = answer.explanations.remove(0);
        (answer, explanation.read_bytes, explanation.shared_cache_bytes)
    }
}

#[tokio::test]
async fn restarted_querier_reads_from_the_cache() {
    let mut shared = Shared::new().await;
    let (expected, read, cached) = shared.explained().await;
    assert!(read > 0 && cached == 0, "{read} {cached}");
    shared.written().await;
    shared.restart();
    let (answer, read, cached) = shared.explained().await;
    assert_eq!(answer.traces, expected.traces);
    assert!(cached > 0 && cached == read, "{read} {cached}");
}

#[tokio::test]
async fn damage_that_got_into_a_cache_is_read_past() {
    let expected = Shared::new().await.explained().await.0;
    let mut shared = Shared::new().await;
    let path = shared.sample.file(V4, "data.parquet");
    let whole_file = fs::read(&path).unwrap();
    let mut damaged = whole_file.clone();
    let middle = damaged.len() / 2;
    damaged[4..middle].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&path, &damaged).unwrap();
    let error = shared.sample.search(whole(V4), traceql("{}")).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    shared.written().await;
    fs::write(&path, &whole_file).unwrap();
    shared.restart();
    let (answer, ..) = shared.explained().await;
    assert_eq!(answer.traces, expected.traces);
    // What was read past was replaced.
    shared.written().await;
    shared.restart();
    let (answer, read, cached) = shared.explained().await;
    assert_eq!((answer.traces, cached), (expected.traces, read));
}

#[tokio::test]
async fn bloom_filters_are_cached() {
    const KNOWN: &str = "5b8efff798038103d269b633813fc60c";
    let mut shared = Shared::new().await;
    assert_eq!(shared.sample.find(KNOWN, &[V4]).await.unwrap().traces.len(), 1);
    shared.written().await;
    fs::remove_file(shared.sample.file(V4, "bloom-0")).unwrap();
    shared.restart();
    let found = shared.sample.find(KNOWN, &[V4]).await.unwrap();
    assert_eq!((found.traces.len(), found.damaged_blocks), (1, 0));
}

async fn scope(querier: &Querier, search: SearchRequest) -> Option<AnswerScope> {
    let request = SearchBlockRequest { search: Some(search), part: Some(whole(V4)) };
    let response = querier.search_block(Request::new(request)).await.unwrap();
    let text = response.metadata().get(ANSWER_SCOPE)?.to_str().unwrap().to_owned();
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn answers_tell_for_which_times_they_hold() {
    let sample = Sample::new(&[V4]).await;
    let id = Uuid::parse_str(V4).unwrap();
    let meta: BlockMeta = read_meta(&sample.bucket, TENANT, id).await.unwrap();
    let found = scope(&sample.querier, traceql("{}")).await.unwrap();
    assert_eq!(found.row_groups, meta.total_records);
    let Times::Around(first_end, last_start) = found.times else { panic!("{found}") };
    assert!(found.times.hold(0, u64::MAX));
    let all = sample.search(whole(V4), traceql("{}")).await.unwrap().traces;
    let second = 1_000_000_000;
    let (start, end) = (first_end / second, last_start.div_ceil(second));
    let within = |start: u64, end: u64| SearchRequest {
        start: start as u32,
        end: end as u32,
        ..traceql("{}")
    };
    let answer = sample.search(whole(V4), within(start, end)).await.unwrap();
    assert_eq!(answer.traces, all);
    // A narrower range leaves something out.
    for (start, end) in [(first_end.div_ceil(second) + 1, end), (start, last_start / second - 1)] {
        let answer = sample.search(whole(V4), within(start, end)).await.unwrap();
        assert!(answer.traces.len() < all.len(), "{start} {end}");
    }
    let never = scope(&sample.querier, traceql("{ false }")).await.unwrap();
    assert_eq!(never.times, Times::Any);
}
