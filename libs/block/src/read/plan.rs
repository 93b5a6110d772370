//! Which columns a projection asks for.

use tactus_model::{AttributeSelection, Projection};

use super::attributes::{fixed_columns, key_leaf, value_leaves};
use super::cache::Slot;
use super::columns::{Columns, Leaf, LinkColumns, ListColumns};
use crate::attribute_owner::AttributeOwner;

/// What a projection asks for, in columns.
pub(crate) struct Plan<'p> {
    /// The wanted attribute lists.
    pub(crate) lists: Vec<ListPlan<'p>>,
    /// Which span owns which event.
    pub(crate) events: bool,
    /// Which span owns which link.
    pub(crate) links: bool,
    /// The columns that are not of attributes, and the leaf that each is decoded from.
    pub(crate) columns: Vec<(Slot, Leaf)>,
}

/// An attribute list.
pub(crate) struct ListPlan<'p> {
    pub(crate) owner: AttributeOwner,
    pub(crate) columns: &'p ListColumns,
    pub(crate) selection: &'p AttributeSelection,
    /// Where the list is cached; `None` if all attributes are wanted, which is not done twice.
    pub(crate) slot: Option<Slot>,
}

impl ListPlan<'_> {
    /// The leaves to fetch first: all but the values of generic attributes of which only some keys are wanted.
    pub(crate) fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        leaves.extend(key_leaf(self.columns, self.selection));
        leaves.extend(fixed_columns(self.columns, self.selection).map(|column| column.leaf));
        if *self.selection == AttributeSelection::All {
            leaves.extend(value_leaves(self.columns));
        }
        leaves
    }
}

impl<'p> Plan<'p> {
    /// Which columns are read.
    pub(crate) fn new(columns: &'p Columns, projection: &'p Projection) -> Self {
        let lists = [
            (
                AttributeOwner::Resource,
                &columns.resource_attributes,
                &projection.resource_attributes,
            ),
            (AttributeOwner::Scope, &columns.scope_attributes, &projection.scope_attributes),
            (AttributeOwner::Span, &columns.span_attributes, &projection.span_attributes),
            (AttributeOwner::Event, &columns.event_attributes, &projection.event_attributes),
            (AttributeOwner::Link, &columns.link_attributes, &projection.link_attributes),
        ];
        let links = projection.links || !projection.link_attributes.is_none();
        // Attributes in messages are read with their owners.
        let lists = lists
            .into_iter()
            .filter(|(_, columns, selection)| !selection.is_none() && columns.within.is_none());
        let lists: Vec<_> = lists
            .map(|(owner, columns, selection)| {
                let slot = match selection {
                    // The counts are of resources as they are stored, which picked ones are not.
                    _ if owner == AttributeOwner::Resource && projection.dropped_counts => None,
                    AttributeSelection::Keys(keys) => Some(Slot::attributes(owner, keys.iter())),
                    _ => None,
                };
                ListPlan { owner, columns, selection, slot }
            })
            .collect();
        let has = |owner| lists.iter().any(|list| list.owner == owner);
        let events = projection.events || projection.event_name || has(AttributeOwner::Event);

        let mut leaves = vec![columns.trace_id];
        let dropped = projection.dropped_counts;
        let services = projection.trace_summary && projection.service_stats;
        let [link_trace_id, link_span_id, link_trace_state, link_dropped, link_messages] =
            match columns.links {
                LinkColumns::Fields { trace_id, span_id, trace_state, dropped } => {
                    [Some(trace_id), Some(span_id), Some(trace_state), dropped, None]
                }
                LinkColumns::Messages(messages) => [None, None, None, None, Some(messages)],
            };
        let groups: [(bool, &[Option<Leaf>]); 24] = [
            (projection.trace_summary, &[Some(columns.trace_start), Some(columns.trace_end)]),
            (
                projection.trace_summary && projection.trace_roots,
                &[Some(columns.root_service), Some(columns.root_name)],
            ),
            (
                services && columns.service_stats.is_none(),
                &[Some(columns.service_name), Some(columns.status)],
            ),
            (
                services,
                &[
                    columns.service_stats.map(|stats| stats.service),
                    columns.service_stats.map(|stats| stats.spans),
                    columns.service_stats.map(|stats| stats.errors),
                ],
            ),
            (projection.span_id, &[Some(columns.span_id)]),
            (projection.parent_span_id, &[Some(columns.parent_span_id)]),
            (columns.needs_start(projection), &[Some(columns.start)]),
            (projection.duration, &[Some(columns.duration)]),
            (projection.name, &[Some(columns.name)]),
            (projection.kind, &[Some(columns.kind)]),
            (projection.status, &[Some(columns.status)]),
            (projection.status_message, &[Some(columns.status_message)]),
            (projection.trace_state, &[Some(columns.trace_state)]),
            (projection.nested_left, &[Some(columns.nested_left)]),
            (projection.nested_right, &[Some(columns.nested_right)]),
            (projection.nested_parent, &[Some(columns.nested_parent)]),
            (projection.scope_name, &[Some(columns.scope_name), Some(columns.scope_version)]),
            (
                dropped,
                &[
                    columns.resource_dropped,
                    columns.scope_dropped,
                    columns.dropped_attributes,
                    columns.dropped_events,
                    columns.dropped_links,
                ],
            ),
            (projection.events, &[Some(columns.event_time)]),
            (projection.event_name, &[Some(columns.event_name)]),
            (events && dropped, &[columns.event_dropped]),
            (projection.links, &[link_trace_id, link_span_id, link_trace_state]),
            (links && dropped, &[link_dropped]),
            (links, &[link_messages]),
        ];
        for (wanted, group) in groups {
            if wanted {
                leaves.extend(group.iter().flatten());
            }
        }
        let columns_of = |leaf: Leaf| (Slot::Column(leaf.index), leaf);
        let mut slots: Vec<_> = leaves.into_iter().map(columns_of).collect();
        let starts = [
            (services, columns.service_stats.map(|stats| stats.service)),
            (events, Some(columns.event_time)),
            (links, link_trace_id),
        ];
        let starts = starts.into_iter().filter(|(wanted, _)| *wanted);
        slots.extend(
            starts.filter_map(|(_, leaf)| leaf).map(|leaf| (Slot::Starts(leaf.index), leaf)),
        );
        Self { lists, events, links, columns: slots }
    }
}
