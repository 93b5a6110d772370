//! Aggregates over the spans of a spanset, and comparisons between them.

use super::program::Program;
use super::value::{Value, calculate, calculate_float, compare};
use crate::compiled_regex::Patterns;
use crate::{
    Aggregate, AggregateOperator, ArithmeticOperator, ComparisonOperator, ScalarExpression,
    ScalarFilter, Static,
};

/// A compiled scalar filter.
#[derive(Debug)]
pub(crate) struct ScalarPlan {
    /// The aggregates, left to right, each once.
    pub(crate) aggregates: Vec<AggregatePlan>,
    instructions: Vec<Instruction>,
    operator: ComparisonOperator,
}

/// One aggregate and the name of its spanset attribute.
#[derive(Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) operator: AggregateOperator,
    pub(crate) argument: Option<Program>,
    pub(crate) name: String,
}

#[derive(Debug)]
enum Instruction {
    Constant(Static),
    Aggregate(usize),
    Arithmetic(ArithmeticOperator),
}

impl ScalarPlan {
    /// Compiles a scalar filter; `None` if it contains another pipeline.
    pub(crate) fn compile(filter: &ScalarFilter, patterns: &Patterns) -> Option<Self> {
        let mut plan =
            Self { aggregates: Vec::new(), instructions: Vec::new(), operator: filter.operator };
        plan.push(&filter.left, patterns)?;
        plan.push(&filter.right, patterns)?;
        Some(plan)
    }

    fn push(&mut self, expression: &ScalarExpression, patterns: &Patterns) -> Option<()> {
        let instruction = match expression {
            ScalarExpression::Static(constant) => Instruction::Constant(constant.clone()),
            ScalarExpression::Aggregate(aggregate) => {
                Instruction::Aggregate(self.place_of(aggregate, patterns))
            }
            ScalarExpression::Binary { operator, left, right } => {
                self.push(left, patterns)?;
                self.push(right, patterns)?;
                Instruction::Arithmetic(*operator)
            }
            ScalarExpression::Pipeline(..) => return None,
        };
        self.instructions.push(instruction);
        Some(())
    }

    /// The place of an aggregate, which is added if it is new.
    fn place_of(&mut self, aggregate: &Aggregate, patterns: &Patterns) -> usize {
        let name = aggregate.to_string();
        let known = self.aggregates.iter().position(|known| known.name == name);
        known.unwrap_or_else(|| {
            self.aggregates.push(AggregatePlan::compile(aggregate, name, patterns));
            self.aggregates.len() - 1
        })
    }

    /// Units of work of [`Self::holds`].
    pub(crate) fn units(&self) -> u32 {
        u32::try_from(self.instructions.len()).unwrap_or(u32::MAX)
    }

    /// True if the comparison holds for the results of the aggregates; false if one of them is missing. `stack` is
    /// memory that calls share.
    pub(crate) fn holds<'p>(
        &'p self,
        results: &[Value<'static>],
        stack: &mut Vec<Value<'p>>,
    ) -> bool {
        stack.clear();
        for instruction in &self.instructions {
            let value = match instruction {
                Instruction::Constant(constant) => Value::of_static(constant),
                Instruction::Aggregate(index) => results[*index],
                Instruction::Arithmetic(operator) => {
                    let right = stack.pop().unwrap_or(Value::Nil);
                    calculate_scalars(*operator, stack.pop().unwrap_or(Value::Nil), right)
                }
            };
            stack.push(value);
        }
        match stack[..] {
            [left, right] => compare(self.operator, left, right).is_bool(true),
            _ => false,
        }
    }
}

impl AggregatePlan {
    fn compile(aggregate: &Aggregate, name: String, patterns: &Patterns) -> Self {
        Self {
            operator: aggregate.operator,
            argument: aggregate.argument.as_ref().map(|it| Program::compile(it, patterns)),
            name,
        }
    }
}

/// Arithmetic between scalars. Sums and differences of durations are durations, and so is a duration times or divided
/// by a number. Everything else is as for values of a span.
fn calculate_scalars<'a>(
    operator: ArithmeticOperator,
    left: Value<'a>,
    right: Value<'a>,
) -> Value<'a> {
    use ArithmeticOperator::{Add, Divide, Modulo, Multiply, Subtract};
    let number = |value| match value {
        Value::Int(value) => Some(value as f64),
        Value::Float(value) => Some(value),
        _ => None,
    };
    let scaled = |operator, duration: i64, factor| {
        Value::Duration(calculate_float(operator, duration as f64, factor) as i64)
    };
    match (left, operator, right) {
        (Value::Duration(left), Add, Value::Duration(right)) => {
            Value::Duration(left.wrapping_add(right))
        }
        (Value::Duration(left), Subtract, Value::Duration(right)) => {
            Value::Duration(left.wrapping_sub(right))
        }
        (Value::Duration(left), Modulo, Value::Duration(right)) => {
            left.checked_rem(right).map_or(Value::Nil, Value::Duration)
        }
        (Value::Duration(_), Divide, Value::Int(0)) => Value::Nil,
        (Value::Duration(duration), Multiply | Divide, factor) if number(factor).is_some() => {
            scaled(operator, duration, number(factor).unwrap_or(f64::NAN))
        }
        (factor, Multiply, Value::Duration(duration)) if number(factor).is_some() => {
            scaled(operator, duration, number(factor).unwrap_or(f64::NAN))
        }
        _ => calculate(operator, left, right),
    }
}

/// The running state of one aggregate over one spanset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accumulator {
    count: u64,
    kinds: Kinds,
    /// Sum of ints and durations.
    whole: i128,
    /// Sum of floats, and what its rounding lost: the order of spans must not matter.
    fraction: f64,
    lost: f64,
    extreme: Option<Value<'static>>,
}

/// Which types of number were added.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    int: bool,
    float: bool,
    duration: bool,
}

impl Accumulator {
    /// Adds a value. Values that are not numbers are ignored.
    pub(crate) fn add(&mut self, operator: AggregateOperator, value: Value<'_>) {
        let value = match value {
            Value::Int(value) => {
                self.kinds.int = true;
                self.whole += i128::from(value);
                Value::Int(value)
            }
            Value::Duration(value) => {
                self.kinds.duration = true;
                self.whole += i128::from(value);
                Value::Duration(value)
            }
            Value::Float(value) => {
                self.kinds.float = true;
                self.add_float(value);
                Value::Float(value)
            }
            _ => return,
        };
        self.count += 1;
        let better = match operator {
            AggregateOperator::Min => ComparisonOperator::Less,
            AggregateOperator::Max => ComparisonOperator::Greater,
            _ => return,
        };
        let is_nan = |best| matches!(best, Value::Float(best) if best.is_nan());
        let replaces = |best| is_nan(best) || compare(better, value, best).is_bool(true);
        if self.extreme.is_none_or(replaces) {
            self.extreme = Some(value);
        }
    }

    /// Neumaier's summation; infinities lose nothing.
    fn add_float(&mut self, value: f64) {
        let sum = self.fraction + value;
        if sum.is_finite() {
            self.lost += match self.fraction.abs() >= value.abs() {
                true => (self.fraction - sum) + value,
                false => (value - sum) + self.fraction,
            };
        }
        self.fraction = sum;
    }

    /// The result; nil if no value was added.
    pub(crate) fn result(&self, operator: AggregateOperator) -> Value<'static> {
        let only_durations = self.kinds.duration && !self.kinds.int && !self.kinds.float;
        let only_ints = self.kinds.int && !self.kinds.duration && !self.kinds.float;
        let sum = self.whole as f64 + (self.fraction + self.lost);
        match operator {
            AggregateOperator::Count => Value::Int(self.count as i64),
            _ if self.count == 0 => Value::Nil,
            AggregateOperator::Min | AggregateOperator::Max => self.extreme.unwrap_or(Value::Nil),
            AggregateOperator::Sum if only_durations => Value::Duration(self.whole as i64),
            AggregateOperator::Sum if only_ints => Value::Int(self.whole as i64),
            AggregateOperator::Sum => Value::Float(sum),
            AggregateOperator::Avg if only_durations => {
                Value::Duration((self.whole / i128::from(self.count)) as i64)
            }
            AggregateOperator::Avg => Value::Float(sum / self.count as f64),
        }
    }
}
