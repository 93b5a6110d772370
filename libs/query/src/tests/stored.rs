//! What ingesters are told of the blocks that a query reads.

use std::collections::BTreeSet;

use tactus_storage::blocklist::BlockChanges;
use tactus_storage::meta::{BlockVersion, Extension};

use super::*;

const SECOND: u64 = 1_000_000_000;
const BASE: u64 = 1_700_000_000;
/// What a search and both kinds of queries for tags ask for.
const PATHS: [&str; 3] =
    ["/api/search?q={}&limit=50", "/api/v2/search/tags?", "/api/v2/search/tag/span.a/values?"];

struct Told {
    api: Api,
    querier: Arc<BlockData>,
}

/// A block of some seconds, which was made of others.
fn meta(number: u8, end: u64, sources: &[u8]) -> BlockMeta {
    let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, id(number));
    meta.set_time_range_unix_nanos((BASE + end - 9) * SECOND, (BASE + end) * SECOND);
    (meta.size, meta.total_records) = (100, 1);
    if !sources.is_empty() {
        meta.compaction_level = 1;
        let sources = sources.iter().map(|&source| id(source)).collect();
        meta.extension = Some(Box::new(Extension { sources, ..Extension::default() }));
    }
    meta
}

fn id(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number) << 100)
}

fn number(id: &[u8]) -> u8 {
    (Uuid::from_slice(id).unwrap().as_u128() >> 100) as u8
}

impl Told {
    async fn new(limits: Limits) -> Self {
        let querier = Arc::new(BlockData::default());
        let setup =
            Setup { blocks: &[], querier: Some(Arc::clone(&querier)), limits, ..Setup::default() };
        Self { api: Api::new(setup).await, querier }
    }

    fn add(&self, meta: BlockMeta) {
        self.api.blocklist.add_block(meta);
    }

    /// The blocks that the ingester was told of, and those that were read.
    async fn ask(&self, path: &str) -> (BTreeSet<u8>, BTreeSet<u8>) {
        self.api.get(&format!("{path}&start={BASE}&end={}", BASE + 1_000)).await.json();
        let recent = &self.api.recent;
        let mut told = Vec::new();
        told.extend(recent.searches.lock().drain(..).map(|it| it.stored_block_ids));
        told.extend(recent.tags_requests.lock().drain(..).map(|it| it.stored_block_ids));
        told.extend(recent.values_requests.lock().drain(..).map(|it| it.stored_block_ids));
        let [told] = &told[..] else { panic!("one request") };
        let read = self.querier.searched.lock().drain(..).collect::<Vec<_>>();
        let read = read.iter().map(|id| number(Uuid::parse_str(id).unwrap().as_bytes()));
        (told.chunks(16).map(number).collect(), read.collect())
    }
}

fn set(numbers: &[u8]) -> BTreeSet<u8> {
    numbers.iter().copied().collect()
}

#[tokio::test]
async fn ingester_is_told_of_the_blocks_in_the_window_and_of_what_they_were_made_of() {
    let told = Told::new(Limits::built_in()).await;
    told.add(meta(1, 100, &[]));
    let mut outside = meta(2, 100, &[]);
    outside.set_time_range_unix_nanos((BASE - 500) * SECOND, (BASE - 400) * SECOND);
    told.add(outside);
    for path in PATHS {
        assert_eq!(told.ask(path).await, (set(&[1]), set(&[1])), "{path}");
    }
    // Of a merged block the ingesters have made the sources; of one source the meta is gone already.
    told.add(meta(3, 200, &[]));
    told.add(meta(4, 200, &[3, 5]));
    for path in PATHS {
        assert_eq!(told.ask(path).await, (set(&[1, 3, 5]), set(&[1, 4])), "{path}");
    }
}

#[tokio::test]
async fn block_that_ingesters_were_told_of_is_read_whatever_becomes_of_the_list() {
    let told = Told::new(Limits::built_in()).await;
    for query in ["{}", "{} with (most_recent=true)"] {
        told.add(meta(1, 100, &[]));
        let list = Arc::clone(&told.api.blocklist);
        *told.api.recent.meanwhile.lock() = Some(Box::new(move || {
            list.change(TENANT, BlockChanges { remove: vec![id(1)], ..BlockChanges::default() });
            list.add_block(meta(2, 100, &[]));
        }));
        let path = format!("/api/search?q={}", encoded(query));
        assert_eq!(told.ask(&path).await, (set(&[1]), set(&[1, 2])), "{query}");
        *told.api.recent.meanwhile.lock() = None;
        assert_eq!(told.ask(&path).await, (set(&[2]), set(&[2])), "{query}");
        let remove = BlockChanges { remove: vec![id(2)], ..BlockChanges::default() };
        told.api.blocklist.change(TENANT, remove);
    }
}

#[tokio::test]
async fn ingester_is_told_of_no_block_that_a_limit_keeps_from_being_read() {
    let limits = limits_with(|limits| limits.read.max_blocks_per_tag_values_query = 2);
    let told = Told::new(limits).await;
    (1..=4).for_each(|number| told.add(meta(number, 100 * u64::from(number), &[])));
    assert_eq!(told.ask(PATHS[0]).await.0, set(&[1, 2, 3, 4]));
    for path in &PATHS[1..] {
        assert_eq!(told.ask(path).await, (set(&[3, 4]), set(&[3, 4])), "{path}");
    }
}

#[tokio::test]
async fn number_of_blocks_that_ingesters_are_told_of_is_bounded() {
    let told = Told::new(Limits::built_in()).await;
    let (one, newest) = (SECOND * BASE, SECOND * (BASE + 5));
    let metas = (0..3_000u128).map(|number| {
        let id = Uuid::from_u128(number + 1);
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, id);
        meta.set_time_range_unix_nanos(one, if number >= 1_000 { newest } else { one });
        (meta.size, meta.total_records) = (100, 1);
        meta
    });
    let add = metas.map(Arc::new).collect();
    told.api.blocklist.change(TENANT, BlockChanges { add, ..BlockChanges::default() });
    told.api.get(&format!("/api/search?q={{}}&start={BASE}&end={}", BASE + 9)).await.json();
    let searches = told.api.recent.searches.lock();
    let ids: Vec<_> = searches[0].stored_block_ids.chunks(16).collect();
    assert_eq!(ids.len(), 2_048);
    let number = |id: &&[u8]| Uuid::from_slice(id).unwrap().as_u128();
    assert_eq!(ids.iter().filter(|id| number(id) > 1_000).count(), 2_000, "the newest first");
    assert_eq!(told.querier.searched.lock().len(), 3_000);
}
