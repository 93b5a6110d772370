//! The answer to a search: traces, their spansets, and what is shown of their spans.

use std::collections::BTreeMap;

use tactus_model::{SpanId, TraceId};
use tactus_traceql::eval::{SearchOptions, ServiceStats, SpanMatch, SpanSet, TraceMatch, Window};
use tactus_traceql::{
    Attribute, BinaryOperator, FieldExpression, Intrinsic, Pipeline, PipelineStage,
    SpansetExpression, UnaryOperator,
};

use super::field::{Choice, Place};
use super::pipeline::{Spanset, SplitOperand};
use super::value::Value;
use super::world::{World, service};

const STATUS_ERROR: u8 = 2;

/// One attribute that the query refers to.
struct Reference<'q> {
    attribute: &'q Attribute,
    /// Used as a value somewhere.
    as_value: bool,
    /// Its comparisons with constants.
    comparisons: Vec<&'q FieldExpression>,
}

impl World<'_> {
    /// The answer, newest trace first.
    pub(crate) fn search(
        &self,
        pipeline: &Pipeline,
        window: Window,
        options: &SearchOptions,
    ) -> Result<Vec<TraceMatch>, SplitOperand> {
        let mut references = Vec::new();
        refer_pipeline(pipeline, &mut references);
        let mut found = Vec::new();
        for trace in self.traces() {
            let (start, end) = self.times(trace);
            let bound = |nanos| if nanos == 0 { u64::MAX } else { nanos };
            let is_outside =
                start > bound(window.end_unix_nanos) || end.max(start) < window.start_unix_nanos;
            if start != 0 && is_outside {
                continue;
            }
            let sets = self.run(pipeline, trace)?;
            if !sets.is_empty() {
                found.push(self.trace_match(trace, &sets, &references, options));
            }
        }
        found.sort_by_key(|trace| (std::cmp::Reverse(trace.start_unix_nanos), trace.trace_id));
        if options.limit > 0 {
            found.truncate(options.limit);
        }
        Ok(found)
    }

    fn trace_match(
        &self,
        trace: u128,
        sets: &[Spanset],
        references: &[Reference<'_>],
        options: &SearchOptions,
    ) -> TraceMatch {
        let (start, end) = self.times(trace);
        let (root_service_name, root_trace_name) = self.root(trace);
        let mut service_stats: BTreeMap<String, ServiceStats> = BTreeMap::new();
        for row in self.rows(trace) {
            let known = &self.spans[row];
            let stats = service_stats.entry(service(known.group)).or_default();
            stats.spans += 1;
            stats.errors += u32::from(known.span.status == STATUS_ERROR);
        }
        TraceMatch {
            trace_id: TraceId(trace.to_be_bytes()),
            root_service_name,
            root_trace_name,
            start_unix_nanos: start,
            duration_nanos: end - start,
            service_stats,
            span_sets: sets.iter().map(|set| self.span_set(set, references, options)).collect(),
        }
    }

    fn span_set(
        &self,
        set: &Spanset,
        references: &[Reference<'_>],
        options: &SearchOptions,
    ) -> SpanSet {
        let mut rows = set.rows.clone();
        rows.sort_by_key(|&row| (self.spans[row].span.start, self.spans[row].span.id));
        if options.spans_per_span_set > 0 {
            rows.truncate(options.spans_per_span_set);
        }
        SpanSet {
            matched: set.rows.len() as u32,
            attributes: set
                .attributes
                .iter()
                .map(|(key, value)| (key.as_str().into(), value.clone()))
                .collect(),
            spans: rows.into_iter().map(|row| self.span_match(row, references)).collect(),
        }
    }

    fn span_match(&self, row: usize, references: &[Reference<'_>]) -> SpanMatch {
        let span = self.spans[row].span;
        let mut shown = SpanMatch {
            span_id: SpanId(span.id.to_be_bytes()),
            name: None,
            start_unix_nanos: span.start,
            duration_nanos: span.duration,
            attributes: Vec::new(),
        };
        for reference in references {
            let Some(value) = self.shown_value(row, reference).shown() else { continue };
            if *reference.attribute == Attribute::Intrinsic(Intrinsic::Name) {
                shown.name = Some(value.to_string());
                continue;
            }
            let pair = (reference.attribute.key().into(), value);
            if !is_hidden(reference.attribute) && !shown.attributes.contains(&pair) {
                shown.attributes.push(pair);
            }
        }
        shown
    }

    fn shown_value(&self, row: usize, reference: &Reference<'_>) -> Value {
        if reference.as_value {
            let place = Place { world: self, row, event: Choice::First, link: Choice::First };
            return place.attribute(reference.attribute);
        }
        let is_true = |place: &Place<'_>| {
            reference.comparisons.iter().any(|comparison| place.value(comparison).holds())
        };
        let place = self.places(row).into_iter().find(is_true);
        place.map_or(Value::Nil, |place| place.attribute(reference.attribute))
    }
}

/// Shown in fields of their own, or not at all.
fn is_hidden(attribute: &Attribute) -> bool {
    let hidden = [
        Intrinsic::Duration,
        Intrinsic::TraceDuration,
        Intrinsic::TraceRootName,
        Intrinsic::TraceRootService,
        Intrinsic::TraceId,
        Intrinsic::SpanId,
        Intrinsic::Parent,
    ];
    hidden.iter().any(|intrinsic| *attribute == Attribute::Intrinsic(*intrinsic))
}

fn refer<'q, 'r>(
    references: &'r mut Vec<Reference<'q>>,
    attribute: &'q Attribute,
) -> &'r mut Reference<'q> {
    let known = references.iter().position(|known| known.attribute == attribute);
    let place = known.unwrap_or_else(|| {
        references.push(Reference { attribute, as_value: false, comparisons: Vec::new() });
        references.len() - 1
    });
    &mut references[place]
}

fn refer_pipeline<'q>(pipeline: &'q Pipeline, references: &mut Vec<Reference<'q>>) {
    for stage in &pipeline.stages {
        match stage {
            PipelineStage::Spanset(expression) => refer_spanset(expression, references),
            PipelineStage::By(expression) => refer_expression(expression, references),
            PipelineStage::Coalesce => {}
            PipelineStage::Select(attributes) => {
                attributes.iter().for_each(|it| refer(references, it).as_value = true);
            }
            PipelineStage::Scalar(filter) => {
                for side in [&filter.left, &filter.right] {
                    side.for_each_aggregate(&mut |aggregate| {
                        aggregate.argument.iter().for_each(|it| refer_expression(it, references));
                    });
                }
            }
        }
    }
}

fn refer_spanset<'q>(expression: &'q SpansetExpression, references: &mut Vec<Reference<'q>>) {
    match expression {
        SpansetExpression::Filter(filter) => refer_expression(&filter.expression, references),
        SpansetExpression::Pipeline(pipeline) => refer_pipeline(pipeline, references),
        SpansetExpression::Binary { left, right, .. } => {
            refer_spanset(left, references);
            refer_spanset(right, references);
        }
    }
}

fn refer_expression<'q>(expression: &'q FieldExpression, references: &mut Vec<Reference<'q>>) {
    use FieldExpression::{Attribute, Binary, Logical, Static, Unary};
    match expression {
        Static(_) => {}
        Attribute(attribute) => refer(references, attribute).as_value = true,
        Unary { operator: UnaryOperator::NotExists, operand } => match &**operand {
            // Where it holds there is nothing to show.
            Attribute(attribute) => {
                refer(references, attribute);
            }
            operand => refer_expression(operand, references),
        },
        Unary { operand, .. } => refer_expression(operand, references),
        Logical { operands, .. } => operands.iter().for_each(|it| refer_expression(it, references)),
        Binary { operator, left, right } => match (operator, &**left, &**right) {
            (BinaryOperator::Arithmetic(_), left, right) => {
                refer_expression(left, references);
                refer_expression(right, references);
            }
            (_, Attribute(attribute), Static(_))
            | (BinaryOperator::Comparison(_), Static(_), Attribute(attribute)) => {
                refer(references, attribute).comparisons.push(expression);
            }
            (_, left, right) => {
                refer_expression(left, references);
                refer_expression(right, references);
            }
        },
    }
}
