//! The cache of job answers.
//!
//! A block never changes, so neither does what a job finds in it. The querier reports which answers depend on nothing
//! else, and for which other time ranges they hold ([`AnswerScope`]). The key of an answer is everything else in the
//! job's request. Answers are kept in memory and, if configured, in the cache of role `frontend-search`. The work
//! behind an answer is not stored: a cached answer costs none.

mod jobs;
mod store;

use std::sync::Arc;

use prost::Message;
use tactus_api::{Error, Result};
use tactus_cache::Cache;
use tactus_cache::answer::{AnswerScope, Times};
use tactus_proto::tactus::v1::{BlockPart, JobExplanation, Pruned};
use tactus_rpc::jobs::{ANSWER_SCOPE, JobKind};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_telemetry::metrics::{CounterVec, Kind, Registry};
use tonic::Response;

use store::{Entry, Place, Store};

/// Larger answers are not cached: one must not put all others out, and has to find memory when it is read.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// An answer as a message takes this many times the bytes that are cached, about: short strings take most.
const MESSAGE_TIMES: u64 = 8;

/// An answer out of the cache, and its memory.
pub(crate) type Found<T> = (T, AnswerMemory);

/// A job on part of a block, whose answer may be cached.
pub(crate) trait BlockJob:
    JobKind<Answer: Message + Clone + Default + 'static> + Message + Clone + 'static
{
    /// The kind of job in keys. It changes when the meaning of a request or the form of an answer changes.
    const KIND: &'static str;
    /// The kind in metrics.
    const OP: &'static str;

    /// The tenant and the part of the block. `None` if the request is incomplete.
    fn part(&self) -> Option<(&str, &BlockPart)>;

    /// True if the answer must explain what was done.
    fn explains(&self) -> bool;

    /// The request without the fields that do not affect the answer, and without [`Self::counted_blocks`].
    fn essence(&self) -> Self;

    /// The ids of other blocks that the answer depends on, in one order, 16 bytes each. `None` if one of them is not an id.
    fn counted_blocks(&self) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    /// Splits the request into its time range and the rest. `None` if the answer holds for this range only.
    fn any_time(self) -> Option<(Self, TimeRange)>;

    /// Converts an answer made for a range with this base into one for the request. False if that is impossible.
    fn rebase(&self, _answer: &mut Self::Answer, _base: u64) -> bool {
        true
    }

    /// Replaces what an answer says of the work behind it by these explanations.
    fn restate(answer: &mut Self::Answer, explanations: Vec<JobExplanation>);
}

/// The time range of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeRange {
    /// Both ends are inclusive, in unix nanoseconds.
    start: u64,
    end: u64,
    /// See [`BlockJob::rebase`].
    base: u64,
}

/// The places where the answer to a job may be: one for several time ranges, and one for exactly that of the request.
#[derive(Debug, Default)]
pub(crate) struct Places {
    keys: Vec<Place>,
    /// Of each place; `None` for the exact one.
    ranges: Vec<Option<TimeRange>>,
}

/// The cached answers of a frontend.
pub(crate) struct Results {
    store: Store,
    requests: CounterVec<2>,
}

impl Results {
    pub(crate) fn new(max_bytes: i64, shared: Option<Cache>, registry: &Registry) -> Self {
        let store = Store::new(u64::try_from(max_bytes).unwrap_or(0), shared);
        let memory = store.memory();
        registry.register_collector(move |out| {
            if let Some(memory) = &memory {
                let help = "Bytes of kept answers of jobs in memory.";
                out.family("tactus_query_frontend_result_cache_bytes", help, Kind::Gauge);
                out.sample(&[], memory.weighted_size() as f64);
            }
        });
        let requests = registry.counter_vec(
            "tactus_query_frontend_result_cache_requests_total",
            "Jobs on blocks whose answer was looked for among the kept ones, by kind and result (hit, miss).",
            ["op", "result"],
        );
        Self { store, requests }
    }

    /// The places of the answer to a job; none if no answers are cached.
    pub(crate) fn places<J: BlockJob>(&self, job: &J) -> Places {
        if self.store.is_off() { Places::default() } else { places(job) }
    }

    /// The cached answer to a job, if there is one at its places. Its memory is taken before it is decoded. Errors:
    /// [`Error::TooManyBytes`].
    pub(crate) async fn find<J: BlockJob>(
        &self,
        job: &J,
        places: &Places,
        memory: &Arc<Bodies>,
    ) -> Result<Option<Found<J::Answer>>> {
        let Places { keys, ranges } = places;
        if keys.is_empty() {
            return Ok(None);
        }
        let (mut found, mut next) = (None, 0);
        while found.is_none() && next < keys.len() {
            let holds = |place: usize, entry: &Entry| match &ranges[next + place] {
                Some(range) => entry.scope.times.hold(range.start, range.end),
                None => true,
            };
            let Some((place, entry)) = self.store.find(&keys[next..], holds).await else { break };
            let mut taken = AnswerMemory::of(memory);
            let bytes = MESSAGE_TIMES * entry.answer.len() as u64;
            taken.add(bytes).await.map_err(|NoRoom| Error::TooManyBytes)?;
            let is_ranged = ranges[next + place].is_some();
            found = decoded(job, &entry, is_ranged).map(|answer| (answer, taken));
            next += place + 1;
        }
        let result = if found.is_some() { "hit" } else { "miss" };
        self.requests.with([J::OP, result]).inc();
        Ok(found)
    }

    /// Caches the answer to a job at one of its places, if the querier allows it.
    pub(crate) fn keep<J: BlockJob>(&self, places: &Places, response: &Response<J::Answer>) {
        let scope = response.metadata().get(ANSWER_SCOPE);
        let scope = scope.and_then(|scope| scope.to_str().ok()?.parse::<AnswerScope>().ok());
        let Some(scope) = scope else { return };
        // The place where most requests will find it.
        let place = places.keys.iter().zip(&places.ranges).find(|(_, range)| match range {
            Some(range) => scope.times.hold(range.start, range.end),
            None => true,
        });
        let Some((place, range)) = place else { return };
        if response.get_ref().encoded_len() > MAX_ANSWER_BYTES {
            return;
        }
        let mut answer = response.get_ref().clone();
        J::restate(&mut answer, Vec::new());
        let base = range.map_or(0, |range| range.base);
        let times = if range.is_some() { scope.times } else { Times::Asked };
        let scope = AnswerScope { times, ..scope };
        self.store.keep(place, &Entry { scope, base, answer: answer.encode_to_vec().into() });
    }
}

/// A cached answer as one to this job. `None`: it cannot be made one.
fn decoded<J: BlockJob>(job: &J, entry: &Entry, is_ranged: bool) -> Option<J::Answer> {
    let mut answer = J::Answer::decode(entry.answer.clone()).ok()?;
    if is_ranged && !job.rebase(&mut answer, entry.base) {
        return None;
    }
    J::restate(&mut answer, explanations(job, &entry.scope));
    Some(answer)
}

fn places<J: BlockJob>(job: &J) -> Places {
    let (Some((tenant, part)), Some(blocks)) = (job.part(), job.counted_blocks()) else {
        return Places::default();
    };
    let place = |form: &str, request: &J| {
        let mut key = (blocks.len() as u64).to_le_bytes().to_vec();
        key.extend_from_slice(&blocks);
        key.extend(request.encode_to_vec());
        Place::new(&format!("{}-{form}", J::KIND), tenant, part, key)
    };
    let essence = job.essence();
    let exact = (place("asked", &essence), None);
    let ranged = essence.any_time().map(|(rest, range)| (place("any", &rest), Some(range)));
    let (keys, ranges) = ranged.into_iter().chain([exact]).unzip();
    Places { keys, ranges }
}

/// The explanation of a cached answer.
fn explanations<J: BlockJob>(job: &J, scope: &AnswerScope) -> Vec<JobExplanation> {
    let Some((_, part)) = job.part().filter(|_| job.explains()) else { return Vec::new() };
    let reason = "answer was kept".to_owned();
    vec![JobExplanation {
        source: part.block_id.clone(),
        parts: scope.row_groups,
        pruned: vec![Pruned { reason, parts: scope.row_groups }],
        ..JobExplanation::default()
    }]
}

#[cfg(test)]
mod tests;
