//! The part of a poll that builds an index: lists the bucket, reads the metas of unknown blocks, and writes the index.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tactus_telemetry::error_text;
use uuid::Uuid;

use super::index::choice;
use super::metas::Wanted;
use super::room::Recalled;
use super::{Poller, Share, Tenant, TenantPoll};
use crate::block_io::{self, ListedBlocks, is_older};
use crate::blocklist::TenantBlocks;
use crate::bucket::off_runtime;
use crate::error::Result;
use crate::layout::{
    COMPACTED_META, META, TENANT_INDEX_JSON, TENANT_INDEX_PROTO, block_key, parse_block_key,
    tenant_index_key,
};
use crate::meta::{BlockMeta, CompactedBlockMeta};
use crate::tenant_index::{META_FORM, TenantIndex};

/// The least number of blocks for which a poller reads the index first when it sees a tenant for the first time.
const MIN_RECALLED: usize = 32;

/// A meta is taken from the index only if it is older by at least this much, because clocks differ, and a meta may be
/// written again while an index is made.
const RECALL_MARGIN: SignedDuration = SignedDuration::from_hours(1);

/// What is known before the listing, by block.
struct Known<'a> {
    live: HashMap<Uuid, &'a Arc<BlockMeta>>,
    compacted: HashMap<Uuid, &'a Arc<CompactedBlockMeta>>,
    /// Read by an earlier poll that failed.
    read: HashMap<Uuid, Arc<BlockMeta>>,
}

impl Poller {
    /// Lists the tenant. `write_index`: this process is the one that keeps the tenant's index.
    /// `may_be_incomplete`: there will be no other attempt in this poll.
    pub(super) async fn build(
        &self,
        tenant: &Tenant,
        write_index: bool,
        may_be_incomplete: bool,
    ) -> Result<TenantPoll> {
        let (name, previous) = (tenant.name.as_str(), tenant.previous.as_ref());
        let created_at = Timestamp::now();
        let list = block_io::list_blocks(&self.bucket, name, self.bucket.list_concurrency());
        let mut listed = list.await?;
        let mut known = Known {
            live: match self.memory.is_of_old_form(name) {
                // Metas of an index that lacks keys of ours are read again.
                true => HashMap::new(),
                false => previous.all_live().map(|meta| (meta.block_id, meta)).collect(),
            },
            compacted: previous.compacted().iter().map(|b| (b.meta.block_id, b)).collect(),
            read: self.memory.take_read(name),
        };
        let share = tenant.share();
        if tenant.is_new && listed.live.len() >= MIN_RECALLED {
            self.recall(tenant, &share, &listed, &mut known.read).await;
        }
        let mut live = Vec::with_capacity(listed.live.len());
        let mut compacted = Vec::with_capacity(listed.compacted.len());
        let mut wanted = listed.unknown(&known, &mut live, &mut compacted);
        wanted.extend(listed.vanished(previous).map(Wanted::Live));

        let mut metas = self.read_metas(name, wanted, &share).await;
        let metas_missing = metas.failures.len();
        if let Some(error) = metas.failures.pop() {
            if !(may_be_incomplete && metas.is_complete) {
                self.memory.keep_read(name, with_read(known.read, &metas.live));
                return Err(error);
            }
            // What is not there any more may be in a block whose meta cannot be read: it is read as long as it exists.
            let listed: HashSet<Uuid> = live.iter().map(|meta| meta.block_id).collect();
            let gone = previous.all_live().filter(|meta| !listed.contains(&meta.block_id));
            live.extend(gone.cloned());
            tracing::error!(
                tenant = name,
                metas_missing,
                error = error_text(&error),
                "some block metas cannot be read, queries answer without these blocks"
            );
        } else {
            // What is not listed and has a damaged meta was not deleted.
            let is_damaged = |meta: &&Arc<BlockMeta>| {
                [&metas.corrupt_live, &listed.unread].iter().any(|ids| ids.contains(&meta.block_id))
            };
            live.extend(previous.all_live().filter(is_damaged).cloned());
        }
        let (metas_read, metas_corrupt) = (metas.read, metas.corrupt + listed.unread.len());
        let unread = (metas.corrupt_live.len() + metas_missing + listed.unread.len()) as u64;
        live.append(&mut metas.live);
        compacted.append(&mut metas.compacted);

        let no_compact = Arc::new(std::mem::take(&mut listed.no_compact));
        let left_out = metas.left_out;
        let (left_out_here, form) = (left_out as u64, META_FORM);
        let index =
            TenantIndex { created_at, live, compacted, left_out: left_out_here, unread, form };
        let mut poll = TenantPoll {
            metas_read,
            metas_corrupt,
            metas_missing,
            left_out,
            ..TenantPoll::default()
        };
        let is_empty = index.live.is_empty() && index.compacted.is_empty();
        let index = match (write_index && metas_missing == 0, is_empty && listed.is_empty()) {
            (true, false) => {
                let (index, failures) = self.write_index(name, index).await?;
                poll.index_write_failures = failures;
                if failures == 0 {
                    self.memory.set_index(name, Some(created_at));
                }
                index
            }
            (true, true) if listed.index_written.is_some() => {
                poll.index_write_failures = self.delete_index(name).await;
                index
            }
            (true, true) => {
                poll.is_deleted = self.delete_empty_tenant(name, &listed).await?;
                index
            }
            (false, _) => index,
        };
        poll.blocks = self.arrange(name, index, no_compact).await?;
        match metas_missing {
            0 => self.memory.set_old_form(name, false),
            _ => poll.blocks = poll.blocks.part(),
        }
        Ok(poll)
    }

    /// Takes metas from the JSON index, which carries a checksum, instead of reading each: those that
    /// were written well before it. Without an index that is usable, or of an older form, nothing is known.
    async fn recall(
        &self,
        tenant: &Tenant,
        share: &Share,
        listed: &ListedBlocks,
        read: &mut HashMap<Uuid, Arc<BlockMeta>>,
    ) {
        let Some(index_written) = listed.index_written else { return };
        let wanted = listed.live_before(index_written);
        // This share gives back the room for what is dropped again, and for an index that turns out to be damaged.
        let (choice, _) = choice(tenant, &Arc::new(tenant.share()));
        let recalled = Recalled { choice, wanted };
        let index = match self.load_json_index(&tenant.name, recalled).await {
            Ok(index) => index,
            Err(error) => {
                let tenant = &tenant.name;
                tracing::debug!(
                    tenant,
                    error = error_text(&error),
                    "all block metas are read, the index is not usable"
                );
                return;
            }
        };
        self.memory.set_index(&tenant.name, Some(index.created_at));
        if index.form < META_FORM {
            return;
        }
        let old = listed.live_before(index.created_at.min(index_written));
        let known = index.live.into_iter().filter(|meta| old.contains(&meta.block_id));
        let known = known.filter(|meta| share.take(meta.memory_bytes()));
        read.extend(known.map(|meta| (meta.block_id, meta)));
    }

    /// Writes both files, protobuf first, and counts failures: an old index is no reason to work
    /// with an old list here.
    async fn write_index(&self, tenant: &str, index: TenantIndex) -> Result<(TenantIndex, usize)> {
        let encode = move || {
            let files = (index.to_proto_zst(), index.to_json_gz());
            Ok((index, files))
        };
        let (index, (proto, json)) = off_runtime(tenant, encode).await?;
        let mut failures = 0;
        for (name, bytes) in [(TENANT_INDEX_PROTO, proto), (TENANT_INDEX_JSON, json)] {
            let written = self.bucket.put(&tenant_index_key(tenant, name), bytes.into()).await;
            failures += count_failure(tenant, written);
        }
        Ok((index, failures))
    }

    async fn delete_index(&self, tenant: &str) -> usize {
        self.memory.set_index(tenant, None);
        let mut failures = 0;
        for name in [TENANT_INDEX_PROTO, TENANT_INDEX_JSON] {
            let deleted = self.bucket.delete(&tenant_index_key(tenant, name)).await;
            failures += count_failure(tenant, deleted);
        }
        failures
    }

    /// Deletes what a tenant without blocks and index has left, if that is allowed and all of it is
    /// old. True if it did.
    async fn delete_empty_tenant(&self, tenant: &str, listed: &ListedBlocks) -> Result<bool> {
        let Some(age) = self.settings.empty_tenant_deletion else { return Ok(false) };
        if listed.newest.is_none() {
            return block_io::remove_old_directory(&self.bucket, tenant, age).await;
        }
        let is_old =
            |newest: Option<Timestamp>, now| newest.is_some_and(|at| is_older(at, age, now));
        let ours = block_io::our_time();
        // Asking the store for its time costs a write.
        if !is_old(listed.newest, ours) {
            return Ok(false);
        }
        let now = ours.min(block_io::store_time(&self.bucket).await?);
        let objects = self.bucket.list(tenant).await?;
        if !is_old(objects.iter().map(|object| object.last_modified).max(), now) {
            return Ok(false);
        }
        // The bucket may be shared, and objects of other programs must stay.
        if let Some(object) = objects.iter().find(|object| parse_block_key(&object.key).is_none()) {
            if self.memory.is_news(object.key.clone()) {
                let key = &object.key;
                tracing::warn!(
                    tenant,
                    key,
                    "tenant without blocks is kept, for it has other objects"
                );
            }
            return Ok(false);
        }
        // A listing may be incomplete, but reads are not.
        let blocks = objects.iter().filter_map(|object| parse_block_key(&object.key));
        for id in blocks.map(|(_, id, _)| id).collect::<HashSet<_>>() {
            for file in [META, COMPACTED_META] {
                if self.bucket.exists(&block_key(tenant, id, file)).await? {
                    return Ok(false);
                }
            }
        }
        for file in [TENANT_INDEX_PROTO, TENANT_INDEX_JSON] {
            if self.bucket.exists(&tenant_index_key(tenant, file)).await? {
                return Ok(false);
            }
        }
        let count = objects.len();
        self.bucket.delete_all(objects.into_iter().map(|object| object.key).collect()).await?;
        block_io::remove_empty_directories(&self.bucket, tenant).await?;
        tracing::info!(tenant, objects = count, "deleted a tenant without blocks");
        Ok(true)
    }
}

/// The live blocks read so far, for the next poll.
fn with_read(
    mut read: HashMap<Uuid, Arc<BlockMeta>>,
    metas: &[Arc<BlockMeta>],
) -> HashMap<Uuid, Arc<BlockMeta>> {
    read.extend(metas.iter().map(|meta| (meta.block_id, Arc::clone(meta))));
    read
}

fn count_failure(tenant: &str, result: Result<()>) -> usize {
    match result {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(
                tenant,
                error = error_text(&error),
                "tenant index could not be updated"
            );
            1
        }
    }
}

impl ListedBlocks {
    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.compacted.is_empty() && self.unread.is_empty()
    }

    /// Live blocks whose meta was written well before `index`, the time of an index.
    fn live_before(&self, index: Timestamp) -> HashSet<Uuid> {
        let Ok(limit) = index.checked_sub(RECALL_MARGIN) else { return HashSet::new() };
        let old = self.live_written.iter().filter(|(_, written)| *written < limit);
        old.map(|(id, _)| *id).collect()
    }

    /// Sorts known blocks into the lists and returns the others. A block that was live when last
    /// seen and is compacted now keeps its meta; one that was compacted and is listed as live is
    /// unknown, since the listing may be late.
    fn unknown(
        &self,
        known: &Known<'_>,
        live: &mut Vec<Arc<BlockMeta>>,
        compacted: &mut Vec<Arc<CompactedBlockMeta>>,
    ) -> Vec<Wanted> {
        let mut unknown = Vec::new();
        for id in &self.live {
            match known.live.get(id) {
                Some(meta) => live.push(Arc::clone(meta)),
                None => match known.read.get(id) {
                    Some(meta) if !known.compacted.contains_key(id) => live.push(Arc::clone(meta)),
                    _ => unknown.push(Wanted::Live(*id)),
                },
            }
        }
        for (id, time) in &self.compacted {
            let was_live = known.live.get(id).copied().or_else(|| known.read.get(id));
            if let Some(block) = known.compacted.get(id) {
                compacted.push(Arc::clone(block));
            } else if let Some(meta) = was_live {
                let (meta, compacted_time) = (meta.as_ref().clone(), *time);
                compacted.push(Arc::new(CompactedBlockMeta { meta, compacted_time }));
            } else {
                unknown.push(Wanted::Compacted(*id, *time));
            }
        }
        unknown
    }

    /// Blocks that were live and are not listed at all: deleted, or the listing is late. Not those that it could not look
    /// at.
    fn vanished<'a>(&self, previous: &'a TenantBlocks) -> impl Iterator<Item = Uuid> + use<'a> {
        let listed = self.live.iter().chain(self.compacted.iter().map(|(id, _)| id));
        let listed: HashSet<Uuid> = listed.chain(&self.unread).copied().collect();
        let was_live = previous.all_live().map(|meta| meta.block_id);
        was_live.filter(move |id| !listed.contains(id))
    }
}
