use tactus_storage::BucketSettings;
use tactus_storage::blocklist::BlockChanges;
use tactus_telemetry::metrics::Registry;

use super::*;
use crate::tests::{TENANT, V4, V5, copy_block};

#[tokio::test(flavor = "multi_thread")]
async fn reader_of_a_block_goes_once_the_list_does_not_have_it() {
    let directory = tempfile::tempdir().unwrap();
    for block in [V4, V5] {
        copy_block(block, directory.path());
    }
    let path = directory.path().to_owned();
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    let blocklist = Arc::new(Blocklist::new());
    let metrics = Arc::new(Metrics::register(&Registry::new()));
    let blocks = Blocks::new(&Settings::default(), bucket.clone(), blocklist.clone(), metrics);
    let [old, new] = [V4, V5].map(|block| Uuid::parse_str(block).unwrap());
    let open = |id: Uuid| {
        let runtime = Handle::current();
        tokio::task::block_in_place(|| {
            let meta = runtime.block_on(blocks.meta(TENANT, id)).unwrap();
            drop(blocks.open_once(&meta, &key_of(&meta), &runtime).unwrap());
        });
    };
    let is_open = |id: Uuid| blocks.readers.contains_key(&(TENANT.into(), id));
    // The list has none of them yet: the frontend knows them first.
    open(old);
    assert!(is_open(old) && blocks.unlisted.contains_key(&(TENANT.into(), old)));
    blocklist.add_block(read_meta(&bucket, TENANT, new).await.unwrap());
    open(new);
    assert!(is_open(old) && is_open(new));
    // In the list, and compacted away.
    blocklist.add_block(read_meta(&bucket, TENANT, old).await.unwrap());
    blocks.unlisted.invalidate_all();
    open(new);
    assert!(is_open(old));
    let gone = BlockChanges { remove: vec![old], ..BlockChanges::default() };
    blocklist.change(TENANT, gone);
    assert!(is_open(old), "only opening another block looks at the list");
    blocks.readers.invalidate(&(TENANT.into(), new));
    open(new);
    assert!(!is_open(old) && is_open(new));
}
