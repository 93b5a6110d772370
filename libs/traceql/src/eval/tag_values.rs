//! Values of an attribute, for completion.

use std::collections::HashSet;

use tactus_model::{AttributeList, Projection, SpanBatch};

use super::bitmap::Bitmap;
use super::operand::{Operand, Source, Table, project, table_of};
use super::scan::for_each_first;
use super::tag_filter::{TagFilter, rows_of_spans};
use super::tag_names::{TagLimits, TagRoom};
use super::tag_value::{TagValue, TagValueType};
use super::value::Value;
use super::view::BatchView;
use crate::{Attribute, AttributeScope, Intrinsic, Kind, Status};

/// Collects values, each once, until a limit is reached. The answer does not show that there was a limit.
#[derive(Debug, Default)]
pub struct ValueCollector {
    texts_only: bool,
    values: HashSet<TagValue>,
    room: TagRoom,
}

impl ValueCollector {
    /// An empty collector.
    pub fn new(limits: TagLimits) -> Self {
        // One byte: theirs stay below the limit.
        Self { room: TagRoom::new(limits, 1), ..Self::default() }
    }

    /// An empty collector of texts. Values that differ only in type are the same string, and types do not count toward
    /// limits.
    pub fn of_texts(limits: TagLimits) -> Self {
        Self { texts_only: true, ..Self::new(limits) }
    }

    /// Adds a value. Returns false once a limit is reached, because no further value will be taken.
    pub fn add(&mut self, mut value: TagValue) -> bool {
        if self.texts_only {
            value.value_type = TagValueType::String;
        }
        let type_bytes = if self.texts_only { 0 } else { value.value_type.text().len() };
        if self.room.takes(self.values.contains(&value), type_bytes + value.text.len()) {
            self.values.insert(value);
            self.room.count(self.values.len());
        }
        !self.room.is_full
    }

    /// True once a limit is reached.
    pub fn is_full(&self) -> bool {
        self.room.is_full
    }

    /// The values so far, in no order.
    pub fn values(&self) -> impl Iterator<Item = &TagValue> {
        self.values.iter()
    }

    /// The values, sorted by type and text.
    pub fn finish(self) -> Vec<TagValue> {
        let mut values: Vec<_> = self.values.into_iter().collect();
        values.sort_unstable();
        values
    }
}

/// The values of an intrinsic whose answer does not depend on data; `None` for other attributes.
pub fn fixed_tag_values(attribute: &Attribute) -> Option<Vec<TagValue>> {
    let Attribute::Intrinsic(intrinsic) = attribute else { return None };
    let keywords = |texts: &[&str]| {
        texts.iter().map(|&text| TagValue::new(TagValueType::Keyword, text)).collect()
    };
    match intrinsic {
        Intrinsic::Status => {
            Some(keywords(&[Status::Error, Status::Ok, Status::Unset].map(Status::text)))
        }
        Intrinsic::Kind => Some(keywords(
            &[
                Kind::Client,
                Kind::Consumer,
                Kind::Internal,
                Kind::Producer,
                Kind::Server,
                Kind::Unspecified,
            ]
            .map(Kind::text),
        )),
        Intrinsic::Duration | Intrinsic::TraceDuration => Some(Vec::new()),
        intrinsic => has_no_values(*intrinsic).then(Vec::new),
    }
}

/// Intrinsics that are numbers of a single span or trace, which cannot be usefully completed.
fn has_no_values(intrinsic: Intrinsic) -> bool {
    matches!(
        intrinsic,
        Intrinsic::TraceId
            | Intrinsic::SpanId
            | Intrinsic::SpanParentId
            | Intrinsic::SpanChildCount
            | Intrinsic::LinkTraceId
            | Intrinsic::LinkSpanId
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight
            | Intrinsic::NestedSetParent
            | Intrinsic::Parent
    )
}

/// The attributes that an unscoped tag name of the first API version means: an intrinsic, or the attribute in any
/// scope. `status.code` and `error` have fixed values instead, which are the second part of the result.
pub fn legacy_tag_attributes(name: &str) -> (Vec<Attribute>, Vec<&'static str>) {
    let intrinsic = match name {
        "status.code" => return (Vec::new(), vec!["error", "ok", "unset"]),
        "error" => return (Vec::new(), vec!["true"]),
        "name" => Intrinsic::Name,
        "root.name" => Intrinsic::TraceRootName,
        "root.service.name" => Intrinsic::TraceRootService,
        _ => {
            let scopes = [
                AttributeScope::Resource,
                AttributeScope::Span,
                AttributeScope::Event,
                AttributeScope::Link,
                AttributeScope::Instrumentation,
            ];
            let named = scopes.map(|scope| Attribute::named(scope, name));
            return (named.into(), Vec::new());
        }
    };
    (vec![Attribute::Intrinsic(intrinsic)], Vec::new())
}

/// The columns that [`collect_tag_values`] reads, in addition to those of the filter.
pub fn tag_values_projection(attribute: &Attribute) -> Projection {
    let mut columns = Projection::default();
    project(attribute, &mut columns);
    columns
}

/// Adds the values of an attribute on spans that pass the filter, and those that the filter fixes.
///
/// An unscoped attribute is looked up on spans and on resources. The elements of arrays are separate values. Ids and
/// tree positions are not offered. `status`, `kind` and `duration` are, although [`fixed_tag_values`] handles them if
/// there is no filter.
pub fn collect_tag_values(
    batch: &SpanBatch,
    attribute: &Attribute,
    filter: &TagFilter,
    collector: &mut ValueCollector,
) {
    for value in filter.pinned() {
        if !collector.add(value.clone()) {
            return;
        }
    }
    let view = BatchView::new(batch);
    let spans = filter.spans(&view);
    if spans.is_empty() {
        return;
    }
    match attribute {
        Attribute::Intrinsic(intrinsic) if has_no_values(*intrinsic) => {}
        Attribute::Named { scope: AttributeScope::Unscoped, parent: false, name } => {
            let more = add_named(AttributeScope::Span, name, &spans, &view, collector);
            if more {
                add_named(AttributeScope::Resource, name, &spans, &view, collector);
            }
        }
        Attribute::Named { scope, parent: false, name } => {
            add_named(*scope, name, &spans, &view, collector);
        }
        _ => add_column(attribute, &spans, &view, collector),
    }
}

/// Adds the values of a stored attribute. Returns false once a limit is reached.
fn add_named(
    scope: AttributeScope,
    name: &str,
    spans: &Bitmap,
    view: &BatchView<'_>,
    collector: &mut ValueCollector,
) -> bool {
    let Some(key) = view.key_code(name) else { return true };
    let batch = view.batch;
    let list: &AttributeList = match scope {
        AttributeScope::Resource => &batch.resources.attributes,
        AttributeScope::Event => &batch.events.attributes,
        AttributeScope::Link => &batch.links.attributes,
        AttributeScope::Instrumentation => &batch.scopes.attributes,
        AttributeScope::Span | AttributeScope::Unscoped => &batch.span_attributes,
    };
    let owners = rows_of_spans(spans, table_of(&Attribute::named(scope, name)), view);
    let mut seen = HashSet::new();
    for_each_first(list, key, |owner, entry| {
        let attribute = list.at(entry);
        if owners.contains(owner)
            && !collector.is_full()
            && seen.insert((attribute.value_type, attribute.payload))
        {
            add_value(Value::of_attribute(attribute, &batch.strings), collector);
        }
    });
    !collector.is_full()
}

fn add_value(value: Value<'_>, collector: &mut ValueCollector) -> bool {
    match value {
        Value::Array(array) => {
            array.elements().filter_map(TagValue::of).all(|element| collector.add(element))
        }
        value => TagValue::of(value).is_none_or(|value| collector.add(value)),
    }
}

fn add_column(
    attribute: &Attribute,
    spans: &Bitmap,
    view: &BatchView<'_>,
    collector: &mut ValueCollector,
) {
    let operand = Operand::bind(attribute, view);
    if matches!(operand.source, Source::SinceStart { .. }) {
        for span in spans.rows() {
            for event in view.batch.events.range(span) {
                if !add_value(operand.child_value(span, event), collector) {
                    return;
                }
            }
        }
        return;
    }
    let rows = rows_of_spans(spans, operand.table, view);
    if let Source::Codes(codes) = operand.source {
        let mut seen = vec![false; view.batch.strings.len()];
        for row in rows.rows() {
            let code = codes.get(row).copied().unwrap_or(0);
            if let Some(seen @ false) = seen.get_mut(code as usize) {
                *seen = true;
                if !add_value(operand.row_value(row), collector) {
                    return;
                }
            }
        }
        return;
    }
    let is_span = operand.table == Table::Span;
    for row in rows.rows() {
        let value = match is_span {
            true => operand.value(super::operand::Place::of_span(row)),
            false => operand.row_value(row),
        };
        if !add_value(value, collector) {
            return;
        }
    }
}
