//! The spans of a request, by their position in it, and as columns.

use bytes::Bytes;
use tactus_model::{
    BatchBuilder, BuilderLimits, IdProblem, KnownOwners, SpanBatch, walk::walk_export,
};
use tactus_work::Work;

use super::RequestError;
use crate::span_filter::SpanFilter;

/// Spans that are evaluated at a time, or more if their resource is large. What was evaluated before the time of a filter is
/// used up counts.
pub(crate) const SPANS_AT_A_TIME: usize = 1_000;

/// The spans of a request, numbered in order.
pub(crate) struct RequestSpans {
    /// The byte offset in the request where each span ends, ascending.
    ends: Vec<usize>,
    /// Numbers of the spans with an invalid trace or span id.
    bad_ids: Vec<u32>,
    /// The valid spans as columns, if they were wanted, and the numbers of those in each batch.
    batches: Vec<(SpanBatch, Vec<u32>)>,
}

/// The spans that a filter found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Numbers of those that match.
    pub(crate) matching: Vec<u32>,
    /// Numbers of those on which the filter could not be evaluated.
    pub(crate) unknown: Vec<u32>,
}

impl RequestSpans {
    /// Finds the spans. `as_columns`: set it if filters other than `{ }` will be evaluated.
    pub(crate) fn read(request: &Bytes, as_columns: bool) -> Result<Self, RequestError> {
        let (mut ends, mut bad_ids, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        let walk = walk_export(request, |span| {
            if IdProblem::of(span.trace_id, span.span_id).is_some() {
                bad_ids.push(ends.len() as u32);
            } else if as_columns {
                fields.push((ends.len() as u32, span.run, span.start..span.end));
            }
            ends.push(span.end);
        })?;
        // Values are not cut here, although they will be later: a filter sees them as they were sent.
        let mut builder = BatchBuilder::new(BuilderLimits { max_attribute_bytes: 0 });
        let (mut batches, mut numbers, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut known, mut owners) = (KnownOwners::default(), (usize::MAX, None));
        for (number, run, range) in fields {
            // The next batch has the resource again. All batches are kept, so one with a large resource has as many bytes
            // of spans.
            if numbers.len() >= SPANS_AT_A_TIME && bytes >= known.bytes() {
                batches.push((builder.finish_and_go_on(), std::mem::take(&mut numbers)));
                (known, bytes) = (KnownOwners::default(), 0);
                owners.0 = usize::MAX;
            }
            if owners.0 != run {
                let of = &walk.runs[run];
                let resource = &request[walk.resources[of.resource as usize].clone()];
                let scope = &request[walk.scopes[of.scope as usize].clone()];
                owners = (run, builder.owners(&mut known, resource, scope)?);
            }
            let Some((resource, scope)) = owners.1 else { continue };
            let before = builder.len();
            bytes += range.len();
            builder.append_scope_spans(resource, scope, &request[range], |_, _| true)?;
            // A span whose values are nested too deeply is dropped, here and in an ingester.
            if builder.len() > before {
                numbers.push(number);
            }
        }
        batches.push((builder.finish(), numbers));
        Ok(Self { ends, bad_ids, batches })
    }

    /// Where in the request each span ends.
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Numbers of the spans with an invalid trace or span id.
    pub(crate) fn with_bad_ids(&self) -> &[u32] {
        &self.bad_ids
    }

    /// Numbers of the valid spans that a filter finds within these limits.
    pub(crate) fn find(&self, filter: &SpanFilter, limits: &Work) -> Found {
        if filter.is_every() {
            let is_valid = |span: &u32| self.bad_ids.binary_search(span).is_err();
            let matching = (0..self.ends.len() as u32).filter(is_valid).collect();
            return Found { matching, unknown: Vec::new() };
        }
        let mut found = Found::default();
        for (batch, numbers) in &self.batches {
            match filter.rows(batch, limits) {
                Some(rows) => {
                    found.matching.extend(rows.into_iter().map(|row| numbers[row as usize]));
                }
                None => found.unknown.extend(numbers),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use tactus_model::wire::put_message_field;

    use super::*;

    /// Five thousand spans of one resource.
    fn request(resource_bytes: usize) -> Bytes {
        let (mut value, mut pair, mut resource) = (Vec::new(), Vec::new(), Vec::new());
        put_message_field(&mut value, 1, &vec![b'a'; resource_bytes]);
        put_message_field(&mut pair, 1, b"key");
        put_message_field(&mut pair, 2, &value);
        put_message_field(&mut resource, 1, &pair);
        let (mut span, mut field) = (Vec::new(), Vec::new());
        put_message_field(&mut span, 1, &[1; 16]);
        put_message_field(&mut span, 2, &[1; 8]);
        put_message_field(&mut field, 2, &span);
        let (mut resource_spans, mut request) = (Vec::new(), Vec::new());
        put_message_field(&mut resource_spans, 1, &resource);
        put_message_field(&mut resource_spans, 2, &field.repeat(5_000));
        put_message_field(&mut request, 1, &resource_spans);
        request.into()
    }

    #[test]
    fn large_resource_is_not_in_a_batch_for_each_thousand_spans() {
        for (resource_bytes, expected) in [(10, 5), (1 << 20, 1)] {
            let spans = RequestSpans::read(&request(resource_bytes), true).unwrap();
            assert_eq!(spans.batches.len(), expected);
            let numbers = spans.batches.iter().flat_map(|(_, numbers)| numbers.iter().copied());
            assert!(numbers.eq(0..5_000));
        }
    }
}
