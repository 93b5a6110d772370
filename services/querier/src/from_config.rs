//! The settings of a querier, from the configuration.

use tactus_cache::Caches;
use tactus_config::Config;
use tactus_process::memory;
use tactus_query_jobs::{BloomAdmission, RecentSettings, Settings, Slots, WorkerSettings};

/// The querier.
pub(crate) fn settings(config: &Config, caches: &Caches) -> Settings {
    let (querier, built_in) = (&config.querier, Settings::default());
    Settings {
        max_concurrent_jobs: querier.max_concurrent_queries.max(1),
        threads: match querier.max_threads {
            0 => built_in.threads,
            threads => threads,
        },
        max_job_memory_bytes: querier.max_job_memory_bytes.max(1),
        column_cache_bytes: memory::cache_bytes(querier.column_cache_bytes),
        bloom_cache_bytes: querier.bloom_cache_bytes,
        footer_cache_bytes: querier.footer_cache_bytes,
        summary_cache_bytes: memory::result_bytes(querier.summary_cache_bytes),
        caches: caches.clone(),
        bloom_admission: bloom_admission(config),
        search_timeout: querier.search.query_timeout.as_std(),
        trace_timeout: querier.trace_by_id.query_timeout.as_std(),
        ..built_in
    }
}

/// Which blocks have their bloom filters cached.
fn bloom_admission(config: &Config) -> BloomAdmission {
    let trace = &config.storage.trace;
    BloomAdmission {
        max_level: trace.cache_min_compaction_level,
        max_age: trace.cache_max_block_age.as_std(),
    }
}

/// How recent data is read.
pub(crate) fn recent(config: &Config) -> RecentSettings {
    let querier = &config.querier;
    let look_back = querier.shuffle_sharding_ingesters_lookback_period.as_std();
    RecentSettings {
        search_timeout: querier.search.query_timeout.as_std(),
        trace_timeout: querier.trace_by_id.query_timeout.as_std(),
        extra_query_delay: querier.extra_query_delay.as_std(),
        late_grace: querier.late_ingester_grace.as_std(),
        shard_look_back: querier.shuffle_sharding_ingesters_enabled.then_some(look_back),
        relevant_look_back: querier.query_relevant_ingesters.then(|| {
            let ingester = &config.ingester;
            ingester.max_block_duration.as_std() + ingester.complete_block_timeout.as_std()
        }),
        strict: querier.strict_recent_reads,
    }
}

/// How jobs are taken from query-frontends.
pub(crate) fn worker(config: &Config) -> WorkerSettings {
    let (querier, worker) = (&config.querier, &config.querier.frontend_worker);
    WorkerSettings {
        id: worker.id.clone(),
        slots: match worker.match_max_concurrent {
            true => Slots::Shared(querier.max_concurrent_queries.max(1)),
            false => Slots::Each(worker.parallelism),
        },
        max_receive_bytes: worker.grpc_client_config.max_recv_msg_size,
        max_send_bytes: worker.grpc_client_config.max_send_msg_size,
        grace: querier.search.query_timeout.as_std(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn replicas_of_before_are_asked_until_their_spans_are_in_blocks() {
        let recent_of = |yaml: &str| recent(&tactus_config::from_yaml(yaml).unwrap());
        let yaml = "{querier: {query_relevant_ingesters: true}, \
                    ingester: {max_block_duration: 20m, complete_block_timeout: 10m}}";
        let look_back = Some(Duration::from_secs(30 * 60));
        assert_eq!(recent_of(yaml).relevant_look_back, look_back);
        assert_eq!(recent_of("{}").relevant_look_back, None);
    }
}
