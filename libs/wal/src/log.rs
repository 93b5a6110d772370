//! The log itself: append, rotate, sync, release.
//!
//! Appends take one lock, write with one `pwritev` each and leave it. They are not gathered into
//! larger writes: the checksum is computed outside the lock, a write into the page cache costs
//! mostly the copy of its bytes (64 KiB frames: 2 to 3 GB/s on two virtual cores, `benches/append.rs`),
//! and gathering would need a second copy. What is gathered is the fsync: whoever syncs does so for
//! every frame written by then.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::directory::{Directory, ID_LIMIT};
use crate::files::{Files, SystemFiles};
use crate::frame::Header;
use crate::shared::{PartInfo, Settings, Shared, Stats, Wait, spawn_syncer};
use crate::{Error, PartId, Position, Replay, Result, Tail};

/// A write-ahead log, open for appending. Share it in an `Arc`.
///
/// Dropping it syncs (unless syncing is off) and, once its [`Replay`] is gone as well, unlocks the
/// directory.
#[derive(Debug)]
pub struct Wal {
    shared: Arc<Shared>,
    syncer: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in `dir`, creating it if needed, and returns what earlier processes left.
    ///
    /// Appending may begin at once; it goes to new parts. Parts that are left wait for `Replay`.
    /// Errors: `Locked` if the directory is in use, `Io` if it cannot be created, locked or listed,
    /// `PartNumberTooLarge` for `Settings::first_part`.
    /// Damaged parts are never an error.
    pub fn open(dir: impl AsRef<Path>, settings: Settings) -> Result<(Self, Replay)> {
        Self::open_with(dir, settings, Arc::new(SystemFiles))
    }

    /// As [`Wal::open`]; new parts are files of `files`.
    pub fn open_with(
        dir: impl AsRef<Path>,
        settings: Settings,
        files: Arc<dyn Files>,
    ) -> Result<(Self, Replay)> {
        if settings.first_part >= ID_LIMIT {
            return Err(Error::PartNumberTooLarge { number: settings.first_part, limit: ID_LIMIT });
        }
        let directory = Directory::open(dir.as_ref())?;
        let listing = directory.list()?;
        if settings.fsync_interval.is_some() {
            directory.sync_parent();
        }
        let shared = Arc::new(Shared::new(directory, settings, files, &listing));
        let syncer = match settings.fsync_interval {
            Some(interval) if !interval.is_zero() => Some(spawn_syncer(&shared, interval)?),
            _ => None,
        };
        let parts = listing.parts.iter().map(|(id, _)| *id).collect();
        let replay = Replay::new(Arc::clone(&shared), parts, listing.foreign);
        Ok((Self { shared, syncer }, replay))
    }

    /// Appends one frame whose payload is the concatenation of `payload`'s slices.
    ///
    /// Returns when the kernel has the frame, or with an `fsync_interval` of zero when the disk has
    /// it. Blocks: `benches/append.rs` measured 1.5 µs for 1 KiB and 22 µs for 64 KiB into the page
    /// cache on two virtual cores, and 0.2 to 0.8 ms with a sync; but a disk that lags makes it wait
    /// for as long as it lags, since the kernel throttles writers. Do not call it where a stall of
    /// that length hurts.
    ///
    /// Errors: `EmptyFrame`, `FrameTooLarge`, `Io` (see [`Error::is_full`]). After an error the frame
    /// counts as not appended, later appends are sound; it may yet be replayed.
    pub fn append<S: AsRef<[u8]>>(&self, payload: &[S]) -> Result<Position> {
        let header = Header::of(payload)?;
        let encoded = header.encode();
        let mut frame = Vec::with_capacity(1 + payload.len());
        frame.push(IoSlice::new(&encoded));
        frame.extend(payload.iter().map(|slice| IoSlice::new(slice.as_ref())));
        self.shared.append(&mut frame, header.frame_bytes())
    }

    /// Closes the current part, so that it can be released once its frames are kept elsewhere.
    ///
    /// Returns the part just closed, `None` if nothing was appended since the last rotation.
    pub fn rotate(&self) -> Option<PartId> {
        self.shared.rotate()
    }

    /// Makes everything appended so far survive a machine crash, whatever the settings.
    ///
    /// Errors: `Io`; the part whose sync failed is closed, for the kernel no longer knows what of it
    /// is on disk.
    pub fn sync(&self) -> Result<()> {
        self.shared.sync_all()
    }

    /// Gives up a closed part: every frame in it must be kept elsewhere. Its file is deleted, or set
    /// aside as `*.damaged` if replay found a bad frame in it.
    ///
    /// A part may go when as many of its frames are kept elsewhere as [`PartInfo::frames`] counts. A
    /// count of frames that the caller knows of is not enough: another thread may have returned from
    /// `append` and not yet noted its frame. A replayed part can be released when `Replay` has gone on to the next part (or ended), since
    /// only then all of its frames are known. Call it where deleting a large file may block.
    /// Errors: `PartInUse`, `UnknownPart`, `Io` (the part stays and may be released again).
    pub fn release(&self, part: PartId) -> Result<()> {
        self.shared.release(part)
    }

    /// Reads the log from `from`, where a frame begins, or from the first part after it. Parts that an earlier process
    /// left are read too: [`Replay::adopt`] releases them.
    pub fn tail(&self, from: Position) -> Tail {
        Tail::new(Arc::clone(&self.shared), from)
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// All parts in order, the current one (if anything was appended to it) last.
    pub fn parts(&self) -> Vec<PartInfo> {
        self.shared.parts()
    }

    /// Bytes in all parts. Does not lock.
    pub fn total_bytes(&self) -> u64 {
        self.shared.total_bytes()
    }

    /// The write or sync that the disk has not answered for the longest time. Never waits for the disk.
    ///
    /// Writes wait for each other: the age of those behind the oldest one is not looked at.
    pub fn longest_wait(&self) -> Option<Wait> {
        self.shared.longest_wait()
    }

    /// Counts of failures and syncs. Does not lock.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if self.shared.settings.fsync_interval.is_some() {
            // A failure was logged; there is nobody left to tell.
            let _ = self.sync();
        }
        if let Some(syncer) = self.syncer.take() {
            self.shared.stop_syncing();
            // A panic of the thread would be a bug; dropping must not panic because of it.
            let _ = syncer.join();
        }
    }
}
