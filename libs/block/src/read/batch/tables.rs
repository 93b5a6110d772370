//! Reads the tables other than spans, without their attributes.

use tactus_model::{Projection, ResourceTable, ScopeTable, SpanBatch, SpanId, TraceId};

use super::{Counts, links};
use crate::Result;
use crate::read::columns::{Columns, LinkColumns};
use crate::read::plan::Plan;
use crate::read::task::Task;

/// Resources and scopes.
pub(super) fn read_resources_and_scopes(
    task: &mut Task<'_>,
    columns: &Columns,
    projection: &Projection,
    counts: &Counts,
    batch: &mut SpanBatch,
) -> Result<()> {
    let (mut resources, mut scopes) = (ResourceTable::default(), ScopeTable::default());
    if projection.scope_name {
        scopes.name = task.codes(columns.scope_name, counts.scopes)?;
        scopes.version = task.codes(columns.scope_version, counts.scopes)?;
    }
    if projection.dropped_counts {
        let dropped = task.counts(columns.resource_dropped, counts.resources)?;
        resources.dropped_attributes = dropped;
        scopes.dropped_attributes = task.counts(columns.scope_dropped, counts.scopes)?;
    }
    (batch.resources, batch.scopes) = (resources, scopes);
    Ok(())
}

/// Events and links, without attributes.
pub(super) fn read_tables(
    task: &mut Task<'_>,
    columns: &Columns,
    projection: &Projection,
    plan: &Plan<'_>,
    counts: &Counts,
    batch: &mut SpanBatch,
) -> Result<()> {
    let SpanBatch { spans, events, links, .. } = batch;
    let count = counts.events;
    if projection.events {
        events.time = task.words(columns.event_time, count)?;
        if !columns.event_time_is_absolute {
            let mut times = events.time.to_vec();
            for (pair, &span_start) in events.starts.windows(2).zip(spans.start.iter()) {
                for time in &mut times[pair[0] as usize..pair[1] as usize] {
                    *time = time.wrapping_add(span_start);
                }
            }
            events.time = times.into();
        }
    }
    if projection.event_name {
        events.name = task.codes(columns.event_name, count)?;
    }
    if plan.events && projection.dropped_counts {
        events.dropped_attributes = task.counts(columns.event_dropped, count)?;
    }
    if !plan.links {
        return Ok(());
    }
    match columns.links {
        LinkColumns::Fields { trace_id, span_id, trace_state, dropped } => {
            let count = counts.links;
            if projection.links {
                links.trace_id = task.ids(trace_id, count, TraceId)?;
                links.span_id = task.ids(span_id, count, SpanId)?;
                links.trace_state = task.codes(trace_state, count)?;
            }
            if projection.dropped_counts {
                links.dropped_attributes = task.counts(dropped, count)?;
            }
        }
        LinkColumns::Messages(messages) => {
            *links = links::read_links(task, messages, projection, counts.spans)?;
        }
    }
    Ok(())
}
