//! Skips blocks of a large search by their summaries. A block that cannot match then costs a small share of one job,
//! instead of a job of its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet, VecDeque};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tactus_proto::tactus::v1::{SearchRequest, SelectBlocksRequest};

use super::Job;
use crate::queue::JobQueue;

/// The newest blocks of a search are searched without reading their summaries first: at least this many, and as many as
/// there are jobs at a time. A search for something frequent fills its answer from these blocks, and needs no summary
/// of the others.
const READ_AT_ONCE: usize = 32;

/// Blocks whose summaries one job reads: this many at first, then twice as many each time, up to the second number. If
/// summaries are in object storage, reading many at the same time takes hardly longer than reading one.
const TOGETHER: [usize; 2] = [64, 512];

/// Number of questions that run at the same time.
const QUESTIONS: usize = 4;

/// The blocks of a search whose summaries have not been read yet.
pub(super) struct Selection {
    queue: JobQueue,
    /// False for a search that must explain what was done in each block.
    is_on: bool,
    read_at_once: usize,
    /// Waiting jobs by tenant, the newest first. Jobs on the same block are neighbours.
    waiting: BTreeMap<String, VecDeque<Job>>,
    running: FuturesUnordered<BoxFuture<'static, Selected>>,
    together: usize,
}

/// The answer for some blocks.
pub(super) struct Selected {
    /// Jobs to run.
    pub(super) jobs: Vec<Job>,
    /// Jobs on blocks that cannot match.
    pub(super) needless: Vec<Job>,
    pub(super) inspected_bytes: u64,
    /// Summaries do not know what the query looks for.
    pub(super) is_futile: bool,
}

impl Selection {
    /// A selection for a search that runs `in_flight` jobs at a time.
    pub(super) fn new(queue: &JobQueue, in_flight: usize, is_on: bool) -> Self {
        Self {
            queue: queue.clone(),
            is_on,
            read_at_once: READ_AT_ONCE.max(in_flight),
            waiting: BTreeMap::new(),
            running: FuturesUnordered::new(),
            together: TOGETHER[0],
        }
    }

    /// Takes these jobs, ordered from the newest block on. Returns those to run at once, and keeps the others waiting.
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

    /// Starts reading the summaries of waiting blocks, the newest first, while few other jobs are left. Stops at the
    /// first block that is not wanted; it and all after it keep waiting.
    pub(super) fn start(&mut self, jobs_left: usize, wants: impl Fn(&Job) -> bool) {
        while jobs_left < self.read_at_once / 2
            && self.running.len() < QUESTIONS
            && let queues = self.waiting.values_mut().filter(|jobs| !jobs.is_empty())
            && let Some(jobs) = queues.max_by_key(|jobs| jobs.front().map(|job| job.block_end))
            && jobs.front().is_some_and(&wants)
        {
            let count = jobs_of_blocks(jobs.iter(), self.together);
            let jobs: Vec<_> = jobs.drain(..count).collect();
            self.running.push(Box::pin(ask(self.queue.clone(), jobs)));
            self.together = (2 * self.together).min(TOGETHER[1]);
        }
    }

    /// Removes and returns all waiting jobs, and reads no more summaries.
    pub(super) fn give_up(&mut self) -> Vec<Job> {
        self.is_on = false;
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// Waits for the next answer; `None` if no question is open. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Selected> {
        self.running.next().await
    }

    /// True if no question is open.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Cancels all questions.
    pub(super) fn cancel(&mut self) {
        self.waiting.clear();
        self.running.clear();
    }
}

/// How many jobs belong to the first `blocks` blocks.
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

/// Asks which blocks of these jobs may match. If there is no answer, all of them may.
async fn ask(queue: JobQueue, jobs: Vec<Job>) -> Selected {
    let mut block_ids: Vec<_> = jobs.iter().map(|job| job.block_id).collect();
    block_ids.dedup();
    let request = SelectBlocksRequest {
        search: jobs.first().map(|job| SearchRequest::clone(&job.search)),
        block_ids: block_ids.iter().flat_map(|id| *id.as_bytes()).collect(),
    };
    let answer = match queue.ask(request).await {
        Ok(answer) => answer.into_inner(),
        Err(error) => {
            // A querier of an older release does not know this question.
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
