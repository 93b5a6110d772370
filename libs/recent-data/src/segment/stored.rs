//! Files of segments: read by position, never mapped, and deleted when nobody needs them any more.

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

use super::cache::SegmentCache;
use crate::layout::CUT_FILE;

/// From this size on the place of a released segment is given back before its file can be deleted.
const WORTH_A_HOLE: u64 = 64 << 10;

/// A file with one or more segments.
///
/// Segments are released one by one. Once all are, the file is deleted when the last of them is dropped: queries that
/// still look at them read on.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    path: Mutex<PathBuf>,
    /// Size on disk, without holes.
    bytes: AtomicU64,
    unreleased: AtomicUsize,
    /// Where it goes instead of being deleted.
    keep_as: OnceLock<PathBuf>,
    cache: SegmentCache,
}

/// A segment's place in a file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// A file that is open, and where in it the segment begins.
pub(super) struct OpenPlace {
    file: File,
    offset: u64,
}

impl SegmentFile {
    /// The file of so many segments that are needed.
    ///
    /// Errors: its size cannot be asked for.
    pub(crate) fn new(path: &Path, segments: usize, cache: &SegmentCache) -> io::Result<Arc<Self>> {
        let bytes = fs::metadata(path)?.len();
        cache.add_file_bytes(bytes);
        Ok(Arc::new(Self {
            path: Mutex::new(path.to_owned()),
            bytes: AtomicU64::new(bytes),
            unreleased: AtomicUsize::new(segments),
            keep_as: OnceLock::new(),
            cache: cache.clone(),
        }))
    }

    /// All of the file as one segment.
    pub(crate) fn whole(self: &Arc<Self>) -> Place {
        let bytes = self.bytes.load(Ordering::Relaxed);
        Place { file: Arc::clone(self), offset: 0, bytes }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.lock().clone()
    }

    /// Gives the file another name; those who read it go on.
    pub(crate) fn rename(&self, to: &Path) -> io::Result<()> {
        let mut path = self.path.lock();
        fs::rename(&*path, to)?;
        to.clone_into(&mut path);
        Ok(())
    }

    /// One of its segments is not needed any more.
    pub(crate) fn release_one(&self) {
        self.unreleased.fetch_sub(1, Ordering::AcqRel);
    }

    /// Keeps the file, under another name, when it is not needed any more.
    pub(crate) fn keep_as(&self, path: PathBuf) {
        let _ = self.keep_as.set(path);
    }

    fn open(&self) -> io::Result<File> {
        File::open(&*self.path.lock())
    }

    /// Gives the place of a segment back that nobody reads any more. File systems that cannot do that keep it until the
    /// whole file goes.
    fn punch(&self, offset: u64, bytes: u64) {
        let punched = File::options().write(true).open(&*self.path.lock()).and_then(|file| {
            let written = file.metadata()?.modified()?;
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, mode, offset, bytes)?;
            // The age of the other segments.
            file.set_modified(written)
        });
        if punched.is_ok() {
            let before = self.bytes.load(Ordering::Relaxed);
            let freed = bytes.min(before);
            self.bytes.fetch_sub(freed, Ordering::Relaxed);
            self.cache.remove_file_bytes(freed);
        }
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        self.cache.remove_file_bytes(*self.bytes.get_mut());
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

    /// Gives back what a released segment takes in a file that others need.
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
