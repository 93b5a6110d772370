//! `storage`: blocks, the write-ahead log and the block list.

use super::cache::{BackgroundCache, Memcached, Redis};
use super::object_store::{Azure, Gcs, LocalStore, S3};
use super::{millis, minutes, text};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// Storage.
    Storage {
        trace: TraceStorage, "storage of traces";
    }

    /// Storage of traces.
    TraceStorage {
        backend: String, "local, s3, gcs or azure";
        local: LocalStore, "the local store";
        s3: S3, "the S3 store";
        gcs: Gcs, "the Google store";
        azure: Azure, "the Azure store";
        wal: Wal, "the write-ahead log";
        block: Block, "blocks that are written";
        search: BlockSearch, "reading of blocks";
        pool: WorkPool, "reads at a time";
        blocklist_poll: GoDuration = minutes(5), "interval at which the block list is refreshed; 0 is 5m for readers and stops the compactor";
        blocklist_poll_concurrency: usize = 50, "blocks polled at a time";
        blocklist_poll_tenant_concurrency: usize, "tenants polled at a time; 0 is 1";
        blocklist_poll_fallback: bool = true, "list the bucket when the tenant index is missing";
        blocklist_poll_tenant_index_builders: i64 = 2, "compactors that write the tenant index; 0 or less is 2";
        blocklist_poll_stale_tenant_index: GoDuration, "an older tenant index is not used; 0 is two polls, 10 minutes at least. With the fallback it is at most three quarters of ingester.complete_block_timeout less one poll, without it 0 is never";
        blocklist_poll_jitter_ms: u64, "random delay before a block is polled, in milliseconds";
        blocklist_poll_tolerate_consecutive_errors: usize = 1, "failed polls in a row before giving up";
        blocklist_poll_tolerate_tenant_failures: usize = 1, "failed tenants of a poll; one more ends it, and the next poll begins with the tenants that it did not reach";
        blocklist_max_bytes: u64, "memory of the block list, about; blocks that find no room are left out, and queries say that they are partial; 0 takes a quarter of the memory, 256 MiB at most";
        empty_tenant_deletion_enabled: bool, "delete tenants without blocks";
        empty_tenant_deletion_age: GoDuration, "age of an empty tenant at which it is deleted; 0 is 12h";
        cache: String, "memcached or redis; the cache section replaces it";
        memcached: Option<Memcached>, "memcached servers of that cache";
        redis: Option<Redis>, "redis servers of that cache";
        background_cache: BackgroundCache, "writes of that cache";
        cache_min_compaction_level: u32, "cache blooms of blocks up to this compaction level; 0 is all";
        cache_max_block_age: GoDuration, "cache blooms of blocks younger than this; 0 is all";
    }

    /// The write-ahead log.
    Wal {
        path: String = text("/var/tempo/wal"), "directory of the log";
        fsync_interval: GoDuration = millis(100), "a crash of the machine loses at most this; 0 syncs before each answer, below 0 never";
        ingestion_time_range_slack: GoDuration = minutes(2), "spans further from now do not stretch a block's time range";
        v2_encoding: String = text("snappy"), "no effect here";
        search_encoding: String = text("none"), "no effect here";
        version: String, "no effect here";
    }

    /// Blocks that are written.
    Block {
        version: String = text("vParquet4"), "vParquet4 or vParquet5";
        bloom_filter_false_positive: f64 = 0.01, "wrong answers of the bloom filter, between 0 and 1";
        bloom_filter_shard_size_bytes: u64 = 102_400, "size of one bloom filter, 8 MiB at most";
        parquet_row_group_size_bytes: u64 = 100_000_000, "a row group is closed at about this size before compression, and at 64 000 spans at the latest";
        parquet_dedicated_columns: Vec<DedicatedColumn> = default_dedicated_columns(), "attributes with a column of their own";
        v2_index_downsample_bytes: u64 = 1_048_576, "no effect here";
        v2_index_page_size_bytes: u64 = 256_000, "no effect here";
        v2_encoding: String = text("zstd"), "no effect here";
        search_encoding: String = text("snappy"), "no effect here";
        search_page_size_bytes: u64 = 1_048_576, "no effect here";
    }

    /// An attribute with a column of its own.
    DedicatedColumn {
        scope: String, "resource, span or event";
        name: String, "name of the attribute";
        type_ as "type": String, "string or int";
        options: Vec<String>, "array, blob";
    }

    /// Reading of blocks.
    BlockSearch {
        read_buffer_count: i64 = 32, "no effect here";
        read_buffer_size_bytes: i64 = 1_048_576, "no effect here";
        chunk_size_bytes: i64 = 1_000_000, "no effect here";
        prefetch_trace_count: i64 = 1_000, "no effect here";
        cache_control: BlockCacheControl, "what the old cache keeps";
    }

    /// What the old cache keeps.
    BlockCacheControl {
        footer: bool, "footers";
        column_index: bool, "column indexes";
        offset_index: bool, "offset indexes";
    }

    /// Reads at a time.
    WorkPool {
        max_workers: usize = 400, "no effect here";
        queue_depth: usize = 20_000, "no effect here";
    }
}

impl DedicatedColumn {
    fn new(scope: &str, name: &str, type_: &str) -> Self {
        Self { scope: text(scope), name: text(name), type_: text(type_), options: Vec::new() }
    }
}

/// The order is the order of the columns in a block.
fn default_dedicated_columns() -> Vec<DedicatedColumn> {
    [
        ("resource", "k8s.cluster.name", "string"),
        ("resource", "k8s.namespace.name", "string"),
        ("resource", "k8s.pod.name", "string"),
        ("resource", "k8s.container.name", "string"),
        ("span", "http.request.method", "string"),
        ("span", "http.response.status_code", "int"),
        ("span", "url.path", "string"),
        ("span", "url.route", "string"),
        ("span", "server.address", "string"),
        ("span", "server.port", "int"),
        ("span", "http.method", "string"),
        ("span", "http.url", "string"),
        ("span", "http.route", "string"),
        ("span", "http.status_code", "int"),
    ]
    .map(|(scope, name, type_)| DedicatedColumn::new(scope, name, type_))
    .to_vec()
}
