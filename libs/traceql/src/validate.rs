//! The rules for a query that parses. Reports the first violation, depth first and left to right.

mod metrics;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use crate::ast::{
    Aggregate, Attribute, AttributeScope, BinaryOperator, FieldExpression, Intrinsic, Pipeline,
    PipelineStage, Query, RootExpr, ScalarExpression, ScalarFilter, SpansetExpression,
    SpansetFilter, UnaryOperator,
};
use crate::canonical::LogicalChain;
use crate::compiled_regex::{self, InvalidRegex};
use crate::error::ValidateError;
use crate::static_type::StaticType;
use crate::static_value::Static;

type Result<T = ()> = std::result::Result<T, ValidateError>;

/// Checks types and semantics of a parsed query.
///
/// Errors: the first rule that the query breaks.
pub fn validate(root: &RootExpr) -> Result {
    validate_after(root, &mut 0)
}

/// As [`validate`]. `programs` is the size in bytes of the compiled patterns of earlier queries, to which this query's
/// are added.
pub(crate) fn validate_after(root: &RootExpr, programs: &mut usize) -> Result {
    let checker = Checker { programs: Cell::new(*programs), ..Checker::default() };
    let checked = match &root.query {
        Query::Search(search) => checker.pipeline(search),
        Query::Metrics(expression) => checker.metrics(expression, false),
    };
    *programs = checker.programs.get();
    checked
}

/// Most stages of all pipelines of a query. A stage runs on whole row groups, so this bounds how long a query works
/// before it checks again whether it has ended.
const MAX_STAGES: usize = 100;

/// Most filters of a query, because the spans of each are kept while the others run.
const MAX_FILTERS: usize = 1000;

/// Most aggregates of all scalar filters of a query. Each is a pass over all spans, and its results for all spansets are
/// kept while the others run.
const MAX_AGGREGATES: usize = 100;

#[derive(Default)]
struct Checker {
    /// Bytes of the programs of patterns so far.
    programs: Cell<usize>,
    /// Pipeline stages so far.
    stages: Cell<usize>,
    /// Filters so far.
    filters: Cell<usize>,
    /// Aggregates so far.
    aggregates: Cell<usize>,
}

impl Checker {
    fn pipeline(&self, pipeline: &Pipeline) -> Result {
        self.count_stages(pipeline.stages.len())?;
        pipeline.stages.iter().try_for_each(|stage| match stage {
            PipelineStage::Spanset(expression) => self.spanset(expression),
            PipelineStage::Scalar(filter) => self.scalar_filter(filter),
            PipelineStage::By(expression) => self.group(stage, expression),
            PipelineStage::Coalesce => Ok(()),
            PipelineStage::Select(attributes) => attributes.iter().try_for_each(supported),
        })
    }

    fn count_stages(&self, more: usize) -> Result {
        self.stages.set(self.stages.get().saturating_add(more));
        if self.stages.get() > MAX_STAGES {
            return Err(ValidateError::TooManyStages(MAX_STAGES));
        }
        Ok(())
    }

    fn spanset(&self, expression: &SpansetExpression) -> Result {
        match expression {
            SpansetExpression::Filter(filter) => self.spanset_filter(filter),
            SpansetExpression::Pipeline(inner) => self.pipeline(inner),
            SpansetExpression::Binary { left, right, .. } => {
                self.spanset(left)?;
                self.spanset(right)
            }
        }
    }

    fn spanset_filter(&self, filter: &SpansetFilter) -> Result {
        self.filters.set(self.filters.get().saturating_add(1));
        if self.filters.get() > MAX_FILTERS {
            return Err(ValidateError::TooManyFilters(MAX_FILTERS));
        }
        match self.field(&filter.expression)? {
            StaticType::Bool | StaticType::Dynamic => Ok(()),
            _ => Err(ValidateError::FilterNotBoolean(filter.to_string())),
        }
    }

    fn group(&self, stage: &PipelineStage, expression: &FieldExpression) -> Result {
        self.field(expression)?;
        if expression.references_span() {
            Ok(())
        } else {
            Err(ValidateError::GroupWithoutAttribute(stage.to_string()))
        }
    }

    fn scalar_filter(&self, filter: &ScalarFilter) -> Result {
        let unsupported =
            |side| Err(ValidateError::Unsupported(format!("scalar filter {side} of type (%v)")));
        let aggregates = self.scalar(&filter.left)? + self.scalar(&filter.right)?;
        if has_pipeline(&filter.left) || aggregates == 0 {
            return unsupported("lhs");
        }
        if has_pipeline(&filter.right) {
            return unsupported("rhs");
        }
        Ok(())
    }

    /// The number of aggregates in a valid scalar.
    fn scalar(&self, expression: &ScalarExpression) -> Result<usize> {
        match expression {
            ScalarExpression::Static(_) => Ok(0),
            ScalarExpression::Aggregate(checked) => self.aggregate(checked).map(|()| 1),
            ScalarExpression::Pipeline(inner, checked) => {
                self.pipeline(inner)?;
                self.aggregate(checked).map(|()| 1)
            }
            ScalarExpression::Binary { left, right, .. } => {
                Ok(self.scalar(left)? + self.scalar(right)?)
            }
        }
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result {
        self.aggregates.set(self.aggregates.get().saturating_add(1));
        if self.aggregates.get() > MAX_AGGREGATES {
            return Err(ValidateError::TooManyAggregates(MAX_AGGREGATES));
        }
        let Some(argument) = &aggregate.argument else {
            return Ok(());
        };
        let kind = self.field(argument)?;
        if !kind.is_numeric() && kind != StaticType::Dynamic {
            return Err(ValidateError::AggregateNotNumeric(aggregate.to_string()));
        }
        if !argument.references_span() {
            return Err(ValidateError::AggregateWithoutAttribute(aggregate.to_string()));
        }
        Ok(())
    }

    /// The type of a valid expression.
    fn field(&self, expression: &FieldExpression) -> Result<StaticType> {
        match expression {
            FieldExpression::Static(value) => Ok(value.static_type()),
            FieldExpression::Attribute(attribute) => {
                supported(attribute)?;
                Ok(match attribute {
                    Attribute::Intrinsic(intrinsic) => intrinsic.static_type(),
                    Attribute::Named { .. } => StaticType::Dynamic,
                })
            }
            FieldExpression::Unary { operator, operand } => {
                if matches!(operator, UnaryOperator::Exists | UnaryOperator::NotExists) {
                    self.nil_test(*operator, operand)?;
                    return Ok(StaticType::Bool);
                }
                let operand_type = self.field(operand)?;
                if operand_type.admits_unary(*operator) {
                    Ok(operand_type)
                } else {
                    Err(ValidateError::IllegalUnary(expression.to_string()))
                }
            }
            FieldExpression::Binary { operator, left, right } => {
                let (left_type, right_type) = (self.field(left)?, self.field(right)?);
                if !left_type.matches(right_type) {
                    return Err(ValidateError::OperandTypesDiffer(expression.to_string()));
                }
                if !left_type.admits(*operator) || !right_type.admits(*operator) {
                    return Err(ValidateError::IllegalBinary(expression.to_string()));
                }
                match operator {
                    BinaryOperator::Regex | BinaryOperator::NotRegex => {
                        self.pattern(right)?;
                        Ok(StaticType::Bool)
                    }
                    BinaryOperator::Comparison(_) => Ok(StaticType::Bool),
                    BinaryOperator::Arithmetic(_) => Ok(match left_type {
                        StaticType::Dynamic => right_type,
                        known => known,
                    }),
                }
            }
            FieldExpression::Logical { operator, operands } => {
                let mut left_type = None;
                for (index, operand) in operands.iter().enumerate() {
                    let right_type = self.field(operand)?;
                    let Some(left_type) = left_type.replace(right_type) else { continue };
                    let left_type = if index > 1 { StaticType::Bool } else { left_type };
                    let chain = || {
                        let operands = operands.get(..=index).unwrap_or(operands);
                        LogicalChain { operator: *operator, operands }.to_string()
                    };
                    if !left_type.matches(right_type) {
                        return Err(ValidateError::OperandTypesDiffer(chain()));
                    }
                    if !left_type.admits_logic() || !right_type.admits_logic() {
                        return Err(ValidateError::IllegalBinary(chain()));
                    }
                }
                Ok(StaticType::Bool)
            }
        }
    }

    fn pattern(&self, right: &FieldExpression) -> Result {
        let FieldExpression::Static(Static::String(text)) = right else { return Ok(()) };
        let mut bytes = self.programs.get();
        let checked = compiled_regex::check(text, &mut bytes);
        self.programs.set(bytes);
        checked.map_err(|error| {
            let pattern = String::from_utf8_lossy(text).into_owned();
            match error {
                InvalidRegex::TooLarge { limit } => ValidateError::RegexTooLarge { pattern, limit },
                InvalidRegex::TooLargeTogether { limit } => {
                    ValidateError::RegexesTooLarge { pattern, limit }
                }
                InvalidRegex::Repeats(repeats) => ValidateError::RegexRepeats { pattern, repeats },
                InvalidRegex::Classes => ValidateError::RegexClasses(pattern),
                InvalidRegex::Syntax(_) | InvalidRegex::Over => {
                    ValidateError::InvalidRegex(pattern)
                }
            }
        })
    }

    fn nil_test(&self, operator: UnaryOperator, operand: &FieldExpression) -> Result {
        match operand {
            // Asks whether the parent span is in the trace.
            FieldExpression::Attribute(Attribute::Intrinsic(Intrinsic::Parent)) => Ok(()),
            FieldExpression::Attribute(attribute) if operator == UnaryOperator::NotExists => {
                match attribute {
                    Attribute::Intrinsic(intrinsic) => {
                        Err(ValidateError::IntrinsicNil(intrinsic.text()))
                    }
                    Attribute::Named { scope: AttributeScope::Resource, parent: false, name }
                        if &**name == "service.name" =>
                    {
                        Err(ValidateError::ServiceNameNil)
                    }
                    Attribute::Named { .. } => Ok(()),
                }
            }
            operand => self.field(operand).map(|_| ()),
        }
    }
}

fn has_pipeline(expression: &ScalarExpression) -> bool {
    match expression {
        ScalarExpression::Static(_) | ScalarExpression::Aggregate(_) => false,
        ScalarExpression::Pipeline(..) => true,
        ScalarExpression::Binary { left, right, .. } => has_pipeline(left) || has_pipeline(right),
    }
}

fn supported(attribute: &Attribute) -> Result {
    match attribute {
        Attribute::Intrinsic(Intrinsic::Parent) => {
            Err(ValidateError::Unsupported("intrinsic (parent)".to_owned()))
        }
        _ => Ok(()),
    }
}
