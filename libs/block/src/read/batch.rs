//! From column chunks to a [`SpanBatch`].

use std::ops::Range;

use tactus_model::{
    AttributeList, EventTable, LinkTable, Projection, ResourceTable, ScopeTable, SpanBatch,
    SpanColumns, SpanId, TraceId, TraceSummaries, TraceTable,
};

use crate::Result;

use super::File;
use super::attributes::{KeyScan, key_leaf, read_list, scan_keys, value_leaves};
use super::chunk::Needs;
use super::columns::{Columns, Leaf};
use super::plan::Plan;
use super::prune::AttributeOwner;
use super::spine::{Spine, add_starts};
use super::task::Task;
use super::values::{LevelsOnly, Strings, Words};

/// Reads the projected columns of a row group, or of some of its rows.
pub(crate) fn read_batch(
    file: &File,
    row_group: usize,
    rows: Option<Range<u64>>,
    projection: &Projection,
) -> Result<SpanBatch> {
    let columns = &file.columns;
    let plan = Plan::new(columns, projection);
    let mut task = Task::new(file, row_group, rows);
    let spine_leaf = spine_leaf(&task, &plan.leaves, columns);
    let mut leaves = plan.leaves.clone();
    leaves.push(spine_leaf);
    task.fetch(&leaves)?;

    let mut batch = SpanBatch::default();
    let ids = trace_ids(&mut task, columns.trace_id)?;
    let traces = ids.len();
    let mut spine = Spine::with_capacity(task.entries_to_read(spine_leaf));
    let needs = Needs { rep: true, def: true };
    task.pages(spine_leaf, needs, &mut LevelsOnly, |page, _, _| spine.add_page(page))?;
    task.expect(spine_leaf, spine.traces as usize, traces)?;
    let counts = Counts {
        resources: spine.resources as usize,
        scopes: spine.scopes as usize,
        spans: spine.spans(),
    };

    batch.traces = TraceTable { ids: ids.into(), summaries: None };
    if projection.trace_summary {
        let stats = projection.service_stats;
        batch.traces.summaries = Some(read_summaries(&mut task, columns, stats, traces)?);
    }
    batch.spans = read_spans(&mut task, columns, projection, spine)?;
    read_resources_and_scopes(&mut task, columns, projection, &counts, &mut batch)?;
    let (events, links) = read_tables(&mut task, columns, projection, &plan, &batch.spans)?;
    (batch.events, batch.links) = (events, links);
    read_lists(&mut task, &plan, &counts, &mut batch)?;
    if !projection.start {
        batch.spans.start = Vec::new().into();
    }
    batch.strings = task.pool.finish();
    Ok(batch)
}

/// Rows of the tables.
struct Counts {
    resources: usize,
    scopes: usize,
    spans: usize,
}

/// The cheapest column that tells the rows of each span: its pages are decompressed for their levels, and
/// a column that is not read anyway must be fetched too.
fn spine_leaf(task: &Task<'_>, wanted: &[Leaf], columns: &Columns) -> Leaf {
    const FETCH_COST: i64 = 4;
    let cost = |leaf: &Leaf| {
        let Some(chunk) = task.metadata(*leaf) else { return i64::MAX };
        let fetch = if wanted.contains(leaf) { 0 } else { chunk.compressed_size() };
        chunk.uncompressed_size().saturating_add(fetch.saturating_mul(FETCH_COST))
    };
    columns.of_spans().into_iter().min_by_key(cost).unwrap_or(columns.kind)
}

/// The trace ids of a task that has fetched their column.
pub(crate) fn trace_ids(task: &mut Task<'_>, leaf: Leaf) -> Result<Vec<TraceId>> {
    let mut ids = Vec::new();
    task.pages(leaf, Needs::default(), &mut Strings::default(), |_, strings, _| {
        strings.ids(TraceId, &mut ids);
        Ok(())
    })?;
    Ok(ids)
}

fn read_summaries(
    task: &mut Task<'_>,
    columns: &Columns,
    with_services: bool,
    traces: usize,
) -> Result<TraceSummaries> {
    let mut out = TraceSummaries {
        start: task.words(columns.trace_start, traces)?.into(),
        end: task.words(columns.trace_end, traces)?.into(),
        root_service: task.codes(columns.root_service, traces)?.into(),
        root_name: task.codes(columns.root_name, traces)?.into(),
        ..TraceSummaries::default()
    };
    if !with_services {
        return Ok(out);
    }
    let Some(stats) = columns.service_stats else {
        out.service_starts = vec![0; traces + 1].into();
        return Ok(out);
    };
    let (mut starts, mut services, mut names) = (Vec::new(), 0, Vec::new());
    let needs = Needs { rep: true, def: true };
    task.pages(stats.service, needs, &mut Strings::default(), |page, strings, pool| {
        add_starts(page, 0, &mut starts, &mut services);
        strings.resolve_all(pool, &mut names)
    })?;
    starts.push(services);
    task.expect(stats.service, starts.len(), traces + 1)?;
    task.expect(stats.service, names.len(), services as usize)?;
    out.service_starts = starts.into();
    out.service_name = names.into();
    out.service_spans = task.counts(Some(stats.spans), services as usize)?.into();
    out.service_errors = task.counts(Some(stats.errors), services as usize)?.into();
    Ok(out)
}

fn read_spans(
    task: &mut Task<'_>,
    columns: &Columns,
    projection: &Projection,
    spine: Spine,
) -> Result<SpanColumns> {
    let count = spine.spans();
    let mut out = SpanColumns {
        trace: spine.trace.into(),
        resource: spine.resource.into(),
        scope: spine.scope.into(),
        ..SpanColumns::default()
    };
    if projection.span_id {
        out.span_id = task.ids(columns.span_id, count, SpanId)?.into();
    }
    if projection.parent_span_id {
        out.parent_span_id = task.ids(columns.parent_span_id, count, SpanId)?.into();
    }
    if projection.start || projection.events {
        out.start = task.words(columns.start, count)?.into();
    }
    if projection.duration {
        out.duration = task.words(columns.duration, count)?.into();
    }
    if projection.name {
        out.name = task.codes(columns.name, count)?.into();
    }
    if projection.kind {
        out.kind = task.small_words(columns.kind, count)?.into();
    }
    if projection.status {
        out.status = task.small_words(columns.status, count)?.into();
    }
    if projection.status_message {
        out.status_message = task.codes(columns.status_message, count)?.into();
    }
    if projection.trace_state {
        out.trace_state = task.codes(columns.trace_state, count)?.into();
    }
    if projection.dropped_counts {
        out.dropped_attributes = task.counts(columns.dropped_attributes, count)?.into();
        out.dropped_events = task.counts(columns.dropped_events, count)?.into();
        out.dropped_links = task.counts(columns.dropped_links, count)?.into();
    }
    if projection.nested_set {
        out.nested_left = task.ints(columns.nested_left, count)?.into();
        out.nested_right = task.ints(columns.nested_right, count)?.into();
        out.nested_parent = task.ints(columns.nested_parent, count)?.into();
    }
    Ok(out)
}

fn read_resources_and_scopes(
    task: &mut Task<'_>,
    columns: &Columns,
    projection: &Projection,
    counts: &Counts,
    batch: &mut SpanBatch,
) -> Result<()> {
    let (mut resources, mut scopes) = (ResourceTable::default(), ScopeTable::default());
    if projection.scope_name {
        scopes.name = task.codes(columns.scope_name, counts.scopes)?.into();
        scopes.version = task.codes(columns.scope_version, counts.scopes)?.into();
    }
    if projection.dropped_counts {
        let dropped = task.counts(columns.resource_dropped, counts.resources)?;
        resources.dropped_attributes = dropped.into();
        scopes.dropped_attributes = task.counts(columns.scope_dropped, counts.scopes)?.into();
    }
    (batch.resources, batch.scopes) = (resources, scopes);
    Ok(())
}

/// Events and links, without attributes.
fn read_tables(
    task: &mut Task<'_>,
    columns: &Columns,
    projection: &Projection,
    plan: &Plan<'_>,
    spans: &SpanColumns,
) -> Result<(EventTable, LinkTable)> {
    let (mut events, mut links) = (EventTable::default(), LinkTable::default());
    let needs = Needs { rep: true, def: true };
    let owners = spans.trace.len();
    if plan.events {
        let (mut starts, mut count, mut times) = (Vec::new(), 0, Vec::new());
        task.pages(columns.event_time, needs, &mut Words::default(), |page, words, _| {
            add_starts(page, 3, &mut starts, &mut count);
            times.extend_from_slice(&words.values);
            Ok(())
        })?;
        let count = finish_starts(task, columns.event_time, &mut starts, count, owners)?;
        task.expect(columns.event_time, times.len(), count)?;
        if projection.events {
            for (pair, &span_start) in starts.windows(2).zip(spans.start.iter()) {
                for time in &mut times[pair[0] as usize..pair[1] as usize] {
                    *time = time.wrapping_add(span_start);
                }
            }
            events.time = times.into();
        }
        events.starts = starts.into();
        if projection.event_name {
            events.name = task.codes(columns.event_name, count)?.into();
        }
        if projection.dropped_counts {
            events.dropped_attributes = task.counts(columns.event_dropped, count)?.into();
        }
    }
    if plan.links {
        let (mut starts, mut count) = (Vec::new(), 0);
        task.pages(columns.link_trace_id, needs, &mut LevelsOnly, |page, _, _| {
            add_starts(page, 3, &mut starts, &mut count);
            Ok(())
        })?;
        let count = finish_starts(task, columns.link_trace_id, &mut starts, count, owners)?;
        links.starts = starts.into();
        if projection.links {
            links.trace_id = task.ids(columns.link_trace_id, count, TraceId)?.into();
            links.span_id = task.ids(columns.link_span_id, count, SpanId)?.into();
            links.trace_state = task.codes(columns.link_trace_state, count)?.into();
        }
        if projection.dropped_counts {
            links.dropped_attributes = task.counts(columns.link_dropped, count)?.into();
        }
    }
    Ok((events, links))
}

fn finish_starts(
    task: &Task<'_>,
    leaf: Leaf,
    starts: &mut Vec<u32>,
    count: u32,
    owners: usize,
) -> Result<usize> {
    starts.push(count);
    task.expect(leaf, starts.len(), owners + 1)?;
    Ok(count as usize)
}

/// All attribute lists. Value columns are fetched only where the key column has a wanted key.
fn read_lists(
    task: &mut Task<'_>,
    plan: &Plan<'_>,
    counts: &Counts,
    batch: &mut SpanBatch,
) -> Result<()> {
    let owners = |owner: AttributeOwner, batch: &SpanBatch| match owner {
        AttributeOwner::Resource => counts.resources,
        AttributeOwner::Scope => counts.scopes,
        AttributeOwner::Span => counts.spans,
        AttributeOwner::Event => batch.events.starts.last().map_or(0, |end| *end as usize),
        AttributeOwner::Link => batch.links.starts.last().map_or(0, |end| *end as usize),
    };
    let mut scans = Vec::new();
    let mut leaves = Vec::new();
    for (owner, columns, selection) in &plan.lists {
        let owners = owners(*owner, batch);
        let scan = match key_leaf(columns, selection) {
            Some(leaf) => scan_keys(task, leaf, columns.level, selection, owners)?,
            None => KeyScan::default(),
        };
        if !scan.is_empty() {
            leaves.extend(value_leaves(columns));
        }
        scans.push(scan);
    }
    task.fetch(&leaves)?;
    for ((owner, columns, selection), scan) in plan.lists.iter().zip(scans) {
        let list: AttributeList = read_list(task, columns, selection, scan, owners(*owner, batch))?;
        match owner {
            AttributeOwner::Resource => batch.resources.attributes = list,
            AttributeOwner::Scope => batch.scopes.attributes = list,
            AttributeOwner::Span => batch.span_attributes = list,
            AttributeOwner::Event => batch.events.attributes = list,
            AttributeOwner::Link => batch.links.attributes = list,
        }
    }
    Ok(())
}
