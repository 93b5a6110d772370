//! Announces new blocks to the processes that keep a block list.
//!
//! A process that misses an announcement finds the block with its next poll. Until then the ingester that wrote it
//! still answers for its spans. One that leaves for good first tells those again who have not confirmed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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

/// A process that took at least this long and did not confirm is asked again only after a while: others that have blocks to
/// tell of wait for it as well.
const SLOW: Duration = Duration::from_millis(500);
const LEFT_ALONE: Duration = Duration::from_secs(10);

/// The pause between attempts to tell processes of blocks that they missed.
const PAUSE: Duration = Duration::from_secs(1);

/// How long one waits for a process that missed a block and seems to be gone: it may only hang.
const GONE_PATIENCE: Duration = Duration::from_secs(30);

/// What is kept of blocks that were announced, to tell of them again.
const RECENT_BYTES: usize = 8 << 20;

/// A message that tells of blocks again has so many at most, and so many bytes if it has more than one.
const BLOCKS_AT_ONCE: usize = 50;
const BYTES_AT_ONCE: usize = 1 << 20;

/// Puts announced blocks on the block list of this process.
///
/// The port may be open to others than members. So an announcement never changes a block that is known, a block that
/// would hide others is read from the bucket, and what was announced since the last poll is bounded. A block without room is
/// confirmed all the same, since asking again makes none: answers are partial until a poll.
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
    recent: Arc<Mutex<Recent>>,
    /// After this time, polls must have found a block.
    found_by_polls: Duration,
}

/// Blocks that were announced lately, oldest first.
#[derive(Debug, Default)]
struct Recent {
    blocks: VecDeque<Announced>,
    bytes: usize,
    next: u64,
    /// Processes that did not answer, and when each was last asked.
    silent: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Announced {
    number: u64,
    meta: Bytes,
    at: Instant,
    /// Addresses of the processes that have heard of it.
    confirmed: BTreeSet<String>,
    /// Of those that were there and did not answer.
    missed: BTreeSet<String>,
}

/// Blocks that a process has to hear of, each with its number.
type Missed = Vec<(u64, Bytes)>;

impl Announcer {
    /// `found_by_polls`: how long a process may take to find a block by itself.
    pub(crate) fn new(cluster: Cluster, channels: Channels, found_by_polls: Duration) -> Self {
        Self { cluster, channels, recent: Arc::default(), found_by_polls }
    }

    /// Tells them of a block, all at a time. Returns when they know, or after two seconds. Does not wait for a process that
    /// did not answer a moment ago: it finds the block by itself, or is told before this one leaves.
    pub fn tell(&self, meta: BlockMeta) -> BoxFuture<'static, ()> {
        let this = self.clone();
        let meta: Bytes = meta.to_json().into();
        Box::pin(async move {
            if this.cluster.is_alone() {
                return;
            }
            let number = this.recent.lock().add(meta.clone(), this.found_by_polls);
            let tell = async |address: String| {
                let is_asked = this.recent.lock().asks(&address);
                let asked = Instant::now();
                if is_asked && this.tell_one(&address, vec![(number, meta.clone())]).await {
                    return;
                }
                let is_silent = is_asked && asked.elapsed() >= SLOW;
                this.recent.lock().miss(address, number, is_silent);
            };
            join_all(this.cluster.block_readers().into_iter().map(tell)).await;
        })
    }

    /// Tells all who have not confirmed blocks of these again, until they do, have left, or must have found them by polls.
    pub async fn tell_again(&self) {
        let (mut before, begun) = (Vec::new(), Instant::now());
        loop {
            let missed: BTreeMap<String, Missed> = {
                let recent = self.recent.lock();
                let mut readers = BTreeSet::from_iter(self.cluster.block_readers());
                if begun.elapsed() < GONE_PATIENCE {
                    readers.extend(recent.blocks.iter().flat_map(|block| &block.missed).cloned());
                }
                let of = |address: String| {
                    let missed = recent.missed_by(&address, self.found_by_polls);
                    (!missed.is_empty()).then_some((address, missed))
                };
                readers.into_iter().filter_map(of).collect()
            };
            if missed.is_empty() {
                return;
            }
            let processes: Vec<String> = missed.keys().cloned().collect();
            if processes != before {
                tracing::info!(?processes, "waiting for processes that have not heard of blocks");
                before = processes;
            }
            let tell =
                async |(address, missed): (String, Missed)| self.tell_one(&address, missed).await;
            let told = join_all(missed.into_iter().map(tell)).await;
            if told.contains(&false) {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Tells one process of blocks, and notes that it has confirmed. False if it did not.
    async fn tell_one(&self, address: &str, blocks: Missed) -> bool {
        let (numbers, metas): (Vec<u64>, Vec<Bytes>) = blocks.into_iter().unzip();
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
        match client.blocks_written(request).await {
            Ok(_) => {
                self.recent.lock().confirm(address, &numbers);
                true
            }
            Err(status) => {
                tracing::debug!(address, %status, "cannot tell of a block");
                false
            }
        }
    }
}

impl Recent {
    /// Returns its number. Blocks that polls must have found are forgotten, and the oldest if there are too many bytes.
    fn add(&mut self, meta: Bytes, found_by_polls: Duration) -> u64 {
        self.bytes += meta.len();
        let (number, at) = (self.next, Instant::now());
        self.next += 1;
        let (confirmed, missed) = Default::default();
        self.blocks.push_back(Announced { number, meta, at, confirmed, missed });
        while self.blocks.len() > 1
            && let Some(oldest) = self.blocks.front()
            && (oldest.at.elapsed() >= found_by_polls || self.bytes > RECENT_BYTES)
        {
            self.bytes -= oldest.meta.len();
            self.blocks.pop_front();
        }
        number
    }

    /// False for a process that did not answer a moment ago. If it is time to ask it again, one call does.
    fn asks(&mut self, address: &str) -> bool {
        let Some(asked) = self.silent.get_mut(address) else { return true };
        let is_due = asked.elapsed() >= LEFT_ALONE;
        if is_due {
            *asked = Instant::now();
        }
        is_due
    }

    fn confirm(&mut self, address: &str, numbers: &[u64]) {
        self.silent.remove(address);
        for block in self.blocks.iter_mut().filter(|block| numbers.contains(&block.number)) {
            block.missed.remove(address);
            block.confirmed.insert(address.to_owned());
        }
    }

    fn miss(&mut self, address: String, number: u64, is_silent: bool) {
        if is_silent {
            self.silent.retain(|_, asked| asked.elapsed() < LEFT_ALONE);
            self.silent.insert(address.clone(), Instant::now());
        }
        if let Some(block) = self.blocks.iter_mut().find(|block| block.number == number) {
            block.missed.insert(address);
        }
    }

    /// The first blocks that a process has not confirmed, as many as one message has.
    fn missed_by(&self, address: &str, found_by_polls: Duration) -> Missed {
        let is_missed = |block: &&Announced| {
            block.at.elapsed() < found_by_polls && !block.confirmed.contains(address)
        };
        let mut bytes = 0;
        let missed =
            self.blocks.iter().filter(is_missed).take(BLOCKS_AT_ONCE).take_while(|block| {
                let is_first = bytes == 0;
                bytes += block.meta.len();
                is_first || bytes <= BYTES_AT_ONCE
            });
        missed.map(|block| (block.number, block.meta.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::future::join;
    use tactus_storage::meta::{BlockVersion, Extension};
    use tactus_storage::{BucketSettings, Poller, PollerSettings, Uuid};
    use tonic::Code;

    fn meta(tenant: &str) -> BlockMeta {
        BlockMeta::new(BlockVersion::VParquet4, tenant, Uuid::new_v4())
    }

    async fn tell(listener: &Listener, meta: &BlockMeta) -> Result<(), Code> {
        let request = BlocksWrittenRequest { metas: vec![meta.to_json().into()] };
        let told = listener.blocks_written(Request::new(request)).await;
        told.map(|_| ()).map_err(|status| status.code())
    }

    #[test]
    fn blocks_are_kept_for_those_who_missed_them_as_long_as_polls_take() {
        let (mut recent, long) = (Recent::default(), Duration::from_secs(3600));
        let meta = |bytes: usize| Bytes::from(vec![b'x'; bytes]);
        for number in 0..60 {
            assert_eq!(recent.add(meta(9), long), number);
        }
        let numbers = |missed: Missed| missed.into_iter().map(|(number, _)| number).collect();
        let missed: Vec<u64> = numbers(recent.missed_by("a", long));
        assert_eq!(missed, Vec::from_iter(0..BLOCKS_AT_ONCE as u64));
        recent.confirm("a", &missed);
        let rest: Vec<u64> = numbers(recent.missed_by("a", long));
        assert_eq!(rest, Vec::from_iter(50..60));
        assert_eq!(recent.missed_by("b", long).len(), BLOCKS_AT_ONCE);
        assert_eq!(recent.missed_by("b", Duration::ZERO), []);
        // One that is larger than a message goes alone, and a few such make the others forgotten.
        recent.add(meta(BYTES_AT_ONCE + 1), long);
        recent.confirm("a", &rest);
        recent.add(meta(9), long);
        assert_eq!(recent.missed_by("a", long).len(), 1);
        for _ in 0..9 {
            recent.add(meta(BYTES_AT_ONCE), long);
        }
        assert!(recent.blocks.len() < 12 && recent.bytes <= RECENT_BYTES, "{}", recent.bytes);
        recent.add(meta(9), Duration::ZERO);
        assert_eq!((recent.blocks.len(), recent.bytes), (1, 9));
    }

    #[test]
    fn process_that_did_not_answer_is_left_alone_for_a_while_and_misses_blocks_meanwhile() {
        let (mut recent, long) = (Recent::default(), Duration::from_secs(3600));
        let numbers = [1, 2].map(|_| recent.add(Bytes::from_static(b"x"), long));
        recent.miss("refuses".to_owned(), numbers[0], false);
        recent.miss("silent".to_owned(), numbers[0], true);
        assert_eq!(["refuses", "silent"].map(|address| recent.asks(address)), [true, false]);
        recent.miss("silent".to_owned(), numbers[1], false);
        assert!(recent.blocks.iter().all(|block| block.missed.contains("silent")));
        assert_eq!(recent.missed_by("silent", long).len(), 2);
        // Whoever comes first then asks for all.
        recent.silent.insert("silent".to_owned(), Instant::now() - LEFT_ALONE);
        assert_eq!([1, 2].map(|_| recent.asks("silent")), [true, false]);
        recent.confirm("silent", &numbers);
        assert!(recent.asks("silent"));
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
        let is_full = |told: u32| blocklist.is_part(&format!("t{told}"));
        while told < 1_000 && !is_full(told) {
            told += 1;
            assert_eq!(tell(&listener, &meta(&format!("t{told}"))).await, Ok(()));
        }
        assert!((50..400).contains(&told), "{told}");
        assert!(blocklist.tenant(&format!("t{told}")).live().is_empty());
        // Tenants whose blocks have no room are bounded, too.
        for tenant in (1..1_000).chain([1]) {
            assert_eq!(tell(&listener, &meta(&format!("full{tenant}"))).await, Ok(()));
        }
        assert_eq!(tell(&listener, &meta("onemore")).await, Err(Code::ResourceExhausted));
    }

    #[tokio::test]
    async fn block_without_room_is_confirmed_and_missing_until_a_poll_that_begins_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let blocklist = Arc::new(Blocklist::new());
        let poller =
            Poller::builder(bucket.clone(), Arc::clone(&blocklist), PollerSettings::default());
        let listener = Listener { blocklist: Arc::clone(&blocklist), bucket, max_bytes: 0 };
        let is_part = || ["t", "other"].map(|tenant| blocklist.is_part(tenant));
        assert_eq!(tell(&listener, &meta("t")).await, Ok(()));
        assert_eq!(is_part(), [true, false]);
        // The second block comes while a poll runs.
        let block = meta("t");
        let (polled, told) = join(poller.poll_once(), tell(&listener, &block)).await;
        assert!(polled.is_ok() && told.is_ok());
        assert_eq!(is_part(), [true, false]);
        poller.poll_once().await.unwrap();
        assert_eq!(is_part(), [false, false]);
    }
}
