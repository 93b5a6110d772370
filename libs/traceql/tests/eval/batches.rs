//! Plain traces, and the batches made of them.

use tactus_model::any_value::{self, AnyValueRef};
use tactus_model::merge::merge;
use tactus_model::nested_set::NestedSet;
use tactus_model::wire::{put_bytes_field, put_fixed64_field, put_message_field, put_varint_field};
use tactus_model::{
    Attribute, AttributeList, AttributeSelection, BatchBuilder, BuilderLimits, Dictionary,
    Projection, SpanBatch,
};
use tactus_traceql::eval::trace_facts;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stored {
    String(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Array(Vec<Stored>),
}

pub(crate) type Attributes = Vec<(String, Stored)>;

/// Spans of one resource and scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) resource: Attributes,
    pub(crate) scope_name: String,
    pub(crate) scope_version: String,
    pub(crate) scope: Attributes,
    pub(crate) spans: Vec<Span>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) trace: u128,
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) name: String,
    pub(crate) kind: u8,
    pub(crate) status: u8,
    pub(crate) message: String,
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) state: String,
    pub(crate) attributes: Attributes,
    pub(crate) events: Vec<Event>,
    pub(crate) links: Vec<Link>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    pub(crate) offset: u64,
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) trace: u128,
    pub(crate) id: u64,
    pub(crate) attributes: Attributes,
}

fn value_bytes(value: &Stored) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Stored::String(text) => {
            any_value::encode(&mut out, AnyValueRef::String(text.as_bytes()));
        }
        Stored::Int(value) => any_value::encode(&mut out, AnyValueRef::Int(*value)),
        Stored::Float(value) => any_value::encode(&mut out, AnyValueRef::Double(*value)),
        Stored::Bool(value) => any_value::encode(&mut out, AnyValueRef::Bool(*value)),
        Stored::Array(elements) => {
            let encoded: Vec<Vec<u8>> = elements.iter().map(value_bytes).collect();
            let elements = encoded.iter().map(|bytes| AnyValueRef::Encoded(bytes));
            out = any_value::encode_array(elements);
        }
    }
    out
}

fn put_attributes(out: &mut Vec<u8>, field: u32, attributes: &Attributes) {
    for (key, value) in attributes {
        let mut pair = Vec::new();
        put_bytes_field(&mut pair, 1, key.as_bytes());
        put_message_field(&mut pair, 2, &value_bytes(value));
        put_message_field(out, field, &pair);
    }
}

fn span_bytes(span: &Span) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes_field(&mut out, 1, &span.trace.to_be_bytes());
    put_bytes_field(&mut out, 2, &span.id.to_be_bytes());
    put_bytes_field(&mut out, 3, span.state.as_bytes());
    if span.parent != 0 {
        put_bytes_field(&mut out, 4, &span.parent.to_be_bytes());
    }
    put_bytes_field(&mut out, 5, span.name.as_bytes());
    put_varint_field(&mut out, 6, u64::from(span.kind));
    put_fixed64_field(&mut out, 7, span.start);
    put_fixed64_field(&mut out, 8, span.start.wrapping_add(span.duration));
    put_attributes(&mut out, 9, &span.attributes);
    for event in &span.events {
        let mut message = Vec::new();
        put_fixed64_field(&mut message, 1, span.start + event.offset);
        put_bytes_field(&mut message, 2, event.name.as_bytes());
        put_attributes(&mut message, 3, &event.attributes);
        put_message_field(&mut out, 11, &message);
    }
    for link in &span.links {
        let mut message = Vec::new();
        put_bytes_field(&mut message, 1, &link.trace.to_be_bytes());
        put_bytes_field(&mut message, 2, &link.id.to_be_bytes());
        put_attributes(&mut message, 4, &link.attributes);
        put_message_field(&mut out, 13, &message);
    }
    let mut status = Vec::new();
    put_bytes_field(&mut status, 2, span.message.as_bytes());
    put_varint_field(&mut status, 3, u64::from(span.status));
    put_message_field(&mut out, 15, &status);
    out
}

/// The Resource, the InstrumentationScope and the spans of a ScopeSpans message of OTLP.
pub(crate) fn encoded(group: &Group) -> [Vec<u8>; 3] {
    let mut resource = Vec::new();
    put_attributes(&mut resource, 1, &group.resource);
    let mut scope = Vec::new();
    put_bytes_field(&mut scope, 1, group.scope_name.as_bytes());
    put_bytes_field(&mut scope, 2, group.scope_version.as_bytes());
    put_attributes(&mut scope, 3, &group.scope);
    let mut scope_spans = Vec::new();
    for span in &group.spans {
        put_message_field(&mut scope_spans, 2, &span_bytes(span));
    }
    [resource, scope, scope_spans]
}

/// A batch in order of arrival, by way of OTLP bytes.
pub(crate) fn live_batch(groups: &[Group]) -> SpanBatch {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    for group in groups {
        let [resource, scope, scope_spans] = encoded(group);
        let resource = builder.resource(&resource).expect("well formed");
        let scope = builder.scope(&scope).expect("well formed");
        builder
            .append_scope_spans(resource, scope, &scope_spans, |_, _| true)
            .expect("well formed");
    }
    builder.finish()
}

/// The batch as a block would hold it: sorted, with trace summaries and tree positions.
pub(crate) fn stored_batch(live: &SpanBatch) -> SpanBatch {
    let (mut sorted, _) = merge(&[live]);
    sorted.traces.summaries = Some(trace_facts(&sorted));
    let offsets = sorted.trace_offsets();
    let mut positions = NestedSet::default();
    let (mut left, mut right, mut parent) = (Vec::new(), Vec::new(), Vec::new());
    for bounds in offsets.windows(2) {
        let rows = bounds[0] as usize..bounds[1] as usize;
        let spans = &sorted.spans;
        positions.compute(
            &spans.span_id[rows.clone()],
            &spans.parent_span_id[rows.clone()],
            &spans.kind[rows],
        );
        left.extend_from_slice(&positions.left);
        right.extend_from_slice(&positions.right);
        parent.extend_from_slice(&positions.parent);
    }
    sorted.spans.nested_left = left.into();
    sorted.spans.nested_right = right.into();
    sorted.spans.nested_parent = parent.into();
    sorted
}

/// What a reader of a block with this projection gives.
pub(crate) fn project(batch: &SpanBatch, columns: &Projection) -> SpanBatch {
    let mut out = batch.clone();
    let spans = &mut out.spans;
    macro_rules! drop_unless {
        ($($wanted:expr => $($column:expr),+;)+) => {
            $(if !$wanted { $($column = Default::default();)+ })+
        };
    }
    drop_unless! {
        columns.span_id => spans.span_id;
        columns.parent_span_id => spans.parent_span_id;
        columns.start => spans.start;
        columns.duration => spans.duration;
        columns.name => spans.name;
        columns.kind => spans.kind;
        columns.status => spans.status;
        columns.status_message => spans.status_message;
        columns.trace_state => spans.trace_state;
        columns.nested_left => spans.nested_left;
        columns.nested_right => spans.nested_right;
        columns.nested_parent => spans.nested_parent;
        columns.scope_name => out.scopes.name, out.scopes.version;
        columns.events => out.events;
        columns.event_name => out.events.name;
        columns.links => out.links;
    }
    if !columns.trace_summary {
        out.traces.summaries = None;
    } else if !columns.service_stats
        && let Some(summaries) = &mut out.traces.summaries
    {
        summaries.service_starts = Default::default();
        summaries.service_name = Default::default();
        summaries.service_spans = Default::default();
        summaries.service_errors = Default::default();
    }
    if !columns.trace_roots
        && let Some(summaries) = &mut out.traces.summaries
    {
        summaries.root_service = Default::default();
        summaries.root_name = Default::default();
    }
    for (list, selection) in [
        (&mut out.span_attributes, &columns.span_attributes),
        (&mut out.resources.attributes, &columns.resource_attributes),
        (&mut out.scopes.attributes, &columns.scope_attributes),
        (&mut out.events.attributes, &columns.event_attributes),
        (&mut out.links.attributes, &columns.link_attributes),
    ] {
        select(list, selection, &out.strings);
    }
    out
}

fn select(list: &mut AttributeList, selection: &AttributeSelection, strings: &Dictionary) {
    if selection.is_none() {
        *list = AttributeList::default();
        return;
    }
    let mut kept = AttributeList::default();
    for owner in 0..list.owners() {
        let attributes: Vec<Attribute> = list.of(owner).collect();
        for attribute in attributes {
            if selection.wants(strings.get(attribute.key)) {
                kept.push(attribute);
            }
        }
        kept.end_owner();
    }
    *list = kept;
}
