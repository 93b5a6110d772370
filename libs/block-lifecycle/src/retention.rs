//! Retention: deletes blocks by age and by total size, and blocks that were merged into others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tactus_config::PromDuration;
use tactus_config::sections::compactor::Compaction;
use tactus_config::sections::overrides::CompactionLimits;
use tactus_storage::block_io::{
    clear_block, has_clock, mark_compacted, missing_file, read_meta, store_time,
};
use tactus_storage::blocklist::{BlockChanges, TenantBlocks};
use tactus_storage::layout::{META, block_key};
use tactus_storage::{BlockMeta, CompactedBlockMeta, Timestamp, Uuid};
use tactus_telemetry::error_text;

use crate::compactor::Compactor;
use crate::error::Result;

/// A larger difference between clocks is logged.
const MAX_CLOCK_DIFFERENCE_SECONDS: i64 = 900;

/// Tenants at a time. Zero is the default, as the start warns.
fn concurrency(compaction: &Compaction) -> usize {
    match compaction.retention_concurrency {
        0 => Compaction::default().retention_concurrency,
        tenants => tenants,
    }
}

impl Compactor {
    /// One run over all tenants. Blocks that cannot be marked or deleted are counted, logged and tried again in the
    /// next run.
    pub(crate) async fn run_retention(&self) {
        let started = std::time::Instant::now();
        let Some(now) = self.time_to_delete_by().await else { return };
        let expiry = if self.is_time_doubted() {
            tracing::error!("the clock of this machine was set ahead: for a day nothing expires");
            None
        } else {
            Some(now)
        };
        let tenants = self.blocklist.tenants();
        stream::iter(&tenants)
            .for_each_concurrent(concurrency(&self.settings.compaction), |tenant| async {
                self.retain_tenant(tenant, now, expiry).await;
            })
            .await;
        if self.settings.compaction.max_bucket_bytes > 0 && (self.owns)("retention-by-size") {
            self.retain_by_bucket_size(&tenants).await;
        }
        self.metrics.retention_duration.observe_duration(started.elapsed());
    }

    /// The earlier of our clock and the store's; `None` if ours has just jumped or the store does not answer.
    pub(crate) async fn time_to_delete_by(&self) -> Option<Timestamp> {
        let ours = self.clock.now()?;
        match store_time(&self.bucket).await {
            Ok(theirs) => {
                let ahead = ours.duration_since(theirs).as_secs();
                if ahead.abs() > MAX_CLOCK_DIFFERENCE_SECONDS {
                    tracing::error!(
                        seconds = ahead,
                        "the clock of this machine is ahead of object storage's; the earlier one counts"
                    );
                }
                let now = ours.min(theirs);
                if !self.is_time_doubted() {
                    self.clock.trust(now);
                }
                Some(now)
            }
            Err(error) => {
                tracing::error!(
                    error = error_text(&error),
                    "cannot ask object storage for its time: no retention in this round"
                );
                None
            }
        }
    }

    /// True if our clock was set ahead, and the store has no clock of its own that would be earlier.
    fn is_time_doubted(&self) -> bool {
        !has_clock(&self.bucket) && self.clock.is_doubted()
    }

    /// `expiry`: data that is older expires; `None`: nothing does.
    async fn retain_tenant(&self, tenant: &str, now: Timestamp, expiry: Option<Timestamp>) {
        let limits = (self.settings.limits)(tenant).compaction;
        let blocks = self.blocklist.tenant(tenant);
        // These are inputs of a merge that was killed before it marked them. All their spans are in another live block.
        let mut whole: HashMap<Uuid, bool> = HashMap::new();
        for meta in blocks.superseded().filter(|meta| self.owns_block(meta)) {
            let by = blocks.superseded_by(meta.block_id).and_then(|by| blocks.shared_meta(by));
            let Some(by) = by else { continue };
            let is_whole = match whole.get(&by.block_id) {
                Some(&known) => known,
                None => self.is_whole(tenant, &by).await,
            };
            whole.insert(by.block_id, is_whole);
            if is_whole {
                self.retire(tenant, meta, "replaced").await;
            }
        }
        if let Some(limit) =
            expiry.zip(longest_retention(&limits)).and_then(|(now, keep)| before(now, keep))
        {
            let expired = blocks.live().iter().filter(|meta| meta.last_time() < limit);
            for meta in expired.filter(|meta| self.owns_block(meta)) {
                self.retire(tenant, meta, "older than the retention").await;
            }
        }
        if limits.max_bytes > 0 && (self.owns)(&format!("retention-by-size-{tenant}")) {
            let blocks = self.blocklist.tenant(tenant);
            for meta in oldest_beyond(blocks.live().iter().cloned(), limits.max_bytes) {
                self.retire(tenant, &meta, "beyond the tenant's size").await;
            }
        }
        self.clear_compacted(tenant, now).await;
    }

    /// True if the block is in the bucket with all its files: what it was merged from may be the last copy. One that lacks
    /// a file is taken out, if all that it was merged from is there: then that is read again, and merged again.
    async fn is_whole(&self, tenant: &str, meta: &BlockMeta) -> bool {
        let block = meta.block_id;
        let missing = match self.missing_file(tenant, meta).await {
            Ok(None) => return true,
            Ok(Some(file)) => file,
            Err(error) => {
                let error = error_text(&error);
                tracing::warn!(tenant, %block, error, "cannot look for the files of a merged block: what it was merged from is kept");
                return false;
            }
        };
        self.metrics.retention_errors.inc();
        if !self.are_whole(tenant, meta.sources()).await {
            tracing::error!(tenant, %block, missing, "a merged block lacks a file, and so does a block that it was merged from");
            return false;
        }
        let meta_key = block_key(tenant, block, META);
        match self.bucket.delete(&meta_key).await {
            Ok(()) => {
                tracing::error!(tenant, %block, missing, "a merged block lacks a file: it is taken out, and what it was merged from is read again");
                let remove = vec![block];
                self.blocklist.change(tenant, BlockChanges { remove, ..BlockChanges::default() });
            }
            Err(error) => {
                let error = error_text(&error);
                tracing::error!(tenant, %block, missing, error, "a merged block lacks a file, and cannot be taken out");
            }
        }
        false
    }

    /// The first file that the bucket does not have of a live block.
    async fn missing_file(&self, tenant: &str, meta: &BlockMeta) -> Result<Option<String>> {
        // The list may be outdated.
        let stored = read_meta(&self.bucket, tenant, meta.block_id).await?;
        Ok(missing_file(&self.bucket, &stored).await?)
    }

    /// True if these are live blocks with all their files.
    async fn are_whole(&self, tenant: &str, blocks: &[Uuid]) -> bool {
        let known = self.blocklist.tenant(tenant);
        for &block in blocks {
            let Some(meta) = known.shared_meta(block).filter(|_| known.has_live(block)) else {
                return false;
            };
            if !matches!(self.missing_file(tenant, &meta).await, Ok(None)) {
                return false;
            }
        }
        !blocks.is_empty()
    }

    async fn retain_by_bucket_size(&self, tenants: &[String]) {
        let lists = tenants.iter().map(|tenant| self.blocklist.tenant(tenant));
        let all: Vec<_> = lists.flat_map(|blocks| blocks.live().to_vec()).collect();
        for meta in oldest_beyond(all.into_iter(), self.settings.compaction.max_bucket_bytes) {
            self.retire(&meta.tenant_id, &meta, "beyond the bucket's size").await;
        }
    }

    /// Marks a block compacted, unless a merge is reading it, which will mark it itself.
    async fn retire(&self, tenant: &str, meta: &Arc<BlockMeta>, reason: &'static str) {
        if self.is_busy(meta.block_id) {
            return;
        }
        match self.mark(tenant, meta).await {
            Ok(()) => {
                self.metrics.retention_marked.inc();
                tracing::info!(tenant, block = %meta.block_id, reason, "block is marked compacted: it is not read any more, and deleted later");
            }
            Err(error) => {
                self.metrics.retention_errors.inc();
                let error = error_text(&error);
                tracing::error!(tenant, block = %meta.block_id, error, "cannot mark the block");
            }
        }
    }

    /// Marks a block compacted, in the bucket and in the list. A block that somebody else deleted leaves the list as
    /// well.
    pub(crate) async fn mark(&self, tenant: &str, meta: &Arc<BlockMeta>) -> Result<()> {
        let mut changes = BlockChanges::default();
        self.mark_in_bucket(tenant, meta, &mut changes).await?;
        self.blocklist.change(tenant, changes);
        Ok(())
    }

    /// The part of [`Self::mark`] in the bucket. The changes to the list are added to `changes`, because applying them
    /// together is cheaper.
    pub(crate) async fn mark_in_bucket(
        &self,
        tenant: &str,
        meta: &Arc<BlockMeta>,
        changes: &mut BlockChanges,
    ) -> Result<()> {
        match mark_compacted(&self.bucket, tenant, meta.block_id).await {
            Ok(compacted_time) => {
                let meta = (**meta).clone();
                changes.add_compacted.push(Arc::new(CompactedBlockMeta { meta, compacted_time }));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        changes.remove.push(meta.block_id);
        Ok(())
    }

    async fn clear_compacted(&self, tenant: &str, now: Timestamp) {
        let Some(limit) = before(now, self.settings.compaction.compacted_block_retention.as_std())
        else {
            return;
        };
        let blocks = self.blocklist.tenant(tenant);
        let mut old: Vec<&CompactedBlockMeta> = blocks
            .compacted()
            .iter()
            .map(|block| &**block)
            .filter(|block| block.compacted_time < limit && self.owns_block(&block.meta))
            .collect();
        old.sort_by_key(|block| block.meta.compaction_level);
        let mut cleared = HashSet::new();
        for block in old {
            let block_id = block.meta.block_id;
            if is_needed(&block.meta, &blocks, &cleared, limit) {
                continue;
            }
            match clear_block(&self.bucket, tenant, block_id).await {
                Ok(()) => {
                    self.metrics.retention_deleted.inc();
                    tracing::info!(tenant, block = %block_id, "block is deleted");
                    cleared.insert(block_id);
                }
                Err(error) => {
                    self.metrics.retention_errors.inc();
                    let error = error_text(&error);
                    tracing::error!(tenant, block = %block_id, error, "cannot delete the block");
                }
            }
        }
        if !cleared.is_empty() {
            let remove_compacted = cleared.into_iter().collect();
            self.blocklist
                .change(tenant, BlockChanges { remove_compacted, ..BlockChanges::default() });
        }
    }

    fn owns_block(&self, meta: &BlockMeta) -> bool {
        (self.owns)(&meta.block_id.to_string())
    }
}

/// True if a block that this one was made from is still there: without this one, nobody knows that its spans are
/// elsewhere, and a query may read them twice, or what a job has removed. Jobs and policies keep the level of a block. Of
/// one of the same level it counts only whether it, or what it was made from in turn, may still be read, because blocks may
/// name each other in a circle. `limit`: what was marked before is not read any more.
fn is_needed(
    merged: &BlockMeta,
    blocks: &TenantBlocks,
    cleared: &HashSet<Uuid>,
    limit: Timestamp,
) -> bool {
    let is_read = |source: Uuid| {
        let compacted = blocks.compacted_block(source);
        blocks.has_live(source) || compacted.is_some_and(|block| block.compacted_time >= limit)
    };
    let (mut todo, mut seen) = (vec![merged], HashSet::from([merged.block_id]));
    while let Some(block) = todo.pop() {
        for &source in block.sources().iter().filter(|source| !cleared.contains(*source)) {
            let Some(meta) = blocks.meta(source) else { continue };
            let names_back = [merged, block].iter().any(|it| meta.sources().contains(&it.block_id));
            if meta.compaction_level < merged.compaction_level || (is_read(source) && !names_back) {
                return true;
            }
            if meta.compaction_level == merged.compaction_level && seen.insert(source) {
                todo.push(meta);
            }
        }
    }
    false
}

/// The time after which no span of a block is kept; `None` if some are kept for ever.
fn longest_retention(limits: &CompactionLimits) -> Option<Duration> {
    let of_policies = limits.retention_policies.iter().map(|policy| policy.retention);
    let all = of_policies.chain([limits.block_retention]).map(PromDuration::non_zero);
    all.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// `None` if that is before all time.
fn before(now: Timestamp, keep: Duration) -> Option<Timestamp> {
    now.checked_sub(keep).ok()
}

/// The oldest blocks that must go so that the others fit into `max_bytes`.
fn oldest_beyond(
    blocks: impl Iterator<Item = Arc<BlockMeta>>,
    max_bytes: u64,
) -> Vec<Arc<BlockMeta>> {
    let mut blocks: Vec<_> = blocks.collect();
    blocks.sort_by_key(|meta| (std::cmp::Reverse(meta.last_time()), meta.block_id));
    let mut kept = 0u64;
    let fits = |meta: &Arc<BlockMeta>| {
        kept = kept.saturating_add(meta.size);
        kept <= max_bytes
    };
    let keep = blocks.iter().map(fits).take_while(|fits| *fits).count();
    blocks.split_off(keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_config::sections::overrides::RetentionPolicy;
    use tactus_storage::meta::{BlockVersion, Extension};

    #[test]
    fn longest_retention_counts_and_zero_is_for_ever() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let policy = |retention: Duration| RetentionPolicy {
            query: "{}".to_owned(),
            retention: retention.into(),
        };
        let limits = |retention: Duration, retention_policies| CompactionLimits {
            block_retention: retention.into(),
            retention_policies,
            ..CompactionLimits::default()
        };
        assert_eq!(longest_retention(&limits(hours(14), vec![])), Some(hours(14)));
        let both = limits(hours(14), vec![policy(hours(90)), policy(hours(1))]);
        assert_eq!(longest_retention(&both), Some(hours(90)));
        assert_eq!(longest_retention(&limits(hours(14), vec![policy(hours(0))])), None);
        assert_eq!(longest_retention(&limits(hours(0), vec![])), None);
    }

    #[test]
    fn a_merged_block_stays_until_what_it_was_merged_from_is_gone() {
        let [input, mut output] = [0, 1].map(|compaction_level| {
            let meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4());
            BlockMeta { compaction_level, ..meta }
        });
        let sources = vec![input.block_id, output.block_id, Uuid::new_v4()];
        output.extension = Some(Box::new(Extension { sources, ..Extension::default() }));
        let compacted = [&input, &output].map(|meta| {
            Arc::new(CompactedBlockMeta {
                meta: meta.clone(),
                compacted_time: Timestamp::UNIX_EPOCH,
            })
        });
        let blocks = TenantBlocks::new(vec![], compacted.to_vec());
        let is_needed = |merged: &BlockMeta, cleared: HashSet<Uuid>| {
            is_needed(merged, &blocks, &cleared, Timestamp::MAX)
        };
        assert!(is_needed(&output, HashSet::new()));
        assert!(!is_needed(&output, HashSet::from([input.block_id])));
        assert!(!is_needed(&input, HashSet::new()));
    }

    #[test]
    fn block_that_a_job_wrote_stays_for_as_long_as_the_old_one_may_be_read() {
        let of_sources = |meta: BlockMeta, sources: Vec<Uuid>| {
            let extension = Some(Box::new(Extension { sources, ..Extension::default() }));
            BlockMeta { extension, ..meta }
        };
        let block = || BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4());
        let old = block();
        let new = of_sources(block(), vec![old.block_id]);
        let at = |second| Timestamp::from_second(second).unwrap();
        let marked = |meta: &BlockMeta, second| {
            Arc::new(CompactedBlockMeta { meta: meta.clone(), compacted_time: at(second) })
        };
        let needed = |blocks: TenantBlocks| is_needed(&new, &blocks, &HashSet::new(), at(10));
        let with_live =
            |old: BlockMeta| needed(TenantBlocks::new(vec![Arc::new(old)], vec![marked(&new, 5)]));
        let with_marked =
            |second| needed(TenantBlocks::new(vec![], vec![marked(&old, second), marked(&new, 5)]));
        assert!(with_live(old.clone()));
        assert!(!with_live(of_sources(old.clone(), vec![new.block_id])), "a circle");
        assert!(with_marked(10));
        assert!(!with_marked(9));

        // So does what was made of that block: it leads there.
        let next = of_sources(block(), vec![new.block_id]);
        let is_next_needed = |live: Vec<Arc<BlockMeta>>| {
            let blocks = TenantBlocks::new(live, vec![marked(&new, 5), marked(&next, 5)]);
            is_needed(&next, &blocks, &HashSet::new(), at(10))
        };
        assert!(is_next_needed(vec![Arc::new(old.clone())]));
        assert!(!is_next_needed(vec![]));
    }

    #[test]
    fn oldest_blocks_go_until_the_rest_fits() {
        let block = |end, size| {
            let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4());
            meta.end_time = Timestamp::from_second(end).unwrap();
            meta.size = size;
            Arc::new(meta)
        };
        let blocks = [block(3, 40), block(1, 40), block(2, 40)];
        let gone = |max| {
            let gone = oldest_beyond(blocks.iter().cloned(), max);
            gone.iter().map(|meta| meta.end_time.as_second()).collect::<Vec<_>>()
        };
        assert_eq!(gone(120), [] as [i64; 0]);
        assert_eq!(gone(100), [1]);
        assert_eq!(gone(79), [2, 1]);
        assert_eq!(gone(1), [3, 2, 1]);
        // Its end is wrong: it is not the oldest.
        let mut wrong = (*block(0, 40)).clone();
        wrong.start_time = Timestamp::from_second(4).unwrap();
        let kept = oldest_beyond(blocks.iter().cloned().chain([Arc::new(wrong)]), 150);
        assert_eq!(kept.iter().map(|meta| meta.end_time.as_second()).collect::<Vec<_>>(), [1]);
    }
}
