//! The bucket that a command works on, and the blocks in it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tactus_config::Config;
use tactus_storage::block_io::{
    ListedBlocks, list_blocks, list_tenants, read_compacted_meta, read_meta,
};
use tactus_storage::blocklist::BlockChanges;
use tactus_storage::layout::{
    TENANT_INDEX_JSON, TENANT_INDEX_PROTO, check_tenant, tenant_index_key,
};
use tactus_storage::tenant_index::{MAX_STORED_BYTES, TenantIndex};
use tactus_storage::{
    BlockMeta, Blocklist, Bucket, BucketSettings, CompactedBlockMeta, Timestamp, Uuid,
};

use crate::arguments::Global;
use crate::error::{Error, Result};
use crate::progress;

/// Metas read at a time.
const META_CONCURRENCY: usize = 50;

/// Opens the bucket that the arguments name. Errors: it cannot be read; the text names the setting.
pub(crate) async fn open(global: &Global) -> Result<Bucket> {
    let settings = match &global.path {
        Some(path) => BucketSettings::Local { path: path.clone() },
        None => {
            let Some(config) = configuration(global)? else {
                let text = "name the bucket: -c FILE (the server's configuration) or --path DIR";
                return Err(Error::Usage(text.to_owned()));
            };
            let settings = tactus_process::bucket::bucket(&config.storage.trace);
            settings.map_err(|error| Error::Setup(error.to_string()))?
        }
    };
    if let BucketSettings::Local { path } = &settings
        && !path.is_dir()
    {
        // Opening would create it, and an empty bucket would hide the wrong path.
        return Err(Error::NotFound(format!("{} is not a directory", path.display())));
    }
    let bucket = Bucket::open(&settings)?;
    bucket.check_reading().await?;
    Ok(bucket)
}

/// The server's configuration, if the arguments name one.
pub(crate) fn configuration(global: &Global) -> Result<Option<Config>> {
    let Some(path) = &global.config else { return Ok(None) };
    let mut arguments = vec![format!("-config.file={}", path.display())];
    if global.expand_env {
        arguments.push("-config.expand-env=true".to_owned());
    }
    Ok(Some(tactus_config::load(&arguments, |name| std::env::var(name).ok())?.config))
}

/// The tenants of the bucket, sorted.
pub(crate) async fn tenants(bucket: &Bucket) -> Result<Vec<String>> {
    Ok(list_tenants(bucket).await?)
}

/// The blocks of a tenant, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// Blocks that queries read, by id.
    pub(crate) live: Vec<Arc<BlockMeta>>,
    /// Compacted blocks that still exist, by id.
    pub(crate) compacted: Vec<Arc<CompactedBlockMeta>>,
    /// Blocks whose meta is damaged.
    pub(crate) unreadable: Vec<Uuid>,
    /// How many of these queries would read.
    pub(crate) unread: u64,
}

/// How one listed block is handled.
enum Found {
    Live(Arc<BlockMeta>),
    Compacted(Arc<CompactedBlockMeta>),
    Unreadable { id: Uuid, is_live: bool },
    Gone,
}

/// All blocks of a tenant that the bucket lists now. Metas are taken from the tenant index if it has them, so that many
/// blocks take only a listing and a few reads.
///
/// Errors: no such tenant; those of the bucket. A damaged meta is no error.
pub(crate) async fn blocks(bucket: &Bucket, tenant: &str) -> Result<Blocks> {
    let blocks = blocks_of_known(bucket, tenant).await?;
    let is_empty = blocks.live.is_empty() && blocks.compacted.is_empty();
    if is_empty && blocks.unreadable.is_empty() && !exists(bucket, tenant).await? {
        return Err(Error::NotFound(format!("the bucket has no tenant {tenant}")));
    }
    Ok(blocks)
}

/// As [`blocks`], of a tenant that is known to exist: of one that does not, there are none.
pub(crate) async fn blocks_of_known(bucket: &Bucket, tenant: &str) -> Result<Blocks> {
    check_tenant(tenant)?;
    let spinner = progress::spinner("listing blocks");
    let listed = list_blocks(bucket, tenant, bucket.list_concurrency()).await?;
    let index = read_index(bucket, tenant).await?.unwrap_or_else(empty_index);
    spinner.finish_and_clear();
    read_metas(bucket, tenant, listed, &index).await
}

/// All blocks of a tenant, with every meta read from its block. Use this to write the tenant index.
pub(crate) async fn fresh_blocks(bucket: &Bucket, tenant: &str) -> Result<Blocks> {
    let listed = list_blocks(bucket, tenant, bucket.list_concurrency()).await?;
    read_metas(bucket, tenant, listed, &empty_index()).await
}

/// The live blocks of the tenant in its index; none if there is no index or it is damaged. The index of a directory that was
/// copied or renamed names those of another tenant.
pub(crate) async fn indexed_metas(
    bucket: &Bucket,
    tenant: &str,
) -> Result<HashMap<Uuid, Arc<BlockMeta>>> {
    let index = read_index(bucket, tenant).await?.unwrap_or_else(empty_index);
    let own = index.live.into_iter().filter(|meta| meta.tenant_id == tenant);
    Ok(own.map(|meta| (meta.block_id, meta)).collect())
}

async fn exists(bucket: &Bucket, tenant: &str) -> Result<bool> {
    Ok(tenants(bucket).await?.iter().any(|known| known == tenant))
}

async fn read_metas(
    bucket: &Bucket,
    tenant: &str,
    listed: ListedBlocks,
    index: &TenantIndex,
) -> Result<Blocks> {
    // The index of a directory that was copied or renamed names blocks whose meta is refused.
    let is_own = |meta: &BlockMeta| meta.tenant_id == tenant;
    let live = index.live.iter().filter(|meta| is_own(meta));
    let indexed_live: HashMap<_, _> = live.map(|meta| (meta.block_id, meta)).collect();
    let compacted = index.compacted.iter().filter(|block| is_own(&block.meta));
    let indexed_compacted: HashMap<_, _> =
        compacted.map(|block| (block.meta.block_id, block)).collect();
    // Of what cannot be looked at, nothing is known.
    let (unread, unreadable) =
        (listed.unread.len() as u64, listed.unread.iter().copied().collect());
    let mut blocks = Blocks { unread, unreadable, ..Blocks::default() };
    let mut unknown = Vec::new();
    for id in listed.live {
        match indexed_live.get(&id) {
            Some(meta) => blocks.live.push(Arc::clone(meta)),
            None => unknown.push((id, None)),
        }
    }
    for (id, time) in listed.compacted {
        let known = indexed_compacted.get(&id).map(|block| &block.meta);
        match known.or_else(|| indexed_live.get(&id).map(|meta| &***meta)) {
            Some(meta) => blocks.add_compacted(meta.clone(), time),
            None => unknown.push((id, Some(time))),
        }
    }
    let bar = progress::bar("reading metas", unknown.len() as u64);
    let mut reads = stream::iter(unknown)
        .map(|(id, compacted)| read_one(bucket, tenant, id, compacted))
        .buffer_unordered(META_CONCURRENCY);
    while let Some(found) = reads.next().await {
        bar.inc(1);
        match found? {
            Found::Live(meta) => blocks.live.push(meta),
            Found::Compacted(block) => blocks.compacted.push(block),
            Found::Unreadable { id, is_live } => {
                blocks.unreadable.push(id);
                blocks.unread += u64::from(is_live);
            }
            Found::Gone => {}
        }
    }
    bar.finish_and_clear();
    blocks.live.sort_unstable_by_key(|meta| meta.block_id);
    blocks.compacted.sort_unstable_by_key(|block| block.meta.block_id);
    blocks.unreadable.sort_unstable();
    Ok(blocks)
}

async fn read_one(
    bucket: &Bucket,
    tenant: &str,
    id: Uuid,
    compacted: Option<Timestamp>,
) -> Result<Found> {
    let read = match compacted {
        None => read_meta(bucket, tenant, id).await.map(|meta| Found::Live(Arc::new(meta))),
        Some(compacted_time) => read_compacted_meta(bucket, tenant, id)
            .await
            .map(|meta| Found::Compacted(Arc::new(CompactedBlockMeta { meta, compacted_time }))),
    };
    match read {
        Err(error) if error.is_corrupt() => {
            Ok(Found::Unreadable { id, is_live: compacted.is_none() })
        }
        // The block was compacted or deleted since the listing.
        Err(error) if error.is_not_found() => Ok(Found::Gone),
        other => Ok(other?),
    }
}

impl Blocks {
    /// The block list that a server would have. It knows which blocks were merged into others, also through compacted ones.
    pub(crate) fn blocklist(&self, tenant: &str) -> Arc<Blocklist> {
        let blocklist = Blocklist::new();
        let changes = BlockChanges {
            add: self.live.clone(),
            add_compacted: self.compacted.clone(),
            ..BlockChanges::default()
        };
        blocklist.change(tenant, changes);
        Arc::new(blocklist)
    }

    fn add_compacted(&mut self, meta: BlockMeta, compacted_time: Timestamp) {
        self.compacted.push(Arc::new(CompactedBlockMeta { meta, compacted_time }));
    }
}

/// The meta of one block, and whether the block is compacted.
pub(crate) async fn find_meta(
    bucket: &Bucket,
    tenant: &str,
    id: Uuid,
) -> Result<(BlockMeta, bool)> {
    check_tenant(tenant)?;
    match read_meta(bucket, tenant, id).await {
        Err(error) if error.is_not_found() => {}
        read => return Ok((read?, false)),
    }
    match read_compacted_meta(bucket, tenant, id).await {
        Err(error) if error.is_not_found() => {
            Err(Error::NotFound(format!("tenant {tenant} has no block {id}")))
        }
        read => Ok((read?, true)),
    }
}

pub(crate) type DecodeIndex = fn(&[u8]) -> tactus_storage::Result<TenantIndex>;

/// Both files of a tenant index; readers prefer the first.
pub(crate) const INDEX_FILES: [(&str, DecodeIndex); 2] = [
    (TENANT_INDEX_PROTO, TenantIndex::from_proto_zst),
    (TENANT_INDEX_JSON, TenantIndex::from_json_gz),
];

/// The tenant index as readers see it; `None` if there is none or it is damaged.
async fn read_index(bucket: &Bucket, tenant: &str) -> Result<Option<TenantIndex>> {
    for (name, decode) in INDEX_FILES {
        if let Ok(index) = read_index_file(bucket, tenant, name, decode).await? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// One file of a tenant index, or why readers do without it: there is none, or it is damaged.
pub(crate) async fn read_index_file(
    bucket: &Bucket,
    tenant: &str,
    name: &str,
    decode: DecodeIndex,
) -> Result<tactus_storage::Result<TenantIndex>> {
    match bucket.get_at_most(&tenant_index_key(tenant, name), MAX_STORED_BYTES).await {
        Ok(bytes) => {
            let decoded = tokio::task::spawn_blocking(move || decode(&bytes));
            let decoded = decoded.await.map_err(Error::thread)?;
            Ok(decoded.map_err(|error| error.with_key(name)))
        }
        // A file that is larger than any index is damaged as well.
        Err(error) if error.is_not_found() || error.is_corrupt() => Ok(Err(error)),
        Err(error) => Err(error.into()),
    }
}

fn empty_index() -> TenantIndex {
    TenantIndex::empty(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::copy;

    #[tokio::test]
    async fn only_a_tenant_that_is_asked_for_has_to_exist() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        assert!(matches!(blocks(&bucket, "nobody").await, Err(Error::NotFound(_))));
        assert!(blocks_of_known(&bucket, "nobody").await.unwrap().live.is_empty());
        std::fs::create_dir(directory.path().join("empty")).unwrap();
        assert!(blocks(&bucket, "empty").await.unwrap().live.is_empty());
    }
}
