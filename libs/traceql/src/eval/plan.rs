//! Filters as trees of bitmaps.
//!
//! An expression is compiled for the question "for which spans does it have the boolean value `wanted`?". So `!` costs
//! nothing: for a span where the expression is neither true nor false, both questions are answered with no.
//!
//! Events and links: a filter asks whether *some* event (or link) of the span makes it true. This question can be
//! passed down through `||`, and through `&&` if its operands refer to different tables. Conditions that must hold for
//! the same event are evaluated over the rows of the event table ([`Plan::Some`]), and the result is then reduced to
//! spans. A span without events is evaluated once, with every condition on events undecided: so is what they do not
//! leave to the other conditions. Only expressions that
//! combine an event and a link are evaluated span by span.

mod children;

use tactus_work::tick;

use super::bitmap::Bitmap;
use super::condition::{Condition, Test};
use super::operand::{Table, table_of};
use super::program::Program;
use super::view::BatchView;
use crate::compiled_regex::Patterns;
use crate::{Attribute, FieldExpression, LogicalOperator, UnaryOperator};

/// A compiled filter: which spans satisfy it.
#[derive(Debug)]
pub(crate) enum Plan {
    /// All spans or none.
    Constant(bool),
    /// The spans for which a condition holds; with `inverted`, those for which it does not hold.
    Condition { condition: Condition, inverted: bool },
    /// Spans in all of these.
    All(Vec<Plan>),
    /// Spans in any of these.
    Any(Vec<Plan>),
    /// Spans not in this.
    Complement(Box<Plan>),
    /// Spans with a row in `table` (events or links) for which this holds.
    Some { table: Table, plan: Box<Plan> },
    /// Spans, or rows of the table that is being evaluated, for which the program returns `wanted`.
    Program { program: Program, wanted: bool },
    /// As `plan`, unless the view already has the result from an earlier step.
    Step { slot: usize, plan: Box<Plan> },
}

/// What is evaluated: spans, or the events or links of spans.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Spans,
    Events,
    Links,
}

impl Plan {
    /// Compiles an expression into a plan for the spans for which it is true.
    pub(crate) fn compile(expression: &FieldExpression, patterns: &Patterns) -> Self {
        compile(expression, true, Rows::Spans, patterns)
    }

    /// The spans of the batch that satisfy the filter. Only spans of `mask` matter; others may or may not be in the
    /// result.
    pub(crate) fn evaluate(&self, view: &BatchView<'_>, mask: &Bitmap) -> Bitmap {
        match self {
            Plan::Constant(true) => Bitmap::all(view.spans()),
            Plan::Constant(false) => Bitmap::none(view.spans()),
            Plan::Condition { condition, inverted } => {
                let mut bits = spread(condition, view, mask);
                if *inverted {
                    bits.invert();
                }
                bits
            }
            Plan::All(plans) => {
                let mut result = mask.clone();
                for plan in by_cost(plans) {
                    if result.is_empty() || tick(units(view)) {
                        break;
                    }
                    let bits = plan.evaluate(view, &result);
                    result.intersect(&bits);
                }
                result
            }
            Plan::Any(plans) => {
                let mut result = Bitmap::none(view.spans());
                let mut open = mask.clone();
                for plan in by_cost(plans) {
                    if tick(units(view)) {
                        break;
                    }
                    let bits = plan.evaluate(view, &open);
                    result.unite(&bits);
                    open.subtract(&bits);
                    if open.is_empty() {
                        break;
                    }
                }
                result
            }
            Plan::Complement(plan) => {
                let mut bits = plan.evaluate(view, mask);
                bits.invert();
                bits
            }
            Plan::Some { table, plan } => children::some_row(plan, *table, view, mask),
            Plan::Program { program, wanted } => run_program(program, *wanted, view, mask),
            Plan::Step { slot, plan } => match view.known(*slot) {
                Some(bits) => bits.clone(),
                None => plan.evaluate(view, mask),
            },
        }
    }

    /// True if no span of any batch satisfies the filter.
    pub(crate) fn is_never(&self) -> bool {
        match self {
            Plan::Constant(value) => !value,
            Plan::All(plans) => plans.iter().any(Plan::is_never),
            Plan::Any(plans) => plans.iter().all(Plan::is_never),
            Plan::Step { plan, .. } => plan.is_never(),
            _ => false,
        }
    }

    /// How many conditions a span must satisfy at once.
    pub(crate) fn conditions(&self) -> usize {
        match self {
            Plan::Constant(_) => 0,
            Plan::All(plans) => plans.iter().map(Plan::conditions).sum(),
            Plan::Any(plans) => plans.iter().map(Plan::conditions).min().unwrap_or(0),
            Plan::Some { plan, .. } | Plan::Step { plan, .. } => plan.conditions(),
            Plan::Condition { .. } | Plan::Complement(_) | Plan::Program { .. } => 1,
        }
    }

    /// Shows every attribute that the plan reads.
    pub(crate) fn for_each_attribute(&self, visit: &mut impl FnMut(&Attribute)) {
        match self {
            Plan::Constant(_) => {}
            Plan::Condition { condition, .. } => visit(&condition.attribute),
            Plan::All(plans) | Plan::Any(plans) => {
                plans.iter().for_each(|plan| plan.for_each_attribute(visit));
            }
            Plan::Complement(plan) | Plan::Some { plan, .. } | Plan::Step { plan, .. } => {
                plan.for_each_attribute(visit);
            }
            Plan::Program { program, .. } => program.attributes.iter().for_each(visit),
        }
    }

    /// 0 for columns, 1 for regular expressions, 2 for programs that run row by row.
    fn cost(&self) -> u8 {
        match self {
            Plan::Constant(_) => 0,
            Plan::Condition { condition, .. } => {
                u8::from(matches!(condition.test, Test::Regex { .. }))
            }
            Plan::All(plans) | Plan::Any(plans) => plans.iter().map(Plan::cost).max().unwrap_or(0),
            Plan::Complement(plan) | Plan::Some { plan, .. } | Plan::Step { plan, .. } => {
                plan.cost()
            }
            Plan::Program { .. } => 2,
        }
    }
}

/// Runs a program on each span of `mask`.
fn run_program(program: &Program, wanted: bool, view: &BatchView<'_>, mask: &Bitmap) -> Bitmap {
    let bound = program.bind(view);
    let mut bits = Bitmap::none(view.spans());
    for span in mask.rows() {
        if tick(1) {
            break;
        }
        if bound.holds_for_some_rows(span, wanted) {
            bits.insert(span);
        }
    }
    bits
}

/// Units of work that a pass over all spans counts as.
pub(crate) fn units(view: &BatchView<'_>) -> u32 {
    1 + (view.spans() / 16) as u32
}

fn by_cost(plans: &[Plan]) -> Vec<&Plan> {
    let mut ordered: Vec<&Plan> = plans.iter().collect();
    ordered.sort_by_key(|plan| plan.cost());
    ordered
}

/// The result of a condition for the spans of a mask, computed in the table of its operand.
fn spread(condition: &Condition, view: &BatchView<'_>, mask: &Bitmap) -> Bitmap {
    let rows = condition.rows(view);
    let spans = &view.batch.spans;
    match table_of(&condition.attribute) {
        Table::Trace => rows.gather_among(&spans.trace, mask),
        Table::Resource => rows.gather_among(&spans.resource, mask),
        Table::Scope => rows.gather_among(&spans.scope, mask),
        Table::Span | Table::Event | Table::Link => rows,
    }
}

fn compile(expression: &FieldExpression, wanted: bool, rows: Rows, patterns: &Patterns) -> Plan {
    let tables = ChildTables::of(expression);
    if rows == Rows::Spans && (tables.events || tables.links) {
        return compile_children(expression, wanted, tables, patterns);
    }
    match expression {
        FieldExpression::Unary { operator: UnaryOperator::Not, operand } => {
            compile(operand, !wanted, rows, patterns)
        }
        FieldExpression::Logical { operator, operands } => {
            let compiled = operands.iter().map(|it| compile(it, true, rows, patterns)).collect();
            let plan = match operator {
                LogicalOperator::And => Plan::All(compiled),
                LogicalOperator::Or => Plan::Any(compiled),
            };
            if wanted { plan } else { Plan::Complement(Box::new(plan)) }
        }
        FieldExpression::Binary { operator, left, right } => {
            match Condition::of_binary(*operator, left, right, patterns) {
                Some(condition) => Plan::Condition { condition, inverted: !wanted },
                None => compile_program(expression, wanted, patterns),
            }
        }
        FieldExpression::Attribute(attribute) => Plan::Condition {
            condition: condition(attribute, Test::IsBool(wanted)),
            inverted: false,
        },
        FieldExpression::Unary {
            operator: operator @ (UnaryOperator::Exists | UnaryOperator::NotExists),
            operand,
        } => match &**operand {
            FieldExpression::Attribute(attribute) => Plan::Condition {
                condition: condition(attribute, Test::Exists),
                inverted: wanted != (*operator == UnaryOperator::Exists),
            },
            _ => compile_program(expression, wanted, patterns),
        },
        _ => compile_program(expression, wanted, patterns),
    }
}

fn condition(attribute: &Attribute, test: Test) -> Condition {
    Condition { attribute: attribute.clone(), test }
}

fn compile_program(expression: &FieldExpression, wanted: bool, patterns: &Patterns) -> Plan {
    let program = Program::compile(expression, patterns);
    match program.constant() {
        Some(value) => Plan::Constant(value.is_bool(wanted)),
        None => Plan::Program { program, wanted },
    }
}

/// Which of the tables below spans an expression refers to.
#[derive(Clone, Copy, Default)]
struct ChildTables {
    events: bool,
    links: bool,
}

impl ChildTables {
    fn of(expression: &FieldExpression) -> Self {
        let mut tables = Self::default();
        expression.for_each_attribute(&mut |attribute| {
            tables.events |= attribute.is_event();
            tables.links |= attribute.is_link();
        });
        tables
    }
}

/// Compiles an expression that refers to events or links, for spans.
fn compile_children(
    expression: &FieldExpression,
    wanted: bool,
    tables: ChildTables,
    patterns: &Patterns,
) -> Plan {
    match expression {
        FieldExpression::Unary { operator: UnaryOperator::Not, operand } => {
            return compile(operand, !wanted, Rows::Spans, patterns);
        }
        FieldExpression::Logical { operator: LogicalOperator::Or, operands } if wanted => {
            let plans = operands.iter().map(|it| compile(it, true, Rows::Spans, patterns));
            return Plan::Any(plans.collect());
        }
        FieldExpression::Logical { operator: LogicalOperator::And, operands } if wanted => {
            return compile_conjunction(operands, patterns);
        }
        _ => {}
    }
    match tables {
        ChildTables { events: true, links: false } => {
            some(Table::Event, expression, wanted, patterns)
        }
        ChildTables { events: false, links: true } => {
            some(Table::Link, expression, wanted, patterns)
        }
        _ => compile_program(expression, wanted, patterns),
    }
}

fn some(table: Table, expression: &FieldExpression, wanted: bool, patterns: &Patterns) -> Plan {
    let rows = if table == Table::Event { Rows::Events } else { Rows::Links };
    Plan::Some { table, plan: Box::new(compile(expression, wanted, rows, patterns)) }
}

/// Compiles an `&&`: operands about events must hold for the same event, operands about links for the same link.
fn compile_conjunction(operands: &[FieldExpression], patterns: &Patterns) -> Plan {
    let mut flat = Vec::new();
    flatten(operands, &mut flat);
    let tables: Vec<_> = flat.iter().map(|operand| ChildTables::of(operand)).collect();
    let tied = tables.iter().any(|tables| tables.events && tables.links);
    let (mut plans, mut events, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for (operand, tables) in flat.iter().zip(&tables) {
        match tables {
            ChildTables { events: false, links: false } => {
                plans.push(compile(operand, true, Rows::Spans, patterns));
            }
            _ if tied => events.push(*operand),
            ChildTables { events: true, .. } => events.push(*operand),
            _ => links.push(*operand),
        }
    }
    if tied {
        let together = FieldExpression::Logical {
            operator: LogicalOperator::And,
            operands: events.into_iter().cloned().collect(),
        };
        let program = Program::compile(&together, patterns);
        plans.push(Plan::Program { program, wanted: true });
        return Plan::All(plans);
    }
    for (table, rows, operands) in
        [(Table::Event, Rows::Events, events), (Table::Link, Rows::Links, links)]
    {
        if !operands.is_empty() {
            let compiled = operands.iter().map(|it| compile(it, true, rows, patterns)).collect();
            plans.push(Plan::Some { table, plan: Box::new(Plan::All(compiled)) });
        }
    }
    Plan::All(plans)
}

fn flatten<'e>(operands: &'e [FieldExpression], flat: &mut Vec<&'e FieldExpression>) {
    for operand in operands {
        match operand {
            FieldExpression::Logical { operator: LogicalOperator::And, operands } => {
                flatten(operands, flat);
            }
            _ => flat.push(operand),
        }
    }
}
