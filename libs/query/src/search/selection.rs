//! Leaves blocks out of a search of many, by their summaries: a block that cannot have a match costs a share of one job
//! then, not a job of its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tactus_proto::tactus::v1::SelectBlocksRequest;
use tactus_proto::tactus::v1::querier_server::Querier;
use tonic::Request;

use super::Job;

/// The newest blocks of a search are read at once, at least so many, and as many as there are jobs at a time: what many blocks have is
/// found in these, and no summary of the others is needed.
const READ_AT_ONCE: usize = 32;

/// Blocks that are asked about together: so many first, then twice as many each time, up to the second number. A job that
/// waits for object storage takes about as long for one as for all of them.
const TOGETHER: [usize; 2] = [64, 512];

/// Questions that are asked at a time.
const QUESTIONS: usize = 4;

/// Blocks of a search that have not been asked about yet.
pub(super) struct Selection {
    querier: Arc<dyn Querier>,
    /// False for a search whose answer says what was done in each block.
    is_on: bool,
    read_at_once: usize,
    /// By tenant, the newest first; jobs on the same block are neighbours.
    waiting: BTreeMap<String, VecDeque<Job>>,
    running: FuturesUnordered<BoxFuture<'static, Selected>>,
    together: usize,
}

/// The answer about some blocks.
pub(super) struct Selected {
    /// To be run.
    pub(super) jobs: Vec<Job>,
    /// On blocks that cannot have a match.
    pub(super) needless: Vec<Job>,
    pub(super) inspected_bytes: u64,
    /// Summaries tell nothing of what is looked for.
    pub(super) is_futile: bool,
}

impl Selection {
    /// For a search that runs `in_flight` jobs at a time.
    pub(super) fn new(querier: &Arc<dyn Querier>, in_flight: usize, is_on: bool) -> Self {
        Self {
            querier: Arc::clone(querier),
            is_on,
            read_at_once: READ_AT_ONCE.max(in_flight),
            waiting: BTreeMap::new(),
            running: FuturesUnordered::new(),
            together: TOGETHER[0],
        }
    }

    /// Of these jobs, the newest first, returns those that are run at once. The others wait.
    pub(super) fn take(&mut self, mut jobs: Vec<Job>) -> Vec<Job> {
        if self.is_on {
            let first = jobs_of_blocks(jobs.iter(), self.read_at_once);
            for job in jobs.drain(first..) {
                self.waiting.entry(job.search.tenant.clone()).or_default().push_back(job);
            }
            for jobs in self.waiting.values_mut() {
                jobs.make_contiguous().sort_by_key(|job| Reverse(job.block_end));
            }
        }
        jobs
    }

    /// Asks about the blocks that wait, the newest first, while there is little to do otherwise. The first that is not wanted,
    /// and all after it, wait on.
    pub(super) fn start(&mut self, jobs_left: usize, wants: impl Fn(&Job) -> bool) {
        while jobs_left < self.read_at_once / 2
            && self.running.len() < QUESTIONS
            && let queues = self.waiting.values_mut().filter(|jobs| !jobs.is_empty())
            && let Some(jobs) = queues.max_by_key(|jobs| jobs.front().map(|job| job.block_end))
            && jobs.front().is_some_and(&wants)
        {
            let count = jobs_of_blocks(jobs.iter(), self.together);
            let jobs: Vec<_> = jobs.drain(..count).collect();
            self.running.push(Box::pin(ask(Arc::clone(&self.querier), jobs)));
            self.together = (2 * self.together).min(TOGETHER[1]);
        }
    }

    /// Takes out all jobs that wait, and asks no more.
    pub(super) fn give_up(&mut self) -> Vec<Job> {
        self.is_on = false;
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// The next answer; `None` if nothing is asked. Dropped, it loses nothing.
    pub(super) async fn next(&mut self) -> Option<Selected> {
        self.running.next().await
    }

    /// True if nothing is asked.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Asks no more.
    pub(super) fn cancel(&mut self) {
        self.waiting.clear();
        self.running.clear();
    }
}

/// How many jobs, from the first on, are of the first so many blocks.
fn jobs_of_blocks<'a>(jobs: impl Iterator<Item = &'a Job>, blocks: usize) -> usize {
    let (mut seen, mut last, mut count) = (0, None, 0);
    for job in jobs {
        let is_same = last == Some(job.block_id);
        if !is_same && seen == blocks {
            break;
        }
        seen += usize::from(!is_same);
        last = Some(job.block_id);
        count += 1;
    }
    count
}

/// Asks about the blocks of these jobs. Without an answer each of them may have a match.
async fn ask(querier: Arc<dyn Querier>, jobs: Vec<Job>) -> Selected {
    let mut block_ids: Vec<_> = jobs.iter().map(|job| job.block_id).collect();
    block_ids.dedup();
    let request = SelectBlocksRequest {
        search: jobs.first().map(|job| job.search.clone()),
        block_ids: block_ids.iter().flat_map(|id| *id.as_bytes()).collect(),
    };
    let answer = match querier.select_blocks(Request::new(request)).await {
        Ok(answer) => answer.into_inner(),
        Err(error) => {
            // Of a release before this question there was one, for example.
            tracing::debug!(%error, blocks = block_ids.len(), "blocks are searched unasked");
            return Selected { jobs, needless: Vec::new(), inspected_bytes: 0, is_futile: true };
        }
    };
    let places = answer.blocks.iter().filter_map(|&place| block_ids.get(place as usize));
    let wanted: HashSet<_> = places.collect();
    let (jobs, needless) = jobs.into_iter().partition(|job| wanted.contains(&job.block_id));
    Selected {
        jobs,
        needless,
        inspected_bytes: answer.inspected_bytes,
        is_futile: answer.tells_nothing,
    }
}
