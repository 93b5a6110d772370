//! Attributes and intrinsics: what a query can read of a span.

use crate::static_type::StaticType;

/// A named attribute or an intrinsic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// A fixed field such as `duration`.
    Intrinsic(Intrinsic),
    /// A key of one of the attribute lists.
    Named {
        /// Where to look.
        scope: AttributeScope,
        /// `parent.…`: read it from the parent span. Only with scope `Unscoped`, `Span` or `Resource`.
        parent: bool,
        /// The key, matched whole and case-sensitively.
        name: Box<str>,
    },
}

impl Attribute {
    /// True if the attribute's value depends on spans other than the one that it is read from.
    pub fn depends_on_other_spans(&self) -> bool {
        match self {
            Attribute::Named { parent, .. } => *parent,
            Attribute::Intrinsic(intrinsic) => matches!(
                intrinsic,
                Intrinsic::Parent
                    | Intrinsic::SpanChildCount
                    | Intrinsic::NestedSetLeft
                    | Intrinsic::NestedSetRight
                    | Intrinsic::NestedSetParent
                    | Intrinsic::TraceDuration
                    | Intrinsic::TraceRootName
                    | Intrinsic::TraceRootService
            ),
        }
    }

    /// A named attribute of the span itself.
    pub fn named(scope: AttributeScope, name: &str) -> Self {
        Attribute::Named { scope, parent: false, name: name.into() }
    }

    /// The key without scope, or the intrinsic's canonical text. Search answers show the attribute under this key.
    pub fn key(&self) -> &str {
        match self {
            Attribute::Intrinsic(intrinsic) => intrinsic.text(),
            Attribute::Named { name, .. } => name,
        }
    }

    /// True for intrinsics of an event and attributes with scope `event`.
    pub fn is_event(&self) -> bool {
        match self {
            Attribute::Intrinsic(intrinsic) => {
                matches!(intrinsic, Intrinsic::EventName | Intrinsic::EventTimeSinceStart)
            }
            Attribute::Named { scope, .. } => *scope == AttributeScope::Event,
        }
    }

    /// True for intrinsics of a link and attributes with scope `link`.
    pub(crate) fn is_link(&self) -> bool {
        match self {
            Attribute::Intrinsic(intrinsic) => {
                matches!(intrinsic, Intrinsic::LinkTraceId | Intrinsic::LinkSpanId)
            }
            Attribute::Named { scope, .. } => *scope == AttributeScope::Link,
        }
    }
}

tactus_model::words! {
    /// The list of attributes that a name is looked up in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum AttributeScope: prefix {
        /// `.x`: the span first, then its resource.
        Unscoped = ".",
        /// `span.x`.
        Span = "span.",
        /// `resource.x`.
        Resource = "resource.",
        /// `event.x`: of the span's events.
        Event = "event.",
        /// `link.x`: of the span's links.
        Link = "link.",
        /// `instrumentation.x`: of the instrumentation scope.
        Instrumentation = "instrumentation.",
    }
}

tactus_model::words! {
    /// Fixed fields of spans, traces, events, links and instrumentation scopes. The text is also used for labels and
    /// column names in answers.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Intrinsic {
        /// Length of the span.
        Duration = "duration" | "span:duration",
        /// Name of the span.
        Name = "name" | "span:name",
        /// Status code of the span.
        Status = "status" | "span:status",
        /// Status message of the span, "" when unset.
        StatusMessage = "statusMessage" | "span:statusMessage",
        /// Kind of the span.
        Kind = "kind" | "span:kind",
        /// The parent span. Only `parent = nil` and `parent != nil` are valid.
        Parent = "parent",
        /// 16 lower-case hex digits.
        SpanId = "span:id",
        /// 16 lower-case hex digits, all 0 for a root.
        SpanParentId = "span:parentID",
        /// Number of direct children.
        SpanChildCount = "span:childCount",
        /// Tree position: left number, 0 if unknown.
        NestedSetLeft = "nestedSetLeft",
        /// Tree position: right number, 0 if unknown.
        NestedSetRight = "nestedSetRight",
        /// Tree position: left number of the parent; −1 for a root, 0 if unknown.
        NestedSetParent = "nestedSetParent",
        /// End minus start of the trace.
        TraceDuration = "traceDuration" | "trace:duration",
        /// Name of the root span, "" if none.
        TraceRootName = "rootName" | "trace:rootName",
        /// `service.name` of the root span, "" if none.
        TraceRootService = "rootServiceName" | "trace:rootService",
        /// Hex digits without leading zeros.
        TraceId = "trace:id",
        /// Name of an event.
        EventName = "event:name",
        /// Time of an event since the start of its span.
        EventTimeSinceStart = "event:timeSinceStart",
        /// Trace id of a link, hex without leading zeros.
        LinkTraceId = "link:traceID",
        /// Span id of a link, 16 hex digits.
        LinkSpanId = "link:spanID",
        /// Name of the instrumentation scope, "" when unset.
        InstrumentationName = "instrumentation:name",
        /// Version of the instrumentation scope, "" when unset.
        InstrumentationVersion = "instrumentation:version",
    }
}

impl Intrinsic {
    /// The type known before any span is seen.
    pub(crate) fn static_type(self) -> StaticType {
        match self {
            Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart => {
                StaticType::Duration
            }
            Intrinsic::Name
            | Intrinsic::StatusMessage
            | Intrinsic::SpanId
            | Intrinsic::SpanParentId
            | Intrinsic::TraceRootName
            | Intrinsic::TraceRootService
            | Intrinsic::TraceId
            | Intrinsic::EventName
            | Intrinsic::LinkTraceId
            | Intrinsic::LinkSpanId => StaticType::String,
            Intrinsic::Status => StaticType::Status,
            Intrinsic::Kind => StaticType::Kind,
            Intrinsic::Parent => StaticType::Nil,
            Intrinsic::SpanChildCount
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight
            | Intrinsic::NestedSetParent => StaticType::Int,
            Intrinsic::InstrumentationName | Intrinsic::InstrumentationVersion => {
                StaticType::Dynamic
            }
        }
    }
}
