//! Makes the same call to several ingesters.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use prost::Message;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_ring::{Instance, ReadSet, Tolerance};
use tactus_rpc::QueryContext;
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_work::memory::TOO_MANY_BYTES;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Request, Response, Status};

use super::RecentData;

/// Time for an ingester of which nothing was heard for some rounds of gossip: it has most probably died without anybody
/// refusing calls in its place.
const TIME_FOR_SILENT: Duration = Duration::from_secs(5);

/// Divisor: this part of the time of a call is waited for the last of those that are all needed. One of them evaluates what
/// the others leave to it, which takes much longer than theirs.
const SHARE_OF_LAST: u32 = 6;

/// A method of an ingester, with its request.
pub(super) type Call<R, T> =
    fn(Arc<dyn Ingester>, Request<R>) -> BoxFuture<'static, Result<Response<T>, Status>>;

/// The request.
pub(super) struct Question<R, T> {
    /// The kind of query, for metrics.
    pub(super) op: &'static str,
    pub(super) request: R,
    pub(super) call: Call<R, T>,
    /// True for an answer that lacks spans because the disk of the ingester cannot read them.
    pub(super) lacks_spans: fn(&T) -> bool,
    /// Time for each call.
    pub(super) timeout: Duration,
    /// The answers are of use together only: a failure ends the call, and the last ones that the read set could do without
    /// are waited for as long as the others took, or for a part of the time.
    pub(super) needs_all: bool,
    /// The query, for what it may take.
    pub(super) context: QueryContext,
}

/// The answers of those that answered, in the order of the ring.
#[derive(Debug)]
pub(super) struct Answers<T> {
    pub(super) all: Vec<T>,
    /// More ingesters failed or lack spans than the replication makes up for, or any where all are needed.
    pub(super) partial: bool,
    /// Those that failed or were not waited for, where all are needed.
    pub(super) silent: Vec<String>,
    /// The memory of the answers, to be kept until one answer is made of them.
    pub(super) memory: Vec<AnswerMemory>,
}

/// An answer with what it takes.
type Counted<T> = (T, AnswerMemory);

/// The call of one ingester, with its place among those asked.
type Running<T> = BoxFuture<'static, (usize, Result<Counted<T>, Status>)>;

/// Takes memory for answers. Errors: there is none, even after a while; then the query ends.
pub(super) async fn take(memory: &Arc<Bodies>, bytes: usize) -> Result<AnswerMemory, Status> {
    let mut taken = AnswerMemory::of(memory);
    add(&mut taken, bytes).await?;
    Ok(taken)
}

/// Takes more memory. Errors: as of [`take`].
pub(super) async fn add(taken: &mut AnswerMemory, bytes: usize) -> Result<(), Status> {
    let added = taken.add(bytes as u64).await;
    added.map_err(|NoRoom| Status::resource_exhausted(TOO_MANY_BYTES))
}

impl RecentData {
    /// Calls these ingesters. It waits for those that are not needed for a complete answer only during the grace
    /// period. Errors: no ingester answers; one says that the query itself is wrong; there are gaps and reads are
    /// strict.
    pub(super) async fn ask<R, T>(
        &self,
        set: &ReadSet,
        question: Question<R, T>,
    ) -> Result<Answers<T>, Status>
    where
        R: Clone + Send + 'static,
        T: Message + 'static,
    {
        let op = question.op;
        let answers = self.ask_some(set, question).await?;
        self.partial.with([op]).inc_by(u64::from(answers.partial));
        if answers.partial && self.parts.section.strict_recent_reads {
            return Err(Status::unavailable("too many unhealthy instances in the ring"));
        }
        Ok(answers)
    }

    /// As [`Self::ask`], but gaps are reported to the caller, for a step of a query that can be done another way. Where all
    /// are needed, failures are gaps only.
    pub(super) async fn ask_some<R, T>(
        &self,
        set: &ReadSet,
        question: Question<R, T>,
    ) -> Result<Answers<T>, Status>
    where
        R: Clone + Send + 'static,
        T: Message + 'static,
    {
        let section = &self.parts.section;
        let extra_delay = section.extra_query_delay.as_std();
        let mut progress = set.progress();
        let unheard = self.parts.ring.silent();
        let call = |at: usize| self.call(at, &set.instances[at], &question, &unheard);
        let late = if question.needs_all { Duration::ZERO } else { extra_delay };
        let mut last = late_starters(set, late);
        let mut running: FuturesUnordered<Running<T>> = (0..last.start).map(call).collect();
        let started = Instant::now();
        let start_last_at = started + extra_delay;
        let mut give_up_at = None;
        let mut silent = Vec::new();
        let mut answers = Vec::with_capacity(set.instances.len());
        let mut failure = None;
        while !running.is_empty() || !last.is_empty() {
            let start_rest = tokio::select! {
                biased;
                Some((at, result)) = running.next() => match result {
                    Ok(answer) => {
                        if question.needs_all {
                            self.silent.forget(&set.instances[at].id);
                        }
                        let lacks_spans = (question.lacks_spans)(&answer.0);
                        // Others have to make up for it as for one that is dead, but what it has is used.
                        match lacks_spans {
                            true => progress.failed(at),
                            false => progress.succeeded(at),
                        }
                        answers.push((at, answer));
                        if lacks_spans && question.needs_all {
                            break;
                        }
                        lacks_spans
                    }
                    Err(status) if is_of_query(&status) => return Err(status),
                    Err(status) => {
                        self.note(question.op, &set.instances[at], &status);
                        progress.failed(at);
                        failure.get_or_insert(status);
                        if question.needs_all {
                            silent.push(at);
                            break;
                        }
                        true
                    }
                },
                Some(()) = OptionFuture::from(give_up_at.map(sleep_until)) => {
                    if question.needs_all {
                        let answered = |at: &usize| answers.iter().any(|(it, _)| it == at);
                        silent.extend((0..set.instances.len()).filter(|at| !answered(at)));
                    }
                    break;
                }
                () = sleep_until(start_last_at), if !last.is_empty() => true,
            };
            if start_rest {
                let rest = std::mem::replace(&mut last, 0..0);
                running.extend(rest.map(call));
            }
            if progress.is_enough() {
                if running.is_empty() {
                    break;
                }
                let grace = section.late_ingester_grace.as_std();
                let time = match question.needs_all {
                    true => grace.max(started.elapsed()).max(question.timeout / SHARE_OF_LAST),
                    false => grace,
                };
                give_up_at.get_or_insert_with(|| Instant::now() + time);
            }
        }
        let partial = match question.needs_all {
            true => {
                answers.len() < set.instances.len()
                    || answers.iter().any(|(_, (answer, _))| (question.lacks_spans)(answer))
            }
            false => progress.is_partial(),
        };
        if let Some(status) = failure.filter(|_| answers.is_empty() && !question.needs_all) {
            return Err(Status::unavailable(format!("no ingester answers: {}", status.message())));
        }
        let silent = silent.into_iter().map(|at| set.instances[at].id.to_string()).collect();
        answers.sort_unstable_by_key(|(at, _)| *at);
        let (all, memory) = answers.into_iter().map(|(_, counted)| counted).unzip();
        Ok(Answers { all, partial, silent, memory })
    }

    fn call<R, T>(
        &self,
        at: usize,
        instance: &Instance,
        question: &Question<R, T>,
        silent: &HashSet<String>,
    ) -> Running<T>
    where
        R: Clone + Send + 'static,
        T: Message + 'static,
    {
        let left =
            question.context.deadline.map(|it| it.saturating_duration_since(StdInstant::now()));
        let most = match silent.contains(&*instance.id) {
            true => question.timeout.min(TIME_FOR_SILENT),
            false => question.timeout,
        };
        let time = left.map_or(most, |left| left.min(most));
        let mut request = Request::new(question.request.clone());
        request.set_timeout(time);
        question.context.write(request.metadata_mut());
        let answer = (question.call)((self.parts.ingester_at)(instance), request);
        let memory = Arc::clone(&self.parts.memory);
        Box::pin(async move {
            let late = |_| Status::deadline_exceeded(format!("no answer within {time:?}"));
            let result = timeout(time, answer).await.map_err(late).flatten();
            let counted = async {
                let answer = result?.into_inner();
                let taken = take(&memory, answer.encoded_len()).await?;
                Ok((answer, taken))
            };
            (at, counted.await)
        })
    }

    /// Counts a failure, and logs it.
    pub(super) fn note(&self, op: &str, instance: &Instance, status: &Status) {
        self.failures.with([op, code_label(status.code())]).inc();
        tracing::debug!(op, ingester = %instance.id, %status, "ingester did not answer");
    }
}

/// The ingesters at the end of the set that are asked later, because the others may be enough.
fn late_starters(set: &ReadSet, delay: Duration) -> std::ops::Range<usize> {
    let count = set.instances.len();
    let later = match set.tolerance {
        Tolerance::Instances(errors) if !delay.is_zero() => errors,
        // Which zone is not needed is not known in advance.
        _ => 0,
    };
    count.saturating_sub(later)..count
}

/// True for a failure that all other ingesters, and every other attempt, would share.
fn is_of_query(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::Aborted => true,
        // The text of `Unsupported` of the evaluator. Without it, the process at this address has no such service or call: it is
        // an older ingester, or it is none and has the address of one that died.
        Code::Unimplemented => status.message().ends_with(" not supported"),
        _ => false,
    }
}

fn code_label(code: Code) -> &'static str {
    match code {
        Code::Unavailable => "unavailable",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::Internal => "internal",
        Code::DataLoss => "data_loss",
        Code::Cancelled => "cancelled",
        _ => "other",
    }
}
