//! The columns from which an operand is read.

use tactus_model::Projection;

use crate::{Attribute, AttributeScope, Intrinsic};

/// Adds the columns that an attribute is read from to a projection.
pub(crate) fn project(attribute: &Attribute, columns: &mut Projection) {
    let intrinsic = match attribute {
        Attribute::Named { scope, parent, name } => {
            if *parent {
                project_parents(columns);
            }
            let key = name.as_bytes();
            match scope {
                AttributeScope::Unscoped => {
                    columns.span_attributes.add(key);
                    columns.resource_attributes.add(key);
                }
                AttributeScope::Span => columns.span_attributes.add(key),
                AttributeScope::Resource => columns.resource_attributes.add(key),
                AttributeScope::Instrumentation => columns.scope_attributes.add(key),
                AttributeScope::Event => {
                    columns.events = true;
                    columns.event_attributes.add(key);
                }
                AttributeScope::Link => {
                    columns.links = true;
                    columns.link_attributes.add(key);
                }
            }
            return;
        }
        Attribute::Intrinsic(intrinsic) => intrinsic,
    };
    match intrinsic {
        Intrinsic::Duration => columns.duration = true,
        Intrinsic::Name => columns.name = true,
        Intrinsic::Status => columns.status = true,
        Intrinsic::StatusMessage => columns.status_message = true,
        Intrinsic::Kind => columns.kind = true,
        Intrinsic::Parent | Intrinsic::SpanChildCount => project_parents(columns),
        Intrinsic::SpanId => columns.span_id = true,
        Intrinsic::SpanParentId => columns.parent_span_id = true,
        Intrinsic::NestedSetLeft => columns.nested_left = true,
        Intrinsic::NestedSetRight => columns.nested_right = true,
        Intrinsic::NestedSetParent => columns.nested_parent = true,
        Intrinsic::TraceDuration => columns.trace_summary = true,
        Intrinsic::TraceRootName | Intrinsic::TraceRootService => {
            columns.trace_summary = true;
            columns.trace_roots = true;
        }
        Intrinsic::TraceId => {}
        Intrinsic::EventName => {
            columns.events = true;
            columns.event_name = true;
        }
        Intrinsic::EventTimeSinceStart => {
            columns.events = true;
            columns.start = true;
        }
        Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => columns.links = true,
        Intrinsic::InstrumentationName | Intrinsic::InstrumentationVersion => {
            columns.scope_name = true;
        }
    }
}

fn project_parents(columns: &mut Projection) {
    columns.span_id = true;
    columns.parent_span_id = true;
    columns.kind = true;
}
