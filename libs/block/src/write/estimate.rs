//! Estimates the size of spans in a row group.

use std::ops::Range;

use tactus_model::SpanBatch;

/// Bytes of a span's columns: ids, times, numbers, codes, levels.
const SPAN_BYTES: u64 = 80;
/// Bytes of an attribute: key and value as dictionary indices, levels of seven columns.
pub(super) const ATTRIBUTE_BYTES: u64 = 20;
/// Bytes of an event or link itself.
const CHILD_BYTES: u64 = 32;

/// Estimates how many bytes the spans of a batch take in a row group before compression, to decide where row groups
/// end.
///
/// Each string of the batch's dictionary counts once, and so do resources and scopes, although a row group has them for
/// each trace: the writer limits that itself. Takes constant time, because only lengths are used.
pub fn estimated_bytes(batch: &SpanBatch) -> u64 {
    let owners = batch.resources.attributes.len() + batch.scopes.attributes.len();
    estimated_bytes_of(batch, 0..batch.len()) + owners as u64 * ATTRIBUTE_BYTES
}

/// As [`estimated_bytes`], for some consecutive spans without resources and scopes. Their share of the strings is in
/// proportion to their number.
pub(crate) fn estimated_bytes_of(batch: &SpanBatch, spans: Range<usize>) -> u64 {
    let all = batch.len();
    let spans = spans.start.min(all)..spans.end.min(all);
    let share = batch.strings.byte_len() as u128 * spans.len() as u128 / all.max(1) as u128;
    let events = covered(&batch.events.starts, &spans);
    let links = covered(&batch.links.starts, &spans);
    let attributes = [
        covered(&batch.span_attributes.starts, &spans),
        covered(&batch.events.attributes.starts, &events),
        covered(&batch.links.attributes.starts, &links),
    ];
    let attributes: usize = attributes.iter().map(ExactSizeIterator::len).sum();
    share as u64
        + spans.len() as u64 * SPAN_BYTES
        + (events.len() + links.len()) as u64 * CHILD_BYTES
        + attributes as u64 * ATTRIBUTE_BYTES
}

/// The entries of some owners; none if they were not read.
fn covered(starts: &[u32], owners: &Range<usize>) -> Range<usize> {
    match (starts.get(owners.start), starts.get(owners.end)) {
        (Some(&first), Some(&end)) => first as usize..end as usize,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use tactus_model::{Attribute, ValueType};

    use super::*;

    fn batch(attributes_of: &[u32]) -> SpanBatch {
        let mut batch = SpanBatch::default();
        for &count in attributes_of {
            batch.spans.trace.push(0);
            for _ in 0..count {
                let attribute = Attribute { key: 0, value_type: ValueType::Int, payload: 1 };
                batch.span_attributes.push(attribute);
            }
            batch.span_attributes.end_owner();
        }
        batch
    }

    #[test]
    fn estimates_of_parts_add_up() {
        let batch = batch(&[3, 0, 7]);
        let parts = [0..1, 1..3].map(|part| estimated_bytes_of(&batch, part));
        assert_eq!(parts[0] + parts[1], estimated_bytes(&batch));
        assert!(parts[1] > parts[0]);
    }

    #[test]
    fn attributes_of_resources_and_scopes_count() {
        let mut batch = batch(&[3]);
        let before = estimated_bytes(&batch);
        let attribute = Attribute { key: 0, value_type: ValueType::Int, payload: 1 };
        batch.resources.attributes.push(attribute);
        batch.scopes.attributes.push(attribute);
        assert_eq!(estimated_bytes(&batch), before + 2 * ATTRIBUTE_BYTES);
    }

    #[test]
    fn empty_and_projected_batches_have_an_estimate() {
        assert_eq!(estimated_bytes(&SpanBatch::default()), 0);
        let mut projected = SpanBatch::default();
        projected.spans.trace = vec![0; 4].into();
        assert!(estimated_bytes(&projected) > 0);
        assert_eq!(estimated_bytes_of(&projected, 9..12), 0);
    }
}
