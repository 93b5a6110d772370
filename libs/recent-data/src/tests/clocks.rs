//! What an earlier process left may bear times of the future, if the wall clock was set back since.

use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const SHORT: Duration = Duration::from_millis(20);

/// Another time at which the only block is noted to have been flushed.
fn shift_note(bench: &Bench, seconds: i64) {
    let [manifest] = paths_below(&bench.settings().directory.join("flushing")).try_into().unwrap();
    let mut noted: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    noted["flushed"] = (noted["flushed"].as_i64().unwrap() + seconds).into();
    std::fs::write(&manifest, serde_json::to_vec(&noted).unwrap()).unwrap();
}

fn paths_below(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|it| if it.is_dir() { paths_below(&it) } else { vec![it] }).collect()
}

#[tokio::test]
async fn segment_of_the_future_becomes_a_block_in_time() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    ingester.seal().await.unwrap();
    drop(ingester);
    for path in paths_below(&bench.settings().directory.join("segments")) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() + DAY).unwrap();
    }
    let settings = bench.settings_with(|it| {
        it.ingester.max_block_duration = SHORT.into();
        it.ingester.flush_check_period = SHORT.into();
    });
    let ingester = bench.open_with(settings).unwrap();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(
        Arc::clone(&ingester).run(cancel.clone(), || LastFlush::Within(Duration::ZERO)),
    );
    let path = bench.settings().directory.join("segments");
    while files(&path) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.blocklist.tenant("t1").live().len(), 1);
    cancel.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn block_flushed_in_the_future_is_let_go_of_in_time() {
    let bench = Bench::new();
    let held_for = |hold_flushed| Settings { hold_flushed, ..bench.settings() };
    let ingester = bench.open_with(held_for(DAY)).unwrap();
    push_all(&ingester, 0..10);
    ingester.flush_all().await.unwrap();
    assert_eq!(held(&ingester), once(0..10), "served until readers know the block");
    drop(ingester);
    shift_note(&bench, DAY.as_secs() as i64);
    let ingester = bench.open_with(held_for(SHORT)).unwrap();
    while !held(&ingester).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        ingester.release_held(false).await.unwrap();
    }
}

#[tokio::test]
async fn block_flushed_long_ago_by_another_clock_is_held_until_readers_know_it() {
    let bench = Bench::new();
    let settings = Settings { hold_flushed: DAY / 2, ..bench.settings() };
    let ingester = bench.open_with(settings.clone()).unwrap();
    push_all(&ingester, 0..10);
    ingester.flush_all().await.unwrap();
    drop(ingester);
    shift_note(&bench, -(DAY.as_secs() as i64));
    let ingester = bench.open_with(settings).unwrap();
    ingester.release_held(false).await.unwrap();
    assert_eq!(held(&ingester), once(0..10));
}
