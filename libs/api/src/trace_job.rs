//! Requests for a trace, as ingesters and queriers read them.

use tactus_model::merge::{ChosenSpans, SpanSlice, TracePart};
use tactus_model::{Projection, SpanId, TraceId};
use tactus_proto::tactus::v1::FindTraceRequest;
use tactus_traceql::eval::CompiledQuery;

use crate::job::{JobError, parse_query};

/// The least size of a whole span in bytes: two ids, two times, a name, and their tags and lengths.
const LEAST_SPAN_BYTES: u64 = 50;

/// A compiled request for the spans of a trace.
#[derive(Debug, Clone)]
pub struct TraceJob {
    /// The trace.
    pub id: TraceId,
    /// The part that is returned if the trace is large.
    pub part: TracePart,
    /// The most bytes that are returned. A trace with more is large.
    pub max_bytes: u64,
    large_spans: u64,
}

impl TraceJob {
    /// Compiles a request. Errors: an invalid query, or a slice that does not exist.
    pub fn compile(request: &FindTraceRequest) -> Result<Self, JobError> {
        let Some(slice) = SpanSlice::new(request.slice, request.slices) else {
            let (number, of) = (request.slice, request.slices);
            return Err(JobError::Invalid(format!("no slice {number} of {of}")));
        };
        let part = match &request.span_ids[..] {
            [] if request.large_spans == 0 => TracePart::whole(ChosenSpans::Slice(slice)),
            [] if request.query.is_empty() => TracePart::heads(slice),
            [] => TracePart::read_by(columns_of(&request.query)?, slice),
            ids => {
                let ids = ids.chunks(8).map(SpanId::from_slice).collect();
                TracePart::whole(ChosenSpans::Ids(ids))
            }
        };
        Ok(Self {
            id: TraceId::from_slice(&request.trace_id),
            part,
            max_bytes: if request.max_part_bytes == 0 { u64::MAX } else { request.max_part_bytes },
            large_spans: request.large_spans,
        })
    }

    /// True if only a part is returned, whatever the size of the trace.
    pub fn is_part(&self) -> bool {
        matches!(self.part.spans, ChosenSpans::Slice(slice) if !slice.is_whole())
    }

    /// True if a trace with this many spans is large, so that only a part is returned: it has too many spans, or
    /// certainly too many bytes.
    pub fn is_large(&self, spans: u64) -> bool {
        let is_too_large = spans.saturating_mul(LEAST_SPAN_BYTES) > self.max_bytes;
        self.is_part() || is_too_large || self.large_spans != 0 && spans > self.large_spans
    }

    /// True if [`Self::is_large`] depends on the exact number of spans, which is at most `most`.
    pub fn counts_spans(&self, most: u64) -> bool {
        !self.is_part() && self.is_large(most)
    }

    /// The most bytes of the part. Spans that are chosen by their ids are few, so they have no limit.
    pub fn max_part_bytes(&self) -> u64 {
        match self.part.spans {
            ChosenSpans::Slice(_) => self.max_bytes,
            ChosenSpans::Ids(_) => u64::MAX,
        }
    }
}

/// The most bytes of the answer to a request, [`u64::MAX`] for no limit. Spans that are chosen by their ids have
/// none, because they are few.
pub fn max_part_bytes(request: &FindTraceRequest) -> u64 {
    match request.max_part_bytes {
        limit if limit != 0 && request.span_ids.is_empty() => limit,
        _ => u64::MAX,
    }
}

fn columns_of(query: &str) -> Result<Projection, JobError> {
    let root = parse_query(query)?;
    Ok(CompiledQuery::compile(&root)?.filter_projection().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(request: FindTraceRequest) -> TraceJob {
        TraceJob::compile(&request).unwrap()
    }

    #[test]
    fn trace_is_large_by_its_spans_or_in_slices() {
        let request = FindTraceRequest { large_spans: 5, ..FindTraceRequest::default() };
        let by_spans = job(request.clone());
        assert!(by_spans.counts_spans(6) && !by_spans.is_large(5) && by_spans.is_large(6));
        assert!(!by_spans.counts_spans(5));
        let slice = job(FindTraceRequest { slices: 2, slice: 1, ..request.clone() });
        assert!(slice.is_large(1) && slice.is_part() && !slice.counts_spans(1));
        assert!(!job(FindTraceRequest { max_part_bytes: 250, ..request }).is_large(5));
        let whole = FindTraceRequest::default();
        assert!(!job(whole.clone()).is_large(u64::MAX));
        let limited = job(FindTraceRequest { max_part_bytes: 99, ..whole.clone() });
        assert!(!limited.is_part() && !limited.is_large(1) && limited.is_large(2));
        assert!(TraceJob::compile(&FindTraceRequest { slices: 2, slice: 2, ..whole }).is_err());
    }

    #[test]
    fn part_has_what_the_query_reads() {
        let query = "{ span.a = 1 && status = error }".to_owned();
        let request = FindTraceRequest { large_spans: 5, query, ..FindTraceRequest::default() };
        let besides = job(request.clone()).part.besides.unwrap();
        assert!(besides.span_attributes.wants(b"a") && !besides.span_attributes.wants(b"b"));
        let query = "{ span.a = ".to_owned();
        assert!(TraceJob::compile(&FindTraceRequest { query, ..request }).is_err());
    }
}
