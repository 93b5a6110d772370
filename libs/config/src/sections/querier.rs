//! `querier`: runs the jobs of queries.

use super::client::GrpcClient;
use super::{hours, millis, seconds};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// The querier.
    Querier {
        max_concurrent_queries: usize = 20, "jobs of a tenant at a time; of all tenants three times as many, and one more of each further tenant";
        max_threads: usize, "threads that work on jobs at a time; 0 takes one for each processor";
        max_job_memory_bytes: u64 = 1 << 30, "decoded data that all jobs hold at a time; a job that needs more at once fails";
        column_cache_bytes: i64 = -1, "memory for decoded columns of blocks; 0 keeps none, -1 takes a sixteenth of the memory there is, 1 GiB at most";
        summary_cache_bytes: i64 = -1, "memory for what summaries of blocks tell of values; -1 takes a 64th of the memory there is, 256 MiB at most";
        bloom_cache_bytes: u64 = 32 << 20, "memory for bloom filters of trace ids; each takes 3 to 5 bytes for each trace of its block, and at most bloom_filter_shard_size_bytes";
        footer_cache_bytes: u64 = 32 << 20, "memory for footers of blocks that were read; an open block on local disk counts 64 KiB at least, for its file descriptor";
        search: QuerierSearch, "search jobs";
        trace_by_id: QuerierTraceById, "trace by id";
        metrics: QuerierMetrics, "metrics jobs";
        frontend_worker: FrontendWorker, "connection to query-frontends";
        shuffle_sharding_ingesters_enabled: bool, "ask only a tenant's ingesters";
        shuffle_sharding_ingesters_lookback_period: GoDuration = hours(1), "look-back period of shuffle sharding, during which moved ingesters are asked too; at least the time that ingesters keep spans before they are in blocks";
        query_relevant_ingesters: bool, "no effect here: an ingester that is no replica of a trace may have taken spans for one that was full or gone";
        secondary_ingester_ring: String, "no effect here";
        extra_query_delay: GoDuration, "delay before the ingesters that need not answer are asked";
        late_ingester_grace: GoDuration = millis(100), "how long to wait for the other ingesters once the answer is complete";
        strict_recent_reads: bool, "fail a query when too many ingesters do, instead of an answer that is marked as partial";
        partition_ring: QuerierPartitionRing, "no effect here";
        query_live_store: bool, "no effect here";
    }

    /// Search jobs.
    QuerierSearch {
        query_timeout: GoDuration = seconds(30), "time for one job";
    }

    /// Trace by id.
    QuerierTraceById {
        query_timeout: GoDuration = seconds(10), "time for one job";
        external: ExternalTraces, "a further source of traces";
    }

    /// A further source of traces.
    ExternalTraces {
        enabled: bool, "no effect here";
        endpoint: String, "no effect here";
        timeout: GoDuration = seconds(10), "no effect here";
    }

    /// Metrics jobs.
    QuerierMetrics {
        concurrent_blocks: usize = 2, "no effect here: querier.max_concurrent_queries bounds what is read at a time";
        time_overlap_cutoff: f64 = 0.2, "no effect here: times are always checked";
    }

    /// The connection to query-frontends.
    FrontendWorker {
        frontend_address: String, "host:port of the query-frontends; every address of the name is used";
        dns_lookup_duration: GoDuration = seconds(10), "interval at which the name is looked up";
        parallelism: usize = 2, "streams to each query-frontend";
        match_max_concurrent: bool = true, "derive the streams from max_concurrent_queries";
        id: String, "name of this querier; empty takes the host name";
        grpc_client_config: GrpcClient = GrpcClient::querier_worker(), "gRPC settings";
    }

    /// Reads from the Kafka architecture.
    QuerierPartitionRing {
        minimize_requests: bool = true, "no effect here";
        hedging_delay: GoDuration = seconds(3), "no effect here";
        preferred_zone: String, "no effect here";
    }
}
