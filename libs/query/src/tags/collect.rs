//! Collects tags and values from ingesters and blocks, and shows them while the query runs.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tactus_api::{Result, Window};
use tactus_proto::tactus::v1::{BlockPart, SoFar};
use tactus_proto::tempopb::MetadataMetrics;
use tactus_rpc::jobs::JobKind;
use tokio::time::sleep;

use crate::blocks::{KnownBlocks, QueryBlock};
use crate::frontend::Frontend;
use crate::jobs::{Jobs, Outcome, Running, ask};
use crate::offload::run_here;
use crate::settings::QueryLimits;
use crate::so_far::{HEAD_START, Looks, TELL_EVERY};
use crate::work::{Work, metadata};

/// How the services are asked for one kind of answer.
pub(super) struct Calls<R: JobKind> {
    pub(super) tenant: fn(&R) -> &str,
    /// The request for an ingester, which is told of these blocks.
    pub(super) told: fn(&R, Bytes, SoFar) -> R,
    pub(super) in_block: fn(&Frontend, R, BlockPart) -> Running<R::Answer>,
    /// The bytes read for an answer, and whether something is missing in it.
    pub(super) work_of: fn(&R::Answer) -> (u64, bool),
}

/// Told of what was collected, whenever that may be more. Returns whether it was shown: if not, it is told again.
pub(crate) type Observer<C> = Box<dyn FnMut([&C; 2], MetadataMetrics) -> bool + Send>;

/// What is found so far.
pub(super) struct State<C> {
    pub(super) collector: C,
    pub(super) work: Work,
    stream: Option<Stream<C>>,
}

/// What a stream shows before the answer is complete.
struct Stream<C> {
    observer: Observer<C>,
    /// What ingesters have found and will answer with. It is shown, and counts for nothing else.
    so_far: C,
    has_news: bool,
}

impl<C> State<C> {
    pub(super) fn new(
        collector: impl Fn() -> C,
        work: Work,
        observer: Option<Observer<C>>,
    ) -> Self {
        let stream =
            observer.map(|observer| Stream { observer, so_far: collector(), has_news: false });
        Self { collector: collector(), work, stream }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// Takes an answer. False once a limit is reached. Errors: also if there is no memory for what is collected.
    fn take<T>(
        &mut self,
        outcome: Outcome<T>,
        work_of: fn(&T) -> (u64, bool),
        add: impl Fn(&mut C, T) -> bool,
    ) -> Result<bool> {
        let mut has_room = true;
        match outcome {
            Outcome::Answer(answer) => {
                self.work.add(None, Vec::new());
                let (inspected_bytes, is_partial) = work_of(&answer);
                self.work.metrics.inspected_bytes =
                    self.work.metrics.inspected_bytes.saturating_add(inspected_bytes);
                self.work.partial |= is_partial;
                let collector = &mut self.collector;
                has_room = run_here(|| add(collector, answer))?;
            }
            Outcome::Damaged => self.work.partial = true,
        }
        if let Some(stream) = &mut self.stream {
            stream.has_news = true;
        }
        self.tell()?;
        self.work.check().map(|()| has_room)
    }

    /// Shows what ingesters will answer with.
    fn show<T>(&mut self, found: T, add: impl Fn(&mut C, T) -> bool) -> Result<()> {
        if let Some(stream) = &mut self.stream {
            let so_far = &mut stream.so_far;
            run_here(|| add(so_far, found))?;
            stream.has_news = true;
        }
        self.tell()
    }

    fn tell(&mut self) -> Result<()> {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.has_news) else {
            return Ok(());
        };
        let metrics = metadata(&self.work.so_far());
        let (observer, found) = (&mut stream.observer, [&self.collector, &stream.so_far]);
        stream.has_news = !run_here(|| observer(found, metrics))?;
        Ok(())
    }
}

impl Frontend {
    /// Asks the ingesters for what is not in a known block, and the blocks, until the answer is full. `add` returns
    /// false once it is.
    ///
    /// Blocks are read when the ingesters have answered, for recent data alone may fill the answer. A stream waits for
    /// them a moment only, and shows meanwhile what they find.
    pub(super) async fn collect<R, C>(
        &self,
        requests: &[R],
        (window, limits): (&Window, &QueryLimits),
        state: &mut State<C>,
        calls: Calls<R>,
        add: impl Fn(&mut C, R::Answer) -> bool,
    ) -> Result<()>
    where
        R: JobKind<Answer: Send> + Clone + Send + Sync + 'static,
    {
        let is_stream = state.is_stream();
        let seconds = (window.start_seconds().into(), window.end_seconds().into());
        let most = limits.max_blocks_per_tag_values_query;
        let tenants = requests.iter().map(calls.tenant);
        let known: Vec<_> =
            tenants.map(|tenant| self.known_blocks(tenant, seconds, most)).collect();
        state.work.metrics.total_jobs += requests.len() as u32;
        let so_far = if is_stream { SoFar::Kept } else { SoFar::NotKept };
        let ask = |(request, known): (&R, &KnownBlocks)| {
            ask(&self.queue, (calls.told)(request, known.ids(), so_far))
        };
        let mut recent: FuturesUnordered<_> = requests.iter().zip(&known).map(ask).collect();
        let looks = requests.iter().filter(|_| is_stream);
        let looks = looks.map(|request| (calls.told)(request, Bytes::new(), SoFar::Asked));
        let mut looks = Looks::new(&self.queue, looks.collect());
        let run = |(request, part): (Arc<R>, _)| (calls.in_block)(self, R::clone(&request), part);
        let in_flight = self.jobs_in_flight(self.settings.section.search.concurrent_jobs);
        let mut jobs = Jobs::new(in_flight, run);
        let mut head_start = pin!(sleep(HEAD_START));
        let (mut reads_known, mut has_room) = (false, true);
        while has_room {
            jobs.start(|_| true);
            let is_recent_left = !recent.is_empty();
            let outcome = tokio::select! {
                biased;
                Some(outcome) = recent.next(), if is_recent_left => outcome?,
                Some(outcome) = jobs.next(), if !jobs.is_idle() => outcome?,
                () = &mut head_start, if is_stream && is_recent_left && !reads_known => {
                    reads_known = true;
                    let blocks = known.iter().map(|known| known.selected().to_vec());
                    jobs.add(self.block_jobs(requests, blocks, &mut state.work));
                    continue;
                }
                found = looks.next(), if is_recent_left => {
                    state.show(found, &add)?;
                    continue;
                }
                () = sleep(TELL_EVERY), if is_stream && (is_recent_left || !jobs.is_idle()) => {
                    state.tell()?;
                    continue;
                }
                else => break,
            };
            has_room = state.take(outcome, calls.work_of, &add)?;
            // Also of an answer that is full: totals do not depend on where it was.
            if is_recent_left && (recent.is_empty() || (!has_room && !reads_known)) {
                state.work.partial |= self.lacks_blocks(&known);
                let blocks = known.iter().map(|known| self.blocks_left(known, reads_known));
                jobs.add(self.block_jobs(requests, blocks, &mut state.work));
            }
        }
        Ok(())
    }

    /// One job for each part of a block of each request. There may be very many, and the text of a query be long.
    fn block_jobs<R: Clone>(
        &self,
        requests: &[R],
        blocks: impl Iterator<Item = Vec<QueryBlock>>,
        work: &mut Work,
    ) -> Vec<(Arc<R>, BlockPart)> {
        let bytes = self.settings.section.search.target_bytes_per_job;
        let mut jobs = Vec::new();
        for (request, blocks) in requests.iter().zip(blocks) {
            work.plan_blocks(&blocks);
            let request = Arc::new(request.clone());
            for block in blocks {
                let parts = block.parts(bytes).into_iter();
                jobs.extend(parts.map(|part| (Arc::clone(&request), part)));
            }
        }
        work.plan_jobs(jobs.len());
        jobs
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tactus_api::Error;
    use tactus_traceql::eval::{TagCollector, TagLimits, TagScope};
    use tactus_work::memory::{Budget, QueryMemory};

    use super::*;
    use crate::current_query::{as_query, new_number};

    /// What a query holds that collects this many names of a kilobyte, without a limit of their bytes.
    async fn collect(memory: &Arc<QueryMemory>, names: usize, is_shown: bool) -> Result<u64> {
        let query = async {
            let collector = || TagCollector::new(TagLimits::default());
            let observer: Observer<TagCollector> = Box::new(|_, _| true);
            let mut state = State::new(collector, Work::default(), Some(observer));
            let add = |collector: &mut TagCollector, number: usize| {
                collector.add(TagScope::Span, &format!("{number:01000}"))
            };
            for number in 0..names {
                match is_shown {
                    true => state.show(number, add)?,
                    false => {
                        state.take(Outcome::Answer(number), |_| (0, false), add)?;
                    }
                }
            }
            Ok(memory.used())
        };
        as_query(new_number(), &[], Duration::ZERO, Duration::ZERO, Some(memory), query).await
    }

    #[tokio::test]
    async fn what_is_collected_and_shown_counts_as_memory_of_the_query() {
        let memory = QueryMemory::within(&Budget::new(4_000_000));
        for is_shown in [false, true] {
            let held = collect(&memory, 2_000, is_shown).await.unwrap();
            assert!((1_500_000..3_000_000).contains(&held), "{held} {is_shown}");
            let refused = collect(&memory, 20_000, is_shown).await;
            assert!(matches!(refused, Err(Error::NeedsTooMuchMemory(_))), "{refused:?}");
            assert_eq!(memory.used(), 0);
        }
    }
}
