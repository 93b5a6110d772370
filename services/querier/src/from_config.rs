//! The settings of a querier, from the configuration.

use std::time::Duration;

use tactus_cache::Caches;
use tactus_config::Config;
use tactus_process::memory;
use tactus_query_jobs::{BloomAdmission, Settings};

/// The querier.
pub(crate) fn settings(config: &Config, caches: &Caches) -> Settings {
    let mut section = config.querier.clone();
    section.column_cache_bytes = memory::cache_bytes(section.column_cache_bytes).cast_signed();
    section.summary_cache_bytes = memory::result_bytes(section.summary_cache_bytes).cast_signed();
    let trace = &config.storage.trace;
    let bloom_admission = BloomAdmission {
        max_level: trace.cache_min_compaction_level,
        max_age: trace.cache_max_block_age.as_std(),
    };
    Settings { section, caches: caches.clone(), bloom_admission, ..Settings::default() }
}

/// How long an ingester may be the only one that has a span: until it is in a block.
pub(crate) fn in_ingesters(config: &Config) -> Duration {
    let ingester = &config.ingester;
    ingester.max_block_duration.as_std() + ingester.complete_block_timeout.as_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingesters_of_before_are_asked_until_their_spans_are_in_blocks() {
        let yaml = "ingester: {max_block_duration: 20m, complete_block_timeout: 10m}";
        let config = tactus_config::from_yaml(yaml).unwrap();
        assert_eq!(in_ingesters(&config), Duration::from_secs(30 * 60));
    }
}
