//! Cuts batches whose resources and scopes would take far more bytes in a row group than in memory.

use std::{mem::replace, ops::Range};

use tactus_model::{Attribute, AttributeList, SpanBatch, StringCode, ValueType};

use super::attributes::elements;
use super::estimate::ATTRIBUTE_BYTES;

/// Most bytes of the resources and scopes of a row group, unless a single trace has more. A batch has each of them once, a
/// row group has it again for every trace: 64 000 traces of a span, with forty attributes of a resource, have less than
/// this.
pub(crate) const MOST_OWNER_BYTES: u64 = 64 << 20;

/// Bytes of a resource or scope itself.
const OWNER_BYTES: u64 = 32;
/// Bytes of an element of an array: its value or an index of it, and levels.
const ELEMENT_BYTES: u64 = 12;

/// Cuts a sorted and complete batch into ranges of traces. The resources and scopes of a range take at most `most` bytes
/// in a row group, or it is a single trace.
///
/// `in_full` are the keys of resources whose texts are written for every trace, and not as an index of a dictionary.
pub(super) fn cut_by_owners(batch: &SpanBatch, in_full: &[&[u8]], most: u64) -> Vec<Range<usize>> {
    let whole = 0..batch.traces.ids.len();
    let resources = sizes(batch, &batch.resources.attributes, in_full);
    let scopes = sizes(batch, &batch.scopes.attributes, &[]);
    let largest = largest(&resources).saturating_add(largest(&scopes));
    // True for ordinary batches, of which no span needs to be looked at.
    if largest.saturating_mul(batch.len() as u64) <= most {
        return vec![whole];
    }
    let (resource_of, scope_of) = (batch.spans.resource.as_slice(), batch.spans.scope.as_slice());
    // In which trace each resource was seen last, and in which trace and resource each scope.
    let mut resource_seen = vec![usize::MAX; resources.len()];
    let mut scope_seen = vec![(usize::MAX, 0); scopes.len()];
    let (mut ranges, mut start, mut sum) = (Vec::new(), 0, 0u64);
    for (trace, rows) in batch.trace_offsets().windows(2).enumerate() {
        let (mut bytes, mut last) = (0u64, None);
        for row in rows[0] as usize..rows[1] as usize {
            let owners = (resource_of[row] as usize, scope_of[row] as usize);
            if last.replace(owners) == Some(owners) {
                continue;
            }
            let (resource, scope) = owners;
            if replace(&mut resource_seen[resource], trace) != trace {
                bytes = bytes.saturating_add(resources[resource]);
            }
            if replace(&mut scope_seen[scope], (trace, resource)) != (trace, resource) {
                bytes = bytes.saturating_add(scopes[scope]);
            }
        }
        if sum > 0 && bytes > 0 && sum.saturating_add(bytes) > most {
            ranges.push(start..trace);
            (start, sum) = (trace, 0);
        }
        sum = sum.saturating_add(bytes);
    }
    ranges.push(start..whole.end);
    ranges
}

fn largest(sizes: &[u64]) -> u64 {
    sizes.iter().copied().max().unwrap_or(0)
}

/// The bytes of each owner in one trace of a row group.
fn sizes(batch: &SpanBatch, list: &AttributeList, in_full: &[&[u8]]) -> Vec<u64> {
    let value = |attribute| ATTRIBUTE_BYTES + value_bytes(batch, attribute, in_full);
    (0..list.owners()).map(|owner| OWNER_BYTES + list.of(owner).map(value).sum::<u64>()).collect()
}

/// The bytes of a value besides those that each attribute takes.
fn value_bytes(batch: &SpanBatch, attribute: Attribute, in_full: &[&[u8]]) -> u64 {
    let payload = || batch.strings.get(attribute.payload as StringCode);
    let is_in_full = || in_full.contains(&batch.strings.get(attribute.key));
    match attribute.value_type {
        ValueType::Unset
        | ValueType::Int
        | ValueType::Double
        | ValueType::Bool
        | ValueType::EmptyArray => 0,
        // Written as JSON.
        ValueType::Other => 2 * payload().len() as u64,
        ValueType::String | ValueType::StringArray if is_in_full() => 2 * payload().len() as u64,
        ValueType::String => 0,
        ValueType::StringArray
        | ValueType::IntArray
        | ValueType::DoubleArray
        | ValueType::BoolArray => ELEMENT_BYTES * elements(payload()).count() as u64,
    }
}

#[cfg(test)]
mod tests {
    use tactus_model::TraceId;

    use super::*;

    /// Spans in order of trace, each with its trace, resource and scope. A resource has as many integers as its number
    /// says, and scopes have nothing.
    fn batch(spans: &[(u32, u32, u32)]) -> SpanBatch {
        let mut batch = SpanBatch::default();
        for &(trace, resource, scope) in spans {
            batch.spans.trace.push(trace);
            batch.spans.resource.push(resource);
            batch.spans.scope.push(scope);
        }
        for trace in 0..=spans.iter().map(|span| span.0).max().unwrap_or(0) {
            batch.traces.ids.push(TraceId([trace as u8; 16]));
        }
        for resource in 0..=spans.iter().map(|span| span.1).max().unwrap_or(0) {
            for _ in 0..resource {
                let attribute = Attribute { key: 0, value_type: ValueType::Int, payload: 1 };
                batch.resources.attributes.push(attribute);
            }
            batch.resources.attributes.end_owner();
        }
        for _ in 0..=spans.iter().map(|span| span.2).max().unwrap_or(0) {
            batch.scopes.attributes.end_owner();
        }
        batch
    }

    #[test]
    fn resource_counts_once_in_each_trace() {
        const RESOURCE: u64 = OWNER_BYTES + 10 * ATTRIBUTE_BYTES;
        let spans = [0, 0, 1, 1, 2, 2, 3, 4].map(|trace| (trace, 10, 0));
        let batch = batch(&spans);
        let cut = |most| cut_by_owners(&batch, &[], most);
        let of_trace = RESOURCE + OWNER_BYTES;
        assert_eq!(cut(5 * of_trace).len(), 1);
        assert_eq!(cut(2 * of_trace), [0..2, 2..4, 4..5]);
        assert_eq!(cut(2 * of_trace - 1), [0..1, 1..2, 2..3, 3..4, 4..5]);
        assert_eq!(cut(1).len(), 5, "a trace is not divided");
    }

    #[test]
    fn resources_that_alternate_in_a_trace_count_once() {
        let spans = [0, 1].map(|trace| [10, 5, 10, 5].map(|resource| (trace, resource, 0)));
        let batch = batch(&spans.concat());
        let of_trace = 15 * ATTRIBUTE_BYTES + 2 * OWNER_BYTES + 4 * OWNER_BYTES;
        assert_eq!(cut_by_owners(&batch, &[], 2 * of_trace).len(), 1);
        assert_eq!(cut_by_owners(&batch, &[], 2 * of_trace - 1), [0..1, 1..2]);
    }
}
