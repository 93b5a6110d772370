//! The errors of reading and writing blocks.

/// Result with this lib's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of writing or reading a block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The traces of a batch are not in ascending order, or its spans are not in order of trace.
    #[error("the batch is not sorted by trace id")]
    Unsorted,
    /// A trace id is not above the last one of the previous row group.
    #[error("trace {first} does not come after {previous}")]
    NotAscending {
        /// Last id written, hexadecimal.
        previous: String,
        /// First id of the refused batch, hexadecimal.
        first: String,
    },
    /// A batch lacks a column, or refers to rows that it does not have.
    #[error("the batch is incomplete: {0}")]
    IncompleteBatch(&'static str),
    /// More data than a page or a column chunk can hold.
    #[error("{0} is too large for a row group")]
    TooLarge(&'static str),
    /// More row groups than a file can describe: readers would not open it.
    #[error("too many row groups: the footer would have {0} bytes, more than readers accept")]
    FooterTooLarge(u64),
    /// Bytes that do not follow the format.
    #[error("corrupt block: {what}")]
    Corrupt {
        /// The part that is wrong.
        what: String,
    },
    /// A block version that can be read but not written.
    #[error("blocks of version {0} are not written")]
    NotWritten(&'static str),
    /// Invalid settings of the bloom filters.
    #[error(transparent)]
    Bloom(#[from] tactus_storage::Error),
    /// The Parquet library failed: an I/O error of the sink or source, or a malformed file.
    #[error("parquet")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Compression or the sink failed.
    #[error("I/O")]
    Io(#[from] std::io::Error),
}
