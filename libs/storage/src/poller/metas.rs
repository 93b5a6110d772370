//! Reads the metas of blocks, many at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use tactus_telemetry::error_text;
use uuid::Uuid;

use super::{Poller, Share};
use crate::block_io;
use crate::error::{Error, Result};
use crate::layout::{DATA, META, block_key, block_prefix};
use crate::meta::{BlockMeta, CompactedBlockMeta};

/// After this many failed reads, the store is taken to be down, and other metas are not tried.
const MAX_FAILURES: usize = 20;

/// A block whose meta is wanted.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    Live(Uuid),
    Compacted(Uuid, Timestamp),
}

/// What became of one block's meta.
pub(super) enum Found {
    Live(Arc<BlockMeta>),
    Compacted(Arc<CompactedBlockMeta>),
    Gone,
    /// The block, if it was wanted as a live one.
    Corrupt {
        live: Option<Uuid>,
    },
    NoRoom,
}

impl Found {
    /// The same, if there is room for it.
    fn within(self, share: &Share) -> Self {
        let bytes = match &self {
            Self::Live(meta) => meta.memory_bytes(),
            Self::Compacted(block) => block.meta.memory_bytes(),
            Self::Gone | Self::Corrupt { .. } | Self::NoRoom => return self,
        };
        if share.take(bytes) { self } else { Self::NoRoom }
    }
}

/// What was read of the metas that were wanted.
#[derive(Default)]
pub(super) struct Metas {
    pub(super) live: Vec<Arc<BlockMeta>>,
    pub(super) compacted: Vec<Arc<CompactedBlockMeta>>,
    pub(super) read: usize,
    pub(super) corrupt: usize,
    /// Those of live blocks among them.
    pub(super) corrupt_live: HashSet<Uuid>,
    /// Blocks without room in the list.
    pub(super) left_out: usize,
    pub(super) failures: Vec<Error>,
    /// False when so many failed that the rest was not tried.
    pub(super) is_complete: bool,
}

impl Poller {
    /// Reads metas as long as there is room for them.
    pub(super) async fn read_metas(
        &self,
        tenant: &str,
        wanted: Vec<Wanted>,
        share: &Share,
    ) -> Metas {
        let mut metas = Metas { is_complete: true, ..Metas::default() };
        let mut reads = stream::iter(wanted)
            .map(|wanted| async move {
                if !share.has_room() {
                    return Ok(Found::NoRoom);
                }
                self.pause().await;
                Ok(self.find(tenant, wanted).await?.within(share))
            })
            .buffer_unordered(self.settings.meta_concurrency.max(1));
        while let Some(found) = reads.next().await {
            metas.read += usize::from(!matches!(found, Ok(Found::NoRoom)));
            match found {
                Ok(Found::Live(meta)) => metas.live.push(meta),
                Ok(Found::Compacted(block)) => metas.compacted.push(block),
                Ok(Found::Gone) => {}
                Ok(Found::Corrupt { live }) => {
                    metas.corrupt += 1;
                    metas.corrupt_live.extend(live);
                }
                Ok(Found::NoRoom) => metas.left_out += 1,
                Err(error) => metas.failures.push(error),
            }
            if metas.failures.len() >= MAX_FAILURES {
                metas.is_complete = false;
                break;
            }
        }
        metas
    }

    async fn pause(&self) {
        let longest = self.settings.jitter.as_nanos();
        if longest > 0 {
            let pause = Uuid::new_v4().as_u128() % longest;
            tokio::time::sleep(Duration::from_nanos(u64::try_from(pause).unwrap_or(u64::MAX)))
                .await;
        }
    }

    /// Looks for the meta of a block, live or compacted.
    pub(super) async fn find(&self, tenant: &str, wanted: Wanted) -> Result<Found> {
        let (found, live) = match wanted {
            Wanted::Live(id) => (self.find_live(tenant, id).await, Some(id)),
            Wanted::Compacted(id, time) => (self.find_compacted(tenant, id, time).await, None),
        };
        match found {
            Err(error) if error.is_corrupt() || matches!(error, Error::Invalid { .. }) => {
                if self.memory.is_news(error.to_string()) {
                    tracing::warn!(
                        tenant,
                        error = error_text(&error),
                        "block is ignored, because its meta cannot be used"
                    );
                }
                Ok(Found::Corrupt { live })
            }
            Err(error) if error.is_not_found() => Ok(Found::Gone),
            result => result,
        }
    }

    async fn find_live(&self, tenant: &str, id: Uuid) -> Result<Found> {
        match block_io::read_meta(&self.bucket, tenant, id).await {
            Ok(meta) => Ok(Found::Live(Arc::new(meta))),
            // The block may have been marked compacted since the listing.
            Err(error) if error.is_not_found() => {
                match self.find_compacted(tenant, id, Timestamp::now()).await {
                    Err(error) if error.is_not_found() => self.find_lost(tenant, id).await,
                    found => found,
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Tells a block that was deleted, maybe long before a listing shows that, from one whose meta the store has lost.
    async fn find_lost(&self, tenant: &str, id: Uuid) -> Result<Found> {
        // Most are gone, so this comes before the listing, which costs more.
        if !self.bucket.exists(&block_key(tenant, id, DATA)).await? {
            return Ok(Found::Gone);
        }
        let key = block_key(tenant, id, META);
        let objects = self.bucket.list(&block_prefix(tenant, id)).await?;
        if objects.iter().any(|object| object.key == key) {
            let reason = format!("{key} is listed, but not found");
            return Err(Error::Invalid { what: "meta.json", reason });
        }
        Ok(Found::Gone)
    }

    async fn find_compacted(&self, tenant: &str, id: Uuid, time: Timestamp) -> Result<Found> {
        let meta = block_io::read_compacted_meta(&self.bucket, tenant, id).await?;
        Ok(Found::Compacted(Arc::new(CompactedBlockMeta { meta, compacted_time: time })))
    }
}
