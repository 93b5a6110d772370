//! The errors of stored objects, by what the caller can do about them.

use std::error::Error as StdError;

/// The underlying error of a failure, for logs.
pub(crate) type Source = Box<dyn StdError + Send + Sync + 'static>;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed storage operation. `Display` names the key and leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No object under this key (or no such bucket).
    #[error("object {key} does not exist")]
    NotFound {
        /// The key inside the bucket.
        key: String,
    },
    /// The store did not answer, or answered that it cannot now; retries are used up. Worth
    /// another try later.
    #[error("storage is unavailable for {key}")]
    Unavailable {
        /// The key inside the bucket.
        key: String,
        /// The error of the store or the network.
        #[source]
        source: Source,
    },
    /// The credentials or file permissions do not allow it.
    #[error("access to {key} is denied")]
    Denied {
        /// The key inside the bucket.
        key: String,
        /// The error of the store.
        #[source]
        source: Source,
    },
    /// No space or quota left where the object should go.
    #[error("no space left to write {key}")]
    Full {
        /// The key inside the bucket.
        key: String,
        /// The error of the store.
        #[source]
        source: Source,
    },
    /// The request itself can never work: a bad setting, name or argument.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// The name of the setting or argument.
        what: &'static str,
        /// Why it is refused.
        reason: String,
    },
    /// The bucket as a whole cannot be used.
    #[error("{sentence}")]
    Unusable {
        /// What is wrong, naming the setting to look at.
        sentence: String,
        /// True when it may pass by itself.
        passing: bool,
        /// The error of the store, the network or the disk.
        #[source]
        source: Source,
    },
    /// The store does not know this kind of request.
    #[error("the store cannot do what was asked for {key}")]
    Unsupported {
        /// The key inside the bucket.
        key: String,
        /// The error of the store.
        #[source]
        source: Source,
    },
    /// The object is there, but its bytes are not what the format says.
    #[error("corrupt {what} in {key} at byte {offset}")]
    Corrupt {
        /// Which part is wrong.
        what: &'static str,
        /// The key inside the bucket, or empty where a parser does not know it.
        key: String,
        /// Where in the object, in bytes; 0 when unknown.
        offset: u64,
    },
    /// A block's meta is that of another block, as in a directory that was copied or renamed.
    #[error("{key} is of block {block_id} of tenant {tenant}: its directory was copied or renamed")]
    OtherOwner {
        /// The key inside the bucket.
        key: String,
        /// The tenant that it names.
        tenant: String,
        /// The block that it names.
        block_id: uuid::Uuid,
    },
}

impl Error {
    /// True when the same call may succeed later without anybody changing it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Full { .. } => true,
            Self::Unusable { passing, .. } => *passing,
            _ => false,
        }
    }

    /// True for [`Error::NotFound`].
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True if the object is there and is not what it should be: [`Error::Corrupt`] or [`Error::OtherOwner`].
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::OtherOwner { .. })
    }

    /// Fills in the key of a [`Error::Corrupt`] that came from a parser.
    pub fn with_key(self, key: &str) -> Self {
        match self {
            Self::Corrupt { what, offset, .. } => Self::Corrupt { what, key: key.into(), offset },
            other => other,
        }
    }

    pub(crate) fn corrupt(what: &'static str, offset: u64) -> Self {
        Self::Corrupt { what, key: String::new(), offset }
    }

    pub(crate) fn invalid(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { what, reason: reason.into() }
    }
}
