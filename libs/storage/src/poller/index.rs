//! The part of a poll that reads an index: takes the index that another process wrote, and adds this process's own
//! changes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::metas::{Found, Wanted};
use super::room::{Choice, Refused};
use super::{Poller, Share, Tenant, TenantPoll};
use crate::blocklist::{BlockChanges, TenantBlocks};
use crate::bucket::off_runtime;
use crate::error::{Error, Result};
use crate::layout::{
    COMPACTED_META, META, TENANT_INDEX_JSON, TENANT_INDEX_PROTO, block_key, tenant_index_key,
};
use crate::meta::MAX_AHEAD;
use crate::tenant_index::{Choose, MAX_STORED_BYTES, META_FORM, TenantIndex};

impl Poller {
    /// The blocks that the index names; `None` if this process has listed the bucket since: the index lacks what it found.
    pub(super) async fn read_index(&self, tenant: &Tenant) -> Result<Option<TenantPoll>> {
        let share = Arc::new(tenant.share());
        // A copied index must not show one tenant's blocks to another.
        let (choice, refused) = choice(tenant, &share);
        let mut index = self.load_index(&tenant.name, choice).await?;
        self.memory.set_index(&tenant.name, Some(index.created_at));
        let age = Timestamp::now().duration_since(index.created_at);
        self.check_age(&tenant.name, &index, age)?;
        if self.memory.was_listed_after(&tenant.name, index.created_at) {
            return Ok(None);
        }
        let foreign = refused.foreign.load(Relaxed);
        if foreign > 0 {
            let tenant = &tenant.name;
            tracing::warn!(tenant, foreign, "tenant index names blocks of another tenant");
        }
        let elsewhere = usize::try_from(index.left_out).unwrap_or(usize::MAX);
        index.left_out = refused.no_room.load(Relaxed).saturating_add(elsewhere) as u64;
        let unseen = self.add_own(tenant, &mut index).await?;
        self.memory.set_old_form(&tenant.name, index.form < META_FORM);
        let blocks = self.arrange(&tenant.name, index, Arc::default()).await?;
        Ok(Some(TenantPoll {
            left_out: blocks.left_out(),
            blocks,
            unseen,
            // None by a clock that is behind.
            index_age: Duration::try_from(age).unwrap_or_default(),
            metas_corrupt: foreign,
            ..TenantPoll::default()
        }))
    }

    /// Reads the index of a tenant, whatever its age: those of its blocks that are chosen.
    async fn load_index(&self, tenant: &str, choice: Choice) -> Result<TenantIndex> {
        let proto = tenant_index_key(tenant, TENANT_INDEX_PROTO);
        let bytes = match self.bucket.get_at_most(&proto, self.max_index_bytes()).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                return self.load_json_index(tenant, choice).await;
            }
            Err(error) => return Err(error),
        };
        decode(proto, move || TenantIndex::from_proto_zst_where(&bytes, choice)).await
    }

    pub(super) async fn load_json_index(
        &self,
        tenant: &str,
        choice: impl Choose + Send + 'static,
    ) -> Result<TenantIndex> {
        let json = tenant_index_key(tenant, TENANT_INDEX_JSON);
        let bytes = self.bucket.get_at_most(&json, self.max_index_bytes()).await?;
        decode(json, move || TenantIndex::from_json_gz_where(&bytes, choice)).await
    }

    /// The largest index, as it is stored. It takes less than half of what its blocks take in memory.
    fn max_index_bytes(&self) -> u64 {
        match self.settings.max_bytes {
            0 => MAX_STORED_BYTES,
            bytes => MAX_STORED_BYTES.min(bytes / 2),
        }
    }

    fn check_age(&self, tenant: &str, index: &TenantIndex, age: SignedDuration) -> Result<()> {
        let limit = self.settings.stale_index_after.and_then(|d| SignedDuration::try_from(d).ok());
        let Some(limit) = limit else { return Ok(()) };
        if age > limit || age < -MAX_AHEAD {
            let source = format!("written at {}", index.created_at).into();
            return Err(Error::Unavailable { key: format!("{tenant} (stale index)"), source });
        }
        Ok(())
    }

    /// Adds this process's changes to an index that may be older, as far as the bucket confirms them. Returns the
    /// changes that the index does not have. The blocks that this process has listed lately are added in the same way, because
    /// clocks differ: also an index that claims to be newer than the listing may be older.
    async fn add_own(&self, tenant: &Tenant, index: &mut TenantIndex) -> Result<BlockChanges> {
        let (own, name) = (&tenant.own, tenant.name.as_str());
        let mut unseen = BlockChanges::default();
        let earliest = index.created_at.checked_sub(MAX_AHEAD);
        let is_doubtful = earliest.is_ok_and(|time| self.memory.was_listed_after(name, time));
        let known: Vec<_> = match is_doubtful {
            true => tenant.previous.all_live().collect(),
            false => own.add.iter().collect(),
        };
        if own.is_empty() && known.is_empty() {
            return Ok(unseen);
        }
        let live: HashSet<Uuid> = index.live.iter().map(|meta| meta.block_id).collect();
        let compacted: HashSet<Uuid> = index.compacted.iter().map(|b| b.meta.block_id).collect();
        let removed: HashSet<Uuid> = own.remove.iter().copied().collect();
        let cleared: HashSet<Uuid> = own.remove_compacted.iter().copied().collect();

        let is_unseen = |id: &Uuid| !live.contains(id) && !compacted.contains(id);
        let added = known.into_iter().filter(|meta| is_unseen(&meta.block_id));
        let added = added.filter(|meta| !removed.contains(&meta.block_id)).cloned();
        let mut reads = stream::iter(added.collect::<Vec<_>>())
            .map(|meta| async move {
                let found = self.find(name, Wanted::Live(meta.block_id)).await?;
                Ok::<_, Error>((meta, found))
            })
            .buffer_unordered(self.settings.meta_concurrency.max(1));
        while let Some((meta, found)) = reads.try_next().await? {
            match found {
                Found::Live(found) => {
                    index.live.push(found);
                    unseen.add.push(meta);
                }
                Found::Compacted(found) => index.compacted.push(found),
                Found::Gone | Found::Corrupt { .. } | Found::NoRoom => {}
            }
        }
        drop(reads);

        for id in removed.iter().filter(|id| live.contains(*id)) {
            if !self.bucket.exists(&block_key(name, *id, META)).await? {
                unseen.remove.push(*id);
            }
        }
        let gone: HashSet<Uuid> = unseen.remove.iter().copied().collect();
        index.live.retain(|meta| !gone.contains(&meta.block_id));

        for block in &own.add_compacted {
            let id = block.meta.block_id;
            let is_unseen = !compacted.contains(&id) && !cleared.contains(&id);
            if is_unseen && self.bucket.exists(&block_key(name, id, COMPACTED_META)).await? {
                index.compacted.push(Arc::clone(block));
                unseen.add_compacted.push(Arc::clone(block));
            }
        }
        for id in cleared.iter().filter(|id| compacted.contains(*id)) {
            if !self.bucket.exists(&block_key(name, *id, COMPACTED_META)).await? {
                unseen.remove_compacted.push(*id);
            }
        }
        let gone: HashSet<Uuid> = unseen.remove_compacted.iter().copied().collect();
        index.compacted.retain(|block| !gone.contains(&block.meta.block_id));
        Ok(unseen)
    }

    /// Sorts the blocks out, off the async runtime.
    pub(super) async fn arrange(
        &self,
        tenant: &str,
        index: TenantIndex,
        no_compact: Arc<HashSet<Uuid>>,
    ) -> Result<TenantBlocks> {
        let [left_out, unread] = [index.left_out, index.unread]
            .map(|blocks| usize::try_from(blocks).unwrap_or(usize::MAX));
        let arrange = move || {
            let all = TenantBlocks::with_no_compact(index.live, index.compacted, no_compact);
            Ok(all.polled(left_out, unread))
        };
        let blocks = off_runtime(tenant, arrange).await?;
        let mut unreadable = BTreeMap::<_, usize>::new();
        for meta in blocks.unreadable() {
            *unreadable.entry(&meta.format).or_default() += 1;
        }
        for (format, count) in unreadable {
            if self.memory.is_news(format!("{tenant} {format}")) {
                tracing::warn!(
                    tenant,
                    %format,
                    count,
                    "blocks of this version cannot be read, queries answer without them"
                );
            }
        }
        Ok(blocks)
    }
}

/// What is taken of an index of the tenant, and where is counted what is not.
pub(super) fn choice(tenant: &Tenant, share: &Arc<Share>) -> (Choice, Arc<Refused>) {
    let refused = Arc::<Refused>::default();
    let choice = Choice {
        tenant: tenant.name.clone(),
        known: Arc::clone(&tenant.previous),
        share: Arc::clone(share),
        refused: Arc::clone(&refused),
    };
    (choice, refused)
}

async fn decode(
    key: String,
    work: impl FnOnce() -> Result<(TenantIndex, usize)> + Send + 'static,
) -> Result<TenantIndex> {
    let decoded = off_runtime(&key, work).await;
    decoded.map(|(index, _)| index).map_err(|error| error.with_key(&key))
}
