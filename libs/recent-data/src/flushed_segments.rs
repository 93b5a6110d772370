//! Segments that still answer queries although their block is in object storage.
//!
//! In a cluster, queriers learn of a new block later than the ingester. Until then (`complete_block_timeout`) the
//! ingester answers for its spans. If disk space is short, these segments are released earlier, the oldest first.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use tactus_model::TenantId;

use crate::{
    begun_blocks::{HeldBlock, Manifest, PendingBlock},
    error::Error,
    ingester::Ingester,
};

/// When the directory has this fraction of its limit, segments are released early. Numerator and denominator.
const FULL: (u64, u64) = (4, 5);
/// Divisors: unflushed segments become blocks early if they take this fraction of the limit, of a directory that is nearly
/// full, and of one beyond its limit. Many small blocks do not help if other files have filled it.
const WORTH: (u64, u64) = (20, 100);

impl Ingester {
    /// Keeps or releases the segments of a block that is now in object storage.
    pub(crate) async fn finish_block(
        self: &Arc<Self>,
        tenant: &TenantId,
        block: PendingBlock,
    ) -> Result<(), Error> {
        if self.settings.hold_flushed.is_zero() {
            return self.let_go(tenant.clone(), block).await;
        }
        let (ingester, id, now) = (Arc::clone(self), tenant.clone(), Instant::now());
        let note = move || {
            let path = ingester.manifest_path(&id, block.id);
            // Without the note, a restart finds the block in the bucket and keeps its segments once more.
            if let Err(error) = ingester.manifest_of(&block, Some(SystemTime::now())).write(&path) {
                tracing::warn!(%error, "cannot record that a block is in object storage");
            }
            ingester.flushes.held.add(id, now, block);
        };
        Ok(tokio::task::spawn_blocking(note).await?)
    }

    /// Releases segments that were kept long enough. With `no_room`, the oldest of the others are released as well.
    pub(crate) async fn release_held(self: &Arc<Self>, no_room: bool) -> Result<(), Error> {
        self.segment_cache.forget_idle();
        loop {
            let no_room = no_room || self.is_nearly_full() || self.is_disk_low().await;
            let oldest = self.flushes.held.take_oldest(|held| {
                no_room || held.flushed.elapsed() >= self.settings.hold_flushed
            });
            let Some(HeldBlock { tenant, block, .. }) = oldest else { return Ok(()) };
            self.let_go(tenant, block).await?;
        }
    }

    fn is_nearly_full(&self) -> bool {
        let limit = self.settings.ingester.max_disk_bytes;
        limit > 0 && self.directory_bytes() / FULL.0 >= limit / FULL.1
    }

    /// True if the directory is near its limit or beyond it, and unflushed segments with so many bytes take much of it.
    pub(crate) fn needs_room_of(&self, unflushed_bytes: u64) -> bool {
        let limit = self.settings.ingester.max_disk_bytes;
        let worth = if self.has_directory_room().is_err() { WORTH.1 } else { WORTH.0 };
        self.is_nearly_full() && unflushed_bytes > limit / worth
    }

    async fn let_go(self: &Arc<Self>, tenant: TenantId, block: PendingBlock) -> Result<(), Error> {
        self.tenant_or_insert(&tenant).release_segments(block.id, &block.segments);
        let ingester = Arc::clone(self);
        Ok(tokio::task::spawn_blocking(move || ingester.clear_block(&tenant, &block)).await?)
    }

    /// The manifest of a block: its segments, and when it was complete in object storage.
    pub(crate) fn manifest_of(
        &self,
        block: &PendingBlock,
        flushed: Option<SystemTime>,
    ) -> Manifest {
        let base = self.layout.segments();
        let relative = block
            .segments
            .iter()
            .map(|segment| segment.path().strip_prefix(&base).unwrap_or(segment.path()).to_owned());
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
        };
        Manifest { segments: relative.collect(), flushed: flushed.map(seconds) }
    }
}
