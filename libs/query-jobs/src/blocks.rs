//! Open blocks: their metas, cached footers and bloom filters, and the handling of blocks that cannot be read.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tactus_block::read::{
    BlockReader as DataReader, ByteSource, ColumnCache, StoredSource, facts_of,
};
use tactus_block::summary::TailSource;
use tactus_cache::{Caches, Role};
use tactus_model::TraceId;
use tactus_storage::block_io::{read_compacted_meta, read_meta};
use tactus_storage::blocklist::TenantBlocks;
use tactus_storage::bloom::BloomShard;
use tactus_storage::{BlockMeta, Blocklist, Bucket, Uuid};
use tokio::runtime::Handle;

use crate::block_part::{BlockKey, key_of};
use crate::duplicates::{DuplicateSpans, Duplicates, Side};
use crate::error::{Error, Result};
use crate::joined::{JoinedReads, Wanted};
use crate::metrics::Metrics;
use crate::pool::Job;
use crate::settings::{BloomAdmission, Settings};
use crate::source::JobSource;
use crate::summaries::Summaries;

mod blooms;

/// An open local block holds a file descriptor, of which there are fewer than footers fit in memory.
const MIN_CACHED_BYTES: usize = 64 << 10;

/// Memory for the traces of blocks, and for the spans that pairs of blocks have in common.
const DUPLICATES_BYTES: u64 = 64 << 20;
/// Memory for what blocks have of traces that ingesters have, too.
const STORED_SPANS_BYTES: u64 = 16 << 20;

/// Metas of blocks that a query-frontend knows first, and how long they are kept: all jobs on a block ask for its meta, and
/// sooner or later it comes into the list.
const MAX_UNLISTED: u64 = 1_000;
const UNLISTED_FOR: Duration = Duration::from_secs(60);

/// Damaged parts of blocks that are remembered, so that each is logged once.
const MAX_REMEMBERED: usize = 10_000;

/// The blocks of a bucket.
#[derive(Debug)]
pub(crate) struct Blocks {
    bucket: Bucket,
    blocklist: Arc<Blocklist>,
    /// Metas of blocks that are not in the list yet.
    unlisted: Cache<BlockKey, Arc<BlockMeta>>,
    readers: Cache<BlockKey, DataReader>,
    /// The block list as it was when readers were last compared with it.
    compared: Mutex<WeakSnapshot>,
    columns: Option<Arc<ColumnCache>>,
    blooms: Cache<(BlockKey, u32), BloomShard>,
    summaries: Summaries,
    caches: Caches,
    bloom_admission: BloomAdmission,
    duplicates: Duplicates,
    /// Hashes of the spans that a block has of a trace.
    stored_spans: Cache<(Uuid, TraceId), Arc<[u64]>>,
    /// Blocks whose damage was logged, each with what of it is damaged.
    logged: Mutex<HashSet<(Uuid, &'static str)>>,
    metrics: Arc<Metrics>,
}

/// Of [`Blocklist::snapshot`]. It keeps no blocks in memory.
type WeakSnapshot = Weak<HashMap<String, Arc<TenantBlocks>>>;

/// Memory of a cached bloom filter besides its bits.
const BLOOM_ENTRY_BYTES: usize = 256;

impl Blocks {
    pub(crate) fn new(
        settings: &Settings,
        bucket: Bucket,
        blocklist: Arc<Blocklist>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let is_local = bucket.local_path("").is_some();
        let least_bytes = if is_local { MIN_CACHED_BYTES } else { 0 };
        let readers = Cache::builder()
            .max_capacity(settings.section.footer_cache_bytes)
            .weigher(move |_, reader: &DataReader| {
                u32::try_from(reader.heap_bytes().max(least_bytes)).unwrap_or(u32::MAX)
            })
            .build();
        let unlisted =
            Cache::builder().max_capacity(MAX_UNLISTED).time_to_live(UNLISTED_FOR).build();
        let blooms = Cache::builder()
            .max_capacity(settings.section.bloom_cache_bytes)
            .weigher(|_, bloom: &BloomShard| {
                u32::try_from(bloom.heap_bytes() + BLOOM_ENTRY_BYTES).unwrap_or(u32::MAX)
            })
            .build();
        let column_bytes = settings.column_cache_bytes();
        let columns = (column_bytes > 0).then(|| Arc::new(ColumnCache::new(column_bytes)));
        let summaries =
            Summaries::new(bucket.clone(), settings.caches.clone(), settings.summary_cache_bytes());
        let duplicates = Duplicates::new(DUPLICATES_BYTES);
        let weight =
            |_: &_, spans: &Arc<[u64]>| u32::try_from(spans.len() * 8 + 96).unwrap_or(u32::MAX);
        let stored_spans =
            Cache::builder().max_capacity(STORED_SPANS_BYTES).weigher(weight).build();
        let logged = Mutex::default();
        let (caches, bloom_admission) = (settings.caches.clone(), settings.bloom_admission);
        Self {
            bucket,
            blocklist,
            unlisted,
            readers,
            compared: Mutex::default(),
            columns,
            blooms,
            summaries,
            caches,
            bloom_admission,
            duplicates,
            stored_spans,
            logged,
            metrics,
        }
    }

    /// Cached hashes of the spans that a block has of a trace.
    pub(crate) fn stored_spans(&self) -> &Cache<(Uuid, TraceId), Arc<[u64]>> {
        &self.stored_spans
    }

    /// True if parts of blocks may come from a cache on the network.
    pub(crate) fn has_shared_caches(&self) -> bool {
        [Role::ParquetFooter, Role::ParquetOffsetIndex, Role::ParquetPage]
            .into_iter()
            .any(|role| self.caches.of(role).is_some())
    }

    /// The block with the reads of some row groups joined.
    ///
    /// Not if pages may come from a cache on the network: it has the columns one by one.
    pub(crate) fn joined_reads(
        &self,
        block: &DataReader,
        row_groups: impl Iterator<Item = usize>,
        wanted: Wanted<'_>,
    ) -> JoinedReads {
        match self.caches.of(Role::ParquetPage) {
            Some(_) => JoinedReads::plain(block),
            None => JoinedReads::new(block, row_groups, wanted),
        }
    }

    /// The decoded columns kept in memory, if any are.
    pub(crate) fn columns(&self) -> Option<&Arc<ColumnCache>> {
        self.columns.as_ref()
    }

    /// The meta of a block: from the block list, or from the bucket if another process knows the block first. A block
    /// that was merged into another one is read as long as it exists, because whoever asks for it does not know the
    /// merged one yet.
    pub(crate) async fn meta(&self, tenant: &str, block_id: Uuid) -> Result<Arc<BlockMeta>> {
        if let Some(meta) = self.known_meta(tenant, block_id) {
            return Ok(meta);
        }
        let meta = match read_meta(&self.bucket, tenant, block_id).await {
            Err(error) if error.is_not_found() => {
                read_compacted_meta(&self.bucket, tenant, block_id).await?
            }
            read => read?,
        };
        let meta = Arc::new(meta);
        self.unlisted.insert((tenant.into(), block_id), Arc::clone(&meta));
        Ok(meta)
    }

    /// The meta of a block for which nothing has to be read.
    fn known_meta(&self, tenant: &str, block_id: Uuid) -> Option<Arc<BlockMeta>> {
        let listed = self.blocklist.tenant(tenant).shared_meta(block_id);
        listed.or_else(|| self.unlisted.get(&(tenant.into(), block_id)))
    }

    /// Opens the data of a block, or takes it from the cache. May block.
    pub(crate) fn open(&self, meta: &BlockMeta, job: &Job) -> Result<DataReader> {
        let key = key_of(meta);
        job.check()?;
        if let Some(reader) = self.readers.get(&key) {
            return Ok(reader);
        }
        job.wait_for_shared(|| self.open_once(meta, &key, &job.shared().runtime))
    }

    /// Drops the readers, and with them the cached columns, of blocks that left the list since the last call, because
    /// nobody asks for a merged block again. A job that is reading one goes on, and a late job opens it again.
    fn let_go(&self) {
        let listed = self.blocklist.snapshot();
        let now = Arc::downgrade(&listed);
        let before = std::mem::replace(&mut *self.compared.lock(), now.clone());
        if before.ptr_eq(&now) {
            return;
        }
        let mut gone = Vec::new();
        for (key, reader) in &self.readers {
            let (tenant, block_id) = &*key;
            let blocks = listed.get(tenant.as_ref());
            let is_listed = blocks.is_some_and(|blocks| blocks.shared_meta(*block_id).is_some());
            // Other processes may know a block before the list has it.
            if !is_listed && !self.unlisted.contains_key(&*key) {
                self.readers.invalidate(&*key);
                gone.push(reader);
            }
        }
        if let Some(columns) = &self.columns {
            columns.forget(gone.iter());
        }
    }

    fn open_once(&self, meta: &BlockMeta, key: &BlockKey, runtime: &Handle) -> Result<DataReader> {
        self.let_go();
        let open = || {
            let facts = facts_of(meta).map_err(|error| Error::Damaged(error.to_string()))?;
            let stored = StoredSource::new(&self.bucket, meta, runtime)?;
            // Reading the end of a local file costs less than decompressing it.
            let tail = match stored.is_remote() {
                true => self.summaries.tail(meta, runtime)?,
                false => None,
            };
            let source: Arc<dyn ByteSource> =
                Arc::new(JobSource::new(stored, meta, &self.caches, runtime));
            let columns = || self.columns.clone();
            if let Some(tail) = tail {
                let with_tail = TailSource::new(Arc::clone(&source), &tail).and_then(|source| {
                    DataReader::open_with_cache(Arc::new(source), &facts, columns())
                });
                if let Ok(reader) = with_tail {
                    return Ok(reader);
                }
            }
            Ok(DataReader::open_with_cache(source, &facts, columns())?)
        };
        self.readers.try_get_with(key.clone(), open).map_err(|error: Arc<Error>| (*error).clone())
    }

    /// The summaries of blocks.
    pub(crate) fn summaries(&self) -> &Summaries {
        &self.summaries
    }

    /// The spans of a block, by row group, that are also in one of the other blocks. May block.
    ///
    /// A block that is gone or damaged counts as empty. Its spans may be counted all the same, from an answer that was kept.
    pub(crate) fn duplicates(
        &self,
        meta: &BlockMeta,
        block: &DataReader,
        others: &[Uuid],
        job: &Job,
    ) -> Result<DuplicateSpans> {
        let mut all = DuplicateSpans::new();
        // Each block begins with another one, so that jobs on several blocks look at different pairs at the same time.
        let (mut first, last): (Vec<Uuid>, Vec<Uuid>) =
            others.iter().partition(|&&other| other > meta.block_id);
        first.extend(last.into_iter().filter(|&other| other != meta.block_id));
        for other_id in first {
            let found = match self.shared_with(meta, block, other_id, job) {
                Ok(found) => found,
                Err(Error::Gone(_) | Error::Damaged(_)) => {
                    // It may be readable next time, so the answer must not be cached.
                    job.lacks_a_block();
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (&row_group, spans) in &*found {
                match all.get_mut(&row_group) {
                    Some(known) => known.unite(spans),
                    None => drop(all.insert(row_group, spans.clone())),
                }
            }
        }
        Ok(all)
    }

    fn shared_with(
        &self,
        meta: &BlockMeta,
        block: &DataReader,
        other_id: Uuid,
        job: &Job,
    ) -> Result<Arc<DuplicateSpans>> {
        let shared = job.shared();
        let other_meta = match self.known_meta(&meta.tenant_id, other_id) {
            Some(meta) => meta,
            None => {
                let read_meta = self.meta(&meta.tenant_id, other_id);
                shared.pause(|| shared.runtime.block_on(read_meta))?
            }
        };
        // A job asks for each of its neighbours. To lend the place of its thread each time would have the threads of the query
        // change places instead of counting, and to open each would read what a full cache of readers dropped.
        if let Some(known) = self.duplicates.known(meta.block_id, other_id) {
            return Ok(known);
        }
        let this = Side { id: meta.block_id, open: &|| Ok(block.clone()) };
        let other = Side { id: other_id, open: &|| self.open(&other_meta, job) };
        job.wait_for_shared(|| self.duplicates.find(&this, &other, || job.check()))
    }

    /// True if the damage of this part of a block was not logged before.
    fn is_news(&self, block_id: Uuid, part: &'static str) -> bool {
        let mut logged = self.logged.lock();
        logged.len() < MAX_REMEMBERED && logged.insert((block_id, part))
    }

    /// Decides what an error of reading a block means. Damage is logged once for each block.
    pub(crate) async fn explain(&self, tenant: &str, block_id: Uuid, error: Error) -> Error {
        let what = match self.damage(tenant, block_id, error).await {
            Ok(what) => what,
            Err(error) => return error,
        };
        if self.is_news(block_id, "data") {
            tracing::warn!(tenant, %block_id, what, "block is damaged, queries answer without it");
        }
        Error::Damaged(format!("block {block_id} is damaged: {what}"))
    }

    /// What is damaged, after an error of reading a block. A block that was deleted counts: whoever asked for it has a list older
    /// than the time for which merged blocks are kept, and may not know the block that has its spans now. Errors: those that say
    /// nothing of the block.
    async fn damage(&self, tenant: &str, block_id: Uuid, error: Error) -> Result<String> {
        let what = match error {
            Error::Gone(key) if self.was_deleted(tenant, block_id).await? => {
                self.metrics.deleted_blocks.inc();
                tracing::debug!(tenant, %block_id, key, "block was deleted before it was read");
                "it is deleted, and may have been merged into one that is not known yet".to_owned()
            }
            Error::Gone(key) => format!("object {key} is missing"),
            Error::Damaged(what) => what,
            other => return Err(other),
        };
        self.metrics.damaged_blocks.inc();
        Ok(what)
    }

    /// True if the block is not live any more. This asks the bucket, which is newer than the list until the next poll.
    async fn was_deleted(&self, tenant: &str, block_id: Uuid) -> Result<bool> {
        match read_meta(&self.bucket, tenant, block_id).await {
            Ok(_) => Ok(false),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
