//! The files that a log writes, behind a trait.
//!
//! Tests need disks that fail and hang, which a sound disk does not do. So whoever opens a log can provide the files.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;

use rustix::io::pwritev;

/// Makes the files of parts.
pub trait Files: fmt::Debug + Send + Sync {
    /// Creates a new file for writing; `AlreadyExists` if there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;
}

/// A file of a part. Each call may block for as long as the disk does.
pub trait LogFile: fmt::Debug + Send + Sync {
    /// Writes from `offset` on; returns how many bytes were taken.
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Cuts the file to this many bytes.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Syncs, so that what was written survives a machine crash.
    fn sync_data(&self) -> io::Result<()>;
}

/// Files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }
}

/// Creates a file that becomes another one, or a copy of one. What an earlier process left there goes: to open a pipe
/// would be to wait until somebody reads from it, and a link leads elsewhere.
pub fn create_anew(path: &Path) -> io::Result<File> {
    let _ = std::fs::remove_file(path);
    File::create_new(path)
}

impl LogFile for File {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(pwritev(self, slices, offset)?)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}
