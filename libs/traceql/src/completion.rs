//! The `q` filter of tag-name and tag-value searches.
//!
//! Users are still typing, so a filter is never an error: what cannot be used is dropped, and if nothing is left, the
//! search has no filter. A comparison that is not finished may become any, so an alternative to it restricts nothing.

mod groups;
mod repair;
#[cfg(test)]
mod tests;

use crate::ast::{
    Attribute, AttributeScope, FieldExpression, Pipeline, PipelineStage, RootExpr,
    SpansetExpression, SpansetFilter,
};
use crate::static_value::Static;
use crate::validate::validate;

/// What a completion query reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Completion {
    /// Offer everything.
    Unfiltered,
    /// Offer what any group admits. At least one group.
    Groups(Vec<ConditionGroup>),
}

/// Conditions that one span must satisfy together.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionGroup {
    /// At least one. Each is a boolean expression: a comparison of an attribute with a constant, a nil test, or the
    /// negation of one.
    pub conditions: Vec<FieldExpression>,
    /// The constant that the requested attribute must equal. It is the group's only possible answer, for which no data
    /// has to be read.
    pub pinned: Option<Static>,
}

/// The filter has too many alternatives. Clients see this text with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "maximum condition groups reached (limit: {limit}). Reduce the number of OR conditions in the query"
)]
pub struct TooManyConditionGroups {
    /// The limit.
    pub limit: usize,
}

/// The usable part of `query`, for a search for values of `requested`, or for tag names if that is `None`.
///
/// An unscoped `requested` is looked up twice, so its groups count twice against `limit`. Errors: only more than
/// `limit` groups.
pub fn completion(
    query: &str,
    requested: Option<&Attribute>,
    limit: usize,
) -> Result<Completion, TooManyConditionGroups> {
    let Some(filter) = usable_filter(query) else { return Ok(Completion::Unfiltered) };
    let twice = matches!(requested, Some(Attribute::Named { scope: AttributeScope::Unscoped, .. }));
    let most = if twice { limit / 2 } else { limit };
    let Some(groups) = groups::expand(&filter.expression, requested, most) else {
        return Err(TooManyConditionGroups { limit });
    };
    if groups.iter().any(Vec::is_empty) {
        return Ok(Completion::Unfiltered);
    }
    let with_pin = |conditions: Vec<FieldExpression>| {
        let pinned = requested.and_then(|tag| groups::pinned(&conditions, tag));
        ConditionGroup { conditions, pinned }
    };
    Ok(Completion::Groups(groups.into_iter().map(with_pin).collect()))
}

/// The first filter of a query, if the query parses (possibly after repair) and is valid.
fn usable_filter(query: &str) -> Option<SpansetFilter> {
    let root = crate::parse(query).ok().or_else(|| repair::parse_leniently(query))?;
    first_filter(&root).filter(is_valid)
}

fn first_filter(root: &RootExpr) -> Option<SpansetFilter> {
    match root.search_pipeline().stages.first()? {
        PipelineStage::Spanset(SpansetExpression::Filter(filter)) => Some(filter.clone()),
        _ => None,
    }
}

fn is_valid(filter: &SpansetFilter) -> bool {
    let stage = PipelineStage::Spanset(SpansetExpression::Filter(filter.clone()));
    let query = crate::ast::Query::Search(Pipeline { stages: vec![stage] });
    validate(&RootExpr { query, hints: crate::hints::Hints::default() }).is_ok()
}
