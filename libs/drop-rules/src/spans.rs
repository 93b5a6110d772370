//! The spans of a request, by their position in it, and as columns.

use bytes::Bytes;
use tactus_model::{BatchBuilder, BuilderLimits, IdProblem, SpanBatch, walk::walk_export};

use super::RequestError;
use crate::span_filter::SpanFilter;

/// The spans of a request, numbered in order.
pub(crate) struct RequestSpans {
    /// The byte offset in the request where each span ends, ascending.
    ends: Vec<usize>,
    /// Numbers of the spans with an invalid trace or span id.
    bad_ids: Vec<u32>,
    /// The valid spans as columns, if they were wanted.
    batch: SpanBatch,
    /// The number of each row's span.
    span_of_row: Vec<u32>,
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
        let mut span_of_row = Vec::with_capacity(fields.len());
        let mut owners = (usize::MAX, None);
        for (number, run, range) in fields {
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
                span_of_row.push(number);
            }
        }
        Ok(Self { ends, bad_ids, batch: builder.finish(), span_of_row })
    }

    /// Where in the request each span ends.
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Numbers of the spans with an invalid trace or span id.
    pub(crate) fn with_bad_ids(&self) -> &[u32] {
        &self.bad_ids
    }

    /// Numbers of the valid spans that match; `None` if the filter cannot be evaluated on them.
    pub(crate) fn matching(&self, filter: &SpanFilter) -> Option<Vec<u32>> {
        if filter.is_every() {
            let is_valid = |span: &u32| self.bad_ids.binary_search(span).is_err();
            return Some((0..self.ends.len() as u32).filter(is_valid).collect());
        }
        let rows = filter.rows(&self.batch).ok()?;
        Some(rows.into_iter().map(|row| self.span_of_row[row as usize]).collect())
    }
}
