//! Attributes and intrinsics, bound to the columns of one batch.

mod project;

use tactus_model::{AttributeList, StringCode};

use super::value::Value;
use super::view::{BatchView, NO_ROW, column};
use crate::{Attribute, AttributeScope, Intrinsic, Kind, Status};

pub(crate) use project::project;

/// The table whose rows carry an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Trace,
    Resource,
    Scope,
    Span,
    Event,
    Link,
}

/// The event or link that an operand is read from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pick {
    /// This row.
    Row(usize),
    /// The span has none.
    Absent,
    /// The first in stored order that carries a value.
    First,
}

/// Where operands are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) span: usize,
    pub(crate) event: Pick,
    pub(crate) link: Pick,
}

impl Place {
    /// A span. Event and link operands read the first event or link that has a value.
    pub(crate) fn of_span(span: usize) -> Self {
        Self { span, event: Pick::First, link: Pick::First }
    }
}

/// The table that an attribute is stored in. Attributes of the parent span count as the span's own.
pub(crate) fn table_of(attribute: &Attribute) -> Table {
    match attribute {
        Attribute::Named { parent: true, .. } => Table::Span,
        Attribute::Named { scope, .. } => match scope {
            AttributeScope::Unscoped | AttributeScope::Span => Table::Span,
            AttributeScope::Resource => Table::Resource,
            AttributeScope::Event => Table::Event,
            AttributeScope::Link => Table::Link,
            AttributeScope::Instrumentation => Table::Scope,
        },
        Attribute::Intrinsic(intrinsic) => match intrinsic {
            Intrinsic::TraceDuration
            | Intrinsic::TraceRootName
            | Intrinsic::TraceRootService
            | Intrinsic::TraceId => Table::Trace,
            Intrinsic::EventName | Intrinsic::EventTimeSinceStart => Table::Event,
            Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => Table::Link,
            Intrinsic::InstrumentationName | Intrinsic::InstrumentationVersion => Table::Scope,
            _ => Table::Span,
        },
    }
}

/// The values of one operand in its table.
pub(crate) enum Source<'v> {
    /// Not in the batch, or not read: nil in every row.
    Nothing,
    /// Attributes with one key.
    Attributes {
        list: &'v AttributeList,
        key: StringCode,
    },
    /// The span's attribute or else its resource's.
    Unscoped {
        span: Box<Source<'v>>,
        resource: Box<Source<'v>>,
    },
    Codes(&'v [StringCode]),
    Durations(&'v [u64]),
    Kinds(&'v [u8]),
    Statuses(&'v [u8]),
    Small(&'v [i32]),
    Counts(&'v [i64]),
    HexTexts(&'v [[u8; 16]]),
    Texts(&'v [String]),
    /// Trace ends and starts.
    TraceDurations {
        start: &'v [u64],
        end: &'v [u64],
    },
    /// Event times, from which the start of the event's span is subtracted.
    SinceStart {
        time: &'v [u64],
        start: &'v [u64],
    },
    /// True if the parent is in the trace, otherwise nil.
    ParentRow,
}

/// An operand bound to a batch.
pub(crate) struct Operand<'v> {
    view: &'v BatchView<'v>,
    pub(crate) table: Table,
    /// Read from the parent span.
    parents: Option<&'v [u32]>,
    pub(crate) source: Source<'v>,
}

impl<'v> Operand<'v> {
    /// Finds the columns of an attribute.
    pub(crate) fn bind(attribute: &Attribute, view: &'v BatchView<'v>) -> Self {
        let table = table_of(attribute);
        let (parents, source) = match attribute {
            Attribute::Named { scope, parent, name } => {
                (parent.then(|| view.parents()), bind_named(*scope, name, view))
            }
            Attribute::Intrinsic(intrinsic) => (None, bind_intrinsic(*intrinsic, view)),
        };
        Self { view, table, parents, source }
    }

    /// As [`Self::bind`], for a label of series. The parent span as such has no value there: it can only be compared with
    /// nil.
    pub(crate) fn bind_label(attribute: &Attribute, view: &'v BatchView<'v>) -> Self {
        let mut bound = Self::bind(attribute, view);
        if matches!(bound.source, Source::ParentRow) {
            bound.source = Source::Nothing;
        }
        bound
    }

    /// True if it is read from the parent span.
    pub(crate) fn is_of_parent(&self) -> bool {
        self.parents.is_some()
    }

    /// The operand's value at a place.
    #[inline]
    pub(crate) fn value(&self, place: Place) -> Value<'v> {
        let batch = self.view.batch;
        match self.table {
            Table::Span => self.span_value(place.span),
            Table::Resource => self.row_value(batch.spans.resource[place.span] as usize),
            Table::Trace => self.row_value(batch.spans.trace[place.span] as usize),
            Table::Scope => self.row_value(batch.spans.scope[place.span] as usize),
            Table::Event => self.picked(place.event, place.span, batch.events.range(place.span)),
            Table::Link => self.picked(place.link, place.span, batch.links.range(place.span)),
        }
    }

    fn span_value(&self, span: usize) -> Value<'v> {
        let span = match self.parents {
            None => span,
            Some(parents) => match parents[span] {
                NO_ROW => return Value::Nil,
                parent => parent as usize,
            },
        };
        match &self.source {
            Source::Unscoped { span: own, resource } => {
                let lookup = |source: &Source<'v>, row| match source {
                    Source::Attributes { list, key } => self.attribute(list, row, *key),
                    _ => None,
                };
                let resource_row = self.view.batch.spans.resource[span] as usize;
                lookup(own, span).or_else(|| lookup(resource, resource_row)).unwrap_or(Value::Nil)
            }
            // `parent.resource.x` is stored with the resource, but read for the span.
            Source::Attributes { list, .. }
                if std::ptr::eq(*list, &self.view.batch.resources.attributes) =>
            {
                self.row_value(self.view.batch.spans.resource[span] as usize)
            }
            _ => self.row_value(span),
        }
    }

    fn picked(&self, pick: Pick, span: usize, mut rows: std::ops::Range<usize>) -> Value<'v> {
        match pick {
            Pick::Row(row) => self.child_value(span, row),
            Pick::Absent => Value::NoRow,
            Pick::First => rows
                .find_map(|row| Some(self.child_value(span, row)).filter(|value| value.exists()))
                .unwrap_or(Value::Nil),
        }
    }

    /// The value at an event or link of a span.
    #[inline]
    pub(crate) fn child_value(&self, span: usize, row: usize) -> Value<'v> {
        match &self.source {
            Source::SinceStart { time, start } => {
                let since = time[row].wrapping_sub(start[span]);
                Value::Duration(since as i64)
            }
            _ => self.row_value(row),
        }
    }

    /// The value of an owner's first attribute with a key.
    #[inline]
    fn attribute(&self, list: &AttributeList, owner: usize, key: StringCode) -> Option<Value<'v>> {
        let range = list.range(owner);
        let place = list.keys.get(range.clone())?.iter().position(|&other| other == key)?;
        let attribute = list.at(range.start + place);
        Some(Value::of_attribute(attribute, &self.view.batch.strings))
    }

    /// The value in a row of the operand's own table.
    #[inline]
    pub(crate) fn row_value(&self, row: usize) -> Value<'v> {
        match &self.source {
            Source::Nothing | Source::Unscoped { .. } | Source::SinceStart { .. } => Value::Nil,
            Source::Attributes { list, key } => {
                self.attribute(list, row, *key).unwrap_or(Value::Nil)
            }
            Source::Codes(codes) => {
                let code = codes.get(row).copied().unwrap_or(0);
                Value::String(self.view.batch.strings.get(code))
            }
            Source::Durations(durations) => Value::Duration(span_duration(durations[row])),
            Source::Kinds(kinds) => Value::Kind(kind_of(kinds[row])),
            Source::Statuses(statuses) => Value::Status(status_of(statuses[row])),
            Source::Small(numbers) => Value::Int(i64::from(numbers[row])),
            Source::Counts(numbers) => Value::Int(numbers[row]),
            Source::HexTexts(texts) => Value::String(&texts[row]),
            Source::Texts(texts) => Value::String(texts[row].as_bytes()),
            Source::TraceDurations { start, end } => {
                Value::Duration(span_duration(end[row].wrapping_sub(start[row])))
            }
            Source::ParentRow => match self.view.parents()[row] {
                NO_ROW => Value::Nil,
                _ => Value::Bool(true),
            },
        }
    }
}

/// A stored duration. A span that ends before it starts has duration 0.
#[inline]
pub(crate) fn span_duration(stored: u64) -> i64 {
    i64::try_from(stored).unwrap_or(0)
}

/// The kind for an OTLP number; unspecified for unknown numbers.
#[inline]
pub(crate) fn kind_of(otlp: u8) -> Kind {
    match otlp {
        1 => Kind::Internal,
        2 => Kind::Server,
        3 => Kind::Client,
        4 => Kind::Producer,
        5 => Kind::Consumer,
        _ => Kind::Unspecified,
    }
}

/// The status for an OTLP number; unset for unknown numbers.
#[inline]
pub(crate) fn status_of(otlp: u8) -> Status {
    match otlp {
        1 => Status::Ok,
        2 => Status::Error,
        _ => Status::Unset,
    }
}

fn bind_named<'v>(scope: AttributeScope, name: &str, view: &'v BatchView<'v>) -> Source<'v> {
    let batch = view.batch;
    let Some(key) = view.key_code(name) else { return Source::Nothing };
    let bind_list = |list: &'v AttributeList| Source::Attributes { list, key };
    match scope {
        AttributeScope::Unscoped => Source::Unscoped {
            span: Box::new(bind_list(&batch.span_attributes)),
            resource: Box::new(bind_list(&batch.resources.attributes)),
        },
        AttributeScope::Span => bind_list(&batch.span_attributes),
        AttributeScope::Resource => bind_list(&batch.resources.attributes),
        AttributeScope::Instrumentation => bind_list(&batch.scopes.attributes),
        AttributeScope::Event => bind_list(&batch.events.attributes),
        AttributeScope::Link => bind_list(&batch.links.attributes),
    }
}

/// Number of events of all spans.
pub(crate) fn event_rows(view: &BatchView<'_>) -> usize {
    view.batch.events.starts.last().map_or(0, |&end| end as usize)
}

/// Number of links of all spans.
pub(crate) fn link_rows(view: &BatchView<'_>) -> usize {
    view.batch.links.starts.last().map_or(0, |&end| end as usize)
}

fn bind_intrinsic<'v>(intrinsic: Intrinsic, view: &'v BatchView<'v>) -> Source<'v> {
    let (batch, rows) = (view.batch, view.spans());
    let spans = &batch.spans;
    let source = match intrinsic {
        Intrinsic::Duration => column(&spans.duration, rows).map(Source::Durations),
        Intrinsic::Name => column(&spans.name, rows).map(Source::Codes),
        Intrinsic::Status => column(&spans.status, rows).map(Source::Statuses),
        Intrinsic::StatusMessage => column(&spans.status_message, rows).map(Source::Codes),
        Intrinsic::Kind => column(&spans.kind, rows).map(Source::Kinds),
        Intrinsic::Parent => Some(Source::ParentRow),
        Intrinsic::SpanId => column(view.span_id_texts(), rows).map(Source::HexTexts),
        Intrinsic::SpanParentId => column(view.parent_id_texts(), rows).map(Source::HexTexts),
        Intrinsic::SpanChildCount => Some(Source::Counts(view.child_counts())),
        Intrinsic::NestedSetLeft => column(view.nested().left, rows).map(Source::Small),
        Intrinsic::NestedSetRight => column(view.nested().right, rows).map(Source::Small),
        Intrinsic::NestedSetParent => column(view.nested().parent, rows).map(Source::Small),
        Intrinsic::TraceDuration => {
            let (start, end) = view.trace_times();
            column(start, view.traces())
                .zip(column(end, view.traces()))
                .map(|(start, end)| Source::TraceDurations { start, end })
        }
        Intrinsic::TraceRootName => column(view.trace_roots().1, view.traces()).map(Source::Codes),
        Intrinsic::TraceRootService => {
            column(view.trace_roots().0, view.traces()).map(Source::Codes)
        }
        Intrinsic::TraceId => Some(Source::Texts(view.trace_id_texts())),
        Intrinsic::EventName => column(&batch.events.name, event_rows(view)).map(Source::Codes),
        Intrinsic::EventTimeSinceStart => column(&batch.events.time, event_rows(view))
            .zip(column(&spans.start, rows))
            .map(|(time, start)| Source::SinceStart { time, start }),
        Intrinsic::LinkTraceId => {
            column(view.link_trace_texts(), link_rows(view)).map(Source::Texts)
        }
        Intrinsic::LinkSpanId => {
            column(view.link_span_texts(), link_rows(view)).map(Source::HexTexts)
        }
        Intrinsic::InstrumentationName => {
            column(&batch.scopes.name, batch.scopes.len()).map(Source::Codes)
        }
        Intrinsic::InstrumentationVersion => {
            column(&batch.scopes.version, batch.scopes.len()).map(Source::Codes)
        }
    };
    source.unwrap_or(Source::Nothing)
}
