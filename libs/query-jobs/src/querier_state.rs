//! The state that all jobs of a querier share.

use std::sync::Arc;

use crate::blocks::Blocks;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::settings::Settings;

#[derive(Debug)]
pub(crate) struct QuerierState {
    pub(crate) settings: Settings,
    pub(crate) pool: Pool,
    pub(crate) blocks: Blocks,
    pub(crate) metrics: Arc<Metrics>,
}
