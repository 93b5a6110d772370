//! Files of segments. They are read by position, never mapped into memory, and deleted when nobody needs them any more.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;

use crate::layout::{CUT_FILE, open_file};

/// The disk space of a released segment of at least this size is freed before its whole file can be deleted.
const WORTH_A_HOLE: u64 = 64 << 10;

/// How many bytes the files of all segments take. Clones share the number.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileBytes(Arc<AtomicU64>);

/// A file with one or more segments.
///
/// Segments are released one by one. After all are released, the file is deleted when its last user drops it, so that
/// queries which still read it can finish.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    path: Mutex<PathBuf>,
    /// Size on disk, without holes.
    bytes: AtomicU64,
    unreleased: AtomicUsize,
    /// The file is moved here instead of being deleted.
    keep_as: OnceLock<PathBuf>,
    total: FileBytes,
}

/// A segment's place in a file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// An open file, and the position in it at which the segment begins.
pub(super) struct OpenPlace {
    file: File,
    offset: u64,
}

impl FileBytes {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl SegmentFile {
    /// A file with `segments` segments that are still needed. Its size counts in `total`.
    ///
    /// Errors: the size of the file cannot be read, or as [`open_file`].
    pub(crate) fn new(path: &Path, segments: usize, total: &FileBytes) -> io::Result<Arc<Self>> {
        let bytes = open_file(path)?.metadata()?.len();
        total.add(bytes);
        Ok(Arc::new(Self {
            path: Mutex::new(path.to_owned()),
            bytes: AtomicU64::new(bytes),
            unreleased: AtomicUsize::new(segments),
            keep_as: OnceLock::new(),
            total: total.clone(),
        }))
    }

    /// The position of a segment that fills the whole file.
    pub(crate) fn whole(self: &Arc<Self>) -> Place {
        let bytes = self.bytes.load(Ordering::Relaxed);
        Place { file: Arc::clone(self), offset: 0, bytes }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.lock().clone()
    }

    /// Renames the file. Readers are not disturbed.
    pub(crate) fn rename(&self, to: &Path) -> io::Result<()> {
        let mut path = self.path.lock();
        fs::rename(&*path, to)?;
        to.clone_into(&mut path);
        Ok(())
    }

    /// Records that one of its segments is no longer needed.
    pub(crate) fn release_one(&self) {
        self.unreleased.fetch_sub(1, Ordering::AcqRel);
    }

    /// Moves the file to `path`, instead of deleting it, once it is no longer needed.
    pub(crate) fn keep_as(&self, path: PathBuf) {
        let _ = self.keep_as.set(path);
    }

    fn open(&self) -> io::Result<File> {
        File::open(&*self.path.lock())
    }

    /// Frees the disk space of a segment that nobody reads any more. If the file system does not support holes in
    /// files, the space stays taken until the whole file is deleted.
    fn punch(&self, offset: u64, bytes: u64) {
        let punched = File::options().write(true).open(&*self.path.lock()).and_then(|file| {
            let written = file.metadata()?.modified()?;
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, mode, offset, bytes)?;
            // The age of the other segments is taken from this time.
            file.set_modified(written)
        });
        if punched.is_ok() {
            let before = self.bytes.load(Ordering::Relaxed);
            let freed = bytes.min(before);
            self.bytes.fetch_sub(freed, Ordering::Relaxed);
            self.total.subtract(freed);
        }
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        self.total.subtract(*self.bytes.get_mut());
        if *self.unreleased.get_mut() > 0 {
            return;
        }
        let path = self.path.get_mut();
        let removed = match self.keep_as.get() {
            Some(kept) => fs::rename(&*path, kept),
            None => fs::remove_file(&*path),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), %error, "cannot delete a segment");
            }
            _ => {}
        }
        if let Some(directory) = path.parent() {
            // Fails while other files are in it.
            let _ = fs::remove_dir(directory);
        }
    }
}

impl Place {
    /// True if the file is not shared with other segments.
    pub(crate) fn has_own_file(&self) -> bool {
        self.file.path().file_name().is_none_or(|name| name != CUT_FILE)
    }

    pub(super) fn open(&self) -> io::Result<OpenPlace> {
        Ok(OpenPlace { file: self.file.open()?, offset: self.offset })
    }

    /// Frees the disk space of a released segment whose file is still needed for other segments.
    pub(crate) fn give_back(&self) {
        if self.bytes >= WORTH_A_HOLE && self.file.unreleased.load(Ordering::Acquire) > 0 {
            self.file.punch(self.offset, self.bytes);
        }
    }
}

impl OpenPlace {
    /// Reads from a position in the segment.
    pub(super) fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, self.offset + at)
    }
}
