//! The queries for a trace, and the problems that an answer can have.

use std::fmt;

use crate::error::Failure;

tactus_model::words! {
    /// A way to ask for a trace.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum Query: label {
        /// The whole trace by its id.
        ById = "by_id",
        /// A search by tags.
        Search = "search",
        /// A search by TraceQL for spans below the root.
        TraceQl = "traceql",
        /// How many spans each service has, by TraceQL.
        Metrics = "metrics",
    }
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// There is no answer.
    Failed(Failure),
    /// It does not have the trace.
    NotFound,
    /// It lacks spans of the trace.
    MissingSpans(String),
    /// It differs from what was written.
    Incorrect(String),
    /// It says that it is partial.
    Partial(String),
}

impl Problem {
    /// Value of the label `error` of `tempo_vulture_trace_error_total`.
    pub(crate) fn label(&self, query: Query) -> &'static str {
        match (self, query) {
            (Self::Failed(_), _) => "requestfailed",
            (Self::NotFound, Query::ById) => "notfound_byid",
            (Self::NotFound, Query::Search) => "notfound_search",
            (Self::NotFound, Query::TraceQl) => "notfound_traceql",
            (Self::NotFound, Query::Metrics) => "notfound_metrics",
            (Self::MissingSpans(_), _) => "missingspans",
            (Self::Incorrect(_), Query::Metrics) => "incorrect_metrics_result",
            (Self::Incorrect(_), _) => "incorrectresult",
            (Self::Partial(_), _) => "partial",
        }
    }

    /// Every value of [`Self::label`].
    pub(crate) const LABELS: [&str; 9] = [
        "requestfailed",
        "notfound_byid",
        "notfound_search",
        "notfound_traceql",
        "notfound_metrics",
        "missingspans",
        "incorrectresult",
        "incorrect_metrics_result",
        "partial",
    ];
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::NotFound => f.write_str("not found"),
            Self::MissingSpans(text) => write!(f, "missing spans: {text}"),
            Self::Incorrect(text) => write!(f, "incorrect: {text}"),
            Self::Partial(text) => write!(f, "the answer is incomplete: {text}"),
        }
    }
}
