//! The disk of the log hangs, or fails its syncs.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::{Condvar, Mutex};
use tactus_proto::tactus::v1::PushResponse;
use tactus_wal::{Files, LogFile};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

use super::*;

/// Files on a disk that hangs, or fails syncs, when it is told to.
#[derive(Debug, Clone, Default)]
struct BadDisk(Arc<State>);

#[derive(Debug, Default)]
struct State {
    hangs: Mutex<bool>,
    answers: Condvar,
    fails_syncs: AtomicBool,
    takes_no_files: AtomicBool,
    is_over_quota: AtomicBool,
}

#[derive(Debug)]
struct BadFile(File, BadDisk);

impl BadDisk {
    fn hang(&self, hangs: bool) {
        *self.0.hangs.lock() = hangs;
        self.0.answers.notify_all();
    }

    fn wait(&self) {
        let mut hangs = self.0.hangs.lock();
        while *hangs {
            self.0.answers.wait(&mut hangs);
        }
    }
}

impl Files for BadDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.wait();
        if self.0.takes_no_files.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(BadFile(file, self.clone())))
    }
}

impl LogFile for BadFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.1.wait();
        if self.1.0.is_over_quota.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        LogFile::write_at(&self.0, slices, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.1.wait();
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.wait();
        match self.1.0.fails_syncs.load(Ordering::Relaxed) {
            true => Err(io::Error::other("bad sector")),
            false => self.0.sync_data(),
        }
    }
}

/// Lets a disk answer again at the end of a test, however it ends: its threads are waited for.
struct Mended(BadDisk);

impl Drop for Mended {
    fn drop(&mut self) {
        self.0.hang(false);
    }
}

fn settings_on(bench: &Bench, disk: &BadDisk) -> Settings {
    let mut settings = bench.settings();
    settings.log_files = Arc::new(disk.clone());
    settings.ingester.disk_timeout = Duration::from_millis(100).into();
    settings
}

async fn push_id(ingester: &Ingester, id: u16) -> Result<PushResponse, Status> {
    let push = push_of("t1", &[span(id, id, 1)]);
    Protocol::push(ingester, Request::new(push)).await.map(tonic::Response::into_inner)
}

pub(super) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn hanging_log_refuses_pushes_while_queries_go_on_and_loses_nothing() {
    let (bench, disk) = (Bench::new(), BadDisk::default());
    let ingester = bench.open_with(settings_on(&bench, &disk)).unwrap();
    push_id(&ingester, 1).await.unwrap();
    ingester.disk_answers().unwrap();
    disk.hang(true);
    let _mended = Mended(disk.clone());
    let refused = push_id(&ingester, 2).await.unwrap_err();
    // Whether it is stored nobody knows yet.
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    eventually("the disk is found to hang", || ingester.disk_answers().is_err()).await;
    let refused = push_id(&ingester, 3).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let directory = bench.settings().directory.display().to_string();
    assert!(refused.message().contains(&directory), "{refused}");
    assert!(ingester.disk_answers().unwrap_err().to_string().contains(&directory));
    // Neither queries nor gauges wait, not even for a cut that does.
    let cutting = tokio::spawn({
        let ingester = Arc::clone(&ingester);
        async move { ingester.flush_all().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(held(&ingester), once(1..2), "what is not acknowledged is not shown");
    ingester.update_gauges();
    assert!(!cutting.is_finished());
    disk.hang(false);
    cutting.await.unwrap().unwrap();
    eventually("the disk answers", || ingester.disk_answers().is_ok()).await;
    push_id(&ingester, 4).await.unwrap();
    drop(ingester);
    let blocks = bench.blocklist.tenant("t1");
    let stored: u64 = blocks.live().iter().map(|block| block.total_objects).sum();
    assert_eq!(stored, 2, "the first one, and the one that was written late");
    assert_eq!(held(&bench.open()), once(4..5));
}

#[tokio::test]
async fn hanging_sync_refuses_pushes_too() {
    let (bench, disk) = (Bench::new(), BadDisk::default());
    let settings =
        Settings { fsync_interval: Some(Duration::from_millis(1)), ..settings_on(&bench, &disk) };
    let ingester = bench.open_with(settings).unwrap();
    push_id(&ingester, 1).await.unwrap();
    disk.hang(true);
    let _mended = Mended(disk.clone());
    // Written or not: the sync behind it does not return.
    let _ = push_id(&ingester, 2).await;
    eventually("the disk is found to hang", || ingester.disk_answers().is_err()).await;
    assert_eq!(push_id(&ingester, 3).await.unwrap_err().code(), Code::Unavailable);
    disk.hang(false);
    eventually("the disk answers", || ingester.disk_answers().is_ok()).await;
    push_id(&ingester, 4).await.unwrap();
}

#[tokio::test]
async fn pushes_beyond_the_threads_of_a_hanging_disk_are_refused_in_time() {
    let (bench, disk) = (Bench::new(), BadDisk::default());
    let mut settings = settings_on(&bench, &disk);
    settings.ingester.max_push_threads = 2;
    let ingester = bench.open_with(settings).unwrap();
    disk.hang(true);
    let _mended = Mended(disk.clone());
    let pushes = (1..9).map(|id| push_id(&ingester, id));
    let refused = futures_util::future::join_all(pushes).await;
    let unknown = |refused: &&Result<_, Status>| {
        refused.as_ref().is_err_and(|status| status.code() == Code::DeadlineExceeded)
    };
    assert!(refused.iter().all(Result::is_err));
    assert!(refused.iter().filter(unknown).count() <= 2, "others were not begun");
}

#[tokio::test]
async fn failed_sync_cuts_at_once_what_is_in_memory_still() {
    let (bench, disk) = (Bench::new(), BadDisk::default());
    let mut settings = settings_on(&bench, &disk);
    settings.fsync_interval = Some(Duration::from_millis(1));
    settings.ingester.trace_idle_period = Duration::from_secs(3600).into();
    settings.ingester.trace_live_period = Duration::from_secs(3600).into();
    settings.ingester.flush_check_period = Duration::from_millis(5).into();
    let ingester = bench.open_with(settings).unwrap();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(
        Arc::clone(&ingester).run(cancel.clone(), || LastFlush::Within(Duration::ZERO)),
    );
    disk.0.fails_syncs.store(true, Ordering::Relaxed);
    push_id(&ingester, 1).await.unwrap();
    let path = bench.settings().directory.join("segments");
    eventually("a segment", || ingester.wal.total_bytes() == 0 && files(&path) == 1).await;
    disk.0.fails_syncs.store(false, Ordering::Relaxed);
    push_id(&ingester, 2).await.unwrap();
    assert_eq!(held(&ingester), once(1..3));
    assert!(ingester.wal.stats().sync_errors > 0);
    cancel.cancel();
    running.await.unwrap().unwrap();
}

#[test]
fn readers_see_what_is_durable_while_a_push_is_committed() {
    let head = crate::head::Head::new(Limits::default(), usize::MAX, Default::default());
    let shown = || -> usize { head.snapshot().batches.iter().map(|batch| batch.len()).sum() };
    let commit_of = |id: u16, answer: Result<(), tactus_model::AppendError>| {
        let mut seen = None;
        let result = head.append(&push_of("t1", &[span(id, id, 1)]), |_| {
            seen = Some(shown());
            answer
        });
        (seen, result.is_ok(), shown())
    };
    assert_eq!(commit_of(1, Ok(())), (Some(0), true, 1));
    assert_eq!(commit_of(2, Ok(())), (Some(1), true, 2));
    assert_eq!(commit_of(3, Err(tactus_model::AppendError::Full)), (Some(2), false, 2));
    assert_eq!(commit_of(4, Ok(())), (Some(2), true, 3));
    head.close();
    assert_eq!(shown(), 3);
}

#[tokio::test]
async fn log_that_takes_no_pushes_is_told_with_its_cause_until_it_takes_one() {
    let (bench, disk) = (Bench::new(), BadDisk::default());
    let ingester = bench.open_with(settings_on(&bench, &disk)).unwrap();
    push_id(&ingester, 1).await.unwrap();
    ingester.seal().await.unwrap();
    disk.0.takes_no_files.store(true, Ordering::Relaxed);
    let status = push_id(&ingester, 2).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let why = ingester.log_takes_pushes().unwrap_err();
    assert!(why.contains("read-only") && why.contains("cannot create"), "{why}");
    disk.0.takes_no_files.store(false, Ordering::Relaxed);
    push_id(&ingester, 3).await.unwrap();
    assert_eq!(ingester.log_takes_pushes(), Ok(()));
    assert_eq!(held(&ingester).into_keys().collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test]
async fn push_too_large_for_the_log_is_refused_as_invalid_and_leaves_the_log_healthy() {
    let bench = Bench::new();
    let settings = bench.settings_with(|it| it.ingester.max_live_bytes = 1 << 30);
    let ingester = bench.open_with(settings).unwrap();
    let mut push = push_of("t1", &[span(1, 1, 1)]);
    // A field that nobody knows, of 257 MiB.
    let mut resource = vec![0; 257 << 20];
    let value = resource.len() as u64 - 7;
    let mut field = Vec::new();
    tactus_model::wire::put_varint(&mut field, 100 << 3 | 2);
    tactus_model::wire::put_varint(&mut field, value);
    resource.truncate(value as usize + field.len());
    resource[..field.len()].copy_from_slice(&field);
    push.resources = vec![resource.into()];
    let refused = Protocol::push(&*ingester, Request::new(push)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("larger than"), "{refused}");
    assert_eq!(ingester.log_takes_pushes(), Ok(()));
    assert!(held(&ingester).is_empty());
    push_id(&ingester, 2).await.unwrap();
}

#[tokio::test]
async fn failed_pushes_use_up_no_live_traces() {
    let (bench, disk) = (Bench::new(), BadDisk::default());
    let limits = OfTenant::all(Limits { max_live_traces: 2, ..Limits::default() });
    let settings = Settings { limits, ..settings_on(&bench, &disk) };
    let ingester = bench.open_with(settings).unwrap();
    disk.0.takes_no_files.store(true, Ordering::Relaxed);
    for id in 1..5 {
        push_id(&ingester, id).await.unwrap_err();
    }
    disk.0.takes_no_files.store(false, Ordering::Relaxed);
    push_id(&ingester, 8).await.unwrap();
    push_id(&ingester, 9).await.unwrap();
    assert_eq!(held(&ingester), once(8..10));
}

#[tokio::test]
async fn refused_spans_use_up_live_traces_only_until_the_next_cut() {
    let bench = Bench::new();
    let limits = Limits { max_live_traces: 4, max_bytes_per_trace: 10, ..Limits::default() };
    let settings = bench.settings_with(|it| {
        it.limits = OfTenant::all(limits);
        it.ingester.trace_idle_period = Duration::from_millis(1).into();
    });
    let ingester = bench.open_with(settings).unwrap();
    let refused = |id: u16| {
        let push = push_of("t1", &[span(id, id, 1)]);
        ingester.push(&push, &tenant()).unwrap().refused
    };
    (1..5).for_each(|id| assert_eq!(refused(id).too_large, 1));
    assert_eq!(refused(5).too_many_traces, 1);
    eventually("a cut is due", || ingester.current.read().is_due(&ingester.settings)).await;
    ingester.seal().await.unwrap();
    assert_eq!(refused(6).too_large, 1);
}

#[tokio::test]
async fn directory_that_was_removed_is_made_anew() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    ingester.seal().await.unwrap();
    std::fs::remove_dir_all(bench.settings().directory).unwrap();
    push_all(&ingester, 10..20);
    ingester.seal().await.unwrap();
    push_all(&ingester, 20..30);
    assert!(bench.open_with(bench.settings()).is_err(), "it is locked as before");
    drop(ingester);
    assert_eq!(held(&bench.open()), once(10..30));
}

#[tokio::test]
async fn segments_become_blocks_while_a_quota_leaves_no_room_for_pushes() {
    let (bench, disk) = (Bench::new(), BadDisk::default());
    let ingester = bench.open_with(settings_on(&bench, &disk)).unwrap();
    push_id(&ingester, 1).await.unwrap();
    ingester.seal().await.unwrap();
    assert!(!ingester.is_disk_low().await);
    disk.0.is_over_quota.store(true, Ordering::Relaxed);
    let refused = push_id(&ingester, 2).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    ingester.flush_due().await;
    let stored = || bench.blocklist.tenant("t1").live().len() == 1;
    eventually("the segment is in a block", stored).await;
    disk.0.is_over_quota.store(false, Ordering::Relaxed);
    push_id(&ingester, 3).await.unwrap();
    assert!(!ingester.is_disk_low().await);
}
