//! Bloom filters of blocks: read once, and kept in less memory than they take as files.

use std::time::Duration;

use tactus_cache::{Key, Role};
use tactus_model::TraceId;
use tactus_storage::bloom::{BloomShard, shard_of};
use tactus_storage::layout;
use tactus_storage::{BlockMeta, BlockReader, Timestamp};

use super::Blocks;
use crate::block_part::key_of;
use crate::error::Result;

impl Blocks {
    /// False if the block certainly does not hold the trace. Also returns the bytes read.
    ///
    /// A filter only saves reads: if it is missing or damaged, the block's data has to tell.
    pub(crate) async fn may_contain(&self, meta: &BlockMeta, id: TraceId) -> Result<(bool, u64)> {
        let shards = meta.bloom_shard_count();
        let key = (key_of(meta), shard_of(&id.0, shards));
        if let Some(bloom) = self.blooms.get(&key) {
            return Ok((bloom.may_contain(&id.0), 0));
        }
        let (filter, read) = match self.read_bloom(meta, key.1).await {
            Ok(read) => read,
            Err(error) => {
                let (tenant, block_id) = (meta.tenant_id.as_str(), meta.block_id);
                let what = self.damage(tenant, block_id, error).await?;
                if self.is_news(block_id, "bloom") {
                    tracing::warn!(tenant, %block_id, what, "bloom filter cannot be read, traces are looked for in the block's data");
                }
                return Ok((true, 0));
            }
        };
        let found = filter.may_contain(&id.0);
        self.blooms.insert(key, filter.folded());
        Ok((found, read))
    }

    /// Reads a bloom filter from a shared cache, or else from the bucket. Also returns the bytes read.
    async fn read_bloom(&self, meta: &BlockMeta, shard: u32) -> Result<(BloomShard, u64)> {
        let file = layout::bloom_name(shard);
        let cache = self.caches.of(Role::Bloom).filter(|_| self.is_admitted(meta));
        let key = Key::new(&[
            &Role::Bloom,
            &meta.tenant_id,
            &meta.block_id,
            &meta.bloom_shard_count(),
            &file,
        ]);
        if let Some(cache) = cache
            && let Some(bytes) = cache.get(&key).await
            && let length = bytes.len() as u64
            && let Ok(filter) = BloomShard::decode(bytes)
        {
            return Ok((filter, length));
        }
        let reader = BlockReader::new(self.bucket.clone(), meta);
        let bytes = reader.read_bloom(&file).await?;
        let length = bytes.len() as u64;
        let filter = BloomShard::decode(bytes.clone())
            .map_err(|error| error.with_key(&reader.key(&file)))?;
        if let Some(cache) = cache {
            cache.put(&key, &bytes);
        }
        Ok((filter, length))
    }

    /// True if bloom filters of the block go into a shared cache.
    fn is_admitted(&self, meta: &BlockMeta) -> bool {
        let seconds = Timestamp::now().as_second().saturating_sub(meta.end_unix_seconds());
        let age = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        self.bloom_admission.admits(meta.compaction_level, age)
    }
}
