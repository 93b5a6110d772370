mod damage;
mod faults;
mod faulty_store;
mod room;
mod tenants;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::bucket::BucketSettings;
use crate::layout::{META, block_key, bloom_key};
use crate::meta::{BlockMeta, BlockVersion};

struct Store {
    _directory: tempfile::TempDir,
    bucket: Bucket,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        Self { _directory: directory, bucket }
    }

    async fn add(&self, tenant: &str) -> Uuid {
        let meta = BlockMeta::new(BlockVersion::VParquet4, tenant, Uuid::new_v4());
        let key = block_key(tenant, meta.block_id, META);
        self.bucket.put(&key, meta.to_json().into()).await.unwrap();
        self.bucket.put(&bloom_key(tenant, meta.block_id, 0), Bytes::new()).await.unwrap();
        meta.block_id
    }

    async fn has(&self, key: &str) -> bool {
        self.bucket.head(key).await.is_ok()
    }

    fn builder(&self) -> Poller {
        Poller::builder(self.bucket.clone(), Arc::default(), PollerSettings::default())
    }

    fn reader(&self, settings: PollerSettings) -> Poller {
        Poller::reader(self.bucket.clone(), Arc::default(), settings)
    }
}

fn live(poller: &Poller, tenant: &str) -> Vec<Uuid> {
    poller.blocklist.tenant(tenant).live().iter().map(|meta| meta.block_id).collect()
}

#[tokio::test]
async fn builder_lists_blocks_once_and_writes_both_indexes() {
    let store = Store::new();
    let mut ids = [store.add("t1").await, store.add("t1").await];
    ids.sort_unstable();
    store.add("t2").await;
    store.bucket.put("overrides/t1/overrides.json", Bytes::new()).await.unwrap();
    let poller = store.builder();
    let report = poller.poll_once().await.unwrap();
    assert_eq!((report.tenants, report.live_blocks, report.metas_read), (2, 3, 3));
    let is_sound = |seen: &TenantReport| seen.index_errors == 0;
    assert!(!report.is_incomplete() && report.by_tenant.iter().all(is_sound));
    assert_eq!(live(&poller, "t1"), ids);
    assert_eq!(poller.blocklist.tenants(), ["t1", "t2"]);
    for key in ["t1/index.pb.zst", "t1/index.json.gz", "t2/index.pb.zst", "t2/index.json.gz"] {
        assert!(store.has(key).await, "{key}");
    }
    let report = poller.poll_once().await.unwrap();
    assert_eq!((report.live_blocks, report.metas_read), (3, 0));
    for seen in report.by_tenant {
        assert!(seen.is_builder && !seen.failed && seen.index_created_at.is_some());
    }
}

#[tokio::test]
async fn compacted_block_moves_lists_without_another_read() {
    let store = Store::new();
    let id = store.add("t").await;
    let poller = store.builder();
    poller.poll_once().await.unwrap();
    block_io::mark_compacted(&store.bucket, "t", id).await.unwrap();
    let report = poller.poll_once().await.unwrap();
    assert_eq!((report.live_blocks, report.compacted_blocks, report.metas_read), (0, 1, 0));
    let fresh = store.builder();
    assert_eq!(fresh.poll_once().await.unwrap().metas_read, 1);
    assert!(fresh.blocklist.tenant("t").has_compacted(id));
}

#[tokio::test]
async fn corrupt_truncated_and_foreign_metas_hide_only_their_block() {
    let store = Store::new();
    let good = store.add("t").await;
    let meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4()).to_json();
    for bytes in
        [Bytes::new(), Bytes::from_static(b"not json"), meta[..20].to_vec().into(), meta.into()]
    {
        store.bucket.put(&block_key("t", Uuid::new_v4(), META), bytes).await.unwrap();
    }
    let poller = store.builder();
    let report = poller.poll_once().await.unwrap();
    assert_eq!(report.metas_corrupt, 4);
    assert!(report.failed_tenants.is_empty());
    assert_eq!(live(&poller, "t"), [good]);
}

#[tokio::test]
async fn new_reader_lists_until_an_index_is_newer() {
    let store = Store::new();
    let indexed = store.add("t").await;
    let builder = store.builder();
    builder.poll_once().await.unwrap();
    let later = store.add("t").await;
    let reader = store.reader(PollerSettings::default());
    let mut both = vec![indexed, later];
    both.sort_unstable();
    for _ in 0..2 {
        reader.poll_once().await.unwrap();
        assert_eq!(live(&reader, "t"), both, "the index does not have one of them");
    }
    builder.poll_once().await.unwrap();
    store.add("t").await;
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), both, "as the index says");
}

#[tokio::test]
async fn announced_blocks_take_no_room_once_a_listing_has_shown_them() {
    let store = Store::new();
    let reader = store.reader(PollerSettings::default());
    let mut announced = Vec::new();
    for _ in 0..4 {
        let id = store.add("t").await;
        let meta = block_io::read_meta(&store.bucket, "t", id).await.unwrap();
        let room_for_one = meta.memory_bytes() * 3 / 2;
        reader.blocklist.add_announced(meta, room_for_one).unwrap();
        announced.push(id);
        announced.sort_unstable();
        for _ in 0..2 {
            assert_eq!(live(&reader, "t"), announced);
            reader.poll_once().await.unwrap();
            assert!(reader.blocklist.start_poll().own.is_empty());
        }
    }
}

#[tokio::test]
async fn announced_block_without_room_is_listed_where_the_index_may_be_older() {
    let store = Store::new();
    store.add("t").await;
    let reader = store.reader(PollerSettings::default());
    reader.poll_once().await.unwrap();
    store.builder().poll_once().await.unwrap();
    let id = store.add("t").await;
    let meta = block_io::read_meta(&store.bucket, "t", id).await.unwrap();
    reader.blocklist.add_announced(meta, 0).unwrap();
    assert!(reader.blocklist.is_part("t") && live(&reader, "t").len() == 1);
    for _ in 0..2 {
        reader.poll_once().await.unwrap();
        assert!(!reader.blocklist.is_part("t") && live(&reader, "t").contains(&id));
    }
}

#[tokio::test]
async fn index_that_is_newer_only_by_its_clock_does_not_undo_what_was_listed() {
    let store = Store::new();
    let indexed = store.add("t").await;
    store.builder().poll_once().await.unwrap();
    let [later, gone] = [store.add("t").await, store.add("t").await];
    let reader = store.reader(PollerSettings::default());
    assert_eq!(reader.poll_once().await.unwrap().live_blocks, 3);
    // As if the clock of this process were behind.
    reader.memory.set_listed("t", Timestamp::now() - Duration::from_secs(300));
    block_io::clear_block(&store.bucket, "t", gone).await.unwrap();
    let mut both = [indexed, later];
    both.sort_unstable();
    for _ in 0..2 {
        assert_eq!(reader.poll_once().await.unwrap().metas_read, 0, "it reads the index");
        assert_eq!(live(&reader, "t"), both);
    }
    store.builder().poll_once().await.unwrap();
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), both);
    let own = reader.blocklist.start_poll().own;
    assert!(own.is_empty(), "{own:?}");
}

#[tokio::test]
async fn reader_takes_protobuf_then_json_then_lists() {
    let store = Store::new();
    let indexed = store.add("t").await;
    let reader = store.reader(PollerSettings::default());
    reader.poll_once().await.unwrap();
    store.builder().poll_once().await.unwrap();
    let unindexed = store.add("t").await;
    let mut both = [indexed, unindexed];
    both.sort_unstable();
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), [indexed]);
    store.bucket.delete("t/index.pb.zst").await.unwrap();
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), [indexed]);
    store.bucket.delete("t/index.json.gz").await.unwrap();
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), both);
    assert!(!store.has("t/index.json.gz").await);
}

#[tokio::test]
async fn reader_without_fallback_keeps_the_previous_list() {
    let store = Store::new();
    let id = store.add("t").await;
    store.builder().poll_once().await.unwrap();
    let settings = PollerSettings { fallback: false, ..PollerSettings::default() };
    let reader = store.reader(settings);
    reader.poll_once().await.unwrap();
    store.bucket.put("t/index.pb.zst", Bytes::from_static(b"damaged")).await.unwrap();
    let report = reader.poll_once().await.unwrap();
    assert_eq!(report.failed_tenants, ["t"]);
    assert_eq!(live(&reader, "t"), [id]);
}

#[tokio::test]
async fn stale_index_is_not_used() {
    let store = Store::new();
    store.add("t").await;
    store.builder().poll_once().await.unwrap();
    store.add("t").await;
    let stale =
        PollerSettings { stale_index_after: Some(Duration::ZERO), ..PollerSettings::default() };
    let reader = store.reader(stale);
    assert_eq!(reader.poll_once().await.unwrap().live_blocks, 2);
}

#[tokio::test]
async fn vanished_local_root_is_an_error_and_keeps_the_previous_list() {
    let store = Store::new();
    let id = store.add("t").await;
    let poller = store.builder();
    poller.poll_once().await.unwrap();
    let root = store.bucket.local_path("t").unwrap().parent().unwrap().to_owned();
    std::fs::rename(&root, root.with_file_name("elsewhere")).unwrap();
    assert!(poller.poll_once().await.unwrap_err().is_retryable());
    assert_eq!(live(&poller, "t"), [id]);
}

#[tokio::test]
async fn last_block_gone_deletes_the_indexes_and_the_tenant() {
    let store = Store::new();
    let id = store.add("t").await;
    let poller = store.builder();
    poller.poll_once().await.unwrap();
    block_io::clear_block(&store.bucket, "t", id).await.unwrap();
    poller.poll_once().await.unwrap();
    assert!(poller.blocklist.tenants().is_empty());
    assert!(!store.has("t/index.pb.zst").await && !store.has("t/index.json.gz").await);
}

#[tokio::test]
async fn flagged_block_is_listed_indexed_and_known_as_flagged() {
    let store = Store::new();
    let (flagged, other) = (store.add("t").await, store.add("t").await);
    let key = block_key("t", flagged, crate::layout::NO_COMPACT);
    store.bucket.put(&key, Bytes::new()).await.unwrap();
    let poller = store.builder();
    poller.poll_once().await.unwrap();
    let blocks = poller.blocklist.tenant("t");
    assert!(blocks.is_no_compact(flagged) && !blocks.is_no_compact(other));
    assert_eq!(blocks.live().len(), 2);
    let reader = store.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), live(&poller, "t"));
}

#[test]
fn poll_can_run_in_a_task() {
    fn is_send<T: Send>(_: impl Fn(&'static Poller) -> T) {}
    is_send(|poller| poller.poll_once());
}

#[tokio::test]
async fn owner_of_any_builder_string_builds() {
    let store = Store::new();
    store.add("t").await;
    let owns: Owns = Arc::new(|name| name == "build-tenant-index-1-t");
    let poller = Poller::new(store.bucket.clone(), Arc::default(), PollerSettings::default(), owns);
    poller.poll_once().await.unwrap();
    assert!(store.has("t/index.pb.zst").await);
}

#[tokio::test]
async fn sample_store_of_each_version_is_polled() {
    for version in ["vParquet4", "vParquet5"] {
        let path = crate::test_data::blocks().join(version);
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let settings = PollerSettings { fallback: false, ..PollerSettings::default() };
        let reader = Poller::reader(bucket, Arc::default(), settings);
        let report = reader.poll_once().await.unwrap();
        assert_eq!((report.tenants, report.live_blocks), (1, 1));
    }
}
