//! Indexes and blocks that are damaged, foreign, or only half there.

use std::io::Write;

use jiff::SignedDuration;

use super::*;
use crate::block_io::mark_compacted;
use crate::layout::{DATA, TENANT_INDEX_JSON, TENANT_INDEX_PROTO};
use crate::tenant_index::TenantIndex;

impl Store {
    async fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.bucket.put(key, bytes.into()).await.unwrap();
    }

    async fn index(&self) -> (Vec<u8>, Vec<u8>) {
        let read = async |name| self.bucket.get(&format!("t/{name}")).await.unwrap().to_vec();
        (read(TENANT_INDEX_PROTO).await, read(TENANT_INDEX_JSON).await)
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test]
async fn reader_lists_when_the_index_is_damaged_and_never_writes_it() {
    let store = Store::new();
    store.add("t").await;
    let reader = store.reader(PollerSettings::default());
    reader.poll_once().await.unwrap();
    store.builder().poll_once().await.unwrap();
    store.add("t").await;
    let (proto, json) = store.index().await;
    let damaged_protos = [
        Vec::new(),
        b"garbage".to_vec(),
        proto[..proto.len() / 2].to_vec(),
        zstd::encode_all(&b"\xff\xff\xff\xff"[..], 3).unwrap(),
        json.clone(),
    ];
    for proto in damaged_protos {
        store.put("t/index.pb.zst", proto.clone()).await;
        let report = reader.poll_once().await.unwrap();
        // A fresh JSON index does not count beside a protobuf one.
        assert_eq!(report.live_blocks, 2);
        assert_eq!((report.by_tenant[0].index_errors, report.is_incomplete()), (1, false));
        assert_eq!(store.index().await, (proto, json.clone()));
    }
    store.bucket.delete("t/index.pb.zst").await.unwrap();
    let damaged_jsons = [
        Vec::new(),
        json[..json.len() - 9].to_vec(),
        gzip("[]"),
        gzip(r#"{"created_at":5}"#),
        gzip(r#"{"meta":[{"blockID":"x"}]}"#),
    ];
    for json in damaged_jsons {
        store.put("t/index.json.gz", json).await;
        assert_eq!(reader.poll_once().await.unwrap().live_blocks, 2);
        assert!(!store.has("t/index.pb.zst").await);
    }
}

#[tokio::test]
async fn index_of_a_later_release_is_read_as_far_as_it_is_known() {
    let store = Store::new();
    let id = store.add("t").await;
    let json = format!(
        r#"{{"created_at":"2030-01-01T00:00:00Z","later":[1],"meta":[
            {{"format":"vParquet9","blockID":"{id}","tenantID":"t","shape":{{}},"tactus":{{"sources":7}}}}]}}"#
    );
    store.put("t/index.json.gz", gzip(&json)).await;
    let reader = store.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    reader.poll_once().await.unwrap();
    let blocks = reader.blocklist.tenant("t");
    assert_eq!((blocks.live()[0].block_id, blocks.unreadable().count()), (id, 1));
    assert_eq!(blocks.queryable(Timestamp::now(), Duration::ZERO).count(), 0);
}

#[tokio::test]
async fn index_from_the_past_or_the_future_is_stale_where_that_is_asked() {
    let store = Store::new();
    store.add("t").await;
    let settings = PollerSettings {
        stale_index_after: Some(Duration::from_secs(600)),
        fallback: false,
        ..PollerSettings::default()
    };
    for (hours, is_used) in [(-1, false), (0, true), (2, false)] {
        let created_at = Timestamp::now() + SignedDuration::from_hours(hours);
        let index = TenantIndex::empty(created_at);
        store.put("t/index.pb.zst", index.to_proto_zst()).await;
        let report = store.reader(settings.clone()).poll_once().await.unwrap();
        assert_eq!(report.failed_tenants.is_empty(), is_used, "{hours}");
        let lenient = PollerSettings { stale_index_after: None, ..settings.clone() };
        assert!(!store.reader(lenient).poll_once().await.unwrap().is_incomplete());
    }
}

#[tokio::test]
async fn index_of_another_tenant_shows_no_block_of_it() {
    let store = Store::new();
    let id = store.add("t").await;
    let other = store.add("other").await;
    mark_compacted(&store.bucket, "other", store.add("other").await).await.unwrap();
    store.builder().poll_once().await.unwrap();
    let foreign = store.bucket.get("other/index.pb.zst").await.unwrap();
    store.put("t/index.pb.zst", foreign).await;
    let reader = store.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    let report = reader.poll_once().await.unwrap();
    assert_eq!(report.metas_corrupt, 2);
    assert!(live(&reader, "t").is_empty());
    assert_eq!(live(&reader, "other"), [other]);
    // The builder goes by the bucket and mends it.
    store.builder().poll_once().await.unwrap();
    reader.poll_once().await.unwrap();
    assert_eq!(live(&reader, "t"), [id]);
}

#[tokio::test]
async fn block_exists_with_its_meta_and_not_before_whatever_else_is_there() {
    let store = Store::new();
    // The data is gone: queries must notice, so it must be in the list.
    let no_data = store.add("t").await;
    let no_meta = Uuid::new_v4();
    store.put(&block_key("t", no_meta, DATA), Bytes::from_static(b"PAR1")).await;
    for directory in ["garbage", "11111111111141118111111111111111", "X1111111-1111-4111-8111-1"] {
        store.put(&format!("t/{directory}/meta.json"), Bytes::from_static(b"{}")).await;
    }
    let upper = Uuid::new_v4().to_string().to_uppercase();
    store.put(&format!("t/{upper}/meta.json"), Bytes::from_static(b"{}")).await;
    store.put("t/meta.json", Bytes::from_static(b"{}")).await;
    let poller = store.builder();
    let report = poller.poll_once().await.unwrap();
    assert_eq!((report.metas_read, report.metas_corrupt), (1, 0));
    assert_eq!(live(&poller, "t"), [no_data]);
}

#[tokio::test]
async fn blocks_of_old_and_unknown_versions_are_listed_for_retention_and_not_queried() {
    let store = Store::new();
    let id = store.add("t").await;
    for format in ["v2", "vParquet2", "vParquet5-preview1", "vParquet99"] {
        let meta = BlockMeta {
            format: format.to_owned(),
            ..BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4())
        };
        store.put(&block_key("t", meta.block_id, META), meta.to_json()).await;
    }
    let poller = store.builder();
    let report = poller.poll_once().await.unwrap();
    assert_eq!((report.live_blocks, report.is_incomplete()), (5, false));
    let blocks = poller.blocklist.tenant("t");
    assert_eq!((blocks.live().len(), blocks.unreadable().count()), (5, 4));
    let queried = blocks.queryable(Timestamp::now(), Duration::ZERO);
    assert_eq!(queried.map(|meta| meta.block_id).collect::<Vec<_>>(), [id]);
    let reader = store.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    assert_eq!(reader.poll_once().await.unwrap().live_blocks, 5);
}

#[tokio::test]
async fn block_that_is_being_marked_is_in_both_lists_and_queried_once() {
    let store = Store::new();
    let id = store.add("t").await;
    let bytes = store.bucket.get(&block_key("t", id, META)).await.unwrap();
    store.put(&block_key("t", id, crate::layout::COMPACTED_META), bytes).await;
    let poller = store.builder();
    for reads in [2, 0] {
        assert_eq!(poller.poll_once().await.unwrap().metas_read, reads);
        let blocks = poller.blocklist.tenant("t");
        assert!(blocks.has_live(id) && blocks.has_compacted(id));
        assert_eq!(blocks.queryable(Timestamp::now(), Duration::from_secs(60)).count(), 1);
    }
}

#[tokio::test]
async fn what_a_local_store_cannot_look_at_hides_no_other_block_and_is_counted() {
    let store = Store::new();
    let (sound, known) = (store.add("t").await, store.add("t").await);
    let poller = store.builder();
    poller.poll_once().await.unwrap();
    let directory = |id: Uuid| store.bucket.local_path(&format!("t/{id}")).unwrap();
    let away = directory(known).with_file_name("away");
    std::fs::rename(directory(known), &away).unwrap();
    // Links to themselves, because the superuser may read all directories.
    let unknown = Uuid::new_v4();
    std::fs::create_dir(directory(unknown)).unwrap();
    let meta = directory(unknown).join(META);
    for link in [directory(known), meta, directory(sound).join("bloom-0#x")] {
        std::os::unix::fs::symlink(&link, &link).unwrap();
    }
    let report = poller.poll_once().await.unwrap();
    assert_eq!((report.metas_corrupt, report.metas_missing), (2, 0));
    assert!(report.failed_tenants.is_empty());
    // What was known is read as long as it exists.
    let mut expected = [sound, known];
    expected.sort_unstable();
    assert_eq!(live(&poller, "t"), expected);
    let other = store.builder();
    other.poll_once().await.unwrap();
    assert_eq!(live(&other, "t"), [sound]);
    let reader = store.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    reader.poll_once().await.unwrap();
    for poller in [&poller, &other, &reader] {
        assert_eq!(poller.blocklist.tenant("t").unread(), 2);
    }
    // Those who delete go by whole listings.
    assert!(store.bucket.list("t").await.is_err());
    std::fs::remove_file(directory(known)).unwrap();
    std::fs::rename(&away, directory(known)).unwrap();
    std::fs::remove_dir_all(directory(unknown)).unwrap();
    other.poll_once().await.unwrap();
    assert_eq!(live(&other, "t"), expected);
    assert_eq!(other.blocklist.tenant("t").unread(), 0);
}

#[tokio::test]
async fn corrupt_meta_counts_as_a_block_that_is_missing_until_it_is_mended() {
    let store = Store::new();
    let id = Uuid::new_v4();
    let key = block_key("t", id, META);
    store.put(&key, Bytes::from_static(b"{")).await;
    // All spans of a compacted block are elsewhere.
    let compacted = block_key("t", Uuid::new_v4(), crate::layout::COMPACTED_META);
    store.put(&compacted, Bytes::from_static(b"{")).await;
    let poller = store.builder();
    assert_eq!(poller.poll_once().await.unwrap().by_tenant[0].metas_corrupt, 2);
    let reader = store.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    reader.poll_once().await.unwrap();
    for poller in [&poller, &reader] {
        let blocks = poller.blocklist.tenant("t");
        assert_eq!((blocks.unread(), blocks.left_out(), blocks.is_empty()), (1, 0, false));
        poller.blocklist.change("t", crate::blocklist::BlockChanges::default());
        assert_eq!(poller.blocklist.tenant("t").unread(), 1);
    }
    store.put(&key, BlockMeta::new(BlockVersion::VParquet4, "t", id).to_json()).await;
    poller.poll_once().await.unwrap();
    assert_eq!(live(&poller, "t"), [id]);
    assert_eq!(poller.blocklist.tenant("t").unread(), 0);
}
