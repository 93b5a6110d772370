//! The facts about whole traces that policies use.

use tactus_model::wire::{field_size, varint_size};
use tactus_model::{AttributeList, SpanBatch, StringCode, ValueType, span_end};

/// Number of spans of each trace of a batch.
pub fn spans_per_trace(batch: &SpanBatch) -> Vec<u64> {
    let mut spans = vec![0; batch.traces.ids.len()];
    for &trace in batch.spans.trace.iter() {
        if let Some(spans) = spans.get_mut(trace as usize) {
            *spans += 1;
        }
    }
    spans
}

/// For each trace the milliseconds from its first start to its last end.
pub(crate) fn millis_per_trace(batch: &SpanBatch) -> Vec<u64> {
    let mut times = vec![(u64::MAX, 0); batch.traces.ids.len()];
    let spans = &batch.spans;
    let starts_and_durations = spans.start.iter().zip(spans.duration.iter());
    for (&trace, (&start, &duration)) in spans.trace.iter().zip(starts_and_durations) {
        if let Some((first, last)) = times.get_mut(trace as usize) {
            // A span without a start says nothing about the start of the trace.
            *first = if start == 0 { *first } else { start.min(*first) };
            *last = span_end(start, duration).max(*last);
        }
    }
    times.into_iter().map(|(first, last)| last.saturating_sub(first) / 1_000_000).collect()
}

/// Approximate bytes of each trace as OTLP. Resource and scope count once for each run of spans that share them.
pub fn bytes_per_trace(batch: &SpanBatch) -> Vec<u64> {
    let sizes = Sizes { batch };
    let resources: Vec<u64> = (0..batch.resources.len())
        .map(|it| sizes.attributes(&batch.resources.attributes, it))
        .collect();
    let scopes: Vec<u64> = (0..batch.scopes.len()).map(|it| sizes.scope(it)).collect();
    let mut bytes = vec![0; batch.traces.ids.len()];
    let mut last = None;
    for row in 0..batch.len() {
        let spans = &batch.spans;
        let owner = (spans.trace[row], spans.resource[row], spans.scope[row]);
        let Some(sum) = bytes.get_mut(owner.0 as usize) else { continue };
        if last != Some(owner) {
            last = Some(owner);
            let of = |sizes: &[u64], row: u32| sizes.get(row as usize).copied().unwrap_or(0);
            *sum += of(&resources, owner.1) + of(&scopes, owner.2) + 12;
        }
        *sum += field(sizes.span(row));
    }
    bytes
}

struct Sizes<'b> {
    batch: &'b SpanBatch,
}

impl Sizes<'_> {
    fn text(&self, code: StringCode) -> u64 {
        match code {
            0 => 0,
            code => field(self.batch.strings.get(code).len() as u64),
        }
    }

    fn scope(&self, row: usize) -> u64 {
        let scopes = &self.batch.scopes;
        let text = |column: &[StringCode]| column.get(row).map_or(0, |&code| self.text(code));
        text(&scopes.name) + text(&scopes.version) + self.attributes(&scopes.attributes, row)
    }

    fn span(&self, row: usize) -> u64 {
        let (batch, spans) = (self.batch, &self.batch.spans);
        let text = |column: &[StringCode]| column.get(row).map_or(0, |&code| self.text(code));
        // Ids of trace and span, kind and both times.
        let mut bytes = 18 + 10 + 2 + 18;
        bytes += if spans.parent_span_id.get(row).is_some_and(|id| !id.is_zero()) { 10 } else { 0 };
        let message = text(&spans.status_message);
        let has_status = message > 0 || spans.status.get(row).is_some_and(|&status| status != 0);
        bytes += if has_status { 4 + message } else { 0 };
        bytes += text(&spans.name) + text(&spans.trace_state);
        bytes += self.attributes(&batch.span_attributes, row);
        for event in batch.events.range(row) {
            let name = batch.events.name.get(event).map_or(0, |&code| self.text(code));
            bytes += field(9 + name + self.attributes(&batch.events.attributes, event));
        }
        for link in batch.links.range(row) {
            let state = batch.links.trace_state.get(link).map_or(0, |&code| self.text(code));
            bytes += field(28 + state + self.attributes(&batch.links.attributes, link));
        }
        bytes
    }

    fn attributes(&self, list: &AttributeList, owner: usize) -> u64 {
        let sizes = list.of(owner).map(|attribute| {
            let length = |code: u64| self.batch.strings.get(code as StringCode).len() as u64;
            let value = match attribute.value_type {
                ValueType::Unset => 0,
                ValueType::String => field(length(attribute.payload)),
                ValueType::Int => 1 + varint_size(attribute.payload) as u64,
                ValueType::Double => 9,
                ValueType::Bool => 2,
                // Encoded as the value itself.
                _ => length(attribute.payload),
            };
            field(self.text(attribute.key) + field(value))
        });
        sizes.sum()
    }
}

fn field(bytes: u64) -> u64 {
    field_size(bytes as usize) as u64
}
