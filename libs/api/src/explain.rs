//! How a query is run, for people: its plan from the syntax tree, and what its jobs did.

mod plan;

pub use plan::{Plan, PlannedStage};

use std::collections::BTreeMap;

use tactus_proto::tactus::v1::{JobExplanation, Phase};

/// What is shown of a query that asks to be explained.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Canonical text of the query as it was run; empty for a search by tags.
    pub query: String,
    /// Its stages.
    pub plan: Plan,
    /// Its time.
    pub window: ExplainedWindow,
    /// The limits that hold for it, by name; 0 is none.
    pub limits: Vec<(&'static str, u64)>,
    /// Jobs planned, and jobs that were answered.
    pub jobs: (u32, u32),
    /// Blocks read at least in part.
    pub blocks: u32,
    /// Blocks of the tenants that are not read, by reason.
    pub skipped_blocks: Vec<(&'static str, u32)>,
    /// What the jobs say, in the order in which they ended.
    pub explanations: Vec<JobExplanation>,
}

/// The time that a query reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExplainedWindow {
    /// Unix nanoseconds.
    pub start: u64,
    /// Unix nanoseconds.
    pub end: u64,
    /// Nanoseconds and number of steps of a metrics query.
    pub steps: Option<(u64, usize)>,
}

/// Sums over jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Row groups, segments and live batches that the jobs had to do with.
    pub parts: u64,
    /// Of them, those that were not read, by reason.
    pub pruned: BTreeMap<String, u64>,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes of decoded columns.
    pub decoded_bytes: u64,
    /// Of them, those that were in the cache.
    pub cached_bytes: u64,
    /// Bytes read that came from a shared cache.
    pub shared_cache_bytes: u64,
    /// Spans looked at.
    pub inspected_spans: u64,
    /// Spans found.
    pub matched_spans: u64,
    /// Processor time in nanoseconds, by phase.
    pub phases: BTreeMap<String, u64>,
}

impl Totals {
    /// Sums up these jobs.
    pub fn of<'j>(jobs: impl IntoIterator<Item = &'j JobExplanation>) -> Self {
        let mut totals = Self::default();
        for job in jobs {
            totals.parts += u64::from(job.parts);
            for pruned in &job.pruned {
                *totals.pruned.entry(pruned.reason.clone()).or_default() += u64::from(pruned.parts);
            }
            totals.read_bytes = totals.read_bytes.saturating_add(job.read_bytes);
            totals.decoded_bytes = totals.decoded_bytes.saturating_add(job.decoded_bytes);
            totals.cached_bytes = totals.cached_bytes.saturating_add(job.cached_bytes);
            totals.shared_cache_bytes =
                totals.shared_cache_bytes.saturating_add(job.shared_cache_bytes);
            totals.inspected_spans = totals.inspected_spans.saturating_add(job.inspected_spans);
            totals.matched_spans = totals.matched_spans.saturating_add(job.matched_spans);
            for Phase { name, nanos } in &job.phases {
                let sum = totals.phases.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*nanos);
            }
        }
        totals
    }
}
