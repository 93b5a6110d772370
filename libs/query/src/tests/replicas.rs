//! Metrics where several ingesters and blocks have the same spans.

use tactus_model::OriginSet;
use tactus_proto::tactus::v1::{Holder, HoldingsRequest, MetricsRequest, MetricsResponse};
use tactus_storage::meta::{BlockVersion, Extension, block_origin};
use tonic::Status;

use super::metrics::{response, series};
use super::*;

const SECOND: u64 = 1_000_000_000;
const BASE: u64 = 1_700_000_000;
const RATE: &str = "{} | count_over_time()";

struct Replicas {
    api: Api,
    querier: Arc<BlockData>,
}

fn holder(id: &str, complete: &[u64], incomplete: &[u64]) -> Holder {
    Holder {
        ingester_id: id.to_owned(),
        complete: complete.to_vec(),
        incomplete: incomplete.to_vec(),
        ..Holder::default()
    }
}

/// A block of the query's time whose spans came with these origins; it counts one span.
fn meta(number: u64, complete: &[u64], incomplete: &[u64]) -> BlockMeta {
    let id = Uuid::from_u128(u128::from(number) << 100);
    let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, id);
    meta.set_time_range_unix_nanos((BASE + 50) * SECOND, (BASE + 90) * SECOND);
    (meta.size, meta.total_records) = (100, 1);
    let set = |bounds: &[u64]| OriginSet::from_bounds(bounds).unwrap();
    meta.extension = Some(Box::new(Extension {
        origins: set(complete),
        incomplete_origins: set(incomplete),
        ..Extension::default()
    }));
    meta
}

impl Replicas {
    async fn new(holders: Vec<Holder>) -> Self {
        let querier = Arc::new(BlockData::default());
        let settings = Settings { replicated: true, ..Settings::default() };
        let setup = Setup {
            settings,
            blocks: &[],
            querier: Some(Arc::clone(&querier)),
            ..Setup::default()
        };
        let api = Api::new(setup).await;
        *api.recent.holders.lock() = holders;
        *api.recent.series.lock() = response(vec![series(&[], &[(1, 1.0)])]);
        Self { api, querier }
    }

    fn add(&self, meta: BlockMeta) {
        add(&self.querier, &self.api.blocklist, meta);
    }

    /// The count of the middle interval, and whether something is missing.
    async fn count(&self) -> (f64, bool) {
        let answer = self.api.range(RATE, "").await;
        let samples = &answer.json()["series"][0]["samples"];
        let count = samples[1]["value"].as_f64().unwrap_or_default();
        (count, answer.headers.contains_key("x-tactus-partial"))
    }

    /// What ingesters were asked since the last call.
    fn asked(&self) -> Vec<MetricsRequest> {
        std::mem::take(&mut *self.api.recent.metrics_requests.lock())
    }
}

fn add(querier: &BlockData, blocklist: &Blocklist, meta: BlockMeta) {
    let answer = response(vec![series(&[], &[(1, 10.0)])]);
    querier.series.lock().insert(meta.block_id.to_string(), answer);
    blocklist.add_block(meta);
}

#[tokio::test]
async fn ingesters_are_told_what_others_and_blocks_have() {
    let holders = vec![holder("a", &[5, 20], &[]), holder("b", &[5, 30], &[40, 41])];
    let replicas = Replicas::new(holders.clone()).await;
    let mut elsewhere = meta(1, &[5, 5], &[]);
    elsewhere.set_time_range_unix_nanos((BASE + 500) * SECOND, (BASE + 600) * SECOND);
    replicas.add(elsewhere);
    replicas.add(meta(2, &[1, 7, 15, 16], &[]));
    assert_eq!(replicas.count().await, (11.0, false));
    let [asked] = &replicas.asked()[..] else { panic!("one request") };
    assert_eq!(asked.holders, holders);
    // What no ingester has need not be sent; spans of the block without an origin are known by the block.
    let block = block_origin(Uuid::from_u128(2 << 100));
    assert_eq!(OriginSet::from_bounds(&asked.stored_origins).unwrap(), {
        OriginSet::from_ranges(vec![(5, 7), (15, 16), (block, block)])
    });
    let jobs = replicas.querier.metrics_requests.lock();
    let job = jobs[0].metrics.as_ref().unwrap();
    assert!(job.holders.is_empty() && job.stored_origins.is_empty(), "answers are kept by request");
}

#[tokio::test]
async fn block_list_is_taken_after_the_ingesters_said_what_they_have() {
    let replicas = Replicas::new(vec![holder("a", &[5, 20], &[])]).await;
    let (list, querier) = (Arc::clone(&replicas.api.blocklist), Arc::clone(&replicas.querier));
    *replicas.api.recent.while_holding.lock() =
        Some(Box::new(move || add(&querier, &list, meta(1, &[6, 6], &[]))));
    let (list, querier) = (Arc::clone(&replicas.api.blocklist), Arc::clone(&replicas.querier));
    // Spans that came into a block later are counted by the ingester.
    *replicas.api.recent.meanwhile.lock() =
        Some(Box::new(move || add(&querier, &list, meta(2, &[7, 7], &[]))));
    assert_eq!(replicas.count().await, (11.0, false));
    let asked = replicas.asked();
    assert!(asked[0].stored_origins.starts_with(&[6, 6]), "{:?}", asked[0].stored_origins);
}

#[tokio::test]
async fn spans_let_go_of_meanwhile_make_the_frontend_ask_anew() {
    let replicas = Replicas::new(vec![holder("a", &[5, 20], &[])]).await;
    let aborted = |times: usize| {
        *replicas.api.recent.failures.lock() = vec![Status::aborted("let go"); times];
    };
    aborted(2);
    assert_eq!(replicas.count().await, (1.0, false));
    assert_eq!(replicas.asked().len(), 3);
    replicas.add(meta(1, &[], &[]));
    aborted(9);
    assert_eq!(replicas.count().await, (10.0, true));
    assert_eq!(replicas.asked().len(), 3);
}

#[tokio::test]
async fn ingester_that_does_not_answer_is_left_out_of_the_next_attempt() {
    let replicas = Replicas::new(vec![holder("a", &[5, 20], &[])]).await;
    let recent = Arc::clone(&replicas.api.recent);
    let answers = |silent: &[&str]| {
        let silent_ingesters = silent.iter().map(|id| (*id).to_owned()).collect();
        let partial = !silent.is_empty();
        let counted = response(vec![series(&[], &[(1, 1.0)])]);
        MetricsResponse { silent_ingesters, partial, ..counted }
    };
    *recent.series.lock() = answers(&["c", "b"]);
    let (changed, whole) = (Arc::clone(&recent), answers(&[]));
    *recent.while_holding.lock() = Some(Box::new(move || {
        if changed.holdings_requests.lock().len() == 2 {
            *changed.series.lock() = whole.clone();
        }
    }));
    assert_eq!(replicas.count().await, (1.0, false));
    let without = |request: &HoldingsRequest| request.without_ingesters.clone();
    let asked: Vec<_> = recent.holdings_requests.lock().iter().map(without).collect();
    assert_eq!(asked, [vec![], vec!["b".to_owned(), "c".to_owned()]]);
    // What others lack is said once it is counted.
    *recent.while_holding.lock() = None;
    *recent.series.lock() = answers(&["b"]);
    replicas.add(meta(1, &[], &[]));
    assert_eq!(replicas.count().await, (10.0, true));
}

#[tokio::test]
async fn what_may_be_missing_is_said() {
    let replicas = Replicas::new(vec![holder("a", &[5, 20], &[])]).await;
    replicas.api.recent.partial.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(replicas.count().await, (1.0, true));
    replicas.api.recent.partial.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(replicas.count().await, (1.0, false));
    // The block's ingester refused spans of 7, which this one may have: they are not counted, and not twice.
    replicas.add(meta(1, &[], &[7, 7]));
    assert_eq!(replicas.count().await, (11.0, true));
    assert!(replicas.asked().last().unwrap().stored_origins.starts_with(&[7, 7]));
    *replicas.api.recent.holders.lock() = vec![holder("a", &[], &[5, 20])];
    assert_eq!(replicas.count().await, (11.0, false), "both refused about the same");
    // Another block has them all.
    *replicas.api.recent.holders.lock() = vec![holder("a", &[5, 20], &[])];
    replicas.add(meta(2, &[7, 7], &[]));
    assert_eq!(replicas.count().await, (21.0, false));
}

#[tokio::test]
async fn sources_of_a_merged_block_are_stored_too() {
    let replicas = Replicas::new(vec![holder("a", &[], &[])]).await;
    let source = meta(1, &[], &[]);
    let mut merged = meta(2, &[], &[]);
    merged.extension =
        Some(Box::new(Extension { sources: vec![source.block_id], ..Extension::default() }));
    replicas.add(merged.clone());
    replicas.count().await;
    let stored = OriginSet::from_bounds(&replicas.asked()[0].stored_origins).unwrap();
    assert_eq!(stored, [source.block_id, merged.block_id].map(block_origin).into_iter().collect());
}

#[tokio::test]
async fn without_any_holder_only_blocks_are_counted() {
    let replicas = Replicas::new(Vec::new()).await;
    replicas.add(meta(1, &[7, 7], &[]));
    assert_eq!(replicas.count().await, (10.0, false));
    assert!(replicas.asked().is_empty(), "they would count everything");
}
