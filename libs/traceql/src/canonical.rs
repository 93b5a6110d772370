//! Canonical text: `Display` of the tree.
//!
//! The text is used for names of spanset attributes, for series labels, in errors and as a cache key. It parses back to
//! a tree with the same text. Where the plain spelling would not (names with blanks, strings with backticks, a negative
//! constant before an operator that binds more tightly than minus), it is quoted, escaped or parenthesised.

mod metrics;

use std::fmt::{Display, Formatter, Result, Write as _};

use tactus_model::format_duration;

use crate::ast::{
    Aggregate, ArithmeticOperator, Attribute, BinaryOperator, FieldExpression, LogicalOperator,
    Pipeline, PipelineStage, ScalarExpression, ScalarFilter, SpansetExpression, SpansetFilter,
    UnaryOperator,
};
use crate::eval::value::{ArrayValue, Value};
use crate::lexer::ends_attribute_name;
use crate::static_value::Static;

/// The value's text. Strings are quoted as in a query, other values are as in answers.
impl Display for Static {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Static::Nil => f.write_str("nil"),
            Static::Int(value) => write!(f, "{value}"),
            Static::Float(value) => f.write_str(&format_float(*value)),
            Static::String(value) => string(f, value),
            Static::Bool(value) => write!(f, "{value}"),
            Static::Duration(value) => f.write_str(&format_duration(*value)),
            Static::Status(value) => f.write_str(value.text()),
            Static::Kind(value) => f.write_str(value.text()),
        }
    }
}

/// `["a", "b"]`, which is no literal.
impl Display for ArrayValue<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_char('[')?;
        for (index, element) in self.elements().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match element {
                Value::String(text) => quoted(f, text)?,
                element => element.to_static().fmt(f)?,
            }
        }
        f.write_char(']')
    }
}

/// A constant inside a query. The minimum of i64 has no literal other than `minInt`.
fn constant(f: &mut Formatter<'_>, value: &Static) -> Result {
    match value {
        Static::Int(i64::MIN) => f.write_str("minInt"),
        value => value.fmt(f),
    }
}

fn is_negative(value: &Static) -> bool {
    match value {
        Static::Int(value) => *value < 0 && *value != i64::MIN,
        Static::Duration(value) => *value < 0,
        Static::Float(value) => value.is_sign_negative(),
        _ => false,
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Attribute::Intrinsic(intrinsic) => f.write_str(intrinsic.text()),
            Attribute::Named { scope, parent, name } => {
                let unscoped = *scope == crate::ast::AttributeScope::Unscoped;
                match (parent, unscoped) {
                    (true, true) => f.write_str("parent.")?,
                    (true, false) => write!(f, "parent.{}", scope.prefix())?,
                    (false, _) => f.write_str(scope.prefix())?,
                }
                let misread = unscoped
                    && ((*parent && (name.starts_with("span.") || name.starts_with("resource.")))
                        || (!*parent && name.starts_with(|c: char| c.is_ascii_digit())));
                attribute_name(f, name, misread)
            }
        }
    }
}

impl Display for FieldExpression {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            FieldExpression::Static(value) => constant(f, value),
            FieldExpression::Attribute(attribute) => attribute.fmt(f),
            FieldExpression::Unary { operator, operand } => match operator {
                UnaryOperator::Negate => {
                    f.write_char('-')?;
                    field_operand(f, operand)
                }
                UnaryOperator::Not => {
                    f.write_char('!')?;
                    field_operand(f, operand)
                }
                UnaryOperator::Exists => {
                    field_operand(f, operand)?;
                    f.write_str(" != nil")
                }
                UnaryOperator::NotExists => {
                    field_operand(f, operand)?;
                    f.write_str(" = nil")
                }
            },
            FieldExpression::Binary { operator, left, right } => {
                let tighter_than_minus = matches!(
                    operator,
                    BinaryOperator::Arithmetic(
                        ArithmeticOperator::Multiply
                            | ArithmeticOperator::Divide
                            | ArithmeticOperator::Modulo
                            | ArithmeticOperator::Power
                    )
                );
                match &**left {
                    FieldExpression::Static(value) if tighter_than_minus && is_negative(value) => {
                        write!(f, "({value})")?;
                    }
                    left => field_operand(f, left)?,
                }
                write!(f, " {} ", operator.text())?;
                field_operand(f, right)
            }
            FieldExpression::Logical { operator, operands } => {
                LogicalChain { operator: *operator, operands }.fmt(f)
            }
        }
    }
}

/// A prefix of a chain of one logical operator, with left-nested parentheses.
pub(crate) struct LogicalChain<'a> {
    pub(crate) operator: LogicalOperator,
    pub(crate) operands: &'a [FieldExpression],
}

impl Display for LogicalChain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for _ in 2..self.operands.len() {
            f.write_char('(')?;
        }
        for (index, operand) in self.operands.iter().enumerate() {
            if index > 0 {
                write!(f, " {} ", self.operator.text())?;
            }
            field_operand(f, operand)?;
            if index > 0 && index + 1 < self.operands.len() {
                f.write_char(')')?;
            }
        }
        Ok(())
    }
}

fn field_operand(f: &mut Formatter<'_>, operand: &FieldExpression) -> Result {
    match operand {
        FieldExpression::Static(_) | FieldExpression::Attribute(_) => operand.fmt(f),
        _ => write!(f, "({operand})"),
    }
}

impl Display for SpansetFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{{ {} }}", self.expression)
    }
}

impl Display for SpansetExpression {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            SpansetExpression::Filter(filter) => filter.fmt(f),
            SpansetExpression::Pipeline(pipeline) => pipeline.fmt(f),
            SpansetExpression::Binary { operator, left, right } => {
                write!(f, "({left}) {} ({right})", operator.text())
            }
        }
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (index, stage) in self.stages.iter().enumerate() {
            if index > 0 {
                f.write_char('|')?;
            }
            stage.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for PipelineStage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            PipelineStage::Spanset(spanset) => spanset.fmt(f),
            PipelineStage::Scalar(filter) => filter.fmt(f),
            PipelineStage::By(expression) => write!(f, "by({expression})"),
            PipelineStage::Coalesce => f.write_str("coalesce()"),
            PipelineStage::Select(attributes) => {
                f.write_str("select(")?;
                for (index, attribute) in attributes.iter().enumerate() {
                    let separator = if index > 0 { ", " } else { "" };
                    write!(f, "{separator}{attribute}")?;
                }
                f.write_char(')')
            }
        }
    }
}

impl Display for ScalarFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        scalar_operand(f, &self.left)?;
        write!(f, " {} ", self.operator.text())?;
        scalar_operand(f, &self.right)
    }
}

impl Display for ScalarExpression {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            ScalarExpression::Static(value) => constant(f, value),
            ScalarExpression::Aggregate(aggregate) => aggregate.fmt(f),
            ScalarExpression::Binary { operator, left, right } => {
                scalar_operand(f, left)?;
                write!(f, " {} ", operator.text())?;
                scalar_operand(f, right)
            }
            ScalarExpression::Pipeline(pipeline, aggregate) => write!(f, "{pipeline}|{aggregate}"),
        }
    }
}

fn scalar_operand(f: &mut Formatter<'_>, operand: &ScalarExpression) -> Result {
    match operand {
        ScalarExpression::Static(_) => operand.fmt(f),
        _ => write!(f, "({operand})"),
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.argument {
            None => write!(f, "{}()", self.operator.text()),
            Some(argument) => write!(f, "{}({argument})", self.operator.text()),
        }
    }
}

/// The canonical text of a float: the shortest digits that parse back to it; an exponent of at least two digits if the
/// decimal exponent is below −4 or at least 6; otherwise `.0` if there is no fraction. `NaN`, `+Inf` and `-Inf` for the
/// others.
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// In backticks, or in double quotes if the string contains a backtick.
fn string(f: &mut Formatter<'_>, value: &[u8]) -> Result {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(['`', '\r', '\0']) => write!(f, "`{text}`"),
        _ => quoted(f, value),
    }
}

/// In double quotes with escapes.
fn quoted(f: &mut Formatter<'_>, value: &[u8]) -> Result {
    f.write_char('"')?;
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_char('"')
}

/// Unquoted if that parses back to the same name and `must_quote` is false; otherwise the whole name in quotes.
fn attribute_name(f: &mut Formatter<'_>, name: &str, must_quote: bool) -> Result {
    let needs_quotes = must_quote
        || name.is_empty()
        || name.contains(|c: char| c == '"' || ends_attribute_name(c));
    if !needs_quotes {
        return f.write_str(name);
    }
    f.write_char('"')?;
    for c in name.chars() {
        if c == '"' || c == '\\' {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}
