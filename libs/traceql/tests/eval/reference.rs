//! A slow evaluator that follows the language's rules word by word, one span at a time.

use std::collections::BTreeSet;

use tactus_model::nested_set::NestedSet;
use tactus_model::{SpanId, TraceId};
use tactus_traceql::{
    Attribute, AttributeScope, BinaryOperator, ComparisonOperator, FieldExpression, Intrinsic,
    Kind, LogicalOperator, Relation, RelationMode, SpansetExpression, SpansetOperator, Static,
    Status,
};

use super::batches::{Attributes, Event, Group, Link, Span};
use crate::slow::calculate;
use crate::slow::value::Value;

/// A span with what surrounds it. Positions are those of the trace in order of arrival.
struct Known<'g> {
    group: &'g Group,
    span: &'g Span,
    /// Left, right, parent.
    position: (i32, i32, i32),
}

pub(crate) struct World<'g> {
    spans: Vec<Known<'g>>,
}

impl<'g> World<'g> {
    pub(crate) fn new(groups: &'g [Group]) -> Self {
        let mut spans: Vec<Known<'g>> = groups
            .iter()
            .flat_map(|group| group.spans.iter().map(move |span| (group, span)))
            .map(|(group, span)| Known { group, span, position: (0, 0, 0) })
            .collect();
        let traces: BTreeSet<u128> = spans.iter().map(|known| known.span.trace).collect();
        for trace in traces {
            let rows: Vec<usize> =
                (0..spans.len()).filter(|&row| spans[row].span.trace == trace).collect();
            let id = |id: u64| SpanId(id.to_be_bytes());
            let ids: Vec<_> = rows.iter().map(|&row| id(spans[row].span.id)).collect();
            let parents: Vec<_> = rows.iter().map(|&row| id(spans[row].span.parent)).collect();
            let kinds: Vec<_> = rows.iter().map(|&row| spans[row].span.kind).collect();
            let mut set = NestedSet::default();
            set.compute(&ids, &parents, &kinds);
            for (place, &row) in rows.iter().enumerate() {
                spans[row].position = (set.left[place], set.right[place], set.parent[place]);
            }
        }
        Self { spans }
    }

    /// The matched spans as (trace, span id).
    pub(crate) fn search(&self, spanset: &SpansetExpression) -> BTreeSet<(u128, u64)> {
        let traces: BTreeSet<u128> = self.spans.iter().map(|known| known.span.trace).collect();
        let found = traces.iter().flat_map(|&trace| self.spanset(spanset, trace));
        found.map(|row| (self.spans[row].span.trace, self.spans[row].span.id)).collect()
    }

    fn spanset(&self, spanset: &SpansetExpression, trace: u128) -> BTreeSet<usize> {
        match spanset {
            SpansetExpression::Filter(filter) => (0..self.spans.len())
                .filter(|&row| self.spans[row].span.trace == trace)
                .filter(|&row| self.holds(&filter.expression, row))
                .collect(),
            SpansetExpression::Pipeline(_) => panic!("not generated"),
            SpansetExpression::Binary { operator, left, right } => {
                let (left, right) = (self.spanset(left, trace), self.spanset(right, trace));
                match operator {
                    SpansetOperator::And if left.is_empty() || right.is_empty() => BTreeSet::new(),
                    SpansetOperator::And | SpansetOperator::Or => &left | &right,
                    SpansetOperator::Structural(relation, mode) => {
                        self.structural(*relation, *mode, &left, &right)
                    }
                }
            }
        }
    }

    fn structural(
        &self,
        relation: Relation,
        mode: RelationMode,
        left: &BTreeSet<usize>,
        right: &BTreeSet<usize>,
    ) -> BTreeSet<usize> {
        let related = |l: usize, r: usize| {
            let (l_left, l_right, l_parent) = self.spans[l].position;
            let (r_left, r_right, r_parent) = self.spans[r].position;
            l_left != 0
                && r_left != 0
                && match relation {
                    Relation::Child => l_left == r_parent,
                    Relation::Parent => l_parent == r_left,
                    Relation::Descendant => r_left > l_left && r_right < l_right,
                    Relation::Ancestor => l_left > r_left && l_right < r_right,
                    Relation::Sibling => l_parent == r_parent && l_parent != 0 && l != r,
                }
        };
        let mut result = BTreeSet::new();
        for &r in right {
            if left.iter().any(|&l| related(l, r)) != (mode == RelationMode::Negated) {
                result.insert(r);
            }
        }
        if mode == RelationMode::Union {
            for &l in left {
                if right.iter().any(|&r| related(l, r)) {
                    result.insert(l);
                }
            }
        }
        result
    }

    /// Some choice of one event and one link makes the expression true.
    fn holds(&self, expression: &FieldExpression, row: usize) -> bool {
        let span = self.spans[row].span;
        let mut events: Vec<Option<&Event>> = span.events.iter().map(Some).collect();
        let mut links: Vec<Option<&Link>> = span.links.iter().map(Some).collect();
        if events.is_empty() {
            events.push(None);
        }
        if links.is_empty() {
            links.push(None);
        }
        events.iter().any(|event| {
            links.iter().any(|link| {
                let place = Place { world: self, row, event: *event, link: *link };
                place.value(expression).holds()
            })
        })
    }

    fn parent(&self, row: usize) -> Option<usize> {
        let span = self.spans[row].span;
        (0..self.spans.len()).find(|&other| {
            let candidate = self.spans[other].span;
            span.parent != 0
                && other != row
                && candidate.trace == span.trace
                && candidate.id == span.parent
        })
    }
}

struct Place<'w> {
    world: &'w World<'w>,
    row: usize,
    event: Option<&'w Event>,
    link: Option<&'w Link>,
}

impl Place<'_> {
    fn value(&self, expression: &FieldExpression) -> Value {
        match expression {
            FieldExpression::Static(Static::Nil) => Value::Nil,
            FieldExpression::Static(value) => Value::One(value.clone()),
            FieldExpression::Attribute(attribute) => self.attribute(attribute),
            FieldExpression::Unary { operator, operand } => {
                calculate::unary(*operator, &self.value(operand))
            }
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
                let values = (self.value(left), self.value(right));
                let (left, right) = ids_in_one_form(*operator, left, right, values);
                match operator {
                    BinaryOperator::Arithmetic(it) => calculate::arithmetic(*it, &left, &right),
                    BinaryOperator::Comparison(it) => calculate::compare(*it, &left, &right),
                    BinaryOperator::Regex => calculate::regex(false, &left, &right),
                    BinaryOperator::NotRegex => calculate::regex(true, &left, &right),
                }
            }
        }
    }

    fn attribute(&self, attribute: &Attribute) -> Value {
        let known = &self.world.spans[self.row];
        let value = match attribute {
            Attribute::Intrinsic(intrinsic) => return self.intrinsic(*intrinsic),
            Attribute::Named { scope, parent, name } => {
                let known = match (parent, self.world.parent(self.row)) {
                    (false, _) => known,
                    (true, Some(parent)) => &self.world.spans[parent],
                    (true, None) => return Value::Nil,
                };
                let span = &known.span.attributes;
                let resource = &known.group.resource;
                match scope {
                    AttributeScope::Span => find(span, name),
                    AttributeScope::Resource => find(resource, name),
                    AttributeScope::Unscoped => find(span, name).or_else(|| find(resource, name)),
                    AttributeScope::Instrumentation => find(&known.group.scope, name),
                    AttributeScope::Event => match self.event {
                        Some(event) => find(&event.attributes, name),
                        None => return Value::NoRow,
                    },
                    AttributeScope::Link => match self.link {
                        Some(link) => find(&link.attributes, name),
                        None => return Value::NoRow,
                    },
                }
            }
        };
        value.unwrap_or(Value::Nil)
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Value {
        let known = &self.world.spans[self.row];
        let span = known.span;
        let trace = || self.world.spans.iter().filter(|other| other.span.trace == span.trace);
        let root = || {
            let roots = trace().filter(|other| other.span.parent == 0);
            roots.max_by_key(|it| (it.span.start, it.span.id, it.span.kind, &it.span.name))
        };
        let hex = |id: u64| Static::string(format!("{id:016x}"));
        Value::One(match intrinsic {
            Intrinsic::Duration => Static::Duration(span.duration as i64),
            Intrinsic::Name => Static::string(&span.name),
            Intrinsic::Status => Static::Status(match span.status {
                1 => Status::Ok,
                2 => Status::Error,
                _ => Status::Unset,
            }),
            Intrinsic::StatusMessage => Static::string(&span.message),
            Intrinsic::Kind => Static::Kind(match span.kind {
                1 => Kind::Internal,
                2 => Kind::Server,
                3 => Kind::Client,
                4 => Kind::Producer,
                5 => Kind::Consumer,
                _ => Kind::Unspecified,
            }),
            Intrinsic::Parent => match self.world.parent(self.row) {
                Some(_) => Static::Bool(true),
                None => return Value::Nil,
            },
            Intrinsic::SpanId => hex(span.id),
            Intrinsic::SpanParentId => hex(span.parent),
            Intrinsic::SpanChildCount => {
                let rows = 0..self.world.spans.len();
                let children = rows.filter(|&row| self.world.parent(row) == Some(self.row));
                Static::Int(children.count() as i64)
            }
            Intrinsic::NestedSetLeft => Static::Int(i64::from(known.position.0)),
            Intrinsic::NestedSetRight => Static::Int(i64::from(known.position.1)),
            Intrinsic::NestedSetParent => Static::Int(i64::from(known.position.2)),
            Intrinsic::TraceDuration => {
                let start = trace().map(|other| other.span.start).min().unwrap_or(0);
                let end = trace().map(|other| other.span.start + other.span.duration).max();
                Static::Duration((end.unwrap_or(0) - start) as i64)
            }
            Intrinsic::TraceRootName => {
                Static::string(root().map_or("", |root| root.span.name.as_str()))
            }
            Intrinsic::TraceRootService => {
                let service = root().and_then(|it| find(&it.group.resource, "service.name"));
                match service {
                    Some(Value::One(Static::String(text))) => Static::String(text),
                    _ => Static::string(""),
                }
            }
            Intrinsic::TraceId => trace_hex(span.trace),
            Intrinsic::EventName => match self.event {
                Some(event) => Static::string(&event.name),
                None => return Value::NoRow,
            },
            Intrinsic::EventTimeSinceStart => match self.event {
                Some(event) => Static::Duration(event.offset as i64),
                None => return Value::NoRow,
            },
            Intrinsic::LinkTraceId => match self.link {
                Some(link) => trace_hex(link.trace),
                None => return Value::NoRow,
            },
            Intrinsic::LinkSpanId => match self.link {
                Some(link) => hex(link.id),
                None => return Value::NoRow,
            },
            Intrinsic::InstrumentationName => Static::string(&known.group.scope_name),
            Intrinsic::InstrumentationVersion => Static::string(&known.group.scope_version),
        })
    }
}

fn trace_hex(id: u128) -> Static {
    Static::string(TraceId(id.to_be_bytes()).to_hex_trimmed())
}

fn find(attributes: &Attributes, name: &str) -> Option<Value> {
    attributes.iter().find(|(key, _)| key == name).map(|(_, value)| Value::of_stored(value))
}

/// Ids are compared for equality in lower case, trace ids without leading zeros, span ids with 16 digits.
fn ids_in_one_form(
    operator: BinaryOperator,
    left: &FieldExpression,
    right: &FieldExpression,
    (left_value, right_value): (Value, Value),
) -> (Value, Value) {
    let equality = matches!(
        operator,
        BinaryOperator::Comparison(ComparisonOperator::Equal | ComparisonOperator::NotEqual)
    );
    let digits = |expression: &FieldExpression| match expression {
        FieldExpression::Attribute(Attribute::Intrinsic(intrinsic)) => match intrinsic {
            Intrinsic::TraceId | Intrinsic::LinkTraceId => Some(0),
            Intrinsic::SpanId | Intrinsic::SpanParentId | Intrinsic::LinkSpanId => Some(16),
            _ => None,
        },
        _ => None,
    };
    let Some(digits) = digits(left).or_else(|| digits(right)).filter(|_| equality) else {
        return (left_value, right_value);
    };
    let one_form = |value: Value| match value {
        Value::One(Static::String(text)) => {
            let text = String::from_utf8_lossy(&text).to_lowercase();
            let trimmed = text.trim_start_matches('0');
            Value::text(&format!("{trimmed:0>digits$}"))
        }
        other => other,
    };
    (one_form(left_value), one_form(right_value))
}
