//! Operations on whole blocks: write one so that it appears at once, mark it compacted, delete it, list.

mod orphans;

use std::collections::HashSet;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use tactus_model::OriginSet;
use tactus_telemetry::{error_text, log_limited};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::bucket::{Bucket, Found};
use crate::error::{Error, Result};
use crate::layout::{
    self, COMPACTED_META, DATA, INDEX, META, NO_COMPACT, SUMMARY, block_key, bloom_key, bloom_name,
    is_tenant_index, parse_block_key,
};
use crate::meta::BlockMeta;

pub use orphans::{
    Leftovers, Orphan, clear_leftovers, clear_orphan, clear_shared_leftovers, has_clock,
    list_orphans, remove_empty_directories, store_time,
};
pub(crate) use orphans::{is_older, our_time, remove_old_directory};

/// Files of a block that are checked at the same time.
const CONFIRM_CONCURRENCY: usize = 8;

/// The source of an object's bytes.
#[derive(Debug, Clone)]
pub enum ObjectSource {
    /// A complete file on the local disk, which nobody writes to any more.
    File(PathBuf),
    /// In memory.
    Bytes(Bytes),
    /// Written already, with this many bytes, as [`ObjectWriter`](crate::bucket::ObjectWriter) leaves it.
    Written(u64),
}

/// The files of a new block besides its meta.
#[derive(Debug, Clone)]
pub struct BlockFiles {
    /// `data.parquet`.
    pub data: ObjectSource,
    /// `bloom-0`, `bloom-1`, …; one at least.
    pub blooms: Vec<ObjectSource>,
    /// The row group index; optional for readers.
    pub index: Option<ObjectSource>,
    /// The summary, if the meta says that there is one.
    pub summary: Option<ObjectSource>,
    /// Keep the block out of compaction.
    pub no_compact: bool,
}

/// Objects of a block that are written at a time, besides its data.
const PUT_CONCURRENCY: usize = 8;

/// Writes a block under the tenant and id of its meta, `meta.json` last: until then the block does
/// not exist for anybody. Doing it again with the same id replaces the same objects.
///
/// Errors: `Error::Invalid` if size or bloom count of the meta do not match the files; `Error::Unavailable` also if
/// another process deleted or replaced the data meanwhile; otherwise those of the bucket. After an error, write
/// again. The objects that were written stay, and readers do not see them unless `meta.json` is among them.
pub async fn write_block(bucket: &Bucket, meta: &BlockMeta, files: &BlockFiles) -> Result<()> {
    layout::check_tenant(&meta.tenant_id)?;
    if files.blooms.is_empty() || files.blooms.len() as u64 != u64::from(meta.bloom_shards) {
        let reason = format!("{} files for {} shards", files.blooms.len(), meta.bloom_shards);
        return Err(Error::invalid("bloom filters", reason));
    }
    let (tenant, id) = (meta.tenant_id.as_str(), meta.block_id);
    let key = |file| block_key(tenant, id, file);
    let data = async {
        let written = put(bucket, &key(DATA), &files.data).await?;
        if written != meta.size {
            let reason = format!("{written} bytes of data, {} in the meta", meta.size);
            return Err(Error::invalid("block size", reason));
        }
        Ok(())
    };
    let blooms = (0..).zip(&files.blooms);
    let mut others: Vec<_> =
        blooms.map(|(shard, bloom)| (bloom_key(tenant, id, shard), bloom.clone())).collect();
    others.extend(files.index.iter().map(|index| (key(INDEX), index.clone())));
    others.extend(files.summary.iter().map(|summary| (key(SUMMARY), summary.clone())));
    if files.no_compact {
        others.push((key(NO_COMPACT), ObjectSource::Bytes(Bytes::new())));
    }
    let others = others.into_iter().map(|(key, source)| {
        let bucket = bucket.clone();
        async move { put(&bucket, &key, &source).await.map(drop) }
    });
    let others = stream::iter(others).buffer_unordered(PUT_CONCURRENCY).try_collect::<()>();
    try_join(data, others).await?;
    bucket.put(&key(META), meta_that_fits(meta).into()).await?;
    confirm_block(bucket, meta).await
}

/// Checks that the bucket has a block that was just written. Delete its sources only after that. Some stores have
/// confirmed a write and had nothing afterwards, and another process may have taken the data for an orphan and deleted
/// it.
///
/// Errors: `Error::Unavailable` if a file is missing, the data has another length, or `meta.json` is not the block's;
/// otherwise those of the bucket.
pub async fn confirm_block(bucket: &Bucket, meta: &BlockMeta) -> Result<()> {
    match missing_file(bucket, meta).await? {
        None => Ok(()),
        Some(file) => {
            let key = block_key(&meta.tenant_id, meta.block_id, &file);
            let source = "it was written, and the bucket does not have it as it was written".into();
            Err(Error::Unavailable { key, source })
        }
    }
}

/// The first file found that the bucket does not have, or does not have as it was written.
pub async fn missing_file(bucket: &Bucket, meta: &BlockMeta) -> Result<Option<String>> {
    let (tenant, id) = (meta.tenant_id.as_str(), meta.block_id);
    let blooms = (0..meta.bloom_shards).map(bloom_name);
    let summary = meta.summary().map(|_| SUMMARY.to_owned());
    let files = [DATA.to_owned()].into_iter().chain(summary).chain(blooms);
    let mut looks = stream::iter(files)
        .map(|file| async move {
            let found = bucket.find(&block_key(tenant, id, &file)).await?;
            let is_stored = found.is_some_and(|found| file != DATA || found.size == meta.size);
            Ok((!is_stored).then_some(file))
        })
        .buffered(CONFIRM_CONCURRENCY);
    while let Some(missing) = looks.try_next().await? {
        if missing.is_some() {
            return Ok(missing);
        }
    }
    let stored = match read_meta(bucket, tenant, id).await {
        // A compactor may have merged it already. Its meta is read, because some gateways answer that any object exists.
        Err(error) if error.is_not_found() => read_compacted_meta(bucket, tenant, id).await,
        stored => stored,
    };
    match stored {
        Ok(stored) if stored.size == meta.size => Ok(None),
        Ok(_) | Err(Error::Invalid { .. }) => Ok(Some(META.to_owned())),
        Err(error) if error.is_not_found() || error.is_corrupt() => Ok(Some(META.to_owned())),
        Err(error) => Err(error),
    }
}

/// The bytes of `meta.json`. If they are more than is read of one, the list of pushes is left out. Copies of its spans
/// are then found by their ids, which takes longer.
pub fn meta_that_fits(meta: &BlockMeta) -> Vec<u8> {
    let json = meta.to_json();
    if json.len() as u64 <= MAX_META_BYTES {
        return json;
    }
    let (tenant, block_id, bytes) = (&meta.tenant_id, meta.block_id, json.len());
    tracing::warn!(tenant, %block_id, bytes, "block has spans of too many pushes: its meta is written without the list of pushes");
    let mut meta = meta.clone();
    if let Some(extension) = &mut meta.extension {
        extension.origins = OriginSet::new();
        extension.incomplete_origins = OriginSet::new();
        extension.thinned_origins = OriginSet::new();
    }
    meta.to_json()
}

async fn put(bucket: &Bucket, key: &str, source: &ObjectSource) -> Result<u64> {
    match source {
        ObjectSource::File(path) => bucket.put_file(key, path).await,
        ObjectSource::Bytes(bytes) => {
            bucket.put(key, bytes.clone()).await.map(|()| bytes.len() as u64)
        }
        ObjectSource::Written(bytes) => Ok(*bytes),
    }
}

/// Reads `meta.json` of a block; `Error::NotFound` when the block is not live.
pub async fn read_meta(bucket: &Bucket, tenant: &str, block_id: Uuid) -> Result<BlockMeta> {
    read_meta_file(bucket, tenant, block_id, META).await
}

/// Reads `meta.compacted.json` of a block; `Error::NotFound` when the block is not compacted.
pub async fn read_compacted_meta(
    bucket: &Bucket,
    tenant: &str,
    block_id: Uuid,
) -> Result<BlockMeta> {
    read_meta_file(bucket, tenant, block_id, COMPACTED_META).await
}

/// The largest meta of a block, in bytes. Most have a few kilobytes; a block with spans of very many pushes lists
/// them all.
const MAX_META_BYTES: u64 = 4 << 20;

/// Metas up to this size are read many at a time.
const USUAL_META_BYTES: u64 = 64 << 10;

/// Held while a larger meta is read and parsed, because that takes several times its size in memory.
static LARGE_META: Mutex<()> = Mutex::const_new(());

async fn read_meta_file(
    bucket: &Bucket,
    tenant: &str,
    block_id: Uuid,
    file: &str,
) -> Result<BlockMeta> {
    let key = block_key(tenant, block_id, file);
    let parse = |bytes: &[u8]| BlockMeta::from_json(bytes).map_err(|error| error.with_key(&key));
    let meta = match bucket.get_at_most(&key, USUAL_META_BYTES).await {
        Ok(bytes) => parse(&bytes)?,
        Err(error) if error.is_corrupt() => {
            let _alone = LARGE_META.lock().await;
            parse(&bucket.get_at_most(&key, MAX_META_BYTES).await?)?
        }
        Err(error) => return Err(error),
    };
    // The meta in a copied directory has the old names, so further reads would go to the original block.
    if meta.block_id.is_nil() || meta.tenant_id.is_empty() {
        return Err(Error::corrupt("owner of block meta", 0).with_key(&key));
    }
    if meta.block_id != block_id || meta.tenant_id != tenant {
        return Err(Error::OtherOwner { key, tenant: meta.tenant_id, block_id: meta.block_id });
    }
    // Every writer names it. Without it the block would be taken for one of another product's version.
    if meta.format.is_empty() {
        return Err(Error::corrupt("version of block meta", 0).with_key(&key));
    }
    // Likewise: a block with data has row groups. Without one of both it would be taken for empty.
    if meta.is_readable() && (meta.size == 0) != (meta.total_records == 0) {
        return Err(Error::corrupt("size of block meta", 0).with_key(&key));
    }
    Ok(meta)
}

/// Removes a block from the live ones: renames `meta.json` to `meta.compacted.json`, with the same content, and returns
/// the time. Does nothing if the block is compacted already. `Error::NotFound` if the block is neither live nor
/// compacted.
pub async fn mark_compacted(bucket: &Bucket, tenant: &str, block_id: Uuid) -> Result<Timestamp> {
    let live = block_key(tenant, block_id, META);
    let compacted = block_key(tenant, block_id, COMPACTED_META);
    match move_meta(bucket, &live, &compacted).await {
        Ok(()) => Ok(Timestamp::now()),
        Err(error) if error.is_not_found() => {
            bucket.head(&compacted).await.map(|object| object.last_modified)
        }
        Err(error) => Err(error),
    }
}

async fn move_meta(bucket: &Bucket, live: &str, compacted: &str) -> Result<()> {
    if bucket.rename_local_as_new(live, compacted).await? {
        return Ok(());
    }
    let bytes = bucket.get_at_most(live, MAX_META_BYTES).await?;
    bucket.put(compacted, bytes).await?;
    bucket.delete(live).await
}

/// Deletes all objects of a block. `meta.json` goes first, so that no reader is sent to a block
/// without data; `meta.compacted.json` goes last, so that an interrupted clear is found again.
pub async fn clear_block(bucket: &Bucket, tenant: &str, block_id: Uuid) -> Result<()> {
    layout::check_tenant(tenant)?;
    bucket.delete(&block_key(tenant, block_id, META)).await?;
    let compacted = block_key(tenant, block_id, COMPACTED_META);
    let prefix = layout::block_prefix(tenant, block_id);
    let objects = bucket.list(&prefix).await?;
    let others = objects.into_iter().map(|object| object.key).filter(|key| *key != compacted);
    bucket.delete_all(others.collect()).await?;
    bucket.delete(&compacted).await?;
    bucket.remove_local_directory(&prefix).await
}

/// The result of listing one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedBlocks {
    /// Blocks with a `meta.json`, sorted.
    pub live: Vec<Uuid>,
    /// Blocks with a `meta.compacted.json` and when it was written, sorted. A block that is being
    /// marked is in both lists.
    pub compacted: Vec<(Uuid, Timestamp)>,
    /// When the `meta.json` of each live block was written, in no order.
    pub live_written: Vec<(Uuid, Timestamp)>,
    /// Blocks that must not be compacted.
    pub no_compact: HashSet<Uuid>,
    /// Blocks of a local store of which the listing found no meta, because it could not look at their directory or at a
    /// file in it.
    pub unread: HashSet<Uuid>,
    /// When the tenant's index was last written, either file; `None` without one.
    pub index_written: Option<Timestamp>,
    /// All objects of the tenant, of blocks or not.
    pub objects: u64,
    /// When the last of them was written.
    pub newest: Option<Timestamp>,
}

/// Objects that stores list with one request.
const PAGE_OBJECTS: u64 = 1_000;

/// Blocks of a tenant that a listing may name: many more than one process can keep in its list.
const MAX_LISTED_BLOCKS: usize = 3 << 20;

/// All tenants of the bucket, sorted; names that are not tenants are left out.
pub async fn list_tenants(bucket: &Bucket) -> Result<Vec<String>> {
    let mut names = bucket.list_directories("").await?;
    names.retain(|name| layout::is_tenant_name(name));
    Ok(names)
}

/// All blocks of a tenant. What is beyond the first page of a store comes from `concurrency` listings side by side over
/// ranges of block ids.
///
/// More than one needs a store that lists in key order, as S3 does: one that is seen not to is listed once more, from
/// the start to the end. A local store is walked once, and what it has and cannot be looked at hides no other block.
pub async fn list_blocks(
    bucket: &Bucket,
    tenant: &str,
    concurrency: usize,
) -> Result<ListedBlocks> {
    layout::check_tenant(tenant)?;
    let ranges = if bucket.local_path(tenant).is_some() { 1 } else { concurrency.max(1) };
    let page = if ranges == 1 { u64::MAX } else { PAGE_OBJECTS };
    let mut all = ListedBlocks::default();
    let most_blocks = MAX_LISTED_BLOCKS / ranges;
    let most = (page, most_blocks);
    let first = list_range(bucket, tenant, (None, None), most, &mut all).await?;
    let Some(last) = first.last else { return Ok(all.sorted()) };
    if !first.is_in_order {
        return list_without_order(bucket, tenant).await;
    }
    let mut rest = Vec::new();
    for range in 0..ranges as u64 {
        let (start, end) = range_bounds(tenant, range, ranges as u64);
        let start = start.max(Some(last.clone()));
        if end.is_none() || end > start {
            rest.push((start, end));
        }
    }
    let parts = stream::iter(rest)
        .map(|bounds| async move {
            let mut part = ListedBlocks::default();
            let most = (u64::MAX, most_blocks);
            let listed = list_range(bucket, tenant, bounds, most, &mut part).await?;
            Ok::<_, Error>(listed.is_in_order.then_some(part))
        })
        .buffer_unordered(ranges)
        .try_collect::<Vec<_>>()
        .await?;
    for part in parts {
        let Some(part) = part else { return list_without_order(bucket, tenant).await };
        all.live.extend(part.live);
        all.live_written.extend(part.live_written);
        all.compacted.extend(part.compacted);
        all.no_compact.extend(part.no_compact);
        all.index_written = all.index_written.max(part.index_written);
        all.objects += part.objects;
        all.newest = all.newest.max(part.newest);
    }
    Ok(all.sorted())
}

impl ListedBlocks {
    fn sorted(mut self) -> Self {
        self.live.sort_unstable();
        self.compacted.sort_unstable();
        self
    }
}

/// All blocks of a tenant in a store whose listings have an order of their own: a range would end too early there. One
/// listing at a time, as it may be configured, saves those before this one.
async fn list_without_order(bucket: &Bucket, tenant: &str) -> Result<ListedBlocks> {
    log_limited!(
        warn,
        tenant,
        "the store does not list in key order and is listed again as a whole"
    );
    let mut all = ListedBlocks::default();
    list_range(bucket, tenant, (None, None), (u64::MAX, MAX_LISTED_BLOCKS), &mut all).await?;
    Ok(all.sorted())
}

/// The bounds of range number `range` out of `ranges`: its keys are after the first and before the second. `None` is
/// no bound.
fn range_bounds(tenant: &str, range: u64, ranges: u64) -> (Option<String>, Option<String>) {
    let bound = |range: u64| {
        let start = Uuid::from_u64_pair(range * (u64::MAX / ranges), 0);
        (range > 0 && range < ranges).then(|| format!("{tenant}/{start}"))
    };
    (bound(range), bound(range + 1))
}

/// What is known of a range after it was listed.
struct ListedRange {
    /// The last key, if there may be more.
    last: Option<String>,
    /// False if the objects of blocks came in another order than that of their keys.
    is_in_order: bool,
}

/// Adds the objects between two keys, `most_objects` at most. A range with a start is not listed any further once its
/// objects are seen to be out of order.
async fn list_range(
    bucket: &Bucket,
    tenant: &str,
    (start, end): (Option<String>, Option<String>),
    (most_objects, most_blocks): (u64, usize),
    listed: &mut ListedBlocks,
) -> Result<ListedRange> {
    let mut listing = bucket.list_found(tenant, start.as_deref())?;
    let (is_local, mut unfinished) = (bucket.local_path(tenant).is_some(), HashSet::new());
    let (mut count, mut is_in_order, mut before) = (0, true, String::new());
    while let Some(found) = listing.try_next().await? {
        let object = match found {
            Found::Object(object) => object,
            Found::Unread { key, error, .. } if key == tenant => return Err(error),
            Found::Unread { key, path, error } => {
                let error = error_text(&error);
                log_limited!(warn, tenant, path, error, "a listing leaves out what cannot be read");
                listed.unread.extend(key.split('/').nth(1).and_then(layout::parse_block_id));
                continue;
            }
        };
        if end.as_ref().is_some_and(|end| object.key >= *end) {
            break;
        }
        let time = object.last_modified;
        count += 1;
        listed.objects += 1;
        listed.newest = listed.newest.max(Some(time));
        if is_tenant_index(&object.key) {
            listed.index_written = listed.index_written.max(Some(time));
        }
        if let Some((_, id, file)) = parse_block_key(&object.key) {
            // Of other objects the key is not always written as the store has it.
            is_in_order &= before <= object.key;
            before.clone_from(&object.key);
            if is_local {
                unfinished.insert(id);
            }
            if listed.live.len() + listed.compacted.len() >= most_blocks {
                let source = format!("more than {MAX_LISTED_BLOCKS} blocks are listed").into();
                return Err(Error::Unavailable { key: tenant.to_owned(), source });
            }
            match file {
                META => {
                    listed.live.push(id);
                    listed.live_written.push((id, time));
                }
                COMPACTED_META => listed.compacted.push((id, time)),
                NO_COMPACT => drop(listed.no_compact.insert(id)),
                _ => {}
            }
        }
        if count == most_objects {
            return Ok(ListedRange { last: Some(object.key), is_in_order });
        }
        if !is_in_order && start.is_some() {
            break;
        }
    }
    for id in listed.live.iter().chain(listed.compacted.iter().map(|(id, _)| id)) {
        unfinished.remove(id);
        listed.unread.remove(id);
    }
    for id in unfinished.difference(&listed.unread).copied() {
        // Its meta cannot be read, and that must be told.
        if orphans::is_obstructed(bucket, tenant, id).await? {
            listed.live.push(id);
        }
    }
    Ok(ListedRange { last: None, is_in_order })
}

#[cfg(test)]
mod tests;
