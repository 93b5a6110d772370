//! The state that a log, its replay, its tails and its sync thread share.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::directory::{Directory, Listing, PART_NUMBER_LIMIT};
use crate::files::Files;
use crate::part::{PartFile, Synced};
use crate::{Error, PartId, Position, Result};

mod release;
mod sync;
mod waits;

pub(crate) use sync::spawn_syncer;
pub use waits::Wait;
use waits::Waits;

/// How a log behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much a crash of the *machine* may lose. `None`: nothing is ever synced. Zero: an append returns after its
    /// frame is on disk. Otherwise a thread syncs at most this long (plus the duration of a sync) after an append, and
    /// younger frames may be lost.
    pub fsync_interval: Option<Duration>,
    /// A part is closed when it has this many bytes. A larger frame gets a part of its own.
    pub part_bytes: u64,
}

impl Default for Settings {
    /// Sync every 100 ms, parts of 64 MiB.
    fn default() -> Self {
        Self { fsync_interval: Some(Duration::from_millis(100)), part_bytes: 64 << 20 }
    }
}

/// One part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// Its number.
    pub id: PartId,
    /// Size of its file in bytes.
    pub bytes: u64,
    /// Number of frames, without those whose append failed. For a part found at start: 0 until replay has read it.
    pub frames: u64,
    /// True while it is written or waits for replay; it cannot be released then.
    pub in_use: bool,
    /// True if replay found a bad frame: release keeps the file as `*.damaged`.
    pub damaged: bool,
}

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Appends that failed, because of a write or of the sync that they waited for.
    pub append_errors: u64,
    /// Syncs that reached the disk.
    pub syncs: u64,
    /// Syncs that failed. Unless frames are synced before they are acknowledged, each failure may mean that
    /// acknowledged frames are not durable, which deserves an alert.
    pub sync_errors: u64,
}

/// The state that the log, its replay and its sync thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: Directory,
    pub(crate) settings: Settings,
    files: Arc<dyn Files>,
    waits: Waits,
    state: Mutex<State>,
    /// Wakes the sync thread: something to sync, or stop.
    wake: Condvar,
    total_bytes: AtomicU64,
    append_errors: AtomicU64,
    syncs: AtomicU64,
    sync_errors: AtomicU64,
}

/// How far a part can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) id: PartId,
    pub(crate) bytes: u64,
    pub(crate) appending: bool,
}

#[derive(Debug, Default)]
struct State {
    active: Option<Active>,
    closed: BTreeMap<PartId, Closed>,
    next_id: u64,
    /// Appended to since the sync thread last looked.
    dirty: bool,
    stop: bool,
}

#[derive(Debug)]
struct Active {
    file: Arc<PartFile>,
    frames: u64,
}

#[derive(Debug)]
struct Closed {
    bytes: u64,
    frames: u64,
    replaying: bool,
    damaged: bool,
    /// Set while some frames of the part are not synced.
    unsynced: Option<Arc<PartFile>>,
}

impl Shared {
    pub(crate) fn new(
        directory: Directory,
        settings: Settings,
        files: Arc<dyn Files>,
        listing: &Listing,
    ) -> Self {
        let closed =
            |bytes| Closed { bytes, frames: 0, replaying: true, damaged: false, unsynced: None };
        let state = State {
            closed: listing.parts.iter().map(|(id, bytes)| (*id, closed(*bytes))).collect(),
            next_id: listing.next_id,
            ..State::default()
        };
        Self {
            directory,
            settings,
            files,
            waits: Waits::default(),
            state: Mutex::new(state),
            wake: Condvar::new(),
            total_bytes: AtomicU64::new(listing.parts.iter().map(|(_, bytes)| bytes).sum()),
            append_errors: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            sync_errors: AtomicU64::new(0),
        }
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn longest_wait(&self) -> Option<Wait> {
        self.waits.longest()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            append_errors: self.append_errors.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            sync_errors: self.sync_errors.load(Ordering::Relaxed),
        }
    }

    /// New parts get no lower number than this.
    pub(crate) fn skip_to(&self, number: u64) {
        let mut state = self.state.lock();
        state.next_id = state.next_id.max(number);
    }

    /// Closes the current part if it has frames.
    pub(crate) fn rotate(&self) -> Option<PartId> {
        self.close_active(&mut self.state.lock())
    }

    /// Ends the sync thread.
    pub(crate) fn stop_syncing(&self) {
        self.state.lock().stop = true;
        self.wake.notify_all();
    }

    /// Appends a frame of this many bytes, or counts an error.
    pub(crate) fn append(&self, frame: &mut [IoSlice<'_>], bytes: u64) -> Result<Position> {
        self.write(frame, bytes).inspect_err(|_| {
            self.append_errors.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn syncs_before_ack(&self) -> bool {
        self.settings.fsync_interval == Some(Duration::ZERO)
    }

    fn write(&self, frame: &mut [IoSlice<'_>], bytes: u64) -> Result<Position> {
        let mut state = self.state.lock();
        let waiting = self.waits.begin("write");
        if let Some(active) = &state.active
            && active.file.written() > 0
            && active.file.written() + bytes > self.settings.part_bytes
        {
            self.close_active(&mut state);
        }
        let active = self.active(&mut state)?;
        let file = Arc::clone(&active.file);
        let offset = file.written();
        if let Err(failure) = file.write(frame, bytes) {
            if !failure.tail_is_clean {
                self.close_active(&mut state);
            }
            return Err(failure.error);
        }
        active.frames += 1;
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
        if !state.dirty {
            state.dirty = true;
            self.wake.notify_one();
        }
        drop(waiting);
        drop(state);
        if self.syncs_before_ack() {
            self.sync_part(&file, offset + bytes).inspect_err(|_| self.retract(file.id))?;
        }
        Ok(Position { part: file.id, offset })
    }

    /// The part to append to, created if there is none.
    fn active<'state>(&self, state: &'state mut State) -> Result<&'state mut Active> {
        if state.active.is_none() {
            let file = loop {
                let id = PartId(state.next_id);
                if id.0 >= PART_NUMBER_LIMIT {
                    return Err(Error::PartNumberTooLarge {
                        number: id.0,
                        limit: PART_NUMBER_LIMIT,
                    });
                }
                state.next_id += 1;
                match PartFile::create(&*self.files, &self.directory, id) {
                    Ok(file) => break file,
                    // Another program created this file while we run. It is not overwritten; the next start replays it.
                    // So a gap in the numbers of `parts` may be a part that this process does not know.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound && self.restores() => {
                        state.next_id = id.0;
                    }
                    Err(error) => {
                        state.next_id = id.0;
                        return Err(Error::io("create", self.directory.part_path(id))(error));
                    }
                }
            };
            return Ok(state.active.insert(Active { file: Arc::new(file), frames: 0 }));
        }
        Ok(state.active.as_mut().expect("checked above"))
    }

    /// Creates the directory again if it was removed. True if it is there again.
    fn restores(&self) -> bool {
        let path = self.directory.path();
        if path.exists() {
            return false;
        }
        let restored = self.directory.restore();
        match &restored {
            Ok(()) => tracing::error!(
                path = %path.display(),
                "the directory of the write-ahead log was removed, with what was in it; a new one is used"
            ),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot create the directory of the log again");
            }
        }
        restored.is_ok()
    }

    /// Closes the active part. An empty one is forgotten and its file removed.
    fn close_active(&self, state: &mut State) -> Option<PartId> {
        let Active { file, frames } = state.active.take()?;
        let id = file.id;
        if frames == 0 {
            // An empty file is removed by the next replay at the latest.
            let _ = fs::remove_file(self.directory.part_path(id));
            return None;
        }
        // If frames are synced before they are acknowledged, every appender keeps the file until it is synced.
        let unsynced = (!self.syncs_before_ack()).then(|| Arc::clone(&file));
        let bytes = file.written();
        let closed = Closed { bytes, frames, replaying: false, damaged: false, unsynced };
        state.closed.insert(id, closed);
        Some(id)
    }

    /// Syncs one part up to `end`. If that fails, the part takes no more appends.
    fn sync_part(&self, file: &Arc<PartFile>, end: u64) -> Result<()> {
        let synced = {
            let _waiting = self.waits.begin("sync");
            file.sync_to(end, &self.directory)
        };
        match synced {
            Ok(Synced::Now) => {
                self.syncs.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok(Synced::Already) => Ok(()),
            Err(error) => {
                self.sync_errors.fetch_add(1, Ordering::Relaxed);
                let mut state = self.state.lock();
                if state.active.as_ref().is_some_and(|active| Arc::ptr_eq(&active.file, file)) {
                    self.close_active(&mut state);
                }
                Err(error)
            }
        }
    }

    /// Size of a closed part, 0 if there is none with this id.
    pub(crate) fn part_bytes(&self, id: PartId) -> u64 {
        self.state.lock().closed.get(&id).map_or(0, |closed| closed.bytes)
    }

    /// The first part that is not before `id`.
    pub(crate) fn part_from(&self, id: PartId) -> Option<Extent> {
        let state = self.state.lock();
        if let Some((id, closed)) = state.closed.range(id..).next() {
            return Some(Extent { id: *id, bytes: closed.bytes, appending: false });
        }
        let active = state.active.as_ref().filter(|active| active.file.id >= id)?;
        Some(Extent { id: active.file.id, bytes: active.file.written(), appending: true })
    }

    pub(crate) fn parts(&self) -> Vec<PartInfo> {
        let state = self.state.lock();
        let closed = state.closed.iter().map(|(id, part)| PartInfo {
            id: *id,
            bytes: part.bytes,
            frames: part.frames,
            in_use: part.replaying,
            damaged: part.damaged,
        });
        let active = state.active.iter().filter(|part| part.frames > 0).map(|part| PartInfo {
            id: part.file.id,
            bytes: part.file.written(),
            frames: part.frames,
            in_use: true,
            damaged: false,
        });
        closed.chain(active).collect()
    }
}

#[cfg(test)]
mod tests;
