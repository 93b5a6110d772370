//! Whatever happens while traces are decided, the directory has the undecided segment or what was decided of it.

use std::{fs::File, os::unix::fs::FileExt};

use super::*;
use crate::{
    begun_blocks::Manifest,
    segment::{OpenSegment, SegmentError},
    tests::{
        covered_parts::put_pipe,
        segments::{name, push_of_each, spans_of},
    },
};

/// The file of what was decided of a segment, which is also still in the file of its cut: another tenant needs that.
async fn decided_beside_its_cut(sampled: &Sampled) -> PathBuf {
    let ingester = sampled.open();
    push_one(&ingester, 1, 1);
    push_one(&ingester, 2, 200);
    push_of_each(&ingester, 0..1);
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1]);
    let mut paths = sampled.segment_paths().into_iter();
    paths.find(|path| path.ends_with("t1.0.seg")).unwrap()
}

#[tokio::test]
async fn killed_at_any_step_the_segment_is_there_or_what_was_decided_of_it() {
    let sampled = Sampled::new(BELOW_TEN);
    let ingester = sampled.open();
    push_one(&ingester, 1, 1);
    push_one(&ingester, 2, 200);
    ingester.seal().await.unwrap();
    let cut = sampled.segment_paths()[0].clone();
    let undecided = std::fs::read(&cut).unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    let [decided] = sampled.segment_paths().try_into().unwrap();
    let kept = std::fs::read(&decided).unwrap();
    drop(ingester);
    // While what stays is written.
    std::fs::remove_file(&decided).unwrap();
    std::fs::write(&cut, &undecided).unwrap();
    std::fs::write(decided.with_extension("deciding"), &kept[..kept.len() / 2]).unwrap();
    let ingester = sampled.open();
    assert_eq!(sampled.segment_files(), ["t1.0.pending"]);
    assert_eq!(ids(&ingester), [1, 200]);
    drop(ingester);
    // Before the file of the cut goes.
    std::fs::write(&decided, &kept).unwrap();
    let ingester = sampled.open();
    assert_eq!(sampled.segment_paths(), [decided]);
    assert_eq!(ids(&ingester), [1]);
    // Left behind it is known to be of no use.
    std::fs::write(&cut, &undecided).unwrap();
    push_one(&ingester, 3, 300);
    ingester.flush_all().await.unwrap();
    assert_eq!(sampled.segment_paths(), [cut]);
    drop(ingester);
    assert!(ids(&sampled.open()).is_empty());
    assert!(sampled.segment_paths().is_empty());
}

#[tokio::test]
async fn undecided_segments_of_older_releases_are_decided() {
    let sampled = Sampled::new(BELOW_TEN);
    let ingester = sampled.open();
    push_one(&ingester, 1, 1);
    push_one(&ingester, 2, 200);
    push_one(&ingester, 3, 3);
    ingester.seal().await.unwrap();
    drop(ingester);
    // A file for each segment, as they had.
    let cut = sampled.segment_paths()[0].clone();
    let section = &read_sections(&cut).unwrap().sections[0];
    let (first, end) = (section.offset as usize, (section.offset + section.bytes) as usize);
    let bytes = std::fs::read(&cut).unwrap()[first..end].to_vec();
    let pending = cut.with_file_name("t1.0.pending");
    std::fs::write(&pending, &bytes).unwrap();
    std::fs::remove_file(&cut).unwrap();
    let ingester = sampled.open();
    assert_eq!(ids(&ingester), [1, 3, 200]);
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!((sampled.segment_files(), ids(&ingester)), (vec!["t1.0.seg".into()], vec![1, 3]));
    drop(ingester);
    // Not deleted before a kill.
    std::fs::write(&pending, &bytes).unwrap();
    let ingester = sampled.open();
    assert_eq!((sampled.segment_files(), ids(&ingester)), (vec!["t1.0.seg".into()], vec![1, 3]));
    drop(ingester);
    // As before, and what was decided is damaged.
    std::fs::write(&pending, &bytes).unwrap();
    std::fs::write(pending.with_extension("seg"), "").unwrap();
    let ingester = sampled.open();
    assert_eq!(sampled.segment_files(), ["t1.0.pending"]);
    assert_eq!(ids(&ingester), [1, 3, 200]);
    ingester.flush_all().await.unwrap();
    assert!(sampled.segment_paths().is_empty());
}

#[tokio::test]
async fn segment_is_decided_again_if_what_was_decided_of_it_is_damaged() {
    let harms: [fn(&Path); 4] = [
        |decided| std::fs::write(decided, "").unwrap(),
        |decided| {
            let mut bytes = std::fs::read(decided).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(decided, bytes).unwrap();
        },
        |decided| {
            std::fs::remove_file(decided).unwrap();
            std::fs::create_dir(decided).unwrap();
        },
        put_pipe,
    ];
    for harm in harms {
        let sampled = Sampled::new(BELOW_TEN);
        harm(&decided_beside_its_cut(&sampled).await);
        let ingester = sampled.open();
        assert_eq!((ids(&ingester), spans_of(&ingester, &name(0))), (vec![1, 200], 1));
        ingester.decide(Due::Waited).await.unwrap();
        assert_eq!(ids(&ingester), [1]);
        drop(ingester);
        assert_eq!(ids(&sampled.open()), [1]);
    }
}

#[tokio::test]
async fn segment_is_decided_again_if_what_was_decided_of_it_goes_bad_and_is_in_no_block() {
    for is_stored in [false, true] {
        let sampled = Sampled::new(BELOW_TEN);
        decided_beside_its_cut(&sampled).await;
        let ingester = sampled.open();
        let [segment] = ingester.tenant(&tenant()).unwrap().segments().try_into().unwrap();
        if is_stored {
            segment.set_flushed();
        }
        let error = SegmentError::Corrupt { path: segment.path().to_owned(), what: "a column" };
        ingester.set_aside(&tenant(), &segment, &error);
        assert!(ids(&ingester).is_empty());
        drop((segment, ingester));
        let expected: &[u16] = if is_stored { &[] } else { &[1, 200] };
        assert_eq!(ids(&sampled.open()), expected);
    }
}

#[tokio::test]
async fn segment_is_not_decided_again_if_a_block_has_what_was_decided_of_it() {
    let expected: [(Option<u64>, &[u16]); 2] = [(Some(1), &[]), (None, &[1, 200])];
    for (flushed, expected) in expected {
        let sampled = Sampled::new(BELOW_TEN);
        let decided = decided_beside_its_cut(&sampled).await;
        let root = sampled.bench.settings().directory;
        let segment = decided.strip_prefix(root.join("segments")).unwrap().to_owned();
        let manifest = root.join("flushing/t1/11111111-1111-4111-8111-111111111111.json");
        Manifest { segments: vec![segment], flushed }.write(&manifest).unwrap();
        std::fs::write(&decided, "").unwrap();
        for _ in 0..2 {
            let ingester = sampled.open();
            assert_eq!((ids(&ingester), spans_of(&ingester, &name(0))), (expected.to_vec(), 1));
        }
    }
}

#[tokio::test]
async fn damaged_decision_for_which_the_quarantine_has_no_room_does_not_replace_its_segment() {
    let sampled = Sampled::new(BELOW_TEN);
    let decided = decided_beside_its_cut(&sampled).await;
    std::fs::write(sampled.bench.settings().directory.join("quarantine"), "").unwrap();
    let mut bytes = std::fs::read(&decided).unwrap();
    // In a column that is first read by a query.
    let name_of_span = bytes.windows(9).position(|text| text == b"operation").unwrap();
    bytes[name_of_span] ^= 1;
    std::fs::write(&decided, bytes).unwrap();
    let ingester = sampled.open();
    assert_eq!(ids(&ingester), [1, 200]);
    ingester.decide(Due::Waited).await.unwrap_err();
    assert_eq!(ids(&ingester), [1, 200]);
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1]);
    drop(ingester);
    assert_eq!(ids(&sampled.open()), [1]);
}

#[tokio::test]
async fn segment_that_is_zeros_by_now_is_not_served_if_what_was_decided_of_it_is_damaged() {
    let sampled = Sampled::new(BELOW_TEN);
    let decided = decided_beside_its_cut(&sampled).await;
    let cut = decided.with_file_name(CUT_FILE);
    let sections = read_sections(&cut).unwrap().sections;
    let section = sections.iter().find(|section| section.tenant == "t1").unwrap();
    let file = File::options().write(true).open(&cut).unwrap();
    file.write_all_at(&vec![0; section.bytes as usize], section.offset).unwrap();
    std::fs::write(&decided, "").unwrap();
    for _ in 0..2 {
        let ingester = sampled.open();
        assert!(ids(&ingester).is_empty());
        assert_eq!(spans_of(&ingester, &name(0)), 1);
    }
}

#[tokio::test]
async fn undecided_segment_stays_while_the_disk_cannot_read_what_was_decided_of_it() {
    let sampled = Sampled::new(BELOW_TEN);
    let decided = decided_beside_its_cut(&sampled).await;
    std::fs::remove_file(&decided).unwrap();
    std::os::unix::fs::symlink("nowhere", &decided).unwrap();
    let ingester = sampled.open();
    assert!(ids(&ingester).is_empty());
    assert!(ingester.unreadable.lacks(&tenant()));
    // The other tenant needs the file of the cut no more.
    ingester.flush_all().await.unwrap_err();
    assert_eq!(spans_of(&ingester, &name(0)), 0);
    drop(ingester);
    // It is damaged after all.
    std::fs::remove_file(&decided).unwrap();
    std::fs::write(&decided, "").unwrap();
    assert_eq!(ids(&sampled.open()), [1, 200]);
}

#[tokio::test]
async fn decision_that_cannot_be_written_is_tried_again() {
    let sampled = Sampled::new(BELOW_TEN);
    let ingester = sampled.open();
    push_one(&ingester, 1, 1);
    push_one(&ingester, 2, 200);
    ingester.seal().await.unwrap();
    let in_the_way = sampled.segment_paths()[0].with_file_name("t1.0.deciding");
    std::fs::create_dir(&in_the_way).unwrap();
    ingester.decide(Due::Waited).await.unwrap_err();
    assert!(ingester.flush_all().await.is_err());
    assert_eq!(ids(&ingester), [1, 200]);
    assert!(sampled.bench.blocklist.tenant("t1").live().is_empty());
    std::fs::remove_dir(&in_the_way).unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1]);
    let discarded = "tempo_discarded_spans_total{reason=\"tail_sampling\",tenant=\"t1\"}";
    assert_eq!(sampled.metric(discarded), Some(1.0));
}

#[tokio::test]
async fn undecided_spans_of_the_log_are_decided_after_a_restart() {
    let sampled = Sampled::new(BELOW_TEN);
    sampled.set(Some(tail_sampling(BELOW_TEN, HOUR)));
    let ingester = sampled.open();
    push_one(&ingester, 1, 100);
    push_one(&ingester, 2, 200);
    ingester.seal().await.unwrap();
    push_one(&ingester, 1, 1);
    drop(ingester);
    let ingester = sampled.open();
    assert_eq!(ids(&ingester), [1, 100, 200]);
    assert_eq!(sampled.segment_files(), ["t1.0.pending", "t1.0.pending"]);
    ingester.decide(Due::All).await.unwrap();
    assert_eq!(ids(&ingester), [1, 100]);
}

#[tokio::test]
async fn turned_off_everything_stays_and_files_are_as_ever() {
    let sampled = Sampled::new(NONE);
    let ingester = sampled.open();
    push_all(&ingester, 0..20);
    ingester.seal().await.unwrap();
    sampled.set(None);
    push_all(&ingester, 20..40);
    ingester.seal().await.unwrap();
    assert_eq!(sampled.segment_files(), ["t1.0.pending", "t1.0.seg"]);
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(sampled.segment_files(), ["t1.0.seg", "t1.0.seg"]);
    assert_eq!(held(&ingester), once(0..40));
    drop(ingester);
    assert_eq!(held(&sampled.open()), once(0..40));
    // Without policies, and with one that keeps all, the same bytes.
    let bytes = async |policies: Option<&str>| {
        let sampled = Sampled::new(ALL);
        sampled.set(policies.map(|yaml| tail_sampling(yaml, Duration::ZERO)));
        let ingester = sampled.open();
        push_all(&ingester, 0..100);
        ingester.seal().await.unwrap();
        assert_eq!(
            ingester.has_pending.load(std::sync::atomic::Ordering::Relaxed),
            policies.is_some()
        );
        ingester.decide(Due::Waited).await.unwrap();
        assert_eq!(sampled.segment_files(), ["t1.0.seg"]);
        let path = &sampled.segment_paths()[0];
        let section = &read_sections(path).unwrap().sections[0];
        let (first, end) = (section.offset as usize, (section.offset + section.bytes) as usize);
        std::fs::read(path).unwrap()[first..end].to_vec()
    };
    assert_eq!(bytes(None).await, bytes(Some(ALL)).await);
}

#[tokio::test]
async fn traces_wait_some_minutes_for_an_undecided_segment_that_the_disk_cannot_read() {
    for comes_back in [true, false] {
        let sampled = Sampled::new(BELOW_TEN);
        let ingester = sampled.open();
        push_one(&ingester, 1, 1);
        ingester.seal().await.unwrap();
        let [first] = sampled.segment_paths().try_into().unwrap();
        push_one(&ingester, 1, 100);
        ingester.seal().await.unwrap();
        let away = sampled.bench.folder.path().join("away");
        std::fs::rename(&first, &away).unwrap();
        // What the round decided that met the error is forgotten.
        ingester.decide(Due::Waited).await.unwrap_err();
        ingester.decide(Due::Waited).await.unwrap();
        assert_eq!(ids(&ingester), [100]);
        if comes_back {
            std::fs::rename(&away, &first).unwrap();
        }
        for _ in 0..8 {
            ingester.read_again(true);
        }
        ingester.decide(Due::Waited).await.unwrap();
        let kept: &[u16] = if comes_back { &[1, 100] } else { &[] };
        assert_eq!(ids(&ingester), kept);
    }
}

#[tokio::test]
async fn decision_counts_also_if_its_segment_was_left_out_meanwhile() {
    for keeps_all in [true, false] {
        let sampled = Sampled::new(BELOW_TEN);
        let ingester = sampled.open();
        push_one(&ingester, 1, 1);
        push_one(&ingester, 2, 200);
        ingester.seal().await.unwrap();
        let state = ingester.tenant(&tenant()).unwrap();
        let [pending] = state.pending_segments().try_into().unwrap();
        let open = OpenSegment::new(Arc::clone(&pending));
        let error = SegmentError::read(pending.path(), std::io::ErrorKind::NotFound.into());
        ingester.leave_out(&tenant(), &pending, &error);
        let decided = [(trace_id(1), true), (trace_id(2), keeps_all)].into_iter().collect();
        ingester.settle(&tenant(), &state, &open, &decided).unwrap();
        assert!(ingester.unreadable.is_empty());
        let kept: &[u16] = if keeps_all { &[1, 200] } else { &[1] };
        assert_eq!(ids(&ingester), kept);
        drop((state, pending, open, ingester));
        assert_eq!(ids(&sampled.open()), kept);
    }
}
