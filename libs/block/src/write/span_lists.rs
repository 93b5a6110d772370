//! Events and links of spans, and span attributes with a column of their own.

use super::leaves::{LeafWriter, Shape};
use super::row_group::{Columns, Scratch, gather};
use super::slot_columns::Found;
use super::strings::Strings;
use crate::error::Result;

impl Columns<'_> {
    pub(super) fn events(
        &mut self,
        writer: &mut LeafWriter<'_>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let (schema, keys) = (self.source.schema, self.source.event_keys);
        let leaf = &schema.leaves;
        let Scratch { spans, elements: levels, attributes, integers, children, slots, .. } =
            &mut *self.scratch;
        let (batch, order) = (self.source.batch, self.layout.order.as_slice());
        let events = &batch.events;
        let counts = order.iter().map(|&row| events.range(row as usize).len());
        levels.set_children(spans, counts);
        children.clear();
        integers.clear();
        for &row in order {
            let start = batch.spans.start[row as usize];
            for event in events.range(row as usize) {
                children.push(event as u32);
                integers.push(events.time[event].wrapping_sub(start) as i64);
            }
        }
        writer.integers(leaf.event_time_since_start, levels, Shape::Required, integers)?;
        let names = events.name.as_slice();
        let values = children.iter().map(|&event| names[event as usize]);
        writer.strings(leaf.event_name, levels, Shape::Required, values, strings)?;
        let list = &events.attributes;
        attributes.clear();
        slots.clear(keys.count());
        for (&event, owner) in children.iter().zip(0..) {
            let entries = list.range(event as usize);
            if keys.count() == 0 {
                attributes.add_owner(entries, |_| true);
                continue;
            }
            let of_event = keys.of_owner(list, entries.clone());
            attributes.add_owner(entries, |entry| {
                let Some((slot, value)) = of_event.of(entry) else { return true };
                slots.found[slot].push(Found { owner, value });
                false
            });
        }
        attributes.write(writer, leaf.event_attributes, levels, list, strings)?;
        gather(integers, children, &events.dropped_attributes, |count| i64::from(count as i32));
        writer.integers(leaf.event_dropped_attributes, levels, Shape::Required, integers)?;
        for (slot, column) in schema.event_columns.iter().enumerate() {
            slots.write(writer, column, slot, levels, strings)?;
        }
        gather(integers, order, &batch.spans.dropped_events, |count| i64::from(count as i32));
        writer.integers(leaf.span_dropped_events, spans, Shape::Required, integers)
    }

    pub(super) fn links(
        &mut self,
        writer: &mut LeafWriter<'_>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let leaf = &self.source.schema.leaves;
        let Scratch { spans, elements: levels, attributes, integers, children, .. } =
            &mut *self.scratch;
        let (batch, order) = (self.source.batch, self.layout.order.as_slice());
        let links = &batch.links;
        levels.set_children(spans, order.iter().map(|&row| links.range(row as usize).len()));
        children.clear();
        for &row in order {
            children.extend(links.range(row as usize).map(|link| link as u32));
        }
        let at = |position: usize| children[position] as usize;
        let (traces, ids) = (links.trace_id.as_slice(), links.span_id.as_slice());
        let states = links.trace_state.as_slice();
        let required = || Shape::Required;
        writer.bytes(leaf.link_trace_id, levels, required(), |link| &traces[at(link)].0)?;
        writer.bytes(leaf.link_span_id, levels, required(), |link| &ids[at(link)].0)?;
        writer.bytes(leaf.link_trace_state, levels, required(), |link| {
            strings.get(states[at(link)])
        })?;
        attributes.clear();
        for &link in children.iter() {
            attributes.add_owner(links.attributes.range(link as usize), |_| true);
        }
        attributes.write(writer, leaf.link_attributes, levels, &links.attributes, strings)?;
        gather(integers, children, &links.dropped_attributes, |count| i64::from(count as i32));
        writer.integers(leaf.link_dropped_attributes, levels, required(), integers)?;
        gather(integers, order, &batch.spans.dropped_links, |count| i64::from(count as i32));
        writer.integers(leaf.span_dropped_links, spans, required(), integers)
    }

    /// The static and dedicated columns of spans.
    pub(super) fn span_slots(
        &mut self,
        writer: &mut LeafWriter<'_>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let Scratch { spans: levels, slots, .. } = &mut *self.scratch;
        let list = &self.source.batch.span_attributes;
        let span_keys = self.source.span_keys;
        slots.clear(span_keys.count());
        for (&row, owner) in self.layout.order.iter().zip(0..) {
            let entries = list.range(row as usize);
            let of_span = span_keys.of_owner(list, entries.clone());
            for entry in entries {
                if let Some((slot, value)) = of_span.of(entry) {
                    slots.found[slot].push(Found { owner, value });
                }
            }
        }
        for (slot, column) in self.source.schema.span_columns.iter().enumerate() {
            slots.write(writer, column, slot, levels, strings)?;
        }
        Ok(())
    }
}
