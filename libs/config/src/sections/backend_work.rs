//! `backend_scheduler` and `backend_worker`: the compaction of Tempo 3. Their retention and sizes
//! stand in for a missing `compactor` section; the rest has no effect.

use super::client::{Backoff, GrpcClient};
use super::compactor::Compaction;
use super::ring::StableRing;
use super::{hours, millis, minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::section;

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
