//! TraceQL metrics over recent data and blocks.
//!
//! Every span counts once: see [`single_copies`], and if ingesters hold replicas [`replicas`].

mod kept;
mod overlaps;
mod plan;
mod replicas;
mod sent_again;
mod single_copies;
mod sum;

use std::ops::ControlFlow;
use std::sync::Arc;

use futures_util::future::FutureExt as _;
use tactus_api::explain::{ExplainedWindow, Explanation, Plan};
use tactus_api::metrics::{MetricsFacts, written_bytes};
use tactus_api::request::MetricsQuery;
use tactus_api::{Error, Result};
use tactus_model::TenantId;
use tactus_proto::tactus::v1::{MetricsRequest, MetricsResponse};
use tactus_server::bodies::Bodies;
use tactus_traceql::is_short;
use tactus_traceql::metrics::{
    AnswerOptions, CompiledMetrics, Grid, MetricsAnswer, MetricsCombiner, MetricsError,
    MetricsOptions,
};
use tactus_work::Held;

use crate::blocks::QueryBlock;
use crate::frontend::Frontend;
use crate::jobs::{Outcome, run_jobs};
use crate::metrics::METRICS;
use crate::offload::{offload, offload_within};
use crate::progress::MetricsProgress;
use crate::query_log::Asked;
use crate::work::{Cost, Work};
use plan::Job;
use sum::Sum;

/// Longer answers are not written by a thread that serves connections.
const INLINE_BYTES: usize = 512 << 10;

/// The answer to a metrics query.
#[derive(Debug, Clone)]
pub struct SeriesAnswer {
    /// The series.
    pub answer: MetricsAnswer,
    /// The intervals of the series.
    pub grid: Grid,
    /// The work that was done, and messages for the client.
    pub facts: MetricsFacts,
    /// Something could not be read, so values may be too small.
    pub partial: bool,
    /// How the query ran, if the client asked.
    pub explanation: Option<Box<Explanation>>,
    /// Memory of the series.
    pub memory: Arc<Held>,
}

impl SeriesAnswer {
    /// Writes the answer, away from the threads that serve connections if that takes long. Errors: there is no memory for what is
    /// written.
    pub(crate) async fn written<T: Send + 'static>(
        self,
        memory: &Arc<Bodies>,
        write: impl FnOnce(Self) -> T + Send + 'static,
    ) -> Result<T> {
        let bytes = written_bytes(&self.answer);
        let is_long = bytes > INLINE_BYTES;
        offload_within(memory, bytes as u64, is_long, move || write(self)).await
    }
}

/// The state of a running query.
struct State {
    sum: Sum,
    work: Work,
    /// Shows this state to the client of a stream.
    progress: Option<(MetricsProgress, Grid)>,
}

impl Frontend {
    /// Answers a metrics query for these tenants: their series are added together.
    pub async fn query_metrics(
        &self,
        tenants: &[TenantId],
        query: &MetricsQuery,
    ) -> Result<SeriesAnswer> {
        self.query_metrics_with(tenants, query, None).await
    }

    /// Answers a metrics query that is neither counted nor listed. Only the status page uses this.
    pub(crate) async fn query_metrics_unlisted(
        &self,
        tenants: &[TenantId],
        query: &MetricsQuery,
    ) -> Result<SeriesAnswer> {
        self.run_metrics(tenants, query, None).await
    }

    /// Answers a metrics query, and shows intermediate results.
    pub(crate) async fn query_metrics_with(
        &self,
        tenants: &[TenantId],
        query: &MetricsQuery,
        progress: Option<MetricsProgress>,
    ) -> Result<SeriesAnswer> {
        let inspected = |answer: &SeriesAnswer| answer.facts.metrics.inspected_bytes;
        let run = async {
            let run = self.run_metrics(tenants, query, progress);
            run.await.map_err(|error| self.name_limit(error))
        };
        let asked = Asked::new(query.text.clone()).within(query.start, query.end);
        self.counted(tenants, METRICS, asked, run, inspected).await
    }

    /// Names the setting behind the limit of series in an error. Jobs do not know which one it was.
    fn name_limit(&self, error: Error) -> Error {
        let limit_bytes = self.max_series_bytes();
        let too_large = MetricsError::TooLarge { limit_bytes };
        match error {
            Error::LimitExceeded(text) if text == too_large.to_string() => too_large.into(),
            error => error,
        }
    }

    fn max_series_bytes(&self) -> usize {
        usize::try_from(self.settings.section.metrics.max_series_bytes).unwrap_or(usize::MAX)
    }

    async fn run_metrics(
        &self,
        tenants: &[TenantId],
        query: &MetricsQuery,
        progress: Option<MetricsProgress>,
    ) -> Result<SeriesAnswer> {
        let grid = self.grid(query)?;
        let _admitted = self.admit(tenants)?;
        let root = query.root.clone();
        let look = move || {
            let compiled = CompiledMetrics::compile(&root, grid, MetricsOptions::default());
            compiled.map(|query| (query.reads_whole_trace(), query.is_never()))
        };
        let (reads_whole_traces, is_never) = offload(!is_short(&query.text), look)
            .await?
            .map_err(|error| Error::NotImplemented(error.to_string()))?;
        let options = AnswerOptions {
            max_series: query.max_series as usize,
            exemplars: query.exemplars as usize,
            is_instant: query.is_instant,
            max_bytes: self.max_series_bytes(),
        };
        let sum = Sum::new(MetricsCombiner::new(&query.root, grid, options), &grid);
        let work = self.new_work(tenants);
        let mut state = State { sum, work, progress: progress.map(|progress| (progress, grid)) };
        if !is_never {
            let requests: Vec<_> =
                tenants.iter().map(|tenant| self.request(tenant, query, &grid)).collect();
            let window = plan::window_seconds(&grid);
            if state.progress.is_some() {
                let bytes = self.settings.section.metrics.target_bytes_per_job;
                let bytes = plan::job_bytes(&query.root.hints, bytes);
                state.work.expect_jobs(self.jobs_on_blocks(tenants, window, bytes));
            }
            let blocks = if self.settings.replicated {
                self.count_replicas(&requests, window, &grid, &mut state).await?
            } else {
                self.count_unreplicated(&requests, window, &grid, &mut state).await?
            };
            self.count_blocks_of(&requests, &blocks, query, &grid, &mut state).await?;
            if query.explain {
                let work = &mut state.work;
                let seen = work.metrics.total_blocks as usize + work.skipped();
                let all = self.count_blocks(tenants);
                work.skip_blocks("outside the time range", all.saturating_sub(seen));
            }
        }
        // A count of nothing is a line of zeros, unless the query says itself that it counts nothing.
        let answer = state.sum.finish().await?;
        let planned = match query.explain {
            true => Some(planned(query, reads_whole_traces).await?),
            false => None,
        };
        Ok(self.series_answer(answer, state.work, query, grid, planned))
    }

    /// What a query may read at most. Errors: the query would be refused.
    pub(crate) fn metrics_cost(&self, tenants: &[TenantId], query: &MetricsQuery) -> Result<Cost> {
        let grid = self.grid(query)?;
        let bytes = self.settings.section.metrics.target_bytes_per_job;
        let bytes = plan::job_bytes(&query.root.hints, bytes);
        Ok(self.cost(tenants, plan::window_seconds(&grid), bytes))
    }

    /// The intervals of a query. Errors: none of them ended long enough ago to be answered.
    fn grid(&self, query: &MetricsQuery) -> Result<Grid> {
        let cutoff = self.settings.section.query_end_cutoff.as_std();
        let last = (!cutoff.is_zero()).then(|| {
            let cutoff = u64::try_from(cutoff.as_nanos()).unwrap_or(u64::MAX);
            tactus_clock::unix_nanos().saturating_sub(cutoff)
        });
        let grid = if query.is_instant {
            Grid::instant(query.start, query.end.min(last.unwrap_or(u64::MAX)))
        } else {
            Grid::range(query.start, query.end, query.step, last)
        };
        if grid.intervals() == 0 && last.is_some() {
            let text = "query window falls entirely within query_end_cutoff";
            return Err(Error::Invalid(text.to_owned()));
        }
        Ok(grid)
    }

    fn request(&self, tenant: &TenantId, query: &MetricsQuery, grid: &Grid) -> MetricsRequest {
        MetricsRequest {
            tenant: tenant.to_string(),
            query: query.text.clone(),
            start_nanos: grid.start(),
            step_nanos: grid.step(),
            intervals: u32::try_from(grid.intervals()).unwrap_or(u32::MAX),
            // All exemplars are asked for: they are spread over the whole range, so recent data gets its share by time.
            exemplars: query.exemplars,
            max_series_bytes: self.settings.section.metrics.max_series_bytes,
            explain: query.explain,
            ..MetricsRequest::default()
        }
    }

    /// Counts these blocks of each request.
    async fn count_blocks_of(
        &self,
        requests: &[MetricsRequest],
        blocks: &[Vec<QueryBlock>],
        query: &MetricsQuery,
        grid: &Grid,
        state: &mut State,
    ) -> Result<()> {
        let settings = &self.settings.section.metrics;
        let job_bytes = plan::job_bytes(&query.root.hints, settings.target_bytes_per_job);
        let mut jobs = Vec::new();
        for (request, blocks) in requests.iter().zip(blocks) {
            let listed = self.blocklist.tenant(&request.tenant);
            let origins_of = |id, out: &mut _| replicas::add_origins(&listed, id, out);
            let read = plan::add_jobs(&mut jobs, request, blocks, grid, job_bytes, origins_of);
            state.work.plan_blocks(&read);
        }
        // The sort is stable: the parts of a block stay in order. With one tenant, the jobs are almost sorted already.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.block_end_seconds));
        state.work.plan_jobs(jobs.len());
        let pending = state.progress.as_ref().map(|(progress, _)| progress.pending.clone());
        if let Some(pending) = &pending {
            let ends = jobs.iter().map(|job| job.block_end_seconds);
            pending.plan(ends.map(|end| plan::last_interval(end, grid)));
        }
        let sum = state.sum.clone();
        let run = |job: Job| {
            let last = plan::last_interval(job.block_end_seconds, grid);
            let call = self.run_counted(job.into_request());
            let sum = sum.clone();
            let running = async move {
                let (outcome, _memory) = call.await?;
                sum.add(outcome).await
            }
            .boxed();
            match &pending {
                Some(pending) => pending.track(last, running),
                None => running,
            }
        };
        let take = |state: &mut State, outcome| self.take_work(state, outcome);
        let mut in_flight = self.jobs_in_flight(settings.concurrent_jobs);
        if let Some(wanted) = plan::concurrent_blocks(&query.root.hints) {
            in_flight = in_flight.min(wanted);
        }
        run_jobs(jobs, in_flight, state, run, take).await
    }

    /// Notes the work of a job whose series were added before.
    fn take_work(
        &self,
        state: &mut State,
        outcome: Outcome<MetricsResponse>,
    ) -> Result<ControlFlow<()>> {
        match outcome {
            Outcome::Damaged => state.work.partial = true,
            Outcome::Answer(answer) => {
                state.work.add(answer.metrics.as_ref(), answer.explanations);
                state.work.partial |= answer.partial;
                state.work.check()?;
            }
        }
        if let Some((progress, grid)) = &mut state.progress {
            let sum = state.sum.clone();
            progress.tell(grid, &state.work.so_far(), Box::new(move || sum.snapshot()));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn series_answer(
        &self,
        (answer, held): (MetricsAnswer, Held),
        work: Work,
        query: &MetricsQuery,
        grid: Grid,
        planned: Option<(String, Plan)>,
    ) -> SeriesAnswer {
        let partial = work.partial;
        let facts =
            MetricsFacts { metrics: work.metrics, max_series: query.max_series, unread: partial };
        let explanation = planned.map(|(text, plan)| {
            let window = ExplainedWindow {
                start: grid.start(),
                end: grid.end(),
                steps: Some((grid.step(), grid.intervals())),
            };
            let job_bytes = self.settings.section.metrics.target_bytes_per_job;
            let limits = vec![
                ("series", query.max_series.into()),
                ("exemplars", query.exemplars.into()),
                ("seriesBytes", self.settings.section.metrics.max_series_bytes),
                ("bytesPerJob", plan::job_bytes(&query.root.hints, job_bytes)),
                ("inspectedBytes", work.max_inspected_bytes()),
            ];
            work.explain(text, plan, window, limits)
        });
        SeriesAnswer { answer, grid, facts, partial, explanation, memory: Arc::new(held) }
    }
}

/// The text and the plan of a query that is to be explained.
async fn planned(query: &MetricsQuery, reads_whole_traces: bool) -> Result<(String, Plan)> {
    let root = query.root.clone();
    let look = move || {
        let plan = Plan { reads_whole_traces, ..Plan::of(&root) };
        (root.to_string(), plan)
    };
    offload(!is_short(&query.text), look).await
}
