//! Which segments become blocks when, and what holds up which flush.

use std::time::Instant;

use tactus_storage::Uuid;
use tokio::sync::Semaphore;

use super::{bad_disk::eventually, *};
use crate::begun_blocks::PendingBlock;

/// An ingester that flushes one block at a time, whatever its age. Telling of a block of `slow` takes as long as the
/// semaphore has no permit.
fn open_with_slow_reader(bench: &Bench) -> (Arc<Ingester>, Arc<Semaphore>) {
    let settings = bench.settings_with(|it| {
        it.ingester.concurrent_flushes = 1;
        it.ingester.max_block_duration = Duration::ZERO.into();
    });
    let bucket = Bucket::open(&BucketSettings::Local { path: bench.bucket_path() }).unwrap();
    let (blocklist, answers) = (Arc::clone(&bench.blocklist), Arc::new(Semaphore::new(0)));
    let reader = Arc::clone(&answers);
    let written = BlockWritten::new(move |meta| {
        let (is_slow, reader) = (meta.tenant_id == "slow", Arc::clone(&reader));
        blocklist.add_block(meta);
        Box::pin(async move {
            if is_slow {
                drop(reader.acquire().await);
            }
        })
    });
    (Ingester::open(settings, bucket, written, &Registry::new()).unwrap(), answers)
}

async fn cut(ingester: &Arc<Ingester>, tenants: &[&str]) {
    for &tenant in tenants {
        let push = push_of(tenant, &[span(1, 1, 1)]);
        ingester.push(&push, &TenantId::parse(tenant).unwrap()).unwrap();
    }
    ingester.seal().await.unwrap();
}

#[tokio::test]
async fn flush_of_a_tenant_whose_block_is_told_of_holds_up_no_other() {
    let bench = Bench::new();
    let (ingester, answers) = open_with_slow_reader(&bench);
    let blocks = |tenant: &str| bench.blocklist.tenant(tenant).live().len();
    let unflushed = |tenant: &str| {
        let tenant = ingester.tenant(&TenantId::parse(tenant).unwrap());
        tenant.map_or(0, |tenant| tenant.unflushed_segments().len())
    };
    let under_way = || ingester.flushes.most_begun - ingester.flushes.places.available_permits();
    for round in 1..4 {
        cut(&ingester, &["slow", "quick"]).await;
        // Returns although that of `slow` is under way, which is not begun twice.
        ingester.flush_due().await;
        eventually("a block of each round", || blocks("quick") == round).await;
        eventually("all others have ended", || under_way() == 1).await;
        eventually("the first block of it", || blocks("slow") == 1).await;
        assert_eq!([unflushed("slow"), unflushed("quick")], [round, 0]);
    }
    let flush = tokio::spawn({
        let ingester = Arc::clone(&ingester);
        async move { ingester.flush_all().await }
    });
    cut(&ingester, &["quick"]).await;
    ingester.flush_due().await;
    eventually("a block while all are flushed", || blocks("quick") == 4).await;
    assert!(!flush.is_finished(), "not all are");
    answers.add_permits(1);
    flush.await.unwrap().unwrap();
    assert_eq!([unflushed("slow"), unflushed("quick")], [0, 0]);
    eventually("none is under way", || under_way() == 0).await;
}

#[tokio::test]
async fn tenant_that_is_being_flushed_or_waits_after_a_failure_is_not_ready() {
    let bench = Bench::new();
    let ingester = bench.open();
    let is_ready = || ingester.flushes.is_ready(&tenant());
    assert!(is_ready());
    let mut queue = ingester.flushes.queue(&tenant()).lock_owned().await;
    assert!(!is_ready());
    queue.not_before = Some(Instant::now() + Duration::from_secs(3600));
    drop(queue);
    assert!(!is_ready());
}

/// Spans 0 to 99 in a segment beside other files of so many bytes; the bytes of the directory, and how to open it with a
/// limit.
async fn cut_beside(bench: &Bench, bytes_aside: usize) -> (u64, impl Fn(u64) -> Arc<Ingester>) {
    let open = move |limit| {
        let settings = bench.settings_with(|it| {
            it.ingester.min_free_disk_bytes = 0;
            it.ingester.max_disk_bytes = limit;
        });
        let ingester = bench.open_with(settings).unwrap();
        ingester.measure_disk();
        ingester
    };
    let ingester = open(0);
    push_all(&ingester, 0..100);
    ingester.seal().await.unwrap();
    let aside = ingester.directory().join("quarantine");
    std::fs::create_dir(&aside).unwrap();
    std::fs::write(aside.join("damaged.seg"), vec![0; bytes_aside]).unwrap();
    drop(ingester);
    (open(0).directory_bytes(), open)
}

#[tokio::test]
async fn segments_become_blocks_near_the_limit_of_the_directory_if_that_makes_room() {
    for (bytes_aside, makes_room) in [(0, true), (4 << 20, false)] {
        let bench = Bench::new();
        let (bytes, open) = cut_beside(&bench, bytes_aside).await;
        let ingester = open(bytes + bytes / 10);
        ingester.has_room().unwrap();
        ingester.flush_due().await;
        let places = ingester.flushes.places.available_permits();
        assert!(makes_room || places == ingester.flushes.most_begun, "nothing is begun");
        let is_flushed = || held(&ingester).is_empty();
        eventually("it is flushed if that helps", || is_flushed() == makes_room).await;
    }
}

#[tokio::test]
async fn directory_beyond_its_limit_is_not_ready_until_its_segments_are_blocks() {
    let bench = Bench::new();
    let (bytes, open) = cut_beside(&bench, 0).await;
    let ingester = open(bytes - 1);
    let push = || ingester.push(&push_of("t1", &[span(1, 1, 1)]), &tenant());
    for text in [ingester.has_room().unwrap_err(), push().unwrap_err().to_string()] {
        assert!(text.contains("ingester.max_disk_bytes"), "{text}");
    }
    ingester.flush_due().await;
    eventually("there is room", || ingester.has_room().is_ok()).await;
    push().unwrap();
}

#[tokio::test]
async fn block_that_was_begun_is_made_if_what_lies_in_place_of_its_compacted_meta_is_none() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    ingester.seal().await.unwrap();
    let segments = ingester.tenant(&tenant()).unwrap().segments();
    let block = PendingBlock::new(Uuid::new_v4(), segments, false);
    let manifest = ingester.manifest_path(&tenant(), block.id);
    ingester.manifest_of(&block, None).write(&manifest).unwrap();
    drop(ingester);
    let stored = bench.bucket_path().join("t1").join(block.id.to_string());
    std::fs::create_dir_all(&stored).unwrap();
    std::fs::write(stored.join("meta.compacted.json"), "<html>Please log in</html>").unwrap();
    let ingester = bench.open();
    ingester.flush_all().await.unwrap();
    let live = bench.blocklist.tenant("t1").live().to_vec();
    assert_eq!(live.iter().map(|meta| meta.block_id).collect::<Vec<_>>(), [block.id]);
    assert!(held(&ingester).is_empty());
}
