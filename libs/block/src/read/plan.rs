//! Plans which columns are read for a projection.

use tactus_model::{AttributeSelection, Projection};

use super::attributes::{fixed_columns, key_leaf, value_leaves, wants_values};
use super::cache::Slot;
use super::columns::{Columns, Leaf, LinkColumns, ListColumns};
use crate::attribute_owner::AttributeOwner;

/// The columns that a projection asks for.
pub(crate) struct Plan<'p> {
    /// The wanted attribute lists.
    pub(crate) lists: Vec<ListPlan<'p>>,
    /// Which span owns which event.
    pub(crate) events: bool,
    /// Which span owns which link.
    pub(crate) links: bool,
    /// The columns other than attributes, and the leaf that each is decoded from.
    pub(crate) columns: Vec<(Slot, Leaf)>,
}

/// An attribute list.
pub(crate) struct ListPlan<'p> {
    pub(crate) owner: AttributeOwner,
    pub(crate) columns: &'p ListColumns,
    pub(crate) selection: &'p AttributeSelection,
    /// The cache slot of the list; `None` if all attributes are wanted, because that is not read twice.
    pub(crate) slot: Option<Slot>,
}

impl ListPlan<'_> {
    /// The leaves to fetch first: all except the values of generic attributes if only some keys are wanted.
    pub(crate) fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        leaves.extend(key_leaf(self.columns, self.selection));
        leaves.extend(fixed_columns(self.columns, self.selection).map(|column| column.leaf));
        if wants_values(self.columns, self.selection) {
            leaves.extend(value_leaves(self.columns));
        }
        leaves
    }
}

impl<'p> Plan<'p> {
    /// The plan for a projection.
    pub(crate) fn new(columns: &'p Columns, projection: &'p Projection) -> Self {
        let lists = attribute_lists(columns, projection);
        let has = |owner| lists.iter().any(|list| list.owner == owner);
        let events = projection.events || projection.event_name || has(AttributeOwner::Event);
        let links = projection.links || !projection.link_attributes.is_none();
        let services = projection.trace_summary && projection.service_stats;

        let mut leaves = vec![columns.trace_id];
        leaves.extend(leaves_of_traces(columns, projection, services));
        leaves.extend(leaves_of_spans(columns, projection));
        leaves.extend(leaves_of_events(columns, projection, events));
        leaves.extend(leaves_of_links(columns, projection, links));
        let columns_of = |leaf: Leaf| (Slot::Column(leaf.index), leaf);
        let mut slots: Vec<_> = leaves.into_iter().map(columns_of).collect();
        let link_trace_id = match columns.links {
            LinkColumns::Fields { trace_id, .. } => Some(trace_id),
            LinkColumns::Messages(_) => None,
        };
        let starts = [
            (services, columns.service_stats.map(|stats| stats.service)),
            (events, Some(columns.event_time)),
            (links, link_trace_id),
        ];
        slots.extend(wanted(starts).map(|leaf| (Slot::Starts(leaf.index), leaf)));
        Self { lists, events, links, columns: slots }
    }
}

/// The attribute lists that are wanted. Attributes in messages are not among them, because they are read with their
/// owners.
fn attribute_lists<'p>(columns: &'p Columns, projection: &'p Projection) -> Vec<ListPlan<'p>> {
    let lists = [
        (AttributeOwner::Resource, &columns.resource_attributes, &projection.resource_attributes),
        (AttributeOwner::Scope, &columns.scope_attributes, &projection.scope_attributes),
        (AttributeOwner::Span, &columns.span_attributes, &projection.span_attributes),
        (AttributeOwner::Event, &columns.event_attributes, &projection.event_attributes),
        (AttributeOwner::Link, &columns.link_attributes, &projection.link_attributes),
    ];
    lists
        .into_iter()
        .filter(|(_, columns, selection)| !selection.is_none() && columns.within.is_none())
        .map(|(owner, columns, selection)| {
            let slot = match selection {
                // Dropped attributes are counted for each stored resource, while lists with some keys merge equal
                // resources.
                _ if owner == AttributeOwner::Resource && projection.dropped_counts => None,
                AttributeSelection::Keys(keys) => Some(Slot::attributes(owner, keys.iter())),
                _ => None,
            };
            ListPlan { owner, columns, selection, slot }
        })
        .collect()
}

/// The leaves that the file has, out of those whose flag is set.
fn wanted(leaves: impl IntoIterator<Item = (bool, Option<Leaf>)>) -> impl Iterator<Item = Leaf> {
    leaves.into_iter().filter(|(is_wanted, _)| *is_wanted).filter_map(|(_, leaf)| leaf)
}

/// The columns with a value for each trace. `services`: with the service statistics.
fn leaves_of_traces(
    columns: &Columns,
    projection: &Projection,
    services: bool,
) -> impl Iterator<Item = Leaf> {
    let summary = projection.trace_summary;
    let roots = summary && projection.trace_roots;
    // If a file has no statistics, they are computed from its spans.
    let computed = services && columns.service_stats.is_none();
    wanted([
        (summary, Some(columns.trace_start)),
        (summary, Some(columns.trace_end)),
        (roots, Some(columns.root_service)),
        (roots, Some(columns.root_name)),
        (computed, Some(columns.service_name)),
        (computed, Some(columns.status)),
        (services, columns.service_stats.map(|stats| stats.service)),
        (services, columns.service_stats.map(|stats| stats.spans)),
        (services, columns.service_stats.map(|stats| stats.errors)),
    ])
}

/// The columns with a value for each span, scope or resource.
fn leaves_of_spans(columns: &Columns, projection: &Projection) -> impl Iterator<Item = Leaf> {
    let dropped = projection.dropped_counts;
    wanted([
        (projection.span_id, Some(columns.span_id)),
        (projection.parent_span_id, Some(columns.parent_span_id)),
        (columns.needs_start(projection), Some(columns.start)),
        (projection.duration, Some(columns.duration)),
        (projection.name, Some(columns.name)),
        (projection.kind, Some(columns.kind)),
        (projection.status, Some(columns.status)),
        (projection.status_message, Some(columns.status_message)),
        (projection.trace_state, Some(columns.trace_state)),
        (projection.nested_left, Some(columns.nested_left)),
        (projection.nested_right, Some(columns.nested_right)),
        (projection.nested_parent, Some(columns.nested_parent)),
        (projection.scope_name, Some(columns.scope_name)),
        (projection.scope_name, Some(columns.scope_version)),
        (dropped, columns.resource_dropped),
        (dropped, columns.scope_dropped),
        (dropped, columns.dropped_attributes),
        (dropped, columns.dropped_events),
        (dropped, columns.dropped_links),
    ])
}

/// The columns of events. `events`: true if anything of events is wanted.
fn leaves_of_events(
    columns: &Columns,
    projection: &Projection,
    events: bool,
) -> impl Iterator<Item = Leaf> {
    wanted([
        (projection.events, Some(columns.event_time)),
        (projection.event_name, Some(columns.event_name)),
        (events && projection.dropped_counts, columns.event_dropped),
    ])
}

/// The columns of links. `links`: true if anything of links is wanted.
fn leaves_of_links(
    columns: &Columns,
    projection: &Projection,
    links: bool,
) -> impl Iterator<Item = Leaf> {
    let leaves = match columns.links {
        LinkColumns::Fields { trace_id, span_id, trace_state, dropped } => [
            (projection.links, Some(trace_id)),
            (projection.links, Some(span_id)),
            (projection.links, Some(trace_state)),
            (links && projection.dropped_counts, dropped),
        ],
        LinkColumns::Messages(messages) => {
            [(links, Some(messages)), (false, None), (false, None), (false, None)]
        }
    };
    wanted(leaves)
}
