//! Evaluation: runs queries on a [`tactus_model::SpanBatch`], column by column.
//!
//! A filter is compiled into a tree of bitmap operations. Each condition on one operand finds its spans in one pass
//! over a column (a string is tested once for each dictionary code, a resource's attribute once for each resource), and
//! `&&`, `||`, `!` combine bitmaps. What columns cannot answer (arithmetic, two operands, patterns from attributes)
//! runs span by span, on the spans that the other conditions left. Pipelines store all spansets of a batch as one
//! bitmap and a group number for each span.
//!
//! There are two passes, so that storage decodes little: [`CompiledQuery::find_matches`] needs the columns of
//! [`CompiledQuery::filter_projection`], and [`CompiledQuery::assemble`] those of [`CompiledQuery::result_projection`].
//! A [`StagedSearch`] divides the first pass into steps by the cost of columns, and ends when nothing is left. This
//! part knows no storage, and evaluates each trace on the spans of it that the batch has.

mod aggregate;
mod assemble;
mod bitmap;
mod condition;
mod legacy;
mod matches;
mod nested;
mod newest_traces;
pub(crate) mod operand;
pub(crate) mod pipeline;
pub(crate) mod plan;
mod program;
pub(crate) mod query;
pub(crate) mod scan;
mod shown;
mod staged;
mod steps;
mod structural;
mod tag_filter;
mod tag_names;
mod tag_value;
mod tag_values;
mod texts;
mod trace_facts;
pub(crate) mod value;
pub(crate) mod view;

pub use assemble::{Assembled, SearchOptions};
pub use bitmap::Bitmap;
pub use legacy::TagSearch;
pub use matches::{
    AttributeValue, MatchedSpanSet, MatchedTrace, Matches, ServiceStats, SpanMatch, SpanSet,
    TraceMatch,
};
pub use newest_traces::NewestTraces;
pub use query::{Candidate, CompiledQuery};
pub use staged::StagedSearch;
pub use tag_filter::TagFilter;
pub use tag_names::{
    INTRINSIC_TAGS, TagCollector, TagLimits, TagScope, collect_tags, listed_scopes, tags_projection,
};
pub use tag_value::{TagValue, TagValueType};
pub use tag_values::{
    ValueCollector, collect_tag_values, fixed_tag_values, legacy_tag_attributes,
    tag_values_projection,
};
pub use trace_facts::trace_facts;

/// A construct that parses but that the evaluator does not support. Clients get status 501.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{construct} not supported")]
pub struct Unsupported {
    /// The construct, as a plural: `scalar pipelines`.
    pub construct: String,
}

/// Why a query fails on the data it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// An operand of a structural operator became several spansets. This is an error of the client: status 400.
    #[error(
        "spanset operators are not supported for multiple spansets per trace. consider using coalesce()"
    )]
    SplitOperand,
}

/// The time range that selects traces. It does not remove spans of a selected trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Unix nanoseconds, inclusive; 0 for no bound.
    pub start_unix_nanos: u64,
    /// Unix nanoseconds, inclusive; 0 for no bound.
    pub end_unix_nanos: u64,
}

impl Window {
    /// The window of a request in whole unix seconds; 0 for no bound.
    pub fn from_seconds(start: u64, end: u64) -> Self {
        Self {
            start_unix_nanos: start.saturating_mul(1_000_000_000),
            end_unix_nanos: end.saturating_mul(1_000_000_000),
        }
    }

    /// True if every trace is in the window.
    pub fn is_unbounded(self) -> bool {
        self == Self::default()
    }

    /// True if a trace with this start and end overlaps the window.
    ///
    /// A start of 0 means that the start is unknown. Such a trace overlaps every window, so that searches find it
    /// whenever it arrived. A trace that ends before it starts, for example one sent without an end, counts as ending
    /// at its start.
    pub fn touches(self, start_unix_nanos: u64, end_unix_nanos: u64) -> bool {
        let ends_at = end_unix_nanos.max(start_unix_nanos);
        start_unix_nanos == 0
            || (self.end_unix_nanos == 0 || start_unix_nanos <= self.end_unix_nanos)
                && ends_at >= self.start_unix_nanos
    }
}
