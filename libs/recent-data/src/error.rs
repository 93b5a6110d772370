//! The errors of an ingester.

use std::{
    io,
    path::{Path, PathBuf},
};

use tactus_model::{AppendError, TOO_MANY_TENANTS};
use tactus_telemetry::error_text;
use tonic::Status;

use crate::{disk::DiskHangs, segment::SegmentError};

/// An error names at most this many files.
const MOST_NAMED: usize = 5;

/// An error at the start of an ingester or in its background work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The write-ahead log failed. The usual reason is that another process has locked the directory.
    #[error(transparent)]
    Wal(#[from] tactus_wal::Error),
    /// A segment cannot be read or written.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Object storage failed.
    #[error(transparent)]
    Storage(#[from] tactus_storage::Error),
    /// A block cannot be written.
    #[error("build block")]
    Block(#[from] tactus_block::Error),
    /// An operation in the ingester's directory failed.
    #[error("{action} {}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What was written to the ingester's directory cannot be read back, so its spans are in no block. The files stay.
    #[error("not in object storage, because it could not be read back: {}", some_of(.0))]
    LeftOut(Vec<PathBuf>),
    /// A flush took longer than `flush_op_timeout`.
    #[error("flush timed out")]
    Timeout,
    /// A background task panicked: a bug.
    #[error("background task failed")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// True if there is no space, as [`tactus_wal::is_full`].
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => tactus_wal::is_full(source),
            Self::Segment(SegmentError::Io { source, .. }) => tactus_wal::is_full(source),
            _ => false,
        }
    }
}

/// The first of these paths, and how many more there are.
fn some_of(paths: &[PathBuf]) -> String {
    let named = paths.iter().take(MOST_NAMED).map(|path| path.display().to_string());
    let named = named.collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The reason why a push is refused as a whole. None of its spans are stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The spans are not valid OTLP. Sending them again does not help.
    #[error(transparent)]
    Invalid(#[from] AppendError),
    /// The push does not fit into a frame of the log. Sending it again does not help.
    #[error("{}", error_text(.0))]
    TooLarge(tactus_wal::Error),
    /// A block would have far more bytes of resources and scopes than the push has. Sending it again does not help.
    #[error(
        "resources and scopes of this push would take more than {limit_bytes} bytes in a block, which has them again for \
         each trace: send smaller resources, or fewer traces in one request"
    )]
    ExpandsTooMuch {
        /// The limit for a push of this size.
        limit_bytes: u64,
    },
    /// The limit of live bytes is reached. The push may succeed in a moment.
    #[error("ingester is at its memory limit of {limit_bytes} bytes of live spans")]
    Full {
        /// The limit.
        limit_bytes: usize,
    },
    /// What is left of the live bytes is for other tenants. The push may succeed in a moment.
    #[error(
        "ingester is near its memory limit of {limit_bytes} bytes of live spans, and the rest is for tenants that hold less"
    )]
    FullForTenant {
        /// The limit of all tenants.
        limit_bytes: usize,
    },
    /// The limit of tenants is reached, and this tenant is new. The push may succeed after a flush.
    #[error(
        "{TOO_MANY_TENANTS}: an ingester holds spans of {limit} other tenants, the limit ingester.max_tenants; nothing of \
         this tenant is stored"
    )]
    TooManyTenants {
        /// The limit.
        limit: usize,
    },
    /// The disk is full, or the directory has reached its limit. The push may succeed later.
    #[error("ingester has no disk space: {0}")]
    DiskFull(String),
    /// The log cannot be written.
    #[error("write-ahead log: {}", error_text(.0))]
    Wal(tactus_wal::Error),
    /// The disk does not respond, or there was no thread in time, so the push was not attempted. It may succeed later.
    #[error("{0}; nothing of this push is stored")]
    DiskHangs(DiskHangs),
    /// The disk stopped responding during the push, or the push took too long, so its spans may be stored or not. If a
    /// client sends them again, they may be stored twice, and queries return them once.
    #[error("{0}")]
    TimedOut(DiskHangs),
    /// The thread of the push panicked: a bug.
    #[error("push failed")]
    Failed,
    /// The process is starting or stopping.
    #[error("Ingester is {0}")]
    NotRunning(&'static str),
}

impl PushError {
    /// Every [`Self::reason`].
    pub(crate) const REASONS: [&str; 10] = [
        "invalid",
        "too_large",
        "memory",
        "too_many_tenants",
        "disk_full",
        "log",
        "disk_hangs",
        "late",
        "failed",
        "not_running",
    ];

    /// The reason as a metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::TooLarge(_) | Self::ExpandsTooMuch { .. } => "too_large",
            Self::Full { .. } | Self::FullForTenant { .. } => "memory",
            Self::TooManyTenants { .. } => "too_many_tenants",
            Self::DiskFull(_) => "disk_full",
            Self::Wal(_) => "log",
            Self::DiskHangs(late) | Self::TimedOut(late) if late.wait.is_none() => "late",
            Self::DiskHangs(_) | Self::TimedOut(_) => "disk_hangs",
            Self::Failed => "failed",
            Self::NotRunning(_) => "not_running",
        }
    }

    /// The status for the caller.
    pub(crate) fn status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::Invalid(_) | Self::TooLarge(_) | Self::ExpandsTooMuch { .. } => {
                Status::invalid_argument(text)
            }
            Self::Full { .. } | Self::FullForTenant { .. } | Self::TooManyTenants { .. } => {
                Status::resource_exhausted(text)
            }
            Self::DiskFull(_) | Self::Wal(_) | Self::DiskHangs(_) | Self::NotRunning(_) => {
                Status::unavailable(text)
            }
            // On `unavailable` a caller may send the spans to another ingester, although they may already be stored
            // here.
            Self::TimedOut(_) => Status::deadline_exceeded(text),
            Self::Failed => Status::internal(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_counts_as_a_full_disk() {
        let failed = |kind: io::ErrorKind| Error::io("write", Path::new("/x"))(kind.into());
        for kind in [io::ErrorKind::QuotaExceeded, io::ErrorKind::StorageFull] {
            assert!(failed(kind).is_full());
        }
        assert!(!failed(io::ErrorKind::PermissionDenied).is_full());
    }
}
