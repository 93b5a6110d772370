//! Limits the size of traces that a merge puts together.

use super::{AttributeColumns, TraceMerger};
use crate::{SpanBatch, ValueType};

/// A field of one to 127 bytes takes at least two more, its tag and its length.
const FRAME_BYTES: u64 = 2;
/// The ids of a trace and a span.
const IDS_BYTES: u64 = FRAME_BYTES + 16 + FRAME_BYTES + 8;

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

/// The fewest bytes that a span can take as OTLP, without its resource and scope. More would be wrong: what ingest
/// accepted as within the limit would be cut.
fn span_bytes(batch: &SpanBatch, row: usize) -> u64 {
    let spans = &batch.spans;
    let (start, end) = (spans.start[row], spans.start[row].wrapping_add(spans.duration[row]));
    let mut bytes = IDS_BYTES
        + id_bytes(spans.parent_span_id[row].0)
        + time_bytes(start)
        + time_bytes(end)
        + text_bytes(batch, spans.name[row])
        + text_bytes(batch, spans.status_message[row])
        + text_bytes(batch, spans.trace_state[row])
        + attribute_bytes(batch, AttributeColumns::of(&batch.span_attributes), row);
    let events = batch.events.range(row);
    if !events.is_empty() {
        let attributes = AttributeColumns::of(&batch.events.attributes);
        for event in events {
            bytes += FRAME_BYTES + time_bytes(batch.events.time[event]);
            bytes += text_bytes(batch, batch.events.name[event]);
            bytes += attribute_bytes(batch, attributes, event);
        }
    }
    let links = batch.links.range(row);
    if !links.is_empty() {
        let attributes = AttributeColumns::of(&batch.links.attributes);
        for link in links {
            let (trace, span) = (batch.links.trace_id[link], batch.links.span_id[link]);
            bytes += FRAME_BYTES + id_bytes(trace.0) + id_bytes(span.0);
            bytes += text_bytes(batch, batch.links.trace_state[link]);
            bytes += attribute_bytes(batch, attributes, link);
        }
    }
    bytes
}

/// None that is zero: such an id may have been absent.
fn id_bytes<const N: usize>(id: [u8; N]) -> u64 {
    if id == [0; N] { 0 } else { FRAME_BYTES + N as u64 }
}

fn time_bytes(nanos: u64) -> u64 {
    if nanos == 0 { 0 } else { 1 + 8 }
}

fn text_bytes(batch: &SpanBatch, code: u32) -> u64 {
    match batch.strings.get(code).len() as u64 {
        0 => 0,
        length => FRAME_BYTES + length,
    }
}

fn attribute_bytes(batch: &SpanBatch, list: AttributeColumns<'_>, owner: usize) -> u64 {
    let range = list.starts[owner] as usize..list.starts[owner + 1] as usize;
    let length = |code: u32| batch.strings.get(code).len() as u64;
    range
        .map(|entry| {
            let value = match ValueType::from_u8(list.types[entry]) {
                None | Some(ValueType::Unset) => 0,
                Some(ValueType::String) => 2 * FRAME_BYTES + length(list.payloads[entry] as u32),
                Some(coded) if coded.holds_code() => {
                    FRAME_BYTES + length(list.payloads[entry] as u32)
                }
                // A number of a byte or more.
                Some(_) => 2 * FRAME_BYTES,
            };
            FRAME_BYTES + text_bytes(batch, list.keys[entry]) + value
        })
        .sum()
}
