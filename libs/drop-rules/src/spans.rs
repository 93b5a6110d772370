//! The spans of a request, by their position in it, and as columns.

use bytes::Bytes;
use tactus_model::{BatchBuilder, BuilderLimits, IdProblem, SpanBatch, walk::walk_export};
use tactus_work::Work;

use super::RequestError;
use crate::span_filter::SpanFilter;

/// Spans that are evaluated at a time. What was evaluated before the time of a filter is used up counts.
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
        let (mut batches, mut numbers) = (Vec::new(), Vec::new());
        let mut owners = (usize::MAX, None);
        for (number, run, range) in fields {
            if numbers.len() == SPANS_AT_A_TIME {
                batches.push((builder.finish_and_go_on(), std::mem::take(&mut numbers)));
                owners.0 = usize::MAX;
            }
            if owners.0 != run {
                let of = &walk.runs[run];
                let resource = &request[walk.resources[of.resource as usize].clone()];
                let scope = &request[walk.scopes[of.scope as usize].clone()];
                owners = (run, builder.owners(resource, scope)?);
            }
            let Some((resource, scope)) = owners.1 else { continue };
            let before = builder.len();
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
