//! Log parts of which there are segments: what these lack is taken in again, and nothing else. And what is found in place of
//! the files of segments.

use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{
    segments::{damage, name, push_of_each, spans_of},
    *,
};
use crate::layout::{CUT_FILE, Layout, PartRange};

/// What a kill between a cut and the release of the log leaves. Returns the file of the cut.
async fn cut_and_killed(bench: &Bench, push: impl FnOnce(&Ingester)) -> PathBuf {
    let ingester = bench.open();
    push(&ingester);
    let parts = bench.log_parts();
    ingester.seal().await.unwrap();
    let cut = ingester.layout.segment_directory(PartRange::of(1)).join(CUT_FILE);
    drop(ingester);
    parts.iter().for_each(|(path, content)| std::fs::write(path, content).unwrap());
    assert!(cut.is_file() && !parts.is_empty());
    cut
}

/// A pipe in place of whatever is there.
pub(super) fn put_pipe(path: &Path) {
    let _ = std::fs::remove_file(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
}

#[tokio::test]
async fn nothing_is_taken_in_again_of_what_segments_have() {
    let bench = Bench::new();
    cut_and_killed(&bench, |ingester| {
        push_all(ingester, 0..10);
        push_of_each(ingester, 0..2);
    })
    .await;
    let ingester = bench.open();
    assert_eq!(held(&ingester), once(0..10), "without origins");
    assert_eq!([0, 1].map(|tenant| spans_of(&ingester, &name(tenant))), [1, 1]);
    assert!(ingester.current.read().heads().is_empty());
    assert!(bench.log_parts().is_empty());
}

#[tokio::test]
async fn spans_of_a_cut_whose_file_is_lost_are_taken_in_again() {
    for is_renamed in [false, true] {
        let bench = Bench::new();
        let cut = cut_and_killed(&bench, |ingester| {
            push_all(ingester, 0..10);
            push_of_each(ingester, 0..1);
        })
        .await;
        match is_renamed {
            true => std::fs::rename(&cut, cut.with_extension("bak")).unwrap(),
            false => std::fs::remove_file(&cut).unwrap(),
        }
        for _ in 0..2 {
            let ingester = bench.open();
            assert_eq!((held(&ingester), spans_of(&ingester, &name(0))), (once(0..10), 1));
            ingester.seal().await.unwrap();
            assert!(bench.log_parts().is_empty());
        }
    }
}

#[tokio::test]
async fn spans_do_not_get_the_name_of_a_segment_that_is_gone() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    let parts = bench.log_parts();
    ingester.seal().await.unwrap();
    damage(&ingester.tenant(&tenant()).unwrap().segments()[0]);
    drop(ingester);
    parts.iter().for_each(|(path, content)| std::fs::write(path, content).unwrap());
    // The damaged segment is set aside, and no push is taken.
    let full = bench.settings_with(|it| it.ingester.max_disk_bytes = 1);
    assert!(held(&bench.open_with(full).unwrap()).is_empty());
    for _ in 0..3 {
        let ingester = bench.open();
        assert_eq!(held(&ingester), once(0..10));
        ingester.seal().await.unwrap();
    }
}

#[tokio::test]
async fn log_part_is_not_taken_for_one_of_another_disk_with_segments_of_its_number() {
    let (old, new) = (Bench::new(), Bench::new());
    let ingester = old.open();
    push_all(&ingester, 100..110);
    ingester.seal().await.unwrap();
    let from = ingester.layout.segment_directory(PartRange::of(1));
    drop(ingester);
    let ingester = new.open();
    push_all(&ingester, 0..10);
    let to = ingester.layout.segment_directory(PartRange::of(1));
    drop(ingester);
    std::fs::create_dir(&to).unwrap();
    std::fs::copy(from.join(CUT_FILE), to.join(CUT_FILE)).unwrap();
    let mut all = once(0..10);
    all.extend(once(100..110));
    for _ in 0..2 {
        // The second time its log part is that of the start before.
        let ingester = new.open();
        assert_eq!(held(&ingester), all);
    }
    let ingester = new.open();
    ingester.seal().await.unwrap();
    assert_eq!((held(&ingester), new.log_parts().len()), (all, 0));
}

#[tokio::test]
async fn start_goes_on_without_what_is_not_the_file_that_it_seems_to_be() {
    let bench = Bench::new();
    let ingester = bench.open();
    for ids in [0..10, 10..20] {
        push_all(&ingester, ids);
        ingester.seal().await.unwrap();
    }
    let directory = |part| ingester.layout.segment_directory(PartRange::of(part));
    let [first, plain, looped, loop_itself] = [1, 7, 8, 9].map(directory);
    let root = bench.settings().directory;
    drop(ingester);
    put_pipe(&first.join(CUT_FILE));
    put_pipe(&first.with_file_name("0000000000000006-0000000000000006").join("t1.0.seg"));
    put_pipe(&Layout::notes(&root));
    put_pipe(&root.join("flushing/t1/11111111-1111-4111-8111-111111111111.json"));
    std::fs::write(&plain, "").unwrap();
    std::fs::create_dir(&looped).unwrap();
    std::os::unix::fs::symlink(CUT_FILE, looped.join(CUT_FILE)).unwrap();
    std::os::unix::fs::symlink(&loop_itself, &loop_itself).unwrap();
    let ingester = bench.open();
    assert_eq!(held(&ingester), once(10..20));
    assert_eq!(std::fs::read_dir(root.join("quarantine")).unwrap().count(), 6);
    ingester.flush_all().await.unwrap();
    assert_eq!(bench.blocklist.tenant("t1").live().len(), 1);
}

#[tokio::test]
async fn start_goes_on_beside_segments_with_numbers_that_no_log_part_can_have() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    ingester.seal().await.unwrap();
    let limit = tactus_wal::PART_NUMBER_LIMIT;
    let [mut directory, last, beyond] =
        [1, limit - 1, limit].map(|part| ingester.layout.segment_directory(PartRange::of(part)));
    drop(ingester);
    for (renamed, expected) in [(beyond, 0..0), (last, 0..10)] {
        std::fs::rename(&directory, &renamed).unwrap();
        assert_eq!(held(&bench.open()), once(expected));
        directory = renamed;
    }
    // Nothing is acknowledged that the next start would not find.
    let push = push_of("t1", &[span(1, 50, 1)]);
    assert!(matches!(bench.open().push(&push, &tenant()), Err(PushError::Wal(_))));
}

#[tokio::test]
async fn what_lies_in_the_quarantine_under_the_name_of_a_damaged_segment_is_replaced() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_of_each(&ingester, 0..2);
    ingester.seal().await.unwrap();
    let [segment] = ingester.tenant(&name(1)).unwrap().segments().try_into().unwrap();
    let kept = ingester.layout.quarantined(segment.path()).unwrap();
    std::os::unix::fs::symlink("elsewhere", &kept).unwrap();
    damage(&segment);
    drop((segment, ingester));
    let ingester = bench.open();
    assert_eq!([0, 1].map(|tenant| spans_of(&ingester, &name(tenant))), [1, 0]);
    assert!(std::fs::symlink_metadata(&kept).unwrap().is_file());
}
