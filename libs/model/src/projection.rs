//! Which columns a reader wants.

use std::collections::BTreeSet;

/// Which attributes of one scope (span, resource, …) to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AttributeSelection {
    /// None.
    #[default]
    None,
    /// Those with one of these keys.
    Keys(BTreeSet<Vec<u8>>),
    /// All.
    All,
}

/// The columns of a [`crate::SpanBatch`] that a reader fills; the others stay empty.
///
/// Trace ids and the rows of trace, resource and scope of each span are always read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// `spans.span_id`.
    pub span_id: bool,
    /// `spans.parent_span_id`.
    pub parent_span_id: bool,
    /// `spans.start`.
    pub start: bool,
    /// `spans.duration`.
    pub duration: bool,
    /// `spans.name`.
    pub name: bool,
    /// `spans.kind`.
    pub kind: bool,
    /// `spans.status`.
    pub status: bool,
    /// `spans.status_message`.
    pub status_message: bool,
    /// `spans.trace_state`.
    pub trace_state: bool,
    /// The dropped counts of spans, resources, scopes, events and links.
    pub dropped_counts: bool,
    /// The three nested-set columns.
    pub nested_set: bool,
    /// Scope name and version.
    pub scope_name: bool,
    /// Start, end, root service and root name of traces.
    pub trace_summary: bool,
    /// Per-service span counts of traces (with `trace_summary`).
    pub service_stats: bool,
    /// Attributes of spans.
    pub span_attributes: AttributeSelection,
    /// Attributes of resources, `service.name` included.
    pub resource_attributes: AttributeSelection,
    /// Attributes of scopes.
    pub scope_attributes: AttributeSelection,
    /// Event ranges and times.
    pub events: bool,
    /// Event names.
    pub event_name: bool,
    /// Attributes of events (with `events`).
    pub event_attributes: AttributeSelection,
    /// Link ranges, ids and trace states.
    pub links: bool,
    /// Attributes of links (with `links`).
    pub link_attributes: AttributeSelection,
}

impl AttributeSelection {
    /// Adds a key.
    pub fn add(&mut self, key: &[u8]) {
        match self {
            Self::None => *self = Self::Keys(BTreeSet::from([key.to_vec()])),
            Self::Keys(keys) => {
                keys.insert(key.to_vec());
            }
            Self::All => {}
        }
    }

    /// True if an attribute with this key is wanted.
    pub fn wants(&self, key: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Keys(keys) => keys.contains(key),
            Self::All => true,
        }
    }

    /// True if no attribute is wanted.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Widens this selection by another.
    pub fn merge(&mut self, other: &Self) {
        match other {
            Self::None => {}
            Self::Keys(keys) => keys.iter().for_each(|key| self.add(key)),
            Self::All => *self = Self::All,
        }
    }
}

impl Projection {
    /// Every column.
    pub fn all() -> Self {
        Self {
            span_id: true,
            parent_span_id: true,
            start: true,
            duration: true,
            name: true,
            kind: true,
            status: true,
            status_message: true,
            trace_state: true,
            dropped_counts: true,
            nested_set: true,
            scope_name: true,
            trace_summary: true,
            service_stats: true,
            span_attributes: AttributeSelection::All,
            resource_attributes: AttributeSelection::All,
            scope_attributes: AttributeSelection::All,
            events: true,
            event_name: true,
            event_attributes: AttributeSelection::All,
            links: true,
            link_attributes: AttributeSelection::All,
        }
    }

    /// What [`crate::merge::TracePart::Heads`] has, and the names of services.
    pub fn heads() -> Self {
        Self {
            span_id: true,
            parent_span_id: true,
            start: true,
            duration: true,
            name: true,
            kind: true,
            status: true,
            resource_attributes: AttributeSelection::Keys(BTreeSet::from([
                b"service.name".to_vec()
            ])),
            events: true,
            links: true,
            ..Self::default()
        }
    }

    /// Widens this projection by another.
    pub fn merge(&mut self, other: &Self) {
        self.span_id |= other.span_id;
        self.parent_span_id |= other.parent_span_id;
        self.start |= other.start;
        self.duration |= other.duration;
        self.name |= other.name;
        self.kind |= other.kind;
        self.status |= other.status;
        self.status_message |= other.status_message;
        self.trace_state |= other.trace_state;
        self.dropped_counts |= other.dropped_counts;
        self.nested_set |= other.nested_set;
        self.scope_name |= other.scope_name;
        self.trace_summary |= other.trace_summary;
        self.service_stats |= other.service_stats;
        self.events |= other.events;
        self.event_name |= other.event_name;
        self.links |= other.links;
        self.span_attributes.merge(&other.span_attributes);
        self.resource_attributes.merge(&other.resource_attributes);
        self.scope_attributes.merge(&other.scope_attributes);
        self.event_attributes.merge(&other.event_attributes);
        self.link_attributes.merge(&other.link_attributes);
    }
}
