//! Parts of the summaries of blocks: each read with one request, and left out where they cannot be read.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;
use tactus_block::summary::{BlockFilter, BlockValues, Tail};
use tactus_cache::{Caches, Key, Role};
use tactus_storage::layout::SUMMARY;
use tactus_storage::{BlockMeta, BlockReader, Bucket};
use tokio::runtime::Handle;

use crate::block_part::{BlockKey, key_of};
use crate::error::{Error, Result};
use crate::pool::{Job, bypasses_caches, read_for_job, shared_cache_bytes};

/// What an entry takes besides what it holds.
const ENTRY_BYTES: usize = 256;

/// A filter up to this size is read with the values before it: in object storage a request takes longer than so many bytes.
const JOINED_FILTER_BYTES: u64 = 1 << 20;

/// Reads summaries, and keeps what they tell of values.
#[derive(Debug)]
pub(crate) struct Summaries {
    bucket: Bucket,
    caches: Caches,
    /// `None` for a block whose summary cannot be read.
    values: Cache<BlockKey, Option<Arc<BlockValues>>>,
    /// Likewise.
    filters: Cache<BlockKey, Option<Arc<BlockFilter>>>,
}

impl Summaries {
    /// `max_bytes`: memory for what is kept, half of it for filters.
    pub(crate) fn new(bucket: Bucket, caches: Caches, max_bytes: u64) -> Self {
        let weigh = |_: &BlockKey, values: &Option<Arc<BlockValues>>| {
            let bytes = values.as_ref().map_or(0, |values| values.heap_bytes());
            u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let values = Cache::builder().max_capacity(max_bytes / 2).weigher(weigh).build();
        let weigh = |_: &BlockKey, filter: &Option<Arc<BlockFilter>>| {
            let bytes = filter.as_ref().map_or(0, |filter| filter.heap_bytes());
            u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let filters = Cache::builder().max_capacity(max_bytes / 2).weigher(weigh).build();
        Self { bucket, caches, values, filters }
    }

    /// What the summary of a block tells of its attributes and values, if it has one. `needs_filter`: whether the filter is
    /// asked next, which is then read by the same request where that is worth it. May block.
    pub(crate) fn values(
        &self,
        meta: &BlockMeta,
        job: &Job,
        needs_filter: Option<&dyn Fn(&BlockValues) -> bool>,
    ) -> Result<Option<Arc<BlockValues>>> {
        let Some(parts) = meta.summary().filter(|parts| parts.values > 0) else { return Ok(None) };
        let (key, runtime) = (key_of(meta), &job.shared().runtime);
        let read = || {
            let is_joined = || {
                (1..=JOINED_FILTER_BYTES).contains(&parts.filter)
                    && self.bucket.local_path(SUMMARY).is_none()
                    // It may have the values alone.
                    && self.caches.of(Role::ParquetFooter).is_none()
                    && !self.filters.contains_key(&key)
            };
            let Some(needs_filter) = needs_filter.filter(|_| is_joined()) else {
                let range = parts.values_range();
                return Ok(self.decoded(meta, range, runtime, BlockValues::decode)?.map(Arc::new));
            };
            let range = parts.values_range().start..parts.filter_range().end;
            let decode = |both: &[u8]| {
                let (values, filter) =
                    both.split_at(both.len().saturating_sub(parts.filter as usize));
                let values = BlockValues::decode(values)?;
                if needs_filter(&values) {
                    let filter =
                        usable(meta, BlockFilter::decode(filter).map(Some).map_err(Error::from));
                    self.filters.insert(key.clone(), filter.ok().flatten().map(Arc::new));
                }
                Ok(values)
            };
            Ok(self.decoded(meta, range, runtime, decode)?.map(Arc::new))
        };
        get_or_read(&self.values, &key, job, read)
    }

    /// Which strings attributes of many values may have, if the summary of the block tells. May block.
    pub(crate) fn filter(&self, meta: &BlockMeta, job: &Job) -> Result<Option<Arc<BlockFilter>>> {
        let Some(parts) = meta.summary().filter(|parts| parts.filter > 0) else { return Ok(None) };
        let read = || {
            let (range, runtime) = (parts.filter_range(), &job.shared().runtime);
            Ok(self.decoded(meta, range, runtime, BlockFilter::decode)?.map(Arc::new))
        };
        get_or_read(&self.filters, &key_of(meta), job, read)
    }

    /// The end of a block's data file from its summary, if it has one. May block.
    pub(crate) fn tail(&self, meta: &BlockMeta, runtime: &Handle) -> Result<Option<Tail>> {
        let Some(parts) = meta.summary().filter(|parts| parts.tail > 0) else { return Ok(None) };
        self.decoded(meta, parts.tail_range(), runtime, Tail::decode)
    }

    /// What is in a part.
    fn decoded<T>(
        &self,
        meta: &BlockMeta,
        range: Range<u64>,
        runtime: &Handle,
        decode: impl Fn(&[u8]) -> tactus_block::Result<T>,
    ) -> Result<Option<T>> {
        let part = self.read(meta, range, runtime)?;
        usable(meta, part.as_deref().map(decode).transpose().map_err(Error::from))
    }

    /// A part, from a shared cache if there is one.
    fn read(&self, meta: &BlockMeta, range: Range<u64>, runtime: &Handle) -> Result<Option<Bytes>> {
        let length = range.end - range.start;
        let cache = self.caches.of(Role::ParquetFooter);
        let key = Key::new(&[
            &Role::ParquetFooter,
            &meta.tenant_id,
            &meta.block_id,
            &meta.size,
            &SUMMARY,
            &range.start,
            &length,
        ]);
        let reader = BlockReader::new(self.bucket.clone(), meta);
        let from_store = |error| tactus_block::Error::Io(std::io::Error::other(error));
        let is_local = self.bucket.local_path(SUMMARY).is_some();
        let read = || {
            // To wait for another thread takes longer than to read a local file.
            if cache.is_none()
                && let Some(file) = self.bucket.open_local_file(&reader.key(SUMMARY))
            {
                return file.and_then(|file| file.read_range(range)).map_err(from_store);
            }
            runtime.block_on(async {
                if let Some(cache) = cache.filter(|_| !bypasses_caches())
                    && let Some(bytes) = cache.get(&key).await
                    && bytes.len() as u64 == length
                {
                    shared_cache_bytes(length);
                    return Ok(bytes);
                }
                let bytes = reader.read_range(SUMMARY, range).await.map_err(from_store)?;
                if let Some(cache) = cache {
                    cache.put(&key, &bytes);
                }
                Ok(bytes)
            })
        };
        let read = read_for_job(!is_local || cache.is_some(), read, Bytes::len);
        usable(meta, read.map(Some).map_err(Error::from))
    }
}

/// What a cache has, or else what `read` makes.
fn get_or_read<T: Clone + Send + Sync + 'static>(
    cache: &Cache<BlockKey, T>,
    key: &BlockKey,
    job: &Job,
    read: impl Fn() -> Result<T>,
) -> Result<T> {
    loop {
        job.check()?;
        if let Some(found) = cache.get(key) {
            return Ok(found);
        }
        // Another job may read it just now, and that one be cancelled.
        let found = job.shared().pause(|| cache.try_get_with(key.clone(), &read));
        match found.map_err(|error: Arc<Error>| (*error).clone()) {
            Err(Error::Cancelled) => {}
            result => return result,
        }
    }
}

/// A part that is gone or damaged is none: the block tells the same, if it is still there.
fn usable<T>(meta: &BlockMeta, part: Result<Option<T>>) -> Result<Option<T>> {
    match part {
        Err(error @ (Error::Gone(_) | Error::Damaged(_))) => {
            let block = meta.block_id;
            tracing::debug!(tenant = meta.tenant_id, %block, %error, "summary is not read");
            Ok(None)
        }
        part => part,
    }
}
