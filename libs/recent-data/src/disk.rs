//! The disk with the ingester's directory: how much space is free, how much must stay free, and whether it responds.
//!
//! Spans leave the disk only through segments: cutting live spans takes about as much space as they take in memory, and
//! only after that their log is deleted. So that much space is always kept free.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tactus_telemetry::{error_text, log_limited};

use crate::layout::Layout;

/// How often the system is asked for the free space at most. In between, the bytes written are subtracted.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often files that are neither log nor segments are searched for at most.
const LOOK_FOR_OTHERS_AGAIN: Duration = Duration::from_secs(5);
/// After a failed push, the ingester reports not ready for this long. Then the next push shows whether the failure
/// persists.
const FAILURE_LASTS: Duration = Duration::from_secs(10);
/// Divisor: at most a tenth of a disk is kept free, which matters on small disks.
const MOST_KEPT_FREE: u64 = 10;

/// With fewer free inodes than this, the disk counts as full, because a cut creates a few files for each tenant.
const FILES_KEPT_FREE: u64 = 1_000;

/// The state of the disk.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    /// Bytes kept free in addition to what a cut needs. 0 allows the disk to fill up completely.
    min_free: u64,
    space: Mutex<Option<Space>>,
    /// Bytes written since the system was last asked.
    written: AtomicU64,
    /// Bytes of files that are neither log nor segments.
    others: AtomicU64,
    /// The free space when the system was last asked, if that was too little.
    lack: Mutex<Option<Room>>,
    looked_for_others: Mutex<Option<Instant>>,
    /// When and why the log last refused a push. `None` once it has accepted another one.
    failure: Mutex<Option<(Instant, String)>>,
    /// The last write of the log, and of a cut, found no room. A quota may be used up although the system tells of free space.
    log_is_full: AtomicBool,
    cut_is_full: AtomicBool,
}

/// The space of the disk at one moment, in bytes.
#[derive(Debug, Clone, Copy)]
struct Space {
    looked: Instant,
    free: u64,
    total: u64,
    /// The file system has too few free inodes.
    lacks_files: bool,
}

/// Free bytes, and bytes that must stay free. Without free inodes, the free bytes are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: u64,
    pub(crate) kept: u64,
    lacks_files: bool,
}

impl Disk {
    pub(crate) fn new(directory: &Path, min_free: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            min_free,
            space: Mutex::default(),
            written: AtomicU64::new(0),
            others: AtomicU64::new(0),
            lack: Mutex::default(),
            looked_for_others: Mutex::default(),
            failure: Mutex::default(),
            log_is_full: AtomicBool::new(false),
            cut_is_full: AtomicBool::new(false),
        }
    }

    /// Notes whether the log accepted a push. If a push is refused for what it is, that says nothing about the log.
    pub(crate) fn note_log<T>(&self, result: &Result<T, tactus_wal::Error>) {
        match result {
            Ok(_) => {
                *self.failure.lock() = None;
                self.log_is_full.store(false, Ordering::Relaxed);
            }
            Err(
                error @ (tactus_wal::Error::Io { .. }
                | tactus_wal::Error::PartNumberTooLarge { .. }),
            ) => {
                self.log_is_full.store(error.is_full(), Ordering::Relaxed);
                let error = error_text(error);
                log_limited!(error, error, "the write-ahead log takes no pushes");
                *self.failure.lock() = Some((Instant::now(), error));
            }
            Err(_) => {}
        }
    }

    /// Notes whether a cut found no room.
    pub(crate) fn note_cut(&self, is_full: bool) {
        self.cut_is_full.store(is_full, Ordering::Relaxed);
    }

    /// True if the last write of the log or of a cut found no room, whatever the system tells.
    pub(crate) fn found_no_room(&self) -> bool {
        self.log_is_full.load(Ordering::Relaxed) || self.cut_is_full.load(Ordering::Relaxed)
    }

    /// Errors: the log refused a push a moment ago, and has not accepted one since. The text is the reason.
    pub(crate) fn log_takes_pushes(&self) -> Result<(), String> {
        match &*self.failure.lock() {
            Some((at, why)) if at.elapsed() < FAILURE_LASTS => Err(why.clone()),
            _ => Ok(()),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The space left when `new_bytes` are about to be written and `live_bytes` are still to be cut. `None`: there is
    /// no limit, or the system does not tell. Asks the system, so do not call it on threads that serve connections.
    pub(crate) fn room(&self, new_bytes: u64, live_bytes: u64) -> Option<Room> {
        if self.min_free == 0 {
            return None;
        }
        let mut last = self.space.lock();
        if last.is_none_or(|space| space.looked.elapsed() >= LOOK_AGAIN) {
            self.written.store(0, Ordering::Relaxed);
            *last = self.look();
        }
        let space = (*last)?;
        drop(last);
        let written = self.written.fetch_add(new_bytes, Ordering::Relaxed) + new_bytes;
        let free = if space.lacks_files { 0 } else { space.free.saturating_sub(written) };
        let kept = self.min_free.min(space.total / MOST_KEPT_FREE).saturating_add(live_bytes);
        Some(Room { free, kept: kept.max(1), lacks_files: space.lacks_files })
    }

    /// Records whether there is too little space, and returns true if so.
    pub(crate) fn note(&self, room: Option<Room>) -> bool {
        let lack = room.filter(|room| room.is_full());
        *self.lack.lock() = lack;
        lack.is_some()
    }

    /// The message for operators if there was too little space when the system was last asked. `live_bytes` are still
    /// to be cut. Does not ask the system.
    pub(crate) fn lack(&self, live_bytes: u64) -> Option<String> {
        let Room { free, kept, lacks_files } = (*self.lack.lock())?;
        let directory = self.directory.display();
        if lacks_files {
            return Some(format!(
                "the disk of {directory} has no room for more files (inodes): {live_bytes} bytes of live spans wait to be cut"
            ));
        }
        Some(format!(
            "{free} bytes are free on the disk of {directory}, {kept} are kept for what is here already: {live_bytes} bytes of \
             live spans wait to be cut"
        ))
    }

    fn look(&self) -> Option<Space> {
        match rustix::fs::statvfs(&self.directory) {
            Ok(found) => Some(Space {
                looked: Instant::now(),
                free: found.f_bavail.saturating_mul(found.f_frsize),
                total: found.f_blocks.saturating_mul(found.f_frsize),
                // Some file systems do not count inodes.
                lacks_files: found.f_favail < FILES_KEPT_FREE.min(found.f_files / MOST_KEPT_FREE),
            }),
            Err(error) => {
                let directory = self.directory.display();
                log_limited!(warn, %directory, %error, "cannot find out how much space is free on the disk");
                None
            }
        }
    }

    /// Searches for files that are neither log nor segments; with `unfinished`, also in the directories of segments.
    pub(crate) fn look_for_others(&self, layout: &Layout, unfinished: bool) {
        let mut looked = self.looked_for_others.lock();
        if looked.is_some_and(|at| at.elapsed() < LOOK_FOR_OTHERS_AGAIN) {
            return;
        }
        *looked = Some(Instant::now());
        self.others.store(layout.other_bytes(unfinished), Ordering::Relaxed);
    }

    /// Bytes of files that are neither log nor segments, found by the last search.
    pub(crate) fn other_bytes(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }
}

impl Room {
    pub(crate) fn is_full(self) -> bool {
        self.free < self.kept
    }

    /// True if it is time to free space: at most twice the space that must stay free is left.
    pub(crate) fn is_low(self) -> bool {
        self.free / 2 < self.kept
    }
}

/// A push that was not stored in time, mostly because the disk does not answer.
#[derive(Debug, Clone)]
pub struct DiskHangs {
    /// The directory of the log.
    pub(crate) directory: PathBuf,
    /// The disk operation that is waiting, and since when. `None` if a push took too long for another reason: others, or a
    /// disk that is slow.
    pub(crate) wait: Option<tactus_wal::Wait>,
    /// After how long the disk is considered hanging.
    pub(crate) timeout: Duration,
}

impl fmt::Display for DiskHangs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        match self.wait {
            Some(wait) => write!(
                f,
                "the disk of {directory} does not answer: a {} of the write-ahead log takes {} s so far",
                wait.action,
                wait.age.as_secs()
            ),
            None => write!(
                f,
                "the push was not stored within {} ms (limit: ingester.disk_timeout): other pushes take long, or the disk is slow",
                self.timeout.as_millis()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_shrinks_by_what_is_written_and_keeps_what_a_cut_takes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), 1);
        let looked = Instant::now() + LOOK_AGAIN * 600;
        let space = Space { looked, free: 1000, total: 10_000, lacks_files: false };
        *disk.space.lock() = Some(space);
        assert_eq!(disk.room(100, 50), Some(Room { free: 900, kept: 51, lacks_files: false }));
        let room = disk.room(849, 50).unwrap();
        assert_eq!(room, Room { free: 51, kept: 51, lacks_files: false });
        assert!(!room.is_full() && room.is_low());
        assert!(disk.room(1, 50).unwrap().is_full());
        let disk = Disk::new(folder.path(), 5_000);
        *disk.space.lock() = Some(space);
        assert_eq!(disk.room(0, 0).unwrap().kept, 1_000, "a tenth of a small disk");
        *disk.space.lock() = Some(Space { lacks_files: true, ..space });
        assert!(disk.note(disk.room(0, 0)), "no file can be made");
        // Somebody else asks the system, and the disk hangs.
        let _asking = disk.space.lock();
        assert!(disk.lack(7).unwrap().contains("no room for more files (inodes): 7 bytes"));
        assert_eq!(Disk::new(folder.path(), 0).room(1, 1), None);
        assert!(Disk::new(folder.path(), 1).room(0, 0).is_some(), "as the system tells");
    }

    #[test]
    fn disk_has_no_room_until_whatever_found_none_is_written() {
        let disk = Disk::new(Path::new("/x"), 1);
        disk.note_cut(true);
        // A push takes less.
        disk.note_log(&Ok(()));
        assert!(disk.found_no_room());
        disk.note_cut(false);
        assert!(!disk.found_no_room());
    }
}
