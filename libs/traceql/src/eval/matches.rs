//! The matches of a query: rows of a batch, and the answer that is built from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tactus_model::{SpanId, TraceId, format_duration};

use super::texts::Texts;
use super::value::Value;
use crate::format_float;

/// A value in an answer. Status and kind are keywords; durations are Go's text, such as `1.5s`.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// Text; invalid UTF-8 is replaced. Spans of one answer share it.
    String(Arc<str>),
    /// Integer.
    Int(i64),
    /// Double.
    Float(f64),
    /// Boolean.
    Bool(bool),
    /// Elements of one type. Never a single one, which is returned as the element itself.
    Array(Vec<AttributeValue>),
    /// The group of the spans without a value. Answers show it as the text `nil`, which is another group.
    Nil,
}

impl AttributeValue {
    /// The shown form of a value; none for nil.
    pub(crate) fn of<'v>(value: Value<'v>, texts: &mut Texts<'v>) -> Option<Self> {
        Some(match value {
            Value::NoRow | Value::Nil => return None,
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Float(value) => Self::Float(value),
            Value::Duration(value) => Self::String(format_duration(value).into()),
            Value::String(text) => Self::String(texts.shared(text)),
            Value::Status(status) => Self::String(texts.shared(status.text().as_bytes())),
            Value::Kind(kind) => Self::String(texts.shared(kind.text().as_bytes())),
            Value::Array(array) => {
                let mut elements: Vec<_> =
                    array.elements().filter_map(|it| Self::of(it, texts)).collect();
                match elements.pop() {
                    Some(only) if elements.is_empty() => only,
                    last => {
                        elements.extend(last);
                        Self::Array(elements)
                    }
                }
            }
        })
    }
}

impl AttributeValue {
    /// Bytes of its text, about, or of its elements.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Array(elements) => elements.iter().map(|it| 32 + it.heap_bytes()).sum(),
            Self::Int(_) | Self::Float(_) | Self::Bool(_) | Self::Nil => 0,
        }
    }
}

impl std::fmt::Display for AttributeValue {
    /// Plain text, strings without quotes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => f.write_str(&format_float(*value)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Nil => f.write_str("nil"),
            Self::Array(elements) => {
                f.write_str("[")?;
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    match element {
                        Self::String(text) => write!(f, "{text:?}")?,
                        other => write!(f, "{other}")?,
                    }
                }
                f.write_str("]")
            }
        }
    }
}

/// Rows of one batch that a query matched; newest trace first, then by trace id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matches {
    /// One entry a matched trace.
    pub traces: Vec<MatchedTrace>,
}

/// The matched rows of one trace.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchedTrace {
    /// Row in the batch's trace table.
    pub trace: u32,
    /// Its id.
    pub trace_id: TraceId,
    /// Start of the trace, unix nanoseconds.
    pub start_unix_nanos: u64,
    /// At least one; none is empty.
    pub span_sets: Vec<MatchedSpanSet>,
}

/// The matched rows of one spanset.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchedSpanSet {
    /// Span rows, ascending.
    pub rows: Vec<u32>,
    /// Spanset attributes such as `by(kind)` and `count()`, in order of creation.
    pub attributes: Vec<(Arc<str>, AttributeValue)>,
}

impl Matches {
    /// True if nothing matched.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Number of matched spans.
    pub fn spans(&self) -> usize {
        self.traces.iter().flat_map(|trace| &trace.span_sets).map(|set| set.rows.len()).sum()
    }

    /// Keeps the `limit` newest traces; 0 keeps all.
    pub fn truncate(&mut self, limit: usize) {
        if limit > 0 {
            self.traces.truncate(limit);
        }
    }

    /// Rows of all matched traces in the trace table, ascending.
    pub fn trace_rows(&self) -> Vec<u32> {
        let mut rows: Vec<u32> = self.traces.iter().map(|trace| trace.trace).collect();
        rows.sort_unstable();
        rows
    }
}

/// One trace of a search answer.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceMatch {
    /// The trace.
    pub trace_id: TraceId,
    /// `service.name` of the root span's resource; empty if there is no root.
    pub root_service_name: String,
    /// Name of the root span; empty if there is no root.
    pub root_trace_name: String,
    /// Start of the trace, unix nanoseconds.
    pub start_unix_nanos: u64,
    /// End minus start of the trace.
    pub duration_nanos: u64,
    /// Span counts of the whole trace by `service.name`.
    pub service_stats: BTreeMap<String, ServiceStats>,
    /// Final spansets; empty for a search by tags.
    pub span_sets: Vec<SpanSet>,
}

impl TraceMatch {
    /// Estimated memory, in bytes. Shared text counts each time, as it is sent each time.
    pub fn heap_bytes(&self) -> usize {
        self.own_bytes() + self.span_sets.iter().map(SpanSet::heap_bytes).sum::<usize>()
    }

    /// As [`Self::heap_bytes`], without spansets.
    pub(super) fn own_bytes(&self) -> usize {
        let names = self.root_service_name.len() + self.root_trace_name.len();
        let services: usize = self.service_stats.keys().map(|name| name.len() + 96).sum();
        256 + names + services
    }
}

impl SpanSet {
    fn heap_bytes(&self) -> usize {
        self.own_bytes() + self.spans.iter().map(SpanMatch::heap_bytes).sum::<usize>()
    }

    /// As [`TraceMatch::heap_bytes`], without spans.
    pub(super) fn own_bytes(&self) -> usize {
        96 + bytes_of(&self.attributes)
    }
}

impl SpanMatch {
    pub(super) fn heap_bytes(&self) -> usize {
        128 + self.name.as_ref().map_or(0, |name| name.len()) + bytes_of(&self.attributes)
    }
}

fn bytes_of(attributes: &[(Arc<str>, AttributeValue)]) -> usize {
    attributes.iter().map(|(name, value)| name.len() + value.heap_bytes() + 96).sum()
}

/// Spans of one service in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceStats {
    /// All spans.
    pub spans: u32,
    /// Spans with status error.
    pub errors: u32,
}

/// One spanset of a search answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanSet {
    /// Number of spans in the set, before it was cut to the spans below.
    pub matched: u32,
    /// Spanset attributes in order of creation.
    pub attributes: Vec<(Arc<str>, AttributeValue)>,
    /// The spans shown, by start, then id.
    pub spans: Vec<SpanMatch>,
}

/// One span of a search answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanMatch {
    /// The span.
    pub span_id: SpanId,
    /// Its name, if the query makes it shown.
    pub name: Option<String>,
    /// Start, unix nanoseconds.
    pub start_unix_nanos: u64,
    /// End minus start; 0 if the span ends before it starts.
    pub duration_nanos: u64,
    /// Attributes that the query asks to show, in order of first reference in the query.
    pub attributes: Vec<(Arc<str>, AttributeValue)>,
}
