//! Announces new blocks.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tactus_storage::{BlockMeta, Blocklist};

/// Announces a block that was uploaded to object storage.
#[derive(Clone)]
pub struct BlockWritten(Arc<dyn Fn(BlockMeta) -> BoxFuture<'static, ()> + Send + Sync>);

impl BlockWritten {
    /// Calls `tell` for each block, and waits for it. `tell` must take a bounded time.
    pub fn new(tell: impl Fn(BlockMeta) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Adds the block to a block list of this process.
    pub fn listed(blocklist: Arc<Blocklist>) -> Self {
        Self::new(move |meta| {
            blocklist.add_block(meta);
            Box::pin(std::future::ready(()))
        })
    }

    pub(crate) async fn tell(&self, meta: BlockMeta) {
        (self.0)(meta).await;
    }
}

tactus_telemetry::debug_of!(BlockWritten);
