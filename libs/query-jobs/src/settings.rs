//! What an operator can set.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tactus_cache::Caches;
use tactus_model::OfTenant;
use tactus_server::bodies::Bodies;
use tactus_work::memory::QueryMemory;

/// Settings of a querier.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Jobs that run at a time (`querier.max_concurrent_queries`).
    pub max_concurrent_jobs: usize,
    /// Threads that work at a time, of all jobs together (`querier.max_threads`). Threads that wait for storage do
    /// not count.
    pub threads: usize,
    /// Bytes that all jobs together may hold of decoded row groups (`querier.max_job_memory_bytes`). Jobs wait for each
    /// other; one that needs more for a single row group fails.
    pub max_job_memory_bytes: u64,
    /// Time for one search, tags or values job (`querier.search.query_timeout`).
    pub search_timeout: Duration,
    /// Time for the blocks of one trace by id job (`querier.trace_by_id.query_timeout`).
    pub trace_timeout: Duration,
    /// Memory for footers of blocks (`querier.footer_cache_bytes`). An open local block counts 64 KiB at least, for its
    /// file descriptor.
    pub footer_cache_bytes: u64,
    /// Memory for decoded columns (`querier.column_cache_bytes`); 0 keeps none.
    pub column_cache_bytes: u64,
    /// Memory for bloom filters (`querier.bloom_cache_bytes`).
    pub bloom_cache_bytes: u64,
    /// Memory for what summaries of blocks tell of values (`querier.summary_cache_bytes`).
    pub summary_cache_bytes: u64,
    /// Caches on the network, below those in memory.
    pub caches: Caches,
    /// Whose bloom filters are put into a cache on the network.
    pub bloom_admission: BloomAdmission,
    /// Memory of the parts of traces that are found, until their job is answered (`server.max_inflight_bytes`).
    pub answer_memory: Arc<Bodies>,
    /// Memory of what jobs hold of what they find (`server.max_inflight_bytes`).
    pub query_memory: Arc<QueryMemory>,
    /// Alternatives of a tag filter at most (`max_condition_groups_per_tag_query`).
    pub max_condition_groups: OfTenant<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_jobs: 20,
            threads: available_parallelism().map_or(2, NonZero::get),
            max_job_memory_bytes: 1 << 30,
            search_timeout: Duration::from_secs(30),
            trace_timeout: Duration::from_secs(10),
            footer_cache_bytes: 32 << 20,
            column_cache_bytes: 128 << 20,
            bloom_cache_bytes: 32 << 20,
            summary_cache_bytes: 64 << 20,
            caches: Caches::default(),
            bloom_admission: BloomAdmission::default(),
            answer_memory: Bodies::unbounded(),
            query_memory: QueryMemory::unbounded(),
            max_condition_groups: OfTenant::all(100),
        }
    }
}

/// Blocks whose bloom filters are worth a place in a shared cache: each is read as often as the others, and those of
/// small young blocks are soon gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BloomAdmission {
    /// Highest compaction level (`storage.trace.cache_min_compaction_level`, in spite of its name); 0 is no bound.
    pub max_level: u32,
    /// Oldest end of a block (`storage.trace.cache_max_block_age`); zero is no bound.
    pub max_age: Duration,
}

impl BloomAdmission {
    /// True for a block of this compaction level that ended this long ago.
    pub(crate) fn admits(&self, level: u32, age: Duration) -> bool {
        (self.max_level == 0 || level <= self.max_level)
            && (self.max_age.is_zero() || age <= self.max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blooms_are_admitted_within_the_bounds_that_are_set() {
        let hour = Duration::from_secs(3600);
        let bounds = |max_level, hours| BloomAdmission { max_level, max_age: hour * hours };
        for (admission, level, age, expected) in [
            (bounds(0, 0), 9, 900 * hour, true),
            (bounds(1, 0), 1, 900 * hour, true),
            (bounds(1, 0), 2, hour, false),
            (bounds(0, 2), 9, 2 * hour, true),
            (bounds(0, 2), 0, 3 * hour, false),
            (bounds(1, 2), 0, hour, true),
        ] {
            assert_eq!(admission.admits(level, age), expected, "{admission:?} {level} {age:?}");
        }
    }
}
