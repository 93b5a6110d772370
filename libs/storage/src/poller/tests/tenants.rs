//! Tenants that fail, tenants without blocks, and what is none.

use std::fs::File;
use std::time::SystemTime;

use super::faulty_store::FaultyStore;
use super::*;
use crate::layout::DATA;
use crate::tenant_index::TenantIndex;

const HOUR: Duration = Duration::from_secs(3600);

impl Store {
    fn deleting(&self) -> Poller {
        let settings =
            PollerSettings { empty_tenant_deletion: Some(HOUR), ..PollerSettings::default() };
        Poller::builder(self.bucket.clone(), Arc::default(), settings)
    }

    /// An object that was written so long ago.
    async fn put_old(&self, key: &str, age: Duration) {
        self.bucket.put(key, Bytes::from_static(b"x")).await.unwrap();
        let file = File::open(self.bucket.local_path(key).unwrap()).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
}

#[tokio::test]
async fn tenant_without_blocks_is_deleted_once_all_of_it_is_old() {
    let store = Store::new();
    let key = |file| block_key("t", Uuid::new_v4(), file);
    store.put_old(&key(DATA), 3 * HOUR).await;
    let young = key(DATA);
    store.put_old(&young, Duration::ZERO).await;
    store.add("other").await;
    assert!(store.deleting().poll_once().await.unwrap().deleted_tenants.is_empty());
    store.put_old(&young, 2 * HOUR).await;
    assert!(store.builder().poll_once().await.unwrap().deleted_tenants.is_empty());
    let readers = PollerSettings { empty_tenant_deletion: Some(HOUR), ..Default::default() };
    assert!(store.reader(readers).poll_once().await.unwrap().deleted_tenants.is_empty());
    assert!(store.has(&young).await);

    assert_eq!(store.deleting().poll_once().await.unwrap().deleted_tenants, ["t"]);
    assert!(!store.bucket.local_path("t").unwrap().try_exists().unwrap());
    assert_eq!(store.deleting().poll_once().await.unwrap().tenants, 1);
}

#[tokio::test]
async fn directory_of_a_tenant_without_anything_is_removed_once_it_is_old() {
    let store = Store::new();
    let directory = store.bucket.local_path("t").unwrap();
    std::fs::create_dir_all(directory.join("empty")).unwrap();
    let poll = async || store.deleting().poll_once().await.unwrap().deleted_tenants;
    assert!(poll().await.is_empty() && directory.exists());
    let old = SystemTime::now() - 2 * HOUR;
    File::open(&directory).unwrap().set_modified(old).unwrap();
    assert_eq!(poll().await, ["t"]);
    assert!(!directory.exists());
}

#[tokio::test]
async fn tenant_with_a_block_or_with_things_of_others_is_not_deleted() {
    let store = Store::new();
    let id = store.add("t").await;
    for file in [META, "bloom-0"] {
        let path = store.bucket.local_path(&block_key("t", id, file)).unwrap();
        File::open(path).unwrap().set_modified(SystemTime::now() - 9 * HOUR).unwrap();
    }
    store.put_old("photos/2020/cat.jpg", 9 * HOUR).await;
    let report = store.deleting().poll_once().await.unwrap();
    assert!(report.deleted_tenants.is_empty());
    assert!(store.has("photos/2020/cat.jpg").await);
    assert!(store.has(&block_key("t", id, META)).await);
}

#[tokio::test]
async fn tenant_whose_block_a_listing_lacks_is_not_deleted() {
    let (store, bucket) = FaultyStore::new();
    let id = bucket.add("t").await;
    let data = block_key("t", id, DATA);
    bucket.bucket.put(&data, Bytes::from_static(b"x")).await.unwrap();
    store.freeze_listing();
    {
        let mut frozen = store.faults.frozen.lock().unwrap();
        let listed = frozen.as_mut().unwrap();
        listed.retain(|object| object.location.as_ref() == data);
        listed[0].last_modified -= 9 * HOUR;
    }
    let report = bucket.deleting().poll_once().await.unwrap();
    assert!(report.deleted_tenants.is_empty());
    assert!(bucket.has(&data).await);
}

#[tokio::test]
async fn index_goes_first_and_the_tenant_in_a_later_poll() {
    let store = Store::new();
    store.put_old(&block_key("t", Uuid::new_v4(), DATA), 3 * HOUR).await;
    store.put_old("t/index.json.gz", 3 * HOUR).await;
    let poller = store.deleting();
    assert!(poller.poll_once().await.unwrap().deleted_tenants.is_empty());
    assert!(!store.has("t/index.json.gz").await);
    assert_eq!(poller.poll_once().await.unwrap().deleted_tenants, ["t"]);
}

#[tokio::test]
async fn overrides_and_hidden_names_are_never_tenants() {
    let store = Store::new();
    let id = Uuid::new_v4();
    let directories = ["overrides", ".snapshots", ".t", "lost+found", "tempo_cluster_seed.json"];
    for directory in directories {
        store.put_old(&block_key(directory, id, META), 9 * HOUR).await;
    }
    store.put_old("tactus-clock", 9 * HOUR).await;
    let report = store.deleting().poll_once().await.unwrap();
    assert_eq!(report.tenants, 0);
    for directory in directories {
        assert!(store.has(&block_key(directory, id, META)).await, "{directory}");
    }
}

#[tokio::test]
async fn too_many_failing_tenants_end_the_poll_and_all_keep_their_lists() {
    let store = Store::new();
    for tenant in ["a", "b", "c"] {
        store.add(tenant).await;
    }
    store.builder().poll_once().await.unwrap();
    let settings = PollerSettings { fallback: false, ..PollerSettings::default() };
    let reader = store.reader(settings);
    reader.poll_once().await.unwrap();
    for tenant in ["a", "b"] {
        store.bucket.put(&format!("{tenant}/index.pb.zst"), Bytes::new()).await.unwrap();
    }
    store.bucket.delete("c/index.pb.zst").await.unwrap();
    store.bucket.delete("c/index.json.gz").await.unwrap();
    let report = reader.poll_once().await.unwrap();
    assert_eq!((report.failed_tenants.len(), report.abandoned), (2, true));
    // Each was tried twice.
    assert!(report.by_tenant.iter().all(|seen| seen.index_errors == 2 && seen.failed));
    for tenant in ["a", "b", "c"] {
        assert_eq!(live(&reader, tenant).len(), 1);
    }
}

#[tokio::test]
async fn tenants_that_fail_do_not_keep_others_or_each_other_from_being_polled() {
    let store = Store::new();
    for tenant in ["a", "b", "c", "y", "z"] {
        store.add(tenant).await;
    }
    store.builder().poll_once().await.unwrap();
    for tenant in ["a", "b", "c"] {
        store.bucket.put(&format!("{tenant}/index.pb.zst"), Bytes::new()).await.unwrap();
    }
    let reader = store.reader(PollerSettings { fallback: false, ..PollerSettings::default() });
    let poll = async || {
        let report = reader.poll_once().await.unwrap();
        assert!(report.abandoned);
        report.by_tenant.into_iter().map(|seen| seen.tenant).collect::<Vec<_>>()
    };
    assert_eq!(poll().await, ["a", "b"]);
    assert_eq!(poll().await, ["c", "y", "z", "a"]);
    for [third, fourth] in [["b", "c"], ["a", "b"], ["c", "a"]] {
        assert_eq!(poll().await, ["y", "z", third, fourth]);
    }
    store.builder().poll_once().await.unwrap();
    assert!(!reader.poll_once().await.unwrap().abandoned);
}

#[tokio::test]
async fn jitter_delays_reads_and_changes_nothing() {
    let store = Store::new();
    store.add("t").await;
    let settings = PollerSettings { jitter: Duration::from_millis(2), ..PollerSettings::default() };
    let poller = Poller::builder(store.bucket.clone(), Arc::default(), settings);
    assert_eq!(poller.poll_once().await.unwrap().live_blocks, 1);
}

#[tokio::test]
async fn restarted_builder_reads_only_metas_that_the_index_may_not_have() {
    let store = Store::new();
    let mut ids = Vec::new();
    for number in 0..40 {
        let id = store.add("t").await;
        let age = if number < 30 { 2 * HOUR } else { HOUR / 2 };
        let path = store.bucket.local_path(&block_key("t", id, META)).unwrap();
        File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        ids.push(id);
    }
    ids.sort_unstable();
    assert_eq!(store.builder().poll_once().await.unwrap().metas_read, 40);
    let new = store.add("t").await;
    let gone = ids.remove(0);
    block_io::clear_block(&store.bucket, "t", gone).await.unwrap();
    ids.push(new);
    ids.sort_unstable();
    let poller = store.builder();
    assert!((10..=11).contains(&poller.poll_once().await.unwrap().metas_read));
    assert_eq!(live(&poller, "t"), ids);
    // Another program leaves out of an index what it does not know of metas.
    for (name, of_json) in [("t/index.json.gz", true), ("t/index.pb.zst", false)] {
        let bytes = store.bucket.get("t/index.json.gz").await.unwrap();
        let index = TenantIndex { form: 0, ..TenantIndex::from_json_gz(&bytes).unwrap() };
        let bytes = if of_json { index.to_json_gz() } else { index.to_proto_zst() };
        store.bucket.put(name, bytes.into()).await.unwrap();
    }
    let reader = store.reader(PollerSettings::default());
    // It lists first, then it takes the index.
    for read in [40, 0] {
        assert_eq!(reader.poll_once().await.unwrap().metas_read, read);
    }
    let poller = store.builder();
    for read in [40, 0] {
        assert_eq!(poller.poll_once().await.unwrap().metas_read, read);
    }
    // An index that is damaged is no help, and no harm.
    store.bucket.put("t/index.json.gz", Bytes::from_static(b"damaged")).await.unwrap();
    let poller = store.builder();
    assert_eq!(poller.poll_once().await.unwrap().metas_read, 40);
    assert_eq!(live(&poller, "t"), ids);
}
