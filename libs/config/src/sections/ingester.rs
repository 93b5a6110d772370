//! `ingester`: live traces, the write-ahead log, blocks on their way to the object store.

use super::ring::{Lifecycler, PartitionRing};
use super::{minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// The ingester.
    Ingester {
        lifecycler: Lifecycler, "membership in the ring";
        partition_ring: PartitionRing, "no effect here";
        concurrent_flushes: usize = 4, "blocks uploaded at a time";
        flush_check_period: GoDuration = seconds(10), "time between sweeps over live traces";
        flush_op_timeout: GoDuration = minutes(5), "time for one upload";
        trace_idle_period: GoDuration = seconds(5), "a trace that gets no spans for this long leaves live memory";
        trace_live_period: GoDuration = seconds(30), "a trace leaves live memory at this age in any case";
        max_block_duration: GoDuration = minutes(30), "cut the head block at this age";
        max_block_bytes: u64 = 524_288_000, "cut the head block at this size";
        complete_block_timeout: GoDuration = minutes(15), "how long an uploaded block is kept here; a process alone keeps none, since its readers know of it at once";
        override_ring_key: String = text("ring"), "key of the ring";
        flush_all_on_shutdown: bool, "upload everything before exit";
        max_live_bytes: u64 = 167_772_160, "memory of live spans and of what is kept of each tenant; pushes beyond it are refused with a retry hint";
        max_tenants: usize = 10_000, "tenants with spans not yet in a block; pushes of further ones are refused with a retry hint; 0 is no limit";
        max_mapped_segments: usize = 4_096, "segments of spans not yet in a block that keep columns in memory while no query reads them";
        max_segment_column_bytes: u64 = 134_217_728, "memory for these columns; the least recently read make room";
        max_disk_bytes: u64, "size of all files below storage.trace.wal.path; pushes beyond it are refused; 0 is no limit";
        min_free_disk_bytes: u64 = 67_108_864, "room on the disk of storage.trace.wal.path that stays free besides what live spans take, a tenth of the disk at most; pushes beyond it are refused with a retry hint; 0 is no limit";
        disk_timeout: GoDuration = seconds(4), "a push that waits this long for the write-ahead log is refused with a retry hint; while a write or sync takes longer, all pushes are refused and the process is not ready; 0 waits for ever";
        max_push_threads: usize = 64, "pushes that are written to the log at a time, each on a thread that may wait for the disk";
        flush_object_storage: bool = true, "no effect here: blocks are always uploaded";
        live_tail: IngesterLiveTail, "spans shown while they are pushed";
    }

    /// Spans shown while they are pushed, to live tails of all query-frontends.
    IngesterLiveTail {
        max_tails_per_tenant: usize = 10, "live tails of a tenant at a time";
        max_tails: usize = 20, "live tails at a time; beyond it one of a tenant with several makes room for a tenant with fewer";
        gives_way_after: GoDuration = seconds(60), "beyond max_tails, the live tail that has been open longest makes room for a tenant that has none once it has been open for so long; 0 for never";
        max_buffer_bytes: usize = 4_194_304, "spans that wait for the filter of a live tail; further ones are skipped, and the tail shows how many";
    }
}
