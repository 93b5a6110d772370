//! What an operator can set.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

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
    /// Memory for footers of blocks. An open local block counts 64 KiB at least, for its file descriptor.
    pub footer_cache_bytes: u64,
    /// Memory for decoded columns (`querier.column_cache_bytes`); 0 keeps none.
    pub column_cache_bytes: u64,
    /// Memory for bloom filters.
    pub bloom_cache_bytes: u64,
    /// Alternatives of a tag filter at most (`max_condition_groups_per_tag_query`).
    pub max_condition_groups: usize,
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
            max_condition_groups: 100,
        }
    }
}
