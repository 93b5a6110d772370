//! Lists that have no room for all blocks.

use std::fs::File;
use std::time::SystemTime;

use super::*;
use crate::meta::Extension;
use crate::tenant_index::TenantIndex;

impl Store {
    /// A block that names so many sources.
    async fn add_of(&self, tenant: &str, sources: usize) -> Uuid {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, tenant, Uuid::new_v4());
        let sources = (0..sources).map(|_| Uuid::new_v4()).collect();
        meta.extension = Some(Box::new(Extension { sources, ..Extension::default() }));
        let key = block_key(tenant, meta.block_id, META);
        self.bucket.put(&key, meta.to_json().into()).await.unwrap();
        meta.block_id
    }
}

fn with_room(max_bytes: u64) -> PollerSettings {
    PollerSettings { max_bytes, ..PollerSettings::default() }
}

/// The blocks of a tenant that are listed, and how many are not.
fn seen(poller: &Poller, tenant: &str) -> (usize, usize) {
    let blocks = poller.blocklist.tenant(tenant);
    (blocks.live().len(), blocks.left_out())
}

#[tokio::test]
async fn blocks_beyond_the_bound_are_left_out_here_and_where_the_index_is_read() {
    let store = Store::new();
    for _ in 0..20 {
        store.add_of("large", 1_000).await;
        store.add("small").await;
    }
    let builder = Poller::builder(store.bucket.clone(), Arc::default(), with_room(1 << 20));
    let report = builder.poll_once().await.unwrap();
    let (listed, left_out) = seen(&builder, "large");
    assert!((9..14).contains(&listed) && listed + left_out == 20, "{listed}");
    assert_eq!(seen(&builder, "small"), (20, 0));
    assert!(report.is_incomplete());
    assert_eq!((report.left_out, report.metas_corrupt), (left_out, 0));
    // What finds no room is not read again and again.
    assert!(builder.poll_once().await.unwrap().metas_read <= 1);
    assert_eq!(seen(&builder, "large"), (listed, left_out));

    // A process with more room knows of the same blocks by the index, and that there are more.
    for max_bytes in [0, 1 << 30] {
        let reader = store.reader(PollerSettings { fallback: false, ..with_room(max_bytes) });
        assert_eq!(reader.poll_once().await.unwrap().left_out, left_out);
        assert_eq!(seen(&reader, "large"), (listed, left_out));
    }
    // One with less leaves out more, and keeps what it has.
    let reader = store.reader(PollerSettings { fallback: false, ..with_room(1 << 19) });
    for _ in 0..2 {
        reader.poll_once().await.unwrap();
        let (fewer, more) = seen(&reader, "large");
        assert!(fewer < listed && fewer + more == 20, "{fewer}");
    }
    // With room for all, all are listed again.
    let larger = Poller::builder(store.bucket.clone(), Arc::default(), with_room(0));
    assert_eq!(larger.poll_once().await.unwrap().left_out, 0);
    assert_eq!(seen(&larger, "large"), (20, 0));
    let reader = store.reader(PollerSettings { fallback: false, ..with_room(0) });
    assert!(!reader.poll_once().await.unwrap().is_incomplete());
}

/// The first poll of a process that keeps the index, with room for each block once but not twice.
#[tokio::test]
async fn first_poll_counts_what_the_index_has_once() {
    for is_old in [true, false] {
        let store = Store::new();
        let mut ids = Vec::new();
        for _ in 0..80 {
            ids.push(store.add_of("t", 100).await);
        }
        for id in &ids[40..] {
            block_io::mark_compacted(&store.bucket, "t", *id).await.unwrap();
        }
        for id in ids.iter().take(if is_old { 40 } else { 0 }) {
            let path = store.bucket.local_path(&block_key("t", *id, META)).unwrap();
            let written = SystemTime::now() - Duration::from_secs(2 * 3600);
            File::open(path).unwrap().set_modified(written).unwrap();
        }
        let first = store.builder();
        first.poll_once().await.unwrap();
        let bytes = first.blocklist.tenant("t").memory_bytes();

        let next = Poller::builder(store.bucket.clone(), Arc::default(), with_room(bytes / 2 * 3));
        let report = next.poll_once().await.unwrap();
        assert_eq!((report.left_out, report.live_blocks, report.compacted_blocks), (0, 40, 40));
        assert_eq!(report.metas_read, if is_old { 40 } else { 80 });
    }
}

#[tokio::test]
async fn meta_that_names_more_sources_than_blocks_have_is_listed_without_them() {
    let store = Store::new();
    let id = store.add_of("t", 50_000).await;
    let poller = Poller::builder(store.bucket.clone(), Arc::default(), with_room(1 << 20));
    assert!(!poller.poll_once().await.unwrap().is_incomplete());
    let blocks = poller.blocklist.tenant("t");
    assert_eq!((blocks.live()[0].block_id, blocks.live()[0].sources().len()), (id, 0));
}

#[tokio::test]
async fn index_keeps_the_metas_that_are_known() {
    let store = Store::new();
    store.add("t").await;
    store.builder().poll_once().await.unwrap();
    let reader = store.reader(PollerSettings::default());
    reader.poll_once().await.unwrap();
    let before = Arc::clone(&reader.blocklist.tenant("t").live()[0]);
    reader.poll_once().await.unwrap();
    assert!(Arc::ptr_eq(&before, &reader.blocklist.tenant("t").live()[0]));
}

#[tokio::test]
async fn indexes_tell_how_many_blocks_they_lack() {
    let empty = TenantIndex::empty(Timestamp::UNIX_EPOCH);
    let index = TenantIndex { left_out: 300, unread: 70_000, ..empty };
    assert_eq!(TenantIndex::from_json_gz(&index.to_json_gz()).unwrap(), index);
    assert_eq!(TenantIndex::from_proto_zst(&index.to_proto_zst()).unwrap(), index);
}
