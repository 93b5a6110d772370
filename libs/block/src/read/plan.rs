//! Which columns a projection asks for.

use tactus_model::{AttributeSelection, Projection};

use super::attributes::{fixed_columns, key_leaf, value_leaves};
use super::columns::{Columns, Leaf, ListColumns};
use super::prune::AttributeOwner;

/// What a projection asks for, in columns.
pub(crate) struct Plan<'p> {
    /// The wanted attribute lists.
    pub(crate) lists: Vec<(AttributeOwner, &'p ListColumns, &'p AttributeSelection)>,
    /// Which span owns which event.
    pub(crate) events: bool,
    /// Which span owns which link.
    pub(crate) links: bool,
    /// Everything but the values of generic attributes of which only some keys are wanted.
    pub(crate) leaves: Vec<Leaf>,
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
        let lists: Vec<_> =
            lists.into_iter().filter(|(_, _, selection)| !selection.is_none()).collect();
        let has = |owner| lists.iter().any(|(other, _, _)| *other == owner);
        let events = projection.events || projection.event_name || has(AttributeOwner::Event);
        let links = projection.links || has(AttributeOwner::Link);

        let mut leaves = vec![columns.trace_id];
        let dropped = projection.dropped_counts;
        let groups: [(bool, &[Option<Leaf>]); 20] = [
            (
                projection.trace_summary,
                &[
                    Some(columns.trace_start),
                    Some(columns.trace_end),
                    Some(columns.root_service),
                    Some(columns.root_name),
                ],
            ),
            (
                projection.trace_summary && projection.service_stats,
                &[
                    columns.service_stats.map(|stats| stats.service),
                    columns.service_stats.map(|stats| stats.spans),
                    columns.service_stats.map(|stats| stats.errors),
                ],
            ),
            (projection.span_id, &[Some(columns.span_id)]),
            (projection.parent_span_id, &[Some(columns.parent_span_id)]),
            (projection.start || projection.events, &[Some(columns.start)]),
            (projection.duration, &[Some(columns.duration)]),
            (projection.name, &[Some(columns.name)]),
            (projection.kind, &[Some(columns.kind)]),
            (projection.status, &[Some(columns.status)]),
            (projection.status_message, &[Some(columns.status_message)]),
            (projection.trace_state, &[Some(columns.trace_state)]),
            (
                projection.nested_set,
                &[
                    Some(columns.nested_left),
                    Some(columns.nested_right),
                    Some(columns.nested_parent),
                ],
            ),
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
            (events, &[Some(columns.event_time)]),
            (projection.event_name, &[Some(columns.event_name)]),
            (events && dropped, &[columns.event_dropped]),
            (links, &[Some(columns.link_trace_id)]),
            (projection.links, &[Some(columns.link_span_id), Some(columns.link_trace_state)]),
            (links && dropped, &[columns.link_dropped]),
        ];
        for (wanted, group) in groups {
            if wanted {
                leaves.extend(group.iter().flatten());
            }
        }
        for (_, columns, selection) in &lists {
            leaves.extend(key_leaf(columns, selection));
            leaves.extend(fixed_columns(columns, selection).map(|column| column.leaf));
            if **selection == AttributeSelection::All {
                leaves.extend(value_leaves(columns));
            }
        }
        Self { lists, events, links, leaves }
    }
}
