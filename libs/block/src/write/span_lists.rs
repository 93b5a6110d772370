//! What hangs on spans besides attributes: events, links, and attributes with a column of their own.

use std::io::Write;

use tactus_model::StringCode;

use super::leaves::{LeafWriter, Shape};
use super::row_group::{Columns, Scratch, gather, write_optional};
use super::slots::NULL;
use super::strings::Strings;
use crate::error::Result;
use crate::schema::{LEAF_COUNT, leaf};

impl Columns<'_> {
    pub(super) fn events<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let Scratch { spans, elements: levels, attributes, integers, children, .. } =
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
        writer.integers(leaf::EVENT_TIME_SINCE_START, levels, Shape::Required, integers)?;
        let names = events.name.as_slice();
        let values = children.iter().map(|&event| names[event as usize]);
        writer.strings(leaf::EVENT_NAME, levels, Shape::Required, values, strings)?;
        attributes.clear();
        for &event in children.iter() {
            attributes.add_owner(events.attributes.range(event as usize), |_| true);
        }
        attributes.write(writer, leaf::EVENT_ATTRIBUTES, levels, &events.attributes, strings)?;
        gather(integers, children, &events.dropped_attributes, |count| i64::from(count as i32));
        writer.integers(leaf::EVENT_DROPPED_ATTRIBUTES, levels, Shape::Required, integers)?;
        gather(integers, order, &batch.spans.dropped_events, |count| i64::from(count as i32));
        writer.integers(leaf::SPAN_DROPPED_EVENTS, spans, Shape::Required, integers)
    }

    pub(super) fn links<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
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
        writer.bytes(leaf::LINK_TRACE_ID, levels, required(), |link| &traces[at(link)].0)?;
        writer.bytes(leaf::LINK_SPAN_ID, levels, required(), |link| &ids[at(link)].0)?;
        writer.bytes(leaf::LINK_TRACE_STATE, levels, required(), |link| {
            strings.get(states[at(link)])
        })?;
        attributes.clear();
        for &link in children.iter() {
            attributes.add_owner(links.attributes.range(link as usize), |_| true);
        }
        attributes.write(writer, leaf::LINK_ATTRIBUTES, levels, &links.attributes, strings)?;
        gather(integers, children, &links.dropped_attributes, |count| i64::from(count as i32));
        writer.integers(leaf::LINK_DROPPED_ATTRIBUTES, levels, required(), integers)?;
        gather(integers, order, &batch.spans.dropped_links, |count| i64::from(count as i32));
        writer.integers(leaf::SPAN_DROPPED_LINKS, spans, required(), integers)
    }

    /// The static and dedicated columns of spans.
    pub(super) fn span_slots<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        strings: &Strings<'_>,
    ) -> Result<()> {
        let Scratch { spans: levels, integers, codes, flags, .. } = &mut *self.scratch;
        let order = self.layout.order.as_slice();
        let list = &self.source.batch.span_attributes;
        let (keys, types) = (list.keys.as_slice(), list.types.as_slice());
        let slots = &self.source.span_slots.leaves;
        // One list of (span, payload) a slot: few spans have any of them.
        let mut found: Vec<Vec<(u32, u64)>> = vec![Vec::new(); slots.len()];
        for (position, &row) in order.iter().enumerate() {
            for entry in list.range(row as usize) {
                if let Some(slot) = self.source.span_keys.of(keys[entry], types[entry]) {
                    found[slot].push((position as u32, list.payloads[entry]));
                }
            }
        }
        for leaf in leaf::SPAN_HTTP_METHOD..LEAF_COUNT {
            let slot = slots.iter().position(|&slot| slot == leaf);
            let found = slot.map(|slot| std::mem::take(&mut found[slot])).unwrap_or_default();
            if leaf == leaf::SPAN_HTTP_STATUS_CODE {
                flags.clear();
                flags.resize(order.len(), 0);
                integers.clear();
                for same_span in found.chunk_by(|a, b| a.0 == b.0) {
                    let last = same_span[same_span.len() - 1];
                    flags[last.0 as usize] = 1;
                    integers.push(last.1 as i64);
                }
                levels.align(flags, 0);
                if integers.is_empty() {
                    writer.null(leaf, levels)?;
                } else {
                    writer.integers(leaf, levels, Shape::Optional(flags), integers)?;
                }
                continue;
            }
            codes.clear();
            if !found.is_empty() {
                codes.resize(order.len(), NULL);
            }
            for (position, payload) in found {
                codes[position as usize] = payload as StringCode;
            }
            write_optional(writer, leaf, levels, codes, flags, strings)?;
        }
        Ok(())
    }
}
