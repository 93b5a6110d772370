//! The log itself: append, rotate, sync, release.
//!
//! Each append takes one lock and writes with one `pwritev`. Appends are not combined into larger writes: the checksum
//! is computed outside the lock, a write into the page cache costs little more than copying its bytes (64 KiB frames: 2
//! to 3 GB/s on two virtual cores, `benches/append.rs`), and combining would need a second copy. Syncs are combined:
//! one fsync covers every frame that was written before it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::directory::{Directory, PART_NUMBER_LIMIT};
use crate::files::{Files, SystemFiles};
use crate::frame::Header;
use crate::shared::{PartInfo, Settings, Shared, Stats, Wait, spawn_syncer};
use crate::{Error, PartId, Position, Replay, Result, Tail};

/// A write-ahead log, open for appending. Share it in an `Arc`.
///
/// Dropping it syncs (unless syncing is off). The directory is unlocked once its [`Replay`] is dropped too.
#[derive(Debug)]
pub struct Wal {
    shared: Arc<Shared>,
    syncer: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in `dir`, creating it if needed, and returns what earlier processes left.
    ///
    /// Appending may begin at once and goes to new parts; the parts that are left wait for `Replay`. Errors: `Locked`
    /// if the directory is in use, `Io` if it cannot be created, locked or listed. Damaged parts are never an error.
    pub fn open(dir: impl AsRef<Path>, settings: Settings) -> Result<(Self, Replay)> {
        Self::open_with(dir, settings, Arc::new(SystemFiles))
    }

    /// As [`Wal::open`], but `files` creates the files of new parts.
    pub fn open_with(
        dir: impl AsRef<Path>,
        settings: Settings,
        files: Arc<dyn Files>,
    ) -> Result<(Self, Replay)> {
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

    /// Appends one frame, whose payload is the concatenation of the slices in `payload`.
    ///
    /// Returns when the kernel has the frame, or, with an `fsync_interval` of zero, when it is on disk. This blocks:
    /// `benches/append.rs` measured 1.5 µs for 1 KiB and 22 µs for 64 KiB into the page cache on two virtual cores, and
    /// 0.2 to 0.8 ms with a sync. But if the disk stalls, the kernel throttles writers and this waits as long as the
    /// stall lasts, so call it only where that does no harm.
    ///
    /// Errors: `EmptyFrame`, `FrameTooLarge`, `PartNumberTooLarge`, `Io` (see [`Error::is_full`]). After an error the frame counts as not
    /// appended, but it may still be replayed. Later appends are sound.
    pub fn append<S: AsRef<[u8]>>(&self, payload: &[S]) -> Result<Position> {
        let header = Header::of(payload)?;
        let encoded = header.encode();
        let mut frame = Vec::with_capacity(1 + payload.len());
        frame.push(IoSlice::new(&encoded));
        frame.extend(payload.iter().map(|slice| IoSlice::new(slice.as_ref())));
        self.shared.append(&mut frame, header.frame_bytes())
    }

    /// From now on new parts get no lower number than this, even in an empty directory, where numbers would otherwise begin
    /// at 1 again. For owners that remember part numbers after their release. At most [`PART_NUMBER_LIMIT`], which leaves no
    /// number: appends are then refused.
    ///
    /// Errors: `PartNumberTooLarge`.
    pub fn skip_to(&self, first_part: u64) -> Result<()> {
        if first_part > PART_NUMBER_LIMIT {
            return Err(Error::PartNumberTooLarge { number: first_part, limit: PART_NUMBER_LIMIT });
        }
        self.shared.skip_to(first_part);
        Ok(())
    }

    /// Closes the current part, so that it can be released once its frames are stored elsewhere.
    ///
    /// Returns the closed part, or `None` if nothing was appended since the last rotation.
    pub fn rotate(&self) -> Option<PartId> {
        self.shared.rotate()
    }

    /// Syncs everything that was appended so far, whatever the settings, so that it survives a machine crash.
    ///
    /// Errors: `Io`. The part whose sync failed is closed, because the kernel no longer knows how much of it is on
    /// disk.
    pub fn sync(&self) -> Result<()> {
        self.shared.sync_all()
    }

    /// Deletes a closed part, all of whose frames must be stored elsewhere. If replay found a bad frame in it, its file
    /// is renamed to `*.damaged` instead.
    ///
    /// Release a part only when as many of its frames are stored elsewhere as [`PartInfo::frames`] counts. The caller's
    /// own count is not enough, because another thread may have returned from `append` without having recorded its
    /// frame yet. A replayed part can be released when `Replay` has moved on to the next part, or has ended, because
    /// only then all of its frames are known. Call it where deleting a large file may block.
    ///
    /// Errors: `PartInUse`, `UnknownPart`, `Io` (the part stays, and can be released again).
    pub fn release(&self, part: PartId) -> Result<()> {
        self.shared.release(part)
    }

    /// Reads the log from `from`, which must be the beginning of a frame, or from the first part after it. This
    /// includes parts that an earlier process left; [`Replay::adopt`] allows these to be released.
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

    /// The file of a part, whether or not it exists.
    pub fn part_path(&self, part: PartId) -> PathBuf {
        self.shared.directory.part_path(part)
    }

    /// Bytes in all parts. Does not lock.
    pub fn total_bytes(&self) -> u64 {
        self.shared.total_bytes()
    }

    /// The write or sync that has been waiting for the disk the longest. Never waits for the disk itself.
    ///
    /// Writes wait for each other. Only the age of the oldest one is known, not that of those behind it.
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
            // A failure was already logged, and nobody is left to be told.
            let _ = self.sync();
        }
        if let Some(syncer) = self.syncer.take() {
            self.shared.stop_syncing();
            // A panic of the thread would be a bug. Dropping the log must not panic because of it.
            let _ = syncer.join();
        }
    }
}
