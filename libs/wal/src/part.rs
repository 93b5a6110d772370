//! One part file that this process writes.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::directory::Directory;
use crate::files::{Files, LogFile};
use crate::{Error, PartId, Result};

/// A part file and how much of it is written and synced.
#[derive(Debug)]
pub(crate) struct PartFile {
    pub(crate) id: PartId,
    path: PathBuf,
    file: Box<dyn LogFile>,
    /// End of the last whole frame. Changed only under the log's lock.
    written: AtomicU64,
    sync: Mutex<SyncState>,
}

#[derive(Debug, Default)]
struct SyncState {
    synced_to: u64,
    name_synced: bool,
    /// After a failed fsync the kernel may drop the dirty pages, and a second fsync would report success. So no promise
    /// about this part is possible any more.
    failed: bool,
}

/// A failed write, and whether the file still ends with its last whole frame.
#[derive(Debug)]
pub(crate) struct WriteError {
    pub(crate) error: Error,
    pub(crate) tail_is_clean: bool,
}

impl PartFile {
    /// Creates the file. The caller handles `AlreadyExists`.
    pub(crate) fn create(files: &dyn Files, directory: &Directory, id: PartId) -> io::Result<Self> {
        let path = directory.part_path(id);
        let file = files.create(&path)?;
        Ok(Self::new(id, path, file))
    }

    pub(crate) fn new(id: PartId, path: PathBuf, file: Box<dyn LogFile>) -> Self {
        Self { id, path, file, written: AtomicU64::new(0), sync: Mutex::default() }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Writes one frame after the last one. The caller holds the log's lock.
    ///
    /// After an error the file is truncated to its last whole frame.
    pub(crate) fn write(&self, frame: &mut [IoSlice<'_>], bytes: u64) -> Result<(), WriteError> {
        let start = self.written();
        match write_all_at(&*self.file, frame, start) {
            Ok(()) => {
                self.written.store(start + bytes, Ordering::Release);
                Ok(())
            }
            Err(source) => {
                let error = Error::io("write", &self.path)(source);
                let tail_is_clean = match self.file.set_len(start) {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::error!(part = %self.id, %error, "cannot truncate WAL part after a failed write");
                        false
                    }
                };
                Err(WriteError { error, tail_is_clean })
            }
        }
    }

    /// Syncs the first `end` bytes. If several callers wait, one syncs for all of them.
    pub(crate) fn sync_to(&self, end: u64, directory: &Directory) -> Result<Synced> {
        let mut state = self.sync.lock();
        if state.failed {
            let source = io::Error::other("an earlier sync of this part failed");
            return Err(Error::io("sync", &self.path)(source));
        }
        if state.synced_to >= end {
            return Ok(Synced::Already);
        }
        let target = self.written();
        let synced = self.file.sync_data().map_err(Error::io("sync", &self.path));
        let synced =
            synced.and_then(|()| if state.name_synced { Ok(()) } else { directory.sync() });
        state.failed = synced.is_err();
        synced?;
        state.synced_to = target;
        state.name_synced = true;
        Ok(Synced::Now)
    }
}

/// Whether a sync had something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    Now,
    Already,
}

fn write_all_at(
    file: &dyn LogFile,
    mut slices: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    while !slices.is_empty() {
        // The kernel takes at most IOV_MAX slices at once. The rest follows as after any short write.
        match file.write_at(slices, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
