//! The errors of the log. Variants differ where callers act differently.

use std::io;
use std::path::PathBuf;

use crate::PartId;

/// Result of a log operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed log operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process (or another `Wal` of this one) holds the directory.
    #[error("WAL directory {} is in use by {}", dir.display(), holder(*pid))]
    Locked {
        /// The directory of the log.
        dir: PathBuf,
        /// Process id noted in the lock file, if it could be read.
        pid: Option<u32>,
    },
    /// The file system refused an operation.
    #[error("WAL: cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb: `write`, `sync`.
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The payload is empty. An empty frame would look like the zeros that a file system may leave at the end of a file
    /// after a machine crash.
    #[error("WAL frame is empty")]
    EmptyFrame,
    /// The payload is longer than `MAX_PAYLOAD_BYTES`.
    #[error("WAL frame of {bytes} bytes is larger than {limit}")]
    FrameTooLarge {
        /// Size of the refused payload.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No number is left for a new part that replay would recognise.
    #[error("WAL part number {number} is not below {limit}")]
    PartNumberTooLarge {
        /// The refused number.
        number: u64,
        /// The limit.
        limit: u64,
    },
    /// The part is still being written or replayed, so it cannot be released yet.
    #[error("WAL part {0} is still in use")]
    PartInUse(PartId),
    /// The part does not exist or was released already.
    #[error("WAL part {0} is unknown")]
    UnknownPart(PartId),
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// True if there is no space: disk, quota or file size limit. Pushes should then be refused with a retry hint
    /// instead of failing with an internal error.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

/// True if a file could not be written because there is no space: disk, quota or file size limit.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
