//! What could not be read back stays on the disk and is told of, and whatever goes on meanwhile loses nothing of it.

use std::{path::PathBuf, sync::mpsc};

use tactus_wal::Wal;

use super::{
    bad_disk::eventually,
    segments::{damage, name, push_of_each, spans_of},
    *,
};
use crate::layout::{CUT_FILE, Layout, PartRange};

/// A segment whose file was moved away, as if the disk could not read it for a while.
struct Away {
    file: PathBuf,
    away: PathBuf,
}

impl Away {
    fn new(bench: &Bench, file: PathBuf) -> Self {
        let away = bench.folder.path().join("away");
        std::fs::rename(&file, &away).unwrap();
        Self { file, away }
    }

    fn comes_back(&self) {
        std::fs::rename(&self.away, &self.file).unwrap();
    }
}

impl Bench {
    fn stored_blocks(&self) -> usize {
        self.blocklist.tenant("t1").live().len()
    }

    pub(super) fn log_parts(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let log = std::fs::read_dir(Layout::log(&self.settings().directory)).unwrap();
        let paths = log.map(|entry| entry.unwrap().path());
        let parts = paths.filter(|path| path.extension().is_some_and(|it| it == "wal"));
        parts.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
    }

    /// Spans 0 to 9 in a segment whose file is away.
    async fn cut_and_away(&self, ingester: &Arc<Ingester>) -> Away {
        push_all(ingester, 0..10);
        ingester.seal().await.unwrap();
        Away::new(self, ingester.tenant(&tenant()).unwrap().segments()[0].place().file.path())
    }

    /// A block that was begun of spans 0 to 19, of which those below 10 are away; its manifest.
    async fn begun_and_away(&self, ingester: &Arc<Ingester>) -> (Away, PathBuf) {
        let away = self.cut_and_away(ingester).await;
        push_all(ingester, 10..20);
        ingester.flush_all().await.unwrap_err();
        let flushing = self.settings().directory.join("flushing/t1");
        let manifests = std::fs::read_dir(flushing).unwrap().map(|entry| entry.unwrap().path());
        let [manifest] = manifests.collect::<Vec<_>>().try_into().unwrap();
        (away, manifest)
    }

    /// A start while the disk can read nothing of a part of the log.
    fn open_without(&self, part: &Path) -> Arc<Ingester> {
        let settings = self.settings();
        let root = settings.directory.clone();
        let bucket = Bucket::open(&BucketSettings::Local { path: self.bucket_path() }).unwrap();
        let written = BlockWritten::listed(Arc::clone(&self.blocklist));
        let (wal, log) = Wal::open(Layout::log(&root), tactus_wal::Settings::default()).unwrap();
        // A link to itself cannot be opened.
        std::fs::remove_file(part).unwrap();
        std::os::unix::fs::symlink(part.file_name().unwrap(), part).unwrap();
        let layout = Layout::create(&root).unwrap();
        let ingester = Ingester::new(settings, (wal, layout), (bucket, written), &Registry::new());
        crate::replay::restore(&ingester, log).unwrap();
        ingester
    }
}

/// The query that meets a segment which is away. Later ones do without it.
fn leave_out(ingester: &Ingester) {
    let read = |view: crate::recent_view::RecentView| {
        view.collect_recent(Window::default(), false, |_| {});
    };
    ingester.read_recent(&tenant(), read).unwrap_err();
}

#[tokio::test]
async fn segment_that_is_left_out_of_a_begun_block_is_not_taken_for_a_part_of_it() {
    let bench = Bench::new();
    let ingester = bench.open();
    let (away, manifest) = bench.begun_and_away(&ingester).await;
    // As on a full disk: neither a manifest nor a note can be written.
    let notes = bench.settings().directory.join("segments.notes");
    let in_the_way = [manifest.with_extension("partial"), notes];
    in_the_way.iter().for_each(|path| std::fs::create_dir(path).unwrap());
    ingester.flush_all().await.unwrap_err();
    assert_eq!((bench.stored_blocks(), manifest.exists()), (1, false));
    drop(ingester);
    in_the_way.iter().for_each(|path| std::fs::remove_dir(path).unwrap());
    away.comes_back();
    let ingester = bench.open();
    assert_eq!(held(&ingester), once(0..10));
    ingester.flush_all().await.unwrap();
    assert_eq!((bench.stored_blocks(), held(&ingester).len()), (2, 0));
}

#[tokio::test]
async fn block_waits_while_a_manifest_that_lists_more_segments_cannot_be_removed() {
    let bench = Bench::new();
    let ingester = bench.open();
    let (_away, manifest) = bench.begun_and_away(&ingester).await;
    std::fs::remove_file(&manifest).unwrap();
    std::fs::create_dir(&manifest).unwrap();
    for _ in 0..2 {
        ingester.flush_all().await.unwrap_err();
        assert_eq!((bench.stored_blocks(), held(&ingester)), (0, once(10..20)));
    }
    std::fs::remove_dir(&manifest).unwrap();
    ingester.flush_all().await.unwrap_err();
    assert_eq!((bench.stored_blocks(), held(&ingester).len()), (1, 0));
}

#[tokio::test]
async fn part_that_another_program_puts_into_the_log_is_replayed_by_the_next_start() {
    let (bench, other) = (Bench::new(), Bench::new());
    push_all(&other.open(), 100..110);
    let [(_, content)] = other.log_parts().try_into().unwrap();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    ingester.seal().await.unwrap();
    let log = Layout::log(&bench.settings().directory);
    // Before the first part of a cut, and among its parts.
    std::fs::write(log.join("0000000000000002.wal"), &content).unwrap();
    push_all(&ingester, 10..20);
    ingester.wal.rotate();
    std::fs::write(log.join("0000000000000004.wal"), &content).unwrap();
    push_all(&ingester, 20..30);
    ingester.seal().await.unwrap();
    assert_eq!((held(&ingester), bench.log_parts().len()), (once(0..30), 2));
    drop(ingester);
    let replayed = held(&bench.open());
    assert!((0..30).chain(100..110).all(|id| replayed.contains_key(&id)), "{replayed:?}");
    assert_eq!(replayed.len(), 40);
}

#[tokio::test]
async fn directory_of_other_segments_is_not_taken_for_a_cut() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    ingester.seal().await.unwrap();
    let [old, taken] =
        [1, 2].map(|number| ingester.layout.segment_directory(PartRange::of(number)));
    std::fs::create_dir(&taken).unwrap();
    std::fs::copy(old.join(CUT_FILE), taken.join(CUT_FILE)).unwrap();
    push_all(&ingester, 10..20);
    ingester.seal().await.unwrap_err();
    assert_eq!((held(&ingester), bench.log_parts().len()), (once(0..20), 1));
    std::fs::remove_dir_all(&taken).unwrap();
    ingester.seal().await.unwrap();
    assert_eq!((held(&ingester), bench.log_parts().len()), (once(0..20), 0));
}

#[tokio::test]
async fn spans_of_which_the_log_knows_no_part_are_cut_all_the_same() {
    let bench = Bench::new();
    let ingester = bench.open();
    ingester.sealing.try_lock().unwrap().sealed_through = 1_000;
    push_all(&ingester, 0..10);
    ingester.seal().await.unwrap();
    assert_eq!((held(&ingester), bench.log_parts().len()), (once(0..10), 1));
    // The next part of the log does not get the number of that cut.
    push_all(&ingester, 10..20);
    assert!(bench.log_parts().iter().any(|(path, _)| path.ends_with("0000000000001002.wal")));
    ingester.seal().await.unwrap();
    assert_eq!((held(&ingester), bench.log_parts().len()), (once(0..20), 1));
    drop(ingester);
    // The former part has no segments of its number, so that it is read again.
    let replayed = held(&bench.open());
    assert!((0..20).all(|id| replayed.contains_key(&id)), "{replayed:?}");
}

#[tokio::test]
async fn start_ends_if_nobody_knows_which_numbers_segments_had() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    ingester.flush_all().await.unwrap();
    drop(ingester);
    let notes = Layout::notes(&bench.settings().directory);
    let away = notes.with_extension("away");
    std::fs::rename(&notes, &away).unwrap();
    // A link to itself cannot be opened, nor moved to where there is no directory.
    std::os::unix::fs::symlink(notes.file_name().unwrap(), &notes).unwrap();
    let quarantine = notes.with_file_name("quarantine");
    std::fs::write(&quarantine, "").unwrap();
    let error = bench.open_with(bench.settings()).unwrap_err().to_string();
    assert!(error.contains("segments.notes"), "{error}");
    std::fs::remove_file(&quarantine).unwrap();
    std::fs::rename(&away, &notes).unwrap();
    let ingester = bench.open();
    push_all(&ingester, 10..20);
    ingester.seal().await.unwrap();
    drop(ingester);
    assert_eq!(held(&bench.open()), once(10..20));
}

#[tokio::test]
async fn directory_of_the_log_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let settings = bench.settings_with(|it| it.directory = it.directory.join("below"));
    let directory = settings.directory.clone();
    drop(bench.open_with(settings).unwrap());
    for path in [directory.parent().unwrap(), &directory] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

/// As if it was killed between the cut and the release of the log.
#[tokio::test]
async fn log_part_with_the_only_copy_stays_until_it_is_taken_in_again() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_of_each(&ingester, 0..3);
    let parts = bench.log_parts();
    ingester.seal().await.unwrap();
    damage(&ingester.tenant(&name(1)).unwrap().segments()[0]);
    drop(ingester);
    parts.iter().for_each(|(path, content)| std::fs::write(path, content).unwrap());
    let spans = |ingester: &Ingester| [0, 1, 2].map(|tenant| spans_of(ingester, &name(tenant)));
    // No push is taken, so that the spans of the damaged segment stay where they are.
    let full = bench.settings_with(|it| it.ingester.max_disk_bytes = 1);
    let ingester = bench.open_with(full).unwrap();
    assert_eq!(spans(&ingester), [1, 0, 1]);
    assert!(ingester.unreadable.lacks(&name(1)));
    let error = ingester.flush_all().await.unwrap_err().to_string();
    assert!(error.contains(parts[0].0.to_str().unwrap()), "{error}");
    assert_eq!(bench.log_parts(), parts);
    drop(ingester);
    let ingester = bench.open();
    assert_eq!(spans(&ingester), [1, 1, 1]);
    assert!(!ingester.unreadable.lacks(&name(1)));
    ingester.flush_all().await.unwrap();
    for tenant in 0..3 {
        let blocks = bench.blocklist.tenant(name(tenant).as_str());
        let traces: Vec<_> = blocks.live().iter().map(|meta| meta.total_objects).collect();
        assert_eq!(traces, [1], "{tenant}");
    }
    assert_eq!((bench.log_parts().len(), spans(&ingester)), (0, [0, 0, 0]));
}

/// As if it was killed between the cut and the release of the log.
#[tokio::test]
async fn spans_of_a_cut_of_which_nothing_is_sound_survive_further_starts() {
    for can_be_set_aside in [true, false] {
        let bench = Bench::new();
        let ingester = bench.open();
        push_all(&ingester, 0..10);
        let [(part, content)] = bench.log_parts().try_into().unwrap();
        ingester.seal().await.unwrap();
        damage(&ingester.tenant(&tenant()).unwrap().segments()[0]);
        let quarantine = ingester.directory().join("quarantine");
        drop(ingester);
        std::fs::write(&part, content).unwrap();
        if !can_be_set_aside {
            // As where the disk has no room for a copy.
            std::fs::write(quarantine, "").unwrap();
        }
        for _ in 0..3 {
            let ingester = bench.open();
            assert_eq!(held(&ingester), once(0..10), "{can_be_set_aside}");
            ingester.seal().await.unwrap();
            assert!(bench.log_parts().is_empty());
        }
    }
}

#[tokio::test]
async fn spans_of_damaged_segments_are_taken_in_again_as_they_were_whatever_the_limits() {
    let bench = Bench::new();
    let limits = Limits { max_live_traces: 1, ..Limits::default() };
    let settings = || bench.settings_with(|it| it.limits = OfTenant::all(limits));
    let ingester = bench.open_with(settings()).unwrap();
    let mut parts = Vec::new();
    for id in [1, 2] {
        // The other one is refused.
        let push = push_of("t1", &[span(id, id, 1), span(9, 9, 1)]);
        assert_eq!(ingester.push(&push, &tenant()).unwrap().spans, 1);
        // Its sound segments keep the numbers of the log parts.
        ingester.push(&push_of(name(2).as_str(), &[span(1, id, 1)]), &name(2)).unwrap();
        parts.extend(bench.log_parts());
        ingester.seal().await.unwrap();
    }
    for segment in ingester.tenant(&tenant()).unwrap().segments() {
        damage(&segment);
    }
    drop(ingester);
    parts.iter().for_each(|(path, content)| std::fs::write(path, content).unwrap());
    let ingester = bench.open_with(settings()).unwrap();
    assert_eq!(held(&ingester), once(1..3));
    assert!(!ingester.unreadable.lacks(&tenant()));
    assert!(ingester.current.read().is_due(&ingester.settings), "limits are to count again");
    ingester.seal().await.unwrap();
    assert!(bench.log_parts().is_empty());
    drop(ingester);
    assert_eq!(held(&bench.open()), once(1..3));
}

#[tokio::test]
async fn log_part_that_cannot_be_read_is_lacking_unless_segments_have_its_spans() {
    for (is_cut, is_lost) in [(true, false), (true, true), (false, false)] {
        let bench = Bench::new();
        let ingester = bench.open();
        push_all(&ingester, 0..10);
        let [(part, content)] = bench.log_parts().try_into().unwrap();
        if is_cut {
            ingester.seal().await.unwrap();
        }
        if is_lost {
            let directory = ingester.layout.segment_directory(PartRange::of(1));
            std::fs::remove_file(directory.join(CUT_FILE)).unwrap();
        }
        drop(ingester);
        std::fs::write(&part, content).unwrap();
        let ingester = bench.open_without(&part);
        let has_spans = is_cut && !is_lost;
        assert_eq!(held(&ingester).len(), if has_spans { 10 } else { 0 });
        assert_eq!(ingester.unreadable.lacks(&tenant()), !has_spans);
    }
}

#[tokio::test]
async fn start_goes_on_without_a_file_of_one_segment_that_the_disk_cannot_look_at() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_of_each(&ingester, 0..2);
    ingester.seal().await.unwrap();
    let cut = ingester.tenant(&name(0)).unwrap().segments()[0].place().file.path();
    drop(ingester);
    std::os::unix::fs::symlink("nowhere", cut.with_file_name("tenant-1.7.seg")).unwrap();
    let ingester = bench.open();
    assert_eq!([0, 1].map(|tenant| spans_of(&ingester, &name(tenant))), [1, 1]);
    assert!(ingester.unreadable.lacks(&name(1)));
    let error = ingester.flush_all().await.unwrap_err().to_string();
    assert!(error.contains("tenant-1.7.seg"), "{error}");
}

#[tokio::test]
async fn last_flush_fails_while_something_is_left_out() {
    let bench = Bench::new();
    let settings = bench.settings_with(|it| it.ingester.flush_op_timeout = Duration::ZERO.into());
    let ingester = bench.open_with(settings).unwrap();
    let away = bench.cut_and_away(&ingester).await;
    let stop = async |ingester: &Arc<Ingester>, last: LastFlush| {
        let cancel = CancellationToken::new();
        cancel.cancel();
        Arc::clone(ingester).run(cancel, move || last).await
    };
    leave_out(&ingester);
    assert!(!stop(&ingester, LastFlush::Within(Duration::from_secs(60))).await.unwrap());
    let error = stop(&ingester, LastFlush::All).await.unwrap_err().to_string();
    assert!(error.contains("t1.0.seg"), "{error}");
    drop(ingester);
    away.comes_back();
    assert!(stop(&bench.open(), LastFlush::All).await.unwrap());
    assert_eq!(bench.stored_blocks(), 1);
}

#[tokio::test]
async fn what_can_be_read_is_flushed_before_the_rest_is_read_again() {
    let bench = Bench::new();
    let ingester = bench.open();
    let away = bench.cut_and_away(&ingester).await;
    leave_out(&ingester);
    push_all(&ingester, 10..20);
    // As long as the disk takes to read what was left out.
    let ((locked, is_locked), (answer, answers)) = (mpsc::channel(), mpsc::channel::<()>());
    let disk = std::thread::spawn({
        let ingester = Arc::clone(&ingester);
        move || {
            let _reading = ingester.unreadable.reading();
            locked.send(()).unwrap();
            let _ = answers.recv();
        }
    });
    is_locked.recv().unwrap();
    let flush = tokio::spawn({
        let ingester = Arc::clone(&ingester);
        async move { ingester.flush_all().await }
    });
    eventually("the others are stored", || bench.stored_blocks() == 1).await;
    assert!(!flush.is_finished());
    away.comes_back();
    drop(answer);
    disk.join().unwrap();
    flush.await.unwrap().unwrap();
    assert_eq!((bench.stored_blocks(), held(&ingester).len()), (2, 0));
}

#[tokio::test]
async fn running_ingester_reads_again_what_it_left_out() {
    let bench = Bench::new();
    let settings =
        bench.settings_with(|it| it.ingester.flush_check_period = Duration::from_millis(5).into());
    let ingester = bench.open_with(settings).unwrap();
    let away = bench.cut_and_away(&ingester).await;
    leave_out(&ingester);
    let cancel = CancellationToken::new();
    let run = Arc::clone(&ingester).run(cancel.clone(), || LastFlush::Within(Duration::ZERO));
    let run = tokio::spawn(run);
    away.comes_back();
    eventually("it is served again", || held(&ingester) == once(0..10)).await;
    cancel.cancel();
    run.await.unwrap().unwrap();
}
