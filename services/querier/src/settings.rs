//! What an operator can set.

use std::time::Duration;

/// Settings of a querier.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Jobs that run at a time (`querier.max_concurrent_queries`).
    pub max_concurrent_jobs: usize,
    /// Time for one search, tags or values job (`querier.search.query_timeout`).
    pub search_timeout: Duration,
    /// Time for the blocks of one trace by id job (`querier.trace_by_id.query_timeout`).
    pub trace_timeout: Duration,
    /// Memory for footers of blocks. An open local block counts 64 KiB at least, for its file descriptor.
    pub footer_cache_bytes: u64,
    /// Memory for bloom filters.
    pub bloom_cache_bytes: u64,
    /// Alternatives of a tag filter at most (`max_condition_groups_per_tag_query`).
    pub max_condition_groups: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_jobs: 20,
            search_timeout: Duration::from_secs(30),
            trace_timeout: Duration::from_secs(10),
            footer_cache_bytes: 32 << 20,
            bloom_cache_bytes: 32 << 20,
            max_condition_groups: 100,
        }
    }
}
