//! TraceQL, the query language over traces: parser and evaluator.
//!
//! The parser turns text into a checked tree: [`parse`] (lexer, operator-precedence parser, constant folding) returns a
//! [`RootExpr`], and [`validate()`] checks operand types and the rules that need the whole tree. `Display` of every
//! tree type is its canonical text, which parses back to the same canonical text. No input makes the parser panic or
//! overflow the stack (parentheses are kept on an explicit stack, and trees are at most [`MAX_DEPTH`] deep), and
//! parsing takes time linear in the query. The parser knows nothing about stored data.
//!
//! The evaluator runs a [`CompiledQuery`] or [`CompiledMetrics`] on batches of spans.

#![warn(missing_docs)]

pub mod ast;
mod canonical;
mod compiled_regex;
mod completion;
mod error;
pub mod eval;
mod fold;
pub mod hints;
mod lexer;
pub mod metrics;
mod operate;
mod parser;
mod static_type;
mod static_value;
mod validate;

pub use ast::{
    Aggregate, AggregateOperator, ArithmeticOperator, Attribute, AttributeScope, BinaryOperator,
    Compare, ComparisonOperator, FieldExpression, GraphMeasure, Intrinsic, LogicalOperator,
    MetricsExpression, MetricsFunction, MetricsQuery, MetricsStage, Pipeline, PipelineStage, Query,
    Relation, RelationMode, RootExpr, ScalarExpression, ScalarFilter, SecondStage,
    SpansetExpression, SpansetFilter, SpansetOperator, UnaryOperator,
};
pub use canonical::format_float;
pub use compiled_regex::{CompiledRegex, InvalidRegex, Patterns, UnanchoredRegex, from_re2};
pub use completion::{Completion, ConditionGroup, TooManyConditionGroups, completion};
pub use error::{Error, ParseError, Result, ValidateError};
pub use hints::{Hint, Hints, SampleHint};
pub use operate::holds;
pub use parser::{MAX_DEPTH, parse, parse_attribute};
pub use static_type::StaticType;
pub use static_value::{Kind, Static, Status, Text};
pub use validate::validate;
use validate::validate_after;

/// A query of this size is parsed in some ten microseconds, unless it has a regular expression.
pub const SHORT_QUERY_BYTES: usize = 1 << 10;

/// True if a query is parsed and compiled in no time. Regular expressions are compiled when a query is checked.
pub fn is_short(query: &str) -> bool {
    query.len() <= SHORT_QUERY_BYTES && !query.contains('~')
}

/// Parses and validates a query.
///
/// Errors: [`Error::Parse`] and [`Error::Pattern`] with a position, or [`Error::Validate`]. Clients see the `Display`
/// text after their endpoint's prefix.
pub fn parse_and_validate(query: &str) -> Result<RootExpr> {
    let root = parse(query)?;
    validate(&root).map_err(|error| error.in_query(query))?;
    Ok(root)
}

/// As [`parse_and_validate`], for one of several queries that are kept together. `programs` is the size in bytes of the
/// compiled patterns of the earlier ones, to which this query's are added. All of them together may be as large as
/// those of a single query.
pub fn parse_and_validate_after(query: &str, programs: &mut usize) -> Result<RootExpr> {
    let root = parse(query)?;
    validate_after(&root, programs).map_err(|error| error.in_query(query))?;
    Ok(root)
}
