use std::fs::{self, File};
use std::time::SystemTime;

use super::*;
use crate::bucket::BucketSettings;
use crate::layout::{DATA, block_key, block_prefix};

const HOUR: Duration = Duration::from_secs(3600);

fn local() -> (tempfile::TempDir, Bucket) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bucket");
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    (directory, bucket)
}

fn set_age(path: &Path, age: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

/// Writes an object that seems to be as old.
async fn put(bucket: &Bucket, key: &str, age: Duration) {
    bucket.put(key, Bytes::from_static(b"12345")).await.unwrap();
    set_age(&bucket.local_path(key).unwrap(), age);
}

async fn unfinished(bucket: &Bucket, age: Duration) -> Uuid {
    let id = Uuid::new_v4();
    for file in [DATA, "bloom-0"] {
        put(bucket, &block_key("t", id, file), age).await;
    }
    id
}

async fn orphans(bucket: &Bucket, older_than: Duration) -> Vec<Uuid> {
    let found = list_orphans(bucket, "t", older_than).await.unwrap();
    found.into_iter().map(|orphan| orphan.block_id).collect()
}

#[tokio::test]
async fn only_old_directories_without_any_meta_are_orphans() {
    let (_directory, bucket) = local();
    let orphan = unfinished(&bucket, 3 * HOUR).await;
    let growing = unfinished(&bucket, 3 * HOUR).await;
    put(&bucket, &block_key("t", growing, "index"), HOUR).await;
    for file in [META, COMPACTED_META] {
        let finished = unfinished(&bucket, 3 * HOUR).await;
        put(&bucket, &block_key("t", finished, file), 3 * HOUR).await;
    }
    put(&bucket, "t/not-a-block/data.parquet", 3 * HOUR).await;
    let found = list_orphans(&bucket, "t", 2 * HOUR).await.unwrap();
    assert_eq!((found[0].block_id, found[0].bytes, found.len()), (orphan, 10, 1));
    assert!(orphans(&bucket, 4 * HOUR).await.is_empty());
    assert!(list_orphans(&bucket, "../t", HOUR).await.is_err());
}

#[tokio::test]
async fn directory_of_another_program_is_no_orphan() {
    let (_directory, bucket) = local();
    let id = unfinished(&bucket, 3 * HOUR).await;
    let found = list_orphans(&bucket, "t", HOUR).await.unwrap();
    put(&bucket, &block_key("t", id, "photo.jpg"), 3 * HOUR).await;
    assert!(orphans(&bucket, HOUR).await.is_empty());
    assert!(!clear_orphan(&bucket, "t", &found[0]).await.unwrap());
    assert!(bucket.head(&block_key("t", id, DATA)).await.is_ok());
}

#[tokio::test]
async fn block_with_something_else_in_the_place_of_its_meta_is_damaged_and_no_orphan() {
    let (_directory, bucket) = local();
    let mut blocks = Vec::new();
    for kind in ["directory", "link to nothing", "pipe"] {
        let id = unfinished(&bucket, 3 * HOUR).await;
        let path = bucket.local_path(&block_key("t", id, META)).unwrap();
        match kind {
            "directory" => fs::create_dir(path).unwrap(),
            "pipe" => {
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
                    .unwrap();
            }
            _ => std::os::unix::fs::symlink("/nowhere", path).unwrap(),
        }
        blocks.push(id);
    }
    assert!(orphans(&bucket, HOUR).await.is_empty());
    let newest = Timestamp::now();
    for &block_id in &blocks {
        let orphan = Orphan { block_id, bytes: 10, newest };
        assert!(!matches!(clear_orphan(&bucket, "t", &orphan).await, Ok(true)));
    }
    let mut live = crate::block_io::list_blocks(&bucket, "t", 1).await.unwrap().live;
    live.sort_unstable();
    blocks.sort_unstable();
    assert_eq!(live, blocks, "so that answers without them are marked");
    for block_id in blocks {
        crate::block_io::read_meta(&bucket, "t", block_id).await.unwrap_err();
    }
}

#[tokio::test]
async fn cleared_orphan_leaves_nothing_and_others_alone() {
    let (_directory, bucket) = local();
    unfinished(&bucket, 3 * HOUR).await;
    let found = list_orphans(&bucket, "t", HOUR).await.unwrap();
    let path = bucket.local_path(&block_prefix("t", found[0].block_id)).unwrap();
    for _ in 0..2 {
        assert!(clear_orphan(&bucket, "t", &found[0]).await.unwrap());
        assert!(!path.try_exists().unwrap());
    }
}

#[tokio::test]
async fn orphan_that_is_written_again_is_not_cleared() {
    let (_directory, bucket) = local();
    for file in [META, COMPACTED_META, DATA] {
        let id = unfinished(&bucket, 3 * HOUR).await;
        let found = list_orphans(&bucket, "t", HOUR).await.unwrap();
        let orphan = found.iter().find(|orphan| orphan.block_id == id).unwrap();
        bucket.put(&block_key("t", id, file), Bytes::new()).await.unwrap();
        assert!(!clear_orphan(&bucket, "t", orphan).await.unwrap());
        assert!(bucket.head(&block_key("t", id, "bloom-0")).await.is_ok());
    }
}

#[tokio::test]
async fn clock_far_after_the_tenants_index_is_not_believed() {
    let (_directory, bucket) = local();
    let orphan = unfinished(&bucket, 30 * HOUR).await;
    put(&bucket, "t/index.pb.zst", 29 * HOUR).await;
    assert!(orphans(&bucket, 24 * HOUR).await.is_empty());
    put(&bucket, "t/index.json.gz", Duration::ZERO).await;
    assert_eq!(orphans(&bucket, 24 * HOUR).await, [orphan]);
}

#[tokio::test]
async fn old_temporary_files_and_empty_directories_are_deleted() {
    let (_directory, bucket) = local();
    let id = unfinished(&bucket, 3 * HOUR).await;
    let tenant = bucket.local_path("t").unwrap();
    let block = tenant.join(id.to_string());
    let empty = tenant.join(Uuid::new_v4().to_string());
    fs::create_dir(&empty).unwrap();
    let mut old = vec![tenant.join("index.pb.zst#17"), block.join("data.parquet#99")];
    let kept = [
        block.join("data.parquet#new"),
        block.join("bloom-0#5"),
        tenant.join("x#y#"),
        tenant.join("notes#2024"),
        block.join("notes#2024"),
    ];
    for path in old.iter().chain(&kept) {
        fs::write(path, b"1234").unwrap();
    }
    old.push(empty);
    for path in old.iter().chain(kept.iter().filter(|path| !path.ends_with("bloom-0#5"))) {
        set_age(path, 2 * HOUR);
    }
    let cleared = clear_leftovers(&bucket, "t", HOUR).await.unwrap();
    assert_eq!(cleared, Leftovers { files: 2, bytes: 8, directories: 1 });
    assert!(old.iter().all(|path| !path.try_exists().unwrap()));
    assert!(kept.iter().all(|path| path.try_exists().unwrap()));
    assert_eq!(bucket.list("t").await.unwrap().len(), 4);
    assert_eq!(clear_leftovers(&bucket, "nobody", HOUR).await.unwrap(), Leftovers::default());
}

#[tokio::test]
async fn old_temporary_files_of_no_tenants_directory_are_deleted() {
    let (_directory, bucket) = local();
    put(&bucket, "overrides/a/overrides.json", 2 * HOUR).await;
    put(&bucket, "tactus-job.a.1.json", 2 * HOUR).await;
    let root = bucket.local_path("").unwrap();
    let old = [
        root.join("tactus-job.a.2.json#17"),
        root.join("tactus-sampling.probabilities.json#18"),
        root.join("overrides/a/overrides.json#99"),
    ];
    let new = root.join("tactus-job.a.3.json#18");
    let foreign = [
        root.join("notes.json#17"),
        root.join("overrides/notes#17"),
        root.join("overrides/a/notes.json#17"),
        root.join("tactus-job.a.2.json#x"),
    ];
    for path in old.iter().chain(&foreign).chain([&new]) {
        fs::write(path, b"1234").unwrap();
    }
    for path in old.iter().chain(&foreign) {
        set_age(path, 2 * HOUR);
    }
    let cleared = clear_shared_leftovers(&bucket, HOUR).await.unwrap();
    assert_eq!(cleared, Leftovers { files: 3, bytes: 12, directories: 0 });
    assert!(old.iter().all(|path| !path.try_exists().unwrap()));
    assert!(foreign.iter().chain([&new]).all(|path| path.try_exists().unwrap()));
    assert!(bucket.head("overrides/a/overrides.json").await.is_ok());
    assert!(bucket.head("tactus-job.a.1.json").await.is_ok());
}
