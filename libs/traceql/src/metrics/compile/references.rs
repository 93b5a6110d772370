//! The attributes that a query refers to.

use crate::{Attribute, MetricsQuery, MetricsStage, Pipeline, PipelineStage, SpansetExpression};

/// All attributes that a query refers to, each once, in order of reference.
pub(super) fn attributes_of(query: &MetricsQuery) -> Vec<Attribute> {
    let mut found: Vec<Attribute> = Vec::new();
    let mut add = |attribute: &Attribute| {
        if !found.contains(attribute) {
            found.push(attribute.clone());
        }
    };
    for_each_of_pipeline(&query.pipeline, &mut add);
    match &query.stage {
        MetricsStage::Series { function, by } => {
            function.attribute().into_iter().chain(by).for_each(add);
        }
        MetricsStage::Compare(compare) => {
            compare.selection.expression.for_each_attribute(&mut |attribute| add(attribute));
        }
        MetricsStage::ServiceGraph(_) => {}
    }
    found
}

fn for_each_of_pipeline(pipeline: &Pipeline, visit: &mut dyn FnMut(&Attribute)) {
    for stage in &pipeline.stages {
        match stage {
            PipelineStage::Spanset(spanset) => for_each_of_spanset(spanset, visit),
            PipelineStage::By(expression) => {
                expression.for_each_attribute(&mut |attribute| visit(attribute));
            }
            PipelineStage::Scalar(filter) => {
                for side in [&filter.left, &filter.right] {
                    side.for_each_aggregate(&mut |aggregate| {
                        if let Some(argument) = &aggregate.argument {
                            argument.for_each_attribute(&mut |attribute| visit(attribute));
                        }
                    });
                }
            }
            PipelineStage::Select(attributes) => {
                attributes.iter().for_each(&mut *visit);
            }
            PipelineStage::Coalesce => {}
        }
    }
}

fn for_each_of_spanset(spanset: &SpansetExpression, visit: &mut dyn FnMut(&Attribute)) {
    match spanset {
        SpansetExpression::Filter(filter) => {
            filter.expression.for_each_attribute(&mut |attribute| visit(attribute));
        }
        SpansetExpression::Pipeline(pipeline) => for_each_of_pipeline(pipeline, visit),
        SpansetExpression::Binary { left, right, .. } => {
            for_each_of_spanset(left, visit);
            for_each_of_spanset(right, visit);
        }
    }
}
