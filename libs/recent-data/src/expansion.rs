//! Refuses pushes of which a block would have far more than was sent.
//!
//! A push has a resource once for any number of traces, and so has memory. A block has it again for each trace. The time
//! that a block takes must follow the bytes that are sent.

use std::collections::HashSet;

use bytes::Bytes;
use foldhash::fast::RandomState;
use tactus_model::{
    TraceId, ValueType,
    any_value::{DecodedValue, array_elements, classify, decode, decode_key_value},
    walk::span_ids,
    wire::messages,
};
use tactus_proto::tactus::v1::{PushRequest, SpanRun};

use crate::{error::PushError, pushes::bytes_of};

/// Resources and scopes of a push may take this many bytes in a block, whatever its size.
const FREE_BYTES: u64 = 32 << 20;
/// Beyond that, they may take this many times the bytes of the push. Forty attributes take twice or three times the bytes
/// of a span, if each is of another trace.
const MOST_TIMES: u64 = 32;

/// An attribute takes about this many in a block, however few were sent for it. Texts are there once for many traces.
const ATTRIBUTE_BYTES: u64 = 16;
/// An element of an array.
const ELEMENT_BYTES: u64 = 12;
/// No byte of a resource or scope takes more.
const BYTES_OF_BYTE: u64 = 8;
/// No span that is stored is smaller, because of its ids.
const LEAST_SPAN_BYTES: usize = 28;

/// The fields of attributes in resources and scopes.
const OF_RESOURCE: u32 = 1;
const OF_SCOPE: u32 = 3;

/// Errors: `ExpandsTooMuch`, if the resources and scopes of a push take far more bytes in a block than were sent.
pub(crate) fn check_expansion(push: &PushRequest) -> Result<(), PushError> {
    let limit_bytes = FREE_BYTES.max(MOST_TIMES * bytes_of(push) as u64);
    if expands_beyond(push, limit_bytes) {
        return Err(PushError::ExpandsTooMuch { limit_bytes });
    }
    Ok(())
}

/// True if the resources and scopes of a push take more than `limit` bytes with each of their traces.
fn expands_beyond(push: &PushRequest, limit: u64) -> bool {
    // Nearly all pushes stay below the limit by the first of these, and nearly all others by the second.
    let at_most = Sizes::of(push, |owner, _| owner.len() as u64 * BYTES_OF_BYTE);
    if at_most.of_runs(push) <= limit {
        return false;
    }
    let sizes = Sizes::of(push, size_of);
    if sizes.of_runs(push) <= limit {
        return false;
    }
    // A resource counts once in each trace, and a scope once in each resource of a trace.
    let mut known: HashSet<(TraceId, u32, Option<u32>), RandomState> = HashSet::default();
    let mut bytes = 0u64;
    for run in &push.runs {
        let (of_resource, of_scope) = sizes.of_run(run);
        let mut last = None;
        // What is damaged is refused when it is converted.
        for span in messages(&run.scope_spans, 2).flatten() {
            let Ok((trace, _)) = span_ids(span) else { continue };
            if last.replace(trace) == Some(trace) {
                continue;
            }
            let trace = TraceId::from_slice(trace);
            if known.insert((trace, run.resource, None)) {
                bytes = bytes.saturating_add(of_resource);
            }
            if known.insert((trace, run.resource, Some(run.scope))) {
                bytes = bytes.saturating_add(of_scope);
            }
            if bytes > limit {
                return true;
            }
        }
    }
    false
}

/// The bytes of each resource and scope of a push in one trace of a block.
struct Sizes {
    resources: Vec<u64>,
    scopes: Vec<u64>,
}

impl Sizes {
    fn of(push: &PushRequest, size: impl Fn(&[u8], u32) -> u64) -> Self {
        let sizes = |owners: &[Bytes], attributes: u32| -> Vec<u64> {
            owners.iter().map(|owner| size(owner, attributes)).collect()
        };
        Self {
            resources: sizes(&push.resources, OF_RESOURCE),
            scopes: sizes(&push.scopes, OF_SCOPE),
        }
    }

    fn of_run(&self, run: &SpanRun) -> (u64, u64) {
        let size = |sizes: &[u64], owner: u32| sizes.get(owner as usize).copied().unwrap_or(0);
        (size(&self.resources, run.resource), size(&self.scopes, run.scope))
    }

    /// As if each span of a push were as small as possible, and of another trace.
    fn of_runs(&self, push: &PushRequest) -> u64 {
        let sizes = push.runs.iter().map(|run| {
            let (resource, scope) = self.of_run(run);
            let spans = (run.scope_spans.len() / LEAST_SPAN_BYTES) as u64;
            resource.saturating_add(scope).saturating_mul(spans)
        });
        sizes.fold(0, u64::saturating_add)
    }
}

/// The bytes of a resource or scope in one trace of a block.
fn size_of(owner: &[u8], attributes: u32) -> u64 {
    let size = |attribute| ATTRIBUTE_BYTES + value_bytes(attribute).unwrap_or(0);
    messages(owner, attributes).flatten().map(size).sum()
}

/// The bytes of a value besides those that each attribute takes; `None` if it is damaged.
fn value_bytes(attribute: &[u8]) -> Option<u64> {
    let (key, message) = decode_key_value(attribute).ok()?;
    let value = decode(message).ok()?;
    Some(match (value, classify(value).ok()?) {
        // Statistics of services have the name itself.
        (DecodedValue::String(text), _) if key == b"service.name" => text.len() as u64,
        // Written as JSON.
        (_, ValueType::Other) => 2 * message.len() as u64,
        (DecodedValue::Array(array), _) => ELEMENT_BYTES * array_elements(array).count() as u64,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use tactus_model::{
        any_value::{AnyValueRef, encode, encode_array},
        wire::put_message_field,
    };

    use super::*;
    use crate::test_spans::{push_of, span};

    /// A push of one resource with this many attributes, each of the least bytes, and spans of as many traces.
    fn push(attributes: usize, traces: u16) -> PushRequest {
        let spans: Vec<_> = (0..traces).map(|trace| span(trace, 1, 1_000)).collect();
        let mut resource = Vec::new();
        for _ in 0..attributes {
            put_message_field(&mut resource, OF_RESOURCE, b"");
        }
        PushRequest { resources: vec![resource.into()], ..push_of("t", &spans) }
    }

    #[test]
    fn resource_counts_once_for_each_trace() {
        let of_trace = 10 * ATTRIBUTE_BYTES;
        let mut one = push(10, 50);
        assert!(!expands_beyond(&one, 50 * of_trace));
        assert!(expands_beyond(&one, 50 * of_trace - 1));
        // The same traces again, in another message.
        one.runs = vec![one.runs[0].clone(); 3];
        assert!(!expands_beyond(&one, 50 * of_trace));
        one.resources.push(one.resources[0].clone());
        one.runs[2].resource = 1;
        assert!(!expands_beyond(&one, 100 * of_trace));
        assert!(expands_beyond(&one, 100 * of_trace - 1));
    }

    #[test]
    fn values_count_as_blocks_have_them() {
        let size = |key: &str, value: AnyValueRef<'_>| {
            let (mut resource, mut pair, mut message) = (Vec::new(), Vec::new(), Vec::new());
            encode(&mut message, value);
            put_message_field(&mut pair, 1, key.as_bytes());
            put_message_field(&mut pair, 2, &message);
            put_message_field(&mut resource, OF_RESOURCE, &pair);
            let bytes = size_of(&resource, OF_RESOURCE);
            assert!(bytes <= BYTES_OF_BYTE * resource.len() as u64);
            bytes
        };
        let text = AnyValueRef::String(&[b'x'; 1_000]);
        assert_eq!(size("process.command_line", text), ATTRIBUTE_BYTES);
        assert_eq!(size("service.name", text), ATTRIBUTE_BYTES + 1_000);
        let flags = encode_array(std::iter::repeat_n(AnyValueRef::Bool(true), 50));
        let array = size("flags", AnyValueRef::Encoded(&flags));
        assert_eq!(array, ATTRIBUTE_BYTES + 50 * ELEMENT_BYTES);
        let mixed = encode_array([AnyValueRef::Bool(true), text].into_iter());
        assert!(size("mixed", AnyValueRef::Encoded(&mixed)) > 2_000);
    }

    #[test]
    fn many_traces_with_a_large_resource_are_refused() {
        assert!(check_expansion(&push(40, 10_000)).is_ok());
        assert!(check_expansion(&push(100_000, 20)).is_ok());
        let error = check_expansion(&push(100_000, 3_000)).unwrap_err();
        assert!(matches!(error, PushError::ExpandsTooMuch { limit_bytes: FREE_BYTES }), "{error}");
    }
}
