//! All objects of a tenant, from one listing.

use std::collections::BTreeMap;

use tactus_storage::layout::{
    COMPACTED_META, DATA, META, block_prefix, check_tenant, parse_block_key,
};
use tactus_storage::{Bucket, Timestamp, Uuid};

use crate::error::{Error, Result};
use crate::progress;

/// The blocks of a tenant.
#[derive(Debug)]
pub(super) struct ListedTenant {
    pub(super) blocks: BTreeMap<Uuid, ListedBlock>,
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
        Ok(Self { blocks })
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
