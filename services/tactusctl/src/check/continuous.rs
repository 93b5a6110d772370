//! A process that checks until it is stopped. For each tenant, one task writes traces, one task for each age checks traces of
//! that age, and one checks traces of any age. Each does one thing at a time and skips what it has no time for, so no task
//! needs a queue.

mod writing;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use parking_lot::Mutex;
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
use super::written::Written;

/// No task sleeps longer without reading the clock, because the clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How many slots a task may be late before it skips some.
const MAX_BEHIND: u64 = 16;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// The shortest time between two checks of traces of any age, even if traces are written more often.
const SHORTEST_SAMPLING: Duration = Duration::from_millis(200);
/// The fraction at the end of the retention in which a trace may already be deleted.
const EXPIRY_MARGIN: f64 = 0.05;

/// The settings for all tenants.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) servers: Servers,
    pub(crate) metrics: Metrics,
    /// Time between the two parts of a divided trace.
    pub(crate) late_after: Duration,
    /// Ages at which each trace is checked, counted from when all of it was sent.
    pub(crate) ages: Vec<Duration>,
    /// Traces of any age up to this are checked.
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
    /// True while a probe runs.
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

    /// Checks each trace when it has this age.
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
                let passed_over = self.written.lock().count(next, newest - 1);
                self.settings.metrics.skipped(Skipped::Check, passed_over);
                next = newest;
            }
        }
    }

    /// Checks traces of any age, one after the other.
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
                let written = self.written.lock();
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

    /// Runs every query for a trace, and pauses if the server does not answer. False if the process stops.
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
            // A query that is interrupted says nothing about the server.
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
        self.written.lock().contains(slot)
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

/// `90s`, `15m` or `24h`: the largest unit that gives a whole number.
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
