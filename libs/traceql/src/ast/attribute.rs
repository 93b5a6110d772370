//! Attributes and intrinsics: what a query can ask of a span.

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
        /// `parent.…`: look at the parent span. Only with scope `Unscoped`, `Span`, `Resource`.
        parent: bool,
        /// The key, matched whole and case-sensitively.
        name: Box<str>,
    },
}

impl Attribute {
    /// True if the attribute's value depends on spans besides the one that it is asked of.
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

    /// The key without scope, or the intrinsic's canonical text: the key under which search
    /// answers show the attribute.
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
    pub fn is_link(&self) -> bool {
        match self {
            Attribute::Intrinsic(intrinsic) => {
                matches!(intrinsic, Intrinsic::LinkTraceId | Intrinsic::LinkSpanId)
            }
            Attribute::Named { scope, .. } => *scope == AttributeScope::Link,
        }
    }
}

/// The list of attributes that a name is looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeScope {
    /// `.x`: the span first, then its resource.
    Unscoped,
    /// `span.x`.
    Span,
    /// `resource.x`.
    Resource,
    /// `event.x`: of the span's events.
    Event,
    /// `link.x`: of the span's links.
    Link,
    /// `instrumentation.x`: of the instrumentation scope.
    Instrumentation,
}

impl AttributeScope {
    /// The text before the name, with its dot.
    pub fn prefix(self) -> &'static str {
        match self {
            AttributeScope::Unscoped => ".",
            AttributeScope::Span => "span.",
            AttributeScope::Resource => "resource.",
            AttributeScope::Event => "event.",
            AttributeScope::Link => "link.",
            AttributeScope::Instrumentation => "instrumentation.",
        }
    }
}

/// Fixed fields of spans, traces, events, links and instrumentation scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intrinsic {
    /// Length of the span.
    Duration,
    /// Name of the span.
    Name,
    /// Status code of the span.
    Status,
    /// Status message of the span, "" when unset.
    StatusMessage,
    /// Kind of the span.
    Kind,
    /// The parent span; only `parent = nil` and `parent != nil` validate.
    Parent,
    /// 16 lower-case hex digits.
    SpanId,
    /// 16 lower-case hex digits, all 0 for a root.
    SpanParentId,
    /// Number of direct children.
    SpanChildCount,
    /// Tree position: left number, 0 if unknown.
    NestedSetLeft,
    /// Tree position: right number, 0 if unknown.
    NestedSetRight,
    /// Tree position: left number of the parent, −1 for a root, 0 if unknown.
    NestedSetParent,
    /// End minus start of the trace.
    TraceDuration,
    /// Name of the root span, "" if none.
    TraceRootName,
    /// `service.name` of the root span, "" if none.
    TraceRootService,
    /// Hex digits without leading zeros.
    TraceId,
    /// Name of an event.
    EventName,
    /// Time of an event since the start of its span.
    EventTimeSinceStart,
    /// Trace id of a link, hex without leading zeros.
    LinkTraceId,
    /// Span id of a link, 16 hex digits.
    LinkSpanId,
    /// Name of the instrumentation scope, "" when unset.
    InstrumentationName,
    /// Version of the instrumentation scope, "" when unset.
    InstrumentationVersion,
}

impl Intrinsic {
    /// Every intrinsic.
    pub const ALL: [Intrinsic; 22] = [
        Intrinsic::Duration,
        Intrinsic::Name,
        Intrinsic::Status,
        Intrinsic::StatusMessage,
        Intrinsic::Kind,
        Intrinsic::Parent,
        Intrinsic::SpanId,
        Intrinsic::SpanParentId,
        Intrinsic::SpanChildCount,
        Intrinsic::NestedSetLeft,
        Intrinsic::NestedSetRight,
        Intrinsic::NestedSetParent,
        Intrinsic::TraceDuration,
        Intrinsic::TraceRootName,
        Intrinsic::TraceRootService,
        Intrinsic::TraceId,
        Intrinsic::EventName,
        Intrinsic::EventTimeSinceStart,
        Intrinsic::LinkTraceId,
        Intrinsic::LinkSpanId,
        Intrinsic::InstrumentationName,
        Intrinsic::InstrumentationVersion,
    ];

    /// The canonical text, also the name of labels and of columns in answers.
    pub fn text(self) -> &'static str {
        match self {
            Intrinsic::Duration => "duration",
            Intrinsic::Name => "name",
            Intrinsic::Status => "status",
            Intrinsic::StatusMessage => "statusMessage",
            Intrinsic::Kind => "kind",
            Intrinsic::Parent => "parent",
            Intrinsic::SpanId => "span:id",
            Intrinsic::SpanParentId => "span:parentID",
            Intrinsic::SpanChildCount => "span:childCount",
            Intrinsic::NestedSetLeft => "nestedSetLeft",
            Intrinsic::NestedSetRight => "nestedSetRight",
            Intrinsic::NestedSetParent => "nestedSetParent",
            Intrinsic::TraceDuration => "traceDuration",
            Intrinsic::TraceRootName => "rootName",
            Intrinsic::TraceRootService => "rootServiceName",
            Intrinsic::TraceId => "trace:id",
            Intrinsic::EventName => "event:name",
            Intrinsic::EventTimeSinceStart => "event:timeSinceStart",
            Intrinsic::LinkTraceId => "link:traceID",
            Intrinsic::LinkSpanId => "link:spanID",
            Intrinsic::InstrumentationName => "instrumentation:name",
            Intrinsic::InstrumentationVersion => "instrumentation:version",
        }
    }

    /// The type known before any span is seen.
    pub fn static_type(self) -> StaticType {
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

    /// The intrinsic of a bare keyword.
    pub(crate) fn from_keyword(text: &str) -> Option<Self> {
        Some(match text {
            "duration" => Intrinsic::Duration,
            "name" => Intrinsic::Name,
            "status" => Intrinsic::Status,
            "statusMessage" => Intrinsic::StatusMessage,
            "kind" => Intrinsic::Kind,
            "parent" => Intrinsic::Parent,
            "rootName" => Intrinsic::TraceRootName,
            "rootServiceName" => Intrinsic::TraceRootService,
            "traceDuration" => Intrinsic::TraceDuration,
            "nestedSetLeft" => Intrinsic::NestedSetLeft,
            "nestedSetRight" => Intrinsic::NestedSetRight,
            "nestedSetParent" => Intrinsic::NestedSetParent,
            _ => return None,
        })
    }

    /// The intrinsic of a scope token (`span:`) and the keyword after it.
    pub(crate) fn from_scoped(scope: &str, keyword: &str) -> Option<Self> {
        Some(match (scope, keyword) {
            ("trace:", "duration") => Intrinsic::TraceDuration,
            ("trace:", "rootName") => Intrinsic::TraceRootName,
            ("trace:", "rootService") => Intrinsic::TraceRootService,
            ("trace:", "id") => Intrinsic::TraceId,
            ("span:", "duration") => Intrinsic::Duration,
            ("span:", "name") => Intrinsic::Name,
            ("span:", "kind") => Intrinsic::Kind,
            ("span:", "status") => Intrinsic::Status,
            ("span:", "statusMessage") => Intrinsic::StatusMessage,
            ("span:", "id") => Intrinsic::SpanId,
            ("span:", "parentID") => Intrinsic::SpanParentId,
            ("span:", "childCount") => Intrinsic::SpanChildCount,
            ("event:", "name") => Intrinsic::EventName,
            ("event:", "timeSinceStart") => Intrinsic::EventTimeSinceStart,
            ("link:", "traceID") => Intrinsic::LinkTraceId,
            ("link:", "spanID") => Intrinsic::LinkSpanId,
            ("instrumentation:", "name") => Intrinsic::InstrumentationName,
            ("instrumentation:", "version") => Intrinsic::InstrumentationVersion,
            _ => return None,
        })
    }
}
