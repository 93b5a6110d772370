//! Stores that list late, forget, or fail now and then.

use object_store::path::Path;

use super::faulty_store::FaultyStore;
use super::*;
use crate::block_io::mark_compacted;
use crate::layout::{CLOCK, COMPACTED_META, DATA, TENANT_INDEX_PROTO};
use crate::meta::Extension;

impl Store {
    async fn meta(&self, tenant: &str, id: Uuid) -> BlockMeta {
        block_io::read_meta(&self.bucket, tenant, id).await.unwrap()
    }

    /// A block as this process writes it.
    async fn write(&self, list: &Blocklist, sources: Vec<Uuid>) -> Uuid {
        let id = self.add("t").await;
        let extension = Extension { sources, ..Extension::default() };
        let meta = BlockMeta { extension: Some(Box::new(extension)), ..self.meta("t", id).await };
        self.bucket.put(&block_key("t", id, META), meta.to_json().into()).await.unwrap();
        list.add_block(meta);
        id
    }

    /// Marks a block as this process does.
    async fn mark(&self, list: &Blocklist, id: Uuid) {
        let meta = self.meta("t", id).await;
        let compacted_time = mark_compacted(&self.bucket, "t", id).await.unwrap();
        let compacted = crate::CompactedBlockMeta { meta, compacted_time };
        let changes = BlockChanges {
            remove: vec![id],
            add_compacted: vec![Arc::new(compacted)],
            ..BlockChanges::default()
        };
        list.change("t", changes);
    }
}

fn compacted(poller: &Poller) -> Vec<Uuid> {
    let blocks = poller.blocklist.tenant("t");
    blocks.compacted().iter().map(|block| block.meta.block_id).collect()
}

#[tokio::test]
async fn own_block_stays_however_long_the_listing_lags_and_is_indexed() {
    let (store, bucket) = FaultyStore::new();
    let old = bucket.add("t").await;
    let poller = bucket.builder();
    poller.poll_once().await.unwrap();
    store.freeze_listing();
    let new = bucket.write(&poller.blocklist, Vec::new()).await;
    let mut both = [old, new];
    both.sort_unstable();
    for _ in 0..5 {
        poller.poll_once().await.unwrap();
        assert_eq!(live(&poller, "t"), both);
    }
    let reader = bucket.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), both);
    // Gone for good, as the meta says, whatever the listing says.
    block_io::clear_block(&bucket.bucket, "t", new).await.unwrap();
    poller.poll_once().await.unwrap();
    assert_eq!(live(&poller, "t"), [old]);
    assert!(poller.blocklist.start_poll().own.is_empty());
}

#[tokio::test]
async fn block_that_is_not_listed_stays_while_its_meta_is_damaged() {
    let (store, bucket) = FaultyStore::new();
    let old = bucket.add("t").await;
    let poller = bucket.builder();
    poller.poll_once().await.unwrap();
    store.freeze_listing();
    let id = bucket.write(&poller.blocklist, Vec::new()).await;
    let mut both = [old, id];
    both.sort_unstable();
    let key = block_key("t", id, META);
    let sound = bucket.bucket.get(&key).await.unwrap();
    for (stored, unread) in [(Bytes::from_static(b"<html></html>"), 1), (sound, 0)] {
        bucket.bucket.put(&key, stored).await.unwrap();
        for _ in 0..2 {
            poller.poll_once().await.unwrap();
            assert_eq!(live(&poller, "t"), both);
            assert_eq!(poller.blocklist.tenant("t").unread(), unread);
        }
    }
}

#[tokio::test]
async fn first_block_of_a_tenant_stays_before_the_tenant_is_listed() {
    let (store, bucket) = FaultyStore::new();
    let poller = bucket.builder();
    store.freeze_listing();
    let id = bucket.write(&poller.blocklist, Vec::new()).await;
    for _ in 0..2 {
        poller.poll_once().await.unwrap();
        assert_eq!(live(&poller, "t"), [id]);
    }
    store.thaw_listing();
    poller.poll_once().await.unwrap();
    assert_eq!(live(&poller, "t"), [id]);
}

#[tokio::test]
async fn own_mark_and_clear_hold_while_the_listing_shows_the_block_live() {
    let (store, bucket) = FaultyStore::new();
    let poller = bucket.builder();
    let id = bucket.write(&poller.blocklist, Vec::new()).await;
    poller.poll_once().await.unwrap();
    store.freeze_listing();
    bucket.mark(&poller.blocklist, id).await;
    for _ in 0..4 {
        poller.poll_once().await.unwrap();
        assert!(live(&poller, "t").is_empty());
        assert_eq!(compacted(&poller), [id]);
    }
    block_io::clear_block(&bucket.bucket, "t", id).await.unwrap();
    let cleared = BlockChanges { remove_compacted: vec![id], ..BlockChanges::default() };
    poller.blocklist.change("t", cleared);
    for _ in 0..2 {
        poller.poll_once().await.unwrap();
        assert!(poller.blocklist.tenant("t").is_empty());
    }
}

#[tokio::test]
async fn block_whose_meta_is_listed_and_lost_is_missing_from_the_list() {
    let (store, bucket) = FaultyStore::new();
    let [sound, lost] = [bucket.add("t").await, bucket.add("t").await];
    bucket.bucket.put(&block_key("t", lost, DATA), Bytes::from_static(b"spans")).await.unwrap();
    store.freeze_listing();
    bucket.bucket.delete(&block_key("t", lost, META)).await.unwrap();
    let poller = bucket.builder();
    for _ in 0..2 {
        poller.poll_once().await.unwrap();
        let blocks = poller.blocklist.tenant("t");
        assert_eq!((live(&poller, "t"), blocks.unread()), (vec![sound], 1));
    }
    store.thaw_listing();
    poller.poll_once().await.unwrap();
    assert_eq!(poller.blocklist.tenant("t").unread(), 0);
}

#[tokio::test]
async fn block_that_a_listing_forgets_for_once_stays() {
    let (store, bucket) = FaultyStore::new();
    store.freeze_listing();
    let id = bucket.add("t").await;
    bucket.bucket.put("t/x", Bytes::new()).await.unwrap();
    let poller = bucket.builder();
    store.thaw_listing();
    poller.poll_once().await.unwrap();
    *store.faults.frozen.lock().unwrap() = Some(Vec::new());
    poller.poll_once().await.unwrap();
    assert_eq!(live(&poller, "t"), [id]);
    assert!(bucket.has("t/index.pb.zst").await);
}

#[tokio::test]
async fn index_older_than_what_this_process_did_does_not_undo_it() {
    let (_, bucket) = FaultyStore::new();
    let (kept, marked, cleared) =
        (bucket.add("t").await, bucket.add("t").await, bucket.add("t").await);
    mark_compacted(&bucket.bucket, "t", cleared).await.unwrap();
    bucket.builder().poll_once().await.unwrap();
    let reader = bucket.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    reader.poll_once().await.unwrap();
    let list = &reader.blocklist;
    let new = bucket.write(list, Vec::new()).await;
    bucket.mark(list, marked).await;
    block_io::clear_block(&bucket.bucket, "t", cleared).await.unwrap();
    let remove_compacted = vec![cleared];
    list.change("t", BlockChanges { remove_compacted, ..BlockChanges::default() });
    let mut both = [kept, new];
    both.sort_unstable();
    for _ in 0..4 {
        reader.poll_once().await.unwrap();
        assert_eq!(live(&reader, "t"), both);
        assert_eq!(compacted(&reader), [marked]);
        assert!(!list.start_poll().own.is_empty());
    }
    // An index that has seen it all ends it.
    bucket.builder().poll_once().await.unwrap();
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), both);
    assert!(list.start_poll().own.is_empty());
}

#[tokio::test]
async fn own_block_that_somebody_deleted_leaves_even_with_an_old_index() {
    let (_, bucket) = FaultyStore::new();
    bucket.add("t").await;
    bucket.builder().poll_once().await.unwrap();
    let reader = bucket.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    let (gone, marked) = (
        bucket.write(&reader.blocklist, Vec::new()).await,
        bucket.write(&reader.blocklist, Vec::new()).await,
    );
    block_io::clear_block(&bucket.bucket, "t", gone).await.unwrap();
    mark_compacted(&bucket.bucket, "t", marked).await.unwrap();
    reader.poll_once().await.unwrap();
    let blocks = reader.blocklist.tenant("t");
    assert!(!blocks.has_live(gone) && !blocks.has_compacted(gone));
    assert!(!blocks.has_live(marked) && blocks.has_compacted(marked));
}

#[tokio::test]
async fn killed_compactor_leaves_sources_that_are_superseded_in_list_and_index() {
    let (_, bucket) = FaultyStore::new();
    let (one, two) = (bucket.add("t").await, bucket.add("t").await);
    let merged = bucket.write(&Blocklist::new(), vec![one, two]).await;
    let poller = bucket.builder();
    poller.poll_once().await.unwrap();
    let reader = bucket.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    for json in [false, true] {
        if json {
            bucket.bucket.delete(&format!("t/{TENANT_INDEX_PROTO}")).await.unwrap();
        }
        reader.poll_once().await.unwrap();
        for list in [&poller.blocklist, &reader.blocklist] {
            let blocks = list.tenant("t");
            assert_eq!(blocks.live()[0].block_id, merged);
            assert_eq!((blocks.live().len(), blocks.superseded().len()), (1, 2));
        }
    }
    bucket.mark(&poller.blocklist, one).await;
    poller.poll_once().await.unwrap();
    let blocks = poller.blocklist.tenant("t");
    assert_eq!(blocks.superseded().map(|meta| meta.block_id).collect::<Vec<_>>(), [two]);
}

#[tokio::test]
async fn metas_that_vanish_after_the_listing_are_skipped_or_found_compacted() {
    let (store, bucket) = FaultyStore::new();
    let (kept, gone, moved) = (bucket.add("t").await, bucket.add("t").await, bucket.add("t").await);
    let compacted_key = block_key("t", moved, COMPACTED_META);
    let bytes = bucket.bucket.get(&block_key("t", moved, META)).await.unwrap();
    bucket.bucket.put(&compacted_key, bytes).await.unwrap();
    let keys = [gone, moved].map(|id| Path::from(block_key("t", id, META)));
    store.faults.vanishing.lock().unwrap().extend(keys);
    let poller = bucket.builder();
    let report = poller.poll_once().await.unwrap();
    assert!(!report.is_incomplete());
    assert_eq!(live(&poller, "t"), [kept]);
    assert_eq!(compacted(&poller), [moved]);
}

#[tokio::test]
async fn one_failing_meta_is_read_again_without_the_others() {
    let (store, bucket) = FaultyStore::new();
    for _ in 0..20 {
        bucket.add("t").await;
    }
    let bad = bucket.add("t").await;
    store.fail(&block_key("t", bad, META), 1);
    let poller = bucket.builder();
    let report = poller.poll_once().await.unwrap();
    assert_eq!((report.live_blocks, report.metas_read), (21, 1));
    assert!(!report.is_incomplete());
    assert_eq!(store.reads(), 22);
}

#[tokio::test]
async fn meta_that_keeps_failing_costs_a_list_only_its_block() {
    let (store, bucket) = FaultyStore::new();
    let good = bucket.add("t").await;
    let bad = bucket.add("t").await;
    store.fail(&block_key("t", bad, META), 2);
    let poller = bucket.builder();
    let report = poller.poll_once().await.unwrap();
    assert_eq!((report.metas_missing, report.is_incomplete()), (1, true));
    assert!(report.by_tenant[0].failed);
    assert_eq!(live(&poller, "t"), [good]);
    assert!(poller.blocklist.is_part("t") && poller.blocklist.is_part_of_any());
    // Other processes must not learn of such a list.
    assert!(!bucket.has("t/index.pb.zst").await);
    poller.poll_once().await.unwrap();
    assert_eq!(live(&poller, "t").len(), 2);
    assert!(!poller.blocklist.is_part_of_any());

    let (worse, fine) = (bucket.add("t").await, bucket.add("t").await);
    store.fail(&block_key("t", worse, META), 2);
    let report = poller.poll_once().await.unwrap();
    assert!(report.failed_tenants.is_empty() && report.by_tenant[0].failed);
    assert_eq!(live(&poller, "t").len(), 3);
    assert!(live(&poller, "t").contains(&fine) && poller.blocklist.is_part("t"));
    store.reads();
    poller.poll_once().await.unwrap();
    assert_eq!(store.reads(), 1);
    assert!(live(&poller, "t").contains(&worse) && !poller.blocklist.is_part("t"));
}

#[tokio::test]
async fn blocks_that_may_be_in_one_that_cannot_be_read_stay_as_long_as_they_exist() {
    let (store, bucket) = FaultyStore::new();
    let poller = bucket.builder();
    let sources = [bucket.add("t").await, bucket.add("t").await];
    poller.poll_once().await.unwrap();
    let other = Blocklist::new();
    let merged = bucket.write(&other, sources.to_vec()).await;
    mark_compacted(&bucket.bucket, "t", sources[0]).await.unwrap();
    block_io::clear_block(&bucket.bucket, "t", sources[1]).await.unwrap();
    let later = bucket.add("t").await;
    store.fail(&block_key("t", merged, META), 4);
    let mut expected = vec![sources[0], sources[1], later];
    expected.sort_unstable();
    for _ in 0..2 {
        poller.poll_once().await.unwrap();
        assert_eq!(live(&poller, "t"), expected);
        assert!(poller.blocklist.is_part("t"));
    }
    poller.poll_once().await.unwrap();
    let mut expected = vec![merged, later];
    expected.sort_unstable();
    assert_eq!(live(&poller, "t"), expected);
    assert!(!poller.blocklist.is_part("t"));
}

#[tokio::test]
async fn store_that_fails_every_read_is_given_up_soon() {
    let (store, bucket) = FaultyStore::new();
    for _ in 0..300 {
        bucket.add("t").await;
    }
    store.fail("meta.json", 1_000_000);
    let poller = bucket.builder();
    let report = poller.poll_once().await.unwrap();
    assert_eq!(report.failed_tenants, ["t"]);
    assert!(store.reads() < 200);
    assert!(!bucket.has("t/index.pb.zst").await);
}

#[tokio::test]
async fn list_that_was_never_read_says_that_it_lacks_blocks() {
    let (store, bucket) = FaultyStore::new();
    let (old, told) = (bucket.add("t").await, Uuid::new_v4());
    let poller = bucket.builder();
    let list = Arc::clone(&poller.blocklist);
    assert!(!list.is_part("t"));
    store.set_down(true);
    poller.poll_once().await.unwrap_err();
    assert!(list.is_part("t") && list.is_part("other") && list.is_part_of_any());
    // What this process is told of does not make up for the rest.
    list.add_block(BlockMeta::new(BlockVersion::VParquet4, "t", told));
    assert!(list.is_part("t"));
    store.set_down(false);
    store.fail(&block_key("t", old, META), 2);
    poller.poll_once().await.unwrap();
    assert!(list.is_part("t") && !list.is_part("other"));
    list.add_block(BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4()));
    assert!(list.is_part("t"));
    poller.poll_once().await.unwrap();
    assert!(!list.is_part_of_any() && live(&poller, "t").contains(&old));
    // From now on there is a list to keep.
    store.set_down(true);
    poller.poll_once().await.unwrap_err();
    assert!(!list.is_part("t") && live(&poller, "t").contains(&old));
}

#[tokio::test]
async fn list_is_as_old_as_the_last_index_that_was_read() {
    let (store, bucket) = FaultyStore::new();
    for tenant in ["t", "other"] {
        bucket.add(tenant).await;
    }
    bucket.builder().poll_once().await.unwrap();
    let reader = bucket.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    let later = tactus_clock::since_boot() + Duration::from_secs(3_600);
    let ages = || ["t", "other", "unknown"].map(|tenant| reader.blocklist.age(tenant, later));
    assert_eq!(ages(), [None; 3]);
    reader.poll_once().await.unwrap();
    let [first, other, unknown] = ages();
    // Lists are as old as the indexes that were read.
    assert!(unknown.is_some() && first > unknown && other > unknown);

    bucket.builder().poll_once().await.unwrap();
    store.fail("t/index.pb.zst", 2);
    assert_eq!(reader.poll_once().await.unwrap().failed_tenants, ["t"]);
    let [kept, second, unknown] = ages();
    assert!(kept == first && second < other && unknown < second);
    store.set_down(true);
    reader.poll_once().await.unwrap_err();
    assert_eq!(ages(), [kept, second, unknown]);
    store.set_down(false);
    reader.poll_once().await.unwrap();
    assert!(ages()[0] < kept);
}

#[tokio::test]
async fn orphan_that_only_a_listing_takes_for_one_stays() {
    let (store, bucket) = FaultyStore::new();
    let id = bucket.add("t").await;
    let data = block_key("t", id, crate::layout::DATA);
    let meta = bucket.bucket.get(&block_key("t", id, META)).await.unwrap();
    bucket.bucket.delete(&block_key("t", id, META)).await.unwrap();
    bucket.bucket.put(&data, "data".into()).await.unwrap();
    store.freeze_listing();
    bucket.bucket.put(&block_key("t", id, META), meta).await.unwrap();
    let orphan = block_io::Orphan { block_id: id, bytes: 4, newest: Timestamp::MAX };
    assert!(!block_io::clear_orphan(&bucket.bucket, "t", &orphan).await.unwrap());
    assert!(bucket.bucket.head(&data).await.is_ok());
    bucket.bucket.delete(&block_key("t", id, META)).await.unwrap();
    assert!(block_io::clear_orphan(&bucket.bucket, "t", &orphan).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn time_of_a_store_that_shows_late_what_was_written_is_told() {
    let (store, bucket) = FaultyStore::new();
    store.hide(CLOCK, 3);
    assert!(block_io::store_time(&bucket.bucket).await.is_ok());
    assert_eq!(store.reads(), 4);
    store.hide(CLOCK, 1_000);
    let error = block_io::store_time(&bucket.bucket).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(store.reads(), 5);
}
