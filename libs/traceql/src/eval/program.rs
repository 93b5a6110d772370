//! General expressions as postfix programs, which run span by span.
//!
//! This is slow but handles everything. [`super::plan`] uses it only for what columns cannot answer.

mod known;

use std::cell::RefCell;
use std::collections::HashMap;

use tactus_work::tick;

use self::known::Known;
use super::operand::{Operand, Pick, Place, Table};
use super::value::{Value, calculate, compare, logical, match_regex};
use super::view::BatchView;
use crate::compiled_regex::Patterns;
use crate::{
    ArithmeticOperator, Attribute, BinaryOperator, ComparisonOperator, CompiledRegex,
    FieldExpression, Intrinsic, LogicalOperator, Static, UnaryOperator,
};

/// An expression in postfix order.
#[derive(Debug)]
pub(crate) struct Program {
    instructions: Vec<Instruction>,
    constants: Vec<Static>,
    patterns: Vec<Option<CompiledRegex>>,
    /// All patterns of the query, including those that are values.
    all_patterns: Patterns,
    /// The attributes that occur, each once.
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, Copy)]
enum Instruction {
    Constant(usize),
    Load(usize),
    Arithmetic(ArithmeticOperator),
    Compare(ComparisonOperator),
    CompareIds(IdKind, ComparisonOperator),
    Regex { pattern: usize, negated: bool },
    RegexOfValue { negated: bool },
    Unary(UnaryOperator),
    Logical(LogicalOperator, usize),
}

/// The kind of an id, which determines how it is normalised before it is compared for equality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdKind {
    /// Lower case, no leading zeros.
    Trace,
    /// Lower case, padded with zeros to 16 digits.
    Span,
}

impl IdKind {
    /// The kind of an operand that holds ids.
    pub(crate) fn of(expression: &FieldExpression) -> Option<Self> {
        match expression {
            FieldExpression::Attribute(Attribute::Intrinsic(intrinsic)) => match intrinsic {
                Intrinsic::TraceId | Intrinsic::LinkTraceId => Some(IdKind::Trace),
                Intrinsic::SpanId | Intrinsic::SpanParentId | Intrinsic::LinkSpanId => {
                    Some(IdKind::Span)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The normalised id. A text that is not an id stays different from every id.
    pub(crate) fn normalise(self, text: &[u8]) -> Vec<u8> {
        let lower = text.to_ascii_lowercase();
        match self {
            IdKind::Trace => {
                let zeros = lower.iter().take_while(|&&digit| digit == b'0').count();
                lower[zeros..].to_vec()
            }
            IdKind::Span => {
                let mut padded = vec![b'0'; 16usize.saturating_sub(lower.len())];
                padded.extend_from_slice(&lower);
                padded
            }
        }
    }
}

/// The kind of id in a comparison for equality, if one side is an id.
pub(crate) fn id_comparison(
    operator: ComparisonOperator,
    left: &FieldExpression,
    right: &FieldExpression,
) -> Option<IdKind> {
    let equality = matches!(operator, ComparisonOperator::Equal | ComparisonOperator::NotEqual);
    equality.then(|| IdKind::of(left).or_else(|| IdKind::of(right))).flatten()
}

impl Program {
    /// Compiles an expression. The parser has bounded its depth.
    pub(crate) fn compile(expression: &FieldExpression, patterns: &Patterns) -> Self {
        let mut program = Self {
            instructions: Vec::new(),
            constants: Vec::new(),
            patterns: Vec::new(),
            all_patterns: patterns.clone(),
            attributes: Vec::new(),
        };
        program.push(expression, &mut HashMap::new());
        program
    }

    fn push<'e>(
        &mut self,
        expression: &'e FieldExpression,
        places: &mut HashMap<&'e Attribute, usize>,
    ) {
        let instruction = match expression {
            FieldExpression::Static(constant) => {
                self.constants.push(constant.clone());
                Instruction::Constant(self.constants.len() - 1)
            }
            FieldExpression::Attribute(attribute) => {
                Instruction::Load(*places.entry(attribute).or_insert_with(|| {
                    self.attributes.push(attribute.clone());
                    self.attributes.len() - 1
                }))
            }
            FieldExpression::Unary { operator, operand } => {
                self.push(operand, places);
                Instruction::Unary(*operator)
            }
            FieldExpression::Binary { operator, left, right } => {
                self.push(left, places);
                self.push_binary(*operator, (left, right), places)
            }
            FieldExpression::Logical { operator, operands } => {
                operands.iter().for_each(|operand| self.push(operand, places));
                Instruction::Logical(*operator, operands.len())
            }
        };
        self.instructions.push(instruction);
    }

    /// Pushes the right operand, and returns the operator's instruction.
    fn push_binary<'e>(
        &mut self,
        operator: BinaryOperator,
        (left, right): (&'e FieldExpression, &'e FieldExpression),
        places: &mut HashMap<&'e Attribute, usize>,
    ) -> Instruction {
        let negated = operator == BinaryOperator::NotRegex;
        if let (
            BinaryOperator::Regex | BinaryOperator::NotRegex,
            FieldExpression::Static(pattern),
        ) = (operator, right)
        {
            let pattern = pattern.as_text().and_then(|text| self.all_patterns.compile(text).ok());
            self.patterns.push(pattern);
            return Instruction::Regex { pattern: self.patterns.len() - 1, negated };
        }
        self.push(right, places);
        match operator {
            BinaryOperator::Arithmetic(operator) => Instruction::Arithmetic(operator),
            BinaryOperator::Regex | BinaryOperator::NotRegex => {
                Instruction::RegexOfValue { negated }
            }
            BinaryOperator::Comparison(operator) => match id_comparison(operator, left, right) {
                Some(kind) => Instruction::CompareIds(kind, operator),
                None => Instruction::Compare(operator),
            },
        }
    }

    /// Finds the columns of a batch.
    pub(crate) fn bind<'v>(&'v self, view: &'v BatchView<'v>) -> BoundProgram<'v> {
        let bind = |attribute| Operand::bind(attribute, view);
        BoundProgram {
            program: self,
            view,
            operands: self.attributes.iter().map(bind).collect(),
            stack: RefCell::new(Vec::new()),
            known: RefCell::new(Known::of(&self.all_patterns)),
        }
    }

    /// The value of an expression without attributes.
    pub(crate) fn constant(&self) -> Option<Value<'_>> {
        let mut stack = Vec::new();
        let none = |_| Value::Nil;
        self.attributes
            .is_empty()
            .then(|| self.run(&mut stack, none, &mut Known::of(&self.all_patterns)))
    }

    fn run<'v>(
        &'v self,
        stack: &mut Vec<Value<'v>>,
        load: impl Fn(usize) -> Value<'v>,
        known: &mut Known,
    ) -> Value<'v> {
        stack.clear();
        for &instruction in &self.instructions {
            let value = match instruction {
                Instruction::Constant(index) => Value::of_static(&self.constants[index]),
                Instruction::Load(index) => load(index),
                Instruction::Unary(operator) => pop(stack).unary(operator),
                Instruction::Arithmetic(operator) => {
                    let right = pop(stack);
                    calculate(operator, pop(stack), right)
                }
                Instruction::Compare(operator) => {
                    let right = pop(stack);
                    compare(operator, pop(stack), right)
                }
                Instruction::CompareIds(kind, operator) => {
                    let right = pop(stack);
                    compare_ids(kind, operator, pop(stack), right)
                }
                Instruction::Regex { pattern, negated } => match &self.patterns[pattern] {
                    Some(regex) => match_regex(pop(stack), negated, |text| {
                        known.is_match(pattern, text, || regex.is_match(text))
                    }),
                    None => no_match(pop(stack)),
                },
                Instruction::RegexOfValue { negated } => {
                    let pattern = pop(stack);
                    match_pattern(pop(stack), pattern, negated, known)
                }
                Instruction::Logical(operator, count) => {
                    logical(operator, stack.drain(stack.len().saturating_sub(count)..))
                }
            };
            stack.push(value);
        }
        pop(stack)
    }
}

fn pop<'v>(stack: &mut Vec<Value<'v>>) -> Value<'v> {
    stack.pop().unwrap_or(Value::Nil)
}

/// The result of a pattern that does not compile.
fn no_match(value: Value<'_>) -> Value<'_> {
    match value {
        Value::NoRow => Value::NoRow,
        _ => Value::Bool(false),
    }
}

fn match_pattern<'v>(
    value: Value<'v>,
    pattern: Value<'v>,
    negated: bool,
    known: &mut Known,
) -> Value<'v> {
    let pattern = match pattern {
        Value::NoRow => return Value::NoRow,
        Value::String(pattern) => pattern,
        _ => return no_match(value),
    };
    match known.regex(pattern) {
        Some(regex) => match_regex(value, negated, |text| regex.is_match(text)),
        None => no_match(value),
    }
}

fn compare_ids<'v>(
    kind: IdKind,
    operator: ComparisonOperator,
    left: Value<'v>,
    right: Value<'v>,
) -> Value<'v> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            let order = kind.normalise(left).cmp(&kind.normalise(right));
            Value::Bool(operator.holds(Some(order)))
        }
        _ => compare(operator, left, right),
    }
}

/// A program with the columns of one batch.
pub(crate) struct BoundProgram<'v> {
    program: &'v Program,
    view: &'v BatchView<'v>,
    operands: Vec<Operand<'v>>,
    stack: RefCell<Vec<Value<'v>>>,
    known: RefCell<Known>,
}

impl<'v> BoundProgram<'v> {
    /// True if the value depends only on the resource of a span.
    pub(crate) fn reads_only_resources(&self) -> bool {
        let of_resource =
            |operand: &Operand<'_>| operand.table == Table::Resource && !operand.is_of_parent();
        self.operands.iter().all(of_resource)
    }

    /// The value at a place.
    #[inline]
    pub(crate) fn value(&self, place: Place) -> Value<'v> {
        if let ([Instruction::Load(_)], [operand]) =
            (&self.program.instructions[..], &self.operands[..])
        {
            return operand.value(place);
        }
        if tick(self.program.instructions.len() as u32) {
            return Value::Nil;
        }
        let load = |index: usize| self.operands[index].value(place);
        let mut known = self.known.borrow_mut();
        self.program.run(&mut self.stack.borrow_mut(), load, &mut known)
    }

    /// True if there are an event and a link of the span, as far as the expression refers to them, for which its value
    /// is the boolean `wanted`.
    pub(crate) fn holds_for_some_rows(&self, span: usize, wanted: bool) -> bool {
        let batch = self.view.batch;
        let refers = |table| self.operands.iter().any(|operand| operand.table == table);
        let choices = |table, rows: std::ops::Range<usize>| {
            let rows = if refers(table) { rows } else { 0..0 };
            let none = rows.is_empty().then_some(Pick::Absent);
            rows.map(Pick::Row).chain(none)
        };
        choices(Table::Event, batch.events.range(span)).any(|event| {
            choices(Table::Link, batch.links.range(span))
                .any(|link| tick(1) || self.value(Place { span, event, link }).is_bool(wanted))
        })
    }
}
