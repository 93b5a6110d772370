//! Computes probabilities so that each operation sends about the desired number of sampled traces a second.
//!
//! ```text
//! accepted root spans --count--> by operation --each interval, at its end by the clock--> an object in the bucket
//!                                                                                             |
//!  clients <--serve-- every distributor <--refresh-- probabilities <--calculate, one of them--'
//! ```
//!
//! One distributor calculates. Everything it knows is in the bucket, so that another one can take over at any time. If
//! two calculate at the same time for a while, the later write wins, which costs precision for an interval.
//!
//! Times are unix milliseconds of [`tactus_clock`], which the caller of each step provides.

mod by_operation;
mod calculate;
mod counter;
mod store;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tactus_config::sections::sampling::AdaptiveSampling;
use tactus_model::TenantId;
use tactus_proto::jaeger::api_v2::{
    OperationSamplingStrategy, PerOperationSamplingStrategies, ProbabilisticSamplingStrategy,
    SamplingStrategyType,
};
use tactus_storage::{Bucket, Uuid};
use tactus_telemetry::error_text;
use tokio_util::sync::CancellationToken;

use crate::{Error, Metrics, Strategy, StrategySet};
use by_operation::{ByOperation, OperationLimits};
use calculate::{Bucket as CountedBucket, Calculated, calculate};
use counter::Counter;
use store::{CountsObject, Round, Store, blocking};

pub use counter::{SampledSpan, SamplerKind};

/// Whether this process is the one that calculates.
pub type IsLeader = Arc<dyn Fn() -> bool + Send + Sync>;

/// Divisor: in the last part of an interval the bucket is not read, because there may be no time for the answer.
const SOON: u64 = 8;
/// How long flushes may delay the end of the process.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Adaptive sampling in one process.
#[derive(Debug)]
pub struct Adaptive {
    settings: AdaptiveSampling,
    /// Name of the process. Only for people who read the objects.
    instance: String,
    /// Name of this run of the process.
    name: String,
    counter: Counter,
    store: Store,
    served: ArcSwap<HashMap<String, StrategySet>>,
    /// The strategy of services about which nothing is known.
    unknown: Arc<Strategy>,
    state: tokio::sync::Mutex<State>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// Set while this process calculates. It can be rebuilt from the bucket, so failures may drop it.
    leading: Option<Leading>,
    /// The version of the probabilities that were read last.
    version: Option<String>,
}

#[derive(Debug)]
struct Leading {
    /// Counts up to this time are in the buckets.
    until: u64,
    /// Newest first.
    buckets: VecDeque<CountedBucket>,
    round: ByOperation<Calculated>,
}

impl Leading {
    /// True if nobody counted anything.
    fn is_idle(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.counts.is_empty())
    }
}

impl Adaptive {
    /// `instance` is the name of the process; all processes share `bucket`.
    pub fn new(
        settings: AdaptiveSampling,
        instance: &str,
        bucket: Bucket,
        metrics: Metrics,
    ) -> Arc<Self> {
        let limits = OperationLimits {
            all: settings.max_operations,
            per_tenant: settings.max_operations_per_tenant,
        };
        let run = Uuid::new_v4().simple().to_string();
        Arc::new(Self {
            instance: instance.to_owned(),
            name: format!("{instance}-{run}"),
            counter: Counter::new(limits),
            store: Store::new(bucket, metrics.clone(), limits),
            served: ArcSwap::default(),
            unknown: Arc::new(strategy(&settings, Vec::new())),
            state: tokio::sync::Mutex::default(),
            settings,
            metrics,
        })
    }

    /// Counts root spans that were stored.
    pub fn count(&self, tenant: &TenantId, spans: &[SampledSpan<'_>]) {
        let counted = self.counter.add(tenant.as_str(), spans);
        self.metrics.counted_spans.inc_by(counted);
        self.metrics.uncounted_spans.inc_by(spans.len() as u64 - counted);
    }

    /// The strategy of a service of a tenant.
    pub fn strategy(&self, tenant: Option<&TenantId>, service: &str) -> Arc<Strategy> {
        let served = self.served.load();
        match tenant.and_then(|tenant| served.get(tenant.as_str())) {
            Some(set) => set.of(service),
            None => Arc::clone(&self.unknown),
        }
    }

    /// Flushes, calculates and refreshes until `stop`.
    pub async fn run(self: Arc<Self>, is_leader: IsLeader, stop: CancellationToken) {
        let interval = self.interval();
        let mut too_late = pin!(async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_FLUSH_TIMEOUT).await;
        });
        self.until(unix_millis() + interval, "refresh", self.refresh()).await;
        let mut next = self.interval_end(unix_millis()) + interval;
        loop {
            let now = unix_millis();
            if next.saturating_sub(now) > interval {
                // The clock was set back.
                next = self.interval_end(now) + interval;
            }
            let wait = Duration::from_millis(next.saturating_sub(now));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait.min(self.settings.refresh_interval.as_std())) => {}
            }
            let (now, leads) = (unix_millis(), is_leader());
            self.metrics.is_leader.set(f64::from(u8::from(leads)));
            let is_end = now >= next;
            if !is_end && next - now < interval / SOON {
                continue;
            }
            if is_end {
                next = self.interval_end(now) + interval;
                // A flush that is broken off loses what it has taken from the counter.
                tokio::select! {
                    biased;
                    () = self.until(next, "flush", self.flush(now)) => {}
                    () = &mut too_late => return,
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.update(now, is_end, leads, next) => {}
            }
        }
        // What is left belongs to the interval that has not ended yet.
        let end = self.interval_end(unix_millis()) + interval;
        tokio::select! {
            biased;
            flushed = self.flush(end) => self.log("flush", flushed),
            () = &mut too_late => {}
        }
    }

    async fn update(&self, now: u64, is_end: bool, leads: bool, until: u64) {
        match (is_end, leads) {
            (true, true) => self.until(until, "calculate", self.calculate(now)).await,
            (_, false) => self.until(until, "refresh", self.refresh()).await,
            (false, true) => {}
        }
    }

    /// Waits for an access to the bucket, but only until the interval ends. The counter goes on meanwhile, and what it
    /// counts in several intervals would be written as the traffic of one.
    async fn until(
        &self,
        end_unix_ms: u64,
        operation: &str,
        access: impl Future<Output = Result<(), Error>>,
    ) {
        let left = Duration::from_millis(end_unix_ms.saturating_sub(unix_millis()));
        let result = tokio::time::timeout(left, access).await;
        self.log(operation, result.unwrap_or(Err(Error::TooLate)));
    }

    fn log(&self, operation: &str, result: Result<(), Error>) {
        if let Err(error) = result {
            self.metrics.store_failures.with([operation]).inc();
            let error = error_text(&error);
            tracing::warn!(operation, error, "adaptive sampling cannot use the bucket");
        }
    }

    /// Writes the counts for the interval that ended last. Counts that cannot be written are lost: later they would
    /// look like traffic of another interval.
    pub async fn flush(&self, now_unix_ms: u64) -> Result<(), Error> {
        let counts = self.counter.take();
        if counts.is_empty() {
            return Ok(());
        }
        self.store.put_counts(self.interval_end(now_unix_ms), &self.name, counts).await
    }

    /// Calculates the probabilities from what all processes counted, serves them, and writes them for the others. Does
    /// nothing until the next interval is due.
    ///
    /// If nobody counted anything in all intervals that are used, the previous probabilities stay, and nothing is
    /// deleted. The clock of this process may be wrong, or the counts may not have been written.
    pub async fn calculate(&self, now_unix_ms: u64) -> Result<(), Error> {
        let delay = millis(self.settings.calculation_delay.as_std());
        let end = self.interval_end(now_unix_ms.saturating_sub(delay));
        let mut state = self.state.lock().await;
        state.version = None;
        let listed = self.store.list_counts().await?;
        let (mut leading, mut is_due) = match state.leading.take() {
            Some(leading) if end.abs_diff(leading.until) <= self.kept() => (leading, false),
            _ => self.take_over(&listed, end).await?,
        };
        // Each interval by itself: one that was not counted does not make the rate of the others lower.
        while end > leading.until {
            let until = end.min(leading.until + self.interval());
            let seconds = (until - leading.until) as f64 / 1000.0;
            let counts = self.store.sum(&listed, leading.until + 1..until + 1).await?;
            leading.buckets.push_front(CountedBucket { seconds, counts });
            leading.buckets.truncate(self.settings.aggregation_buckets);
            (leading.until, is_due) = (until, true);
        }
        if !is_due {
            state.leading = Some(leading);
            return Ok(());
        }
        let is_idle = leading.is_idle();
        let settings = self.settings.clone();
        let work = move || {
            if !is_idle {
                leading.round = calculate(&settings, &leading.buckets, &leading.round);
            }
            let served = strategies(&settings, &leading.round);
            let round = Round { until: end, operations: leading.round.clone() };
            (leading, served, round)
        };
        let (leading, served, round) = blocking("calculation", work).await?;
        self.serve(served, round.operations.len());
        self.metrics.calculations.inc();
        state.leading = Some(leading);
        if is_idle {
            return Ok(());
        }
        self.store.put_round(&self.instance, round).await?;
        self.delete_old(listed, now_unix_ms).await
    }

    /// What the process that calculated before knew, and whether there is anything to calculate.
    async fn take_over(&self, listed: &[CountsObject], end: u64) -> Result<(Leading, bool), Error> {
        let interval = self.interval();
        let before = self.store.round().await?.map(|(round, _)| round);
        let counted = before.as_ref().map_or(0, |round| round.until);
        // That process's clock may be ahead of ours. What it counted must not count again.
        let until = if (end..=end + self.kept()).contains(&counted) { counted } else { end };
        let mut buckets = VecDeque::new();
        let mut newest = until;
        for _ in 0..self.settings.aggregation_buckets {
            let oldest = newest.saturating_sub(interval);
            let counts = self.store.sum(listed, oldest + 1..newest + 1).await?;
            buckets.push_back(CountedBucket { seconds: interval as f64 / 1000.0, counts });
            newest = oldest;
        }
        let round = before.map(|round| round.operations).unwrap_or_default();
        let leading = Leading { until, buckets, round };
        let is_due = counted != until && !(leading.round.is_empty() && leading.is_idle());
        Ok((leading, is_due))
    }

    async fn delete_old(&self, listed: Vec<CountsObject>, now: u64) -> Result<(), Error> {
        // A process with a wrong clock may have written objects that are far in the future.
        let keep = millis(self.settings.calculation_delay.as_std()) + self.kept() + self.interval();
        let is_old = |object: &CountsObject| object.stamp.abs_diff(now) > keep;
        let keys = listed.into_iter().filter(is_old).map(|object| object.key).collect();
        self.store.delete(keys).await
    }

    /// Serves what another process calculated. If this process calculates later, it starts from the bucket.
    pub async fn refresh(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        state.leading = None;
        let Some((round, version)) = self.store.round().await? else { return Ok(()) };
        if state.version.as_ref() == Some(&version) {
            return Ok(());
        }
        let (settings, operations) = (self.settings.clone(), round.operations.len());
        let work = move || strategies(&settings, &round.operations);
        if let Ok(served) = tokio::task::spawn_blocking(work).await {
            self.serve(served, operations);
            state.version = Some(version);
        }
        Ok(())
    }

    fn serve(&self, served: HashMap<String, StrategySet>, operations: usize) {
        self.served.store(Arc::new(served));
        self.metrics.operations.set(operations as f64);
    }

    fn interval(&self) -> u64 {
        millis(self.settings.calculation_interval.as_std()).max(1)
    }

    /// The time that all buckets span.
    fn kept(&self) -> u64 {
        self.interval().saturating_mul(self.settings.aggregation_buckets as u64)
    }

    /// The end of the last interval that has ended. Intervals are the same for all processes, so that each process
    /// flushes once in each.
    fn interval_end(&self, now: u64) -> u64 {
        now - now % self.interval()
    }
}

/// The strategies of all services by tenant.
fn strategies(
    settings: &AdaptiveSampling,
    round: &ByOperation<Calculated>,
) -> HashMap<String, StrategySet> {
    let of_service = |operations: &std::collections::BTreeMap<String, Calculated>| {
        let entry = |(operation, found): (&String, &Calculated)| OperationSamplingStrategy {
            operation: operation.clone(),
            probabilistic_sampling: Some(ProbabilisticSamplingStrategy {
                sampling_rate: found.probability,
            }),
        };
        Arc::new(strategy(settings, operations.iter().map(entry).collect()))
    };
    let of_tenant = |services: &std::collections::BTreeMap<String, _>| {
        let services = services.iter().map(|(name, known)| (name.clone(), of_service(known)));
        StrategySet::new(strategy(settings, Vec::new()), services.collect())
    };
    round.tenants().map(|(tenant, services)| (tenant.to_owned(), of_tenant(services))).collect()
}

fn strategy(
    settings: &AdaptiveSampling,
    per_operation_strategies: Vec<OperationSamplingStrategy>,
) -> Strategy {
    let mut strategy = Strategy {
        operation_sampling: Some(PerOperationSamplingStrategies {
            default_sampling_probability: settings.initial_sampling_probability,
            default_lower_bound_traces_per_second: settings.min_samples_per_second,
            per_operation_strategies,
            default_upper_bound_traces_per_second: 0.0,
        }),
        ..Strategy::default()
    };
    strategy.set_strategy_type(SamplingStrategyType::Probabilistic);
    strategy
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unix_millis() -> u64 {
    millis(tactus_clock::since_epoch())
}

#[cfg(test)]
mod tests;
