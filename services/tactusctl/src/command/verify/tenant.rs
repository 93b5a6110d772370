//! All objects of a tenant, from one listing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tactus_storage::layout::{
    COMPACTED_META, DATA, META, block_prefix, check_tenant, parse_block_key,
};
use tactus_storage::{BlockMeta, Bucket, Timestamp, Uuid};
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::{bucket, progress};

/// The blocks of a tenant.
#[derive(Debug)]
pub(super) struct ListedTenant {
    pub(super) name: String,
    pub(super) blocks: BTreeMap<Uuid, ListedBlock>,
    /// The live blocks of the tenant index, read when the first of them is asked for.
    index: OnceCell<HashMap<Uuid, Arc<BlockMeta>>>,
}

/// The files of one block.
#[derive(Debug, Default)]
pub(super) struct ListedBlock {
    /// Size and last modification by name.
    pub(super) files: BTreeMap<String, (u64, Timestamp)>,
}

impl ListedTenant {
    /// Lists a tenant, or one block of it. Errors: it is not there; those of the bucket.
    pub(super) async fn list(bucket: &Bucket, tenant: &str, block: Option<Uuid>) -> Result<Self> {
        check_tenant(tenant)?;
        let spinner = progress::spinner("listing objects");
        let prefix = block.map_or_else(|| tenant.to_owned(), |id| block_prefix(tenant, id));
        let objects = bucket.list(&prefix).await?;
        spinner.finish_and_clear();
        if objects.is_empty() {
            let what = format!("the bucket has nothing below {prefix}");
            return Err(Error::NotFound(what));
        }
        let mut blocks: BTreeMap<Uuid, ListedBlock> = BTreeMap::new();
        for object in objects {
            if let Some((_, id, file)) = parse_block_key(&object.key) {
                let facts = (object.size, object.last_modified);
                blocks.entry(id).or_default().files.insert(file.to_owned(), facts);
            }
        }
        Ok(Self { name: tenant.to_owned(), blocks, index: OnceCell::new() })
    }

    /// The meta that the tenant index has for a live block. Readers take metas from there.
    pub(super) async fn indexed(
        &self,
        bucket: &Bucket,
        id: Uuid,
    ) -> Result<Option<&Arc<BlockMeta>>> {
        let index =
            self.index.get_or_try_init(|| bucket::indexed_metas(bucket, &self.name)).await?;
        Ok(index.get(&id))
    }
}

impl ListedBlock {
    /// True if queries read it.
    pub(super) fn is_live(&self) -> bool {
        self.files.contains_key(META)
    }

    /// True if it is marked compacted.
    pub(super) fn is_compacted(&self) -> bool {
        !self.is_live() && self.files.contains_key(COMPACTED_META)
    }

    /// Bytes of its data; 0 if it is not live.
    pub(super) fn data_bytes(&self) -> u64 {
        self.files.get(DATA).filter(|_| self.is_live()).map_or(0, |(size, _)| *size)
    }

    /// Bytes of all its files.
    pub(super) fn all_bytes(&self) -> u64 {
        self.files.values().map(|(size, _)| *size).sum()
    }
}

#[cfg(test)]
mod tests {
    use tactus_storage::BucketSettings;
    use tactus_storage::layout::{TENANT_INDEX_PROTO, tenant_index_key};
    use tactus_storage::tenant_index::TenantIndex;

    use super::*;

    /// A bucket in which the index of a tenant has one block of the tenant `acme`.
    async fn indexed_at(tenant: &str) -> (tempfile::TempDir, Bucket, Arc<BlockMeta>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let meta = Arc::new(BlockMeta { tenant_id: "acme".to_owned(), ..BlockMeta::default() });
        let index = TenantIndex {
            live: vec![Arc::clone(&meta)],
            ..TenantIndex::empty(Timestamp::UNIX_EPOCH)
        };
        let key = tenant_index_key(tenant, TENANT_INDEX_PROTO);
        bucket.put(&key, index.to_proto_zst().into()).await.unwrap();
        (directory, bucket, meta)
    }

    #[tokio::test]
    async fn index_is_read_once() {
        let (_directory, bucket, meta) = indexed_at("acme").await;
        let listed = ListedTenant::list(&bucket, "acme", None).await.unwrap();
        assert_eq!(listed.indexed(&bucket, meta.block_id).await.unwrap(), Some(&meta));
        bucket.delete(&tenant_index_key("acme", TENANT_INDEX_PROTO)).await.unwrap();
        assert_eq!(listed.indexed(&bucket, meta.block_id).await.unwrap(), Some(&meta));
        assert_eq!(listed.indexed(&bucket, Uuid::new_v4()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn copied_index_names_no_block_of_the_original() {
        let (_directory, bucket, meta) = indexed_at("copy").await;
        let listed = ListedTenant::list(&bucket, "copy", None).await.unwrap();
        assert_eq!(listed.indexed(&bucket, meta.block_id).await.unwrap(), None);
    }
}
