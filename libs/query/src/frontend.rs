//! The query-frontend, and the state that all its queries share.

use std::sync::Arc;
use std::time::Duration;

use ::http::{Extensions, Uri};
use axum::extract::OriginalUri;
use futures_util::FutureExt as _;
use tactus_api::request::MetricsLimits;
use tactus_api::{Error, RequestedRange, Result, Window, WindowRules};
use tactus_config::sections::query_frontend::QueryFrontend;
use tactus_model::TenantId;
use tactus_overrides::LimitsOf;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_server::bodies::Bodies;
use tactus_server::request_log::path_and_query;
use tactus_server::tenancy::Tenancy;
use tactus_storage::Blocklist;
use tactus_storage::blocklist::ListGaps;
use tactus_telemetry::metrics::Registry;
use tactus_work::memory::QueryMemory;
use tactus_work::{SlotLimits, Slots};
use tokio::time::timeout;

use crate::admission::{Admission, Admitted};
use crate::current_query::{as_query, current_line, new_number};
use crate::deny_list;
use crate::file_memory::FileMemory;
use crate::metrics::{Metrics, SEARCH};
use crate::query_log::{Asked, QueryLog};
use crate::queue::JobQueue;
use crate::results::Results;
use crate::settings::{QueryLimits, Settings, count, lower};

/// How many slices of large traces are read at a time. Each takes a sixteenth of the memory, and a querier that
/// combines replicas uses five times that until it has sent the slice, so two at a time would wait for each other.
const SLICES_AT_A_TIME: usize = 1;

/// The time range of a query that names none, unless the configuration sets one.
const DEFAULT_WINDOW: Duration = Duration::from_secs(15 * 60);

/// The parts of a frontend whose queriers take jobs from a queue.
pub struct QueuedParts {
    /// Settings.
    pub settings: Settings,
    /// How the tenants of a request are determined.
    pub tenancy: Tenancy,
    /// Limits by tenant.
    pub limits: LimitsOf,
    /// Runs all jobs, on recent data and on blocks.
    pub queue: JobQueue,
    /// The list of blocks.
    pub blocklist: Arc<Blocklist>,
    /// Memory of answers until they are sent, and of their parts.
    pub memory: Arc<Bodies>,
    /// Memory that queries hold until they are answered.
    pub query_memory: Arc<QueryMemory>,
}

/// The parts of a frontend that runs all jobs in its own process.
pub struct Parts {
    /// Settings.
    pub settings: Settings,
    /// How the tenants of a request are determined.
    pub tenancy: Tenancy,
    /// Limits by tenant.
    pub limits: LimitsOf,
    /// Recent data.
    pub ingester: Arc<dyn Ingester>,
    /// Blocks.
    pub querier: Arc<dyn Querier>,
    /// The list of blocks.
    pub blocklist: Arc<Blocklist>,
}

/// A query-frontend. Its methods answer queries whose parameters are parsed; [`crate::router`] puts them behind HTTP.
pub struct Frontend {
    /// Settings.
    pub settings: Settings,
    /// How the tenants of a request are determined.
    pub tenancy: Tenancy,
    limits: LimitsOf,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) metrics: Metrics,
    pub(crate) results: Arc<Results>,
    pub(crate) queries: QueryLog,
    /// Memory of uploaded files that are being read.
    pub(crate) files: FileMemory,
    /// Memory of answers until they are sent, and of their parts.
    pub memory: Arc<Bodies>,
    /// Memory that queries hold until they are answered.
    query_memory: Arc<QueryMemory>,
    pub(crate) queue: JobQueue,
    admission: Admission,
    /// Counts the queries of each tenant, alone or together with other tenants.
    running: Admission,
    /// Slices of large traces that are read at a time. Tenants take turns.
    slices: Slots,
}

tactus_telemetry::debug_of!(Frontend { settings });

impl Frontend {
    /// A frontend over these services, which run [`Settings::querier_parallelism`] jobs at a time.
    pub fn new(parts: Parts, registry: &Registry) -> Arc<Self> {
        let Parts { settings, tenancy, limits, ingester, querier, blocklist } = parts;
        let queue = JobQueue::new(&settings.section, registry);
        let (memory, query_memory) = (Bodies::unbounded(), QueryMemory::unbounded());
        let slots = settings.querier_parallelism;
        queue.add_local_worker(querier, ingester, slots, Arc::clone(&memory));
        let parts =
            QueuedParts { settings, tenancy, limits, queue, blocklist, memory, query_memory };
        Self::over_queue(parts, registry)
    }

    /// A frontend whose jobs are run by the workers of a queue.
    pub fn over_queue(parts: QueuedParts, registry: &Registry) -> Arc<Self> {
        Arc::new(Self {
            admission: Admission::default(),
            running: Admission::default(),
            slices: Slots::new(SlotLimits::of_turns(SLICES_AT_A_TIME)),
            metrics: Metrics::new(registry, &parts.settings),
            files: FileMemory::new(parts.settings.section.trace_files.max_inflight_bytes),
            queries: QueryLog::new(parts.settings.section.query_log.clone()),
            results: Arc::new(Results::new(
                parts.settings.section.result_cache_bytes,
                parts.settings.shared_results.clone(),
                registry,
            )),
            settings: parts.settings,
            tenancy: parts.tenancy,
            limits: parts.limits,
            queue: parts.queue,
            blocklist: parts.blocklist,
            memory: parts.memory,
            query_memory: parts.query_memory,
        })
    }

    /// The limits of a query over these tenants.
    pub(crate) fn limits_of(&self, tenants: &[TenantId]) -> QueryLimits {
        let limits = tenants.iter().map(|tenant| (self.limits)(tenant));
        QueryLimits::strictest(limits, &self.settings)
    }

    /// The limits of a metrics query over these tenants.
    pub(crate) fn metrics_limits(&self, tenants: &[TenantId]) -> MetricsLimits {
        self.settings.metrics_limits(&self.limits_of(tenants))
    }

    /// What the block list lacks of the blocks of these tenants.
    pub(crate) fn list_gaps(&self, tenants: &[TenantId]) -> ListGaps {
        ListGaps::of(&self.blocklist, tenants.iter().map(TenantId::as_str))
    }

    /// The longest time range of a search of these tenants.
    pub fn longest_search(&self, tenants: &[TenantId]) -> Option<Duration> {
        Some(self.limits_of(tenants).max_search_duration).filter(|longest| !longest.is_zero())
    }

    /// Runs a query within the time that a call may take. Lists it meanwhile, and counts it. `inspected`: the bytes
    /// that were read for an answer.
    ///
    /// The time limit is applied in here, not by the caller, because a query that is dropped counts as one whose client
    /// left.
    pub(crate) async fn counted<T>(
        &self,
        tenants: &[TenantId],
        op: &'static str,
        asked: Asked,
        query: impl Future<Output = Result<T>>,
        inspected: impl Fn(&T) -> u64,
    ) -> Result<T> {
        self.counted_if(tenants, op, asked, query, |found| Some(inspected(found))).await
    }

    /// As [`Self::counted`]; an answer for which `inspected` has nothing is not counted.
    pub(crate) async fn counted_if<T>(
        &self,
        tenants: &[TenantId],
        op: &'static str,
        asked: Asked,
        query: impl Future<Output = Result<T>>,
        inspected: impl Fn(&T) -> Option<u64>,
    ) -> Result<T> {
        let watch = self.metrics.watch(label_of(tenants), op);
        // The future is boxed once here; each of the calls below would otherwise hold a copy of it.
        let query = self.queries.run(tenants, op, asked, Box::pin(query));
        let result = self.within(self.longest(op), new_number(), tenants, query).await;
        match result.as_ref().map(inspected) {
            Ok(None) => watch.leave_out(),
            Ok(Some(bytes)) => watch.done(Ok(bytes)),
            Err(error) => watch.done(Err(error)),
        }
        result
    }

    /// What a request asks for. One that is refused counts as a query, too.
    pub(crate) fn parsed<T>(
        &self,
        tenants: &[TenantId],
        op: &'static str,
        parsed: Result<T>,
    ) -> Result<T> {
        let count = |error: &_| self.metrics.watch(label_of(tenants), op).done(Err(error));
        parsed.inspect_err(count)
    }

    /// As [`Self::counted`], for a query whose answer is sent meanwhile: its client reads for as long as it likes, so the time that a
    /// call may take is for each [`Self::step`] of the query.
    pub(crate) async fn counted_while_sent(
        &self,
        tenants: &[TenantId],
        op: &'static str,
        asked: Asked,
        query: impl Future<Output = Result<u64>>,
    ) -> Result<()> {
        let watch = self.metrics.watch(label_of(tenants), op);
        let query = self.queries.run(tenants, op, asked, Box::pin(query));
        let max_cpu_time = self.limits_of(tenants).max_cpu_time;
        let memory = Some(&self.query_memory);
        let result =
            as_query(new_number(), tenants, Duration::ZERO, max_cpu_time, memory, query).await;
        watch.done(result.as_ref().copied());
        result.map(|_| ())
    }

    /// A slice of a large trace that the current query sends, read when there is room: it waits for the turn of its tenants, and is a
    /// query of its own to those who count what queries hold, so that one that found no memory does not end the rest.
    pub(crate) async fn slice<T>(
        &self,
        tenants: &[TenantId],
        slice: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let _turn = self.slices.turn(current_line().tenant).await;
        let time = self.settings.section.api_timeout.as_std();
        let max_cpu_time = self.limits_of(tenants).max_cpu_time;
        as_query(new_number(), tenants, time, max_cpu_time, Some(&self.query_memory), slice).await
    }

    /// Runs a part of a query within the time that a call may take.
    pub(crate) async fn step<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        within_time(self.settings.section.api_timeout.non_zero(), step).await
    }

    /// Runs a query within the time that a call may take, and the processor time that a query may use.
    pub(crate) async fn within_limits<T>(
        &self,
        tenants: &[TenantId],
        query: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.within_limits_of(new_number(), tenants, query).await
    }

    /// As [`Self::within_limits`], of the query of this number, for its parts.
    pub(crate) async fn within_limits_of<T>(
        &self,
        number: u64,
        tenants: &[TenantId],
        query: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let limit = self.settings.section.api_timeout.as_std();
        self.within(limit, number, tenants, query).await
    }

    /// The time that a query of this kind may take; zero is no limit.
    fn longest(&self, op: &str) -> Duration {
        let QueryFrontend { api_timeout, search, .. } = &*self.settings.section;
        match op {
            SEARCH => lower(api_timeout.as_std(), search.timeout.as_std()),
            _ => api_timeout.as_std(),
        }
    }

    async fn within<T>(
        &self,
        time_limit: Duration,
        number: u64,
        tenants: &[TenantId],
        query: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let max_cpu_time = self.limits_of(tenants).max_cpu_time;
        let memory = Some(&self.query_memory);
        let query = as_query(number, tenants, time_limit, max_cpu_time, memory, query);
        within_time((!time_limit.is_zero()).then_some(time_limit), query).await
    }

    /// True while a query that was admitted runs.
    pub fn has_queries(&self) -> bool {
        self.admission.has_any()
    }

    /// Admits a query of these tenants, or refuses it with [`Error::QueueFull`] or [`Error::TooManyQueries`]. It counts
    /// as running until the returned value is dropped.
    pub(crate) fn admit(&self, tenants: &[TenantId]) -> Result<Vec<Admitted>> {
        let mut all = Vec::new();
        for tenant in tenants {
            let is_full = self.queue.refuses(tenant.as_str());
            let limit = if is_full { 0 } else { self.settings.section.max_outstanding_per_tenant };
            let Some(admitted) = self.admission.admit(tenant.as_str(), limit) else {
                self.queue.count_refused(label_of(tenants));
                return Err(Error::QueueFull);
            };
            all.push(admitted);
            let limit = count((self.limits)(tenant).read.max_concurrent_queries);
            if limit > 0 {
                let Some(admitted) = self.running.admit(tenant.as_str(), limit) else {
                    self.queue.count_refused(label_of(tenants));
                    return Err(Error::TooManyQueries { limit });
                };
                all.push(admitted);
            }
        }
        Ok(all)
    }

    /// Refuses a request whose path and query are on the deny list, as the client wrote them, decoded, or without the
    /// path prefix of the routes.
    pub fn check_request(&self, uri: &Uri, extensions: &Extensions) -> Result<()> {
        let without_prefix = path_and_query(uri);
        let original =
            extensions.get().map_or(without_prefix, |OriginalUri(uri)| path_and_query(uri));
        deny_list::check(
            &self.settings.url_deny_list,
            original,
            Some(without_prefix).filter(|url| *url != original),
        )
    }

    /// Refuses a path with its query, both without the path prefix, if it is on the deny list.
    pub(crate) fn check_url(&self, url: &str) -> Result<()> {
        let denied = &self.settings.url_deny_list;
        match self.settings.path_prefix.trim_matches('/') {
            "" => deny_list::check(denied, url, None),
            prefix => deny_list::check(denied, &format!("/{prefix}{url}"), Some(url)),
        }
    }

    /// The queue of jobs and its workers, as JSON for the status page.
    pub(crate) fn queue_status(&self) -> serde_json::Value {
        serde_json::json!({
            "workers": self.queue.workers(),
            "slots": self.queue.slots(),
            "outstanding": self.queue.outstanding(),
        })
    }

    /// How many jobs of one query may be in flight, given a limit for its kind: at most twice as many as run at a time,
    /// so that the next query does not wait behind all jobs of a long one.
    pub(crate) fn jobs_in_flight(&self, concurrent_jobs: usize) -> usize {
        let parallelism = match self.queue.slots() {
            0 => self.settings.querier_parallelism,
            slots => slots,
        };
        concurrent_jobs.min(parallelism.saturating_mul(2)).max(1)
    }

    /// The window of a search, or of a query for tags or values, and the limits that hold. Errors: it is no range, or too long.
    pub(crate) fn checked_window(
        &self,
        tenants: &[TenantId],
        range: &RequestedRange,
    ) -> Result<(Window, QueryLimits)> {
        let rules = self.window_rules();
        let window = range.window(&rules)?;
        let limits = self.limits_of(tenants);
        window.check_length(limits.max_search_duration, rules.now)?;
        Ok((window, limits))
    }

    /// How missing ends of a time range are filled in at this moment.
    pub(crate) fn window_rules(&self) -> WindowRules {
        WindowRules {
            now: tactus_clock::unix_nanos(),
            default_length: match self.settings.section.search.query_backend_after.as_std() {
                // For Tempo, zero means that ingesters need not be asked. Taken as a length, it would find nothing.
                Duration::ZERO => DEFAULT_WINDOW,
                length => length,
            },
            end_cutoff: self.settings.section.query_end_cutoff.as_std(),
        }
    }
}

/// Runs a query, or a part of one, for no longer than this; `None` is no limit.
///
/// Not `async`, because that would hold the query twice, and queries are large.
pub(crate) fn within_time<T>(
    limit: Option<Duration>,
    query: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<T>> {
    timeout(limit.unwrap_or(Duration::MAX), query)
        .map(|ended| ended.unwrap_or(Err(Error::ApiTimeout)))
}

/// The metric label of a query over several tenants. No tenant can have this name; joined names would be an unbounded
/// number of labels.
const SEVERAL_TENANTS: &str = "several tenants";

/// The tenant of a query as a metric label.
fn label_of(tenants: &[TenantId]) -> &str {
    match tenants {
        [tenant] => tenant.as_str(),
        _ => SEVERAL_TENANTS,
    }
}
