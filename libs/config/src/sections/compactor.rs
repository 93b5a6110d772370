//! `compactor`: merging of blocks and retention.

use super::ring::StableRing;
use super::{hours, minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// The compactor.
    Compactor {
        disabled: bool, "do not compact";
        ring: StableRing, "ring that shares the work; an empty store means that this one does it all";
        override_ring_key: String = text("compactor"), "key of the ring";
        compaction: Compaction, "sizes, windows, retention";
    }

    /// Sizes, windows, retention.
    Compaction {
        block_retention: GoDuration = hours(336), "delete spans older than this";
        compacted_block_retention: GoDuration = hours(1), "keep a merged block for so long";
        compaction_window: GoDuration = hours(1), "merge blocks of the same window";
        max_block_bytes: u64 = 107_374_182_400, "largest block to write";
        max_compaction_objects: u64 = 6_000_000, "most traces of a block";
        retention_concurrency: usize = 10, "tenants at a time";
        max_time_per_tenant: GoDuration = minutes(5), "then the next tenant gets its turn";
        compaction_cycle: GoDuration = seconds(30), "time between rounds";
        v2_in_buffer_bytes: u64 = 5_242_880, "no effect here";
        v2_out_buffer_bytes: u64 = 20_971_520, "no effect here";
        v2_prefetch_traces_count: i64 = 1_000, "no effect here";
    }
}
