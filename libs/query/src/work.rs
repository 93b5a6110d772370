//! Counts the work of a query's jobs.

use tactus_api::explain::{ExplainedWindow, Explanation, Plan};
use tactus_api::search::add_metrics;
use tactus_api::{Error, Result};
use tactus_model::TenantId;
use tactus_proto::tactus::v1::JobExplanation;
use tactus_proto::tempopb::{MetadataMetrics, SearchMetrics};

use crate::blocks::{QueryBlock, select};
use crate::frontend::Frontend;
use crate::query_log::note_work;

/// The work of a query so far.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) metrics: SearchMetrics,
    /// Something could not be read: a block is damaged or has no room in the block list, or too few ingesters answered.
    pub(crate) partial: bool,
    /// Jobs on blocks that a streamed query will probably have: its blocks are chosen when recent data has been
    /// looked at, and until then it shall not look as if it were done.
    expected_jobs: u32,
    /// Limit on the bytes inspected; 0 is none.
    max_inspected_bytes: u64,
    explanations: Vec<JobExplanation>,
    skipped_blocks: Vec<(&'static str, u32)>,
}

impl Work {
    /// No work yet. `max_inspected_bytes`: limit on the bytes inspected; 0 is none.
    pub(crate) fn within(max_inspected_bytes: u64) -> Self {
        Self { max_inspected_bytes, ..Self::default() }
    }

    /// Errors: the query has inspected too many bytes.
    pub(crate) fn check(&self) -> Result<()> {
        check_inspected(self.metrics.inspected_bytes, self.max_inspected_bytes)
    }

    /// Limit on the bytes inspected; 0 is none.
    pub(crate) fn max_inspected_bytes(&self) -> u64 {
        self.max_inspected_bytes
    }

    /// Notes the number of jobs on blocks that are expected.
    pub(crate) fn expect_jobs(&mut self, jobs: u32) {
        self.expected_jobs = jobs;
    }

    /// Counts the jobs on blocks.
    pub(crate) fn plan_jobs(&mut self, jobs: usize) {
        self.expected_jobs = 0;
        self.metrics.total_jobs += jobs as u32;
        note_work(&self.metrics);
    }

    /// The work so far, for a message before the final answer.
    pub(crate) fn so_far(&self) -> SearchMetrics {
        let total_jobs = self.metrics.total_jobs + self.expected_jobs;
        SearchMetrics { total_jobs, ..self.metrics }
    }

    /// Counts blocks that will be read.
    pub(crate) fn plan_blocks(&mut self, blocks: &[QueryBlock]) {
        self.metrics.total_blocks += blocks.len() as u32;
        let sizes = blocks.iter().map(|block| block.size);
        self.metrics.total_block_bytes =
            sizes.fold(self.metrics.total_block_bytes, u64::saturating_add);
        note_work(&self.metrics);
    }

    /// Counts blocks that need not be read.
    pub(crate) fn skip_blocks(&mut self, reason: &'static str, blocks: usize) {
        if blocks > 0 {
            self.skipped_blocks.push((reason, blocks as u32));
        }
    }

    /// Blocks that need not be read, so far.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped_blocks.iter().map(|(_, blocks)| *blocks as usize).sum()
    }

    /// Counts a job that was answered.
    pub(crate) fn add(
        &mut self,
        metrics: Option<&SearchMetrics>,
        explanations: Vec<JobExplanation>,
    ) {
        self.metrics.completed_jobs += 1;
        if let Some(metrics) = metrics {
            add_metrics(&mut self.metrics, metrics);
        }
        note_work(&self.metrics);
        self.explanations.extend(explanations);
    }

    /// Counts jobs that need not run, and what was read to know that.
    pub(crate) fn leave_out(&mut self, jobs: usize, inspected_bytes: u64) {
        self.metrics.completed_jobs += jobs as u32;
        self.metrics.inspected_bytes = self.metrics.inspected_bytes.saturating_add(inspected_bytes);
        note_work(&self.metrics);
    }

    /// The explanation of the query with this work.
    pub(crate) fn explain(
        self,
        query: String,
        plan: Plan,
        window: ExplainedWindow,
        limits: Vec<(&'static str, u64)>,
    ) -> Box<Explanation> {
        Box::new(Explanation {
            query,
            plan,
            window,
            limits,
            jobs: (self.metrics.total_jobs, self.metrics.completed_jobs),
            blocks: self.metrics.total_blocks,
            skipped_blocks: self.skipped_blocks,
            explanations: self.explanations,
        })
    }
}

/// Errors: a query inspected more bytes than its limit; 0 is no limit.
pub(crate) fn check_inspected(bytes: u64, limit: u64) -> Result<()> {
    if limit == 0 || bytes <= limit {
        return Ok(());
    }
    Err(Error::LimitExceeded(format!(
        "the query inspected more than {limit} bytes; ask for a shorter range or make its conditions more selective (limit: query_frontend.max_inspected_bytes, or max_inspected_bytes of the tenant)"
    )))
}

/// The work in the form that tag queries return.
pub(crate) fn metadata(metrics: &SearchMetrics) -> MetadataMetrics {
    MetadataMetrics {
        inspected_bytes: metrics.inspected_bytes,
        total_jobs: metrics.total_jobs,
        completed_jobs: metrics.completed_jobs,
        total_blocks: metrics.total_blocks,
        total_block_bytes: metrics.total_block_bytes,
    }
}

/// An upper bound on the blocks that a query reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) blocks: usize,
    /// Compressed.
    pub(crate) bytes: u64,
    pub(crate) jobs: usize,
    /// All blocks of the tenants.
    pub(crate) of_blocks: usize,
    pub(crate) of_bytes: u64,
}

impl Frontend {
    /// No work yet, of a query over these tenants. Its answer is partial from the start if the block list lacks some of
    /// their blocks.
    pub(crate) fn new_work(&self, tenants: &[TenantId]) -> Work {
        let mut work = Work::within(self.limits_of(tenants).max_inspected_bytes);
        work.partial = self.list_gaps(tenants).any();
        work
    }

    /// What a query of these tenants within `window` (unix seconds) may read, if each job takes this many bytes.
    pub(crate) fn cost(&self, tenants: &[TenantId], window: (i64, i64), job_bytes: u64) -> Cost {
        let mut cost = Cost::default();
        for tenant in tenants {
            for block in self.blocks_within(tenant, (0, 0)) {
                cost.of_blocks += 1;
                cost.of_bytes = cost.of_bytes.saturating_add(block.size);
                if block.is_within(window) {
                    cost.blocks += 1;
                    cost.bytes = cost.bytes.saturating_add(block.size);
                    cost.jobs += block.parts(job_bytes).len();
                }
            }
        }
        cost
    }

    /// Jobs on the blocks of these tenants that may have spans within `window` (unix seconds), if each takes this many
    /// bytes.
    pub(crate) fn jobs_on_blocks(
        &self,
        tenants: &[TenantId],
        window: (i64, i64),
        job_bytes: u64,
    ) -> u32 {
        let jobs = |tenant: &TenantId| -> usize {
            let blocks = self.blocks_within(tenant, window);
            blocks.iter().map(|block| block.parts(job_bytes).len()).sum()
        };
        u32::try_from(tenants.iter().map(jobs).sum::<usize>()).unwrap_or(u32::MAX / 2)
    }

    /// All blocks of these tenants in the list.
    pub(crate) fn count_blocks(&self, tenants: &[TenantId]) -> usize {
        tenants.iter().map(|tenant| self.blocks_within(tenant, (0, 0)).len()).sum()
    }

    fn blocks_within(&self, tenant: &TenantId, window: (i64, i64)) -> Vec<QueryBlock> {
        select(&self.blocklist.tenant(tenant.as_str()), window, self.settings.blocklist_poll)
    }
}
