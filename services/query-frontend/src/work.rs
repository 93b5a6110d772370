//! What the jobs of a query did.

use tactus_api::Result;
use tactus_api::explain::{ExplainedWindow, Explanation, Plan};
use tactus_api::search::add_metrics;
use tactus_model::TenantId;
use tactus_proto::tactus::v1::JobExplanation;
use tactus_proto::tempopb::SearchMetrics;

use crate::blocks::{QueryBlock, count};
use crate::frontend::Frontend;

/// The work of a query so far.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) metrics: SearchMetrics,
    /// A block is damaged.
    pub(crate) partial: bool,
    explanations: Vec<JobExplanation>,
    skipped_blocks: Vec<(&'static str, u32)>,
}

impl Work {
    /// Counts blocks that will be read.
    pub(crate) fn plan_blocks(&mut self, blocks: &[QueryBlock]) {
        self.metrics.total_blocks += blocks.len() as u32;
        self.metrics.total_block_bytes += blocks.iter().map(|block| block.size).sum::<u64>();
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
        self.explanations.extend(explanations);
    }

    /// What is shown of the query and this work.
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

impl Frontend {
    /// Refuses to go on with a query that inspected too much.
    pub(crate) fn check_budget(&self, work: &Work) -> Result<()> {
        self.settings.check_inspected(work.metrics.inspected_bytes)
    }

    /// All blocks of these tenants in the list.
    pub(crate) fn count_blocks(&self, tenants: &[TenantId]) -> usize {
        let poll = self.settings.blocklist_poll;
        tenants.iter().map(|tenant| count(&self.blocklist, tenant.as_str(), poll)).sum()
    }
}
