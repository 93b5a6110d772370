//! The settings with which tactusctl writes blocks.

use tactus_block::{BuilderSettings, WriterSettings};
use tactus_compaction::RewriteSettings;
use tactus_config::{Config, MAX_BLOOM_SHARD_BYTES};
use tactus_storage::bloom::{BlockBloom, BloomEstimate};
use tactus_storage::meta::{BlockVersion, DedicatedColumn, columns_of_version};

/// The false positive rate of bloom filters: the server's default.
const BLOOM_FALSE_POSITIVE: f64 = 0.01;
/// The size of a bloom filter: the server's default.
const BLOOM_SHARD_BYTES: u32 = 100 << 10;

/// The settings of a rewrite: sizes and memory are those of the server's configuration, if there is one.
pub(crate) fn rewrite(builder: BuilderSettings, config: Option<&Config>) -> RewriteSettings {
    let mut settings = RewriteSettings::new(builder);
    if let Some(config) = config {
        let block = &config.storage.trace.block;
        settings.builder.bloom_false_positive = block.bloom_filter_false_positive;
        settings.builder.bloom_shard_bytes = block.bloom_filter_shard_size_bytes as u32;
        settings.row_group_bytes = block.parquet_row_group_size_bytes;
        settings.memory_bytes = config.compactor.compaction.max_memory_bytes;
    }
    settings
}

/// The version in which a block of this one is written again: vParquet3 is only read.
pub(crate) fn written(version: BlockVersion) -> BlockVersion {
    match version {
        BlockVersion::VParquet5 => version,
        _ => BlockVersion::VParquet4,
    }
}

/// Settings for a version and columns, without those that the version cannot have.
pub(crate) fn settings(version: BlockVersion, columns: &[DedicatedColumn]) -> BuilderSettings {
    let version = written(version);
    let dedicated_columns = columns_of_version(version, columns);
    BuilderSettings {
        writer: WriterSettings { version, dedicated_columns, ..WriterSettings::default() },
        bloom_false_positive: BLOOM_FALSE_POSITIVE,
        bloom_shard_bytes: BLOOM_SHARD_BYTES,
    }
}

/// Empty bloom filters for this many traces in exactly this many shards, or in 1000 if there are more. `BlockBloom` derives the shards from the
/// traces, so it is told of as many as fill them.
pub(crate) fn bloom(shards: u32, traces: u64) -> tactus_storage::Result<BlockBloom> {
    const MANY: u64 = 1_000_000;
    let bits = |traces| BloomEstimate::new(traces, BLOOM_FALSE_POSITIVE).bits;
    let shard_bits = bits(traces).div_ceil(u64::from(shards.max(1)));
    let most = u32::try_from(MAX_BLOOM_SHARD_BYTES).unwrap_or(u32::MAX);
    let shard_bytes = u32::try_from(shard_bits.div_ceil(8)).unwrap_or(most);
    let shard_bytes = shard_bytes.clamp(BLOOM_SHARD_BYTES, most);
    let all_bits = u64::from(shards) * u64::from(shard_bytes) * 8;
    let fill = u128::from(all_bits) * u128::from(MANY) / u128::from(bits(MANY));
    BlockBloom::new(BLOOM_FALSE_POSITIVE, shard_bytes, u64::try_from(fill).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bloom_filters_have_the_shards_that_are_asked_for() {
        for shards in [1, 2, 3, 7, 10, 24, 100, 999, 1000] {
            for traces in [0, 1, 1_000, 1_000_000, 8_000_000] {
                assert_eq!(bloom(shards, traces).unwrap().shard_count(), shards, "{traces}");
            }
        }
    }

    #[test]
    fn bloom_filters_grow_with_the_traces_of_a_shard() {
        let bytes = |shards, traces| bloom(shards, traces).unwrap().encode()[0].len();
        assert_eq!(bytes(1, 64), (100 << 10) + 24);
        assert!((2_396_265..2_396_300).contains(&bytes(1, 2_000_000)), "1.2 bytes a trace");
        assert_eq!(bytes(2, u64::MAX), (8 << 20) + 24);
    }
}
