//! How fast frames are appended: `cargo bench -p tactus-wal [-- DIRECTORY]`.
//!
//! The directory (default: the system's temporary one) decides what is measured: it should be on the
//! disk that the log will use. Every case appends 512 MiB, or 20 000 frames if that is less.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, thread};

use tactus_wal::{Settings, Wal};

const TOTAL_BYTES: usize = 512 << 20;
const MAX_FRAMES: usize = 20_000;

fn main() {
    let parent = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = parent.map_or_else(env::temp_dir, PathBuf::from);
    let modes = [
        ("never", None),
        ("100ms", Some(Duration::from_millis(100))),
        ("before ack", Some(Duration::ZERO)),
    ];
    report("fsync        threads  frame bytes   MB/s   µs/append  syncs");
    for (name, fsync_interval) in modes {
        for threads in [1, 2, 8] {
            for frame_bytes in [1 << 10, 64 << 10, 1 << 20] {
                let settings = Settings { fsync_interval, ..Settings::default() };
                let line = run(&parent, settings, threads, frame_bytes);
                report(&format!("{name:12} {threads:7}  {frame_bytes:11} {line}"));
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark reports to its terminal")]
fn report(line: &str) {
    println!("{line}");
}

fn run(parent: &PathBuf, settings: Settings, threads: usize, frame_bytes: usize) -> String {
    let directory = tempfile::tempdir_in(parent).expect("directory for the log");
    let (wal, _replay) = Wal::open(directory.path(), settings).expect("log opens");
    let frames = (TOTAL_BYTES / frame_bytes).min(MAX_FRAMES) / threads;
    let payload = vec![0xa5_u8; frame_bytes];
    let (head, tail) = payload.split_at(frame_bytes / 3);
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..frames {
                    wal.append(&[head, tail]).expect("append");
                }
            });
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let appended = (frames * threads) as f64;
    format!(
        "{:6.0} {:11.1} {:6}",
        appended * frame_bytes as f64 / seconds / 1e6,
        seconds / (appended / threads as f64) * 1e6,
        wal.stats().syncs
    )
}
