//! Turns column chunks into a [`SpanBatch`].

use std::ops::Range;

use tactus_model::{
    AttributeSelection, Buffer, Projection, SpanBatch, SpanColumns, SpanId, TraceSummaries,
    TraceTable,
};

use crate::Result;

use super::File;
use super::attributes::key_leaf;
use super::cache::Slot;
use super::chunk::Needs;
use super::columns::{Columns, Leaf, LinkColumns};
use super::plan::{ListPlan, Plan};
use super::spine::{SpanRows, Spine, add_starts};
use super::task::Task;
use super::values::LevelsOnly;
use crate::attribute_owner::AttributeOwner;

mod chosen;
mod links;
mod lists;
mod services;
mod tables;

use lists::{adopt_strings, pick_attributes, read_attributes};
use tables::{read_resources_and_scopes, read_tables};

/// Whether a span is wanted.
pub(crate) type IsChosen<'a> = &'a dyn Fn(SpanId) -> bool;

/// Reads the projected columns of a row group, or of some of its rows.
pub(crate) fn read_batch(
    file: &File,
    row_group: usize,
    rows: Option<Range<u64>>,
    projection: &Projection,
) -> Result<SpanBatch> {
    read(Task::new(file, row_group, rows), &file.columns, (projection, None), true)
}

/// As [`read_batch`], for spans with chosen ids. Counts of a trace may cover only these spans.
pub(crate) fn read_chosen(
    file: &File,
    row_group: usize,
    rows: Range<u64>,
    projection: &Projection,
    is_chosen: IsChosen<'_>,
) -> Result<SpanBatch> {
    let task = Task::new(file, row_group, Some(rows));
    read(task, &file.columns, (projection, Some(is_chosen)), true)
}

/// As [`read_batch`], for callers that do not use the rows of trace, resource and scope of spans.
pub(crate) fn read_spans_alone(
    file: &File,
    row_group: usize,
    projection: &Projection,
) -> Result<SpanBatch> {
    let is_flat = is_of_spans(projection);
    read(Task::new(file, row_group, None), &file.columns, (projection, None), !is_flat)
}

/// True if only columns of spans are wanted, so that the start times tell how many spans there are.
fn is_of_spans(projection: &Projection) -> bool {
    let of_spans = Projection {
        span_id: projection.span_id,
        parent_span_id: projection.parent_span_id,
        start: true,
        duration: projection.duration,
        name: projection.name,
        kind: projection.kind,
        status: projection.status,
        status_message: projection.status_message,
        trace_state: projection.trace_state,
        nested_left: projection.nested_left,
        nested_right: projection.nested_right,
        nested_parent: projection.nested_parent,
        span_attributes: projection.span_attributes.clone(),
        ..Projection::default()
    };
    *projection == of_spans
}

fn read(
    mut task: Task<'_>,
    columns: &Columns,
    (projection, is_chosen): (&Projection, Option<IsChosen<'_>>),
    wants_rows: bool,
) -> Result<SpanBatch> {
    let plan = Plan::new(columns, projection);
    // If the footer describes a whole column, nothing says for how many spans, except the rows.
    let reads_rows = wants_rows || task.has(&Slot::Spine) || task.is_told_by_footer(columns.start);
    let spine_leaf = fetch(&mut task, &plan, columns, reads_rows)?;

    let mut batch = SpanBatch::default();
    let ids = task.trace_ids(columns.trace_id)?;
    let mut rows = match reads_rows {
        true => read_rows(&mut task, spine_leaf)?,
        false => SpanRows::unread(ids.len(), count_starts(&mut task, columns)?),
    };
    task.expect(columns.trace_id, rows.traces, ids.len())?;
    if let Some(is_chosen) = is_chosen {
        rows = chosen::choose_spans(&mut task, columns, rows, is_chosen)?;
    }
    let mut counts = Counts {
        traces: rows.traces,
        resources: rows.resources,
        scopes: rows.scopes,
        spans: rows.trace.len(),
        ..Counts::default()
    };
    read_starts(&mut task, columns, &plan, &mut batch, &mut counts)?;
    // They are computed from resources as they are stored, not from those with some keys.
    let computes_services =
        projection.trace_summary && projection.service_stats && columns.service_stats.is_none();
    let stored_resources = computes_services.then(|| rows.resource.clone());
    let picked = pick_attributes(&mut task, &plan, &rows, &counts)?;
    if let Some(of_span) = picked.iter().flatten().find_map(|picked| picked.of_span.clone()) {
        rows.resource = of_span;
    }
    let picked = adopt_strings(&mut task, columns, projection, &counts, picked)?;

    batch.traces = TraceTable { ids, summaries: None };
    if projection.trace_summary {
        let mut summaries = read_summaries(&mut task, columns, projection, counts.traces)?;
        if let Some(resource) = &stored_resources {
            services::count_services(
                &mut task,
                columns,
                (rows.trace.as_slice(), resource.as_slice()),
                (counts.traces, counts.resources),
                &mut summaries,
            )?;
        }
        batch.traces.summaries = Some(summaries);
    }
    batch.spans = read_spans(&mut task, columns, projection, rows)?;
    read_resources_and_scopes(&mut task, columns, projection, &counts, &mut batch)?;
    read_tables(&mut task, columns, projection, &plan, &counts, &mut batch)?;
    read_attributes(&mut task, &plan, &counts, picked, &mut batch)?;
    if !projection.start {
        batch.spans.start = Buffer::new();
    }
    batch.strings = std::mem::take(&mut task.pool).finish();
    Ok(batch)
}

/// Fetches what is not in memory. Returns the column from whose levels the rows of each span are computed; it is
/// fetched if they are wanted.
fn fetch(
    task: &mut Task<'_>,
    plan: &Plan<'_>,
    columns: &Columns,
    reads_rows: bool,
) -> Result<Leaf> {
    let mut leaves = Vec::new();
    for (slot, leaf) in &plan.columns {
        if !is_told(task, slot, *leaf, columns) && !task.has(slot) {
            leaves.push(*leaf);
        }
    }
    for list in &plan.lists {
        if list.slot.as_ref().is_none_or(|slot| !task.has(slot)) {
            let key = key_leaf(list.columns, list.selection).filter(|key| !task.is_all_null(*key));
            if let (Some(key), AttributeSelection::Keys(_)) = (key, list.selection) {
                task.fetch_keys(key, &|key| list.selection.wants(key))?;
            }
            leaves.extend(told_by_pages(task, list, list.leaves()));
        }
    }
    let mut spine = columns.kind;
    if reads_rows && !task.has(&Slot::Spine) {
        spine = spine_leaf(task, &leaves, columns);
        leaves.push(spine);
    }
    task.fetch(&leaves)?;
    Ok(spine)
}

/// True if a column need not be fetched because the footer describes all its values.
pub(crate) fn is_told(task: &Task<'_>, slot: &Slot, leaf: Leaf, columns: &Columns) -> bool {
    match slot {
        Slot::Starts(_) => task.is_all_null(leaf),
        // Nothing else tells how many traces there are.
        _ => leaf != columns.trace_id && task.is_told_by_footer(leaf),
    }
}

/// Those leaves of a list that must be fetched. The others only say that there is no value, or that no value is an
/// array.
fn told_by_pages(task: &Task<'_>, list: &ListPlan<'_>, leaves: Vec<Leaf>) -> Vec<Leaf> {
    let array_flags = list.columns.generic.as_ref().and_then(|generic| generic.is_array);
    let is_told = |leaf: &Leaf| match array_flags == Some(*leaf) {
        true => task.is_all_null(*leaf) || task.is_all_false(*leaf),
        false => task.is_all_null(*leaf),
    };
    leaves.into_iter().filter(|leaf| !is_told(leaf)).collect()
}

/// The rows of trace, resource and scope of each span, computed from the levels of a fetched column.
fn read_rows(task: &mut Task<'_>, leaf: Leaf) -> Result<SpanRows> {
    task.column(Slot::Spine, |task| {
        let mut spine = Spine::with_capacity(task.entries_to_read(leaf));
        let needs = Needs { rep: true, def: true };
        task.pages(leaf, needs, &mut LevelsOnly, |page, _, _| spine.add_page(page))?;
        // What is kept is looked at more than once.
        Ok(spine.finish(!task.keeps_columns()))
    })
}

/// The number of spans, which is that of their start times. These are kept until they are needed.
fn count_starts(task: &mut Task<'_>, columns: &Columns) -> Result<usize> {
    let starts = task.all_words(columns.start)?;
    let count = starts.len();
    task.hold(Slot::Column(columns.start.index), starts);
    Ok(count)
}

/// Rows of the tables.
#[derive(Default)]
struct Counts {
    traces: usize,
    resources: usize,
    scopes: usize,
    spans: usize,
    events: usize,
    links: usize,
}

impl Counts {
    fn owners(&self, owner: AttributeOwner) -> usize {
        match owner {
            AttributeOwner::Resource => self.resources,
            AttributeOwner::Scope => self.scopes,
            AttributeOwner::Span => self.spans,
            AttributeOwner::Event => self.events,
            AttributeOwner::Link => self.links,
        }
    }
}

/// The cheapest column from which to compute the rows of each span. Only its levels are used, but a column that is not
/// read for its values has to be fetched as well.
pub(crate) fn spine_leaf(task: &Task<'_>, wanted: &[Leaf], columns: &Columns) -> Leaf {
    const FETCH_COST: i64 = 32;
    let cost = |leaf: &Leaf| {
        let Some(chunk) = task.metadata(*leaf) else { return i64::MAX };
        let fetch = if wanted.contains(leaf) { 0 } else { chunk.compressed_size };
        chunk.uncompressed_size.saturating_add(fetch.saturating_mul(FETCH_COST))
    };
    columns.of_spans().into_iter().min_by_key(cost).unwrap_or(columns.kind)
}

fn read_summaries(
    task: &mut Task<'_>,
    columns: &Columns,
    projection: &Projection,
    traces: usize,
) -> Result<TraceSummaries> {
    let mut out = TraceSummaries {
        start: task.words(columns.trace_start, traces)?,
        end: task.words(columns.trace_end, traces)?,
        ..TraceSummaries::default()
    };
    if projection.trace_roots {
        out.root_service = task.codes(columns.root_service, traces)?;
        out.root_name = task.codes(columns.root_name, traces)?;
    }
    if !projection.service_stats {
        return Ok(out);
    }
    let Some(stats) = columns.service_stats else { return Ok(out) };
    out.service_starts = starts_of(task, stats.service, 0, traces)?;
    let services = last(&out.service_starts);
    out.service_name = task.codes(stats.service, services)?;
    out.service_spans = task.counts(Some(stats.spans), services)?;
    out.service_errors = task.counts(Some(stats.errors), services)?;
    Ok(out)
}

/// Where the items of each of `owners` at a level start, and the end.
fn starts_of(task: &mut Task<'_>, leaf: Leaf, level: u8, owners: usize) -> Result<Buffer<u32>> {
    if task.is_all_null(leaf) {
        return Ok(vec![0; owners + 1].into());
    }
    let starts = task.column(Slot::Starts(leaf.index), |task| {
        let (mut starts, mut items) = (Vec::with_capacity(owners + 1), 0);
        let needs = Needs { rep: true, def: true };
        task.pages(leaf, needs, &mut LevelsOnly, |page, _, _| {
            add_starts(page, level, &mut starts, &mut items);
            Ok(())
        })?;
        starts.push(items);
        Ok(Buffer::from(starts))
    })?;
    task.expect(leaf, starts.len(), owners + 1)?;
    Ok(starts)
}

fn last(starts: &[u32]) -> usize {
    starts.last().map_or(0, |&end| end as usize)
}

fn read_spans(
    task: &mut Task<'_>,
    columns: &Columns,
    projection: &Projection,
    rows: SpanRows,
) -> Result<SpanColumns> {
    let count = rows.trace.len();
    let mut out = SpanColumns {
        trace: rows.trace,
        resource: rows.resource,
        scope: rows.scope,
        ..SpanColumns::default()
    };
    if projection.span_id {
        out.span_id = task.ids(columns.span_id, count, SpanId)?;
    }
    if projection.parent_span_id {
        out.parent_span_id = task.ids(columns.parent_span_id, count, SpanId)?;
    }
    if columns.needs_start(projection) {
        out.start = task.words(columns.start, count)?;
    }
    if projection.duration {
        out.duration = task.words(columns.duration, count)?;
    }
    if projection.name {
        out.name = task.codes(columns.name, count)?;
    }
    if projection.kind {
        out.kind = task.small_words(columns.kind, count)?;
    }
    if projection.status {
        out.status = task.small_words(columns.status, count)?;
    }
    if projection.status_message {
        out.status_message = task.codes(columns.status_message, count)?;
    }
    if projection.trace_state {
        out.trace_state = task.codes(columns.trace_state, count)?;
    }
    if projection.dropped_counts {
        out.dropped_attributes = task.counts(columns.dropped_attributes, count)?;
        out.dropped_events = task.counts(columns.dropped_events, count)?;
        out.dropped_links = task.counts(columns.dropped_links, count)?;
    }
    if projection.nested_left {
        out.nested_left = task.ints(columns.nested_left, count)?;
    }
    if projection.nested_right {
        out.nested_right = task.ints(columns.nested_right, count)?;
    }
    if projection.nested_parent {
        out.nested_parent = task.ints(columns.nested_parent, count)?;
    }
    Ok(out)
}

/// Which span owns which events and links.
fn read_starts(
    task: &mut Task<'_>,
    columns: &Columns,
    plan: &Plan<'_>,
    batch: &mut SpanBatch,
    counts: &mut Counts,
) -> Result<()> {
    if plan.events {
        batch.events.starts = starts_of(task, columns.event_time, 3, counts.spans)?;
        counts.events = last(&batch.events.starts);
    }
    if plan.links
        && let LinkColumns::Fields { trace_id, .. } = columns.links
    {
        batch.links.starts = starts_of(task, trace_id, 3, counts.spans)?;
        counts.links = last(&batch.links.starts);
    }
    Ok(())
}
