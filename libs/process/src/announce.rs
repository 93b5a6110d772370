//! New blocks, made known to the processes that keep a block list.
//!
//! A process that misses an announcement finds the block at its next poll; until then the ingester that wrote it still
//! answers for its spans.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use tactus_proto::tactus::v1::{
    BlocksWrittenRequest, BlocksWrittenResponse, block_listener_client::BlockListenerClient,
    block_listener_server::BlockListener,
};
use tactus_rpc::Channels;
use tactus_storage::{BlockMeta, Blocklist};
use tonic::{Request, Response, Status};

use crate::Cluster;

/// How long one process may take to hear of a block.
const PATIENCE: Duration = Duration::from_secs(2);

/// Puts announced blocks on the block list of this process.
#[derive(Debug)]
pub(crate) struct Listener(pub(crate) Arc<Blocklist>);

#[tonic::async_trait]
impl BlockListener for Listener {
    async fn blocks_written(
        &self,
        request: Request<BlocksWrittenRequest>,
    ) -> Result<Response<BlocksWrittenResponse>, Status> {
        for meta in request.into_inner().metas {
            let meta = BlockMeta::from_json(&meta)
                .map_err(|error| Status::invalid_argument(format!("metas: {error}")))?;
            self.0.add_block(meta);
        }
        Ok(Response::new(BlocksWrittenResponse {}))
    }
}

/// Tells the other members that keep a block list.
#[derive(Debug, Clone)]
pub struct Announcer {
    cluster: Cluster,
    channels: Channels,
}

impl Announcer {
    pub(crate) fn new(cluster: Cluster, channels: Channels) -> Self {
        Self { cluster, channels }
    }

    /// Tells them of a block, all at a time. Returns when they know, or after two seconds.
    pub fn tell(&self, meta: BlockMeta) -> BoxFuture<'static, ()> {
        let (addresses, channels) = (self.cluster.block_readers(), self.channels.clone());
        let metas: Vec<Bytes> = vec![meta.to_json().into()];
        Box::pin(async move {
            let tell = |address: &String| tell_one(&channels, address.clone(), metas.clone());
            join_all(addresses.iter().map(tell)).await;
        })
    }
}

async fn tell_one(channels: &Channels, address: String, metas: Vec<Bytes>) {
    let connection = match channels.at(&address) {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(address, %error, "cannot tell of a block"),
    };
    let (channel, encoding) = (connection.channel(), connection.encoding());
    let mut client = BlockListenerClient::with_interceptor(channel, connection);
    if let Some(encoding) = encoding {
        client = client.send_compressed(encoding);
    }
    let mut request = Request::new(BlocksWrittenRequest { metas });
    request.set_timeout(PATIENCE);
    if let Err(status) = client.blocks_written(request).await {
        tracing::debug!(address, %status, "cannot tell of a block");
    }
}
