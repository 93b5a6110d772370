//! Chooses the span attributes that an answer shows.

use std::collections::HashMap;

use tactus_model::Projection;

use super::condition::{Condition, Test};
use super::matches::AttributeValue;
use super::operand::{Operand, Pick, Place, Table, project};
use super::texts::Texts;
use super::value::Value;
use super::view::BatchView;
use crate::ast::PipelinePart;
use crate::compiled_regex::Patterns;
use crate::{Attribute, FieldExpression, Intrinsic, Pipeline, UnaryOperator};

/// One attribute that the query refers to.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) attribute: Attribute,
    /// Used as a value somewhere.
    always: bool,
    /// Comparisons with constants.
    tests: Vec<Test>,
}

/// An attribute with the columns of a batch.
pub(crate) struct BoundShown<'v> {
    shown: &'v Shown,
    operand: Operand<'v>,
    view: &'v BatchView<'v>,
}

impl Shown {
    /// The attributes of a pipeline that answers may show, in order of first reference.
    pub(crate) fn of_pipeline(pipeline: &Pipeline, patterns: &Patterns) -> Vec<Self> {
        let mut collector = Collector { shown: Vec::new(), places: HashMap::new(), patterns };
        pipeline.for_each_part(&mut |part| match part {
            PipelinePart::Expression(expression) => collect_expression(expression, &mut collector),
            PipelinePart::Selected(attribute) => collector.entry(attribute).always = true,
            PipelinePart::Operator(_) => {}
        });
        collector.shown.retain(|shown| !is_hidden(&shown.attribute));
        collector.shown
    }

    /// Widens a projection by the attribute's columns.
    pub(crate) fn project(&self, columns: &mut Projection) {
        project(&self.attribute, columns);
    }

    /// True for the span's name, which has a field of its own.
    pub(crate) fn is_name(&self) -> bool {
        self.attribute == Attribute::Intrinsic(Intrinsic::Name)
    }

    pub(crate) fn bind<'v>(&'v self, view: &'v BatchView<'v>) -> BoundShown<'v> {
        BoundShown { shown: self, operand: Operand::bind(&self.attribute, view), view }
    }
}

/// Attributes that are in separate fields of answers, or not in answers at all.
fn is_hidden(attribute: &Attribute) -> bool {
    matches!(
        attribute,
        Attribute::Intrinsic(
            Intrinsic::Duration
                | Intrinsic::TraceDuration
                | Intrinsic::TraceRootName
                | Intrinsic::TraceRootService
                | Intrinsic::TraceId
                | Intrinsic::SpanId
                | Intrinsic::Parent
        )
    )
}

/// Attributes in order of first reference.
struct Collector<'p> {
    shown: Vec<Shown>,
    places: HashMap<Attribute, usize>,
    patterns: &'p Patterns,
}

impl Collector<'_> {
    fn entry(&mut self, attribute: &Attribute) -> &mut Shown {
        let place = *self.places.entry(attribute.clone()).or_insert_with(|| {
            let attribute = attribute.clone();
            self.shown.push(Shown { attribute, always: false, tests: Vec::new() });
            self.shown.len() - 1
        });
        &mut self.shown[place]
    }
}

fn collect_expression(expression: &FieldExpression, collector: &mut Collector<'_>) {
    match expression {
        FieldExpression::Static(_) => {}
        FieldExpression::Attribute(attribute) => collector.entry(attribute).always = true,
        FieldExpression::Unary { operator: UnaryOperator::NotExists, operand }
            if matches!(**operand, FieldExpression::Attribute(_)) =>
        {
            // This holds for spans without the attribute, so there is nothing to show, but it keeps its place in the
            // order.
            operand.for_each_attribute(&mut |attribute| {
                collector.entry(attribute);
            });
        }
        FieldExpression::Unary { operand, .. } => collect_expression(operand, collector),
        FieldExpression::Binary { operator, left, right } => {
            match Condition::of_binary(*operator, left, right, collector.patterns) {
                Some(condition) => {
                    collector.entry(&condition.attribute).tests.push(condition.test);
                }
                None => {
                    collect_expression(left, collector);
                    collect_expression(right, collector);
                }
            }
        }
        FieldExpression::Logical { operands, .. } => {
            operands.iter().for_each(|operand| collect_expression(operand, collector));
        }
    }
}

impl<'v> BoundShown<'v> {
    /// The attribute's key in answers.
    pub(crate) fn key(&self) -> &'v str {
        self.shown.attribute.key()
    }

    pub(crate) fn is_name(&self) -> bool {
        self.shown.is_name()
    }

    /// Comparisons that may be made for a value.
    pub(crate) fn tests(&self) -> u32 {
        u32::try_from(self.shown.tests.len()).unwrap_or(u32::MAX)
    }

    /// What the answer shows for a span; `None` if the span has no value, or no comparison is true for it.
    pub(crate) fn value(&self, span: usize, texts: &mut Texts<'v>) -> Option<AttributeValue> {
        AttributeValue::of(self.raw_value(span)?, texts)
    }

    fn raw_value(&self, span: usize) -> Option<Value<'v>> {
        let batch = self.view.batch;
        let rows = match self.operand.table {
            _ if self.shown.always => None,
            Table::Event => Some(batch.events.range(span)),
            Table::Link => Some(batch.links.range(span)),
            _ => None,
        };
        let passes = |value: &Value<'v>| {
            self.shown.always || self.shown.tests.iter().any(|test| test.holds(*value))
        };
        match rows {
            None => Some(self.operand.value(Place::of_span(span))).filter(passes),
            Some(mut rows) => rows.find_map(|row| {
                let place = Place { span, event: Pick::Row(row), link: Pick::Row(row) };
                Some(self.operand.value(place)).filter(passes)
            }),
        }
    }
}
