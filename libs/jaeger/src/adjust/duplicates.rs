//! Leaves out spans that are there twice.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use prost::Message as _;
use tactus_proto::otlp::ResourceSpans;

use super::spans;

/// Leaves the first of spans that are equal, their resource and scope included.
pub(super) fn remove(trace: &mut [ResourceSpans]) {
    let mut counts: HashMap<Bytes, usize> = HashMap::new();
    for span in spans(trace) {
        *counts.entry(span.span_id.clone()).or_default() += 1;
    }
    counts.retain(|_, count| *count > 1);
    if counts.is_empty() {
        return;
    }
    let mut seen = HashSet::new();
    for resource in trace {
        let of_resource = resource.resource.as_ref().map_or_else(Vec::new, |r| r.encode_to_vec());
        for scope in &mut resource.scope_spans {
            let of_scope =
                scope.scope.as_ref().map_or_else(Vec::new, |scope| scope.encode_to_vec());
            scope.spans.retain(|span| {
                if !counts.contains_key(&span.span_id) {
                    return true;
                }
                seen.insert((of_resource.clone(), of_scope.clone(), span.encode_to_vec()))
            });
        }
    }
}
