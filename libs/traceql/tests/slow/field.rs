//! Field expressions on one span.

use tactus_traceql::{
    Attribute, AttributeScope, BinaryOperator, ComparisonOperator, FieldExpression, Intrinsic,
    Kind, LogicalOperator, Static, Status,
};

use super::batches::{Event, Link};
use super::calculate::{arithmetic, compare, regex, unary};
use super::value::Value;
use super::world::{World, find};

/// Which of a span's events (or links) an operand means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// This one.
    One(usize),
    /// The span has none.
    Absent,
    /// The first that carries a value.
    First,
}

/// A span, and its event and link.
#[derive(Clone, Copy)]
pub(crate) struct Place<'w> {
    pub(crate) world: &'w World<'w>,
    pub(crate) row: usize,
    pub(crate) event: Choice,
    pub(crate) link: Choice,
}

/// The choices a filter has among `count` events or links.
fn choices(count: usize) -> Vec<Choice> {
    match count {
        0 => vec![Choice::Absent],
        _ => (0..count).map(Choice::One).collect(),
    }
}

impl World<'_> {
    /// The places of a span that a filter or a comparison may look at.
    pub(crate) fn places(&self, row: usize) -> Vec<Place<'_>> {
        let span = self.spans[row].span;
        let links = choices(span.links.len());
        choices(span.events.len())
            .into_iter()
            .flat_map(|event| links.iter().map(move |&link| (event, link)))
            .map(|(event, link)| Place { world: self, row, event, link })
            .collect()
    }

    /// Whether a filter keeps the span: some choice of one event and one link makes it true.
    pub(crate) fn holds(&self, expression: &FieldExpression, row: usize) -> bool {
        self.places(row).iter().any(|place| place.value(expression).holds())
    }

    /// The value of an expression used as a value.
    pub(crate) fn value(&self, expression: &FieldExpression, row: usize) -> Value {
        let place = Place { world: self, row, event: Choice::First, link: Choice::First };
        place.value(expression)
    }
}

impl Place<'_> {
    pub(crate) fn value(&self, expression: &FieldExpression) -> Value {
        match expression {
            FieldExpression::Static(value) => Value::One(value.clone()),
            FieldExpression::Attribute(attribute) => self.attribute(attribute),
            FieldExpression::Unary { operator, operand } => unary(*operator, &self.value(operand)),
            FieldExpression::Logical { operator, operands } => {
                let values: Vec<Value> = operands.iter().map(|it| self.value(it)).collect();
                let decides = *operator == LogicalOperator::Or;
                if values.iter().any(|it| *it != Value::NoRow && it.holds() == decides) {
                    return Value::truth(decides);
                }
                match values.contains(&Value::NoRow) {
                    true => Value::NoRow,
                    false => Value::truth(!decides),
                }
            }
            FieldExpression::Binary { operator, left, right } => {
                let (left_value, right_value) = (self.value(left), self.value(right));
                match operator {
                    BinaryOperator::Arithmetic(it) => arithmetic(*it, &left_value, &right_value),
                    BinaryOperator::Regex => regex(false, &left_value, &right_value),
                    BinaryOperator::NotRegex => regex(true, &left_value, &right_value),
                    BinaryOperator::Comparison(operator) => {
                        let digits = id_digits(left).or(id_digits(right));
                        match (operator, digits) {
                            (ComparisonOperator::Equal | ComparisonOperator::NotEqual, Some(n)) => {
                                compare(
                                    *operator,
                                    &id_form(left_value, n),
                                    &id_form(right_value, n),
                                )
                            }
                            _ => compare(*operator, &left_value, &right_value),
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn attribute(&self, attribute: &Attribute) -> Value {
        let known = &self.world.spans[self.row];
        let (scope, parent, name) = match attribute {
            Attribute::Intrinsic(intrinsic) => return self.intrinsic(*intrinsic),
            Attribute::Named { scope, parent, name } => (scope, *parent, name),
        };
        let known = match (parent, known.parent) {
            (false, _) => known,
            (true, Some(parent)) => &self.world.spans[parent],
            (true, None) => return Value::Nil,
        };
        match scope {
            AttributeScope::Span => find(&known.span.attributes, name),
            AttributeScope::Resource => find(&known.group.resource, name),
            AttributeScope::Instrumentation => find(&known.group.scope, name),
            AttributeScope::Unscoped => {
                match known.span.attributes.iter().any(|(key, _)| **key == **name) {
                    true => find(&known.span.attributes, name),
                    false => find(&known.group.resource, name),
                }
            }
            AttributeScope::Event => self.of_event(|event| find(&event.attributes, name)),
            AttributeScope::Link => self.of_link(|link| find(&link.attributes, name)),
        }
    }

    fn of_event(&self, value: impl Fn(&Event) -> Value) -> Value {
        pick(&self.world.spans[self.row].span.events, self.event, value)
    }

    fn of_link(&self, value: impl Fn(&Link) -> Value) -> Value {
        pick(&self.world.spans[self.row].span.links, self.link, value)
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Value {
        let known = &self.world.spans[self.row];
        let span = known.span;
        let duration = |nanos: u64| Value::One(Static::Duration(nanos as i64));
        match intrinsic {
            Intrinsic::Duration => duration(span.duration),
            Intrinsic::Name => Value::text(&span.name),
            Intrinsic::StatusMessage => Value::text(&span.message),
            Intrinsic::Status => Value::One(Static::Status(match span.status {
                1 => Status::Ok,
                2 => Status::Error,
                _ => Status::Unset,
            })),
            Intrinsic::Kind => Value::One(Static::Kind(match span.kind {
                1 => Kind::Internal,
                2 => Kind::Server,
                3 => Kind::Client,
                4 => Kind::Producer,
                5 => Kind::Consumer,
                _ => Kind::Unspecified,
            })),
            Intrinsic::Parent => known.parent.map_or(Value::Nil, |_| Value::truth(true)),
            Intrinsic::SpanId => Value::text(&format!("{:016x}", span.id)),
            Intrinsic::SpanParentId => Value::text(&format!("{:016x}", span.parent)),
            Intrinsic::SpanChildCount => Value::int(self.world.child_count(self.row) as i64),
            Intrinsic::NestedSetParent => Value::int(match &known.ancestors {
                None => 0,
                Some(ancestors) if ancestors.is_empty() => -1,
                Some(_) => self.left_number(known.parent),
            }),
            Intrinsic::NestedSetLeft => Value::int(self.left_number(Some(self.row))),
            Intrinsic::NestedSetRight => Value::int(self.left_number(Some(self.row))),
            Intrinsic::TraceDuration => {
                let (start, end) = self.world.times(span.trace);
                duration(end - start)
            }
            Intrinsic::TraceRootService => Value::text(&self.world.root(span.trace).0),
            Intrinsic::TraceRootName => Value::text(&self.world.root(span.trace).1),
            Intrinsic::TraceId => Value::text(&format!("{:x}", span.trace)),
            Intrinsic::EventName => self.of_event(|event| Value::text(&event.name)),
            Intrinsic::EventTimeSinceStart => self.of_event(|event| duration(event.offset)),
            Intrinsic::LinkTraceId => {
                self.of_link(|link| Value::text(&format!("{:x}", link.trace)))
            }
            Intrinsic::LinkSpanId => self.of_link(|link| Value::text(&format!("{:016x}", link.id))),
            Intrinsic::InstrumentationName => Value::text(&known.group.scope_name),
            Intrinsic::InstrumentationVersion => Value::text(&known.group.scope_version),
        }
    }

    /// The order of siblings decides the numbers, so that queries can rely only on 0 for unknown positions and on
    /// positive numbers elsewhere: 1 stands for all of these.
    fn left_number(&self, row: Option<usize>) -> i64 {
        let known = row.and_then(|row| self.world.spans[row].ancestors.as_ref());
        i64::from(known.is_some())
    }
}

fn pick<T>(all: &[T], choice: Choice, value: impl Fn(&T) -> Value) -> Value {
    match choice {
        Choice::Absent => Value::NoRow,
        Choice::One(index) => value(&all[index]),
        Choice::First => {
            all.iter().map(value).find(|value| *value != Value::Nil).unwrap_or(Value::Nil)
        }
    }
}

/// The least number of digits of the ids that an intrinsic yields.
fn id_digits(expression: &FieldExpression) -> Option<usize> {
    let FieldExpression::Attribute(Attribute::Intrinsic(intrinsic)) = expression else {
        return None;
    };
    match intrinsic {
        Intrinsic::TraceId | Intrinsic::LinkTraceId => Some(0),
        Intrinsic::SpanId | Intrinsic::SpanParentId | Intrinsic::LinkSpanId => Some(16),
        _ => None,
    }
}

/// Ids are equal whatever their case and leading zeros.
fn id_form(value: Value, digits: usize) -> Value {
    match value {
        Value::One(Static::String(text)) => {
            let text = String::from_utf8_lossy(&text).to_lowercase();
            Value::text(&format!("{:0>digits$}", text.trim_start_matches('0')))
        }
        other => other,
    }
}
