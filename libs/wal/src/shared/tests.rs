use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use super::*;
use crate::{Frame, Wal};

const NEVER: Settings = Settings { fsync_interval: None, part_bytes: 64 << 20 };
const ALWAYS: Settings = Settings { fsync_interval: Some(Duration::ZERO), ..NEVER };

fn open(dir: &Path, settings: Settings) -> Wal {
    let (wal, replay) = Wal::open(dir, settings).unwrap();
    assert_eq!(replay.count(), 0);
    wal
}

fn reopen(dir: &Path) -> Vec<Frame> {
    Wal::open(dir, NEVER).unwrap().1.collect()
}

fn payloads(frames: &[Frame]) -> Vec<&[u8]> {
    frames.iter().map(|frame| &*frame.payload).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}

/// Makes a file that is not a part the active part, to see how its failures are handled.
fn append_to(wal: &Wal, device: &str) -> PartId {
    let file = OpenOptions::new().write(true).open(device).unwrap();
    let mut state = wal.shared().state.lock();
    let id = PartId(state.next_id);
    state.next_id += 1;
    let file = Arc::new(PartFile::new(id, PathBuf::from(device), Box::new(file)));
    state.active = Some(Active { file, frames: 0 });
    id
}

#[test]
fn append_of_slices_is_replayed_as_one_payload() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    let first = wal.append(&[&b"ab"[..], b"", b"cde"]).unwrap();
    let second = wal.append(&[bytes::Bytes::from_static(b"f")]).unwrap();
    assert_eq!((first.offset, second.offset, first.part), (0, 8 + 5, second.part));
    drop(wal);
    let frames = reopen(dir.path());
    assert_eq!(payloads(&frames), [&b"abcde"[..], b"f"]);
    assert_eq!([frames[0].position, frames[1].position], [first, second]);
}

#[test]
fn append_of_more_slices_than_one_write_takes_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    let bytes: Vec<u8> = (0..5000_u32).map(|byte| byte as u8).collect();
    let slices: Vec<&[u8]> = bytes.chunks(1).flat_map(|slice| [slice, &[]]).collect();
    wal.append(&slices).unwrap();
    drop(wal);
    assert_eq!(payloads(&reopen(dir.path())), [&bytes[..]]);
}

#[test]
fn refused_payload_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    assert!(matches!(wal.append::<&[u8]>(&[]), Err(Error::EmptyFrame)));
    assert_eq!((wal.total_bytes(), wal.parts()), (0, vec![]));
    assert_eq!(names(dir.path()), ["LOCK"]);
}

#[test]
fn part_is_closed_before_it_outgrows_part_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), Settings { part_bytes: 40, ..NEVER });
    let append = |bytes: usize| wal.append(&[vec![7; bytes]]).unwrap().part;
    let first = append(12);
    assert_eq!(append(12), first);
    let large = append(100);
    let last = append(1);
    let sizes: Vec<_> = wal.parts().iter().map(|part| (part.id, part.bytes, part.frames)).collect();
    assert_eq!(sizes, [(first, 40, 2), (large, 108, 1), (last, 9, 1)]);
    assert_eq!(wal.total_bytes(), 157);
    assert_eq!(
        wal.parts().iter().map(|part| part.in_use).collect::<Vec<_>>(),
        [false, false, true]
    );
}

#[test]
fn rotate_closes_only_what_was_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    assert_eq!(wal.rotate(), None);
    let part = wal.append(&[b"a"]).unwrap().part;
    assert_eq!(wal.rotate(), Some(part));
    assert_eq!(wal.rotate(), None);
    assert!(wal.append(&[b"b"]).unwrap().part > part);
}

#[test]
fn release_deletes_closed_parts_only() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), ALWAYS);
    let part = wal.append(&[b"a"]).unwrap().part;
    assert!(matches!(wal.release(part), Err(Error::PartInUse(id)) if id == part));
    wal.rotate();
    let kept = wal.append(&[b"bc"]).unwrap().part;
    wal.release(part).unwrap();
    assert!(matches!(wal.release(part), Err(Error::UnknownPart(id)) if id == part));
    assert_eq!(wal.total_bytes(), 10);
    drop(wal);
    assert_eq!(names(dir.path()), [format!("{kept}.wal"), "LOCK".to_owned()]);
    assert_eq!(payloads(&reopen(dir.path())), [b"bc"]);
}

#[test]
fn release_of_a_part_that_vanished_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    let part = wal.append(&[b"a"]).unwrap().part;
    wal.rotate();
    fs::remove_file(dir.path().join(format!("{part}.wal"))).unwrap();
    wal.release(part).unwrap();
    assert_eq!(wal.total_bytes(), 0);
}

#[test]
fn second_open_is_refused_and_names_directory_and_holder() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, replay) = Wal::open(dir.path(), NEVER).unwrap();
    let error = Wal::open(dir.path(), NEVER).unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!("WAL directory {} is in use by process {pid}", dir.path().display())
    );
    drop(wal);
    assert!(Wal::open(dir.path(), NEVER).is_err(), "replay still reads");
    drop(replay);
    Wal::open(dir.path(), NEVER).unwrap();
}

#[test]
fn open_where_a_file_is_in_the_way_fails() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Wal::open(file.path(), NEVER), Err(Error::Io { .. })));
}

#[test]
fn part_file_that_appears_meanwhile_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    fs::write(dir.path().join("0000000000000001.wal"), "theirs").unwrap();
    assert_eq!(wal.append(&[b"a"]).unwrap().part, PartId(2));
    assert_eq!(fs::read(dir.path().join("0000000000000001.wal")).unwrap(), b"theirs");
}

#[test]
fn new_parts_skip_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    wal.skip_to(41).unwrap();
    wal.skip_to(7).unwrap();
    assert_eq!(wal.append(&[b"a"]).unwrap().part.number(), 41);
    drop(wal);
    let (wal, replay) = Wal::open(dir.path(), NEVER).unwrap();
    wal.skip_to(7).unwrap();
    assert_eq!(replay.count(), 1, "older parts are replayed whatever their number");
    assert_eq!(wal.append(&[b"b"]).unwrap().part.number(), 42);
    let refused = wal.skip_to(PART_NUMBER_LIMIT + 1);
    assert!(matches!(refused, Err(Error::PartNumberTooLarge { .. })));
}

#[test]
fn frame_that_no_start_would_find_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    wal.skip_to(PART_NUMBER_LIMIT - 1).unwrap();
    wal.append(&[b"a"]).unwrap();
    drop(wal);
    let (wal, replay) = Wal::open(dir.path(), NEVER).unwrap();
    assert_eq!(replay.count(), 1);
    assert!(matches!(wal.append(&[b"b"]), Err(Error::PartNumberTooLarge { .. })));
    wal.skip_to(PART_NUMBER_LIMIT).unwrap();
}

#[test]
fn adopted_part_whose_size_was_not_known_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    wal.append(&[b"a"]).unwrap();
    drop(wal);
    let (wal, replay) = Wal::open(dir.path(), NEVER).unwrap();
    // As if the disk had not told it.
    wal.shared().state.lock().closed.values_mut().for_each(|part| part.bytes = 0);
    wal.shared().total_bytes.store(0, Ordering::Relaxed);
    replay.adopt().unwrap();
    assert_eq!(wal.total_bytes(), 9);
    let end = Position { part: PartId(u64::MAX), offset: 0 };
    let frame = wal.tail(Position::default()).next_frame(end, &mut 0).unwrap();
    assert_eq!(frame.unwrap().payload, "a");
}

#[test]
fn full_disk_without_a_way_back_moves_on_to_a_new_part() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    let full = append_to(&wal, "/dev/full");
    let error = wal.append(&[b"lost"]).unwrap_err();
    assert!(error.is_full(), "{error:?}");
    assert!(wal.append(&[b"kept"]).unwrap().part > full);
    assert_eq!(wal.parts().len(), 1);
    assert_eq!((wal.total_bytes(), wal.stats().append_errors), (12, 1));
    drop(wal);
    assert_eq!(payloads(&reopen(dir.path())), [b"kept"]);
}

#[test]
fn failed_sync_before_ack_fails_the_append_and_closes_the_part() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), ALWAYS);
    // It takes writes but cannot be synced.
    let bad = append_to(&wal, "/dev/null");
    let error = wal.append(&[b"lost"]).unwrap_err();
    assert!(matches!(error, Error::Io { action: "sync", .. }), "{error:?}");
    assert_eq!(wal.parts(), [], "nobody would release a part without acknowledged frames");
    assert_eq!(wal.total_bytes(), 0);
    assert!(wal.append(&[b"kept"]).unwrap().part > bad);
    assert_eq!(wal.stats(), Stats { append_errors: 1, syncs: 1, sync_errors: 1 });
}

#[test]
fn failed_sync_on_demand_is_reported_once_and_closes_the_part() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    let bad = append_to(&wal, "/dev/null");
    wal.append(&[b"acknowledged"]).unwrap();
    assert!(wal.sync().is_err());
    wal.sync().unwrap();
    let parts = wal.parts();
    assert_eq!((parts[0].id, parts[0].frames, parts[0].in_use), (bad, 1, false));
    assert!(wal.append(&[b"next"]).unwrap().part > bad);
}

/// Files of which every write and sync waits until the gate opens.
#[derive(Debug, Default)]
struct Gated {
    is_open: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Debug)]
struct GatedFile(fs::File, Arc<(Mutex<bool>, Condvar)>);

impl Gated {
    fn open(&self) {
        *self.is_open.0.lock() = true;
        self.is_open.1.notify_all();
    }
}

impl Files for Gated {
    fn create(&self, path: &Path) -> io::Result<Box<dyn crate::LogFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(GatedFile(file, Arc::clone(&self.is_open))))
    }
}

impl GatedFile {
    fn pass(&self) {
        let mut is_open = self.1.0.lock();
        while !*is_open {
            self.1.1.wait(&mut is_open);
        }
    }
}

impl crate::LogFile for GatedFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.pass();
        crate::LogFile::write_at(&self.0, slices, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pass();
        self.0.sync_data()
    }
}

#[test]
fn write_that_hangs_is_seen_without_waiting_and_ends_when_the_disk_answers() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(Gated::default());
    let (wal, _) = Wal::open_with(dir.path(), NEVER, Arc::clone(&files) as _).unwrap();
    assert_eq!(wal.longest_wait(), None);
    thread::scope(|scope| {
        let hanging = scope.spawn(|| wal.append(&[b"a"]).unwrap());
        let wait = loop {
            match wal.longest_wait() {
                Some(wait) => break wait,
                None => thread::yield_now(),
            }
        };
        let later = wal.longest_wait();
        files.open();
        hanging.join().unwrap();
        assert_eq!(wait.action, "write");
        assert!(later.unwrap().age >= wait.age);
    });
    assert_eq!(wal.longest_wait(), None);
    drop(wal);
    assert_eq!(payloads(&reopen(dir.path())), [b"a"]);
}

#[test]
fn sync_on_demand_covers_closed_parts() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path(), NEVER);
    wal.append(&[b"a"]).unwrap();
    wal.rotate();
    wal.append(&[b"b"]).unwrap();
    assert_eq!(wal.stats().syncs, 0);
    wal.sync().unwrap();
    assert_eq!(wal.stats().syncs, 2);
    wal.sync().unwrap();
    assert_eq!(wal.stats().syncs, 2);
    assert!(wal.shared().state.lock().closed.values().all(|part| part.unsynced.is_none()));
}

#[test]
fn interval_syncs_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Some(Duration::from_millis(1));
    let wal = open(dir.path(), Settings { fsync_interval: interval, ..NEVER });
    for round in 1..=2 {
        wal.append(&[b"a"]).unwrap();
        let started = Instant::now();
        while wal.stats().syncs < round {
            assert!(started.elapsed() < Duration::from_secs(60), "no sync");
            thread::yield_now();
        }
    }
}

#[test]
fn dropped_wal_stops_its_thread_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Some(Duration::from_secs(3600));
    let wal = open(dir.path(), Settings { fsync_interval: interval, ..NEVER });
    wal.append(&[b"a"]).unwrap();
    drop(wal);
    assert_eq!(payloads(&reopen(dir.path())), [b"a"]);
}

#[test]
fn concurrent_appends_are_all_replayed_where_they_were_put() {
    const THREADS: u32 = 8;
    const FRAMES: u32 = 200;
    for settings in [NEVER, Settings::default(), ALWAYS] {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path(), Settings { part_bytes: 100_000, ..settings });
        let append = |thread: u32, frame: u32| {
            let mut payload = vec![thread as u8; 8 + (frame as usize * 37) % 900];
            payload[..4].copy_from_slice(&thread.to_le_bytes());
            payload[4..8].copy_from_slice(&frame.to_le_bytes());
            let (head, tail) = payload.split_at(6);
            (wal.append(&[head, tail]).unwrap(), payload)
        };
        let mut appended: Vec<(Position, Vec<u8>)> = thread::scope(|scope| {
            let run = |thread| {
                scope.spawn(move || {
                    (0..FRAMES).map(|frame| append(thread, frame)).collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> = (0..THREADS).map(run).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let syncs = wal.stats().syncs;
        assert!(syncs <= u64::from(THREADS * FRAMES));
        let counted: u64 = wal.parts().iter().map(|part| part.frames).sum();
        assert_eq!(counted, u64::from(THREADS * FRAMES));
        drop(wal);
        appended.sort();
        let replayed: Vec<_> = reopen(dir.path())
            .into_iter()
            .map(|frame| (frame.position, frame.payload.to_vec()))
            .collect();
        assert_eq!(replayed, appended);
    }
}
