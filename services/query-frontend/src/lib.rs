//! The query-frontend: the public query API over ingesters and queriers.
//!
//! ```text
//! request -> parameters -> ingesters (recent data) -> block list -> jobs on block parts -> combine -> encode
//! ```
//!
//! The ingesters are asked first, and the block list is read after they answered: what an ingester gave up because a
//! block has it now is then in the list. (Metrics count every span once, and so choose blocks by what the ingesters say
//! of them.) Jobs run newest block first, a bounded number at a time, and end when the
//! answer is full. A damaged block makes an answer partial (header `X-Tactus-Partial`), never empty.
#![warn(missing_docs)]

mod admission;
mod blocks;
mod frontend;
mod http;
mod jobs;
mod metrics;
mod metrics_query;
mod results;
mod search;
mod settings;
mod tags;
mod trace_by_id;
mod work;

#[cfg(test)]
mod tests;

pub use crate::http::router;
pub use frontend::{Frontend, Parts};
pub use metrics_query::SeriesAnswer;
pub use results::ResultSettings;
pub use search::SearchAnswer;
pub use settings::{
    MetricsSettings, SearchSettings, Settings, TenantLimits, TenantLimitsOf, TraceByIdSettings,
};
pub use tags::{TagValuesAnswer, TagsAnswer};
pub use trace_by_id::FoundTrace;
