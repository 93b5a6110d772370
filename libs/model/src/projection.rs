//! Projections: the columns that a reader wants.

use std::collections::BTreeSet;

/// The attributes of one scope (span, resource, …) to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AttributeSelection {
    /// None.
    #[default]
    None,
    /// Those with one of these keys.
    Keys(BTreeSet<Vec<u8>>),
    /// All, but only which keys each owner has. Values may be missing, except those of these keys.
    Names(BTreeSet<Vec<u8>>),
    /// All.
    All,
}

/// A column, or a selection of attributes, that may be wanted.
trait Wanted {
    const ALL: Self;

    /// Widens this selection by another.
    fn widen(&mut self, other: &Self);
}

impl Wanted for bool {
    const ALL: Self = true;

    fn widen(&mut self, other: &Self) {
        *self |= other;
    }
}

impl Wanted for AttributeSelection {
    const ALL: Self = Self::All;

    fn widen(&mut self, other: &Self) {
        self.merge(other);
    }
}

macro_rules! projection {
    ($(#[$attr:meta])* $name:ident { $( $(#[$field_attr:meta])* $field:ident: $type:ty, )* }) => {
        $(#[$attr])*
        pub struct $name {
            $( $(#[$field_attr])* pub $field: $type, )*
        }

        impl $name {
            /// Every column.
            pub fn all() -> Self {
                Self { $( $field: Wanted::ALL, )* }
            }

            /// Widens this projection by another.
            pub fn merge(&mut self, other: &Self) {
                $( self.$field.widen(&other.$field); )*
            }
        }
    };
}

projection! {
    /// The columns of a [`crate::SpanBatch`] that a reader fills; the others stay empty.
    ///
    /// Trace ids and the rows of trace, resource and scope of each span are always read.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    Projection {
        /// `spans.span_id`.
        span_id: bool,
        /// `spans.parent_span_id`.
        parent_span_id: bool,
        /// `spans.start`.
        start: bool,
        /// `spans.duration`.
        duration: bool,
        /// `spans.name`.
        name: bool,
        /// `spans.kind`.
        kind: bool,
        /// `spans.status`.
        status: bool,
        /// `spans.status_message`.
        status_message: bool,
        /// `spans.trace_state`.
        trace_state: bool,
        /// The dropped counts of spans, resources, scopes, events and links.
        dropped_counts: bool,
        /// `spans.nested_left`.
        nested_left: bool,
        /// `spans.nested_right`.
        nested_right: bool,
        /// `spans.nested_parent`.
        nested_parent: bool,
        /// Scope name and version.
        scope_name: bool,
        /// Start and end of traces.
        trace_summary: bool,
        /// Root service and root name of traces (with `trace_summary`).
        trace_roots: bool,
        /// Per-service span counts of traces (with `trace_summary`).
        service_stats: bool,
        /// Attributes of spans.
        span_attributes: AttributeSelection,
        /// Attributes of resources, `service.name` included.
        resource_attributes: AttributeSelection,
        /// Attributes of scopes.
        scope_attributes: AttributeSelection,
        /// Event ranges and times.
        events: bool,
        /// Event names.
        event_name: bool,
        /// Attributes of events (with `events`).
        event_attributes: AttributeSelection,
        /// Link ranges, ids and trace states.
        links: bool,
        /// Attributes of links (with `links`).
        link_attributes: AttributeSelection,
    }
}

impl AttributeSelection {
    /// Adds a key.
    pub fn add(&mut self, key: &[u8]) {
        match self {
            Self::None => *self = Self::Keys(BTreeSet::from([key.to_vec()])),
            Self::Keys(keys) => {
                keys.insert(key.to_vec());
            }
            Self::Names(valued) => {
                valued.insert(key.to_vec());
            }
            Self::All => {}
        }
    }

    /// All, but without values.
    pub fn names() -> Self {
        Self::Names(BTreeSet::new())
    }

    /// True if an attribute with this key is wanted.
    pub fn wants(&self, key: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Keys(keys) => keys.contains(key),
            Self::Names(_) | Self::All => true,
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
            Self::Names(valued) => {
                *self = match std::mem::take(self) {
                    Self::None => Self::names(),
                    Self::Keys(keys) => Self::Names(keys),
                    other => other,
                };
                valued.iter().for_each(|key| self.add(key));
            }
            Self::All => *self = Self::All,
        }
    }
}

impl Projection {
    /// All that spans came with, and nothing that was computed of them.
    pub fn as_received() -> Self {
        Self {
            nested_left: false,
            nested_right: false,
            nested_parent: false,
            trace_summary: false,
            trace_roots: false,
            service_stats: false,
            ..Self::all()
        }
    }

    /// The columns that each [`crate::merge::TracePart`] has at least, and the names of services.
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
}
