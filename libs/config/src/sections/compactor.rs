//! `compactor`: merging of blocks and retention. `backend_scheduler` and `backend_worker`: the compaction of Tempo 3, whose
//! retention and sizes stand in for a missing `compactor` section; the rest of them has no effect.

use super::client::{Backoff, GrpcClient};
use super::ring::StableRing;
use super::{hours, millis, minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// The compactor.
    Compactor {
        disabled: bool, "neither merge nor delete blocks in this process";
        ring: StableRing, "ring that shares the work; an empty store means that this one does it all";
        override_ring_key: String = text("compactor"), "key of the ring";
        compaction: Compaction, "sizes, windows, retention";
        jobs: CompactorJobs, "deletion of traces, redaction of attributes";
    }

    /// Deletion of traces, redaction of attributes.
    CompactorJobs {
        api_enabled: bool, "serve /api/jobs without authentication: whoever reaches the port can delete. With auth.enabled it is served to administrators in any case";
        watch_period: GoDuration = hours(2), "how long a job checks new blocks, since spans received before it may still arrive";
        max_open_per_tenant: usize = 1_000, "jobs of a tenant that are not done; a further one gets 429; 0 is no limit";
        record_retention: GoDuration = hours(8_760), "how long the record of a job that is done or cancelled is kept; 0 is for ever";
    }

    /// Sizes, windows, retention.
    Compaction {
        block_retention: GoDuration = hours(336), "delete spans older than this";
        compacted_block_retention: GoDuration = hours(1), "how long a merged block is kept";
        compaction_window: GoDuration = hours(1), "merge blocks of the same window";
        max_block_bytes: u64 = 107_374_182_400, "largest block to write";
        max_compaction_objects: u64 = 6_000_000, "most traces of a block";
        retention_concurrency: usize = 10, "tenants at a time";
        max_time_per_tenant: GoDuration = minutes(5), "time after which the next tenant gets its turn";
        compaction_cycle: GoDuration = seconds(30), "time between rounds";
        min_input_blocks: usize = 2, "fewest blocks of one merge";
        max_input_blocks: usize = 16, "most blocks of one merge";
        max_memory_bytes: u64 = 268_435_456, "memory for the spans of a merge; one trace is always held whole";
        max_bucket_bytes: u64, "past this size of all blocks the oldest are deleted; 0 is no limit";
        orphan_age: GoDuration = hours(24), "age at which the unfinished block of a killed writer is deleted; 0 is never";
        adopt_block_settings: bool, "write merged blocks with the configured version and dedicated columns, not those of the inputs";
        v2_in_buffer_bytes: u64 = 5_242_880, "no effect here";
        v2_out_buffer_bytes: u64 = 20_971_520, "no effect here";
        v2_prefetch_traces_count: i64 = 1_000, "no effect here";
    }
}

section! {
    /// `backend_scheduler`.
    BackendScheduler {
        work: SchedulerWork, "no effect here";
        maintenance_interval: GoDuration = minutes(1), "no effect here";
        backend_flush_interval: GoDuration = minutes(1), "no effect here";
        job_timeout: GoDuration = seconds(15), "no effect here";
        local_work_path: String = text("/var/tempo"), "no effect here";
        provider: SchedulerProvider, "kinds of work";
    }

    /// Jobs.
    SchedulerWork {
        prune_age: GoDuration = hours(1), "no effect here";
        dead_job_timeout: GoDuration = hours(24), "no effect here";
    }

    /// Kinds of work.
    SchedulerProvider {
        retention: SchedulerRetention, "no effect here";
        compaction: SchedulerCompaction, "compaction";
        redaction: SchedulerRedaction, "no effect here";
    }

    /// Retention.
    SchedulerRetention {
        interval: GoDuration = hours(1), "no effect here";
    }

    /// Compaction.
    SchedulerCompaction {
        measure_interval: GoDuration = minutes(1), "no effect here";
        compaction: Compaction, "stands in for compactor.compaction when that section is absent";
        max_jobs_per_tenant: i64 = 1_000, "no effect here";
        min_input_blocks: i64 = 2, "no effect here";
        max_input_blocks: i64 = 4, "no effect here";
        max_compaction_level: i64, "no effect here";
        min_cycle_interval: GoDuration = seconds(30), "no effect here";
    }

    /// Redaction.
    SchedulerRedaction {
        poll_interval: GoDuration = seconds(2), "no effect here";
        rescan_delay: GoDuration = minutes(5), "no effect here";
        max_rescan_generations: i64 = 5, "no effect here";
    }

    /// `backend_scheduler_client`.
    SchedulerClient {
        grpc_client_config: GrpcClient, "no effect here";
    }

    /// `backend_worker`.
    BackendWorker {
        backend_scheduler_addr: String, "no effect here";
        backoff: Backoff = Backoff { min_period: millis(100), max_period: minutes(1), max_retries: 0 }, "no effect here";
        compaction: Compaction, "stands in for compactor.compaction when that section is absent";
        override_ring_key: String = text("backend-worker"), "no effect here";
        ring: StableRing, "no effect here";
        finish_on_shutdown_timeout: GoDuration = seconds(30), "no effect here";
    }
}
