//! Announces new blocks to the processes that keep a block list.
//!
//! A process that misses an announcement finds the block with its next poll. Until then the ingester that wrote it
//! still answers for its spans. One that leaves for good first tells those again who have not confirmed.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
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

/// The pause between attempts to tell processes of blocks that they missed.
const PAUSE: Duration = Duration::from_secs(1);

/// The blocks that one process missed and may hear of again; of further ones it learns by polls.
const MOST_MISSED: usize = 1_000;

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
    missed: Arc<Missed>,
}

/// The blocks that each process did not confirm to have heard of, by its address, oldest first.
#[derive(Debug, Default)]
struct Missed(Mutex<BTreeMap<String, Vec<Miss>>>);

#[derive(Debug, Clone)]
struct Miss {
    meta: Bytes,
    since: Instant,
}

impl Announcer {
    pub(crate) fn new(cluster: Cluster, channels: Channels) -> Self {
        Self { cluster, channels, missed: Arc::default() }
    }

    /// Tells them of a block, all at a time. Returns when they know, or after two seconds.
    pub fn tell(&self, meta: BlockMeta) -> BoxFuture<'static, ()> {
        let this = self.clone();
        let meta: Bytes = meta.to_json().into();
        Box::pin(async move {
            let tell = async |address: String| {
                if !this.tell_one(&address, vec![meta.clone()]).await {
                    this.missed.add(address, meta.clone());
                }
            };
            join_all(this.cluster.block_readers().into_iter().map(tell)).await;
        })
    }

    /// Tells those again who missed blocks, until all have confirmed or have left, or a poll must have told them: after `longest`.
    pub async fn tell_again(&self, longest: Duration) {
        loop {
            let readers = self.cluster.block_readers();
            let missed = self.missed.of(&readers, longest);
            if missed.is_empty() {
                return;
            }
            tracing::info!(
                processes = ?missed.iter().map(|(address, _)| address).collect::<Vec<_>>(),
                "waiting for processes that have not heard of blocks"
            );
            let tell = async |(address, metas): (String, Vec<Bytes>)| {
                let count = metas.len();
                if self.tell_one(&address, metas).await {
                    self.missed.forget(&address, count);
                }
            };
            join_all(missed.into_iter().map(tell)).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// False if the process did not confirm.
    async fn tell_one(&self, address: &str, metas: Vec<Bytes>) -> bool {
        let connection = match self.channels.at(address) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(address, %error, "cannot tell of a block");
                return false;
            }
        };
        let mut client = tactus_rpc::client_of!(BlockListenerClient, connection);
        let mut request = Request::new(BlocksWrittenRequest { metas });
        request.set_timeout(PATIENCE);
        let told = client.blocks_written(request).await;
        if let Err(status) = &told {
            tracing::debug!(address, %status, "cannot tell of a block");
        }
        told.is_ok()
    }
}

impl Missed {
    fn add(&self, address: String, meta: Bytes) {
        let mut all = self.0.lock();
        let of_process = all.entry(address).or_default();
        if of_process.len() == MOST_MISSED {
            of_process.remove(0);
        }
        of_process.push(Miss { meta, since: Instant::now() });
    }

    /// What each of these processes missed, as far as it is not older than `longest`. Others are forgotten.
    fn of(&self, readers: &[String], longest: Duration) -> Vec<(String, Vec<Bytes>)> {
        let mut all = self.0.lock();
        all.retain(|address, of_process| {
            of_process.retain(|miss| miss.since.elapsed() < longest);
            readers.contains(address) && !of_process.is_empty()
        });
        let metas = |missed: &Vec<Miss>| missed.iter().map(|miss| miss.meta.clone()).collect();
        all.iter().map(|(address, missed)| (address.clone(), metas(missed))).collect()
    }

    /// The process has heard of the oldest ones.
    fn forget(&self, address: &str, count: usize) {
        if let Some(of_process) = self.0.lock().get_mut(address) {
            of_process.drain(..count.min(of_process.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_blocks_are_kept_for_those_who_are_there_and_only_as_long_as_polls_take() {
        let (missed, long) = (Missed::default(), Duration::from_secs(3600));
        let meta = |number: usize| Bytes::from(number.to_string());
        for number in 0..MOST_MISSED + 2 {
            missed.add("a".into(), meta(number));
        }
        missed.add("b".into(), meta(7));
        let of_a = missed.of(&["a".into()], long);
        assert_eq!((of_a.len(), of_a[0].1.len(), &of_a[0].1[0]), (1, MOST_MISSED, &meta(2)));
        assert_eq!(missed.of(&["a".into(), "b".into()], long).len(), 1, "b had left");
        missed.forget("a", MOST_MISSED - 1);
        assert_eq!(missed.of(&["a".into()], long), [("a".into(), vec![meta(MOST_MISSED + 1)])]);
        assert_eq!(missed.of(&["a".into()], Duration::ZERO), []);
    }
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
