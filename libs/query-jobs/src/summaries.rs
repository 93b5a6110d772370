//! Reads block summaries, each part with one request. A part that cannot be read counts as absent.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;
use tactus_block::summary::{BlockFilter, BlockValues, Tail, readable_parts};
use tactus_cache::{Caches, Key, Role};
use tactus_storage::layout::SUMMARY;
use tactus_storage::meta::SummaryParts;
use tactus_storage::{BlockMeta, BlockReader, Bucket};
use tokio::runtime::Handle;

use crate::block_part::{BlockKey, key_of};
use crate::error::{Error, Result};
use crate::pool::{Job, bypasses_caches, read_for_job, shared_cache_bytes};

/// Memory of a cache entry besides its content.
const ENTRY_BYTES: usize = 256;

/// A filter up to this size is read with the values before it: in object storage a request takes longer than this many bytes.
const JOINED_FILTER_BYTES: u64 = 1 << 20;

/// Whether the values leave something open that the filter may decide.
pub(crate) type NeedsFilter<'a> = &'a (dyn Fn(&BlockValues) -> bool + Sync);

/// Reads summaries, and caches what they say of values.
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
        let values = kept(max_bytes / 2, BlockValues::heap_bytes);
        let filters = kept(max_bytes / 2, BlockFilter::heap_bytes);
        Self { bucket, caches, values, filters }
    }

    /// What the summary of a block tells of its attributes and values, if it has one. `needs_filter`: whether the filter is
    /// asked next, which is then read by the same request where that is worth it. May block.
    pub(crate) fn values(
        &self,
        meta: &BlockMeta,
        job: &Job,
        needs_filter: Option<NeedsFilter<'_>>,
    ) -> Result<Option<Arc<BlockValues>>> {
        let Some(parts) = parts_of(meta).filter(|parts| parts.values > 0) else { return Ok(None) };
        let key = key_of(meta);
        let read = || {
            let range = self.range_of_values(&parts, &key, needs_filter.is_some());
            let part = self.read(meta, range, &job.shared().runtime)?;
            Ok(part.and_then(|part| self.decode_values(meta, &parts, &key, &part, needs_filter)))
        };
        get_or_read(&self.values, &key, job, read)
    }

    /// Bytes of [`Self::fetch_values`] and [`Self::fetch_filter`] of a block, at most.
    pub(crate) fn fetched_bytes(meta: &BlockMeta) -> u64 {
        let parts = parts_of(meta);
        parts.map_or(0, |parts| parts.values.saturating_add(parts.filter.min(JOINED_FILTER_BYTES)))
    }

    /// Reads the values of a block in object storage, for [`Self::fetched_values`]: [`Self::values`] waits for a request on a
    /// thread each, of this any number may wait at a time. With the filter behind them, as there. Empty if there are none, if
    /// they cannot be read or are known.
    pub(crate) async fn fetch_values(&self, meta: &BlockMeta, asks_filter: bool) -> Bytes {
        let key = key_of(meta);
        let parts = parts_of(meta).filter(|parts| parts.values > 0);
        let Some(parts) = parts.filter(|_| !self.values.contains_key(&key)) else {
            return Bytes::new();
        };
        let range = self.range_of_values(&parts, &key, asks_filter);
        self.fetch(meta, range).await.unwrap_or_default()
    }

    /// As [`Self::fetch_values`], of the filter alone.
    pub(crate) async fn fetch_filter(&self, meta: &BlockMeta) -> Bytes {
        let Some(parts) = parts_of(meta) else { return Bytes::new() };
        self.fetch(meta, parts.filter_range()).await.unwrap_or_default()
    }

    /// The values of a block, decoded unless they are known, and the bytes of the filter behind them.
    pub(crate) fn fetched_values(
        &self,
        meta: &BlockMeta,
        fetched: &Bytes,
    ) -> Option<(Arc<BlockValues>, Bytes)> {
        let parts = parts_of(meta)?;
        let end = fetched.len().min(parts.values as usize);
        let (values, filter) = (fetched.slice(..end), fetched.slice(end..));
        let key = key_of(meta);
        let values = match self.values.get(&key) {
            Some(values) => values,
            None if values.is_empty() => None,
            None => {
                let values = decode(meta, &values, BlockValues::decode);
                self.values.insert(key, values.clone());
                values
            }
        };
        Some((values?, filter))
    }

    /// The filter of a block, decoded unless it is known.
    pub(crate) fn fetched_filter(
        &self,
        meta: &BlockMeta,
        fetched: &Bytes,
    ) -> Option<Arc<BlockFilter>> {
        let key = key_of(meta);
        match self.filters.get(&key) {
            Some(filter) => filter,
            None if fetched.is_empty() => None,
            None => {
                let filter = decode(meta, fetched, BlockFilter::decode);
                self.filters.insert(key, filter.clone());
                filter
            }
        }
    }

    /// True if it is worth it to read the filter of a block, so as to select blocks. A large one is left to whoever reads the
    /// block.
    pub(crate) fn lacks_filter(&self, meta: &BlockMeta) -> bool {
        parts_of(meta).is_some_and(|parts| (1..=JOINED_FILTER_BYTES).contains(&parts.filter))
            && !self.filters.contains_key(&key_of(meta))
    }

    /// The bytes to read for the values: with the filter behind them, if it may be asked and that is worth it.
    fn range_of_values(
        &self,
        parts: &SummaryParts,
        key: &BlockKey,
        asks_filter: bool,
    ) -> Range<u64> {
        let is_joined = asks_filter
            && (1..=JOINED_FILTER_BYTES).contains(&parts.filter)
            && !self.is_local()
            // The cache may have the values alone.
            && self.caches.of(Role::ParquetFooter).is_none()
            && !self.filters.contains_key(key);
        let end = if is_joined { parts.filter_range() } else { parts.values_range() }.end;
        parts.values_range().start..end
    }

    /// The values in these bytes. A filter behind them is kept if it is needed.
    fn decode_values(
        &self,
        meta: &BlockMeta,
        parts: &SummaryParts,
        key: &BlockKey,
        bytes: &[u8],
        needs_filter: Option<NeedsFilter<'_>>,
    ) -> Option<Arc<BlockValues>> {
        let (values, filter) = bytes.split_at(bytes.len().min(parts.values as usize));
        let values = decode(meta, values, BlockValues::decode)?;
        if !filter.is_empty() && needs_filter.is_some_and(|needs| needs(&values)) {
            self.filters.insert(key.clone(), decode(meta, filter, BlockFilter::decode));
        }
        Some(values)
    }

    /// True if summaries are files of this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.bucket.local_path(SUMMARY).is_some()
    }

    /// Which strings attributes of many values may have, if the summary of the block tells. May block.
    pub(crate) fn filter(&self, meta: &BlockMeta, job: &Job) -> Result<Option<Arc<BlockFilter>>> {
        let Some(parts) = parts_of(meta).filter(|parts| parts.filter > 0) else { return Ok(None) };
        let read = || {
            let part = self.read(meta, parts.filter_range(), &job.shared().runtime)?;
            Ok(part.and_then(|part| decode(meta, &part, BlockFilter::decode)))
        };
        get_or_read(&self.filters, &key_of(meta), job, read)
    }

    /// The end of a block's data file from its summary, if it has one. May block.
    pub(crate) fn tail(&self, meta: &BlockMeta, runtime: &Handle) -> Result<Option<Tail>> {
        let Some(parts) = parts_of(meta).filter(|parts| parts.tail > 0) else { return Ok(None) };
        let part = self.read(meta, parts.tail_range(), runtime)?;
        usable(
            meta,
            part.as_deref()
                .map(|part| Tail::decode(part, meta.size))
                .transpose()
                .map_err(Error::from),
        )
    }

    /// A part; `None` if it is gone. May block.
    fn read(&self, meta: &BlockMeta, range: Range<u64>, runtime: &Handle) -> Result<Option<Bytes>> {
        let has_cache = self.caches.of(Role::ParquetFooter).is_some();
        let read = || {
            // To wait for another thread takes longer than to read a local file.
            let key = || BlockReader::new(self.bucket.clone(), meta).key(SUMMARY);
            if !has_cache && let Some(file) = self.bucket.open_local_file(&key()) {
                return file.and_then(|file| file.read_range(range)).map_err(from_store);
            }
            runtime.block_on(self.fetch(meta, range))
        };
        let read = read_for_job(!self.is_local() || has_cache, read, Bytes::len);
        usable(meta, read.map(Some).map_err(Error::from))
    }

    /// A part, from a shared cache if there is one.
    async fn fetch(&self, meta: &BlockMeta, range: Range<u64>) -> tactus_block::Result<Bytes> {
        let length = range.end - range.start;
        let reader = BlockReader::new(self.bucket.clone(), meta);
        let Some(cache) = self.caches.of(Role::ParquetFooter) else {
            return reader.read_range(SUMMARY, range).await.map_err(from_store);
        };
        let key = Key::new(&[
            &Role::ParquetFooter,
            &meta.tenant_id,
            &meta.block_id,
            &meta.size,
            &SUMMARY,
            &range.start,
            &length,
        ]);
        if !bypasses_caches()
            && let Some(bytes) = cache.get(&key).await
            && bytes.len() as u64 == length
        {
            shared_cache_bytes(length);
            return Ok(bytes);
        }
        let bytes = reader.read_range(SUMMARY, range).await.map_err(from_store)?;
        cache.put(&key, &bytes);
        Ok(bytes)
    }
}

/// The parts of a block's summary, if they are no longer than they may be.
fn parts_of(meta: &BlockMeta) -> Option<SummaryParts> {
    readable_parts(meta.summary()?, meta.size)
}

/// A cache of this many bytes.
fn kept<T: Send + Sync + 'static>(
    max_bytes: u64,
    heap_bytes: fn(&T) -> usize,
) -> Cache<BlockKey, Option<Arc<T>>> {
    let weigh = move |_: &BlockKey, part: &Option<Arc<T>>| {
        let bytes = part.as_deref().map_or(0, heap_bytes);
        u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
    };
    Cache::builder().max_capacity(max_bytes).weigher(weigh).build()
}

fn from_store(error: tactus_storage::Error) -> tactus_block::Error {
    tactus_block::Error::Io(std::io::Error::other(error))
}

/// Decodes a part; `None` if it is damaged.
fn decode<T>(
    meta: &BlockMeta,
    part: &[u8],
    decode: fn(&[u8]) -> tactus_block::Result<T>,
) -> Option<Arc<T>> {
    let decoded = decode(part).map(|part| Some(Arc::new(part)));
    usable(meta, decoded.map_err(Error::from)).ok().flatten()
}

/// The entry of a cache, or else what `read` makes.
fn get_or_read<T: Clone + Send + Sync + 'static>(
    cache: &Cache<BlockKey, T>,
    key: &BlockKey,
    job: &Job,
    read: impl Fn() -> Result<T>,
) -> Result<T> {
    job.check()?;
    if let Some(found) = cache.get(key) {
        return Ok(found);
    }
    job.wait_for_shared(|| {
        let found = cache.try_get_with(key.clone(), &read);
        found.map_err(|error: Arc<Error>| (*error).clone())
    })
}

/// A missing or damaged part counts as absent: the block itself gives the same answers, if it still exists.
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
