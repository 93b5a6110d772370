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

/// How long ago the replicas of a trace must have been the same, for only them to be asked for it: until its spans were in
/// blocks. `None`: all ingesters are asked.
pub(crate) fn relevant_look_back(config: &Config) -> Option<Duration> {
    let ingester = &config.ingester;
    let in_blocks = ingester.max_block_duration.as_std() + ingester.complete_block_timeout.as_std();
    config.querier.query_relevant_ingesters.then_some(in_blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_of_before_are_asked_until_their_spans_are_in_blocks() {
        let of = |yaml: &str| relevant_look_back(&tactus_config::from_yaml(yaml).unwrap());
        let yaml = "{querier: {query_relevant_ingesters: true}, \
                    ingester: {max_block_duration: 20m, complete_block_timeout: 10m}}";
        assert_eq!(of(yaml), Some(Duration::from_secs(30 * 60)));
        assert_eq!(of("{}"), None);
    }
}
