//! What an operator can set.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tactus_cache::Caches;
use tactus_config::sections::querier::Querier as Section;
use tactus_model::OfTenant;
use tactus_server::bodies::Bodies;
use tactus_work::memory::QueryMemory;

/// Settings of a querier.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The section `querier`. What it leaves open, as the sizes of caches, is decided in it.
    pub section: Section,
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

impl Settings {
    /// Memory for decoded columns; 0 keeps none.
    pub(crate) fn column_cache_bytes(&self) -> u64 {
        self.section.column_cache_bytes.max(0).cast_unsigned()
    }

    /// Memory for what summaries of blocks tell of values.
    pub(crate) fn summary_cache_bytes(&self) -> u64 {
        self.section.summary_cache_bytes.max(0).cast_unsigned()
    }

    /// Jobs that run at a time.
    pub(crate) fn max_concurrent_jobs(&self) -> usize {
        self.section.max_concurrent_queries.max(1)
    }

    /// Bytes that all jobs together may hold of decoded row groups. Jobs wait for each other; one that needs more for a
    /// single row group fails.
    pub(crate) fn max_job_memory_bytes(&self) -> u64 {
        self.section.max_job_memory_bytes
    }

    /// Threads that work at a time, of all jobs together. Threads that wait for storage do not count.
    pub(crate) fn threads(&self) -> usize {
        match self.section.max_threads {
            0 => available_parallelism().map_or(2, NonZero::get),
            threads => threads,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let section = Section {
            column_cache_bytes: 128 << 20,
            summary_cache_bytes: 64 << 20,
            ..Section::default()
        };
        Self {
            section,
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
