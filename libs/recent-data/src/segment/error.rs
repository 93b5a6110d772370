//! Errors of writing or reading a segment, and whether trying again can help.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What was tried when a segment could not be read.
const READ: &str = "read";

/// Error numbers of disks, and of file systems that notice damage: EIO, ENODATA, EBADMSG, EILSEQ, EUCLEAN, EREMOTEIO.
const ERRORS_OF_DISKS: [i32; 6] = [5, 61, 74, 84, 117, 121];

/// Why a segment cannot be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SegmentError {
    /// The file system refused.
    #[error("{action} segment {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The segment.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The file is not a segment, or not the one that was written.
    #[error("segment {} is damaged: {what}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
}

impl SegmentError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::io(READ, path, source)
    }

    /// True if reading it again would not help, because its content is wrong, or it is cut off or not a file.
    pub(crate) fn is_damage(&self) -> bool {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match self {
            Self::Corrupt { .. } => true,
            Self::Io { action, source, .. } => {
                *action == READ && matches!(source.kind(), InvalidData | UnexpectedEof)
            }
        }
    }

    /// True if the disk cannot read it or has lost it, perhaps only for a while.
    pub(crate) fn is_of_disk(&self) -> bool {
        match self {
            Self::Corrupt { .. } => false,
            Self::Io { action, source, .. } => *action == READ && is_error_of_disk(source),
        }
    }

    /// True if the cause lies in its file or the disk below it, so that others may be readable.
    pub(crate) fn is_of_file(&self) -> bool {
        self.is_damage() || self.is_of_disk()
    }
}

/// True if a disk cannot read something or no longer has it.
pub(crate) fn is_error_of_disk(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error().is_some_and(|number| ERRORS_OF_DISKS.contains(&number))
}
