//! Search by tags and duration, which existed before TraceQL.
//!
//! It is a different language: keys with a column of their own match by substring, all others must equal the value as
//! strings. All tags must occur in the trace, not necessarily on one span.

use super::condition::{Condition, Test};
use super::pipeline::{SpansetPlan, Stage};
use super::plan::Plan;
use super::query::CompiledQuery;
use super::steps::{RESOURCE_COLUMNS, SPAN_COLUMNS};
use crate::{Attribute, AttributeScope, ComparisonOperator, Intrinsic, Static, Status};

/// A search by tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagSearch {
    /// Keys and values; all must occur in the trace.
    pub tags: Vec<(String, String)>,
    /// Shortest trace, milliseconds, inclusive; 0 for any.
    pub min_duration_millis: u64,
    /// Longest trace, milliseconds, inclusive; 0 for any.
    pub max_duration_millis: u64,
}

impl TagSearch {
    /// Compiles the search. `dedicated`: further attributes with a column of their own. Answers have neither spansets
    /// nor service counts.
    pub fn compile(&self, dedicated: &[Attribute]) -> CompiledQuery {
        let mut stages = Vec::new();
        let bounds = [
            (ComparisonOperator::GreaterEqual, self.min_duration_millis),
            (ComparisonOperator::LessEqual, self.max_duration_millis),
        ];
        for (operator, millis) in bounds.into_iter().filter(|bound| bound.1 > 0) {
            let nanos = i64::try_from(millis.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
            let test = Test::Compare(operator, Static::Duration(nanos));
            let duration = Attribute::Intrinsic(Intrinsic::TraceDuration);
            stages.push(Stage::Spanset(SpansetPlan::Filter(condition(duration, test))));
        }
        let mut together = Vec::new();
        for (key, value) in &self.tags {
            match own_column(key, value, dedicated) {
                Some(plan) => stages.push(Stage::OneResource(vec![plan])),
                None => together.push(anywhere(key, value)),
            }
        }
        if !together.is_empty() {
            stages.push(Stage::OneResource(together));
        }
        let mut query = CompiledQuery::of_stages(stages, Vec::new());
        query.legacy = true;
        query
    }
}

fn condition(attribute: Attribute, test: Test) -> Plan {
    Plan::Condition { condition: Condition { attribute, test }, inverted: false }
}

/// The condition for a key that is not looked up as an ordinary attribute.
fn own_column(key: &str, value: &str, dedicated: &[Attribute]) -> Option<Plan> {
    let contains = |attribute| condition(attribute, Test::Contains(value.as_bytes().into()));
    let intrinsic = match key {
        "root.service.name" => Some(Intrinsic::TraceRootService),
        "root.name" => Some(Intrinsic::TraceRootName),
        "name" => Some(Intrinsic::Name),
        _ => None,
    };
    if let Some(intrinsic) = intrinsic {
        return Some(contains(Attribute::Intrinsic(intrinsic)));
    }
    let equal =
        |attribute, value| condition(attribute, Test::Compare(ComparisonOperator::Equal, value));
    if key == "status.code" {
        let status = Attribute::Intrinsic(Intrinsic::Status);
        let wanted = Status::from_text(value);
        return Some(wanted.map_or(Plan::Constant(false), |it| equal(status, Static::Status(it))));
    }
    if key == "http.status_code"
        && let Ok(code) = value.parse()
    {
        let attribute = Attribute::named(AttributeScope::Span, key);
        return Some(equal(attribute, Static::Int(code)));
    }
    let scope = match key {
        key if RESOURCE_COLUMNS.contains(&key) => AttributeScope::Resource,
        key if SPAN_COLUMNS.contains(&key) => AttributeScope::Span,
        key => {
            let mut plans = dedicated.iter().filter(|attribute| attribute.key() == key);
            let first = contains(plans.next()?.clone());
            let rest = plans.map(|attribute| contains(attribute.clone()));
            return Some(Plan::Any(std::iter::once(first).chain(rest).collect()));
        }
    };
    Some(contains(Attribute::named(scope, key)))
}

/// A key looked up on spans and resources.
fn anywhere(key: &str, value: &str) -> Plan {
    let scopes = [AttributeScope::Span, AttributeScope::Resource];
    let equal = |scope| {
        let test = Test::Compare(ComparisonOperator::Equal, Static::string(value));
        condition(Attribute::named(scope, key), test)
    };
    Plan::Any(scopes.map(equal).into())
}
