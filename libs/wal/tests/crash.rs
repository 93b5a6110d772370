//! What is left after a process was killed, and after the disk refused to grow a file. Both need a
//! process of their own: the tests start this test binary again, with a variable that names the
//! directory to work in.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, io, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tactus_wal::{Settings, Wal};

const DIR: &str = "TACTUS_WAL_TEST_DIR";
const FSYNC_MILLIS: &str = "TACTUS_WAL_TEST_FSYNC_MILLIS";
const THREADS: u32 = 4;

fn settings(fsync_interval: Option<Duration>) -> Settings {
    // Small parts, so that kills meet rotations as well.
    Settings { fsync_interval, part_bytes: 64 << 10 }
}

fn payload(thread: u32, frame: u32) -> Vec<u8> {
    let mut payload = vec![thread as u8; 8 + (frame as usize * 331) % 6000];
    payload[..4].copy_from_slice(&thread.to_le_bytes());
    payload[4..8].copy_from_slice(&frame.to_le_bytes());
    payload
}

fn replay(dir: &Path) -> (Vec<Vec<u8>>, u64) {
    let (_wal, mut replay) =
        Wal::open(dir, settings(None)).expect("damage never keeps a log from opening");
    let payloads = replay.by_ref().map(|frame| frame.payload.to_vec()).collect();
    (payloads, replay.report().dropped_bytes)
}

/// The process that is killed: appends for ever and says what was acknowledged.
#[test]
fn appender_process() {
    let Ok(dir) = env::var(DIR) else { return };
    let millis = env::var(FSYNC_MILLIS).unwrap().parse().ok();
    let (wal, _) = Wal::open(dir, settings(millis.map(Duration::from_millis))).unwrap();
    let append = |thread: u32| {
        for frame in 0.. {
            let payload = payload(thread, frame);
            let (head, tail) = payload.split_at(payload.len() / 2);
            wal.append(&[head, tail]).unwrap();
            // One write a line, unbuffered: it arrives whole or not at all.
            let said = io::stderr().write_all(format!("ack {thread} {frame}\n").as_bytes());
            if said.is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|thread| drop(scope.spawn(move || append(thread))));
    });
}

#[test]
fn killed_process_loses_nothing_acknowledged() {
    for (millis, kill_after) in [("never", 1), ("never", 700), ("5", 300), ("0", 100)] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "appender_process", "--nocapture"])
            .env(DIR, dir.path())
            .env(FSYNC_MILLIS, millis)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged: HashMap<u32, u32> = HashMap::new();
        let mut killed = false;
        let mut count = 0;
        // Reading on after the kill drains what was acknowledged before it.
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            let &["ack", thread, frame] = &words[..] else { panic!("unexpected line {line}") };
            acknowledged.insert(thread.parse().unwrap(), frame.parse().unwrap());
            count += 1;
            if count >= kill_after && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(killed);

        let (payloads, _) = replay(dir.path());
        let mut next = [0; THREADS as usize];
        for replayed in &payloads {
            let thread = u32::from_le_bytes(replayed[..4].try_into().unwrap());
            let frame = &mut next[thread as usize];
            assert!(*replayed == payload(thread, *frame), "frame {frame} of thread {thread}");
            *frame += 1;
        }
        for (thread, frame) in acknowledged {
            let replayed = next[thread as usize];
            assert!(replayed > frame, "thread {thread}: {frame} acknowledged, {replayed} replayed");
            assert!(replayed <= frame + 2, "at most one frame is not acknowledged");
        }
    }
}

/// The process whose files must not grow beyond 32 KiB, as on a disk that is full.
#[test]
fn limited_process() {
    let Ok(dir) = env::var(DIR) else { return };
    let (wal, _) = Wal::open(dir, Settings { part_bytes: 1 << 20, ..settings(None) }).unwrap();
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(32 << 10), maximum }).unwrap();
    let frame = [7_u8; 10_000];
    let part = wal.append(&[frame]).unwrap().part;
    for _ in 0..2 {
        wal.append(&[frame]).unwrap();
    }
    // It is cut off in the middle and leaves room for a small frame.
    let error = wal.append(&[frame]).unwrap_err();
    assert!(error.is_full(), "{error:?}");
    assert_eq!(wal.total_bytes(), 30_024);
    assert_eq!(wal.append(&[b"small"]).unwrap().offset, 30_024);
    assert!(wal.append(&[frame]).is_err());
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
    assert_eq!(wal.append(&[b"large", &frame[..]]).unwrap().part, part);
    assert_eq!(wal.stats().append_errors, 2);
}

#[test]
fn full_disk_fails_appends_and_keeps_later_ones_sound() {
    let dir = tempfile::tempdir().unwrap();
    // A process that writes beyond its limit gets a signal, deadly unless ignored; exec keeps it so.
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "limited_process", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (payloads, dropped_bytes) = replay(dir.path());
    let lengths: Vec<usize> = payloads.iter().map(Vec::len).collect();
    assert_eq!((lengths, dropped_bytes), (vec![10_000, 10_000, 10_000, 5, 10_005], 0));
}
