//! Copies spans with all they own, consecutive ones of an input column by column.

use std::ops::Range;

use super::{AttributeColumns, TraceMerger, UNMAPPED};
use crate::{
    AttributeList, Buffer, DictionaryBuilder, SpanBatch, SpanColumns, StringCode, ValueType,
};

impl TraceMerger<'_> {
    /// Appends spans of one trace that follow each other in an input.
    pub(super) fn append(&mut self, input: usize, rows: Range<usize>) {
        let (resources, scopes) = (self.columns[input].resource, self.columns[input].scope);
        for row in rows.clone() {
            let resource = self.resource(input, resources[row]);
            self.to.out.spans.resource.push(resource);
            let scope = self.scope(input, scopes[row]);
            self.to.out.spans.scope.push(scope);
        }
        let from = &self.columns[input];
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: self.inputs[input],
            to: &mut self.to.strings,
        };
        let SpanBatch { traces, spans, events, links, span_attributes, .. } = &mut self.to.out;
        let trace = traces.ids.len() as u32 - 1;
        spans.trace.make_mut().extend(std::iter::repeat_n(trace, rows.len()));
        extend(&mut spans.span_id, from.span_id, &rows);
        extend(&mut spans.parent_span_id, from.parent_span_id, &rows);
        extend(&mut spans.start, from.start, &rows);
        extend(&mut spans.duration, from.duration, &rows);
        map.extend(&mut spans.name, &from.name[rows.clone()]);
        extend(&mut spans.kind, from.kind, &rows);
        extend(&mut spans.status, from.status, &rows);
        if self.heads_only {
            extend_ends(&mut events.starts, from.event_starts, &rows);
            extend_ends(&mut links.starts, from.link_starts, &rows);
            return;
        }
        map.extend(&mut spans.status_message, &from.status_message[rows.clone()]);
        map.extend(&mut spans.trace_state, &from.trace_state[rows.clone()]);
        extend(&mut spans.dropped_attributes, from.dropped_attributes, &rows);
        extend(&mut spans.dropped_events, from.dropped_events, &rows);
        extend(&mut spans.dropped_links, from.dropped_links, &rows);
        if !from.origin.is_empty() {
            let first = spans.trace.len() - rows.len();
            for (row, &origin) in (first..).zip(&from.origin[rows.clone()]) {
                raise_origin(spans, row, origin);
            }
        }
        copy_attributes(from.attributes, rows.clone(), span_attributes, &mut map);
        self.append_events(input, &rows);
        self.append_links(input, &rows);
        self.put_higher_origins(input as u32, rows);
    }

    /// For the spans just appended.
    fn put_higher_origins(&mut self, input: u32, rows: Range<usize>) {
        let first = self.to.out.spans.trace.len() - rows.len();
        for &(of_input, row, origin) in &self.to.higher_origins {
            let row = row as usize;
            if of_input == input && rows.contains(&row) {
                raise_origin(&mut self.to.out.spans, first + row - rows.start, origin);
            }
        }
    }

    fn append_events(&mut self, input: usize, rows: &Range<usize>) {
        let batch = self.inputs[input];
        let (from, to) = (&batch.events, &mut self.to.out.events);
        let events = extend_ends(&mut to.starts, self.columns[input].event_starts, rows);
        if events.is_empty() {
            return;
        }
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: batch,
            to: &mut self.to.strings,
        };
        extend(&mut to.time, &from.time, &events);
        map.extend(&mut to.name, &from.name[events.clone()]);
        extend(&mut to.dropped_attributes, &from.dropped_attributes, &events);
        let attributes = AttributeColumns::of(&from.attributes);
        copy_attributes(attributes, events, &mut to.attributes, &mut map);
    }

    fn append_links(&mut self, input: usize, rows: &Range<usize>) {
        let batch = self.inputs[input];
        let (from, to) = (&batch.links, &mut self.to.out.links);
        let links = extend_ends(&mut to.starts, self.columns[input].link_starts, rows);
        if links.is_empty() {
            return;
        }
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: batch,
            to: &mut self.to.strings,
        };
        extend(&mut to.trace_id, &from.trace_id, &links);
        extend(&mut to.span_id, &from.span_id, &links);
        map.extend(&mut to.trace_state, &from.trace_state[links.clone()]);
        extend(&mut to.dropped_attributes, &from.dropped_attributes, &links);
        let attributes = AttributeColumns::of(&from.attributes);
        copy_attributes(attributes, links, &mut to.attributes, &mut map);
    }

    fn resource(&mut self, input: usize, row: u32) -> u32 {
        let known = self.to.maps[input].resources[row as usize];
        if known != UNMAPPED {
            return known;
        }
        let batch = self.inputs[input];
        let from = &batch.resources;
        let dropped = from.dropped_attributes[row as usize];
        let table = &mut self.to.out.resources;
        let new = table.dropped_attributes.len() as u32;
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: batch,
            to: &mut self.to.strings,
        };
        let attributes = AttributeColumns::of(&from.attributes);
        copy_attributes(attributes, one(row as usize), &mut table.attributes, &mut map);
        let content = content_of(&table.attributes, new, &[u64::from(dropped)]);
        let found = self.to.resource_index.find(&content);
        match found {
            Some(_) => table.attributes.truncate_owners(new as usize),
            None => {
                table.dropped_attributes.push(dropped);
                self.to.resource_index.insert(&content, new);
            }
        }
        let mapped = found.unwrap_or(new);
        self.to.maps[input].resources[row as usize] = mapped;
        mapped
    }

    fn scope(&mut self, input: usize, row: u32) -> u32 {
        let known = self.to.maps[input].scopes[row as usize];
        if known != UNMAPPED {
            return known;
        }
        let batch = self.inputs[input];
        let from = &batch.scopes;
        let index = row as usize;
        let dropped = from.dropped_attributes[index];
        let table = &mut self.to.out.scopes;
        let new = table.name.len() as u32;
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: batch,
            to: &mut self.to.strings,
        };
        let (name, version) = (map.code(from.name[index]), map.code(from.version[index]));
        copy_attributes(
            AttributeColumns::of(&from.attributes),
            one(index),
            &mut table.attributes,
            &mut map,
        );
        let texts = [u64::from(dropped), u64::from(name), u64::from(version)];
        let content = content_of(&table.attributes, new, &texts);
        let found = self.to.scope_index.find(&content);
        match found {
            Some(_) => table.attributes.truncate_owners(new as usize),
            None => {
                table.name.push(name);
                table.version.push(version);
                table.dropped_attributes.push(dropped);
                self.to.scope_index.insert(&content, new);
            }
        }
        let mapped = found.unwrap_or(new);
        self.to.maps[input].scopes[index] = mapped;
        mapped
    }
}

fn one(row: usize) -> Range<usize> {
    row..row + 1
}

fn extend<T: bytemuck::Pod>(to: &mut Buffer<T>, from: &[T], rows: &Range<usize>) {
    to.make_mut().extend_from_slice(&from[rows.clone()]);
}

/// Appends where the items of each row end in a list that goes on; returns the items of all the rows. Rows of an input
/// that was read without the list have none.
fn extend_ends(to: &mut Buffer<u32>, from: &[u32], rows: &Range<usize>) -> Range<usize> {
    let end = to.last().copied().unwrap_or(0);
    let Some(bounds) = from.get(rows.start..=rows.end) else {
        to.make_mut().extend(std::iter::repeat_n(end, rows.len()));
        return 0..0;
    };
    let first = bounds[0];
    to.make_mut().extend(bounds[1..].iter().map(|bound| end + (bound - first)));
    first as usize..bounds[rows.len()] as usize
}

/// Gives a row an origin if that is above the one it has; the column appears with the first that is none of zero.
fn raise_origin(spans: &mut SpanColumns, row: usize, origin: u64) {
    if origin == 0 {
        return;
    }
    let origins = spans.origin.make_mut();
    if origins.len() <= row {
        origins.resize(row + 1, 0);
    }
    origins[row] = origins[row].max(origin);
}

/// From the codes of one input to those of the output.
struct CodeMap<'b> {
    codes: &'b mut [u32],
    from: &'b SpanBatch,
    to: &'b mut DictionaryBuilder,
}

impl CodeMap<'_> {
    #[inline]
    fn code(&mut self, code: StringCode) -> StringCode {
        let mapped = &mut self.codes[code as usize];
        // Code 0 is the empty string everywhere, so for it "unknown" is the answer.
        if *mapped == 0 && code != 0 {
            *mapped = self.to.intern(self.from.strings.get(code));
        }
        *mapped
    }

    fn extend(&mut self, to: &mut Buffer<StringCode>, from: &[StringCode]) {
        to.make_mut().extend(from.iter().map(|&code| self.code(code)));
    }
}

/// Appends the lists of owners that follow each other.
fn copy_attributes(
    from: AttributeColumns<'_>,
    owners: Range<usize>,
    to: &mut AttributeList,
    map: &mut CodeMap<'_>,
) {
    let entries = extend_ends(&mut to.starts, from.starts, &owners);
    map.extend(&mut to.keys, &from.keys[entries.clone()]);
    let types = &from.types[entries.clone()];
    // What is no type is kept as one without a value.
    let known = |&byte: &u8| ValueType::from_u8(byte).unwrap_or(ValueType::Unset);
    to.types.make_mut().extend(types.iter().map(|byte| known(byte) as u8));
    let values = types.iter().zip(&from.payloads[entries]);
    to.payloads.make_mut().extend(values.map(|(byte, &payload)| match known(byte).holds_code() {
        true => u64::from(map.code(payload as StringCode)),
        false => payload,
    }));
}

fn content_of(attributes: &AttributeList, owner: u32, extra: &[u64]) -> Vec<u64> {
    let mut content = extra.to_vec();
    for attribute in attributes.of(owner as usize) {
        content.push(u64::from(attribute.key) << 8 | attribute.value_type as u64);
        content.push(attribute.payload);
    }
    content
}
