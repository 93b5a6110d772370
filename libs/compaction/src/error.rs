//! The errors of a rewrite. Variants differ where callers act differently.

use tactus_storage::Uuid;

/// Result with this lib's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the caller's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A failed merge or rewrite. Readers see nothing of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's [`crate::Control`] said so.
    #[error("cancelled")]
    Cancelled,
    /// The check before the commit refused.
    #[error("the result is no longer needed")]
    Refused(#[source] BoxError),
    /// An input of [`crate::merge_blocks`] cannot be read.
    #[error("input {input}")]
    Input {
        /// Its position.
        input: usize,
        /// What is wrong.
        #[source]
        source: tactus_block::Error,
    },
    /// An input of [`crate::merge_blocks`] does not have each trace once, in order of id.
    #[error("input {input} is not in order of trace id")]
    Unordered {
        /// Its position.
        input: usize,
    },
    /// A trace of an input of [`crate::merge_blocks`] takes more memory than a merge may use.
    #[error("input {input}: a trace of {spans} spans takes {mib} MiB of memory")]
    TooLarge {
        /// Its position.
        input: usize,
        /// Number of spans of the trace.
        spans: u64,
        /// Memory of the trace and of the traces read with it.
        mib: u64,
    },
    /// A single input block cannot be opened, read or used. Check [`Error::is_retryable`] and [`Error::is_not_found`]
    /// before treating it as damaged.
    #[error("block {block}")]
    Block {
        /// The block.
        block: Uuid,
        /// What is wrong.
        #[source]
        source: BlockProblem,
    },
    /// The output was written before, and is marked compacted.
    #[error(
        "block {0} was made of the same blocks before and is marked compacted: they stay as they are. If they were restored, delete the objects of that block to make it again"
    )]
    MadeBefore(Uuid),
    /// The output cannot be written: bad settings, or its sink failed.
    #[error("the output block")]
    Output(#[source] tactus_block::Error),
    /// The bucket refused an object of the output.
    #[error("storing the output block")]
    Store(#[from] tactus_storage::Error),
    /// Blocks that must not be combined, or a retention class that cannot be evaluated.
    #[error("{0}")]
    Invalid(String),
    /// The thread that merges was lost.
    #[error("the merge did not finish")]
    Lost(#[source] BoxError),
}

/// What is wrong with an input block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockProblem {
    /// Its data cannot be read.
    #[error(transparent)]
    Data(tactus_block::Error),
    /// It does not have each trace once, in order of id.
    #[error("its traces are not in order of id")]
    Unordered,
    /// One of its traces takes more memory than a merge may use.
    #[error(
        "a trace of {spans} spans takes {mib} MiB of memory, more than a merge of several blocks has: raise compactor.compaction.max_memory_bytes"
    )]
    TooLarge {
        /// Number of spans of the trace.
        spans: u64,
        /// Memory of the trace and of the traces read with it.
        mib: u64,
    },
    /// Its number of row groups differs from its meta.
    #[error("it has {found} row groups, its meta says {expected}")]
    RowGroupCount {
        /// In its footer.
        found: u64,
        /// In its meta.
        expected: u64,
    },
}

impl Error {
    /// The input block that is to blame, if one is.
    pub fn block(&self) -> Option<Uuid> {
        match self {
            Self::Block { block, .. } => Some(*block),
            _ => None,
        }
    }

    /// True if the same call may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Cancelled | Self::Lost(_) => true,
            _ => self.storage().is_some_and(tactus_storage::Error::is_retryable),
        }
    }

    /// True if an object does not exist, for example the data of an input that somebody else has just deleted.
    pub fn is_not_found(&self) -> bool {
        self.storage().is_some_and(tactus_storage::Error::is_not_found)
    }

    /// The bucket's error behind this one.
    fn storage(&self) -> Option<&tactus_storage::Error> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            // The source of an I/O error is that of its inner error, so the inner error itself is skipped.
            let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            next = match within {
                Some(within) => Some(within),
                None => error.source(),
            };
        }
        None
    }
}
