//! Parameters of the query routes, parsed and checked.

mod metrics;
mod path;
mod search;
mod tags;
mod time;
mod trace;

pub use metrics::{MetricsLimits, MetricsQuery, default_step};
pub use path::{tag_name, trace_id_text};
pub use search::{SearchKind, SearchLimits, SearchQuery, TagConditions, parse_traceql};
pub use tags::{RequestedTag, TagValuesQuery, TagsQuery, parse_tag_v1, parse_tag_v2};
pub use trace::{TraceMode, TraceQuery, parse_trace_id};
