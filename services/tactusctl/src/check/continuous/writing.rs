//! Writes traces when they are due, and measures how long it takes until they are found.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tactus_telemetry::log_limited;
use tokio_util::task::TaskTracker;

use super::{Backoff, Checker, LONGEST_BACKOFF, MAX_BEHIND, now};
use crate::check::content::{CheckTrace, Derivation};
use crate::check::history;
use crate::check::metrics::Skipped;
use crate::check::problem::Query;
use crate::check::written::{RUNS_IN_A_TRACE, Written};
use crate::error::Failure;

/// The first pause of the probe. Each further pause is half as long again as the one before.
const FIRST_PROBE: Duration = Duration::from_millis(20);

impl Checker {
    /// Sends each trace when it is due, and the second part of a divided trace later, until the process stops.
    pub(super) async fn write(self: Arc<Self>, tasks: TaskTracker) {
        // This comes before the first trace, because each trace names the traces that were written before it.
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
            self.give_up(&mut late);
        }
    }

    /// Gives up second parts that were not sent in time. Their traces are not checked.
    fn give_up(&self, late: &mut VecDeque<u64>) {
        let oldest = now().saturating_sub(self.settings.late_after);
        let oldest = self.derivation.slot(oldest).saturating_sub(MAX_BEHIND);
        let before = late.len();
        late.retain(|&slot| slot >= oldest);
        self.settings.metrics.skipped(Skipped::Push, (before - late.len()) as u64);
    }

    fn is_divided(&self, slot: u64) -> bool {
        Derivation::is_divided(slot) && !self.settings.late_after.is_zero()
    }

    async fn push(&self, trace: &CheckTrace, slot: u64, late: bool) -> Result<(), Failure> {
        let server = self.settings.servers.push_at(slot);
        let written = self.written.lock().to_text(RUNS_IN_A_TRACE);
        let request = trace.request(late, !self.is_divided(slot), &written);
        let began = Instant::now();
        let pushed = server.push(request, self.tenant.as_ref()).await;
        self.settings.metrics.pushed(&server.url, &pushed, began.elapsed());
        pushed
    }

    /// Notes that the server has all of a trace. A trace that came too late is not checked, because the check could come before it
    /// is visible.
    fn acknowledged(&self, slot: u64) {
        let sent_by = self.derivation.time(slot) + self.settings.late_after;
        let youngest = self.settings.ages.first().copied().unwrap_or(LONGEST_BACKOFF);
        if now() > sent_by + youngest / 2 {
            self.settings.metrics.skipped(Skipped::Check, 1);
            return;
        }
        let oldest = self.derivation.slot(now().saturating_sub(self.settings.retention));
        let mut written = self.written.lock();
        written.insert(slot);
        written.forget_before(oldest);
        self.show(&written);
    }

    fn show(&self, written: &Written) {
        let oldest = written.first().map(|slot| self.derivation.time(slot));
        self.settings.metrics.known(&self.tenant_name, written.count(0, u64::MAX - 1), oldest);
    }

    /// Reads what earlier processes wrote. Several servers take turns.
    async fn read_history(&self, turn: u64) -> Result<(), Failure> {
        let server = self.settings.servers.query_at(turn);
        let retention = self.settings.retention;
        let read = history::read(server, self.tenant.as_ref(), &self.derivation, now(), retention);
        let known = read.await;
        self.settings.metrics.answered(&known);
        let known = known?;
        let mut written = self.written.lock();
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
                        // The check at the first age reports what is wrong.
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
}

#[cfg(test)]
mod tests {
    use tactus_telemetry::metrics::Registry;
    use tokio_util::sync::CancellationToken;

    use super::super::Settings;
    use super::*;
    use crate::arguments::check::Check;
    use crate::check::metrics::Metrics;
    use crate::check::server::Servers;

    #[tokio::test]
    async fn second_parts_that_are_given_up_are_counted() {
        let registry = Registry::new();
        let settings = Settings {
            servers: Servers::new(&Check::parsed(&[])).unwrap(),
            metrics: Metrics::new(&registry),
            late_after: Duration::from_secs(5),
            ages: Vec::new(),
            retention: Duration::from_secs(3600),
        };
        let derivation = Derivation::new("seed", None, Duration::from_secs(1));
        let now = derivation.slot(now());
        let checker = Checker::new(Arc::new(settings), derivation, None, CancellationToken::new());
        let mut late = VecDeque::from([now - 1000, now - 999, now]);
        checker.give_up(&mut late);
        assert_eq!(late, [now]);
        let page = registry.encode();
        assert!(page.contains("tactus_check_skipped_total{what=\"push\"} 2\n"), "{page}");
    }
}
