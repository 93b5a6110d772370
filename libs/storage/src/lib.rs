//! The bucket: what it contains, and how to read and write it.
//!
//! This crate handles bytes under keys: block metas, bloom filters, indexes, the tenant index, and the stores that keep
//! them (local disk, S3, GCS, Azure). It does not know the content of `data.parquet`.
#![warn(missing_docs)]

pub mod block_io;
pub mod blocklist;
pub mod bloom;
pub mod bucket;
mod error;
pub mod hash;
pub mod index;
pub mod layout;
pub mod meta;
pub mod poller;
mod reader;
pub mod tenant_index;

pub use blocklist::Blocklist;
pub use bucket::{Bucket, BucketSettings};
pub use error::{Error, Result};
pub use jiff::Timestamp;
pub use meta::{BlockMeta, CompactedBlockMeta};
pub use poller::{Poller, PollerSettings};
pub use reader::BlockReader;
pub use uuid::Uuid;

#[cfg(test)]
mod test_data {
    use std::path::PathBuf;

    /// The sample blocks of the conformance data, one local store per block version.
    pub(crate) fn blocks() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conformance/blocks")
    }
}
