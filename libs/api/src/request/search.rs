//! Search, by TraceQL or by tags.

use std::collections::BTreeMap;
use std::time::Duration;

use tactus_config::parse_go;
use tactus_traceql::RootExpr;

use super::{date_range_error, reversed_range, since};
use crate::query_string::{parse_int, parse_seconds};
use crate::{Error, QueryParams, RequestedRange, Result, parse_logfmt};

const NANOS_A_SECOND: u64 = 1_000_000_000;

/// Tags without a dot in their names that a request can name as parameters: a search by tags gives them a meaning of their
/// own. All else without a dot is no tag but what clients add, as `orgId` or `_`.
const TAGS_WITHOUT_DOT: [&str; 5] = ["name", "cluster", "namespace", "pod", "container"];

/// Limits and defaults of the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchLimits {
    /// Traces when the caller does not say.
    pub default_limit: u32,
    /// Highest `limit`; 0: any.
    pub max_limit: u32,
    /// Spans shown of a span set when the caller does not say.
    pub default_spans_per_span_set: u32,
    /// Highest `spss`; 0: any.
    pub max_spans_per_span_set: u32,
    /// Longest query in bytes; 0: any.
    pub max_query_bytes: usize,
}

/// What to search for.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchKind {
    /// By a TraceQL query.
    TraceQl {
        /// As sent.
        text: String,
        /// The checked tree.
        root: Box<RootExpr>,
    },
    /// By tags and duration; without any of them every trace matches.
    Tags(TagConditions),
}

/// A search without TraceQL. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagConditions {
    /// Attributes and their values.
    pub tags: BTreeMap<String, String>,
    /// Shortest trace in milliseconds; 0: any.
    pub min_duration_ms: u32,
    /// Longest trace in milliseconds; 0: any.
    pub max_duration_ms: u32,
}

/// Parameters of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// What to search for.
    pub kind: SearchKind,
    /// Traces wanted at most; never 0.
    pub limit: u32,
    /// Spans shown of each span set; never 0.
    pub spans_per_span_set: u32,
    /// The time asked for.
    pub range: RequestedRange,
    /// True if the answer explains how the query ran, because a parameter or a hint asks for it.
    pub explain: bool,
}

impl SearchQuery {
    /// Parses and checks the parameters, the query included; the range is left to
    /// [`RequestedRange::window`].
    pub fn parse(params: &QueryParams<'_>, limits: &SearchLimits) -> Result<Self> {
        let range = parse_range(params)?;
        let limit = parse_limit(params, limits)?;
        let spans_per_span_set = parse_spans_per_span_set(params, limits)?;
        let durations = parse_durations(params)?;
        let kind = match (params.get("q"), params.get("tags")) {
            (Some(_), Some(_)) => {
                return Err(invalid("invalid request: can't specify tags and q in the same query"));
            }
            (Some(text), None) => SearchKind::TraceQl {
                text: text.to_owned(),
                root: Box::new(parse_traceql(text, limits.max_query_bytes)?),
            },
            (None, tags) => {
                let conditions = TagConditions::parse(params, tags, durations, &range)?;
                conditions.check_bytes(limits.max_query_bytes)?;
                SearchKind::Tags(conditions)
            }
        };
        let hinted = match &kind {
            SearchKind::TraceQl { root, .. } => root.hints.explain(),
            SearchKind::Tags(_) => false,
        };
        let explain = hinted || super::wants_explain(params);
        Ok(Self { kind, limit, spans_per_span_set, range, explain })
    }
}

impl TagConditions {
    fn parse(
        params: &QueryParams<'_>,
        tags: Option<&str>,
        (min_duration_ms, max_duration_ms): (u32, u32),
        range: &RequestedRange,
    ) -> Result<Self> {
        let tags = match tags {
            Some(text) => {
                parse_logfmt(text).map_err(|error| invalid(format!("invalid tags: {error}")))?
            }
            // The oldest form of a search has the tags as parameters of their own.
            None if *range == RequestedRange::default() => params
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .filter_map(|(name, value)| Some((tag_of(name)?.to_owned(), value.to_owned())))
                .collect(),
            None => BTreeMap::new(),
        };
        Ok(Self { tags, min_duration_ms, max_duration_ms })
    }

    /// Refuses tags of more than `max_bytes` (0: any), as a query of TraceQL is.
    fn check_bytes(&self, max_bytes: usize) -> Result<()> {
        let bytes: usize = self.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        if max_bytes == 0 || bytes <= max_bytes {
            return Ok(());
        }
        Err(invalid(format!(
            "tags exceed the configured maximum size of {max_bytes} bytes of a query \
             (query_frontend.max_query_expression_size_bytes)"
        )))
    }
}

/// The tag that a parameter names, if it names one.
fn tag_of(name: &str) -> Option<&str> {
    match name {
        // What people write who do not know the name of the attribute.
        "service" => Some("service.name"),
        name if name.contains('.') || TAGS_WITHOUT_DOT.contains(&name) => Some(name),
        _ => None,
    }
}

/// The shortest and the longest trace in milliseconds, 0 where the request says nothing. A TraceQL query ignores
/// them, but invalid ones are still refused.
fn parse_durations(params: &QueryParams<'_>) -> Result<(u32, u32)> {
    let duration = |name: &str| match params.get(name).map(parse_go) {
        None => Ok(Duration::ZERO),
        Some(Ok(duration)) => Ok(duration.as_std()),
        Some(Err(error)) => Err(invalid(format!("invalid {name}: {error}"))),
    };
    let (shortest, longest) = (duration("minDuration")?, duration("maxDuration")?);
    if !longest.is_zero() && shortest > longest {
        return Err(invalid("invalid maxDuration: must be greater than minDuration"));
    }
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    // A longest duration of less than a millisecond must not become none.
    let least = u32::from(!longest.is_zero());
    Ok((millis(shortest), millis(longest).max(least)))
}

/// Parses and checks a query of at most `max_bytes` (0: any), with the error texts of a search.
pub fn parse_traceql(text: &str, max_bytes: usize) -> Result<RootExpr> {
    check_query_bytes(text, max_bytes)?;
    crate::job::parse_query(text).map_err(|error| invalid(error.to_string()))
}

/// Refuses a query of more than `max_bytes` (0: any).
pub fn check_query_bytes(text: &str, max_bytes: usize) -> Result<()> {
    if max_bytes == 0 || text.len() <= max_bytes {
        return Ok(());
    }
    Err(invalid(format!(
        "TraceQL expression exceeds the configured maximum size of {max_bytes} bytes, reduce the query expression size or contact your system administrator"
    )))
}

fn parse_range(params: &QueryParams<'_>) -> Result<RequestedRange> {
    let seconds = |name: &str| match params.get(name).map(parse_seconds) {
        None => Ok(0),
        Some(Ok(seconds)) => Ok(u64::from(seconds)),
        Some(Err(error)) => Err(invalid(format!("invalid {name}: {error}"))),
    };
    let (start, end) = (seconds("start")?, seconds("end")?);
    let since = since(params).map_err(date_range_error)?;
    // `since` stands in place of both.
    if since.is_none() && (start, end) != (0, 0) && end <= start {
        return Err(reversed_range(start, end));
    }
    Ok(RequestedRange { start: start * NANOS_A_SECOND, end: end * NANOS_A_SECOND, since })
}

fn parse_limit(params: &QueryParams<'_>, limits: &SearchLimits) -> Result<u32> {
    let Some(text) = params.get("limit") else { return Ok(limits.default_limit.max(1)) };
    let limit =
        parse_int(text, 64, "Atoi").map_err(|error| invalid(format!("invalid limit: {error}")))?;
    if limit <= 0 {
        return Err(invalid("invalid limit: must be a positive number"));
    }
    let max = limits.max_limit;
    if max != 0 && limit > i64::from(max) {
        return Err(invalid(format!("limit {limit} exceeds max limit {max}")));
    }
    Ok(u32::try_from(limit).unwrap_or(u32::MAX))
}

/// An explicit 0 asks for as many spans as are allowed.
fn parse_spans_per_span_set(params: &QueryParams<'_>, limits: &SearchLimits) -> Result<u32> {
    let max = limits.max_spans_per_span_set;
    let all = if max == 0 { u32::MAX } else { max };
    let Some(text) = params.get("spss") else {
        return Ok(limits.default_spans_per_span_set.max(1));
    };
    let spans =
        parse_int(text, 64, "Atoi").map_err(|error| invalid(format!("invalid spss: {error}")))?;
    match u32::try_from(spans) {
        Ok(0) => Ok(all),
        Ok(spans) if spans <= all => Ok(spans),
        _ if spans < 0 => Err(invalid("invalid spss: must be a non-negative number")),
        _ => Err(invalid(format!("spans per span set exceeds {all}. received {spans}"))),
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

#[cfg(test)]
mod tests;
