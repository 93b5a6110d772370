//! One batch to one row group: all leaf columns in the order of the schema.

use std::io::Write;

use tactus_model::{SpanBatch, SpanId, StringCode, nested_set::NestedSet};

use super::attributes::AttributeScratch;
use super::canonical::CanonicalResources;
use super::layout::Layout;
use super::leaves::{LeafScratch, LeafWriter, Shape};
use super::levels::Levels;
use super::slots::{BatchSlots, NULL, SlotNames};
use super::strings::Strings;
use super::traces::TraceColumns;
use crate::error::Result;
use crate::schema::leaf;

/// Memory that one row group after another uses.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) leaves: LeafScratch,
    pub(super) layout: Layout,
    pub(super) traces: TraceColumns,
    pub(super) attributes: AttributeScratch,
    rows: Levels,
    parents: Levels,
    pub(super) elements: Levels,
    pub(super) spans: Levels,
    pub(super) integers: Vec<i64>,
    pub(super) codes: Vec<StringCode>,
    pub(super) flags: Vec<u8>,
    pub(super) children: Vec<u32>,
    nested_set: NestedSet,
    nested: [Vec<i64>; 3],
}

/// What a row group is made of.
pub(super) struct Source<'a> {
    pub(super) batch: &'a SpanBatch,
    pub(super) resources: &'a CanonicalResources,
    pub(super) resource_slots: &'a SlotNames,
    pub(super) span_slots: &'a SlotNames,
    pub(super) span_keys: &'a BatchSlots,
}

/// Writes all leaf columns of a row group whose layout and trace columns are set.
pub(super) fn write_columns<W: Write + Send>(
    writer: &mut LeafWriter<'_, W>,
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
    columns.span_slots(writer, &strings)
}

/// Writes the columns of one level after another.
pub(super) struct Columns<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) layout: &'a Layout,
    pub(super) scratch: &'a mut Scratch,
}

impl Columns<'_> {
    fn traces<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        traces: &TraceColumns,
        strings: &Strings<'_>,
    ) -> Result<()> {
        let ids = self.source.batch.traces.ids.as_slice();
        let texts: Vec<String> = ids.iter().map(|id| id.to_hex_trimmed()).collect();
        let rows = &mut self.scratch.rows;
        rows.set_rows(writer.pages);
        writer.bytes(leaf::TRACE_ID, rows, Shape::Required, |row| &ids[row].0)?;
        writer.bytes(leaf::TRACE_ID_TEXT, rows, Shape::Required, |row| texts[row].as_bytes())?;
        writer.integers(leaf::TRACE_START, rows, Shape::Required, &traces.start)?;
        writer.integers(leaf::TRACE_END, rows, Shape::Required, &traces.end)?;
        writer.integers(leaf::TRACE_DURATION, rows, Shape::Required, &traces.duration)?;
        let services = traces.root_service.iter().copied();
        writer.strings(leaf::ROOT_SERVICE_NAME, rows, Shape::Required, services, strings)?;
        let names = traces.root_name.iter().copied();
        writer.strings(leaf::ROOT_SPAN_NAME, rows, Shape::Required, names, strings)?;

        let levels = &mut self.scratch.elements;
        levels.set_children(rows, traces.service_counts.iter().map(|&count| count as usize));
        writer.bytes(leaf::SERVICE_STATS_KEY, levels, Shape::Required, |service| {
            strings.get(traces.service_names[service])
        })?;
        let (counts, errors) = (&traces.service_spans, &traces.service_errors);
        writer.integers(leaf::SERVICE_STATS_SPAN_COUNT, levels, Shape::Required, counts)?;
        writer.integers(leaf::SERVICE_STATS_ERROR_COUNT, levels, Shape::Required, errors)
    }

    fn resources<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let Scratch { rows, parents: levels, attributes, integers, codes, flags, .. } =
            &mut *self.scratch;
        let entries = &self.layout.resources;
        let counts =
            self.layout.trace_resources.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
        levels.set_children(rows, counts);

        let list = &self.source.resources.attributes;
        attributes.clear();
        for entry in entries {
            attributes.add_owner(list.range(entry.canonical as usize), |_| true);
        }
        attributes.write(writer, leaf::RESOURCE_ATTRIBUTES, levels, list, strings)?;

        let dropped = self.source.batch.resources.dropped_attributes.as_slice();
        integers.clear();
        integers
            .extend(entries.iter().map(|entry| i64::from(dropped[entry.first as usize] as i32)));
        writer.integers(leaf::RESOURCE_DROPPED_ATTRIBUTES, levels, Shape::Required, integers)?;

        let slots = &self.source.resource_slots.leaves;
        for leaf in leaf::RESOURCE_SERVICE_NAME..leaf::SCOPE_NAME {
            let slot = slots.iter().position(|&slot| slot == leaf);
            codes.clear();
            if let Some(slot) = slot {
                let column = |entry: u32| self.source.resources.column(entry, slot);
                codes.extend(entries.iter().map(|entry| column(entry.canonical)));
            }
            if leaf == leaf::RESOURCE_SERVICE_NAME {
                let names = codes.iter().map(|&code| if code == NULL { 0 } else { code });
                writer.strings(leaf, levels, Shape::Required, names, strings)?;
            } else {
                write_optional(writer, leaf, levels, codes, flags, strings)?;
            }
        }
        Ok(())
    }

    fn scopes<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let Scratch { parents, elements: levels, attributes, integers, spans, .. } =
            &mut *self.scratch;
        let (batch, entries) = (self.source.batch, &self.layout.scopes);
        let counts = self.layout.resources.iter().map(|entry| entry.scopes as usize);
        levels.set_children(parents, counts);

        let rows = || entries.iter().map(|entry| entry.first as usize);
        let (names, versions) = (batch.scopes.name.as_slice(), batch.scopes.version.as_slice());
        let values = rows().map(|row| names[row]);
        writer.strings(leaf::SCOPE_NAME, levels, Shape::Required, values, strings)?;
        let values = rows().map(|row| versions[row]);
        writer.strings(leaf::SCOPE_VERSION, levels, Shape::Required, values, strings)?;

        let list = &batch.scopes.attributes;
        attributes.clear();
        for row in rows() {
            attributes.add_owner(list.range(row), |_| true);
        }
        attributes.write(writer, leaf::SCOPE_ATTRIBUTES, levels, list, strings)?;

        let dropped = batch.scopes.dropped_attributes.as_slice();
        integers.clear();
        integers.extend(rows().map(|row| i64::from(dropped[row] as i32)));
        writer.integers(leaf::SCOPE_DROPPED_ATTRIBUTES, levels, Shape::Required, integers)?;
        spans.set_children(levels, entries.iter().map(|entry| entry.spans as usize));
        Ok(())
    }

    fn spans<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        strings: &Strings<'_>,
    ) -> Result<()> {
        let (spans, order) = (&self.source.batch.spans, self.layout.order.as_slice());
        let (ids, parent_ids) = (spans.span_id.as_slice(), spans.parent_span_id.as_slice());
        let at = |position: usize| order[position] as usize;
        let required = || Shape::Required;
        self.number_spans();
        let Scratch { spans: levels, integers, nested, .. } = &mut *self.scratch;

        writer.bytes(leaf::SPAN_ID, levels, required(), |position| &ids[at(position)].0)?;
        writer.bytes(leaf::PARENT_SPAN_ID, levels, required(), |position| {
            let parent = &parent_ids[at(position)];
            if parent.is_zero() { b"".as_slice() } else { &parent.0 }
        })?;
        let [left, right, parent] = &*nested;
        writer.integers(leaf::SPAN_NESTED_PARENT, levels, required(), parent)?;
        writer.integers(leaf::SPAN_NESTED_LEFT, levels, required(), left)?;
        writer.integers(leaf::SPAN_NESTED_RIGHT, levels, required(), right)?;

        let names = spans.name.as_slice();
        let values = order.iter().map(|&row| names[row as usize]);
        writer.strings(leaf::SPAN_NAME, levels, required(), values, strings)?;
        gather(integers, order, &spans.kind, i64::from);
        writer.integers(leaf::SPAN_KIND, levels, required(), integers)?;
        let states = spans.trace_state.as_slice();
        writer.bytes(leaf::SPAN_TRACE_STATE, levels, required(), |position| {
            strings.get(states[at(position)])
        })?;
        gather(integers, order, &spans.start, |start| start as i64);
        writer.integers(leaf::SPAN_START, levels, required(), integers)?;
        gather(integers, order, &spans.duration, |duration| duration as i64);
        writer.integers(leaf::SPAN_DURATION, levels, required(), integers)?;
        gather(integers, order, &spans.status, i64::from);
        writer.integers(leaf::SPAN_STATUS_CODE, levels, required(), integers)?;
        let messages = spans.status_message.as_slice();
        writer.bytes(leaf::SPAN_STATUS_MESSAGE, levels, required(), |position| {
            strings.get(messages[at(position)])
        })
    }

    /// Computes the nested-set numbers of all spans, in file order.
    fn number_spans(&mut self) {
        let spans = &self.source.batch.spans;
        let Scratch { nested_set, nested, .. } = &mut *self.scratch;
        nested.iter_mut().for_each(Vec::clear);
        let (mut ids, mut parents, mut kinds): (Vec<SpanId>, Vec<SpanId>, Vec<u8>) =
            Default::default();
        for trace in 0..self.layout.trace_spans.len() - 1 {
            let rows = &self.layout.order[self.layout.spans_of(trace)];
            ids.clear();
            ids.extend(rows.iter().map(|&row| spans.span_id[row as usize]));
            parents.clear();
            parents.extend(rows.iter().map(|&row| spans.parent_span_id[row as usize]));
            kinds.clear();
            kinds.extend(rows.iter().map(|&row| spans.kind[row as usize]));
            nested_set.compute(&ids, &parents, &kinds);
            let numbers = [&nested_set.left, &nested_set.right, &nested_set.parent];
            for (column, numbers) in nested.iter_mut().zip(numbers) {
                column.extend(numbers.iter().map(|&number| i64::from(number)));
            }
        }
    }

    fn span_attributes<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let Scratch { spans: levels, attributes, integers, .. } = &mut *self.scratch;
        let (batch, order) = (self.source.batch, self.layout.order.as_slice());
        let list = &batch.span_attributes;
        let (keys, types) = (list.keys.as_slice(), list.types.as_slice());
        let span_keys = self.source.span_keys;
        attributes.clear();
        for &row in order {
            attributes.add_owner(list.range(row as usize), |entry| {
                span_keys.of(keys[entry], types[entry]).is_none()
            });
        }
        attributes.write(writer, leaf::SPAN_ATTRIBUTES, levels, list, strings)?;
        gather(integers, order, &batch.spans.dropped_attributes, |count| i64::from(count as i32));
        writer.integers(leaf::SPAN_DROPPED_ATTRIBUTES, levels, Shape::Required, integers)
    }
}

/// Writes an optional string column from one code an element, [`NULL`] where there is none.
pub(super) fn write_optional<W: Write + Send>(
    writer: &mut LeafWriter<'_, W>,
    leaf: usize,
    levels: &mut Levels,
    codes: &[StringCode],
    flags: &mut Vec<u8>,
    strings: &Strings<'_>,
) -> Result<()> {
    if codes.iter().all(|&code| code == NULL) {
        return writer.null(leaf, levels);
    }
    flags.clear();
    flags.extend(codes.iter().map(|&code| u8::from(code != NULL)));
    levels.align(flags, 0);
    let values = codes.iter().copied().filter(|&code| code != NULL);
    writer.strings(leaf, levels, Shape::Optional(flags), values, strings)
}

pub(super) fn gather<T: Copy>(
    out: &mut Vec<i64>,
    rows: &[u32],
    column: &[T],
    widen: impl Fn(T) -> i64,
) {
    out.clear();
    out.extend(rows.iter().map(|&row| widen(column[row as usize])));
}
