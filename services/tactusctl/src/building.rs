//! The settings with which tactusctl writes blocks.

use tactus_block::{BuilderSettings, WriterSettings};
use tactus_storage::meta::{BlockVersion, DedicatedColumn, filter_for_vparquet4};

/// The false positive rate of bloom filters: the server's default.
pub(crate) const BLOOM_FALSE_POSITIVE: f64 = 0.01;
/// The size of a bloom filter: the server's default.
pub(crate) const BLOOM_SHARD_BYTES: u32 = 100 << 10;

/// Settings for a version and columns: those that the version cannot have are left out, and vParquet3, which is only
/// read, becomes vParquet4.
pub(crate) fn settings(version: BlockVersion, columns: &[DedicatedColumn]) -> BuilderSettings {
    let (version, dedicated_columns) = match version {
        BlockVersion::VParquet5 => (version, columns.to_vec()),
        _ => (BlockVersion::VParquet4, filter_for_vparquet4(columns)),
    };
    BuilderSettings {
        writer: WriterSettings { version, dedicated_columns, ..WriterSettings::default() },
        bloom_false_positive: BLOOM_FALSE_POSITIVE,
        bloom_shard_bytes: BLOOM_SHARD_BYTES,
    }
}
