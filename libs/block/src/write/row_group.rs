//! Writes one batch as one row group: all leaf columns in schema order.

use tactus_model::{SpanBatch, nested_set::NestedSet};

use super::attributes::AttributeScratch;
use super::canonical::{CanonicalResources, SERVICE_NAME_SLOT};
use super::derived::{add_child_counts, rounded_start};
use super::layout::Layout;
use super::leaves::{LeafScratch, LeafWriter, Shape};
use super::levels::Levels;
use super::slot_columns::{Found, SlotScratch};
use super::slots::BatchSlots;
use super::strings::Strings;
use super::traces::TraceColumns;
use crate::error::Result;
use crate::schema::Schema;
use crate::schema::leaf::ROUNDED_SECONDS;

/// Memory that one row group after another uses.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) leaves: LeafScratch,
    pub(super) layout: Layout,
    pub(super) traces: TraceColumns,
    pub(super) attributes: AttributeScratch,
    rows: Levels,
    parents: Levels,
    scopes: Levels,
    pub(super) elements: Levels,
    pub(super) spans: Levels,
    pub(super) integers: Vec<i64>,
    pub(super) slots: SlotScratch,
    pub(super) children: Vec<u32>,
    nested_set: NestedSet,
    nested: [Vec<i64>; 3],
    child_counts: Vec<i64>,
    of_left: Vec<u32>,
}

/// What a row group is made of.
pub(super) struct Source<'a> {
    pub(super) schema: &'a Schema,
    pub(super) batch: &'a SpanBatch,
    pub(super) resources: &'a CanonicalResources,
    pub(super) span_keys: &'a BatchSlots<'a>,
    pub(super) event_keys: &'a BatchSlots<'a>,
}

/// Writes all leaf columns of a row group, whose layout and trace columns must be set.
pub(super) fn write_columns(
    writer: &mut LeafWriter<'_>,
    source: &Source<'_>,
    layout: &Layout,
    traces: &TraceColumns,
    scratch: &mut Scratch,
) -> Result<()> {
    let mut strings = Strings::new(&source.batch.strings);
    let mut columns = Columns { source, layout, scratch };
    columns.traces(writer, traces, &strings)?;
    columns.resources(writer, &mut strings)?;
    columns.scopes(writer, &mut strings)?;
    columns.spans(writer, &strings)?;
    columns.span_attributes(writer, &mut strings)?;
    columns.events(writer, &mut strings)?;
    columns.links(writer, &mut strings)?;
    columns.span_slots(writer, &mut strings)?;
    columns.counts(writer)
}

/// Writes the columns of one level after another.
pub(super) struct Columns<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) layout: &'a Layout,
    pub(super) scratch: &'a mut Scratch,
}

impl Columns<'_> {
    fn traces(
        &mut self,
        writer: &mut LeafWriter<'_>,
        traces: &TraceColumns,
        strings: &Strings<'_>,
    ) -> Result<()> {
        let schema = self.source.schema;
        let leaf = &schema.leaves;
        let ids = self.source.batch.traces.ids.as_slice();
        let texts: Vec<String> = ids.iter().map(|id| id.to_hex_trimmed()).collect();
        let rows = &mut self.scratch.rows;
        rows.set_rows(writer.pages);
        writer.bytes(leaf.trace_id, rows, Shape::Required, |row| &ids[row].0)?;
        writer.bytes(leaf.trace_id_text, rows, Shape::Required, |row| texts[row].as_bytes())?;
        writer.integers(leaf.trace_start, rows, Shape::Required, &traces.start)?;
        writer.integers(leaf.trace_end, rows, Shape::Required, &traces.end)?;
        writer.integers(leaf.trace_duration, rows, Shape::Required, &traces.duration)?;
        let services = traces.root_service.iter().copied();
        writer.strings(leaf.root_service_name, rows, Shape::Required, services, strings)?;
        let names = traces.root_name.iter().copied();
        writer.strings(leaf.root_span_name, rows, Shape::Required, names, strings)?;

        let levels = &mut self.scratch.elements;
        levels.set_children(rows, traces.service_counts.iter().map(|&count| count as usize));
        let names = &traces.service_names;
        if schema.is_v5() {
            let names = names.iter().copied();
            writer.strings(leaf.service_stats_name, levels, Shape::Required, names, strings)?;
        } else {
            let name = |service: usize| strings.get(names[service]);
            writer.bytes(leaf.service_stats_name, levels, Shape::Required, name)?;
        }
        let (counts, errors) = (&traces.service_spans, &traces.service_errors);
        writer.integers(leaf.service_stats_span_count, levels, Shape::Required, counts)?;
        writer.integers(leaf.service_stats_error_count, levels, Shape::Required, errors)
    }

    fn resources(&mut self, writer: &mut LeafWriter<'_>, strings: &mut Strings<'_>) -> Result<()> {
        let (schema, resources) = (self.source.schema, self.source.resources);
        let leaf = &schema.leaves;
        let Scratch { rows, parents: levels, attributes, integers, slots, .. } = &mut *self.scratch;
        let entries = &self.layout.resources;
        let counts =
            self.layout.trace_resources.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
        levels.set_children(rows, counts);
        let services = entries.iter().map(|entry| resources.service_column(entry.canonical));
        if schema.is_v5() {
            let services = services.clone();
            writer.strings(
                leaf.resource_service_name,
                levels,
                Shape::Required,
                services,
                strings,
            )?;
        }

        let list = &resources.attributes;
        attributes.clear();
        for entry in entries {
            attributes.add_owner(list.range(entry.canonical as usize), |_| true);
        }
        attributes.write(writer, leaf.resource_attributes, levels, list, strings)?;

        let dropped = self.source.batch.resources.dropped_attributes.as_slice();
        integers.clear();
        integers
            .extend(entries.iter().map(|entry| i64::from(dropped[entry.first as usize] as i32)));
        writer.integers(leaf.resource_dropped_attributes, levels, Shape::Required, integers)?;
        if !schema.is_v5() {
            writer.strings(
                leaf.resource_service_name,
                levels,
                Shape::Required,
                services,
                strings,
            )?;
        }

        let columns = &schema.resource_columns;
        slots.clear(columns.len());
        for (slot, column) in columns.iter().enumerate().skip(SERVICE_NAME_SLOT + 1) {
            slots.found[slot].extend(entries.iter().zip(0..).filter_map(|(entry, owner)| {
                let value = resources.value(entry.canonical, slot)?;
                Some(Found { owner, value })
            }));
            slots.write(writer, column, slot, levels, strings)?;
        }
        Ok(())
    }

    fn scopes(&mut self, writer: &mut LeafWriter<'_>, strings: &mut Strings<'_>) -> Result<()> {
        let leaf = &self.source.schema.leaves;
        let Scratch { parents, scopes: levels, attributes, integers, spans, .. } =
            &mut *self.scratch;
        let (batch, entries) = (self.source.batch, &self.layout.scopes);
        let counts = self.layout.resources.iter().map(|entry| entry.scopes as usize);
        levels.set_children(parents, counts);

        let rows = || entries.iter().map(|entry| entry.first as usize);
        let (names, versions) = (batch.scopes.name.as_slice(), batch.scopes.version.as_slice());
        let values = rows().map(|row| names[row]);
        writer.strings(leaf.scope_name, levels, Shape::Required, values, strings)?;
        let values = rows().map(|row| versions[row]);
        writer.strings(leaf.scope_version, levels, Shape::Required, values, strings)?;

        let list = &batch.scopes.attributes;
        attributes.clear();
        for row in rows() {
            attributes.add_owner(list.range(row), |_| true);
        }
        attributes.write(writer, leaf.scope_attributes, levels, list, strings)?;

        let dropped = batch.scopes.dropped_attributes.as_slice();
        integers.clear();
        integers.extend(rows().map(|row| i64::from(dropped[row] as i32)));
        writer.integers(leaf.scope_dropped_attributes, levels, Shape::Required, integers)?;
        spans.set_children(levels, entries.iter().map(|entry| entry.spans as usize));
        Ok(())
    }

    fn spans(&mut self, writer: &mut LeafWriter<'_>, strings: &Strings<'_>) -> Result<()> {
        let (spans, order) = (&self.source.batch.spans, self.layout.order.as_slice());
        let (ids, parent_ids) = (spans.span_id.as_slice(), spans.parent_span_id.as_slice());
        let at = |position: usize| order[position] as usize;
        let required = || Shape::Required;
        let leaf = &self.source.schema.leaves;
        self.number_spans();
        let Scratch { spans: levels, integers, nested, child_counts, .. } = &mut *self.scratch;

        writer.bytes(leaf.span_id, levels, required(), |position| &ids[at(position)].0)?;
        writer.bytes(leaf.parent_span_id, levels, required(), |position| {
            let parent = &parent_ids[at(position)];
            if parent.is_zero() { b"".as_slice() } else { &parent.0 }
        })?;
        let [left, right, parent] = &*nested;
        writer.integers(leaf.nested_parent, levels, required(), parent)?;
        writer.integers(leaf.nested_left, levels, required(), left)?;
        writer.integers(leaf.nested_right, levels, required(), right)?;
        if let Some(derived) = &leaf.derived {
            writer.integers(derived.child_count, levels, required(), child_counts)?;
        }

        let names = spans.name.as_slice();
        let values = order.iter().map(|&row| names[row as usize]);
        writer.strings(leaf.span_name, levels, required(), values, strings)?;
        gather(integers, order, &spans.kind, i64::from);
        writer.integers(leaf.span_kind, levels, required(), integers)?;
        let states = spans.trace_state.as_slice();
        writer.bytes(leaf.span_trace_state, levels, required(), |position| {
            strings.get(states[at(position)])
        })?;
        gather(integers, order, &spans.start, |start| start as i64);
        writer.integers(leaf.span_start, levels, required(), integers)?;
        gather(integers, order, &spans.duration, |duration| duration as i64);
        writer.integers(leaf.span_duration, levels, required(), integers)?;
        gather(integers, order, &spans.status, i64::from);
        writer.integers(leaf.span_status_code, levels, required(), integers)?;
        let messages = spans.status_message.as_slice();
        writer.bytes(leaf.span_status_message, levels, required(), |position| {
            strings.get(messages[at(position)])
        })
    }

    /// Computes the nested-set numbers of all spans, in file order.
    fn number_spans(&mut self) {
        let spans = &self.source.batch.spans;
        let has_counts = self.source.schema.is_v5();
        let Scratch { nested_set, nested, child_counts, of_left, .. } = &mut *self.scratch;
        nested.iter_mut().for_each(Vec::clear);
        child_counts.clear();
        for trace in 0..self.layout.trace_spans.len() - 1 {
            let rows = &self.layout.order[self.layout.spans_of(trace)];
            nested_set.compute_rows(rows, &spans.span_id, &spans.parent_span_id, &spans.kind);
            let numbers = [&nested_set.left, &nested_set.right, &nested_set.parent];
            for (column, numbers) in nested.iter_mut().zip(numbers) {
                column.extend(numbers.iter().map(|&number| i64::from(number)));
            }
            if has_counts {
                add_child_counts(child_counts, &nested_set.left, &nested_set.parent, of_left);
            }
        }
    }

    fn span_attributes(
        &mut self,
        writer: &mut LeafWriter<'_>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let leaf = &self.source.schema.leaves;
        let Scratch { spans: levels, attributes, integers, .. } = &mut *self.scratch;
        let (batch, order) = (self.source.batch, self.layout.order.as_slice());
        let list = &batch.span_attributes;
        let span_keys = self.source.span_keys;
        attributes.clear();
        for &row in order {
            let entries = list.range(row as usize);
            let owner = span_keys.of_owner(list, entries.clone());
            attributes.add_owner(entries, |entry| owner.of(entry).is_none());
        }
        attributes.write(writer, leaf.span_attributes, levels, list, strings)?;
        gather(integers, order, &batch.spans.dropped_attributes, |count| i64::from(count as i32));
        writer.integers(leaf.span_dropped_attributes, levels, Shape::Required, integers)
    }

    /// The columns at the end of spans and scopes that only vParquet5 has.
    fn counts(&mut self, writer: &mut LeafWriter<'_>) -> Result<()> {
        let Some(derived) = &self.source.schema.leaves.derived else { return Ok(()) };
        let Scratch { spans, scopes, integers, .. } = &mut *self.scratch;
        let (order, starts) = (&self.layout.order, &self.source.batch.spans.start);
        for which in 0..ROUNDED_SECONDS.len() {
            gather(integers, order, starts, |start| i64::from(rounded_start(start, which) as i32));
            let leaf = derived.start_rounded[which];
            writer.integers(leaf, spans, Shape::Required, integers)?;
        }
        integers.clear();
        integers.extend(self.layout.scopes.iter().map(|scope| i64::from(scope.spans as i32)));
        writer.integers(derived.span_count, scopes, Shape::Required, integers)
    }
}

/// One value of each of these rows.
pub(super) fn gather<T: Copy>(
    out: &mut Vec<i64>,
    rows: &[u32],
    column: &[T],
    widen: impl Fn(T) -> i64,
) {
    out.clear();
    out.extend(rows.iter().map(|&row| widen(column[row as usize])));
}
