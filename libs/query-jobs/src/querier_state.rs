//! The state that all jobs of a querier share.

use std::sync::Arc;

use tactus_rpc::QueryContext;
use tactus_work::Line;

use crate::blocks::Blocks;
use crate::metrics::Metrics;
use crate::pool::{JobOptions, Pool};
use crate::settings::Settings;

/// The state that all jobs of a querier share.
#[derive(Debug)]
pub(crate) struct QuerierState {
    pub(crate) settings: Settings,
    pub(crate) pool: Pool,
    pub(crate) blocks: Blocks,
    pub(crate) metrics: Arc<Metrics>,
}

impl QuerierState {
    /// How a job runs that belongs to the query with these texts.
    pub(crate) fn options(
        &self,
        tenant: &str,
        texts: &[&str],
        context: QueryContext,
    ) -> JobOptions {
        let (timeout, line) =
            (self.settings.section.search.query_timeout.as_std(), Line::of(tenant, texts));
        JobOptions { timeout, line, context, explain: false, bypasses_caches: false }
    }
}
