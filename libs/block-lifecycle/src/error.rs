//! The errors of the compactor.

use tactus_compaction::{BlockProblem, Cancelled};
use tactus_storage::Uuid;

use crate::compactor::Reason;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done. It is always tried again in a later round.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bucket.
    #[error("object storage")]
    Storage(#[from] tactus_storage::Error),
    /// Reading the inputs or writing the output.
    #[error("rewrite of blocks")]
    Rewrite(#[from] tactus_compaction::Error),
    /// A block that cannot be read.
    #[error("block {block}")]
    Unreadable {
        /// The block.
        block: Uuid,
        /// What is wrong.
        #[source]
        source: tactus_block::Error,
    },
    /// Another process took or deleted a block meanwhile.
    #[error("block {0} is not live any more")]
    InputGone(Uuid),
    /// A block that another writer wants left alone.
    #[error("block {0} has a nocompact.flg and is not compacted")]
    Flagged(Uuid),
    /// A retention policy whose query cannot be used.
    #[error("retention policy {query}: {reason}")]
    Policy {
        /// The query as configured.
        query: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A job that cannot be carried out as asked.
    #[error("{field}: {reason}")]
    BadJob {
        /// The field of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A tenant has as many unfinished jobs as it may have.
    #[error("{limit} jobs of the tenant are not done (limit: compactor.jobs.max_open_per_tenant)")]
    TooManyJobs {
        /// The limit.
        limit: usize,
    },
    /// No record of that id, of this tenant.
    #[error("job {0} does not exist")]
    NoSuchJob(Uuid),
    /// Other processes changed the record of a job at the same time, again and again.
    #[error("job {0} is being changed by others")]
    Contended(Uuid),
    /// A job record that cannot be read.
    #[error("job record {key}: {reason}")]
    BadRecord {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// True if the process stops, another compactor took over, or the job is cancelled.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Rewrite(tactus_compaction::Error::Cancelled) => true,
            Self::Rewrite(tactus_compaction::Error::Refused(why)) => why.is::<Cancelled>(),
            _ => false,
        }
    }

    /// True if the same may work in the next round.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_retryable(),
            Self::Rewrite(error) => error.is_retryable() || self.is_lost_race(),
            _ => self.is_lost_race(),
        }
    }

    /// True if another process took or deleted an input meanwhile.
    pub(crate) fn is_lost_race(&self) -> bool {
        matches!(self, Self::InputGone(_) | Self::Rewrite(tactus_compaction::Error::Refused(_)))
    }

    /// The block that is to blame, if one is, and for what. Not one that a job could not look into: merges find out for
    /// themselves whether they can read it.
    pub(crate) fn blamed_block(&self) -> Option<(Uuid, Reason)> {
        match self {
            Self::Rewrite(tactus_compaction::Error::Block {
                block,
                source: BlockProblem::TooLarge { .. },
            }) => Some((*block, Reason::TooLarge)),
            Self::Rewrite(error) if !error.is_retryable() => {
                error.block().map(|block| (block, Reason::Damaged))
            }
            _ => None,
        }
    }
}
