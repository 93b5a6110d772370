//! Writes spans back as OTLP protobuf.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::{
    AttributeList, AttributeSelection, Projection, SpanBatch, StringCode, any_value,
    merge::TracePart,
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

/// As [`encode_traces_data`], but asks `goes_on` from time to time, with the bytes written so far, whether to continue.
/// The message can be much larger than the batch, which stores a repeated text once. `None` if `goes_on` returned
/// false.
pub fn encode_traces_data_while(
    batch: &SpanBatch,
    mut goes_on: impl FnMut(usize) -> bool,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let writer = Writer::new(batch, None);
    writer.write(&mut out, 0..batch.len(), |_, bytes| goes_on(bytes)).then_some(out)
}

/// Appends these rows of a batch to `out`, with the columns of the part. Several TracesData messages in a row are one
/// message with all their spans. Asks `goes_on` from time to time whether to continue, with the spans written here and
/// the bytes of `out`. Returns false if it stopped; then `out` is not a message.
///
/// Partial spans are written without their trace id, which would be a quarter of their bytes.
pub fn encode_part_while(
    out: &mut Vec<u8>,
    batch: &SpanBatch,
    rows: &[u32],
    part: &TracePart,
    goes_on: impl FnMut(usize, usize) -> bool,
) -> bool {
    let rows = rows.iter().map(|&row| row as usize);
    let mut writer = Writer::new(batch, part.besides.as_ref());
    writer.has_counts = part.has_counts;
    writer.write(out, rows, goes_on)
}

/// Items by resource, and of each by scope.
pub type Grouped<T> = Vec<(u32, Vec<(u32, Vec<T>)>)>;

/// Groups items by their resource and scope, in order of first appearance.
pub fn grouped<T>(items: impl Iterator<Item = ((u32, u32), T)>) -> Grouped<T> {
    // Very many traces of one span each may be in memory at a time.
    let mut groups: Grouped<T> = Vec::with_capacity(1);
    let mut resource_places = HashMap::with_hasher(RandomState::default());
    let mut scope_places = HashMap::with_hasher(RandomState::default());
    let mut last = None;
    for (owner, item) in items {
        // The spans of one push are next to each other.
        let (place, scope_place) = match last {
            Some((known, places)) if known == owner => places,
            _ => {
                let place = *resource_places.entry(owner.0).or_insert_with(|| {
                    groups.push((owner.0, Vec::with_capacity(1)));
                    groups.len() - 1
                });
                let scopes = &mut groups[place].1;
                let scope_place = *scope_places.entry(owner).or_insert_with(|| {
                    scopes.push((owner.1, Vec::with_capacity(1)));
                    scopes.len() - 1
                });
                (place, scope_place)
            }
        };
        last = Some((owner, (place, scope_place)));
        groups[place].1[scope_place].1.push(item);
    }
    groups
}

/// Reuses the memory of nested messages, because a trace may have millions of them.
struct Writer<'a> {
    batch: &'a SpanBatch,
    /// The columns that are written besides ids, names and times; `None`: all.
    besides: Option<&'a Projection>,
    /// True if events and links are written even when nothing in them is wanted, so that they can be counted.
    has_counts: bool,
    of_spans: Keys<'a>,
    of_events: Keys<'a>,
    of_links: Keys<'a>,
    pair: Vec<u8>,
    value: Vec<u8>,
    child: Vec<u8>,
}

/// Which attributes of a list are written.
enum Keys<'a> {
    All,
    None,
    /// Attributes with one of these keys, and what is already known about which codes are such keys.
    Some(&'a AttributeSelection, HashMap<StringCode, bool, RandomState>),
}

impl<'a> Keys<'a> {
    fn of(selection: Option<&'a AttributeSelection>) -> Self {
        match selection {
            None | Some(AttributeSelection::Names(_) | AttributeSelection::All) => Self::All,
            Some(AttributeSelection::None) => Self::None,
            Some(some) => Self::Some(some, HashMap::default()),
        }
    }

    fn wants(&mut self, batch: &SpanBatch, key: StringCode) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(wanted, known) => {
                *known.entry(key).or_insert_with(|| wanted.wants(batch.strings.get(key)))
            }
        }
    }
}

impl<'a> Writer<'a> {
    fn new(batch: &'a SpanBatch, besides: Option<&'a Projection>) -> Self {
        Self {
            batch,
            besides,
            has_counts: true,
            of_spans: Keys::of(besides.map(|it| &it.span_attributes)),
            of_events: Keys::of(besides.map(|it| &it.event_attributes)),
            of_links: Keys::of(besides.map(|it| &it.link_attributes)),
            pair: Vec::new(),
            value: Vec::new(),
            child: Vec::new(),
        }
    }

    fn writes(&self, wanted: impl FnOnce(&Projection) -> bool) -> bool {
        self.besides.is_none_or(wanted)
    }

    fn write(
        mut self,
        out: &mut Vec<u8>,
        rows: impl Iterator<Item = usize>,
        mut goes_on: impl FnMut(usize, usize) -> bool,
    ) -> bool {
        let (mut span, mut written) = (Vec::new(), 0);
        let (resources, scopes) = (&*self.batch.spans.resource, &*self.batch.spans.scope);
        let owned = rows.map(|row| ((resources[row], scopes[row]), row as u32));
        for (resource, scopes) in grouped(owned) {
            let resource_spans = begin_message(out, 1);
            self.resource(out, resource as usize);
            for (scope, rows) in scopes {
                let scope_spans = begin_message(out, 2);
                self.scope(out, scope as usize);
                for row in rows {
                    span.clear();
                    self.span(&mut span, row as usize);
                    put_message_field(out, 2, &span);
                    written += 1;
                    if !goes_on(written, out.len()) {
                        return false;
                    }
                }
                end_message(out, scope_spans);
            }
            end_message(out, resource_spans);
        }
        true
    }

    fn resource(&mut self, out: &mut Vec<u8>, row: usize) {
        let table = &self.batch.resources;
        let mut message = Vec::new();
        self.attributes(&mut message, 1, &table.attributes, row, &mut Keys::All);
        put_varint_field(&mut message, 2, dropped(&table.dropped_attributes, row));
        put_message_field(out, 1, &message);
    }

    fn scope(&mut self, out: &mut Vec<u8>, row: usize) {
        let table = &self.batch.scopes;
        let mut message = Vec::new();
        put_bytes_field(&mut message, 1, self.text(&table.name, row));
        put_bytes_field(&mut message, 2, self.text(&table.version, row));
        self.attributes(&mut message, 3, &table.attributes, row, &mut Keys::All);
        put_varint_field(&mut message, 4, dropped(&table.dropped_attributes, row));
        put_message_field(out, 1, &message);
    }

    fn span(&mut self, out: &mut Vec<u8>, row: usize) {
        let batch = self.batch;
        let spans = &batch.spans;
        if self.besides.is_none() {
            put_message_field(out, 1, &batch.traces.ids[spans.trace[row] as usize].0);
        }
        put_message_field(out, 2, &spans.span_id[row].0);
        if self.writes(|it| it.trace_state) {
            put_bytes_field(out, 3, self.text(&spans.trace_state, row));
        }
        if !spans.parent_span_id[row].is_zero() {
            put_message_field(out, 4, &spans.parent_span_id[row].0);
        }
        put_bytes_field(out, 5, self.text(&spans.name, row));
        put_varint_field(out, 6, u64::from(spans.kind[row]));
        put_fixed64_field(out, 7, spans.start[row]);
        put_fixed64_field(out, 8, spans.start[row].wrapping_add(spans.duration[row]));
        let mut keys = std::mem::replace(&mut self.of_spans, Keys::None);
        self.attributes(out, 9, &batch.span_attributes, row, &mut keys);
        self.of_spans = keys;
        let writes_dropped = self.writes(|it| it.dropped_counts);
        if writes_dropped {
            put_varint_field(out, 10, dropped(&spans.dropped_attributes, row));
        }
        self.events(out, row, writes_dropped);
        if writes_dropped {
            put_varint_field(out, 12, dropped(&spans.dropped_events, row));
        }
        self.links(out, row, writes_dropped);
        if writes_dropped {
            put_varint_field(out, 14, dropped(&spans.dropped_links, row));
        }
        let mut message = std::mem::take(&mut self.child);
        message.clear();
        if self.writes(|it| it.status_message) {
            put_bytes_field(&mut message, 2, self.text(&spans.status_message, row));
        }
        put_varint_field(&mut message, 3, u64::from(spans.status[row]));
        // A whole span always has a status message, even an empty one.
        if self.besides.is_none() || !message.is_empty() {
            put_message_field(out, 15, &message);
        }
        self.child = message;
    }

    fn events(&mut self, out: &mut Vec<u8>, row: usize, writes_dropped: bool) {
        let (has_times, has_names) = (self.writes(|it| it.events), self.writes(|it| it.event_name));
        if !(self.has_counts || has_times || has_names) && matches!(self.of_events, Keys::None) {
            return;
        }
        let (batch, mut message) = (self.batch, std::mem::take(&mut self.child));
        let mut keys = std::mem::replace(&mut self.of_events, Keys::None);
        for event in batch.events.range(row) {
            message.clear();
            if has_times {
                let time = batch.events.time.get(event).copied().unwrap_or(0);
                put_fixed64_field(&mut message, 1, time);
            }
            if has_names {
                put_bytes_field(&mut message, 2, self.text(&batch.events.name, event));
            }
            self.attributes(&mut message, 3, &batch.events.attributes, event, &mut keys);
            if writes_dropped {
                let dropped = dropped(&batch.events.dropped_attributes, event);
                put_varint_field(&mut message, 4, dropped);
            }
            put_message_field(out, 11, &message);
        }
        (self.child, self.of_events) = (message, keys);
    }

    fn links(&mut self, out: &mut Vec<u8>, row: usize, writes_dropped: bool) {
        let has_ids = self.writes(|it| it.links);
        if !(self.has_counts || has_ids) && matches!(self.of_links, Keys::None) {
            return;
        }
        let (batch, mut message) = (self.batch, std::mem::take(&mut self.child));
        let mut keys = std::mem::replace(&mut self.of_links, Keys::None);
        for link in batch.links.range(row) {
            message.clear();
            if has_ids {
                if let Some(trace_id) = batch.links.trace_id.get(link) {
                    put_message_field(&mut message, 1, &trace_id.0);
                }
                if let Some(span_id) = batch.links.span_id.get(link) {
                    put_message_field(&mut message, 2, &span_id.0);
                }
                put_bytes_field(&mut message, 3, self.text(&batch.links.trace_state, link));
            }
            self.attributes(&mut message, 4, &batch.links.attributes, link, &mut keys);
            if writes_dropped {
                let dropped = dropped(&batch.links.dropped_attributes, link);
                put_varint_field(&mut message, 5, dropped);
            }
            put_message_field(out, 13, &message);
        }
        (self.child, self.of_links) = (message, keys);
    }

    fn attributes(
        &mut self,
        out: &mut Vec<u8>,
        field: u32,
        list: &AttributeList,
        owner: usize,
        keys: &mut Keys<'_>,
    ) {
        if matches!(keys, Keys::None) {
            return;
        }
        for attribute in list.of(owner) {
            if !keys.wants(self.batch, attribute.key) {
                continue;
            }
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
