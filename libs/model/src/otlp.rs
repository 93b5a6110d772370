//! Writes spans back as OTLP protobuf.

use std::collections::HashMap;

use crate::{
    AttributeList, SpanBatch, any_value,
    wire::{
        begin_message, end_message, put_bytes_field, put_fixed64_field, put_message_field,
        put_varint_field,
    },
};

/// The TracesData message (also ExportTraceServiceRequest) of a batch.
///
/// Spans of equal resource and scope are grouped in order of first appearance, and keep their order.
pub fn encode_traces_data(batch: &SpanBatch) -> Vec<u8> {
    encode_traces_data_while(batch, |_| true).unwrap_or_default()
}

/// As [`encode_traces_data`], for as long as `goes_on` says so of the bytes that there are: a batch has a text once that all of
/// its spans repeat in the message. `None` if it stopped.
pub fn encode_traces_data_while(
    batch: &SpanBatch,
    mut goes_on: impl FnMut(usize) -> bool,
) -> Option<Vec<u8>> {
    let mut groups: Vec<(u32, Vec<ScopeGroup>)> = Vec::new();
    let mut resource_places = HashMap::new();
    let mut scope_places = HashMap::new();
    let mut last = None;
    for row in 0..batch.len() {
        let owner = (batch.spans.resource[row], batch.spans.scope[row]);
        // The spans of a push lie together.
        let (place, scope_place) = match last {
            Some((known, places)) if known == owner => places,
            _ => {
                let place = *resource_places.entry(owner.0).or_insert_with(|| {
                    groups.push((owner.0, Vec::new()));
                    groups.len() - 1
                });
                let scopes = &mut groups[place].1;
                let scope_place = *scope_places.entry(owner).or_insert_with(|| {
                    scopes.push((owner.1, Vec::new()));
                    scopes.len() - 1
                });
                (place, scope_place)
            }
        };
        last = Some((owner, (place, scope_place)));
        groups[place].1[scope_place].1.push(row);
    }
    let mut writer = Writer { batch, pair: Vec::new(), value: Vec::new(), child: Vec::new() };
    let (mut out, mut span) = (Vec::new(), Vec::new());
    for (resource, scopes) in groups {
        let resource_spans = begin_message(&mut out, 1);
        writer.resource(&mut out, resource as usize);
        for (scope, rows) in scopes {
            let scope_spans = begin_message(&mut out, 2);
            writer.scope(&mut out, scope as usize);
            for row in rows {
                span.clear();
                writer.span(&mut span, row);
                put_message_field(&mut out, 2, &span);
                if !goes_on(out.len()) {
                    return None;
                }
            }
            end_message(&mut out, scope_spans);
        }
        end_message(&mut out, resource_spans);
    }
    Some(out)
}

/// A scope and its span rows.
type ScopeGroup = (u32, Vec<usize>);

/// Messages within a span are written into the same memory each time: a trace has millions of them.
struct Writer<'a> {
    batch: &'a SpanBatch,
    pair: Vec<u8>,
    value: Vec<u8>,
    child: Vec<u8>,
}

impl Writer<'_> {
    fn resource(&mut self, out: &mut Vec<u8>, row: usize) {
        let table = &self.batch.resources;
        let mut message = Vec::new();
        self.attributes(&mut message, 1, &table.attributes, row);
        put_varint_field(&mut message, 2, dropped(&table.dropped_attributes, row));
        put_message_field(out, 1, &message);
    }

    fn scope(&mut self, out: &mut Vec<u8>, row: usize) {
        let table = &self.batch.scopes;
        let mut message = Vec::new();
        put_bytes_field(&mut message, 1, self.text(&table.name, row));
        put_bytes_field(&mut message, 2, self.text(&table.version, row));
        self.attributes(&mut message, 3, &table.attributes, row);
        put_varint_field(&mut message, 4, dropped(&table.dropped_attributes, row));
        put_message_field(out, 1, &message);
    }

    fn span(&mut self, out: &mut Vec<u8>, row: usize) {
        let batch = self.batch;
        let spans = &batch.spans;
        put_message_field(out, 1, &batch.traces.ids[spans.trace[row] as usize].0);
        put_message_field(out, 2, &spans.span_id[row].0);
        put_bytes_field(out, 3, self.text(&spans.trace_state, row));
        if !spans.parent_span_id[row].is_zero() {
            put_message_field(out, 4, &spans.parent_span_id[row].0);
        }
        put_bytes_field(out, 5, self.text(&spans.name, row));
        put_varint_field(out, 6, u64::from(spans.kind[row]));
        put_fixed64_field(out, 7, spans.start[row]);
        put_fixed64_field(out, 8, spans.start[row].wrapping_add(spans.duration[row]));
        self.attributes(out, 9, &batch.span_attributes, row);
        put_varint_field(out, 10, dropped(&spans.dropped_attributes, row));
        let mut message = std::mem::take(&mut self.child);
        for event in batch.events.range(row) {
            message.clear();
            // A batch without the contents of events still says how many there are.
            put_fixed64_field(&mut message, 1, batch.events.time.get(event).copied().unwrap_or(0));
            put_bytes_field(&mut message, 2, self.text(&batch.events.name, event));
            self.attributes(&mut message, 3, &batch.events.attributes, event);
            put_varint_field(&mut message, 4, dropped(&batch.events.dropped_attributes, event));
            put_message_field(out, 11, &message);
        }
        put_varint_field(out, 12, dropped(&spans.dropped_events, row));
        for link in batch.links.range(row) {
            message.clear();
            if let Some(trace_id) = batch.links.trace_id.get(link) {
                put_message_field(&mut message, 1, &trace_id.0);
            }
            if let Some(span_id) = batch.links.span_id.get(link) {
                put_message_field(&mut message, 2, &span_id.0);
            }
            put_bytes_field(&mut message, 3, self.text(&batch.links.trace_state, link));
            self.attributes(&mut message, 4, &batch.links.attributes, link);
            put_varint_field(&mut message, 5, dropped(&batch.links.dropped_attributes, link));
            put_message_field(out, 13, &message);
        }
        put_varint_field(out, 14, dropped(&spans.dropped_links, row));
        message.clear();
        put_bytes_field(&mut message, 2, self.text(&spans.status_message, row));
        put_varint_field(&mut message, 3, u64::from(spans.status[row]));
        put_message_field(out, 15, &message);
        self.child = message;
    }

    fn attributes(&mut self, out: &mut Vec<u8>, field: u32, list: &AttributeList, owner: usize) {
        for attribute in list.of(owner) {
            self.pair.clear();
            self.value.clear();
            put_bytes_field(&mut self.pair, 1, self.batch.strings.get(attribute.key));
            any_value::encode(&mut self.value, attribute.value(&self.batch.strings));
            put_message_field(&mut self.pair, 2, &self.value);
            put_message_field(out, field, &self.pair);
        }
    }

    fn text(&self, column: &[u32], row: usize) -> &[u8] {
        self.batch.strings.get(column.get(row).copied().unwrap_or(0))
    }
}

fn dropped(column: &[u32], row: usize) -> u64 {
    column.get(row).copied().unwrap_or(0).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, BuilderLimits};

    /// Spans that have nothing but the same name.
    fn batch(spans: usize, name: &[u8]) -> SpanBatch {
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
        let mut all = Vec::new();
        for number in 0..spans as u64 {
            let mut span = Vec::new();
            put_message_field(&mut span, 1, &[1; 16]);
            put_message_field(&mut span, 2, &number.to_be_bytes());
            put_message_field(&mut span, 5, name);
            put_message_field(&mut all, 2, &span);
        }
        builder.append_scope_spans(resource, scope, &all, |_, _| true).unwrap();
        builder.finish()
    }

    #[test]
    fn message_of_spans_that_repeat_a_text_is_written_only_as_long_as_it_may_grow() {
        let batch = batch(1_000, &[b'n'; 1_000]);
        assert!(batch.heap_bytes() < 400_000, "{}", batch.heap_bytes());
        let mut most = 0;
        let mut goes_on = |bytes: usize| {
            most = bytes;
            bytes < 300_000
        };
        assert_eq!(encode_traces_data_while(&batch, &mut goes_on), None);
        assert!((300_000..302_000).contains(&most), "{most}");
        let whole = encode_traces_data_while(&batch, |_| true).unwrap();
        assert!(whole.len() > 1_000_000);
        assert_eq!(whole, encode_traces_data(&batch));
    }
}
