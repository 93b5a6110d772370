//! What a bucket and its blocks need.

use super::Invalid;
use super::components::{TLS_VERSIONS, ensure, expecting};
use crate::sections::object_store::S3;
use crate::sections::root::Config;
use crate::unsupported::{BACKENDS, KNOWN_BLOCKS, WRITABLE_BLOCKS};

/// Bytes of a bloom filter, 80 times the usual. Each is read whole, many at a time; larger ones are not read.
pub const MAX_BLOOM_SHARD_BYTES: u64 = 8 << 20;

pub(super) fn storage(config: &Config) -> Result<(), Invalid> {
    let trace = &config.storage.trace;
    let backend = trace.backend.as_str();
    // An empty backend is an error only for components that need a store: theirs to report.
    if !backend.is_empty() {
        expecting("storage.trace.backend", backend, BACKENDS, || {
            format!("unknown backend {backend}")
        })?;
    }
    ensure(
        "storage.trace.wal.path",
        !trace.wal.path.is_empty(),
        "please provide a path for the WAL",
    )?;
    let block = &trace.block;
    let version = block.version.as_str();
    expecting("storage.trace.block.version", version, WRITABLE_BLOCKS, || {
        let known = if KNOWN_BLOCKS.contains(&version) { " for creating blocks" } else { "" };
        format!("{version} is not a valid block version{known}")
    })?;
    let rate = block.bloom_filter_false_positive;
    if !(rate > 0.0 && rate < 1.0) {
        let text = format!("invalid bloom filter fp rate {rate}");
        return Err(Invalid::new("storage.trace.block.bloom_filter_false_positive", text));
    }
    ensure(
        "storage.trace.block.bloom_filter_shard_size_bytes",
        block.bloom_filter_shard_size_bytes > 0,
        "positive value required for bloom-filter shard size",
    )?;
    ensure(
        "storage.trace.block.bloom_filter_shard_size_bytes",
        block.bloom_filter_shard_size_bytes <= MAX_BLOOM_SHARD_BYTES,
        "bloom-filter shards are read whole, many at a time, and may have 8 MiB at most",
    )?;
    ensure(
        "storage.trace.block.parquet_row_group_size_bytes",
        block.parquet_row_group_size_bytes > 0,
        "positive value required for the size of a row group",
    )?;
    ensure(
        "storage.trace.block.v2_index_downsample_bytes",
        block.v2_index_downsample_bytes > 0,
        "positive index downsample required",
    )?;
    ensure(
        "storage.trace.block.v2_index_page_size_bytes",
        block.v2_index_page_size_bytes > 0,
        "positive index page size required",
    )?;
    super::dedicated_columns(&block.version, &block.parquet_dedicated_columns)
        .map_err(|text| Invalid::new("storage.trace.block.parquet_dedicated_columns", text))?;
    s3("storage.trace.s3", &trace.s3)
}

/// The bucket with the limits that tenants set.
pub(super) fn user_overrides(config: &Config) -> Result<(), Invalid> {
    let user = &config.overrides.user_configurable_overrides;
    if user.enabled && user.client.backend == "s3" {
        s3("overrides.user_configurable_overrides.client.s3", &user.client.s3)?;
    }
    Ok(())
}

/// `section`: the path of the S3 section.
fn s3(section: &str, s3: &S3) -> Result<(), Invalid> {
    let key = |name: &str| format!("{section}.{name}");
    ensure(
        &key("sse.type"),
        matches!(s3.sse.type_.as_str(), "" | "SSE-S3" | "SSE-KMS" | "SSE-C"),
        "unsupported S3 SSE type",
    )?;
    ensure(
        &key("bucket_lookup_type"),
        s3.bucket_lookup_type <= 2,
        "must be 0 (automatic), 1 (host name) or 2 (path)",
    )?;
    let tls = &s3.tls;
    let version = tls.tls_min_version.as_str();
    if !version.is_empty() && !TLS_VERSIONS.contains(&version) {
        let text = format!("unknown minimum TLS version: {:?}", tls.tls_min_version);
        return Err(Invalid::new(&key("tls_min_version"), text));
    }
    ensure(
        &key("tls_cert_path"),
        tls.tls_cert_path.is_empty() || !tls.tls_key_path.is_empty(),
        "certificate given but no key configured",
    )?;
    ensure(
        &key("tls_key_path"),
        tls.tls_key_path.is_empty() || !tls.tls_cert_path.is_empty(),
        "key given but no certificate configured",
    )
}
