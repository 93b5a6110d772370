//! A process that goes on: for each tenant a task that writes, one for each age that looks at traces of that age, and one that
//! looks at any. Each does one thing at a time and passes over what it has no time for, so that none needs a queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use tactus_telemetry::log_limited;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::content::{CheckTrace, Derivation};
use super::metrics::{Metrics, Skipped};
use super::problem::{Problem, Query};
use super::queries;
use super::random::{Random, key};
use super::server::Servers;
use super::written::{self, RUNS_IN_A_TRACE, Written};
use crate::error::Failure;

/// The clock may be set: nobody sleeps longer without a look at it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Slots that a task may be late before it passes over some.
const MAX_BEHIND: u64 = 16;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// Between two looks of the probe; each is half as long again as the one before.
const FIRST_PROBE: Duration = Duration::from_millis(20);
/// Between looks at traces of any age, where traces are written more often.
const SHORTEST_SAMPLING: Duration = Duration::from_millis(200);
/// A trace this close to its end of life may be gone.
const EXPIRY_MARGIN: f64 = 0.05;

/// What holds for every tenant.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) servers: Servers,
    pub(crate) metrics: Metrics,
    /// Between the two parts of a divided trace.
    pub(crate) late_after: Duration,
    /// Ages at which each trace is looked at, counted from when all of it is sent.
    pub(crate) ages: Vec<Duration>,
    /// Traces of any age up to this are looked at.
    pub(crate) retention: Duration,
}

/// The checks of one tenant.
#[derive(Debug)]
pub(crate) struct Checker {
    settings: Arc<Settings>,
    derivation: Derivation,
    tenant: Option<HeaderValue>,
    /// For metrics and log lines.
    tenant_name: String,
    written: Mutex<Written>,
    /// A probe is under way.
    probing: AtomicBool,
    stop: CancellationToken,
}

impl Checker {
    pub(crate) fn new(
        settings: Arc<Settings>,
        derivation: Derivation,
        tenant: Option<(String, HeaderValue)>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (tenant_name, tenant) = tenant.unzip();
        Arc::new(Self {
            settings,
            derivation,
            tenant,
            tenant_name: tenant_name.unwrap_or_default(),
            written: Mutex::default(),
            probing: AtomicBool::new(false),
            stop,
        })
    }

    /// Starts all tasks; they end soon after `stop`.
    pub(crate) fn start(self: &Arc<Self>, tasks: &TaskTracker) {
        tasks.spawn(Arc::clone(self).write(tasks.clone()));
        for &age in &self.settings.ages {
            tasks.spawn(Arc::clone(self).check_age(age));
        }
        tasks.spawn(Arc::clone(self).check_any());
    }

    // --- writing ---------------------------------------------------------------------------------

    async fn write(self: Arc<Self>, tasks: TaskTracker) {
        // Before the first trace, which names what was written.
        let known = self.read_history(0).await;
        if known.is_err() {
            tasks.spawn(Arc::clone(&self).read_history_later());
        }
        let mut next = self.derivation.slot(now()) + 1;
        let mut late: VecDeque<u64> = VecDeque::new();
        let mut backoff = Backoff::default();
        loop {
            let late_at =
                late.front().map(|&slot| self.derivation.time(slot) + self.settings.late_after);
            let at = self.derivation.time(next);
            if !self.sleep_until(late_at.unwrap_or(at).min(at)).await {
                return;
            }
            let outcome = if late_at.is_some_and(|late_at| late_at <= at) {
                let Some(slot) = late.pop_front() else { continue };
                let pushed = self.push(&self.derivation.trace(slot), slot, true).await;
                if pushed.is_ok() {
                    self.acknowledged(slot);
                }
                pushed
            } else {
                let slot = next;
                next += 1;
                let trace = self.derivation.trace(slot);
                let pushed = self.push(&trace, slot, false).await;
                if pushed.is_ok() {
                    if self.is_divided(slot) {
                        late.push_back(slot);
                    } else {
                        self.acknowledged(slot);
                        self.probe(trace, slot, &tasks);
                    }
                }
                pushed
            };
            if let Err(failure) = outcome {
                let (tenant, error) = (&self.tenant_name, failure.to_string());
                log_limited!(warn, tenant, error, "a trace was not taken");
                if !self.pause(backoff.next()).await {
                    return;
                }
            } else {
                backoff = Backoff::default();
            }
            let due = self.derivation.slot(now());
            if due.saturating_sub(next) > MAX_BEHIND {
                self.settings.metrics.skipped(Skipped::Push, due - next);
                next = due;
            }
            // Second parts that were not sent in time are given up: their traces are not looked at.
            let oldest = now().saturating_sub(self.settings.late_after);
            let oldest = self.derivation.slot(oldest).saturating_sub(MAX_BEHIND);
            late.retain(|&slot| slot >= oldest);
        }
    }

    fn is_divided(&self, slot: u64) -> bool {
        Derivation::is_divided(slot) && !self.settings.late_after.is_zero()
    }

    async fn push(&self, trace: &CheckTrace, slot: u64, late: bool) -> Result<(), Failure> {
        let server = self.settings.servers.push_at(slot);
        let written = self.written().to_text(RUNS_IN_A_TRACE);
        let request = trace.request(late, !self.is_divided(slot), &written);
        let began = Instant::now();
        let pushed = server.push(request, self.tenant.as_ref()).await;
        self.settings.metrics.pushed(&server.url, &pushed, began.elapsed());
        pushed
    }

    /// All of a trace is there. One that came so late that it could be looked at before it is visible is not looked at.
    fn acknowledged(&self, slot: u64) {
        let sent_by = self.derivation.time(slot) + self.settings.late_after;
        let youngest = self.settings.ages.first().copied().unwrap_or(LONGEST_BACKOFF);
        if now() > sent_by + youngest / 2 {
            self.settings.metrics.skipped(Skipped::Check, 1);
            return;
        }
        let oldest = self.derivation.slot(now().saturating_sub(self.settings.retention));
        let mut written = self.written();
        written.insert(slot);
        written.forget_before(oldest);
        self.show(&written);
    }

    fn show(&self, written: &Written) {
        let oldest = written.first().map(|slot| self.derivation.time(slot));
        self.settings.metrics.known(&self.tenant_name, written.count(0, u64::MAX - 1), oldest);
    }

    /// Several servers take turns.
    async fn read_history(&self, turn: u64) -> Result<(), Failure> {
        let server = self.settings.servers.query_at(turn);
        let retention = self.settings.retention;
        let read = written::read(server, self.tenant.as_ref(), &self.derivation, now(), retention);
        let known = read.await?;
        let mut written = self.written();
        written.merge(&known);
        self.show(&written);
        let tenant = &self.tenant_name;
        tracing::info!(
            tenant,
            traces = known.count(0, u64::MAX - 1),
            "traces of earlier processes are known"
        );
        Ok(())
    }

    async fn read_history_later(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        for turn in 1.. {
            if !self.pause(backoff.next()).await {
                return;
            }
            match self.read_history(turn).await {
                Ok(()) => return,
                Err(failure) => {
                    let (tenant, error) = (&self.tenant_name, failure.to_string());
                    log_limited!(
                        warn,
                        tenant,
                        error,
                        "what earlier processes wrote cannot be read yet"
                    );
                }
            }
        }
    }

    /// Measures how long it takes until a trace is found, one trace at a time.
    fn probe(self: &Arc<Self>, trace: CheckTrace, slot: u64, tasks: &TaskTracker) {
        if self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let checker = Arc::clone(self);
        tasks.spawn(async move {
            let began = Instant::now();
            let mut missing = vec![Query::ById, Query::TraceQl];
            let mut pause = FIRST_PROBE;
            let limit = checker.settings.ages.first().copied().unwrap_or(LONGEST_BACKOFF);
            while !missing.is_empty() && began.elapsed() < limit {
                for query in std::mem::take(&mut missing) {
                    match checker.ask(&trace, slot, query).await {
                        Ok(()) => checker.settings.metrics.found(query, began.elapsed()),
                        // The look at the first age says what is wrong.
                        Err(_) => missing.push(query),
                    }
                }
                if !missing.is_empty() && !checker.pause(pause).await {
                    break;
                }
                pause += pause / 2;
            }
            checker.probing.store(false, Ordering::Release);
        });
    }

    // --- checking --------------------------------------------------------------------------------

    /// Looks at each trace when it has this age.
    async fn check_age(self: Arc<Self>, age: Duration) {
        let label = humane(age);
        let delay = age + self.settings.late_after;
        let due = || self.derivation.slot(now().saturating_sub(delay));
        let mut next = due();
        let mut backoff = Backoff::default();
        loop {
            if !self.sleep_until(self.derivation.time(next) + delay).await {
                return;
            }
            if self.is_written(next) && !self.check(next, &label, &mut backoff).await {
                return;
            }
            next += 1;
            let newest = due();
            if newest.saturating_sub(next) > MAX_BEHIND {
                let passed_over = self.written().count(next, newest - 1);
                self.settings.metrics.skipped(Skipped::Check, passed_over);
                next = newest;
            }
        }
    }

    /// Looks at one trace of any age after the other.
    async fn check_any(self: Arc<Self>) {
        let mut random = Random::new(key(&self.tenant_name), now().as_nanos() as u64);
        let pause = self.derivation.interval().max(SHORTEST_SAMPLING);
        let youngest =
            self.settings.ages.first().copied().unwrap_or_default() + self.settings.late_after;
        let oldest = self.settings.retention.mul_f64(1.0 - EXPIRY_MARGIN);
        let mut backoff = Backoff::default();
        while self.pause(pause).await {
            let now = now();
            let first = self.derivation.slot(now.saturating_sub(oldest));
            let last = self.derivation.slot(now.saturating_sub(youngest));
            let slot = {
                let written = self.written();
                let count = written.count(first, last);
                written.nth(first, last, random.below(count))
            };
            if let Some(slot) = slot
                && !self.check(slot, "any", &mut backoff).await
            {
                return;
            }
        }
    }

    /// Asks every question about a trace; waits for a while if the server does not answer. False: it is time to stop.
    async fn check(&self, slot: u64, age: &str, backoff: &mut Backoff) -> bool {
        let trace = self.derivation.trace(slot);
        let ask = async |query: Query| (query, self.ask(&trace, slot, query).await);
        let answers = async {
            tokio::join!(
                ask(Query::ById),
                ask(Query::Search),
                ask(Query::TraceQl),
                ask(Query::Metrics)
            )
        };
        let answers: [_; 4] = tokio::select! {
            // What is cut off says nothing about the server.
            () = self.stop.cancelled() => return false,
            answers = answers => answers.into(),
        };
        let mut away = false;
        for (query, answer) in answers {
            let problem = answer.err();
            self.settings.metrics.checked(age, query, problem.as_ref());
            let Some(problem) = problem else { continue };
            away |= matches!(problem, Problem::Failed(_));
            let (tenant, trace_id, error) =
                (&self.tenant_name, trace.id.to_hex(), problem.to_string());
            log_limited!(
                warn,
                tenant,
                trace_id,
                age,
                query = query.label(),
                error,
                "a trace is not as it was written"
            );
        }
        if away {
            return self.pause(backoff.next()).await;
        }
        *backoff = Backoff::default();
        !self.stop.is_cancelled()
    }

    async fn ask(&self, trace: &CheckTrace, slot: u64, query: Query) -> Result<(), Problem> {
        let server = self.settings.servers.query_at(slot.wrapping_add(query as u64));
        queries::ask(server, self.tenant.as_ref(), trace, query, &self.settings.metrics).await
    }

    fn is_written(&self, slot: u64) -> bool {
        self.written().contains(slot)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: it is time to stop.
    async fn sleep_until(&self, time: Duration) -> bool {
        loop {
            let left = time.saturating_sub(now());
            if left.is_zero() {
                return !self.stop.is_cancelled();
            }
            if !self.pause(left.min(LONGEST_SLEEP)).await {
                return false;
            }
        }
    }

    /// False: it is time to stop.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = sleep(time) => true,
        }
    }
}

/// Pauses while a server is away, each twice as long as the one before.
#[derive(Debug, Default)]
struct Backoff(Duration);

impl Backoff {
    fn next(&mut self) -> Duration {
        self.0 = (self.0 * 2).clamp(FIRST_BACKOFF, LONGEST_BACKOFF);
        self.0
    }
}

/// The time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `90s`, `15m` or `24h`: as it is given, where that is a whole number of a unit.
fn humane(age: Duration) -> String {
    let seconds = age.as_secs();
    match () {
        () if age.subsec_nanos() != 0 => format!("{}ms", age.as_millis()),
        () if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        () if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        () => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]);
    }

    #[test]
    fn ages_are_named_as_they_are_given() {
        let names = [1, 60, 90, 7200, 86_400].map(|seconds| humane(Duration::from_secs(seconds)));
        assert_eq!(names, ["1s", "1m", "90s", "2h", "24h"]);
        assert_eq!(humane(Duration::from_millis(1500)), "1500ms");
    }
}
