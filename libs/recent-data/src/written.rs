//! Who is told of blocks.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tactus_storage::{BlockMeta, Blocklist};

/// Tells others of a block that came into object storage.
#[derive(Clone)]
pub struct BlockWritten(Arc<dyn Fn(BlockMeta) -> BoxFuture<'static, ()> + Send + Sync>);

impl BlockWritten {
    /// Calls `tell`, and waits for it: a bounded time.
    pub fn new(tell: impl Fn(BlockMeta) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Puts the block on a list of this process.
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
