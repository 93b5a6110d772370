//! Limits the size of traces that a merge puts together.

use super::{AttributeColumns, TraceMerger};
use crate::{SpanBatch, ValueType};

/// Estimate for a span without strings: ids, times, numbers.
const SPAN_BYTES: u64 = 64;
/// Estimate for an event or a link without its strings.
const CHILD_BYTES: u64 = 32;
/// Estimate for an attribute's tags and lengths, or its number.
const ATTRIBUTE_BYTES: u64 = 10;

impl TraceMerger<'_> {
    /// True if the trace's fragments come from several inputs and together exceed the limit.
    pub(super) fn is_above(&self, max_bytes: u64) -> bool {
        let candidates = self.to.candidates.as_slice();
        let Some(&(first, _)) = candidates.first() else { return false };
        if max_bytes == u64::MAX || candidates.iter().all(|&(input, _)| input == first) {
            return false;
        }
        let mut bytes = 0;
        candidates.iter().any(|&(input, row)| {
            bytes += span_bytes(self.inputs[input as usize], row as usize);
            bytes > max_bytes
        })
    }

    /// Moves the spans of the input with the most bytes to the front.
    pub(super) fn put_largest_first(&mut self) {
        let mut bytes = vec![0; self.inputs.len()];
        for &(input, row) in &self.to.candidates {
            bytes[input as usize] += span_bytes(self.inputs[input as usize], row as usize);
        }
        let mut largest = 0;
        for (input, &of_input) in bytes.iter().enumerate() {
            if of_input > bytes[largest] {
                largest = input;
            }
        }
        // The sort is stable: the others keep their order.
        self.to.candidates.sort_by_key(|&(input, _)| input as usize != largest);
    }

    /// Appends the first fragment, and those spans after it that fit. Returns how many do not.
    pub(super) fn append_until(&mut self, max_bytes: u64) -> u64 {
        let whole = self.to.candidates[0].0;
        let (mut bytes, mut cut) = (0u64, 0);
        for i in 0..self.to.candidates.len() {
            if self.to.duplicate[i] {
                self.to.stats.duplicate_spans += 1;
                continue;
            }
            let (input, row) = self.to.candidates[i];
            let more = span_bytes(self.inputs[input as usize], row as usize);
            if input != whole && (cut > 0 || bytes + more > max_bytes) {
                cut += 1;
                continue;
            }
            bytes += more;
            self.append(input as usize, row as usize..row as usize + 1);
        }
        self.to.stats.cut_spans += cut;
        self.to.stats.cut_traces += u64::from(cut > 0);
        cut
    }
}

/// Roughly the bytes that a span takes as OTLP, without its resource and scope.
fn span_bytes(batch: &SpanBatch, row: usize) -> u64 {
    let text = |code: u32| batch.strings.get(code).len() as u64;
    let spans = &batch.spans;
    let mut bytes = SPAN_BYTES
        + text(spans.name[row])
        + text(spans.status_message[row])
        + text(spans.trace_state[row])
        + attribute_bytes(batch, AttributeColumns::of(&batch.span_attributes), row);
    let events = batch.events.range(row);
    if !events.is_empty() {
        let attributes = AttributeColumns::of(&batch.events.attributes);
        for event in events {
            bytes += CHILD_BYTES + text(batch.events.name[event]);
            bytes += attribute_bytes(batch, attributes, event);
        }
    }
    let links = batch.links.range(row);
    if !links.is_empty() {
        let attributes = AttributeColumns::of(&batch.links.attributes);
        for link in links {
            bytes += CHILD_BYTES + text(batch.links.trace_state[link]);
            bytes += attribute_bytes(batch, attributes, link);
        }
    }
    bytes
}

fn attribute_bytes(batch: &SpanBatch, list: AttributeColumns<'_>, owner: usize) -> u64 {
    let range = list.starts[owner] as usize..list.starts[owner + 1] as usize;
    let length = |code: u32| batch.strings.get(code).len() as u64;
    range
        .map(|entry| {
            let holds_code =
                ValueType::from_u8(list.types[entry]).is_some_and(ValueType::holds_code);
            let value = if holds_code { length(list.payloads[entry] as u32) } else { 0 };
            ATTRIBUTE_BYTES + length(list.keys[entry]) + value
        })
        .sum()
}
