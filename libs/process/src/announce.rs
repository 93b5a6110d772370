//! Announces new blocks to the processes that keep a block list.
//!
//! A process that misses an announcement finds the block with its next poll. Until then the ingester that wrote it
//! still answers for its spans.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use tactus_proto::tactus::v1::{
    BlocksWrittenRequest, BlocksWrittenResponse, block_listener_client::BlockListenerClient,
    block_listener_server::BlockListener,
};
use tactus_rpc::Channels;
use tactus_storage::block_io::read_meta;
use tactus_storage::layout::check_tenant;
use tactus_storage::{BlockMeta, Blocklist, Bucket};
use tonic::{Request, Response, Status};

use crate::Cluster;

/// How long one process may take to hear of a block.
const PATIENCE: Duration = Duration::from_secs(2);

/// Puts announced blocks on the block list of this process.
///
/// The port may be open to others than members. So a known block stays what it is, one that would hide others is read
/// from the bucket, and what was announced since the last poll is bounded.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) bucket: Bucket,
    /// Memory of announced blocks that no poll has looked for; bytes.
    pub(crate) max_bytes: u64,
}

#[tonic::async_trait]
impl BlockListener for Listener {
    async fn blocks_written(
        &self,
        request: Request<BlocksWrittenRequest>,
    ) -> Result<Response<BlocksWrittenResponse>, Status> {
        for meta in request.into_inner().metas {
            let meta = BlockMeta::from_json(&meta)
                .map_err(|error| Status::invalid_argument(format!("metas: {error}")))?;
            check_tenant(&meta.tenant_id)
                .map_err(|error| Status::invalid_argument(format!("metas: {error}")))?;
            let meta = self.checked(meta).await?;
            self.blocklist
                .add_announced(meta, self.max_bytes)
                .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        }
        Ok(Response::new(BlocksWrittenResponse {}))
    }
}

impl Listener {
    /// The meta, of a block that replaces others as it stands in the bucket.
    async fn checked(&self, meta: BlockMeta) -> Result<BlockMeta, Status> {
        if meta.sources().is_empty() {
            return Ok(meta);
        }
        let stored = read_meta(&self.bucket, &meta.tenant_id, meta.block_id).await;
        stored.map_err(|error| Status::failed_precondition(format!("metas: {error}")))
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
    let mut client = tactus_rpc::client_of!(BlockListenerClient, connection);
    let mut request = Request::new(BlocksWrittenRequest { metas });
    request.set_timeout(PATIENCE);
    if let Err(status) = client.blocks_written(request).await {
        tracing::debug!(address, %status, "cannot tell of a block");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_storage::meta::{BlockVersion, Extension};
    use tactus_storage::{BucketSettings, Uuid};
    use tonic::Code;

    fn meta(tenant: &str) -> BlockMeta {
        BlockMeta::new(BlockVersion::VParquet4, tenant, Uuid::new_v4())
    }

    async fn tell(listener: &Listener, meta: &BlockMeta) -> Result<(), Code> {
        let request = BlocksWrittenRequest { metas: vec![meta.to_json().into()] };
        let told = listener.blocks_written(Request::new(request)).await;
        told.map(|_| ()).map_err(|status| status.code())
    }

    #[tokio::test]
    async fn announcements_hide_no_block_and_take_no_more_than_their_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let (blocklist, max_bytes) = (Arc::new(Blocklist::new()), 100_000);
        let listener = Listener { blocklist: Arc::clone(&blocklist), bucket, max_bytes };
        let known = meta("t");
        assert_eq!(tell(&listener, &known).await, Ok(()));
        assert_eq!(blocklist.tenant("t").live(), [Arc::new(known.clone())]);

        let sources = vec![known.block_id];
        let extension = Extension { sources, ..Extension::default() };
        let hiding = BlockMeta { extension: Some(Box::new(extension)), ..meta("t") };
        assert_eq!(tell(&listener, &hiding).await, Err(Code::FailedPrecondition));
        let other = BlockMeta { size: 7, ..known.clone() };
        assert_eq!(tell(&listener, &other).await, Ok(()));
        assert_eq!(blocklist.tenant("t").live(), [Arc::new(known)]);
        assert_eq!(tell(&listener, &meta("../t")).await, Err(Code::InvalidArgument));

        let mut told = 0;
        while tell(&listener, &meta(&format!("t{told}"))).await.is_ok() {
            told += 1;
        }
        assert!((50..400).contains(&told), "{told}");
        assert_eq!(tell(&listener, &meta("t")).await, Err(Code::ResourceExhausted));
    }
}
