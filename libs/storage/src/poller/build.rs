//! The builder's half of a poll: list, read the metas of unknown blocks, write the index.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Chain, Poller, TenantPoll};
use crate::block_io::{self, ListedBlocks};
use crate::blocklist::TenantBlocks;
use crate::error::{Error, Result};
use crate::layout::{TENANT_INDEX_JSON, TENANT_INDEX_PROTO, tenant_index_key};
use crate::meta::{BlockMeta, CompactedBlockMeta};
use crate::tenant_index::TenantIndex;

/// What became of one block's meta.
enum Found {
    Live(Arc<BlockMeta>),
    Compacted(Arc<CompactedBlockMeta>),
    Gone,
    Corrupt,
}

/// What the last poll knew, by block.
struct Known<'a> {
    live: HashMap<Uuid, &'a Arc<BlockMeta>>,
    compacted: HashMap<Uuid, &'a Arc<CompactedBlockMeta>>,
}

impl Poller {
    pub(super) async fn build(
        &self,
        tenant: &str,
        previous: &TenantBlocks,
        write_index: bool,
    ) -> Result<TenantPoll> {
        let created_at = Timestamp::now();
        let listed =
            block_io::list_blocks(&self.bucket, tenant, self.settings.list_concurrency).await?;
        let known = Known {
            live: previous.live().iter().map(|meta| (meta.block_id, meta)).collect(),
            compacted: previous.compacted().iter().map(|b| (b.meta.block_id, b)).collect(),
        };
        let mut live = Vec::with_capacity(listed.live.len());
        let mut compacted = Vec::with_capacity(listed.compacted.len());
        let (mut metas_read, mut metas_corrupt) = (0, 0);

        let concurrency = self.settings.meta_concurrency.max(1);
        let unknown: Vec<_> = listed.unknown(&known, &mut live, &mut compacted);
        let mut reads = stream::iter(unknown)
            .map(|block| self.read_unknown(tenant, block))
            .buffer_unordered(concurrency);
        while let Some(found) = reads.try_next().await? {
            metas_read += 1;
            match found {
                Found::Live(meta) => live.push(meta),
                Found::Compacted(block) => compacted.push(block),
                Found::Gone => {}
                Found::Corrupt => metas_corrupt += 1,
            }
        }
        drop(reads);

        let index = TenantIndex { created_at, live, compacted };
        let (index, index_write_failures) = match (write_index, listed.is_empty()) {
            (true, false) => self.write_index(tenant, index).await?,
            (true, true) if listed.has_index => (index, self.delete_index(tenant).await),
            _ => (index, 0),
        };
        let mut live = index.live;
        if self.settings.skip_no_compact {
            live.retain(|meta| !listed.no_compact.contains(&meta.block_id));
        }
        let blocks = TenantBlocks::new(live, index.compacted);
        Ok(TenantPoll { blocks, metas_read, metas_corrupt, index_write_failures })
    }

    async fn read_unknown(&self, tenant: &str, block: Unknown) -> Result<Found> {
        let found = match block {
            Unknown::Live(id) => self.read_live(tenant, id).await,
            Unknown::Compacted(id, time) => self.read_compacted(tenant, id, time).await,
        };
        match found {
            Err(error @ (Error::Corrupt { .. } | Error::Invalid { .. })) => {
                tracing::warn!(tenant, error = %Chain(&error), "block is left out, its meta is not usable");
                Ok(Found::Corrupt)
            }
            Err(error) if error.is_not_found() => Ok(Found::Gone),
            result => result,
        }
    }

    async fn read_live(&self, tenant: &str, id: Uuid) -> Result<Found> {
        match block_io::read_meta(&self.bucket, tenant, id).await {
            Ok(meta) => Ok(Found::Live(Arc::new(meta))),
            // Marked since the listing.
            Err(error) if error.is_not_found() => {
                self.read_compacted(tenant, id, Timestamp::now()).await
            }
            Err(error) => Err(error),
        }
    }

    async fn read_compacted(&self, tenant: &str, id: Uuid, time: Timestamp) -> Result<Found> {
        let meta = block_io::read_compacted_meta(&self.bucket, tenant, id).await?;
        Ok(Found::Compacted(Arc::new(CompactedBlockMeta { meta, compacted_time: time })))
    }

    /// Writes both files, protobuf first, and counts failures: an old index is no reason to work
    /// with an old list here.
    async fn write_index(&self, tenant: &str, index: TenantIndex) -> Result<(TenantIndex, usize)> {
        let encoded = tokio::task::spawn_blocking(move || {
            let files = (index.to_proto_zst(), index.to_json_gz());
            (index, files)
        });
        let (index, (proto, json)) = encoded
            .await
            .map_err(|error| Error::Unavailable { key: tenant.into(), source: error.into() })?;
        let mut failures = 0;
        for (name, bytes) in [(TENANT_INDEX_PROTO, proto), (TENANT_INDEX_JSON, json)] {
            let written = self.bucket.put(&tenant_index_key(tenant, name), bytes.into()).await;
            failures += count_failure(tenant, written);
        }
        Ok((index, failures))
    }

    async fn delete_index(&self, tenant: &str) -> usize {
        let mut failures = 0;
        for name in [TENANT_INDEX_PROTO, TENANT_INDEX_JSON] {
            let deleted = self.bucket.delete(&tenant_index_key(tenant, name)).await;
            failures += count_failure(tenant, deleted);
        }
        failures
    }
}

fn count_failure(tenant: &str, result: Result<()>) -> usize {
    match result {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(tenant, error = %Chain(&error), "tenant index could not be updated");
            1
        }
    }
}

/// A listed block whose meta must be read.
enum Unknown {
    Live(Uuid),
    Compacted(Uuid, Timestamp),
}

impl ListedBlocks {
    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.compacted.is_empty()
    }

    /// Sorts known blocks into the lists and returns the others. A block that was live when last
    /// seen and is compacted now keeps its meta.
    fn unknown(
        &self,
        known: &Known<'_>,
        live: &mut Vec<Arc<BlockMeta>>,
        compacted: &mut Vec<Arc<CompactedBlockMeta>>,
    ) -> Vec<Unknown> {
        let mut unknown = Vec::new();
        for id in &self.live {
            match known.live.get(id) {
                Some(meta) => live.push(Arc::clone(meta)),
                None => unknown.push(Unknown::Live(*id)),
            }
        }
        for (id, time) in &self.compacted {
            if let Some(block) = known.compacted.get(id) {
                compacted.push(Arc::clone(block));
            } else if let Some(meta) = known.live.get(id) {
                let (meta, compacted_time) = (meta.as_ref().clone(), *time);
                compacted.push(Arc::new(CompactedBlockMeta { meta, compacted_time }));
            } else {
                unknown.push(Unknown::Compacted(*id, *time));
            }
        }
        unknown
    }
}
