//! Copies one span with all it owns.

use super::{AttributeColumns, TraceMerger, UNMAPPED};
use crate::{
    Attribute, AttributeList, Buffer, DictionaryBuilder, SpanBatch, SpanColumns, StringCode,
    ValueType,
};

impl TraceMerger<'_> {
    #[inline]
    pub(super) fn append(&mut self, input: usize, row: usize) {
        match self.heads_only {
            false => self.append_whole(input, row),
            true => self.append_head(input, row),
        }
    }

    fn append_head(&mut self, input: usize, row: usize) {
        let resource = self.resource(input, self.columns[input].resource[row]);
        let scope = self.scope(input, self.columns[input].scope[row]);
        let from = &self.columns[input];
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: self.inputs[input],
            to: &mut self.to.strings,
        };
        let SpanBatch { traces, spans, events, links, .. } = &mut self.to.out;
        spans.trace.push(traces.ids.len() as u32 - 1);
        spans.resource.push(resource);
        spans.scope.push(scope);
        spans.span_id.push(from.span_id[row]);
        spans.parent_span_id.push(from.parent_span_id[row]);
        spans.start.push(from.start[row]);
        spans.duration.push(from.duration[row]);
        spans.name.push(map.code(from.name[row]));
        spans.kind.push(from.kind[row]);
        spans.status.push(from.status[row]);
        push_end(&mut events.starts, from.event_starts, row);
        push_end(&mut links.starts, from.link_starts, row);
    }

    fn append_whole(&mut self, input: usize, row: usize) {
        let resource = self.resource(input, self.columns[input].resource[row]);
        let scope = self.scope(input, self.columns[input].scope[row]);
        let from = &self.columns[input];
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: self.inputs[input],
            to: &mut self.to.strings,
        };
        let spans = &mut self.to.out.spans;
        spans.trace.push(self.to.out.traces.ids.len() as u32 - 1);
        spans.resource.push(resource);
        spans.scope.push(scope);
        spans.span_id.push(from.span_id[row]);
        spans.parent_span_id.push(from.parent_span_id[row]);
        spans.start.push(from.start[row]);
        spans.duration.push(from.duration[row]);
        spans.name.push(map.code(from.name[row]));
        spans.kind.push(from.kind[row]);
        spans.status.push(from.status[row]);
        spans.status_message.push(map.code(from.status_message[row]));
        spans.trace_state.push(map.code(from.trace_state[row]));
        spans.dropped_attributes.push(from.dropped_attributes[row]);
        spans.dropped_events.push(from.dropped_events[row]);
        spans.dropped_links.push(from.dropped_links[row]);
        if !from.origin.is_empty() {
            put_origin(spans, from.origin[row]);
        }
        copy_attributes(from.attributes, row, &mut self.to.out.span_attributes, &mut map);
        let has_events = from.event_starts[row] < from.event_starts[row + 1];
        let has_links = from.link_starts[row] < from.link_starts[row + 1];
        if has_events {
            self.append_events(input, row);
        } else {
            self.to.out.events.starts.push(self.to.out.events.time.len() as u32);
        }
        if has_links {
            self.append_links(input, row);
        } else {
            self.to.out.links.starts.push(self.to.out.links.trace_id.len() as u32);
        }
        if !self.to.higher_origins.is_empty() {
            self.put_higher_origin(input as u32, row as u32);
        }
    }

    /// For the span just appended.
    fn put_higher_origin(&mut self, input: u32, row: u32) {
        let of_span = self.to.higher_origins.iter().filter(|it| (it.0, it.1) == (input, row));
        if let Some(origin) = of_span.map(|it| it.2).max() {
            put_origin(&mut self.to.out.spans, origin);
        }
    }

    fn append_events(&mut self, input: usize, row: usize) {
        let batch = self.inputs[input];
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: batch,
            to: &mut self.to.strings,
        };
        let (from, to) = (&batch.events, &mut self.to.out.events);
        for event in from.range(row) {
            to.time.push(from.time[event]);
            to.name.push(map.code(from.name[event]));
            to.dropped_attributes.push(from.dropped_attributes[event]);
            copy_attributes(
                AttributeColumns::of(&from.attributes),
                event,
                &mut to.attributes,
                &mut map,
            );
        }
        to.starts.push(to.time.len() as u32);
    }

    fn append_links(&mut self, input: usize, row: usize) {
        let batch = self.inputs[input];
        let mut map = CodeMap {
            codes: &mut self.to.maps[input].codes,
            from: batch,
            to: &mut self.to.strings,
        };
        let (from, to) = (&batch.links, &mut self.to.out.links);
        for link in from.range(row) {
            to.trace_id.push(from.trace_id[link]);
            to.span_id.push(from.span_id[link]);
            to.trace_state.push(map.code(from.trace_state[link]));
            to.dropped_attributes.push(from.dropped_attributes[link]);
            copy_attributes(
                AttributeColumns::of(&from.attributes),
                link,
                &mut to.attributes,
                &mut map,
            );
        }
        to.starts.push(to.trace_id.len() as u32);
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
        copy_attributes(attributes, row as usize, &mut table.attributes, &mut map);
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
            index,
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

/// Goes on by as many as a row of an input has.
fn push_end(to: &mut Buffer<u32>, from: &[u32], row: usize) {
    let count = from.get(row..row + 2).map_or(0, |bounds| bounds[1] - bounds[0]);
    let end = to.last().copied().unwrap_or(0) + count;
    to.push(end);
}

/// Sets the origin of the last span; the column appears with the first that is none of zero.
fn put_origin(spans: &mut SpanColumns, origin: u64) {
    if origin != 0 {
        let row = spans.trace.len() - 1;
        let origins = spans.origin.make_mut();
        origins.resize(row, 0);
        origins.push(origin);
    }
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
}

#[inline]
fn copy_attributes(
    from: AttributeColumns<'_>,
    owner: usize,
    to: &mut AttributeList,
    map: &mut CodeMap<'_>,
) {
    let range = from.starts[owner] as usize..from.starts[owner + 1] as usize;
    let keys = from.keys[range.clone()].iter();
    let values = from.types[range.clone()].iter().zip(&from.payloads[range]);
    for (&key, (&value_type, &payload)) in keys.zip(values) {
        let value_type = ValueType::from_u8(value_type).unwrap_or(ValueType::Unset);
        let payload = if value_type.holds_code() {
            u64::from(map.code(payload as StringCode))
        } else {
            payload
        };
        to.push(Attribute { key: map.code(key), value_type, payload });
    }
    to.end_owner();
}

fn content_of(attributes: &AttributeList, owner: u32, extra: &[u64]) -> Vec<u64> {
    let mut content = extra.to_vec();
    for attribute in attributes.of(owner as usize) {
        content.push(u64::from(attribute.key) << 8 | attribute.value_type as u64);
        content.push(attribute.payload);
    }
    content
}
